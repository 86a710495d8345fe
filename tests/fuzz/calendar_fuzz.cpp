// A freeze or maintenance window: the first line a calendar expression, the second Unix seconds, the third the window's length in seconds,
// and the rest the time zone: a TZif file, or only the POSIX rule at the end of one.
#include <algorithm>
#include <charconv>
#include <cstdint>

#include "base/text.hpp"
#include "config/calendar.hpp"
#include "config/time_zone.hpp"
#include "config/windows.hpp"
#include "property.hpp"

using namespace rollbackd;
using namespace rollbackd::config;

namespace {

constexpr std::int64_t kDay = 86'400;
constexpr std::int64_t kOffsetMax = 26 * 3600;   ///< RFC 8536
constexpr std::int64_t kNowMin = 800 * kDay;     ///< calendars begin with 1970
constexpr std::int64_t kNowMax = 7'200'000'000;  ///< the year 2198: they end with 2199
constexpr std::int64_t kLengthMax = 30 * kDay;

std::string_view line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view out = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return out;
}

std::int64_t number(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return std::clamp(out, least, most);
}

/// A file of version 2 whose 64-bit part has one type, no transitions and `rule`.
std::string with_rule(std::string_view rule) {
  std::string header = "TZif2";
  header.resize(44, '\0');
  header[39] = 1;  // One type ...
  header[43] = 1;  // ... and one letter.
  const std::string body(7, '\0');
  return header + body + header + body + "\n" + std::string(rule) + "\n";
}

void check_moments(const Calendar& calendar, LocalSeconds now) {
  const auto next = next_after(calendar, now);
  if (next) {
    fuzz::property(*next > now, "the next moment lies after now", std::to_string(*next));
    fuzz::property(last_until(calendar, *next, *next) == next, "a moment is the last one at itself", std::to_string(*next));
  }
  const LocalSeconds end = next ? std::min(*next - 1, now + 400 * kDay) : now + 400 * kDay;
  const auto last = last_until(calendar, end, now - 400 * kDay);
  if (!last) return;
  fuzz::property(*last <= now, "none lies between now and the next", std::to_string(*last));
  if (*last > 0)
    fuzz::property(next_after(calendar, *last - 1) == last, "a moment comes next after the second before it", std::to_string(*last));
  const auto after = next_after(calendar, *last);
  fuzz::property(after == next, "after the last one comes the next", std::to_string(*last));
}

void check_zone(const TimeZone& zone, std::int64_t now) {
  const std::int64_t offset = zone.offset_at(now);
  fuzz::property(offset >= -kOffsetMax && offset <= kOffsetMax, "an offset is bounded", std::to_string(offset));
  const LocalSeconds local = now + offset;
  const std::int64_t unix_seconds = zone.to_unix(local);
  fuzz::property(std::abs(unix_seconds - now) <= 4 * kOffsetMax, "there and back is near", std::to_string(unix_seconds));
}

/// Whether one begins at this very second.
bool begins_at(const Calendar& calendar, const TimeZone& zone, std::int64_t second) {
  const LocalSeconds local = second + zone.offset_at(second);
  return last_until(calendar, local, local) == local && zone.to_unix(local) == second;
}

void check_window(const Calendar& calendar, const TimeZone& zone, std::int64_t now, std::int64_t length) {
  WindowSettings window;
  window.length = std::chrono::seconds(length);
  const auto at = [&](std::int64_t second) { return open_at(window, calendar, zone, Instant(second * 1'000'000'000)); };
  const auto open = at(now);
  const std::string seen = std::to_string(now) + " for " + std::to_string(length);
  if (open) {
    const Instant wall(now * 1'000'000'000);
    fuzz::property(open->begin <= wall && wall < open->end, "an open window's end lies after now, and its begin does not", seen);
    fuzz::property(open->end - open->begin == window.length, "a window is as long as it is", seen);
    const auto begun = at(open->begin.ns() / 1'000'000'000);
    fuzz::property(begun && begun->begin == open->begin, "a window is open where it begins", seen);
    const std::int64_t last = open->end.ns() / 1'000'000'000 - 1;
    fuzz::property(at(last).has_value(), "a window is open until it ends", seen);
    const auto ended = at(last + 1);
    fuzz::property(!ended || ended->begin > open->begin, "a window is closed where it ends", seen);
    return;
  }
  for (std::int64_t second = now; second > now - std::min<std::int64_t>(length, 200); --second)
    fuzz::property(!begins_at(calendar, zone, second), "a window is open that began within its length",
                   seen + " at " + std::to_string(second));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 16 << 10) return 0;
  const std::string bytes(data, data + size);
  std::string_view rest = bytes;
  const std::string_view expression = line(rest);
  const std::int64_t now = number(line(rest), kNowMin, kNowMax), length = number(line(rest), 1, kLengthMax);
  const std::string file = rest.starts_with("TZif") ? std::string(rest) : with_rule(rest);

  const auto calendar = parse_calendar(expression);
  if (!calendar) {
    fuzz::property(!calendar.error().why.empty() && !calendar.error().next_step.empty(), "an error says why and what to write",
                   calendar.error().text());
  } else {
    check_moments(*calendar, now);
  }
  const auto zone = parse_time_zone(file);
  if (!zone) {
    fuzz::property(!zone.error().why.empty(), "an error says why", zone.error().text());
    return 0;
  }
  check_zone(*zone, now);
  if (calendar) check_window(*calendar, *zone, now, length);
  return 0;
}
