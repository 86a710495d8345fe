#include "config/calendar.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>

#include "base/text.hpp"
#include "base/time.hpp"
#include "base/when.hpp"
#include "config/time_zone.hpp"
#include "config/windows.hpp"

namespace rollbackd::config {
namespace {

constexpr const char* kBase = "2026-11-21 20:00:00 UTC";
const LocalSeconds kFrom = 1'795'291'200;  ///< the same

const std::vector<std::string> kGood{"daily",
                                     "weekly",
                                     "monthly",
                                     "hourly",
                                     "minutely",
                                     "yearly",
                                     "annually",
                                     "quarterly",
                                     "semiannually",
                                     "Daily",
                                     "Mon",
                                     "Monday",
                                     "mOnDaY..WED",
                                     "Mon-Wed",
                                     "Sat,Mon..Wed 10:00",
                                     "Mon, 10:00",
                                     "Fri 17:00",
                                     "17:00",
                                     "0:0:0",
                                     "*:*",
                                     "*:*:*",
                                     "*:0/15",
                                     "0/4:0",
                                     "*-*-* *:0/15",
                                     "Mon..Fri *-*-* 5..9/2:00",
                                     "10:20:30,40",
                                     "1..3:*",
                                     "12-24",
                                     "*-12-24",
                                     "*-*-1/7 0/4:30",
                                     "*-*-1..5/2",
                                     "*-1,7-*",
                                     "*-02-29",
                                     "Mon *-02-29",
                                     "*-*~1",
                                     "*-02~03",
                                     "Mon *-05~07/1",
                                     "*-*~1..3",
                                     "*-*~5/2",
                                     "2027-*-*",
                                     "2027..2030-1-1",
                                     "2026/2-06-15 12:00",
                                     "2027,2031-03-03",
                                     "30-1-1",
                                     "Fri *-*-13",
                                     "*-*-31",
                                     "*-4,6,9-30 23:59:59",
                                     "Sun *-*-1..7 02:30",
                                     "Tue *-11-2..8",
                                     "Thu *-11-22..28 08:15:30",
                                     "*-*-* 00/5:10/20:5/25",
                                     "Sat,Sun 00:00:00",
                                     "2026-11-21 20:00:00",
                                     "2026-11-21 20:00:01",
                                     "*-*-15,20..25/2,31 6:00",
                                     "2199-12-31 23:59:59"};

const std::vector<std::string> kBad{"",        " ",           "nonsense", "Fri..Mon", "Mo",       "*/5",     "*:*/5",    "*-*-*/2",
                                    "~1",      "2025",        "*",        "10",       "24:00",    "*:60",    "10:20:60", "*-13-1",
                                    "*-0-1",   "*-*-0",       "*-*-32",   "*-*~32",   "5..2-*-*", "9..5:00", "0:0:0/61", "1:2:3:4",
                                    "1-2-3-4", "10:00 10:00", "*-1- 3",   "--",       "::",       "*-*-1..", "*-*-..3",  "*-*-1/0",
                                    "*-*-1/",  "*-*-99999",   "Mon Tue",  "10:0x",    "1,,2-*-*"};

/// What `systemd-analyze calendar --iterations=5` says of each; empty: the program is not there.
std::vector<std::vector<std::string>> as_systemd_has_it(const std::vector<std::string>& expressions) {
  std::string command = "TZ=UTC LC_ALL=C systemd-analyze calendar --iterations=5 --base-time='" + std::string(kBase) + "' ";
  for (const std::string& e : expressions) command += "'" + e + "' ";
  std::FILE* pipe = ::popen((command + " 2>/dev/null").c_str(), "r");  // NOLINT(cert-env33-c): fixed texts
  std::string text;
  char buffer[4096];
  for (std::size_t n = 0; pipe && (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
  if (pipe) ::pclose(pipe);
  std::vector<std::vector<std::string>> out;
  for (const std::string& line : split(text, '\n')) {
    const auto colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string key(trim(std::string_view(line).substr(0, colon)));
    std::string value(trim(std::string_view(line).substr(colon + 2)));
    if (key == "Normalized form") out.emplace_back();
    if (value.ends_with(" UTC")) value.resize(value.size() - 4);
    const bool iteration = key == "Next elapse" || key.starts_with("Iter");
    if (iteration && value != "never" && !out.empty()) out.back().push_back(value.substr(4));  // Without the weekday.
  }
  return out;
}

std::string text_of(LocalSeconds t) {
  std::string text = format_rfc3339(Instant(t * 1'000'000'000)).substr(0, 19);
  text[10] = ' ';
  return text;
}

TEST(Calendar, ComesWhenSystemdSaysItDoes) {
  const auto theirs = as_systemd_has_it(kGood);
  if (theirs.empty()) GTEST_SKIP() << "systemd-analyze is not there";
  ASSERT_EQ(theirs.size(), kGood.size());
  for (std::size_t i = 0; i < kGood.size(); ++i) {
    const auto calendar = parse_calendar(kGood[i]);
    ASSERT_TRUE(calendar) << kGood[i] << ": " << calendar.error().text();
    std::vector<std::string> ours;
    for (auto t = next_after(*calendar, kFrom); t && ours.size() < theirs[i].size(); t = next_after(*calendar, *t))
      ours.push_back(text_of(*t));
    EXPECT_EQ(ours, theirs[i]) << kGood[i];
  }
}

TEST(Calendar, LooksBackToTheSameMomentsAsForward) {
  for (const std::string& expression : kGood) {
    const auto calendar = parse_calendar(expression);
    ASSERT_TRUE(calendar) << expression << ": " << calendar.error().text();
    std::vector<LocalSeconds> forward;
    for (auto t = next_after(*calendar, kFrom); t && forward.size() < 5; t = next_after(*calendar, *t)) forward.push_back(*t);
    for (std::size_t i = 0; i < forward.size(); ++i) {
      const LocalSeconds until = i + 1 < forward.size() ? forward[i + 1] - 1 : forward[i];
      EXPECT_EQ(last_until(*calendar, until, kFrom), forward[i]) << expression;
      EXPECT_EQ(last_until(*calendar, forward[i], kFrom), forward[i]) << expression;
    }
  }
}

TEST(Calendar, WhatCannotBeReadIsRefusedWithAReasonAndAnExample) {
  for (const std::string& expression : kBad) {
    const auto complaint = check_calendar(expression);
    ASSERT_TRUE(complaint) << expression;
    EXPECT_THAT(complaint->what, testing::HasSubstr("is no calendar expression")) << expression;
    EXPECT_THAT(complaint->remedy, testing::HasSubstr("Fri 17:00")) << expression;
  }
  EXPECT_THAT(check_calendar("*-02-30")->what, testing::HasSubstr("never comes"));
  EXPECT_THAT(check_calendar("Fri 17:00 Europe/Berlin")->what, testing::HasSubstr("time_zone"));
  EXPECT_TRUE(check_calendar(std::string(100'000, '1')));
  for (const std::string& expression : kGood) EXPECT_FALSE(check_calendar(expression)) << expression;
}

TimeZone zone(const std::string& name) {
  std::ifstream file(std::string(kZoneDirectory) + "/" + name, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  auto parsed = parse_time_zone(bytes.str());
  if (!parsed) ADD_FAILURE() << name << ": " << parsed.error().text();
  return parsed ? *parsed : TimeZone{};
}

bool zones_are_there() { return std::ifstream(std::string(kZoneDirectory) + "/Europe/Berlin").good(); }

std::int64_t at(const std::string& text) { return parse_when(text, Instant())->ns() / 1'000'000'000; }

TEST(TimeZone, HasTheOffsetsOfItsPlaceNowAndFarAhead) {
  if (!zones_are_there()) GTEST_SKIP() << "the time zone database is not there";
  struct Case {
    const char *name, *when;
    std::int64_t offset;
  };
  for (const Case& c : std::vector<Case>{{"Europe/Berlin", "2026-01-15T12:00:00Z", 3600},
                                         {"Europe/Berlin", "2026-07-15T12:00:00Z", 7200},
                                         {"Europe/Berlin", "2026-03-29T00:59:59Z", 3600},
                                         {"Europe/Berlin", "2026-03-29T01:00:00Z", 7200},
                                         {"Europe/Berlin", "2026-10-25T00:59:59Z", 7200},
                                         {"Europe/Berlin", "2026-10-25T01:00:00Z", 3600},
                                         {"Europe/Berlin", "2099-07-15T12:00:00Z", 7200},
                                         {"Europe/Berlin", "2099-01-15T12:00:00Z", 3600},
                                         {"America/New_York", "2026-03-08T06:59:59Z", -18000},
                                         {"America/New_York", "2026-03-08T07:00:00Z", -14400},
                                         {"America/New_York", "2060-11-07T05:59:59Z", -14400},
                                         {"America/New_York", "2060-11-07T06:00:00Z", -18000},
                                         {"Australia/Sydney", "2050-01-15T12:00:00Z", 39600},
                                         {"Australia/Sydney", "2050-07-15T12:00:00Z", 36000},
                                         {"Asia/Kolkata", "2026-07-15T12:00:00Z", 19800},
                                         {"Asia/Kolkata", "2080-07-15T12:00:00Z", 19800},
                                         {"UTC", "2026-07-15T12:00:00Z", 0}})
    EXPECT_EQ(zone(c.name).offset_at(at(c.when)), c.offset) << c.name << " " << c.when;
}

TEST(TimeZone, AWallThatIsPutForwardOrBackIsReadInOneWay) {
  if (!zones_are_there()) GTEST_SKIP() << "the time zone database is not there";
  const TimeZone berlin = zone("Europe/Berlin");
  EXPECT_EQ(berlin.to_unix(at("2026-07-15T12:00:00Z")), at("2026-07-15T10:00:00Z"));
  EXPECT_EQ(berlin.to_unix(at("2026-03-29T02:30:00Z")), at("2026-03-29T01:00:00Z")) << "never shown: the moment of the change";
  EXPECT_EQ(berlin.to_unix(at("2026-03-29T03:00:00Z")), at("2026-03-29T01:00:00Z"));
  EXPECT_EQ(berlin.to_unix(at("2026-10-25T02:30:00Z")), at("2026-10-25T00:30:00Z")) << "shown twice: the first";
  EXPECT_EQ(TimeZone{}.to_unix(1234), 1234);
}

TEST(TimeZone, ADamagedFileIsRefusedAndNeverReadBeyondItsEnd) {
  if (!zones_are_there()) GTEST_SKIP() << "the time zone database is not there";
  std::ifstream file(std::string(kZoneDirectory) + "/Europe/Berlin", std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  const std::string whole = bytes.str();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const auto cut_off = parse_time_zone(whole.substr(0, n));
    EXPECT_TRUE(!cut_off || n + 40 >= whole.size()) << n;
    std::string changed = whole;
    changed[n] = static_cast<char>(changed[n] ^ 0x55);
    (void)parse_time_zone(changed);
  }
  EXPECT_TRUE(check_time_zone_name("../../etc/passwd"));
  EXPECT_TRUE(check_time_zone_name("/etc/localtime"));
  EXPECT_FALSE(check_time_zone_name("America/Argentina/Buenos_Aires"));
  EXPECT_FALSE(check_time_zone_name("Etc/GMT+1"));
}

/// A file of version 2 with one type, no transitions and this rule.
std::string zone_file(std::int32_t offset, const std::string& rule) {
  std::string header = "TZif2", body(7, '\0');
  header.resize(44, '\0');
  header[39] = header[43] = 1;
  for (int i = 0; i < 4; ++i) body[static_cast<std::size_t>(i)] = static_cast<char>(static_cast<std::uint32_t>(offset) >> (24 - 8 * i));
  return header + body + header + body + "\n" + rule + "\n";
}

TEST(TimeZone, AnOffsetThatNoPlaceHasIsRefused) {
  for (const char* rule :
       {"UTC0", "<+14>-14", "X24:59:59", "CET-1CEST,M3.5.0,M10.5.0/3", "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "X3Y,J60/-167,0/167"})
    EXPECT_TRUE(parse_time_zone(zone_file(0, rule))) << rule;
  for (const char* rule : {"N200", "N25", "N-9999", "X1:60", "X1:00:60", "X1Y99,J60,J90", "X1Y,J60/168,J90", "X1Y,J60,J90/-1000"})
    EXPECT_FALSE(parse_time_zone(zone_file(0, rule))) << rule;
  EXPECT_TRUE(parse_time_zone(zone_file(-90'000, "")));
  EXPECT_FALSE(parse_time_zone(zone_file(93'601, "")));
  EXPECT_FALSE(parse_time_zone(zone_file(std::numeric_limits<std::int32_t>::min(), "")));
}

std::string open_text(const WindowSettings& window, const TimeZone& where, const std::string& when) {
  const auto open = open_at(window, parse_calendar(window.begins).value(), where, parse_when(when, Instant()).value());
  return open ? format_rfc3339(open->begin) + " " + format_rfc3339(open->end) : "closed";
}

TEST(Windows, AreOpenFromTheirBeginningForTheirLength) {
  WindowSettings weekend{"weekend", WindowSettings::Kind::freeze, "Fri 17:00", 64h, ""};
  const std::string stay = "2026-11-20T17:00:00.000Z 2026-11-23T09:00:00.000Z";
  EXPECT_EQ(open_text(weekend, {}, "2026-11-20T16:59:59Z"), "closed");
  EXPECT_EQ(open_text(weekend, {}, "2026-11-20T17:00:00Z"), stay);
  EXPECT_EQ(open_text(weekend, {}, "2026-11-23T08:59:59Z"), stay);
  EXPECT_EQ(open_text(weekend, {}, "2026-11-23T09:00:00Z"), "closed");
  EXPECT_EQ(config::text_of(weekend, OpenWindow{Instant(), Instant()}), "freeze \"weekend\" until 1970-01-01T00:00:00.000Z");

  WindowSettings overlapping{"", WindowSettings::Kind::maintenance, "*:0/10", 30min, ""};
  EXPECT_EQ(open_text(overlapping, {}, "2026-11-20T16:59:59Z"), "2026-11-20T16:50:00.000Z 2026-11-20T17:20:00.000Z") << "the latest";
  WindowSettings long_one{"", WindowSettings::Kind::freeze, "*-12-20", 90 * 24h, ""};
  EXPECT_EQ(open_text(long_one, {}, "2027-03-19T23:59:59Z"), "2026-12-20T00:00:00.000Z 2027-03-20T00:00:00.000Z");
  EXPECT_EQ(open_text(long_one, {}, "2027-03-20T00:00:00Z"), "closed");
}

TEST(Windows, BeginByTheWallOfTheirZoneAndLastByTheClock) {
  if (!zones_are_there()) GTEST_SKIP() << "the time zone database is not there";
  const TimeZone berlin = zone("Europe/Berlin");
  WindowSettings night{"", WindowSettings::Kind::freeze, "22:00", 8h, "Europe/Berlin"};
  EXPECT_EQ(open_text(night, berlin, "2026-07-15T20:00:00Z"), "2026-07-15T20:00:00.000Z 2026-07-16T04:00:00.000Z");
  EXPECT_EQ(open_text(night, berlin, "2026-01-15T20:00:00Z"), "closed");
  EXPECT_EQ(open_text(night, berlin, "2026-01-15T21:00:00Z"), "2026-01-15T21:00:00.000Z 2026-01-16T05:00:00.000Z");
  EXPECT_EQ(open_text(night, berlin, "2026-03-29T04:59:59Z"), "2026-03-28T21:00:00.000Z 2026-03-29T05:00:00.000Z") << "8 hours, not 7";

  WindowSettings in_the_gap{"", WindowSettings::Kind::freeze, "02:30", 1h, "Europe/Berlin"};
  EXPECT_EQ(open_text(in_the_gap, berlin, "2026-03-29T01:10:00Z"), "2026-03-29T01:00:00.000Z 2026-03-29T02:00:00.000Z");
  WindowSettings twice{"", WindowSettings::Kind::freeze, "02:45", 1h, "Europe/Berlin"};
  EXPECT_EQ(open_text(twice, berlin, "2026-10-25T01:20:00Z"), "2026-10-25T00:45:00.000Z 2026-10-25T01:45:00.000Z")
      << "the wall says 02:20 again, and 02:45 has been";
}

}  // namespace
}  // namespace rollbackd::config
