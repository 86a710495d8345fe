// Flow: compiled.cpp asks each series of a rule for its window's value. Held equal to promql/range_functions.cpp by a test.
#include "rules/compiled_window.hpp"

#include <algorithm>
#include <cmath>

#include "promql/range_functions.hpp"
#include "promql/statistics.hpp"

namespace rollbackd::rules {
namespace {

constexpr std::uint64_t kBlocks = 16;
constexpr std::uint32_t kBlockMin = 8;
constexpr double kWild = 1e290;      ///< sums of as many such values as a window may hold stay finite below it
constexpr double kLeftOver = 1e-12;  ///< a sum so much smaller than what was added is rounding more than sum, and depends on the order

using series::Point;
using series::Ring;

bool adds(Reading r) { return r == Reading::sum || r == Reading::avg; }
bool is_extreme(Reading r) { return r == Reading::min || r == Reading::max; }
/// Whether it compares each sample with the one before.
bool compares(Reading r) { return r == Reading::rate || r == Reading::increase || r == Reading::changes || r == Reading::resets; }

/// What the step from `before` to `after` adds.
double step(Reading r, double before, double after) {
  switch (r) {
    case Reading::rate:
    case Reading::increase:
    case Reading::resets: return after < before ? 1 : 0;
    default: return before != after && !(std::isnan(before) && std::isnan(after)) ? 1 : 0;
  }
}

double better(Reading r, double a, double b) { return std::isnan(a) || (r == Reading::max ? b > a : b < a) ? b : a; }

/// `older` followed by `newer`.
Fold join(Reading r, const Fold& older, const Fold& newer) {
  if (older.n == 0) return newer;
  if (newer.n == 0) return older;
  Fold out{0, 0, older.n + newer.n};
  if (is_extreme(r)) {
    out.a = better(r, older.a, newer.a);
  } else if (adds(r)) {
    promql::KahanSum sum{older.a, older.rest};
    sum.add(newer.a);
    out.a = sum.sum;
    out.rest = sum.rest + newer.rest;
  } else {
    out.a = older.a + newer.a;
  }
  return out;
}

/// One sample as a fold, its step from the one before aside.
Fold fold_of(Reading r, double value) { return {adds(r) || is_extreme(r) ? value : 0, 0, 1}; }

}  // namespace

void SlidingWindow::take_in(Fold& fold, Reading reading, double value) {
  if (series::is_stale_nan(value)) return;
  if (adds(reading)) largest_ = std::max(largest_, std::abs(value));
  Fold one = fold_of(reading, value);
  if (any_ && compares(reading)) one.a = step(reading, newest_, value);
  if (any_ && fold.n == 0) back_joined_ = true;
  fold = join(reading, fold, one);
  newest_ = value;
  any_ = true;
}

/// Makes a front of all that is in the window.
void SlidingWindow::start_over(Reading reading) {
  begin_ = low_;
  mid_ = end_ = series_->points.end_number();
  const std::uint64_t n = mid_ - begin_;
  block_ = static_cast<std::uint32_t>(std::max<std::uint64_t>(kBlockMin, (n + kBlocks - 1) / kBlocks));
  front_.assign(static_cast<std::size_t>((n + block_ - 1) / block_), Fold{});
  any_ = false;
  largest_ = 0;
  if (n > 0) {
    Ring::Cursor values(series_->points, begin_);
    for (std::uint64_t i = begin_; i < mid_; ++i, values.next()) {
      Fold alone;
      take_in(alone, reading, values.value());
      Fold& block = front_[static_cast<std::size_t>((i - begin_) / block_)];
      block = join(reading, block, alone);
    }
  }
  for (std::size_t k = front_.size(); k-- > 1;) front_[k - 1] = join(reading, front_[k - 1], front_[k]);
  back_ = Fold{};
  back_joined_ = false;
  work_ += n;
}

void SlidingWindow::move(Instant from, Reading reading) {
  const series::Ring& ring = series_->points;
  if (!begun_ || ring.revision() != revision_ || from < from_ || low_ > ring.end_number()) {
    begun_ = true;
    revision_ = ring.revision();
    low_ = ring.first_number();
    while (low_ < ring.end_number() && instant(low_) < from) ++low_;
    from_ = from;
    return start_over(reading);
  }
  from_ = from;
  low_ = std::max(low_, ring.first_number());
  while (low_ < ring.end_number() && instant(low_) < from) ++low_;
  if (low_ > mid_) return start_over(reading);
  for (; end_ < ring.end_number(); ++end_, ++work_) take_in(back_, reading, series_->points.value(end_));
}

Fold SlidingWindow::total(Reading reading) {
  if (low_ == mid_ && back_joined_) start_over(reading);  // Its first step came from a sample that has left.
  Fold out;
  bool first = true;
  double before = 0;
  std::uint64_t i = low_;
  // Up to the first kept suffix, and on until a sample was there for it to follow.
  if (i < mid_) {
    Ring::Cursor values(series_->points, i);
    for (; i < mid_ && (first || (i - begin_) % block_ != 0); ++i, values.next()) {
      if (first && (i - begin_) % block_ == 0 && !compares(reading)) break;
      ++work_;
      const double value = values.value();
      if (series::is_stale_nan(value)) continue;
      Fold one = fold_of(reading, value);
      if (!first && compares(reading)) one.a = step(reading, before, value);
      out = join(reading, out, one);
      before = value;
      first = false;
    }
  }
  if (i < mid_) out = join(reading, out, front_[static_cast<std::size_t>((i - begin_) / block_)]);
  if (first && i == mid_ && low_ < mid_ && back_joined_ && compares(reading)) {
    start_over(reading);  // Only staleness markers were left of the front.
    return total(reading);
  }
  return join(reading, out, back_);
}

/// What resets lost is added one by one, as the general evaluator does: what is left over between large numbers depends on the order.
double SlidingWindow::with_resets(std::uint64_t first, double change) {
  Ring::Cursor values(series_->points, first);
  double before = values.value();
  values.next();
  for (std::uint64_t i = first + 1; i < end_; ++i, ++work_, values.next()) {
    const double after = values.value();
    if (series::is_stale_nan(after)) continue;
    if (after < before) change += before;
    before = after;
  }
  return change;
}

/// The way of the general evaluator, over the samples as they are.
std::optional<double> SlidingWindow::read_whole(const ShapePart& part, Instant now) const {
  std::vector<Point> points;
  for (std::uint64_t i = low_; i < end_; ++i)
    if (!series::is_stale_nan(at(i).value)) points.push_back(at(i));
  if (points.empty()) return std::nullopt;
  const promql::Window w{points, now - part.reach, now, now, {}};
  return part.reading == Reading::sum ? promql::range_functions::sum(w) : promql::range_functions::avg(w);
}

std::optional<double> SlidingWindow::value(const ShapePart& part, Instant now) {
  series_->points.prefetch(low_);
  move(series::window_begin(*series_, now - part.reach, now), part.reading);
  if (low_ == end_) return std::nullopt;
  const Fold f = total(part.reading);
  if (f.n == 0) return std::nullopt;
  switch (part.reading) {
    case Reading::count: return f.n;
    case Reading::present: return 1;
    case Reading::min:
    case Reading::max:
    case Reading::changes:
    case Reading::resets: return f.a;
    case Reading::sum:
    case Reading::avg: {
      if (std::isnan(f.a)) return f.a;
      if (std::isinf(f.a) || largest_ > kWild || std::abs(f.a + f.rest) < largest_ * kLeftOver) return read_whole(part, now);
      return part.reading == Reading::sum ? f.a + f.rest : f.a / f.n + f.rest / f.n;
    }
    default: break;
  }
  std::uint64_t first = low_, last = end_ - 1;
  while (series::is_stale_nan(at(last).value)) --last;
  if (part.reading == Reading::last || part.reading == Reading::latest) return at(last).value;
  if (f.n < 2) return std::nullopt;
  while (series::is_stale_nan(at(first).value)) ++first;
  const bool counter = part.reading != Reading::delta;
  double change = at(last).value - at(first).value;
  if (counter && f.a != 0) change = with_resets(first, change);
  return promql::range_functions::extrapolate({at(first), at(last), f.n, change}, now - part.reach, now, counter,
                                              part.reading == Reading::rate);
}

std::optional<Instant> SlidingWindow::oldest() const {
  if (low_ >= end_ || low_ < series_->points.first_number()) return std::nullopt;
  return instant(low_);
}

}  // namespace rollbackd::rules
