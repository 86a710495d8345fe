// Counters, gauges and statistics over one window, with Prometheus's extrapolation. Pure arithmetic over points.
#include "promql/range_functions.hpp"

#include <cmath>

#include "promql/statistics.hpp"

namespace rollbackd::promql::range_functions {
namespace {

double seconds(Duration d) { return static_cast<double>(d.count()) / 1e9; }

std::optional<double> extrapolated(const Window& w, bool counter, bool per_second) {
  if (w.points.size() < 2) return std::nullopt;
  double change = w.points.back().value - w.points.front().value;
  if (counter) {
    for (std::size_t i = 1; i < w.points.size(); ++i)
      if (w.points[i].value < w.points[i - 1].value) change += w.points[i - 1].value;
  }
  return extrapolate({w.points.front(), w.points.back(), w.points.size(), change}, w.from, w.to, counter, per_second);
}

/// From the last two points alone.
std::optional<double> instantaneous(const Window& w, bool counter) {
  if (w.points.size() < 2) return std::nullopt;
  const series::Point& last = w.points.back();
  const series::Point& before = w.points[w.points.size() - 2];
  const double change = counter && last.value < before.value ? last.value : last.value - before.value;
  if (!counter) return change;
  const double apart = seconds(last.at - before.at);
  if (apart == 0) return std::nullopt;
  return change / apart;
}

struct Line {
  double slope = 0, intercept = 0;
};

/// Least squares, with `zero` as the origin of time.
Line regression(std::span<const series::Point> points, Instant zero) {
  const double first = points.front().value;
  bool constant = true;
  KahanSum x, y, xy, xx;
  for (const series::Point& p : points) {
    constant = constant && p.value == first;
    const double t = seconds(p.at - zero);
    x.add(t);
    y.add(p.value);
    xy.add(t * p.value);
    xx.add(t * t);
  }
  if (constant) return std::isinf(first) ? Line{std::nan(""), std::nan("")} : Line{0, first};
  const auto n = static_cast<double>(points.size());
  const double sx = x.sum + x.rest, sy = y.sum + y.rest;
  const double covariance = xy.sum + xy.rest - sx * sy / n;
  const double variance = xx.sum + xx.rest - sx * sx / n;
  const double slope = covariance / variance;
  return {slope, sy / n - slope * sx / n};
}

auto value_at(const Window& w) {
  return [&w](std::size_t i) { return w.points[i].value; };
}

}  // namespace

double extrapolate(const Ends& e, Instant from, Instant to, bool counter, bool per_second) {
  double to_start = seconds(e.first.at - from);
  double to_end = seconds(to - e.last.at);
  const double sampled = seconds(e.last.at - e.first.at);
  const double average = sampled / static_cast<double>(e.count - 1);
  const double threshold = average * 1.1;
  if (to_start >= threshold) to_start = average / 2;
  if (counter && e.change > 0 && e.first.value >= 0) to_start = std::min(to_start, sampled * (e.first.value / e.change));
  if (to_end >= threshold) to_end = average / 2;

  double factor = (sampled + to_start + to_end) / sampled;
  if (per_second) factor /= seconds(to - from);
  return e.change * factor;
}

std::optional<double> rate(const Window& w) { return extrapolated(w, true, true); }
std::optional<double> increase(const Window& w) { return extrapolated(w, true, false); }
std::optional<double> delta(const Window& w) { return extrapolated(w, false, false); }
std::optional<double> irate(const Window& w) { return instantaneous(w, true); }
std::optional<double> idelta(const Window& w) { return instantaneous(w, false); }

std::optional<double> deriv(const Window& w) {
  if (w.points.size() < 2) return std::nullopt;
  return regression(w.points, w.points.front().at).slope;
}

std::optional<double> predict_linear(const Window& w) {
  if (w.points.size() < 2) return std::nullopt;
  const Line line = regression(w.points, w.at);
  return line.slope * w.params[0] + line.intercept;
}

std::optional<double> changes(const Window& w) {
  double n = 0;
  for (std::size_t i = 1; i < w.points.size(); ++i) {
    const double before = w.points[i - 1].value, after = w.points[i].value;
    if (before != after && !(std::isnan(before) && std::isnan(after))) ++n;
  }
  return n;
}

std::optional<double> resets(const Window& w) {
  double n = 0;
  for (std::size_t i = 1; i < w.points.size(); ++i)
    if (w.points[i].value < w.points[i - 1].value) ++n;
  return n;
}

std::optional<double> avg(const Window& w) { return mean_of(w.points.size(), value_at(w)); }
std::optional<double> min(const Window& w) { return extreme_of(w.points.size(), value_at(w), false); }
std::optional<double> max(const Window& w) { return extreme_of(w.points.size(), value_at(w), true); }
std::optional<double> sum(const Window& w) { return sum_of(w.points.size(), value_at(w)); }
std::optional<double> count(const Window& w) { return static_cast<double>(w.points.size()); }
std::optional<double> last(const Window& w) { return w.points.back().value; }
std::optional<double> first(const Window& w) { return w.points.front().value; }
std::optional<double> present(const Window&) { return 1; }
std::optional<double> stddev(const Window& w) { return std::sqrt(variance_of(w.points.size(), value_at(w))); }
std::optional<double> stdvar(const Window& w) { return variance_of(w.points.size(), value_at(w)); }

std::optional<double> quantile(const Window& w) {
  std::vector<double> values;
  values.reserve(w.points.size());
  for (const series::Point& p : w.points) values.push_back(p.value);
  return quantile_of(w.params[0], std::move(values));
}

}  // namespace rollbackd::promql::range_functions
