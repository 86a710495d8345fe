// The tree's bounds and its duplicate keys, and what can be asked of a finished document.
#include <algorithm>
#include <charconv>
#include <set>

#include "config/document_parts.hpp"

namespace rollbackd::config {

Lines::Lines(std::string_view text) : text_(text) {
  starts_.push_back(0);
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\n') starts_.push_back(i + 1);
}

Position Lines::of_offset(std::size_t offset) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), offset);
  const auto line = static_cast<int>(after - starts_.begin()) - 1;
  return of_bytes(line, static_cast<int>(offset - starts_[static_cast<std::size_t>(line)]));
}

Position Lines::of_bytes(int line, int column) const {
  if (line < 0) return {1, 1};
  Position out{line + 1, 1};
  if (static_cast<std::size_t>(line) >= starts_.size()) return out;
  const std::string_view before = text_.substr(starts_[static_cast<std::size_t>(line)], static_cast<std::size_t>(std::max(column, 0)));
  out.column +=
      static_cast<int>(std::count_if(before.begin(), before.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
  return out;
}

bool TreeBuilder::fail(Position position, std::string what, std::string remedy) {
  problems_.push_back(Problem{file_, position, std::move(what), std::move(remedy)});
  return false;
}

void TreeBuilder::warn(Position position, std::string what, std::string remedy) {
  problems_.push_back(Problem{file_, position, std::move(what), std::move(remedy), true});
}

bool TreeBuilder::open(Node::Kind kind, Position position) {
  if (stack_.size() >= kDepthMax)
    return fail(position, "nested deeper than " + std::to_string(kDepthMax) + " levels",
                "no document of rollbackd needs that; check the brackets");
  Frame frame;
  frame.node.kind = kind;
  frame.node.position = position;
  stack_.push_back(std::move(frame));
  return true;
}

bool TreeBuilder::key(std::string key, Position position, bool merges) {
  Frame& frame = stack_.back();
  frame.merges = merges;
  frame.key = std::move(key);
  frame.key_position = position;
  frame.has_key = true;
  return true;
}

bool TreeBuilder::close() {
  Frame frame = std::move(stack_.back());
  stack_.pop_back();
  if (frame.node.kind == Node::Kind::object) report_duplicates(frame.node);
  return put(std::move(frame.node), frame.nodes, frame.depth);
}

bool TreeBuilder::merge() {
  Frame& frame = stack_.back();
  if (frame.merged.empty()) return true;
  if (frame.merged.size() > 1)
    return fail(frame.merged[1].position, "the key \"<<\" stands here for the second time", "write <<: [*one, *other]");
  Node& object = frame.node;
  std::set<std::string, std::less<>> known;
  for (const Node::Member& member : object.members) known.insert(member.key);
  const auto add = [&](Node& other) {
    if (other.kind != Node::Kind::object)
      return fail(other.position, std::string("\"<<\" merges objects, and this is a ") + to_string(other.kind), "give it an object");
    for (Node::Member& member : other.members)
      if (known.insert(member.key).second) object.members.push_back(std::move(member));
    return true;
  };
  Node& from = frame.merged.front();
  if (from.kind != Node::Kind::array) return add(from);
  return std::all_of(from.elements.begin(), from.elements.end(), add);
}

bool TreeBuilder::copy(const Node& node, std::size_t nodes, std::size_t depth, Position position) {
  if (stack_.size() + depth > kDepthMax)
    return fail(position, "this alias makes the document deeper than 64 levels", "write the value out");
  if (nodes > kNodesMax - std::min(nodes_, kNodesMax))
    return fail(position, "the aliases make more than " + std::to_string(kNodesMax) + " values",
                "write the values out instead of nesting aliases");
  nodes_ += nodes - 1;  // `put` counts one more.
  return put(node, nodes, depth);
}

bool TreeBuilder::put(Node node, std::size_t nodes, std::size_t depth) {
  if (++nodes_ > kNodesMax) return fail(node.position, "more than " + std::to_string(kNodesMax) + " values", "split the document");
  last_nodes_ = nodes;
  last_depth_ = depth;
  if (stack_.empty()) {
    root_ = std::move(node);
    return true;
  }
  Frame& frame = stack_.back();
  frame.nodes += nodes;
  frame.depth = std::max(frame.depth, depth + 1);
  if (frame.node.kind == Node::Kind::array) {
    frame.node.elements.push_back(std::move(node));
  } else if (frame.merges) {
    frame.merged.push_back(std::move(node));
    frame.has_key = false;
  } else {
    frame.node.members.push_back(Node::Member{std::move(frame.key), frame.key_position, std::move(node)});
    frame.has_key = false;
  }
  return true;
}

const Node& TreeBuilder::last() const {
  if (stack_.empty()) return root_;
  const Node& parent = stack_.back().node;
  if (stack_.back().merges && parent.kind == Node::Kind::object) return stack_.back().merged.back();
  return parent.kind == Node::Kind::array ? parent.elements.back() : parent.members.back().value;
}

void TreeBuilder::report_duplicates(const Node& object) {
  std::vector<const Node::Member*> sorted;
  sorted.reserve(object.members.size());
  for (const Node::Member& member : object.members) sorted.push_back(&member);
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->key < b->key; });
  for (std::size_t i = 1, first = 0; i < sorted.size(); ++i) {
    if (sorted[i]->key != sorted[first]->key) {
      first = i;
      continue;
    }
    const Position& p = sorted[first]->position;
    fail(sorted[i]->position, "the key \"" + sorted[i]->key + "\" stands here for the second time",
         "keep one; the first is at line " + std::to_string(p.line) + ", column " + std::to_string(p.column));
  }
}

const Node* Node::find(std::string_view key) const {
  for (const Member& member : members)
    if (member.key == key) return &member.value;
  return nullptr;
}

const char* to_string(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::null: return "null";
    case Node::Kind::boolean: return "boolean";
    case Node::Kind::number: return "number";
    case Node::Kind::string: return "string";
    case Node::Kind::array: return "array";
    case Node::Kind::object: return "object";
  }
  return "unknown";
}

std::string Problem::text() const {
  std::string out = file + ":" + std::to_string(position.line) + ":" + std::to_string(position.column) + ": " + what;
  if (!remedy.empty()) out += " (" + remedy + ")";
  return out;
}

Dialect dialect_of(std::string_view file, bool rules) {
  if (file.ends_with(".yaml") || file.ends_with(".yml")) return Dialect::yaml;
  return rules ? Dialect::strict_json : Dialect::config_json;
}

namespace {

/// A number's text as JSON: whole numbers exactly, others as doubles; what is neither (YAML's .inf) stays text.
Json number_json(std::string_view text) {
  const std::string_view digits = text.starts_with('+') ? text.substr(1) : text;
  const char* end = digits.data() + digits.size();
  std::int64_t whole = 0;
  if (const auto r = std::from_chars(digits.data(), end, whole); r.ec == std::errc{} && r.ptr == end) return whole;
  double real = 0;
  if (const auto r = std::from_chars(digits.data(), end, real); r.ec == std::errc{} && r.ptr == end) return real;
  return text;
}

}  // namespace

Json to_json(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null: return {};
    case Node::Kind::boolean: return node.text.starts_with('t') || node.text.starts_with('T');
    case Node::Kind::number: return number_json(node.text);
    case Node::Kind::string: return node.text;
    case Node::Kind::array: {
      Json out = Json::array();
      for (const Node& element : node.elements) out.push(to_json(element));
      return out;
    }
    case Node::Kind::object: {
      Json out = Json::object();
      for (const Node::Member& member : node.members) out.set(member.key, to_json(member.value));
      return out;
    }
  }
  return {};
}

}  // namespace rollbackd::config
