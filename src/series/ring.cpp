// Flow: store.cpp pushes and drops; select.cpp finds and copies out; the judge's windows read single points.
#include "series/ring.hpp"

#include <limits>

namespace rollbackd::series {
namespace {

bool same_bits(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }

}  // namespace

void Ring::push(Point point) {
  const std::uint64_t number = end_number();
  const bool begins = empty() || !same_bits(point.value, newest_.value);
  if (number % kBits == 0) {
    if (!empty()) words_.push_back(open_);
    open_ = {0, first_run_ + values_.size()};
  }
  if (begins) {
    open_.begins |= bit(number);
    values_.push_back(point.value);
  }
  instants_.push_back(point.at);
  newest_ = point;
}

void Ring::pop_front() {
  instants_.pop_front();
  ++dropped_;
  if (dropped_ % kBits == 0 && !words_.empty()) words_.pop_front();
  if (!empty() && !begins_run(dropped_)) return;
  values_.pop_front();
  ++first_run_;
}

std::vector<Point> Ring::cut(std::uint64_t number) {
  std::vector<Point> out(static_cast<std::size_t>(end_number() - number));
  copy(number, out.size(), out.data());
  if (number == dropped_) {
    open_ = {0, first_run_};
    words_.truncate(0);
    values_.truncate(0);
  } else if (!out.empty()) {
    const std::uint64_t last = number - 1;
    const std::uint64_t runs = run_of(last) + 1 - first_run_;
    const Word kept = word_of(last);
    newest_ = numbered(last);
    words_.truncate(static_cast<std::size_t>(last / kBits - dropped_ / kBits));
    open_ = {kept.begins & (bit(last) | (bit(last) - 1)), kept.run};
    values_.truncate(static_cast<std::size_t>(runs));
  }
  instants_.truncate(static_cast<std::size_t>(number - dropped_));
  return out;
}

void Ring::insert(Point point) {
  const std::uint64_t number = first_since(point.at);
  if (number < end_number() && instant(number) == point.at) return;
  put(point);
}

void Ring::put(Point point) {
  const std::uint64_t number = first_since(point.at);
  if (number == end_number()) return push(point);
  ++revision_;
  const std::vector<Point> later = cut(number);
  push(point);
  for (const Point& p : later)
    if (p.at != point.at) push(p);
}

void Ring::raise_since(Instant t, double by) {
  ++revision_;
  for (Point p : cut(first_since(t))) {
    p.value += by;
    push(p);
  }
}

std::uint64_t Ring::first_since(Instant t) const {
  if (empty() || newest_.at < t) return end_number();
  std::uint64_t low = dropped_, high = end_number();
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (instant(middle) < t) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::optional<Point> Ring::last_before(Instant t) const {
  const std::uint64_t number = first_since(t);
  if (number == dropped_) return std::nullopt;
  return numbered(number - 1);
}

std::pair<std::uint64_t, std::size_t> Ring::within(Instant from, Instant to) const {
  const std::uint64_t first = first_since(from);
  const bool ever = to.ns() == std::numeric_limits<std::int64_t>::max();
  const std::uint64_t end = ever ? end_number() : first_since(to + Duration{1});
  return {first, first < end ? static_cast<std::size_t>(end - first) : 0};
}

void Ring::copy(std::uint64_t number, std::size_t count, Point* out) const {
  if (count == 0) return;
  Cursor values(*this, number);
  for (std::size_t n = 0; n < count; ++n, values.next()) out[n] = {instant(number + n), values.value()};
}

}  // namespace rollbackd::series
