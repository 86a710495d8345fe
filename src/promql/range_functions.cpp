// Counters, gauges and statistics over one window, with Prometheus's extrapolation. Pure arithmetic over points.
#include "promql/range_functions.hpp"

#include <cmath>

#include "promql/statistics.hpp"

namespace rollbackd::promql::range_functions {
namespace {

double seconds(Duration d) { return static_cast<double>(d.count()) / 1e9; }

/// The value at `t` on the line from `a` to `b`. A counter that was reset between them began at 0 again.
double on_line(const series::Point& a, const series::Point& b, Instant t, bool counter) {
  const double from = counter && b.value < a.value ? 0 : a.value;
  return from + (b.value - from) * seconds(t - a.at) / seconds(b.at - a.at);
}

/// Which points of an extended window count, and the values at its ends.
struct Edges {
  std::size_t first = 0, last = 0;
  double left = 0, right = 0;
};

/// @return nothing where no point lies after the window's start
std::optional<Edges> edges_of(const Window& w, bool counter) {
  const std::span<const series::Point> p = w.points;
  const bool smoothed = w.extend == Expr::Extend::smoothed;
  const std::size_t end = p.size() - 1;
  Edges e;
  while (e.first < end && p[e.first].at <= w.from) ++e.first;
  if (e.first > 0) --e.first;
  e.last = end;
  if (smoothed) {
    e.last = 0;
    while (e.last < end && p[e.last].at < w.to) ++e.last;
  }
  if (p[e.last].at <= w.from || (smoothed && p[e.first].at > w.to)) return std::nullopt;
  e.left = smoothed && p[e.first].at < w.from ? on_line(p[e.first], p[e.first + 1], w.from, counter) : p[e.first].value;
  e.right = smoothed && e.last > 0 && p[e.last].at > w.to ? on_line(p[e.last - 1], p[e.last], w.to, counter) : p[e.last].value;
  return e;
}

/// The change between the ends of an extended window, with nothing extrapolated.
std::optional<double> between_ends(const Window& w, bool counter, bool per_second) {
  const auto edges = edges_of(w, counter);
  if (!edges) return std::nullopt;
  double result = edges->right - edges->left;
  if (counter) {
    double before = edges->left;
    for (std::size_t i = edges->first; i <= edges->last; ++i) {
      if (w.points[i].at <= w.from || w.points[i].at >= w.to) continue;  // The ends have seen to theirs.
      if (w.points[i].value < before) result += before;
      before = w.points[i].value;
    }
    if (edges->right < before) result += before;
  }
  return per_second ? result / seconds(w.to - w.from) : result;
}

std::optional<double> extrapolated(const Window& w, bool counter, bool per_second) {
  if (w.extend != Expr::Extend::none) return between_ends(w, counter, per_second);
  if (w.points.size() < 2) return std::nullopt;
  double change = w.points.back().value - w.points.front().value;
  if (counter) {
    for (std::size_t i = 1; i < w.points.size(); ++i)
      if (w.points[i].value < w.points[i - 1].value) change += w.points[i - 1].value;
  }
  return extrapolate({w.points.front(), w.points.back(), w.points.size(), change}, w.from, w.to, counter, per_second);
}

/// Where changes and resets begin to count: at the anchor of an anchored window; past the end where nothing lies inside.
std::size_t first_counted(const Window& w) {
  if (w.extend != Expr::Extend::anchored) return 0;
  const auto edges = edges_of(w, false);
  return edges ? edges->first : w.points.size();
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
  const std::size_t first = first_counted(w);
  if (first == w.points.size()) return std::nullopt;
  for (std::size_t i = first + 1; i < w.points.size(); ++i) {
    const double before = w.points[i - 1].value, after = w.points[i].value;
    if (before != after && !(std::isnan(before) && std::isnan(after))) ++n;
  }
  return n;
}

std::optional<double> resets(const Window& w) {
  double n = 0;
  const std::size_t first = first_counted(w);
  if (first == w.points.size()) return std::nullopt;
  for (std::size_t i = first + 1; i < w.points.size(); ++i)
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

std::vector<series::Point> points_of(const Window& w) {
  if (w.extend == Expr::Extend::none) return {w.points.begin(), w.points.end()};
  std::vector<series::Point> out;
  const auto edges = edges_of(w, false);
  if (!edges) return out;
  out.push_back({w.from, edges->left});
  for (std::size_t i = edges->first; i <= edges->last; ++i)
    if (w.points[i].at > w.from && w.points[i].at < w.to) out.push_back(w.points[i]);
  out.push_back({w.to, edges->right});
  return out;
}

std::optional<double> smoothed_value(std::span<const series::Point> points, Instant at) {
  std::size_t next = 0;
  while (next < points.size() && points[next].at < at) ++next;
  if (next < points.size() && points[next].at == at) return points[next].value;
  if (next == 0) return std::nullopt;
  if (next == points.size()) return points.back().value;
  return on_line(points[next - 1], points[next], at, false);
}

}  // namespace rollbackd::promql::range_functions
