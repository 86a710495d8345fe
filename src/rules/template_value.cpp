// What a template computes with: Go's names of types, Go's truth, and times as Go writes them.
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "rules/template_impl.hpp"

namespace rollbackd::rules::tmpl {

namespace {

struct TypeName {
  std::string operator()(const None&) const { return "<nil>"; }
  std::string operator()(bool) const { return "bool"; }
  std::string operator()(std::int64_t) const { return "int"; }
  std::string operator()(Byte) const { return "uint8"; }
  std::string operator()(double) const { return "float64"; }
  std::string operator()(const Complex&) const { return "complex128"; }
  std::string operator()(const std::string&) const { return "string"; }
  std::string operator()(const Html&) const { return "template.HTML"; }
  std::string operator()(const std::shared_ptr<const StringMap>&) const { return "map[string]string"; }
  std::string operator()(const std::shared_ptr<const ValueMap>&) const { return "map[string]interface {}"; }
  std::string operator()(const SamplePtr&) const { return "*template.sample"; }
  std::string operator()(const std::shared_ptr<const Samples>&) const { return "template.queryResult"; }
  std::string operator()(const Time&) const { return "*time.Time"; }
  std::string operator()(const GoDuration&) const { return "*time.Duration"; }
  std::string operator()(const std::shared_ptr<const Root>&) const {
    return "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }";
  }
};

struct Truth {
  bool operator()(const None&) const { return false; }
  bool operator()(bool b) const { return b; }
  bool operator()(std::int64_t i) const { return i != 0; }
  bool operator()(Byte b) const { return b.value != 0; }
  bool operator()(double v) const { return v != 0; }  // NaN is true, as in Go.
  bool operator()(const Complex& c) const { return c.re != 0 || c.im != 0; }
  bool operator()(const std::string& s) const { return !s.empty(); }
  bool operator()(const Html& h) const { return !h.text.empty(); }
  bool operator()(const std::shared_ptr<const StringMap>& m) const { return !m->empty(); }
  bool operator()(const std::shared_ptr<const ValueMap>& m) const { return !m->items.empty(); }
  bool operator()(const SamplePtr& s) const { return s != nullptr; }
  bool operator()(const std::shared_ptr<const Samples>& s) const { return !s->empty(); }
  bool operator()(const Time&) const { return true; }
  bool operator()(const GoDuration&) const { return true; }
  bool operator()(const std::shared_ptr<const Root>&) const { return true; }
};

constexpr std::array<const char*, 12> kMonths{"January", "February", "March",     "April",   "May",      "June",
                                              "July",    "August",   "September", "October", "November", "December"};
constexpr std::array<const char*, 7> kDays{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

std::string digits(std::int64_t value, int width, char with = '0') {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), with == '0' ? "%0*lld" : "%*lld", width, static_cast<long long>(value));
  return buffer.data();
}

/// A moment in UTC, in its parts.
struct Parts {
  explicit Parts(std::int64_t ms) {
    using namespace std::chrono;
    const sys_time<milliseconds> t{milliseconds(ms)};
    const auto day = floor<days>(t);
    const year_month_day date(day);
    const hh_mm_ss clock(t - day);
    year = static_cast<int>(date.year());
    month = static_cast<unsigned>(date.month());
    day_of_month = static_cast<unsigned>(date.day());
    day_of_year = static_cast<int>((day - sys_days(date.year() / January / 1)).count()) + 1;
    weekday = std::chrono::weekday(day).c_encoding();
    hour = clock.hours().count();
    minute = clock.minutes().count();
    second = clock.seconds().count();
    millisecond = clock.subseconds().count();
  }
  int year = 0, day_of_year = 1;
  unsigned month = 1, day_of_month = 1, weekday = 0;
  std::int64_t hour = 0, minute = 0, second = 0, millisecond = 0;
};

/// One reference of a layout: how it is written there, and what stands for it. Longer ones stand before those that begin alike.
struct Reference {
  std::string_view written;
  std::string (*make)(const Parts&);
};

const std::array kReferences{
    Reference{"2006", [](const Parts& p) { return digits(p.year, 4); }},
    Reference{"January", [](const Parts& p) { return std::string(kMonths[p.month - 1]); }},
    Reference{"Jan", [](const Parts& p) { return std::string(kMonths[p.month - 1]).substr(0, 3); }},
    Reference{"Monday", [](const Parts& p) { return std::string(kDays[p.weekday]); }},
    Reference{"Mon", [](const Parts& p) { return std::string(kDays[p.weekday]).substr(0, 3); }},
    Reference{"MST", [](const Parts&) { return std::string("UTC"); }},
    Reference{"002", [](const Parts& p) { return digits(p.day_of_year, 3); }},
    Reference{"01", [](const Parts& p) { return digits(p.month, 2); }},
    Reference{"02", [](const Parts& p) { return digits(p.day_of_month, 2); }},
    Reference{"03", [](const Parts& p) { return digits((p.hour + 11) % 12 + 1, 2); }},
    Reference{"04", [](const Parts& p) { return digits(p.minute, 2); }},
    Reference{"05", [](const Parts& p) { return digits(p.second, 2); }},
    Reference{"06", [](const Parts& p) { return digits(p.year % 100, 2); }},
    Reference{"15", [](const Parts& p) { return digits(p.hour, 2); }},
    Reference{"PM", [](const Parts& p) { return std::string(p.hour >= 12 ? "PM" : "AM"); }},
    Reference{"pm", [](const Parts& p) { return std::string(p.hour >= 12 ? "pm" : "am"); }},
    Reference{"-07:00", [](const Parts&) { return std::string("+00:00"); }},
    Reference{"-0700", [](const Parts&) { return std::string("+0000"); }},
    Reference{"-07", [](const Parts&) { return std::string("+00"); }},
    Reference{"Z07:00", [](const Parts&) { return std::string("Z"); }},
    Reference{"Z0700", [](const Parts&) { return std::string("Z"); }},
    Reference{"Z07", [](const Parts&) { return std::string("Z"); }},
    Reference{"_2", [](const Parts& p) { return digits(p.day_of_month, 2, ' '); }},
    Reference{"1", [](const Parts& p) { return digits(p.month, 1); }},
    Reference{"2", [](const Parts& p) { return digits(p.day_of_month, 1); }},
    Reference{"3", [](const Parts& p) { return digits((p.hour + 11) % 12 + 1, 1); }},
    Reference{"4", [](const Parts& p) { return digits(p.minute, 1); }},
    Reference{"5", [](const Parts& p) { return digits(p.second, 1); }},
};

/// ".000" and ".999": a fraction of a second; the nines drop zeros at the end. @return how much of the layout it is
std::size_t fraction(std::string_view layout, const Parts& parts, std::string& out) {
  if (layout.size() < 2 || (layout[0] != '.' && layout[0] != ',') || (layout[1] != '0' && layout[1] != '9')) return 0;
  const std::size_t end = std::min(layout.find_first_not_of(layout[1], 1), layout.size());
  if (end < layout.size() && layout[end] >= '0' && layout[end] <= '9') return 0;
  std::string text = digits(parts.millisecond, 3) + "000000";
  text.resize(std::min<std::size_t>(end - 1, 9));
  if (layout[1] == '9') text.erase(text.find_last_not_of('0') + 1);
  if (!text.empty()) out += layout[0] + text;
  return end;
}

}  // namespace

std::string type_name(const Value& value) { return std::visit(TypeName{}, value.v); }

bool is_true(const Value& value) { return std::visit(Truth{}, value.v); }

std::string format_time(std::int64_t ms, std::string_view layout) {
  const Parts parts(ms);
  std::string out;
  while (!layout.empty()) {
    if (const std::size_t used = fraction(layout, parts, out); used > 0) {
      layout.remove_prefix(used);
      continue;
    }
    const auto* const found =
        std::find_if(kReferences.begin(), kReferences.end(), [&](const Reference& r) { return layout.starts_with(r.written); });
    out += found == kReferences.end() ? std::string(1, layout.front()) : found->make(parts);
    layout.remove_prefix(found == kReferences.end() ? 1 : found->written.size());
  }
  return out;
}

std::string to_string(Time t) { return format_time(t.ms, "2006-01-02 15:04:05.999999999 -0700 MST"); }

std::string to_string(GoDuration d) {
  if (d.ns == 0) return "0s";
  const std::string sign = d.ns < 0 ? "-" : "";
  const std::uint64_t ns = d.ns < 0 ? 0 - static_cast<std::uint64_t>(d.ns) : static_cast<std::uint64_t>(d.ns);
  /// `value` in units of 10^`places`, without zeros at the end of the fraction.
  const auto decimal = [](std::uint64_t value, std::uint64_t unit) {
    std::string fraction = std::to_string(unit + value % unit).substr(1);
    fraction.erase(fraction.find_last_not_of('0') + 1);
    return std::to_string(value / unit) + (fraction.empty() ? "" : "." + fraction);
  };
  if (ns < 1'000) return sign + std::to_string(ns) + "ns";
  if (ns < 1'000'000) return sign + decimal(ns, 1'000) + "\xc2\xb5s";
  if (ns < 1'000'000'000) return sign + decimal(ns, 1'000'000) + "ms";
  const std::uint64_t minutes = ns / 60'000'000'000, hours = minutes / 60;
  std::string out = sign;
  if (hours > 0) out += std::to_string(hours) + "h";
  if (minutes > 0) out += std::to_string(minutes % 60) + "m";
  return out + decimal(ns % 60'000'000'000, 1'000'000'000) + "s";
}

}  // namespace rollbackd::rules::tmpl
