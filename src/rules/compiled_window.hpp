// One series' window, kept from evaluation to evaluation: each new sample is taken in once, and the oldest leave without being subtracted.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "rules/compiled_shape.hpp"
#include "series/series.hpp"

namespace rollbackd::rules {

/// What some samples in a row come to: enough to go on with the next ones.
struct Fold {
  double a = 0;         ///< sum; extreme; how many changes or resets
  double rest = 0;      ///< of a sum: Kahan's
  std::uint32_t n = 0;  ///< samples, staleness markers aside
};

/// Two stacks: the front holds what every suffix of the older samples comes to, the back what the newer ones come to together. When
/// the front has left the window, the back is folded anew into a front. Of the front's suffixes every 16th part is kept, and the samples
/// before the next kept one are read again: so its size does not depend on the window's length, and it needs no subtraction, which
/// a single NaN or infinity would poison.
class SlidingWindow {
 public:
  explicit SlidingWindow(const series::Series& series) : series_(&series) {}

  /// The value at `now`, which must not be before the newest sample.
  /// @return nothing where the function leaves the series out
  std::optional<double> value(const ShapePart& part, Instant now);
  /// The oldest sample of the last evaluation; nothing when its window was empty.
  std::optional<Instant> oldest() const;
  /// Samples read by evaluations so far.
  std::uint64_t work() const { return work_; }

 private:
  series::Point at(std::uint64_t number) const { return series_->points.numbered(number); }
  Instant instant(std::uint64_t number) const { return series_->points.instant(number); }
  void move(Instant from, Reading reading);
  void start_over(Reading reading);
  void take_in(Fold& fold, Reading reading, double value);
  Fold total(Reading reading);
  double with_resets(std::uint64_t first, double change);
  std::optional<double> read_whole(const ShapePart& part, Instant now) const;

  const series::Series* series_;
  std::vector<Fold> front_;  ///< [k]: of the samples from begin_ + k * block_ to mid_
  std::uint64_t begin_ = 0;  ///< where the front began when it was made
  std::uint64_t low_ = 0;    ///< first sample in the window
  std::uint64_t mid_ = 0;    ///< where the back begins
  std::uint64_t end_ = 0;    ///< one past the last sample taken in
  std::uint64_t work_ = 0;
  Instant from_;
  Fold back_;
  double newest_ = 0;  ///< value of the last sample taken in, if `joined_`
  std::uint32_t block_ = 1;
  std::uint32_t revision_ = 0;
  bool begun_ = false;
  bool any_ = false;          ///< `newest_` is set
  bool back_joined_ = false;  ///< the back's first sample was compared with one of the front
  double largest_ = 0;        ///< of the values added since the front was made, without their signs
};

}  // namespace rollbackd::rules
