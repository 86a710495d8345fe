#include "base/time.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <limits>

namespace rollbackd {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t ns;
};
constexpr std::int64_t kSecond = 1'000'000'000, kDay = 86'400 * kSecond;
// Largest first; Prometheus's year has 365 days.
constexpr std::array<Unit, 7> kUnits{
    {{"y", 365 * kDay}, {"w", 7 * kDay}, {"d", kDay}, {"h", 3600 * kSecond}, {"m", 60 * kSecond}, {"s", kSecond}, {"ms", 1'000'000}}};

Error not_a_duration(std::string_view text) {
  return Error(Errc::invalid_argument, "\"" + std::string(text) + "\" is not a duration").try_next("write it like 500ms, 30s, 5m or 1h30m");
}

/// a - b; what a file may hold is not bounded, so a distance beyond 146 years is 146 years.
std::int64_t minus(std::int64_t a, std::int64_t b) {
  constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max() / 2;
  std::int64_t out = 0;
  if (__builtin_sub_overflow(a, b, &out)) return a < b ? -kFar : kFar;
  return std::clamp(out, -kFar, kFar);
}

}  // namespace

Stamp ClockReading::to_stamp(Instant t) const {
  const std::int64_t back = (instant - t).count();
  return Stamp{stamp.boot_id, stamp.boot_ns - back, stamp.wall_ns - back};
}

Instant ClockReading::to_instant(const Stamp& s) const {
  if (s.boot_id == stamp.boot_id) return instant - Duration(minus(stamp.boot_ns, s.boot_ns));
  // It happened before this boot began, whatever the wall clock says: the process that runs now is younger than it.
  return instant - Duration(std::max(std::max<std::int64_t>(0, stamp.boot_ns), minus(stamp.wall_ns, s.wall_ns)));
}

Result<Duration> parse_duration(std::string_view text) {
  if (text == "0") return Duration{0};
  if (text.empty()) return not_a_duration(text);
  std::int64_t total = 0;
  std::size_t next_unit = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    std::int64_t number = 0;
    const std::size_t digits_from = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
      if (number > std::numeric_limits<std::int64_t>::max() / 10 - 10) return not_a_duration(text);
      number = number * 10 + (text[at++] - '0');
    }
    if (at == digits_from) return not_a_duration(text);
    const std::size_t unit_from = at;
    while (at < text.size() && text[at] >= 'a' && text[at] <= 'z') ++at;
    const std::string_view unit = text.substr(unit_from, at - unit_from);
    while (next_unit < kUnits.size() && kUnits[next_unit].name != unit) ++next_unit;
    if (next_unit == kUnits.size()) return not_a_duration(text);
    std::int64_t part = 0;
    if (__builtin_mul_overflow(number, kUnits[next_unit].ns, &part) || __builtin_add_overflow(total, part, &total))
      return not_a_duration(text);
    ++next_unit;
  }
  return Duration{total};
}

std::string format_duration(Duration d) {
  std::string out;
  std::int64_t left = d.count();
  if (left < 0) {
    out = "-";
    left = -left;
  }
  left = (left + 500'000) / 1'000'000 * 1'000'000;
  if (left == 0) return "0s";
  for (const Unit& unit : kUnits) {
    if (unit.name == "y" || unit.name == "w") continue;  // 400d reads better than 1y5w
    if (left < unit.ns) continue;
    out += std::to_string(left / unit.ns) + std::string(unit.name);
    left %= unit.ns;
  }
  return out;
}

std::string format_rfc3339(Instant t) {
  const std::time_t seconds = t.ns() / kSecond;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 64> buffer{};
  const std::size_t n = std::strftime(buffer.data(), buffer.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(buffer.data() + n, buffer.size() - n, ".%03dZ", static_cast<int>(t.ns() / 1'000'000 % 1000));
  return buffer.data();
}

}  // namespace rollbackd
