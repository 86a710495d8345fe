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
  explicit Handler(TreeBuilder& builder) : builder_(builder) {}

  bool on(const yaml_event_t& event) {
    const Position at = place(event.start_mark);
    switch (event.type) {
      case YAML_ALIAS_EVENT: return alias(text_of(event.data.alias.anchor), at);
      case YAML_SCALAR_EVENT: return scalar(event, at);
      case YAML_SEQUENCE_START_EVENT: return open(Node::Kind::array, text_of(event.data.sequence_start.anchor), at);
      case YAML_MAPPING_START_EVENT: return open(Node::Kind::object, text_of(event.data.mapping_start.anchor), at);
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT: return close();
      default: return true;
    }
  }

 private:
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
    const bool plain = found.style == YAML_PLAIN_SCALAR_STYLE;
    Node node;
    node.position = at;
    node.text.assign(reinterpret_cast<const char*>(found.value), found.length);
    if (tag == "!" || tag == std::string(kStandard) + "str" || (tag.empty() && !plain)) {
      node.kind = Node::Kind::string;
      node.quoted = true;
    } else if (tag.empty() || tag.starts_with(kStandard)) {
      node.kind = kind_of(node.text);
    } else {
      return builder_.fail(at, "the tag \"" + tag + "\" means nothing here", "remove it");
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

  bool open(Node::Kind kind, std::string anchor, Position at) {
    if (builder_.wants_key()) return builder_.fail(at, "expected a plain key", "write it as key: value");
    if (!builder_.open(kind, at)) return false;
    if (!anchor.empty()) open_names_.insert(anchor);
    open_anchors_.push_back(std::move(anchor));
    return true;
  }
  bool close() {
    const std::string anchor = std::move(open_anchors_.back());
    open_anchors_.pop_back();
    if (const auto open = open_names_.find(anchor); open != open_names_.end()) open_names_.erase(open);
    return builder_.merge() && builder_.close() && remember(anchor);
  }

  TreeBuilder& builder_;
  std::map<std::string, Anchored> anchors_;
  std::vector<std::string> open_anchors_;  ///< of the open collections, "" for one without
  std::multiset<std::string> open_names_;  ///< those of them that have a name
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

}  // namespace

bool read_yaml(std::string_view text, const Lines& lines, bool first_counts, TreeBuilder& builder) {
  Events events(text);
  Handler handler(builder);
  bool read = false;  // the first document is
  while (true) {
    const bool good = events.next();
    if (!good && read && first_counts) return true;  // Prometheus does not look behind the first document.
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
    if (!handler.on(event)) return false;
    read = read || event.type == YAML_DOCUMENT_END_EVENT;
  }
}

}  // namespace rollbackd::config
