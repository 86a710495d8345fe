// Reads TZif: the 64-bit block of transitions and the POSIX rule behind it, and turns wall time into Unix time and back.
#include "config/time_zone.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>

#include "base/text.hpp"

namespace rollbackd::config {
namespace {

constexpr std::size_t kTransitionsMax = 10'000;
constexpr std::size_t kHeaderBytes = 44;
constexpr std::int64_t kDay = 86'400;
constexpr std::int64_t kOffsetMax = 26 * 3600;  // RFC 8536, 3.2.

Error broken(std::string why) { return Error(Errc::invalid_argument, "this is no time zone file").because(std::move(why)); }

std::uint64_t big_endian(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t out = 0;
  for (std::size_t i = 0; i < size; ++i) out = out << 8U | static_cast<unsigned char>(bytes[at + i]);
  return out;
}

struct Header {
  char version = 0;
  std::size_t utc = 0, standard = 0, leaps = 0, transitions = 0, types = 0, letters = 0;
  std::size_t body(std::size_t time_bytes) const {
    constexpr std::size_t kTypeBytes = 6, kLeapExtra = 4;
    return transitions * time_bytes + transitions + types * kTypeBytes + letters + leaps * (time_bytes + kLeapExtra) + standard + utc;
  }
};

std::optional<Header> header_at(std::string_view bytes, std::size_t at) {
  if (bytes.size() < at + kHeaderBytes || bytes.substr(at, 4) != "TZif") return std::nullopt;
  Header out;
  out.version = bytes[at + 4];
  std::size_t* const counts[] = {&out.utc, &out.standard, &out.leaps, &out.transitions, &out.types, &out.letters};
  constexpr std::size_t kCountsAt = 20, kCountMax = 1 << 20;
  for (std::size_t i = 0; i < std::size(counts); ++i) {
    *counts[i] = static_cast<std::size_t>(big_endian(bytes, at + kCountsAt + 4 * i, 4));
    if (*counts[i] > kCountMax) return std::nullopt;
  }
  return out;
}

/// Reads what a POSIX TZ text consists of, from its front.
class Rule {
 public:
  explicit Rule(std::string_view text) : rest_(text) {}

  bool read(TimeZone& out) {
    if (!name() || !offset(out.standard, kZoneHoursMax)) return false;
    out.standard = -out.standard;  // POSIX counts west.
    out.has_rule = true;
    if (rest_.empty()) return true;
    if (!name()) return false;
    out.daylight = out.standard + 3600;
    if (!rest_.empty() && rest_.front() != ',') {
      if (!offset(out.daylight, kZoneHoursMax)) return false;
      out.daylight = -out.daylight;
    }
    out.changes = true;
    return change(out.to_daylight) && change(out.to_standard) && rest_.empty();
  }

 private:
  static constexpr int kZoneHoursMax = 24, kChangeHoursMax = 167;

  bool take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool name() {
    if (take('<')) {
      const auto end = rest_.find('>');
      if (end == rest_.npos) return false;
      rest_.remove_prefix(end + 1);
      return true;
    }
    const std::size_t before = rest_.size();
    while (!rest_.empty() && ((rest_.front() >= 'A' && rest_.front() <= 'Z') || (rest_.front() >= 'a' && rest_.front() <= 'z')))
      rest_.remove_prefix(1);
    return rest_.size() < before;
  }
  bool number(int& out) {
    out = 0;
    std::size_t digits = 0;
    for (; !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9' && digits < 4; ++digits, rest_.remove_prefix(1))
      out = out * 10 + (rest_.front() - '0');
    return digits > 0;
  }
  /// @param hours_max  24 of an offset, 167 of the hour of a change
  bool offset(std::int64_t& out, int hours_max) {
    const bool negative = take('-');
    if (!negative) take('+');
    int hours = 0, minutes = 0, seconds = 0;
    if (!number(hours) || (take(':') && (!number(minutes) || (take(':') && !number(seconds))))) return false;
    constexpr int kLast = 59;
    if (hours > hours_max || minutes > kLast || seconds > kLast) return false;
    out = hours * std::int64_t{3600} + minutes * std::int64_t{60} + seconds;
    if (negative) out = -out;
    return true;
  }
  bool change(ClockChange& out) {
    if (!take(',')) return false;
    bool ok = false;
    if (take('M')) {
      out.kind = ClockChange::Kind::month_week_day;
      ok = number(out.month) && take('.') && number(out.week) && take('.') && number(out.day) && out.month >= 1 && out.month <= 12 &&
           out.week >= 1 && out.week <= 5 && out.day <= 6;
    } else {
      out.kind = take('J') ? ClockChange::Kind::julian : ClockChange::Kind::zero_based;
      ok = number(out.day) && out.day <= 365;
    }
    return ok && (!take('/') || offset(out.seconds, kChangeHoursMax));
  }

  std::string_view rest_;
};

/// Wall time of the change in `year`, seconds since 1970 of the wall before it.
std::int64_t wall_of(const ClockChange& change, std::chrono::year year) {
  using namespace std::chrono;
  sys_days day = sys_days(year / January / 1);
  switch (change.kind) {
    case ClockChange::Kind::month_week_day: {
      const month in(static_cast<unsigned>(change.month));
      const weekday on(static_cast<unsigned>(change.day));
      constexpr int kLast = 5;
      day = change.week == kLast ? sys_days(year / in / on[last]) : sys_days(year / in / on[static_cast<unsigned>(change.week)]);
      break;
    }
    case ClockChange::Kind::julian: {
      constexpr int kLastOfFebruary = 59;
      day += days(change.day - 1 + (year.is_leap() && change.day > kLastOfFebruary ? 1 : 0));
      break;
    }
    case ClockChange::Kind::zero_based: day += days(change.day); break;
  }
  return day.time_since_epoch().count() * kDay + change.seconds;
}

std::int64_t by_rule(const TimeZone& zone, std::int64_t t) {
  if (!zone.changes) return zone.standard;
  using namespace std::chrono;
  const auto year = year_month_day(floor<days>(sys_seconds(seconds(t + zone.standard)))).year();
  const std::int64_t begins = wall_of(zone.to_daylight, year) - zone.standard, ends = wall_of(zone.to_standard, year) - zone.daylight;
  const bool daylight = begins < ends ? t >= begins && t < ends : t >= begins || t < ends;  // In the south it goes over new year.
  return daylight ? zone.daylight : zone.standard;
}

}  // namespace

std::int64_t TimeZone::offset_at(std::int64_t t) const {
  if (has_rule && (transitions.empty() || t >= transitions.back().at)) return by_rule(*this, t);
  const auto after =
      std::upper_bound(transitions.begin(), transitions.end(), t, [](std::int64_t x, const Transition& c) { return x < c.at; });
  return after == transitions.begin() ? first_offset : std::prev(after)->offset;
}

std::int64_t TimeZone::to_unix(LocalSeconds local) const {
  const std::int64_t before = offset_at(local - kDay - offset_at(local)), after = offset_at(local + kDay - offset_at(local));
  const std::int64_t early = local - std::max(before, after), late = local - std::min(before, after);
  for (const std::int64_t t : {early, late})
    if (t + offset_at(t) == local) return t;
  // The wall never shows it: it was put forward meanwhile. The change lies between the two.
  std::int64_t low = early, high = late;
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (offset_at(middle) == before ? low : high) = middle;
  }
  return high;
}

Result<TimeZone> parse_time_zone(std::string_view bytes) {
  auto header = header_at(bytes, 0);
  if (!header) return broken("it does not begin as one");
  std::size_t at = kHeaderBytes, time_bytes = 4;
  if (header->version >= '2') {
    const std::size_t second = kHeaderBytes + header->body(4);
    header = header_at(bytes, second);
    if (!header) return broken("its second part is not there");
    at = second + kHeaderBytes;
    time_bytes = 8;
  }
  if (header->transitions > kTransitionsMax) return broken("it has too many transitions");
  if (header->types == 0 || bytes.size() < at + header->body(time_bytes)) return broken("it is cut off");
  const std::size_t types_at = at + header->transitions * (time_bytes + 1);
  const auto offset_of = [&](std::size_t type) {
    constexpr std::size_t kTypeBytes = 6;
    return static_cast<std::int64_t>(static_cast<std::int32_t>(big_endian(bytes, types_at + type * kTypeBytes, 4)));
  };
  for (std::size_t type = 0; type < header->types; ++type)
    if (std::abs(offset_of(type)) > kOffsetMax) return broken("an offset is more than 26 hours");
  TimeZone out;
  out.first_offset = offset_of(0);
  for (std::size_t i = 0; i < header->transitions; ++i) {
    const auto type = static_cast<std::size_t>(static_cast<unsigned char>(bytes[at + header->transitions * time_bytes + i]));
    if (type >= header->types) return broken("a transition has no type");
    const std::uint64_t raw = big_endian(bytes, at + i * time_bytes, time_bytes);
    const auto time = time_bytes == 4 ? static_cast<std::int64_t>(static_cast<std::int32_t>(raw)) : static_cast<std::int64_t>(raw);
    if (!out.transitions.empty() && time <= out.transitions.back().at) return broken("its transitions are not in order");
    out.transitions.push_back({time, offset_of(type)});
  }
  if (time_bytes == 8) {
    std::string_view footer = bytes.substr(at + header->body(time_bytes));
    if (footer.size() < 2 || footer.front() != '\n') return broken("its rule is not there");
    footer.remove_prefix(1);
    footer = footer.substr(0, footer.find('\n'));
    if (!footer.empty() && !Rule(footer).read(out)) return broken("its rule cannot be read: " + printable(cut(footer, 80)));
  }
  return out;
}

Complaints check_time_zone_name(std::string_view value) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' || c == '_' || c == '-' || c == '+';
  };
  constexpr std::size_t kMax = 64;
  if (!value.empty() && value.size() <= kMax && value.front() != '/' && std::all_of(value.begin(), value.end(), fits)) return std::nullopt;
  return Complaint{"\"" + printable(cut(value, 80)) + "\" is no name of a time zone", "write it as IANA does, like \"Europe/Berlin\""};
}

}  // namespace rollbackd::config
