// The only place that reads clocks. Engine time = wall time at start + CLOCK_BOOTTIME since, so it never goes back.
#pragma once

#include "base/time.hpp"

namespace rollbackd::io {

class Clock {
 public:
  Clock();  ///< takes the wall time of now as its start
  /// For tests: as if the wall clock had just been set, and were so far ahead of the real one now.
  void pretend_set_by(Duration ahead) { set_by_ns_ = ahead.count(); }
  Instant now() const;
  ClockReading read() const;
  /// Engine time of a CLOCK_BOOTTIME value, e.g. a process's start time.
  Instant from_boot_ns(std::int64_t boot_ns) const;
  std::int64_t to_boot_ns(Instant t) const;
  /// Wall-clock now, for display and ids; may jump.
  static Instant wall_now();

 private:
  std::int64_t wall_at_start_ns_, boot_at_start_ns_, set_by_ns_ = 0;
  std::string boot_id_;
};

/// A fresh UUIDv7 of now, with randomness from getrandom(2).
std::string new_id();

}  // namespace rollbackd::io
