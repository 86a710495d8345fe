// Reads a calendar expression into sets, and looks for the moments that are in all of them: day by day, then within the day.
// Flow: settings -> [calendar] -> windows -> the guard window_open.
#include "config/calendar.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>

#include "base/text.hpp"

namespace rollbackd::config {
namespace {

constexpr int kYearMin = 1970, kYearMax = 2199;
constexpr std::int64_t kDay = 86'400;
constexpr std::size_t kTextMax = 256;

constexpr const char* kExample = "write it like \"Fri 17:00\", \"Mon..Fri 09:00\" or \"*-12-20 00:00\"; see systemd.time(7)";

Error wrong(std::string_view part, std::string why) {
  return Error(Errc::invalid_argument, "\"" + printable(cut(part, 80)) + "\" is no calendar expression")
      .because(std::move(why))
      .try_next(kExample);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

/// One entry of a list: a value, a range, or either with a step.
struct Entry {
  int start = 0, stop = 0, repeat = 0;
  bool open_end = false;  ///< "5/2": up to the most there is
};

bool number(std::string_view text, int& out) {
  constexpr std::size_t kDigitsMax = 4;
  if (text.empty() || text.size() > kDigitsMax || !std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return false;
  return std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc{};
}

/// "*" gives an empty list.
Result<std::vector<Entry>> entries(std::string_view text, const char* what, int least, int most) {
  std::vector<Entry> out;
  if (text == "*") return out;
  for (const std::string& piece : split(std::string(text), ',')) {
    Entry entry;
    std::string_view value = piece;
    if (const auto slash = value.find('/'); slash != value.npos) {
      if (!number(value.substr(slash + 1), entry.repeat) || entry.repeat == 0)
        return wrong(text, std::string("a step of the ") + what + " must be a number above 0");
      value = value.substr(0, slash);
      entry.open_end = true;
    }
    const auto dots = value.find("..");
    if (!number(value.substr(0, dots), entry.start))
      return wrong(text, std::string("the ") + what + " must be numbers, \"*\", ranges like 1..5 or steps like 0/15");
    entry.stop = entry.start;
    if (dots != value.npos) {
      if (!number(value.substr(dots + 2), entry.stop)) return wrong(text, std::string("a range of the ") + what + " has no end");
      entry.open_end = false;
      if (entry.repeat == 0) entry.repeat = 1;
    }
    if (entry.start < least || entry.stop > most || entry.stop < entry.start)
      return wrong(text, std::string("the ") + what + " go from " + std::to_string(least) + " to " + std::to_string(most));
    if (entry.repeat > 0 && entry.start + entry.repeat > most)
      return wrong(text, std::string("the step of the ") + what + " leads nowhere");
    out.push_back(entry);
  }
  return out;
}

std::uint64_t bits(const std::vector<Entry>& list, int least, int most) {
  std::uint64_t out = 0;
  for (const Entry& entry : list) {
    const int stop = entry.open_end ? most : entry.stop;
    for (int v = entry.start; v <= stop; v += std::max(entry.repeat, 1)) out |= std::uint64_t{1} << v;
  }
  for (int v = least; list.empty() && v <= most; ++v) out |= std::uint64_t{1} << v;
  return out;
}

/// Days counted from the month's end go on towards it: "~7/1" is the last seven days.
std::uint64_t bits_from_end(const std::vector<Entry>& list) {
  std::uint64_t out = 0;
  for (const Entry& entry : list) {
    const int step = std::max(entry.repeat, 1);
    if (entry.open_end) {
      for (int v = entry.start; v >= 1; v -= step) out |= std::uint64_t{1} << v;
    } else {
      for (int v = entry.stop; v >= entry.start; v -= step) out |= std::uint64_t{1} << v;
    }
  }
  return out;
}

Result<> read_set(std::string_view text, const char* what, int least, int most, std::uint64_t& out) {
  auto list = entries(text, what, least, most);
  if (!list) return list.error();
  out = bits(*list, least, most);
  return {};
}

Result<> read_time(std::string_view text, Calendar& out) {
  const auto parts = split(std::string(text), ':');
  if (parts.size() < 2 || parts.size() > 3) return wrong(text, "a time of day is hours:minutes or hours:minutes:seconds");
  if (parts.back().find('.') != std::string::npos && parts.back().find("..") == std::string::npos)
    return wrong(text, "fractions of a second are not read");
  std::uint64_t hours = 0;
  if (auto ok = read_set(parts[0], "hours", 0, 23, hours); !ok) return ok;
  out.hours = static_cast<std::uint32_t>(hours);
  if (auto ok = read_set(parts[1], "minutes", 0, 59, out.minutes); !ok) return ok;
  out.seconds = 1;
  if (parts.size() == 3) return read_set(parts[2], "seconds", 0, 59, out.seconds);
  return {};
}

/// Two digits are of this or the last century, as systemd has it.
int year_of(int value) {
  constexpr int kPivot = 70, kHundred = 100;
  if (value >= kHundred) return value;
  return value + (value < kPivot ? 2000 : 1900);
}

Result<> read_years(std::string_view text, Calendar& out) {
  constexpr int kAnyNumber = 9999;
  auto list = entries(text, "years", 0, kAnyNumber);
  if (!list) return list.error();
  for (const Entry& entry : *list) {
    Calendar::Years years{year_of(entry.start), entry.open_end ? kYearMax : year_of(entry.stop), std::max(entry.repeat, 1)};
    if (years.start < kYearMin || years.stop > kYearMax || years.stop < years.start) return wrong(text, "the years go from 1970 to 2199");
    out.years.push_back(years);
  }
  return {};
}

Result<> read_date(std::string_view text, Calendar& out) {
  const auto tilde = text.find('~');
  std::vector<std::string> parts;
  if (tilde == text.npos) {
    parts = split(std::string(text), '-');
  } else {
    parts = split(std::string(text.substr(0, tilde)), '-');
    parts.emplace_back(text.substr(tilde + 1));
  }
  if (parts.size() < 2 || parts.size() > 3) return wrong(text, "a date is month-day or year-month-day");
  const std::size_t month = parts.size() - 2;
  if (month == 1)
    if (auto ok = read_years(parts[0], out); !ok) return ok;
  std::uint64_t set = 0;
  if (auto ok = read_set(parts[month], "months", 1, 12, set); !ok) return ok;
  out.months = static_cast<std::uint32_t>(set);
  auto days = entries(parts[month + 1], "days", 1, 31);
  if (!days) return days.error();
  const bool from_end = tilde != text.npos && !days->empty();
  out.days = from_end ? 0 : static_cast<std::uint32_t>(bits(*days, 1, 31));
  out.days_from_end = from_end ? static_cast<std::uint32_t>(bits_from_end(*days)) : 0;
  return {};
}

/// The number of the weekday that `name` is, short or long; -1: none.
int weekday_of(std::string_view name) {
  constexpr std::array<const char*, 7> kNames{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};
  const std::string low = lower(name);
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (low == kNames[i] || low == std::string(kNames[i]).substr(0, 3)) return static_cast<int>(i);
  return -1;
}

Result<> read_weekdays(std::string_view text, Calendar& out) {
  out.weekdays = 0;
  if (text.ends_with(',')) text.remove_suffix(1);  // "Mon, 10:00"
  for (const std::string& piece : split(std::string(text), ',')) {
    const auto dots = piece.find("..");
    const auto dash = piece.find('-');
    const auto at = dots != std::string::npos ? dots : dash;
    const int first = weekday_of(std::string_view(piece).substr(0, at));
    const int last = at == std::string::npos ? first : weekday_of(std::string_view(piece).substr(at + (dots == at ? 2 : 1)));
    if (first < 0 || last < 0) return wrong(text, "weekdays are Mon, Tue, Wed, Thu, Fri, Sat and Sun");
    if (last < first) return wrong(text, "a range of weekdays goes from an earlier to a later one, beginning with Mon");
    for (int day = first; day <= last; ++day) out.weekdays |= 1U << day;
  }
  return {};
}

std::string_view written_out(std::string_view text) {
  struct Short {
    const char *word, *meaning;
  };
  constexpr std::array<Short, 9> kShort{{{"minutely", "*-*-* *:*:00"},
                                         {"hourly", "*-*-* *:00:00"},
                                         {"daily", "*-*-* 00:00:00"},
                                         {"weekly", "Mon *-*-* 00:00:00"},
                                         {"monthly", "*-*-01 00:00:00"},
                                         {"quarterly", "*-01,04,07,10-01 00:00:00"},
                                         {"semiannually", "*-01,07-01 00:00:00"},
                                         {"yearly", "*-01-01 00:00:00"},
                                         {"annually", "*-01-01 00:00:00"}}};
  const std::string low = lower(text);
  for (const Short& s : kShort)
    if (low == s.word) return s.meaning;
  return text;
}

Calendar midnight_every_day() {
  Calendar out;
  out.months = static_cast<std::uint32_t>(bits({}, 1, 12));
  out.days = static_cast<std::uint32_t>(bits({}, 1, 31));
  out.weekdays = 0x7F;
  out.hours = 1;
  out.minutes = out.seconds = 1;
  return out;
}

// ---- Looking for moments ----

std::chrono::year_month_day date_of(std::int64_t day) { return std::chrono::sys_days(std::chrono::days(day)); }

std::int64_t floor_day(LocalSeconds t) { return t >= 0 ? t / kDay : -((-t + kDay - 1) / kDay); }

bool day_matches(const Calendar& c, std::int64_t day) {
  const auto date = date_of(day);
  const int year = static_cast<int>(date.year());
  const auto month = static_cast<unsigned>(date.month()), number_of_day = static_cast<unsigned>(date.day());
  const auto in_years = [&](const Calendar::Years& y) { return year >= y.start && year <= y.stop && (year - y.start) % y.repeat == 0; };
  if (!c.years.empty() && std::none_of(c.years.begin(), c.years.end(), in_years)) return false;
  if ((c.months >> month & 1U) == 0) return false;
  const unsigned weekday = std::chrono::weekday(std::chrono::sys_days(date)).iso_encoding() - 1;
  if ((c.weekdays >> weekday & 1U) == 0) return false;
  const auto last = static_cast<unsigned>(std::chrono::year_month_day_last(date.year() / date.month() / std::chrono::last).day());
  return (c.days >> number_of_day & 1U) != 0 || (c.days_from_end >> (last - number_of_day + 1) & 1U) != 0;
}

bool has(std::uint64_t set, int bit) { return (set >> bit & 1U) != 0; }

constexpr int kMinute = 60, kHour = 3600;

/// The first second of the day in the sets that is at or after `from`; -1: none.
std::int64_t first_in_day(const Calendar& c, std::int64_t from) {
  for (int h = static_cast<int>(from / kHour); h < 24; ++h) {
    if (!has(c.hours, h)) continue;
    for (int m = 0; m < 60; ++m) {
      const std::int64_t minute = h * kHour + m * kMinute;
      if (!has(c.minutes, m) || minute + kMinute <= from) continue;
      for (int s = 0; s < 60; ++s)
        if (has(c.seconds, s) && minute + s >= from) return minute + s;
    }
  }
  return -1;
}

/// The last second of the day in the sets that is at or before `until`; -1: none.
std::int64_t last_in_day(const Calendar& c, std::int64_t until) {
  for (int h = static_cast<int>(until / kHour); h >= 0; --h) {
    if (!has(c.hours, h)) continue;
    for (int m = 59; m >= 0; --m) {
      const std::int64_t minute = h * kHour + m * kMinute;
      if (!has(c.minutes, m) || minute > until) continue;
      for (int s = 59; s >= 0; --s)
        if (has(c.seconds, s) && minute + s <= until) return minute + s;
    }
  }
  return -1;
}

}  // namespace

Result<Calendar> parse_calendar(std::string_view text) {
  text = trim(text);
  if (text.empty()) return wrong(text, "it is empty");
  if (text.size() > kTextMax) return wrong(text, "it has more than 256 bytes");
  std::vector<std::string> words;
  for (const std::string& word : split(std::string(written_out(text)), ' '))
    if (!word.empty()) words.push_back(word);
  Calendar out = midnight_every_day();
  std::size_t at = 0;
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (is_letter(words[at].front())) {
    if (auto ok = read_weekdays(words[at], out); !ok) return ok.error();
    ++at;
  }
  if (at < words.size() && words[at].find(':') == std::string::npos && !is_letter(words[at].front())) {
    if (auto ok = read_date(words[at], out); !ok) return ok.error();
    ++at;
  }
  if (at < words.size() && words[at].find(':') != std::string::npos) {
    if (auto ok = read_time(words[at], out); !ok) return ok.error();
    ++at;
  }
  if (at < words.size())
    return wrong(text, "\"" + printable(words[at]) + "\" stands too much in it; a time zone is the setting \"time_zone\"");
  return out;
}

std::optional<LocalSeconds> next_after(const Calendar& calendar, LocalSeconds after) {
  const std::int64_t end = floor_day(std::chrono::sys_days(std::chrono::year(kYearMax + 1) / 1 / 1).time_since_epoch().count() * kDay);
  const LocalSeconds from = std::max<LocalSeconds>(after + 1, 0);
  std::int64_t second = from - floor_day(from) * kDay;
  for (std::int64_t day = floor_day(from); day < end; ++day, second = 0) {
    if (!day_matches(calendar, day)) continue;
    if (const std::int64_t found = first_in_day(calendar, second); found >= 0) return day * kDay + found;
  }
  return std::nullopt;
}

std::optional<LocalSeconds> last_until(const Calendar& calendar, LocalSeconds at, LocalSeconds not_before) {
  std::int64_t second = at - floor_day(at) * kDay;
  for (std::int64_t day = floor_day(at); day >= floor_day(not_before); --day, second = kDay - 1) {
    if (!day_matches(calendar, day)) continue;
    if (const std::int64_t found = last_in_day(calendar, second); found >= 0) return day * kDay + found;
  }
  return std::nullopt;
}

Complaints check_calendar(std::string_view value) {
  const auto calendar = parse_calendar(value);
  if (!calendar) return Complaint{calendar.error().what + ": " + calendar.error().why, calendar.error().next_step};
  if (!next_after(*calendar, 0)) return Complaint{"\"" + printable(cut(value, 80)) + "\" never comes", kExample};
  return std::nullopt;
}

}  // namespace rollbackd::config
