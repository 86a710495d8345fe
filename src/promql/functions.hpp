// The table of functions: what the parser checks calls against and the evaluator runs.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "promql/parse.hpp"

namespace rollbackd::promql {

class Evaluator;
struct Operand;

/// What a function over a range sees of one series.
struct Window {
  std::span<const series::Point> points;     ///< at least one, no staleness markers
  Instant from, to;                          ///< the window, open on the left
  Instant at;                                ///< the instant of this evaluation
  std::span<const double> params;            ///< the scalar arguments, in order
  Expr::Extend extend = Expr::Extend::none;  ///< `points` go beyond the window
};

/// One function. Exactly one of `over_range`, `of_value` and `special` is set.
struct Function {
  std::string_view name;
  std::vector<ValueType> args;
  int optional = 0;  ///< how many trailing arguments may be missing; -1: the last may be missing or come any number of times
  ValueType returns = ValueType::vector;
  /// From one series' window to its value; nothing leaves the series out.
  std::optional<double> (*over_range)(const Window&) = nullptr;
  double (*of_value)(double) = nullptr;
  Operand (*special)(Evaluator&, const Expr& call, std::vector<Operand>& args) = nullptr;
  bool keeps_name = false;
};

/// The function called `name` (case matters, as in Prometheus), or nullptr.
const Function* find_function(std::string_view name);

/// The aggregations, in lower case.
std::span<const std::string_view> aggregations();
/// Whether `name` (lower case) is an aggregation, and whether that takes a parameter, and of which type.
bool is_aggregation(std::string_view name);
std::optional<ValueType> aggregation_parameter(std::string_view name);

}  // namespace rollbackd::promql
