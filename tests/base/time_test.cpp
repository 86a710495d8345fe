#include "base/time.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace rollbackd {
namespace {

TEST(ParseDuration, ReadsPrometheusForms) {
  EXPECT_EQ(parse_duration("0").value(), 0s);
  EXPECT_EQ(parse_duration("500ms").value(), 500ms);
  EXPECT_EQ(parse_duration("1h30m").value(), 90min);
  EXPECT_EQ(parse_duration("2d").value(), 48h);
  EXPECT_EQ(parse_duration("1w").value(), 168h);
  EXPECT_EQ(parse_duration("1y").value(), 8760h);
  EXPECT_EQ(parse_duration("1m1s1ms").value(), 61s + 1ms);
}

TEST(ParseDuration, RefusesWhatIsNone) {
  for (const char* text :
       {"", "5", "s", "-5s", "1.5s", "5 s", "1s1m", "1s1s", "1us", "5S", "300y", "99999999999999999999s", " 5s", "1h30"}) {
    const auto read = parse_duration(text);
    ASSERT_TRUE(read.has_error()) << text;
    EXPECT_EQ(read.error().code, Errc::invalid_argument);
  }
}

TEST(FormatDuration, IsTheShortestFormAndReadsBack) {
  EXPECT_EQ(format_duration(90min), "1h30m");
  EXPECT_EQ(format_duration(0s), "0s");
  EXPECT_EQ(format_duration(1500ms), "1s500ms");
  EXPECT_EQ(format_duration(400 * 24h), "400d");
  EXPECT_EQ(format_duration(-5s), "-5s");
  EXPECT_EQ(format_duration(Duration(400'000)), "0s");
  for (const Duration d : {Duration(1ms), Duration(61s), Duration(25h), Duration(1000 * 24h)})
    EXPECT_EQ(parse_duration(format_duration(d)).value(), d);
}

TEST(FormatRfc3339, IsUtcWithMilliseconds) {
  EXPECT_EQ(format_rfc3339(Instant::from_millis(1'700'000'000'123)), "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(format_rfc3339(Instant()), "1970-01-01T00:00:00.000Z");
}

class Clocks : public testing::Test {
 protected:
  const ClockReading before_{Instant::from_seconds(1000), Stamp{"boot-a", 100'000'000'000, 1'000'000'000'000}};
};

TEST_F(Clocks, AnInstantSurvivesARestartInTheSameBootWhateverTheWallClockDid) {
  const Stamp stored = before_.to_stamp(Instant::from_seconds(990));
  const ClockReading after{Instant::from_seconds(50), Stamp{"boot-a", 130'000'000'000, 50'000'000'000}};

  EXPECT_EQ(after.instant - after.to_instant(stored), 40s);
}

TEST_F(Clocks, AnotherBootComparesWallTime) {
  const Stamp stored = before_.to_stamp(Instant::from_seconds(990));
  const ClockReading after{Instant::from_seconds(1500), Stamp{"boot-b", 1'000'000'000, 1'500'000'000'000}};

  EXPECT_EQ(after.instant - after.to_instant(stored), 510s);
}

TEST_F(Clocks, AWallClockSetBackMakesAnotherBootsInstantThisBootsBeginning) {
  const Stamp stored = before_.to_stamp(Instant::from_seconds(990));
  const ClockReading after{Instant::from_seconds(5), Stamp{"boot-b", 1'000'000'000, 5'000'000'000}};

  EXPECT_EQ(after.to_instant(stored), after.instant - 1s) << "what this boot started is younger";
}

TEST_F(Clocks, AnInstantBeforeTheBootHasANegativeBootTimeAndReadsBack) {
  const Stamp stored = before_.to_stamp(Instant::from_seconds(100));

  EXPECT_EQ(stored.boot_ns, -800'000'000'000);
  EXPECT_EQ(before_.to_instant(stored), Instant::from_seconds(100));
}

}  // namespace
TEST_F(Clocks, ADamagedStampIsFarAwayNotUndefined) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max(), kLeast = std::numeric_limits<std::int64_t>::min();

  for (const std::int64_t wild : {kMost, kLeast})
    for (const char* boot : {"boot-a", "boot-b"}) {
      const Instant read = before_.to_instant(Stamp{boot, wild, wild});
      EXPECT_EQ(read < before_.instant, wild < 0 || boot == std::string("boot-b")) << boot << " " << wild;
    }
}

}  // namespace rollbackd
