// YAML to the positioned tree, through yaml-cpp's events: anchors are expanded within the bounds, merge keys (<<) are followed.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "config/document_parts.hpp"

namespace rollbackd::config {
namespace {

/// Thrown through yaml-cpp to end the reading; the builder has recorded why. Never leaves this file.
struct Stop {};

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

class YamlHandler : public YAML::EventHandler {
 public:
  YamlHandler(const Lines& lines, TreeBuilder& builder) : lines_(lines), builder_(builder) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { scalar(mark, "?", anchor, "null"); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    scalar(mark, tag, anchor, value);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) stop(mark, "an alias inside the value it stands for", "write the value out");
    const Anchored& value = found->second;
    if (builder_.wants_key()) {
      if (value.node.kind == Node::Kind::array || value.node.kind == Node::Kind::object)
        stop(mark, "expected a plain key", "write it as key: value");
      builder_.key(value.node.text, place(mark));
    } else {
      check(builder_.copy(value.node, value.nodes, value.depth, place(mark)));
    }
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(Node::Kind::array, mark, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(Node::Kind::object, mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Anchored {
    Node node;
    std::size_t nodes = 1, depth = 0;
  };

  Position place(const YAML::Mark& mark) const { return lines_.of_bytes(mark.line, mark.column); }
  void check(bool ok) {
    if (!ok) throw Stop{};
  }
  [[noreturn]] void stop(const YAML::Mark& mark, std::string what, std::string remedy) {
    builder_.fail(place(mark), std::move(what), std::move(remedy));
    throw Stop{};
  }
  void remember(YAML::anchor_t anchor) {
    if (anchor == YAML::NullAnchor) return;
    anchored_nodes_ += builder_.last_nodes();  // Nested anchors hold copies: their sum is bounded like the tree itself.
    if (anchored_nodes_ > kNodesMax) {
      builder_.fail(builder_.last().position, "the anchors hold more than " + std::to_string(kNodesMax) + " values",
                    "write the values out");
      throw Stop{};
    }
    anchors_[anchor] = Anchored{builder_.last(), builder_.last_nodes(), builder_.last_depth()};
  }
  void scalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& text) {
    constexpr std::string_view kStandard = "tag:yaml.org,2002:";
    Node node;
    node.position = place(mark);
    node.text = text;
    if (tag == "!" || tag == std::string(kStandard) + "str") {
      node.kind = Node::Kind::string;
      node.quoted = true;
    } else if (tag.empty() || tag == "?" || tag.starts_with(kStandard)) {
      node.kind = kind_of(text);
    } else {
      stop(mark, "the tag \"" + tag + "\" means nothing here", "remove it");
    }
    if (builder_.wants_key()) {
      if (anchor != YAML::NullAnchor) anchors_[anchor] = Anchored{node, 1, 0};
      builder_.key(text, node.position);
      return;
    }
    check(builder_.scalar(std::move(node)));
    remember(anchor);
  }
  void open(Node::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (builder_.wants_key()) stop(mark, "expected a plain key", "write it as key: value");
    check(builder_.open(kind, place(mark)));
    open_anchors_.push_back(anchor);
  }
  void close() {
    const YAML::anchor_t anchor = open_anchors_.back();
    open_anchors_.pop_back();
    builder_.merge();
    check(builder_.close());
    remember(anchor);
  }

  const Lines& lines_;
  TreeBuilder& builder_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  std::vector<YAML::anchor_t> open_anchors_;
  std::size_t anchored_nodes_ = 0;
};

}  // namespace

bool read_yaml(std::string_view text, const Lines& lines, TreeBuilder& builder) {
  YamlHandler handler(lines, builder);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(handler)) handler.OnNull(YAML::Mark(), YAML::NullAnchor);
    struct Ignore : YAML::EventHandler {  // A second document is only looked for.
      YAML::Mark mark;
      void OnDocumentStart(const YAML::Mark& m) override {
        mark = m;
        throw Stop{};
      }
      void OnDocumentEnd() override {}
      void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
      void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
      void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
      void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
      void OnSequenceEnd() override {}
      void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
      void OnMapEnd() override {}
    } ignore;
    try {
      parser.HandleNextDocument(ignore);
    } catch (const Stop&) {
      return builder.fail(lines.of_bytes(ignore.mark.line, ignore.mark.column), "expected one document in this file, found a second",
                          "remove \"---\" and what follows");
    }
    return true;
  } catch (const Stop&) {
    return false;
  } catch (const YAML::Exception& e) {
    return builder.fail(lines.of_bytes(e.mark.line, e.mark.column), "not valid YAML: " + e.msg,
                        "check indentation, quotes and brackets here and on the line above");
  } catch (const std::exception& e) {
    return builder.fail({1, 1}, std::string("not valid YAML: ") + e.what(), "check the file's syntax");
  }
}

}  // namespace rollbackd::config
