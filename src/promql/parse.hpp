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

/// `trim_upper` (`</`) and `trim_lower` (`>/`) are of native histograms alone: they parse, and give nothing over floats.
enum class BinaryOp { add, sub, mul, div, mod, pow, atan2, eq, ne, lt, le, gt, ge, land, lor, lunless, trim_upper, trim_lower };

struct VectorMatching {
  enum class Card { one_to_one, many_to_one, one_to_many, many_to_many };
  Card card = Card::one_to_one;
  bool on = false;                   ///< `on (...)` rather than `ignoring (...)`
  std::vector<std::string> labels;   ///< of on/ignoring
  std::vector<std::string> include;  ///< of group_left/group_right
};

struct DurationExpr;
using DurationPtr = std::shared_ptr<const DurationExpr>;

/// A duration that is more than a literal: `5m + 1m`, `step() * 2`, `-(1h % 7m)`.
struct DurationExpr {
  enum class Op { literal, step, range, min_of, max_of, plus, minus, add, sub, mul, div, mod, pow };
  Op op = Op::literal;
  double seconds = 0;        ///< literal
  bool as_duration = false;  ///< literal: written as `5m` rather than as `300`
  bool in_parens = false;    ///< printed in parentheses
  DurationPtr left, right;   ///< plus and minus have `right` alone
  std::uint32_t height = 1;  ///< bounded like an Expr's
};

/// What a duration comes to, in seconds, in a query over `range` with steps of `step` (both 0 in an instant one and in rules).
/// @return `invalid_argument` for a division by zero
Result<double> seconds_of(const DurationExpr& duration, Duration step, Duration range);

/// One node. `kind` says which fields count.
struct Expr {
  enum class Kind { number, string, selector, range_selector, subquery, unary_minus, binary, aggregate, call, paren, unary_plus };
  Kind kind = Kind::number;
  ValueType type = ValueType::scalar;
  std::uint32_t begin = 0, end = 0;  ///< byte range in the text
  std::uint32_t height = 1;          ///< of the tree from here down; at most 128, so that recursion over it is bounded

  double number = 0;         // number
  bool as_duration = false;  // number: written as `5m`
  std::string string;        // string

  std::vector<series::Matcher> matchers;  // selector, range_selector (`__name__` among them)
  bool named = false;                     // selector, range_selector: the first matcher is the name written before the braces
  Duration range{};                       // range_selector, subquery
  Duration step{};                        // subquery; 0 = default
  Duration offset{};                      // selectors, subquery; may be negative
  // Set where the duration above is no plain literal. The durations above are then those of an instant query, as rules are (0 if wrong).
  DurationPtr range_expr, step_expr, offset_expr;
  /// `anchored`: a window begins with the last value before it; `smoothed`: values at its ends lie on the lines between samples.
  enum class Extend { none, anchored, smoothed };
  Extend extend = Extend::none;  // selector, range_selector
  enum class At { none, timestamp, start, end };
  At at_kind = At::none;  // selectors, subquery
  Instant at;

  BinaryOp op = BinaryOp::add;  // binary
  bool return_bool = false;
  VectorMatching matching;

  std::string function;               // call: its name; aggregate: its name
  bool by = false, without = false;   // aggregate
  std::vector<std::string> grouping;  // aggregate
  std::vector<ExprPtr> args;          // operands: binary two, unary_*/paren/subquery one, aggregate [param,] expr, call its arguments
};

/// Parses `text`.
/// @return `invalid_argument` with "column N: ..." (1-based, in characters) in `why`; nesting over 128 or text over 64 KiB is an error too
Result<ExprPtr> parse(std::string_view text);

/// The tree as canonical text, Prometheus's `String()`; parsing it again gives an equal tree.
std::string to_text(const Expr& expr);
std::string to_text(const DurationExpr& duration);

/// A number as Prometheus prints it: the shortest digits that read back the same, `1e+06`, `+Inf`, `NaN`.
std::string number_text(double value);

/// Every selector in the tree, for indexes and proofs.
std::vector<const Expr*> selectors(const Expr& expr);

}  // namespace rollbackd::promql
