// The plain shapes of rules that need no walk over the tree: recognised once, at load.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "promql/parse.hpp"

namespace rollbackd::rules {

/// What is made of one series.
enum class Reading : std::uint8_t { latest, rate, increase, delta, changes, resets, avg, min, max, sum, count, last, present };

/// One selector with what is made of each of its series.
struct ShapePart {
  std::uint32_t selector = 0;  ///< place among promql::selectors(expr)
  Reading reading = Reading::latest;
  Duration reach{};  ///< the window; of `latest` the lookback
};

/// `selector op c`, `f(selector[w]) op c`, `sum by (...) (either) op c`, and the ratio of two such sums; `c op ...` as well.
struct Shape {
  std::array<ShapePart, 2> parts;
  double constant = 0;
  std::uint8_t part_count = 1;  ///< two: the ratio
  bool summed = false;
  bool constant_left = false, return_bool = false;
  bool drops_name = false;
  /// False where a sample that leaves its window can only end a breach; else the rule must be asked again as time goes by.
  bool breaches_by_time = false;
  promql::BinaryOp op = promql::BinaryOp::gt;
  Packed<std::string> grouping;  ///< of `by`; empty also without it

  std::span<const ShapePart> all_parts() const { return {parts.data(), part_count}; }
};

/// The shape of `expr`, evaluated within one service; nothing where it is none of these, or not provably so (`offset`, `@`, computed
/// durations, a function that drops the name of more than one metric).
std::optional<Shape> shape_of(const promql::Expr& expr);

/// Whether the comparison holds.
bool holds(promql::BinaryOp op, double left, double right);

}  // namespace rollbackd::rules
