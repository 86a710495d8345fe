#include "io/clock.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace rollbackd::io {
namespace {

TEST(Clock, StartsAtTheWallTimeAndNeverGoesBack) {
  const Clock clock;

  const Instant first = clock.now(), second = clock.now();

  EXPECT_GE(second, first);
  EXPECT_LT(std::abs((first - Clock::wall_now()).count()), Duration(2s).count());
}

TEST(Clock, ABootTimeGoesToEngineTimeAndBackUnchanged) {
  const Clock clock;
  const ClockReading reading = clock.read();

  const Instant instant = clock.from_boot_ns(reading.stamp.boot_ns);

  EXPECT_EQ(instant, reading.instant);
  EXPECT_EQ(clock.to_boot_ns(instant), reading.stamp.boot_ns);
}

TEST(Clock, AReadingNamesTheBootSoThatAStampOfThisRunComesBackExactly) {
  const Clock clock;
  const ClockReading reading = clock.read();
  const Instant earlier = reading.instant - 90s;

  const Instant back = clock.read().to_instant(reading.to_stamp(earlier));

  EXPECT_EQ(reading.stamp.boot_id.size(), 36U);
  EXPECT_EQ(back, earlier);
}

TEST(Clock, AReadingTellsHowFarTheWallClockWasSetSinceItsStart) {
  Clock clock;
  const auto wall_ahead = [](const ClockReading& reading) { return Duration(reading.stamp.wall_ns - reading.instant.ns()); };
  const Duration before = wall_ahead(clock.read());
  clock.pretend_set_by(1h);
  const Duration after = wall_ahead(clock.read());

  EXPECT_LT(std::abs(before.count()), Duration(2s).count());
  EXPECT_LT(std::abs((after - 1h).count()), Duration(2s).count());
}

TEST(NewId, GivesDifferentUuidsOfVersionSevenThatSortByTime) {
  const std::string a = new_id(), b = new_id();

  EXPECT_NE(a, b);
  ASSERT_EQ(a.size(), 36U);
  EXPECT_EQ(a[14], '7');
  EXPECT_LE(a.substr(0, 13), b.substr(0, 13));
}

}  // namespace
}  // namespace rollbackd::io
