// Engine time and durations as values. Nothing here reads a clock: io/clock.hpp does.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace rollbackd {

using Duration = std::chrono::nanoseconds;
using namespace std::chrono_literals;  // NOLINT: 5s reads better than seconds(5) everywhere

/// A point of engine time: wall time when the daemon started plus CLOCK_BOOTTIME since, so it never goes back.
/// Counted in nanoseconds of the Unix epoch. Good for comparing within one run; `Stamp` is what may be stored.
class Instant {
 public:
  constexpr Instant() = default;
  constexpr explicit Instant(std::int64_t unix_ns) : ns_(unix_ns) {}
  static constexpr Instant from_seconds(double unix_seconds) { return Instant(static_cast<std::int64_t>(unix_seconds * 1e9)); }
  static constexpr Instant from_millis(std::int64_t unix_ms) { return Instant(unix_ms * 1'000'000); }
  constexpr std::int64_t ns() const { return ns_; }
  constexpr std::int64_t millis() const { return ns_ / 1'000'000; }
  constexpr double seconds() const { return static_cast<double>(ns_) / 1e9; }
  constexpr auto operator<=>(const Instant&) const = default;
  friend constexpr Instant operator+(Instant t, Duration d) { return Instant(t.ns_ + d.count()); }
  friend constexpr Instant operator-(Instant t, Duration d) { return Instant(t.ns_ - d.count()); }
  friend constexpr Duration operator-(Instant a, Instant b) { return Duration(a.ns_ - b.ns_); }

 private:
  std::int64_t ns_ = 0;
};

/// An instant as it is stored: it survives restarts of the daemon and of the machine.
struct Stamp {
  std::string boot_id;       ///< /proc/sys/kernel/random/boot_id of the boot it was taken in
  std::int64_t boot_ns = 0;  ///< CLOCK_BOOTTIME; may be negative for an instant before that boot
  std::int64_t wall_ns = 0;  ///< CLOCK_REALTIME
  bool operator==(const Stamp&) const = default;
};

/// One reading of all clocks at once: what converts between `Instant` and `Stamp`.
struct ClockReading {
  Instant instant;  ///< engine time of this reading
  Stamp stamp;      ///< the same moment, in storable form

  /// The storable form of `t`.
  Stamp to_stamp(Instant t) const;
  /// `s` in this run's engine time. Same boot: compares boot time. Another boot: compares wall time, and never puts
  /// `s` into the future (a wall clock that was set back makes it "as this boot began", so a cooldown starts again, not endless).
  Instant to_instant(const Stamp& s) const;
};

/// Reads a duration in Prometheus's form: "1h30m", "500ms", "2d", "0". Units y w d h m s ms, largest first, each once.
/// @return `invalid_argument` for anything else, for a negative one and for more than 292 years
Result<Duration> parse_duration(std::string_view text);

/// The shortest Prometheus form of `d`, rounded to milliseconds: "1h30m", "500ms", "0s".
std::string format_duration(Duration d);

/// UTC in RFC 3339 form with milliseconds: "2026-11-20T13:04:05.678Z".
std::string format_rfc3339(Instant t);

}  // namespace rollbackd
