#include "base/when.hpp"

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/text.hpp"

namespace rollbackd {
namespace {

std::optional<int> digits(std::string_view text, std::size_t at, std::size_t n) {
  if (at + n > text.size()) return std::nullopt;
  int value = 0;
  for (const char c : text.substr(at, n)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

/// Date, time of day and offset of an RFC 3339 text; nothing when it is none.
std::optional<Instant> rfc3339(std::string_view text) {
  const auto year = digits(text, 0, 4), month = digits(text, 5, 2), day = digits(text, 8, 2);
  if (!year || !month || !day || text[4] != '-' || text[7] != '-' || *year < 1970 || *year > 2200) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  Duration out = std::chrono::sys_days(date).time_since_epoch();
  std::string_view rest = text.substr(10);
  if (rest.empty()) return Instant(out.count());
  const auto hour = digits(rest, 1, 2), minute = digits(rest, 4, 2), second = digits(rest, 7, 2);
  if ((rest[0] != 'T' && rest[0] != 't') || !hour || !minute || !second || rest[3] != ':' || rest[6] != ':') return std::nullopt;
  if (*hour > 23 || *minute > 59 || *second > 59) return std::nullopt;
  out += std::chrono::hours(*hour) + std::chrono::minutes(*minute) + std::chrono::seconds(*second);
  rest = rest.substr(9);
  if (!rest.empty() && rest[0] == '.') {
    std::size_t n = 1;
    Duration unit = 100ms;
    for (; n < rest.size() && rest[n] >= '0' && rest[n] <= '9'; ++n, unit /= 10) out += unit * (rest[n] - '0');
    if (n == 1) return std::nullopt;
    rest = rest.substr(n);
  }
  if (rest == "Z" || rest == "z") return Instant(out.count());
  const auto off_hours = digits(rest, 1, 2), off_minutes = digits(rest, 4, 2);
  if (rest.size() != 6 || (rest[0] != '+' && rest[0] != '-') || rest[3] != ':' || !off_hours || !off_minutes) return std::nullopt;
  if (*off_hours > 23 || *off_minutes > 59) return std::nullopt;
  const Duration offset = std::chrono::hours(*off_hours) + std::chrono::minutes(*off_minutes);
  return Instant((rest[0] == '+' ? out - offset : out + offset).count());
}

}  // namespace

Result<Instant> parse_when(std::string_view text, Instant now) {
  if (const auto instant = rfc3339(text)) return *instant;
  if (const auto ago = parse_duration(text)) return std::max(Instant{}, now - *ago);
  return Error(Errc::invalid_argument, "\"" + printable(cut(text, 64)) + "\" is no time")
      .because("a time is RFC 3339 (2026-11-20T13:04:05Z), a day (2026-11-20), or how long ago (24h, 7d)");
}

}  // namespace rollbackd
