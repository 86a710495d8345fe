// Calendar expressions of systemd.time(7): "Mon..Fri 17:00", "*-12-20", "*-*-1/2 0/4:30". Pure: what time it is is handed in.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "config/value_checks.hpp"

namespace rollbackd::config {

/// A moment on the wall, without a time zone: seconds since 1970-01-01 00:00:00 of the same wall.
using LocalSeconds = std::int64_t;

/// Sets of what each part may be. Bit n of a set stands for the value n.
struct Calendar {
  /// start, start + repeat, ... up to stop.
  struct Years {
    int start = 1970, stop = 2199, repeat = 1;
  };
  std::vector<Years> years;                ///< empty: every year
  std::uint32_t months = 0;                ///< bits 1 to 12
  std::uint32_t days = 0;                  ///< bits 1 to 31
  std::uint32_t days_from_end = 0;         ///< bits 1 (the month's last day) to 31
  std::uint32_t weekdays = 0;              ///< bits 0 (Monday) to 6
  std::uint32_t hours = 0;                 ///< bits 0 to 23
  std::uint64_t minutes = 0, seconds = 0;  ///< bits 0 to 59
};

/// Reads an expression: weekdays, date and time with lists, ranges ("..") and steps ("/"), "~" for days from a month's end, and the
/// shorthands (daily, weekly, ...). Neither fractions of a second nor a time zone at its end: that is a setting of its own.
/// @return `invalid_argument` with what is wrong and an example
Result<Calendar> parse_calendar(std::string_view text);

/// The first moment after `after`; nothing when there is none before 2200.
std::optional<LocalSeconds> next_after(const Calendar& calendar, LocalSeconds after);
/// The last moment at or before `at`, looking back to the day of `not_before`; nothing when there is none.
std::optional<LocalSeconds> last_until(const Calendar& calendar, LocalSeconds at, LocalSeconds not_before);

/// For the settings tables: an expression that can be read and comes at least once.
Complaints check_calendar(std::string_view value);

}  // namespace rollbackd::config
