// Time zones as the system's database has them (TZif, RFC 8536). Pure: the file's bytes are handed in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "config/calendar.hpp"

namespace rollbackd::config {

/// When a year's clock change comes, in the wall time before it: the POSIX rule at a TZif file's end.
struct ClockChange {
  /// month_week_day: the `week`th (5: last) `day` (0: Sunday) of `month`; julian: `day` 1 to 365, never the 29th of February; zero_based:
  /// `day` 0 to 365.
  enum class Kind { month_week_day, julian, zero_based } kind = Kind::month_week_day;
  int month = 0, week = 0, day = 0;
  std::int64_t seconds = 7200;  ///< of the day; may be negative or beyond it
};

/// Offsets are seconds east of UTC. Without anything in it: UTC.
struct TimeZone {
  std::int64_t first_offset = 0;  ///< before the first transition
  struct Transition {
    std::int64_t at = 0;  ///< Unix seconds
    std::int64_t offset = 0;
  };
  std::vector<Transition> transitions;  ///< oldest first
  // What holds after the last transition, from the rule; without one the last offset stays.
  bool has_rule = false, changes = false;
  std::int64_t standard = 0, daylight = 0;
  ClockChange to_daylight, to_standard;

  std::int64_t offset_at(std::int64_t unix_seconds) const;
  /// The Unix time at which the wall shows `local`: the first of two; in a gap, the moment of the change.
  std::int64_t to_unix(LocalSeconds local) const;
};

/// Reads a TZif file of version 1 to 4.
/// @return `invalid_argument` for anything else, and for more than 10,000 transitions
Result<TimeZone> parse_time_zone(std::string_view bytes);

/// For the settings tables: a name as IANA has them, which cannot lead out of the database's directory.
Complaints check_time_zone_name(std::string_view value);

/// Where the system keeps them.
inline constexpr const char* kZoneDirectory = "/usr/share/zoneinfo";

}  // namespace rollbackd::config
