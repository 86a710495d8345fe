#include "config/reader.hpp"

#include <algorithm>
#include <charconv>

#include "base/text.hpp"
#include "config/paths.hpp"

namespace rollbackd::config {
namespace {

using Kind = Field::Kind;

constexpr std::size_t kRuleFilesMax = 1000;

/// What a row's value must be, in words and as an example.
struct Wanted {
  std::string what, example;
};

std::string words_of(const Field& field) {
  std::vector<std::string> words;
  for (const Choice& c : field.choices)
    if (!c.unavailable) words.push_back(std::string("\"") + c.word + "\"");
  return join(words, ", ");
}

Wanted wanted(const Field& field) {
  switch (field.kind) {
    case Kind::text: return {"a text", "put it in quotes"};
    case Kind::path: return {"a path", "write it in quotes, like \"/srv/shop-api/current\""};
    case Kind::duration: return {"a duration", "write it in quotes with a unit, like \"500ms\", \"30s\" or \"5m\""};
    case Kind::integer: return {"a whole number", "write digits without quotes"};
    case Kind::boolean: return {"true or false", "write it without quotes"};
    case Kind::choice: return {"one of " + words_of(field), "put it in quotes"};
    case Kind::texts:
      return field.check == check_text ? Wanted{"a list of program and arguments", "write it like [\"program\", \"argument\"]"}
                                       : Wanted{"a list of texts", "write it like [\"...\"]"};
    case Kind::paths: return {"a list of paths", "write it like [\"/etc/nginx/*.conf\"]"};
    case Kind::files: return {"a list of paths", "write it like [\"rules/*.json\"]"};
    case Kind::map: return {"an object of texts", "write it like {\"name\": \"value\"}"};
    case Kind::object:
    case Kind::object_map: return {"an object", "write it like {\"key\": ...}"};
    case Kind::objects: return {"a list of objects", "write it like [{\"key\": ...}]"};
  }
  return {};
}

std::string found(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null: return "null";
    case Node::Kind::boolean:
    case Node::Kind::number: return std::string("the ") + to_string(node.kind) + " " + printable(cut(node.text, 60));
    case Node::Kind::string: return "the text \"" + printable(cut(node.text, 60)) + "\"";
    case Node::Kind::array: return "a list";
    case Node::Kind::object: return "an object";
  }
  return {};
}

std::string number_text(const Field& field, std::int64_t number) {
  return field.kind == Kind::duration ? format_duration(Duration(number)) : std::to_string(number);
}

Origin origin_of(const Node& node, const Source& source) {
  if (node.position.line == 0) return {};
  return {source.file, node.position.line, node.position.column};
}

std::string child(const std::string& path, std::string_view key) { return path.empty() ? std::string(key) : path + "." + std::string(key); }

}  // namespace

void Reader::problem(const Source& source, Position position, std::string what, std::string remedy) {
  if (position.line == 0) position = {1, 1};
  out_.problems.push_back(Problem{source.file, position, std::move(what), std::move(remedy)});
}

Origin Reader::where(std::string path) const {
  while (true) {
    const auto found_at = places_.find(path);
    if (found_at != places_.end() && !found_at->second.file.empty()) return found_at->second;
    const std::size_t last = path.find_last_of(".[");
    if (path.empty()) return {};
    path.resize(last == path.npos ? 0 : last);
  }
}

bool Reader::given(const std::string& path) const {
  const auto at = places_.find(path);
  return at != places_.end() && !at->second.file.empty();
}

void Reader::problem_at(const std::string& path, std::string what, std::string remedy, bool warning) {
  const Origin origin = where(path);
  out_.problems.push_back(
      Problem{origin.file, {std::max(origin.line, 1), std::max(origin.column, 1)}, std::move(what), std::move(remedy), warning});
}

void Reader::object(const Table& table, std::span<const Layer> layers, void* target, const std::string& path, Defaults defaults) {
  if (!layers.empty()) place(path, *layers.front().node, *layers.front().source);
  const std::string word = discriminate(table, layers);
  if (!layers.empty()) known_keys(table, layers.front(), word);

  for (const Field& f : table.fields) {
    if (!word.empty() && !is_among(word, f.only)) continue;
    std::vector<Layer> having;
    for (const Layer& layer : layers)
      if (const Node* node = layer.node->find(f.key)) having.push_back(Layer{node, layer.source});
    const bool can_judge = table.discriminator == nullptr || !word.empty() || f.only.empty();
    if (f.unavailable) {
      if (!having.empty())
        problem(*having[0].source, having[0].node->position, std::string("\"") + f.key + "\" is not available in this version", f.remedy);
      continue;
    }
    if (having.empty() && f.required && can_judge && defaults == Defaults::set && !layers.empty()) {
      problem(*layers[0].source, layers[0].node->position, std::string("this ") + table.noun + " has no \"" + f.key + "\"",
              f.remedy ? f.remedy : std::string("write \"") + f.key + "\": " + (f.kind == Kind::texts ? "[\"...\"]" : "\"...\""));
      continue;
    }
    field(f, having, target, child(path, f.key), defaults);
  }
}

std::string Reader::discriminate(const Table& table, std::span<const Layer> layers) const {
  if (!table.discriminator) return {};
  const Field& f = *table.find(table.discriminator);
  std::string word = f.fallback ? f.fallback : "";
  if (!layers.empty())
    if (const Node* node = layers.front().node->find(f.key)) word = node->kind == Node::Kind::string ? node->text : "";
  for (const Choice& c : f.choices)
    if (word == c.word && !c.unavailable) return word;
  return {};
}

void Reader::known_keys(const Table& table, const Layer& layer, const std::string& word) {
  std::vector<std::string> keys;
  for (const Field& f : table.fields)
    if (word.empty() || is_among(word, f.only)) keys.emplace_back(f.key);
  for (const Node::Member& member : layer.node->members) {
    const Field* f = table.find(member.key);
    if (!f) {
      const std::string near = nearest(member.key, keys);
      problem(*layer.source, member.position, "unknown key \"" + printable(cut(member.key, 100)) + "\" in this " + table.noun,
              near.empty() ? "known are " + join(keys, ", ") : "did you mean \"" + near + "\"?");
    } else if (!word.empty() && !is_among(word, f->only)) {
      problem(*layer.source, member.position,
              "\"" + member.key + "\" means nothing where \"" + table.discriminator + "\" is \"" + word + "\"", "remove it");
    }
  }
}

void Reader::field(const Field& f, std::span<const Layer> layers, void* target, const std::string& path, Defaults defaults) {
  if (f.kind == Kind::object) {
    if (!layers.empty() && layers[0].node->kind != Node::Kind::object) {
      wrong_type(f, *layers[0].node, *layers[0].source);
      fail(path);
      layers = {};
    }
    std::vector<Layer> objects;
    for (const Layer& layer : layers)
      if (layer.node->kind == Node::Kind::object) objects.push_back(layer);
    if (!objects.empty() || defaults == Defaults::set) object(f.table(), objects, target ? f.place(target) : nullptr, path, defaults);
    return;
  }
  if (f.kind == Kind::objects || f.kind == Kind::object_map) {
    std::size_t first = 0;
    for (const Layer& layer : layers.first(f.merged ? layers.size() : std::min<std::size_t>(layers.size(), 1)))
      first = entries(f, layer, target, path, first);
    return;
  }
  Value v;
  if (!layers.empty()) {
    const Layer& layer = layers[0];
    place(path, *layer.node, *layer.source);
    if (!value(f, *layer.node, *layer.source, v)) return fail(path);
    if (f.set && target) f.set(target, v);
    if (f.set) show(f, v, path, places_[path]);
  } else if (f.fallback && f.set && defaults == Defaults::set) {
    v = default_value(f);
    if (target) f.set(target, v);
    show(f, v, path, {});
  }
}

/// @param first  number of the layer's first entry in the whole list
/// @return how many there are now
std::size_t Reader::entries(const Field& f, const Layer& layer, void* target, const std::string& path, std::size_t first) {
  const Node& node = *layer.node;
  if (first == 0) place(path, node, *layer.source);
  const bool is_map = f.kind == Kind::object_map;
  if (node.kind != (is_map ? Node::Kind::object : Node::Kind::array)) {
    fail(path);
    wrong_type(f, node, *layer.source);
    return first;
  }
  within(f, static_cast<std::int64_t>(is_map ? node.members.size() : node.elements.size()), node, *layer.source);
  const auto most = static_cast<std::size_t>(f.max);
  for (std::size_t i = 0; is_map && i < node.members.size() && i < most; ++i) {  // Only judged: load.cpp lays it under the services.
    const Node::Member& member = node.members[i];
    const Layer entry{&member.value, layer.source};
    passes(f.key_check, member.key, member.position, *layer.source);
    if (is_object(member.value, *layer.source, child(path, member.key)))
      object(f.table(), {&entry, 1}, nullptr, child(path, member.key), Defaults::leave);
  }
  for (std::size_t i = 0; f.place && i < node.elements.size() && i < most; ++i) {
    const Layer entry{&node.elements[i], layer.source};
    const std::string entry_path = path + "[" + std::to_string(first + i) + "]";
    void* entry_target = target ? f.place(target) : nullptr;  // Also for what is no object: the settings keep the document's numbers.
    if (is_object(*entry.node, *layer.source, entry_path)) object(f.table(), {&entry, 1}, entry_target, entry_path);
  }
  return first + std::min(node.elements.size(), most);
}

bool Reader::is_object(const Node& node, const Source& source, const std::string& path) {
  if (node.kind == Node::Kind::object) return true;
  place(path, node, source);
  fail(path);
  problem(source, node.position, "expected an object, found " + found(node), "write it like {\"key\": ...}");
  return false;
}

void Reader::place(const std::string& path, const Node& node, const Source& source) { places_[path] = origin_of(node, source); }

void Reader::wrong_type(const Field& f, const Node& node, const Source& source) {
  const Wanted w = wanted(f);
  const std::string remedy = node.kind == Node::Kind::null ? "remove the key to get the default" : w.example;
  problem(source, node.position, "\"" + std::string(f.key) + "\" must be " + w.what + ", found " + found(node), remedy);
}

bool Reader::passes(ValueCheck check, std::string_view text, Position position, const Source& source) {
  if (!check) return true;
  const Complaints complaint = check(text);
  if (complaint) problem(source, position, complaint->what, complaint->remedy);
  return !complaint;
}

bool Reader::within(const Field& f, std::int64_t number, const Node& node, const Source& source) {
  if (number >= f.min && number <= f.max) return true;
  const bool small = number < f.min;
  const bool countable = f.kind != Kind::duration && f.kind != Kind::integer;
  const std::string bound = number_text(f, small ? f.min : f.max);
  problem(source, node.position,
          "\"" + std::string(f.key) + "\" " + (countable ? "has " + std::to_string(number) + " entries" : "is " + number_text(f, number)) +
              ", which is " + (small ? "less than the least, " : "more than the most, ") + bound,
          countable ? (small ? "give at least " : "give at most ") + bound
                    : (small ? "set it to " + bound + " or more" : "set it to " + bound + " or less"));
  return false;
}

bool Reader::value(const Field& f, const Node& node, const Source& source, Value& out) {
  switch (f.kind) {
    case Kind::choice: return choice(f, node, source, out);
    case Kind::texts: return texts(f, node, source, out);
    case Kind::map: return map(f, node, source, out);
    case Kind::paths: return paths(f, node, source, out);
    case Kind::files: return files(f, node, source, out);
    default: return scalar(f, node, source, out);
  }
}

bool Reader::scalar(const Field& f, const Node& node, const Source& source, Value& out) {
  const bool text = node.kind == Node::Kind::string;
  const bool number = node.kind == Node::Kind::number;
  switch (f.kind) {
    case Kind::text:
      if (!text) break;
      out.text = node.text;
      return passes(f.check ? f.check : check_text, node.text, node.position, source);
    case Kind::path:
      if (!text) break;
      if (f.may_be_empty && node.text.empty()) return true;
      if (!passes(check_not_empty, node.text, node.position, source)) return false;
      out.text = resolve(source.directory, node.text);
      return true;
    case Kind::duration: {
      if (!text && !(number && node.text == "0")) break;
      const auto duration = parse_duration(node.text);
      if (!duration) {
        problem(source, node.position, duration.error().what, duration.error().next_step);
        return false;
      }
      out.number = duration->count();
      return within(f, out.number, node, source);
    }
    case Kind::integer: {
      if (!number) break;
      const char* end = node.text.data() + node.text.size();
      const auto r = std::from_chars(node.text.data(), end, out.number);
      if (r.ec != std::errc{} || r.ptr != end) break;
      return within(f, out.number, node, source);
    }
    case Kind::boolean:
      if (node.kind != Node::Kind::boolean) break;
      out.number = node.text[0] == 't' || node.text[0] == 'T';
      return true;
    default: break;
  }
  wrong_type(f, node, source);
  return false;
}

bool Reader::choice(const Field& f, const Node& node, const Source& source, Value& out) {
  if (node.kind != Node::Kind::string) {
    wrong_type(f, node, source);
    return false;
  }
  const Choice* chosen = word(f, "\"" + std::string(f.key) + "\"", node, source);
  if (!chosen) return false;
  out.text = chosen->word;
  out.number = chosen->number;
  return true;
}

const Choice* Reader::word(const Field& f, const std::string& what, const Node& node, const Source& source) {
  std::vector<std::string> words;
  for (const Choice& c : f.choices) {
    words.emplace_back(c.word);
    if (node.text != c.word) continue;
    if (!c.unavailable) return &c;
    problem(source, node.position, what + ": \"" + node.text + "\" is not available in this version", c.unavailable);
    return nullptr;
  }
  const std::string near = nearest(node.text, words);
  problem(source, node.position, what + " must be one of " + words_of(f) + ", found " + found(node),
          near.empty() ? "choose one of them" : "did you mean \"" + near + "\"?");
  return nullptr;
}

bool Reader::texts(const Field& f, const Node& node, const Source& source, Value& out) {
  if (node.kind != Node::Kind::array) {
    wrong_type(f, node, source);
    return false;
  }
  bool ok = within(f, static_cast<std::int64_t>(node.elements.size()), node, source);
  for (const Node& element : node.elements) {
    if (element.kind != Node::Kind::string && !(f.numbers_too && element.kind == Node::Kind::number)) {
      problem(source, element.position, "an entry of \"" + std::string(f.key) + "\" must be a text, found " + found(element),
              "put it in quotes");
      ok = false;
      continue;
    }
    if (f.check == check_text && &element == &node.elements.front() && element.text.empty()) {
      problem(source, element.position, "\"" + std::string(f.key) + "\" names no program", "write it like [\"program\", \"argument\"]");
      ok = false;
    }
    const bool known = f.choices.empty() || word(f, "an entry of \"" + std::string(f.key) + "\"", element, source);
    ok = passes(f.check, element.text, element.position, source) && known && ok;
    out.list.push_back(element.text);
  }
  return ok;
}

bool Reader::map(const Field& f, const Node& node, const Source& source, Value& out) {
  if (node.kind != Node::Kind::object) {
    wrong_type(f, node, source);
    return false;
  }
  bool ok = within(f, static_cast<std::int64_t>(node.members.size()), node, source);
  for (const Node::Member& member : node.members) {
    ok = passes(f.key_check, member.key, member.position, source) && ok;
    if (member.value.kind != Node::Kind::string) {
      problem(source, member.value.position, "\"" + printable(member.key) + "\" must be a text, found " + found(member.value),
              "put it in quotes");
      ok = false;
      continue;
    }
    ok = passes(f.check, member.value.text, member.value.position, source) && ok;
    out.map.emplace(member.key, member.value.text);
  }
  return ok;
}

bool Reader::paths(const Field& f, const Node& node, const Source& source, Value& out) {
  if (!texts(f, node, source, out)) return false;
  bool ok = true;
  for (std::size_t i = 0; i < out.list.size(); ++i) {
    ok = passes(check_not_empty, node.elements[i].text, node.elements[i].position, source) && ok;
    out.list[i] = resolve(source.directory, out.list[i]);
  }
  return ok;
}

bool Reader::files(const Field& f, const Node& node, const Source& source, Value& out) {
  Value patterns;
  if (!texts(f, node, source, patterns)) return false;
  bool ok = true;
  for (const Node& element : node.elements) {
    if (!passes(check_not_empty, element.text, element.position, source)) {
      ok = false;
      continue;
    }
    const std::string pattern = resolve(source.directory, element.text);
    const std::vector<std::string> names = glob_ ? glob_(pattern) : std::vector<std::string>{};
    if (names.empty()) {
      const bool wild = has_wildcard(pattern);
      problem(source, element.position, wild ? "no file matches " + printable(pattern) : "the file " + printable(pattern) + " is not there",
              "a relative path starts at the directory of this file");
      out_.problems.back().warning = wild;
      ok = ok && wild;
    }
    for (const std::string& name : names)
      if (std::find(out.list.begin(), out.list.end(), name) == out.list.end()) out.list.push_back(name);
  }
  if (out.list.size() > kRuleFilesMax) {
    problem(source, node.position,
            "\"" + std::string(f.key) + "\" names " + std::to_string(out.list.size()) + " files, more than the most, 1000",
            "narrow the patterns");
    return false;
  }
  return ok;
}

void Reader::show(const Field& f, const Value& v, const std::string& path, Origin origin) {
  Json json;
  switch (f.kind) {
    case Kind::duration: json = format_duration(Duration(v.number)); break;
    case Kind::integer: json = v.number; break;
    case Kind::boolean: json = v.number != 0; break;
    case Kind::texts:
    case Kind::paths:
    case Kind::files:
      json = Json::array();
      for (const std::string& entry : v.list) json.push(entry);
      break;
    case Kind::map:
      json = Json::object();
      for (const auto& [key, text] : v.map) json.set(key, f.secret ? "(hidden)" : text);
      break;
    default: json = f.secret ? "(hidden)" : v.text; break;
  }
  out_.shown.push_back(Shown{path, json.dump(), std::move(origin)});
}

Value default_value(const Field& f) {
  Value v;
  const std::string_view text = f.fallback;
  v.text = text;
  switch (f.kind) {
    case Kind::duration: v.number = parse_duration(text).value().count(); break;
    case Kind::integer: std::from_chars(text.data(), text.data() + text.size(), v.number); break;
    case Kind::boolean: v.number = text == "true"; break;
    case Kind::texts:
      if (!text.empty()) v.list.emplace_back(text);
      break;
    case Kind::choice:
      for (const Choice& c : f.choices)
        if (text == c.word) v.number = c.number;
      break;
    default: break;
  }
  return v;
}

}  // namespace rollbackd::config
