// Flow: settings, wall time -> calendar, time zone -> [windows] -> the guard window_open, and what is evidence.
#include "config/windows.hpp"

#include <chrono>

namespace rollbackd::config {
namespace {

/// Walls are put back by less than this: a beginning that the wall shows a little later may have been already.
constexpr LocalSeconds kFoldMax = 3 * 3600;
constexpr std::int64_t kNanoseconds = 1'000'000'000;

}  // namespace

std::optional<OpenWindow> open_at(const WindowSettings& window, const Calendar& calendar, const TimeZone& zone, Instant wall) {
  const std::int64_t now = std::chrono::floor<std::chrono::seconds>(std::chrono::nanoseconds(wall.ns())).count();
  const LocalSeconds local = now + zone.offset_at(now);
  const LocalSeconds oldest = local - std::chrono::ceil<std::chrono::seconds>(window.length).count() - kFoldMax;
  LocalSeconds from = local + kFoldMax;
  while (const auto begins = last_until(calendar, from, oldest)) {
    if (*begins < oldest) return std::nullopt;
    const Instant begin(zone.to_unix(*begins) * kNanoseconds);
    if (begin <= wall) {
      if (wall >= begin + window.length) return std::nullopt;
      return OpenWindow{begin, begin + window.length};
    }
    from = *begins - 1;
  }
  return std::nullopt;
}

std::string text_of(const WindowSettings& window, const OpenWindow& open) {
  const char* kind = window.kind == WindowSettings::Kind::maintenance ? "maintenance" : "freeze";
  return kind + (window.name.empty() ? std::string() : " \"" + window.name + "\"") + " until " + format_rfc3339(open.end);
}

}  // namespace rollbackd::config
