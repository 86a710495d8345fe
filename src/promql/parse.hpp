// PromQL text to syntax tree. The tree is what everything else reads: the evaluator, the index of touched rules, the proof of locality.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "series/store.hpp"

namespace rollbackd::promql {

enum class ValueType { scalar, vector, matrix, string };
const char* to_string(ValueType type);

struct Expr;
using ExprPtr = std::shared_ptr<const Expr>;  ///< trees are immutable and shared

enum class BinaryOp { add, sub, mul, div, mod, pow, atan2, eq, ne, lt, le, gt, ge, land, lor, lunless };

struct VectorMatching {
  enum class Card { one_to_one, many_to_one, one_to_many, many_to_many };
  Card card = Card::one_to_one;
  bool on = false;                   ///< `on (...)` rather than `ignoring (...)`
  std::vector<std::string> labels;   ///< of on/ignoring
  std::vector<std::string> include;  ///< of group_left/group_right
};

/// One node. `kind` says which fields count.
struct Expr {
  enum class Kind { number, string, selector, range_selector, subquery, unary_minus, binary, aggregate, call, paren };
  Kind kind = Kind::number;
  ValueType type = ValueType::scalar;
  std::uint32_t begin = 0, end = 0;  ///< byte range in the text
  std::uint32_t height = 1;          ///< of the tree from here down; at most 128, so that recursion over it is bounded

  double number = 0;   // number
  std::string string;  // string

  std::vector<series::Matcher> matchers;  // selector, range_selector (`__name__` among them)
  Duration range{};                       // range_selector, subquery
  Duration step{};                        // subquery; 0 = default
  Duration offset{};                      // selectors, subquery; may be negative
  enum class At { none, timestamp, start, end };
  At at_kind = At::none;  // selectors, subquery
  Instant at;

  BinaryOp op = BinaryOp::add;  // binary
  bool return_bool = false;
  VectorMatching matching;

  std::string function;               // call: its name; aggregate: its name
  bool by = false, without = false;   // aggregate
  std::vector<std::string> grouping;  // aggregate
  std::vector<ExprPtr> args;          // operands: binary two, unary/paren/subquery one, aggregate [param,] expr, call its arguments
};

/// Parses `text`.
/// @return `invalid_argument` with "column N: ..." (1-based, in characters) in `why`; nesting over 128 or text over 64 KiB is an error too
Result<ExprPtr> parse(std::string_view text);

/// The tree as canonical text (like Prometheus's String()); parsing it again gives an equal tree.
std::string to_text(const Expr& expr);

/// Every selector in the tree, for indexes and proofs.
std::vector<const Expr*> selectors(const Expr& expr);

}  // namespace rollbackd::promql
