// The points of one series: oldest first, contiguous, cheap to drop at the front and to append at the back.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "series/store.hpp"

namespace rollbackd::series {

/// Points in time order. Dropped ones leave a gap at the front that is closed when it is half of the memory, so both ends cost O(1)
/// amortised.
class Ring {
 public:
  bool empty() const { return head_ == points_.size(); }
  std::size_t size() const { return points_.size() - head_; }
  const Point& front() const { return points_[head_]; }
  const Point& back() const { return points_.back(); }

  // Every point has a number that stays its own: those appended count on, those dropped at the front are skipped.
  std::uint64_t first_number() const { return dropped_; }
  std::uint64_t end_number() const { return dropped_ + size(); }
  const Point& numbered(std::uint64_t number) const { return points_[head_ + static_cast<std::size_t>(number - dropped_)]; }
  /// Grows when points change otherwise than by appending and by dropping the oldest: who kept something about them begins anew.
  std::uint32_t revision() const { return revision_; }

  void push(Point point) {
    if (points_.size() == points_.capacity()) close_gap();
    points_.push_back(point);
  }
  void pop_front() {
    ++head_;
    ++dropped_;
    if (head_ == points_.size() || (head_ >= 64 && head_ * 2 > points_.size())) close_gap();
  }
  void drop_before(Instant t) {
    while (!empty() && front().at < t) pop_front();
  }
  /// Puts `point` at its place in time; an equal instant is left alone. Rare: late samples and epochs that began in the past.
  void insert(Point point) {
    const auto at = std::lower_bound(points_.begin() + offset(), points_.end(), point.at, before);
    if (at != points_.end() && at->at == point.at) return;
    if (at != points_.end()) ++revision_;
    points_.insert(at, point);
  }
  /// The newest point older than `t`, or nothing.
  const Point* last_before(Instant t) const {
    const auto at = std::lower_bound(points_.begin() + offset(), points_.end(), t, before);
    return at == points_.begin() + offset() ? nullptr : &*(at - 1);
  }
  /// The points at or after `t`, to change their values.
  std::span<Point> since(Instant t) {
    ++revision_;
    return {std::lower_bound(points_.begin() + offset(), points_.end(), t, before), points_.end()};
  }
  /// Points in [`from`, `to`].
  std::span<const Point> within(Instant from, Instant to) const {
    const auto first = std::lower_bound(points_.begin() + offset(), points_.end(), from, before);
    const auto last = std::upper_bound(first, points_.end(), to, [](Instant t, const Point& p) { return t < p.at; });
    return {first, last};
  }

 private:
  static bool before(const Point& p, Instant t) { return p.at < t; }
  std::ptrdiff_t offset() const { return static_cast<std::ptrdiff_t>(head_); }
  void close_gap() {
    points_.erase(points_.begin(), points_.begin() + offset());
    head_ = 0;
  }

  std::vector<Point> points_;
  std::size_t head_ = 0;
  std::uint64_t dropped_ = 0;
  std::uint32_t revision_ = 0;
};

}  // namespace rollbackd::series
