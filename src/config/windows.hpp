// Freeze and maintenance windows: is one open at a point of wall time, and until when. Pure.
#pragma once

#include <optional>
#include <string>

#include "base/time.hpp"
#include "config/calendar.hpp"
#include "config/settings.hpp"
#include "config/time_zone.hpp"

namespace rollbackd::config {

/// One stay of a window, in wall time.
struct OpenWindow {
  Instant begin, end;
};

/// The latest stay of `window` that `wall` lies in: it begins when the calendar says so in its zone, and lasts `length` from there,
/// whatever the clocks do meanwhile.
std::optional<OpenWindow> open_at(const WindowSettings& window, const Calendar& calendar, const TimeZone& zone, Instant wall);

/// `freeze "Black Friday" until 2026-11-30T08:00:00.000Z`.
std::string text_of(const WindowSettings& window, const OpenWindow& open);

}  // namespace rollbackd::config
