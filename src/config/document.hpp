// A JSON or YAML document in which every value knows its line and column. Configuration and rule files are both read through it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"

namespace rollbackd::config {

struct Position {
  int line = 0, column = 0;  ///< 1-based
};

/// One value with its place. A scalar keeps its text; `quoted` tells "10" from 10.
struct Node {
  enum class Kind { null, boolean, number, string, array, object };
  struct Member;
  Kind kind = Kind::null;
  std::string text;  ///< of a scalar: as written, unescaped
  bool quoted = false;
  std::vector<Node> elements;
  std::vector<Member> members;  ///< in file order
  Position position;
  const Node* find(std::string_view key) const;
};
struct Node::Member {
  std::string key;
  Position position;  ///< of the key
  Node value;
};
const char* to_string(Node::Kind kind);

/// A problem at a place. `text()` is "FILE:LINE:COLUMN: what (remedy)".
struct Problem {
  std::string file;
  Position position;
  std::string what, remedy;
  bool warning = false;
  std::string text() const;
};

/// What a JSON document may hold beyond RFC 8259.
enum class Dialect {
  config_json,  ///< comments and trailing commas allowed
  strict_json,  ///< RFC 8259 and nothing else
  yaml,
  rules,  ///< YAML as Prometheus reads its rule files, JSON among them: of several documents the first counts, with a warning
};
/// By the file name's ending: .yaml and .yml are YAML, else JSON of the given kind.
Dialect dialect_of(std::string_view file, bool rules);

/// Reads a document. Never throws. On an error the problem says where.
/// Bounds: 8 MiB of text, nesting 64 deep, 1,000,000 nodes, YAML aliases expanded within that; a key twice in one object is a problem.
Result<Node> parse_document(std::string_view text, std::string_view file, Dialect dialect, std::vector<Problem>& problems);

/// The node as JSON (positions lost).
Json to_json(const Node& node);

}  // namespace rollbackd::config
