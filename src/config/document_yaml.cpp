// YAML to the positioned tree, through libyaml's events: Prometheus's own reader is a port of that library, so both take the same files.
// Anchors are expanded within the bounds, merge keys (<<) are followed.
#include <yaml.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "config/document_parts.hpp"

namespace rollbackd::config {
namespace {

bool one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool is_number(std::string_view text) {
  std::size_t at = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  if (one_of(text.substr(at), {".inf", ".Inf", ".INF"}) || one_of(text, {".nan", ".NaN", ".NAN"})) return true;
  const auto digits = [&] {
    const std::size_t from = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - from;
  };
  std::size_t found = digits();
  if (at < text.size() && text[at] == '.') {
    ++at;
    found += digits();
  }
  if (found == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

/// YAML 1.2's core schema, as Prometheus reads it: yes, no, on and off are strings.
Node::Kind kind_of(std::string_view text) {
  if (text.empty() || one_of(text, {"~", "null", "Null", "NULL"})) return Node::Kind::null;
  if (one_of(text, {"true", "True", "TRUE", "false", "False", "FALSE"})) return Node::Kind::boolean;
  return is_number(text) ? Node::Kind::number : Node::Kind::string;
}

/// libyaml's parser over a text, and one event of it at a time.
class Events {
 public:
  explicit Events(std::string_view text) {
    yaml_parser_initialize(&parser_);  // Fails without memory alone; what follows then reports an error.
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  }
  ~Events() {
    drop();
    yaml_parser_delete(&parser_);
  }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  /// Steps to the next event. @return false where the text is no YAML
  bool next() {
    drop();
    held_ = yaml_parser_parse(&parser_, &event_) != 0;
    return held_;
  }
  const yaml_event_t& event() const { return event_; }
  const yaml_parser_t& parser() const { return parser_; }

 private:
  void drop() {
    if (held_) yaml_event_delete(&event_);
    held_ = false;
  }
  yaml_parser_t parser_{};
  yaml_event_t event_{};
  bool held_ = false;
};

/// libyaml's own strings are unsigned, and null where there is none.
std::string text_of(const unsigned char* s) { return s == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(s)); }

Position place(const yaml_mark_t& mark) { return {static_cast<int>(mark.line) + 1, static_cast<int>(mark.column) + 1}; }

Node null_at(Position at) {
  Node node;
  node.text = "null";
  node.position = at;
  return node;
}

/// Turns events into the tree. Each handler returns false after a problem that ends the reading; the builder has recorded it.
class Handler {
 public:
  /// @param own_tags  whether tags of nobody's knowledge ("!foo") mean nothing instead of being an error
  Handler(std::string_view text, bool own_tags, TreeBuilder& builder) : text_(text), own_tags_(own_tags), builder_(builder) {}

  bool on(const yaml_event_t& event) {
    const Position at = place(event.start_mark);
    switch (event.type) {
      case YAML_ALIAS_EVENT: return alias(text_of(event.data.alias.anchor), at);
      case YAML_SCALAR_EVENT: return scalar(event, at);
      case YAML_SEQUENCE_START_EVENT: {
        const auto& found = event.data.sequence_start;
        return open(Node::Kind::array, {text_of(found.anchor), found.style == YAML_FLOW_SEQUENCE_STYLE}, at);
      }
      case YAML_MAPPING_START_EVENT: {
        const auto& found = event.data.mapping_start;
        return open(Node::Kind::object, {text_of(found.anchor), found.style == YAML_FLOW_MAPPING_STYLE}, at);
      }
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT: return close();
      default: return true;
    }
  }

 private:
  /// A collection that is not yet closed.
  struct Open {
    std::string anchor;  ///< "" when it has none
    bool flow = false;   ///< in brackets
  };
  struct Anchored {
    Node node;
    std::size_t nodes = 1, depth = 0;
  };

  bool alias(const std::string& name, Position at) {
    if (open_names_.contains(name)) return builder_.fail(at, "an alias inside the value it stands for", "write the value out");
    const auto found = anchors_.find(name);
    if (found == anchors_.end()) return builder_.fail(at, "the alias *" + name + " has no anchor before it", "write &" + name + " first");
    const Anchored& value = found->second;
    if (!builder_.wants_key()) return builder_.copy(value.node, value.nodes, value.depth, at);
    if (value.node.kind == Node::Kind::array || value.node.kind == Node::Kind::object)
      return builder_.fail(at, "expected a plain key", "write it as key: value");
    return builder_.key(value.node.text, at);
  }

  /// What an anchor names is kept as a copy. Nested anchors hold copies of copies: their sum is bounded like the tree itself.
  bool remember(const std::string& name) {
    if (name.empty()) return true;
    anchored_nodes_ += builder_.last_nodes();
    if (anchored_nodes_ > kNodesMax) {
      return builder_.fail(builder_.last().position, "the anchors hold more than " + std::to_string(kNodesMax) + " values",
                           "write the values out");
    }
    anchors_[name] = Anchored{builder_.last(), builder_.last_nodes(), builder_.last_depth()};
    return true;
  }

  bool scalar(const yaml_event_t& event, Position at) {
    constexpr std::string_view kStandard = "tag:yaml.org,2002:";
    const auto& found = event.data.scalar;
    const std::string tag = text_of(found.tag);
    if (found.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE && escapes_slash(event))
      return builder_.fail(at, "not valid YAML: found unknown escape character", "write / and not \\/, which Prometheus does not read");
    const bool plain = found.style == YAML_PLAIN_SCALAR_STYLE;
    Node node;
    node.position = at;
    node.text.assign(reinterpret_cast<const char*>(found.value), found.length);
    if (plain && !open_.empty() && open_.back().flow && node.text.find('?', 1) != std::string::npos)
      return builder_.fail(at, "not valid YAML: did not find expected ',' or '}'", "put a text with a ? in quotes between brackets");
    const bool standard = tag.starts_with(kStandard);
    const bool other = !tag.empty() && tag != "!" && !standard;
    if (other && !own_tags_) return builder_.fail(at, "the tag \"" + tag + "\" means nothing here", "remove it");
    if (other || tag == "!" || tag == std::string(kStandard) + "str" || (tag.empty() && !plain)) {
      node.kind = Node::Kind::string;
      node.quoted = true;
    } else {
      node.kind = kind_of(node.text);
      if (standard && !fits(tag.substr(kStandard.size()), node.kind))
        return builder_.fail(at, "\"" + node.text + "\" is not what the tag !!" + tag.substr(kStandard.size()) + " says", "remove the tag");
    }
    if (node.kind == Node::Kind::null) node.text = "null";
    const std::string anchor = text_of(found.anchor);
    if (builder_.wants_key()) {
      const bool merges = plain && tag.empty() && node.text == kMergeKey;
      if (!anchor.empty()) anchors_[anchor] = Anchored{node, 1, 0};
      return builder_.key(merges ? std::string(kMergeKey) : std::move(node.text), at, merges);
    }
    return builder_.scalar(std::move(node)) && remember(anchor);
  }

  /// JSON's and libyaml's escape \/, the only one that Prometheus's reader does not know.
  bool escapes_slash(const yaml_event_t& event) {
    const std::size_t from = offset(event.start_mark.index), to = offset(event.end_mark.index);
    const std::string_view written = text_.substr(from, to - from);
    for (std::size_t at = written.find('\\'); at != std::string_view::npos; at = written.find('\\', at + 2))
      if (at + 1 < written.size() && written[at + 1] == '/') return true;
    return false;
  }
  /// The byte offset of a character. Events come in order, so that each text is counted about once.
  std::size_t offset(std::size_t character) {
    if (character < counted_) counted_ = counted_bytes_ = 0;
    for (; counted_ < character && counted_bytes_ < text_.size(); ++counted_)
      for (++counted_bytes_; counted_bytes_ < text_.size() && (static_cast<unsigned char>(text_[counted_bytes_]) & 0xc0) == 0x80;)
        ++counted_bytes_;
    return counted_bytes_;
  }

  /// Whether a scalar of this kind may carry the standard tag.
  static bool fits(const std::string& tag, Node::Kind kind) {
    if (tag == "int" || tag == "float") return kind == Node::Kind::number;
    if (tag == "bool") return kind == Node::Kind::boolean;
    return tag != "null" || kind == Node::Kind::null;
  }

  bool open(Node::Kind kind, Open opened, Position at) {
    if (builder_.wants_key()) return builder_.fail(at, "expected a plain key", "write it as key: value");
    if (!builder_.open(kind, at)) return false;
    if (!opened.anchor.empty()) open_names_.insert(opened.anchor);
    open_.push_back(std::move(opened));
    return true;
  }
  bool close() {
    const std::string anchor = std::move(open_.back().anchor);
    open_.pop_back();
    if (const auto open = open_names_.find(anchor); open != open_names_.end()) open_names_.erase(open);
    return builder_.merge() && builder_.close() && remember(anchor);
  }

  std::string_view text_;
  bool own_tags_;
  std::size_t counted_ = 0, counted_bytes_ = 0;  ///< characters of the text, and their bytes
  TreeBuilder& builder_;
  std::map<std::string, Anchored> anchors_;
  std::vector<Open> open_;
  std::multiset<std::string> open_names_;  ///< the anchors among them
  std::size_t anchored_nodes_ = 0;
};

bool not_yaml(const yaml_parser_t& parser, const Lines& lines, TreeBuilder& builder) {
  std::string what = std::string("not valid YAML: ") + (parser.problem == nullptr ? "out of memory" : parser.problem);
  if (parser.error == YAML_READER_ERROR)
    return builder.fail(lines.of_offset(parser.problem_offset), what, "remove the character, or write it as an escape in double quotes");
  if (parser.context != nullptr) {
    what += " " + std::string(parser.context);
    if (parser.context_mark.line != parser.problem_mark.line) what += " from line " + std::to_string(parser.context_mark.line + 1);
  }
  return builder.fail(place(parser.problem_mark), what, "check indentation, quotes and brackets here and on the line above");
}

/// libyaml also takes %YAML 1.2.
bool says_other_version(const yaml_event_t& event) {
  if (event.type != YAML_DOCUMENT_START_EVENT) return false;
  const yaml_version_directive_t* version = event.data.document_start.version_directive;
  return version != nullptr && (version->major != 1 || version->minor != 1);
}

}  // namespace

bool read_yaml(std::string_view text, const Lines& lines, bool first_counts, TreeBuilder& builder) {
  Events events(text);
  Handler handler(text, first_counts, builder);
  bool read = false;  // the first document is
  while (true) {
    const bool good = events.next();
    // Prometheus looks two tokens behind the first document, and no further.
    if (!good && read && first_counts && events.parser().error != YAML_SCANNER_ERROR) return true;
    if (!good) return not_yaml(events.parser(), lines, builder);
    const yaml_event_t& event = events.event();
    if (event.type == YAML_STREAM_END_EVENT) return read || builder.scalar(null_at({1, 1}));
    if (read && event.type == YAML_DOCUMENT_START_EVENT) {
      const Position at = place(event.start_mark);
      if (!first_counts) return builder.fail(at, "expected one document in this file, found a second", "remove \"---\" and what follows");
      builder.warn(at, "a second document begins here, and Prometheus reads the first alone",
                   "move its groups into the first, or into a file of their own");
      return true;
    }
    if (first_counts && says_other_version(event)) {
      return builder.fail(place(event.start_mark), "not valid YAML: found incompatible YAML document",
                          "remove the line that begins with %YAML: Prometheus reads none but %YAML 1.1");
    }
    if (!handler.on(event)) return false;
    read = read || event.type == YAML_DOCUMENT_END_EVENT;
  }
}

}  // namespace rollbackd::config
