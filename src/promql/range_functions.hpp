// Functions over one series' window. Each takes at least one point and gives a value, or nothing to leave the series out.
#pragma once

#include <optional>

#include "promql/functions.hpp"

namespace rollbackd::promql::range_functions {

/// What `rate`, `increase` and `delta` need to know of a window.
struct Ends {
  series::Point first, last;
  std::size_t count = 0;  ///< of points, at least 2
  double change = 0;      ///< from first to last; of a counter with what its resets lost
};
/// The change extended to the window's ends where the points come close to them: "close" is within 1.1 times their average distance;
/// else by half that distance. A counter is not extended below zero.
double extrapolate(const Ends& ends, Instant from, Instant to, bool counter, bool per_second);

std::optional<double> rate(const Window& w);
std::optional<double> increase(const Window& w);
std::optional<double> delta(const Window& w);
std::optional<double> irate(const Window& w);
std::optional<double> idelta(const Window& w);
std::optional<double> deriv(const Window& w);
std::optional<double> predict_linear(const Window& w);
std::optional<double> changes(const Window& w);
std::optional<double> resets(const Window& w);
std::optional<double> avg(const Window& w);
std::optional<double> min(const Window& w);
std::optional<double> max(const Window& w);
std::optional<double> sum(const Window& w);
std::optional<double> count(const Window& w);
std::optional<double> last(const Window& w);
std::optional<double> first(const Window& w);
std::optional<double> present(const Window& w);
std::optional<double> stddev(const Window& w);
std::optional<double> stdvar(const Window& w);
std::optional<double> quantile(const Window& w);

/// The points that a window shows: those inside, and for `anchored` and `smoothed` one at each end.
std::vector<series::Point> points_of(const Window& w);
/// The value at `at` on the line between the samples around it; the last one where none follows; nothing where none came before.
std::optional<double> smoothed_value(std::span<const series::Point> points, Instant at);

}  // namespace rollbackd::promql::range_functions
