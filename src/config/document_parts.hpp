// What the JSON and the YAML reader share: the place of an offset, the bounds, and the tree they build. For document*.cpp alone.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "config/document.hpp"

namespace rollbackd::config {

inline constexpr std::size_t kTextBytesMax = 8 << 20;
inline constexpr std::size_t kDepthMax = 64;
inline constexpr std::size_t kNodesMax = 1'000'000;

/// Turns byte offsets of a text into lines and columns. Columns count characters, so that an editor's cursor agrees.
class Lines {
 public:
  explicit Lines(std::string_view text);
  Position of_offset(std::size_t offset) const;
  /// @param line, column  0-based, the column in bytes
  Position of_bytes(int line, int column) const;

 private:
  std::string_view text_;
  std::vector<std::size_t> starts_;
};

/// Builds a tree from a reader's events, within the bounds. A stack instead of recursion.
class TreeBuilder {
 public:
  TreeBuilder(std::string_view file, std::vector<Problem>& problems) : file_(file), problems_(problems) {}

  /// Each returns false when a bound or a rule was broken: the problem is recorded and reading should stop.
  bool scalar(Node node) { return put(std::move(node), 1, 0); }
  bool open(Node::Kind kind, Position position);
  /// @param merges  whether it is YAML's merge key, which `merge` carries out
  bool key(std::string key, Position position, bool merges = false);
  bool close();
  /// Carries out YAML's merge key in the open object: `<<: *other` adds the keys of `other` that are not there.
  bool merge();
  /// Puts a copy of a finished tree (a YAML alias); `nodes` and `depth` are the tree's own.
  bool copy(const Node& node, std::size_t nodes, std::size_t depth, Position position);

  bool in_object() const { return !stack_.empty() && stack_.back().node.kind == Node::Kind::object; }
  bool wants_key() const { return in_object() && !stack_.back().has_key; }
  /// The last finished value: what a YAML anchor names.
  const Node& last() const;
  std::size_t last_nodes() const { return last_nodes_; }
  std::size_t last_depth() const { return last_depth_; }
  bool fail(Position position, std::string what, std::string remedy);
  void warn(Position position, std::string what, std::string remedy);
  Node take() { return std::move(root_); }

 private:
  struct Frame {
    Node node;
    std::string key;
    Position key_position;
    bool has_key = false;
    std::vector<Node> merged;  ///< the values of its merge keys
    bool merges = false;       ///< `key` is one
    std::size_t nodes = 1, depth = 1;
  };
  bool put(Node node, std::size_t nodes, std::size_t depth);
  void report_duplicates(const Node& object);

  std::string file_;
  std::vector<Problem>& problems_;
  std::vector<Frame> stack_;
  Node root_;
  std::size_t nodes_ = 0, last_nodes_ = 0, last_depth_ = 0;
};

inline constexpr std::string_view kMergeKey = "<<";

/// @param first_counts  of several documents the first counts, with a warning; else a second one is an error
/// @return false after a problem that ended the reading; it is among the builder's problems then
bool read_yaml(std::string_view text, const Lines& lines, bool first_counts, TreeBuilder& builder);

}  // namespace rollbackd::config
