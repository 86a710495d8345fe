// PromQL text to syntax tree. The tree is what everything else reads: the evaluator, the index of touched rules, the proof of locality.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/compact.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "series/store.hpp"

namespace rollbackd::promql {

enum class ValueType : std::uint8_t { scalar, vector, matrix, string };
const char* to_string(ValueType type);

struct Expr;
using ExprPtr = std::shared_ptr<const Expr>;  ///< trees are immutable and shared

/// `trim_upper` (`</`) and `trim_lower` (`>/`) are of native histograms alone: they parse, and give nothing over floats.
enum class BinaryOp : std::uint8_t {
  add,
  sub,
  mul,
  div,
  mod,
  pow,
  atan2,
  eq,
  ne,
  lt,
  le,
  gt,
  ge,
  land,
  lor,
  lunless,
  trim_upper,
  trim_lower
};

struct VectorMatching {
  enum class Card : std::uint8_t { one_to_one, many_to_one, one_to_many, many_to_many };
  Card card = Card::one_to_one;
  bool on = false;                   ///< `on (...)` rather than `ignoring (...)`
  std::vector<std::string> labels;   ///< of on/ignoring
  std::vector<std::string> include;  ///< of group_left/group_right
  bool operator==(const VectorMatching&) const = default;
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

/// The name of a function or an aggregation: its place in their table, as names are what every node of a tree would carry.
struct FunctionName {
  std::uint16_t place = 0;  ///< 0: none
  /// @return none for a name that is in neither table
  static FunctionName of(std::string_view name);
  operator std::string_view() const;  // NOLINT(google-explicit-constructor): reads as the text it stands for
  friend bool operator==(FunctionName a, std::string_view b) { return std::string_view(a) == b; }
  friend std::string operator+(FunctionName a, std::string_view b) { return std::string(std::string_view(a)).append(b); }
  friend std::string operator+(std::string_view a, FunctionName b) { return std::string(a).append(std::string_view(b)); }
};

/// One node. `kind` says which fields count. A rule holds several for as long as it is loaded, so what few nodes have is aside.
struct Expr {
  enum class Kind : std::uint8_t {
    number,
    string,
    selector,
    range_selector,
    subquery,
    unary_minus,
    binary,
    aggregate,
    call,
    paren,
    unary_plus
  };
  /// `anchored`: a window begins with the last value before it; `smoothed`: values at its ends lie on the lines between samples.
  enum class Extend : std::uint8_t { none, anchored, smoothed };
  enum class At : std::uint8_t { none, timestamp, start, end };
  /// What few nodes have.
  struct Rest {
    std::string string;  // string
    Duration step{};     // subquery; 0 = default
    Duration offset{};   // selectors, subquery; may be negative
    Instant at;          // selectors, subquery
    DurationPtr range_expr, step_expr, offset_expr;
    VectorMatching matching;            // binary
    std::vector<std::string> grouping;  // aggregate
  };

  Kind kind = Kind::number;
  ValueType type = ValueType::scalar;
  BinaryOp op = BinaryOp::add;       // binary
  At at_kind = At::none;             // selectors, subquery
  Extend extend = Extend::none;      // selector, range_selector
  bool as_duration = false;          // number: written as `5m`
  bool named = false;                // selector, range_selector: the first matcher is the name written before the braces
  bool return_bool = false;          // binary
  bool by = false, without = false;  // aggregate
  FunctionName function;             // call, aggregate
  std::uint32_t begin = 0, end = 0;  ///< byte range in the text
  std::uint32_t height = 1;          ///< of the tree from here down; at most 128, so that recursion over it is bounded
  double number = 0;                 // number
  Duration range{};                  // range_selector, subquery
  Packed<series::Matcher> matchers;  // selector, range_selector (`__name__` among them)
  Packed<ExprPtr> args;              // operands: binary two, unary_*/paren/subquery one, aggregate [param,] expr, call its arguments
  Rare<Rest> rest;

  const std::string& string() const { return rest->string; }
  Duration step() const { return rest->step; }
  Duration offset() const { return rest->offset; }
  Instant at() const { return rest->at; }
  // Set where the duration is no plain literal. The durations themselves are then those of an instant query, as rules are (0 if wrong).
  const DurationPtr& range_expr() const { return rest->range_expr; }
  const DurationPtr& step_expr() const { return rest->step_expr; }
  const DurationPtr& offset_expr() const { return rest->offset_expr; }
  const VectorMatching& matching() const { return rest->matching; }
  const std::vector<std::string>& grouping() const { return rest->grouping; }
};

/// Parses `text`.
/// @return `invalid_argument` with "column N: ..." (1-based, in characters) in `why`; nesting over 128 or text over 64 KiB is an error too
Result<ExprPtr> parse(std::string_view text);

/// The tree as canonical text, Prometheus's `String()`; parsing it again gives an equal tree.
std::string to_text(const Expr& expr);
std::string to_text(const DurationExpr& duration);

/// A duration as Prometheus prints it, to the millisecond: "1h30m", "0s". Years and weeks only where nothing is left over: 8d, not 1w1d.
std::string duration_text(Duration d);

/// A number as Prometheus prints it: the shortest digits that read back the same, `1e+06`, `+Inf`, `NaN`.
std::string number_text(double value);

/// Every selector in the tree, for indexes and proofs.
std::vector<const Expr*> selectors(const Expr& expr);

}  // namespace rollbackd::promql
