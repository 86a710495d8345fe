// What a tree reads: selectors, ranges and subqueries, their offsets and durations, and whether their sources are alive.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>

#include "promql/evaluator.hpp"
#include "promql/range_functions.hpp"

namespace rollbackd::promql {
namespace {

constexpr Duration kDefaultStep = 1min;
constexpr std::size_t kStepWork = 50;  // A step of a subquery costs also where it finds nothing.
constexpr double kSecondsMax = 9.2e9;  // What fits into a Duration.
// Instants that a selector may look at. Behind the last is room for what is added to an instant later, and it is past what tests of rules
// can name (106,751 days after 1970, the most that Go's durations hold).
constexpr std::int64_t kEarliest = -(std::int64_t{1} << 62);
constexpr std::int64_t kLatest = std::numeric_limits<std::int64_t>::max() - std::int64_t{3'600'000'000'000};

bool is_stale(const series::Point& p) { return series::is_stale_nan(p.value); }

std::vector<series::Point> without_stale(std::span<const series::Point> points) {
  std::vector<series::Point> out;
  std::copy_if(points.begin(), points.end(), std::back_inserter(out), std::not_fn(is_stale));
  return out;
}

}  // namespace

Instant shifted(Instant t, Duration d) {
  std::int64_t ns = 0;
  if (__builtin_add_overflow(t.ns(), d.count(), &ns)) ns = d.count() < 0 ? kEarliest : kLatest;
  return Instant(std::clamp(ns, kEarliest, kLatest));
}

Duration Evaluator::length(const Expr& e, const DurationPtr& expr, Duration value, bool may_be_negative) {
  if (!expr) return value;
  const Duration range = options_.start && options_.end ? *options_.end - *options_.start : Duration{0};
  const auto found = seconds_of(*expr, options_.step, range);
  const double seconds = found.has_value() ? *found : 0;
  if (found.has_error()) {
    fail(e, found.error().why);
  } else if (!may_be_negative && !(seconds > 0)) {
    fail(e, "duration must be greater than 0");
  } else if (!(std::abs(seconds) < kSecondsMax)) {
    fail(e, "duration is out of range");
  } else {
    return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1e3));
  }
  return Duration{0};
}

Instant Evaluator::reference(const Expr& e) {
  Instant t = now_;
  switch (e.at_kind) {
    case Expr::At::none: break;
    case Expr::At::timestamp: t = e.at(); break;
    case Expr::At::start: t = options_.start.value_or(options_.at); break;
    case Expr::At::end: t = options_.end.value_or(options_.at); break;
  }
  return shifted(t, -length(e, e.offset_expr(), e.offset(), true));
}

void Evaluator::judge(const Expr& e, Operand& out) {
  series::Liveness live;
  const auto known = subqueries_ > 0 ? liveness_.find(&e) : liveness_.end();
  if (known != liveness_.end()) {
    live = known->second;
  } else {
    live = querier_.liveness(e.matchers, options_.at);
    if (subqueries_ > 0) liveness_.emplace(&e, live);
  }
  any_selector_ = true;
  any_fed_ = any_fed_ || live.fed;
  out.blind = live.blind;
  out.blind_reason = std::move(live.blind_reason);
}

Operand Evaluator::selector(const Expr& e, bool timestamps) {
  if (e.extend == Expr::Extend::smoothed && !timestamps) return smoothed_selector(e);
  Operand out;
  const auto found = querier_.latest(e.matchers, reference(e), options_.lookback);
  if (!work(e, found.size() + 1)) return out;
  out.vector.reserve(found.size());
  for (const series::Selected& s : found) {
    const series::Point& p = s.points.back();
    out.vector.push_back({*s.labels, timestamps ? static_cast<double>(p.at.millis()) / 1000 : p.value});
  }
  judge(e, out);
  return out;
}

Operand Evaluator::smoothed_selector(const Expr& e) {
  Operand out;
  const Instant at = reference(e);
  for (const series::Selected& s : around(e, shifted(at, -options_.lookback), at)) {
    if (!work(e, s.points.size() + 1)) return out;
    std::vector<series::Point> points = without_stale(s.points);
    if (const auto value = range_functions::smoothed_value(points, at)) out.vector.push_back({*s.labels, *value});
  }
  judge(e, out);
  return out;
}

std::vector<series::Selected> Evaluator::around(const Expr& e, Instant from, Instant to) {
  const std::vector<series::Selected> before = querier_.range(e.matchers, from, to);
  std::vector<series::Selected> out = querier_.range(e.matchers, from, shifted(to, options_.lookback));
  for (series::Selected& s : out) {
    const auto known = std::find_if(before.begin(), before.end(), [&s](const series::Selected& b) { return *b.labels == *s.labels; });
    // Where the longer window begins later, a release began in between; what it did is not the past's to see.
    if (known != before.end() && known->points.front().at != s.points.front().at) s.points = known->points;
  }
  for (const series::Selected& b : before)
    if (std::none_of(out.begin(), out.end(), [&b](const series::Selected& s) { return *b.labels == *s.labels; })) out.push_back(b);
  return out;
}

Operand Evaluator::range_selector(const Expr& e) {
  Operand out;
  out.type = ValueType::matrix;
  out.to = reference(e);
  out.from = shifted(out.to, -length(e, e.range_expr(), e.range, false));
  out.extend = e.extend;
  if (failed()) return out;
  const Instant first = e.extend == Expr::Extend::none ? out.from : shifted(out.from, -options_.lookback);
  const auto found = e.extend == Expr::Extend::smoothed ? around(e, first, out.to) : querier_.range(e.matchers, first, out.to);
  out.matrix.reserve(found.size());
  for (const series::Selected& s : found) {
    if (!work(e, s.points.size() + 1)) return out;
    RangeSeries r{*s.labels, s.points.all(), {}, false, s.points.memory()};
    if (std::any_of(s.points.begin(), s.points.end(), is_stale)) {
      r.own = without_stale(s.points);
      if (r.own.empty()) continue;
      r.points = r.own;  // A moved vector keeps its memory, so the span stays good.
    }
    out.matrix.push_back(std::move(r));
  }
  judge(e, out);
  return out;
}

Operand Evaluator::subquery(const Expr& e) {
  Operand out;
  out.type = ValueType::matrix;
  out.to = reference(e);
  out.from = shifted(out.to, -length(e, e.range_expr(), e.range, false));
  const Duration given = length(e, e.step_expr(), e.step(), false);
  const std::int64_t step = (given <= Duration{0} ? kDefaultStep : given).count();
  std::int64_t t = out.from.ns() / step * step;
  if (t > out.from.ns()) t -= step;  // Division rounds towards zero; the grid goes on below it.
  t += step;                         // The window is open on the left.

  std::unordered_map<Labels, std::size_t, LabelsHash> index;
  const Instant outer = now_;
  ++subqueries_;
  for (; t <= out.to.ns() && !failed(); t += step) {
    now_ = Instant(t);
    Operand one = eval(*e.args[0]);
    if (!work(e, one.vector.size() + kStepWork)) break;
    out.take_blindness(one);
    for (Element& element : one.vector) {
      const auto [at, is_new] = index.try_emplace(element.labels, out.matrix.size());
      if (is_new) out.matrix.push_back({std::move(element.labels), {}, {}, element.drop_name, {}});
      std::vector<series::Point>& points = out.matrix[at->second].own;
      if (!points.empty() && points.back().at == now_) fail(e, "vector cannot contain metrics with the same labelset");
      points.push_back({now_, element.value});
    }
  }
  --subqueries_;
  now_ = outer;
  for (RangeSeries& r : out.matrix) r.points = r.own;
  return out;
}

std::vector<series::Selected> StoreQuerier::range(std::span<const series::Matcher> matchers, Instant from_exclusive, Instant to) const {
  return store_.select(matchers, from_exclusive, to, scope_);
}

std::vector<series::Selected> StoreQuerier::latest(std::span<const series::Matcher> matchers, Instant to, Duration lookback) const {
  return store_.select_latest(matchers, to, lookback, scope_);
}

series::Liveness StoreQuerier::liveness(std::span<const series::Matcher> matchers, Instant at) const {
  return store_.liveness(matchers, at, scope_);
}

}  // namespace rollbackd::promql
