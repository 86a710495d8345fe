#include "rules/schedule.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

namespace rollbackd::rules {
namespace {

using testing::ElementsAre;

TEST(Schedule, SlotsRoundUpAndNeverDown) {
  EXPECT_EQ(slot_at_or_after(Instant::from_millis(200)), Instant::from_millis(200));
  EXPECT_EQ(slot_at_or_after(Instant::from_millis(200) + 1ns), Instant::from_millis(300));
  EXPECT_EQ(slot_after(Instant::from_millis(200), Instant::from_millis(200)), Instant::from_millis(300));
  EXPECT_EQ(slot_after(Instant::from_millis(450), Instant::from_millis(200)), Instant::from_millis(500));
}

TEST(Schedule, WhatIsDueIsTakenOnceEarliestFirst) {
  Schedule schedule;
  schedule.set(3, Instant(30));
  schedule.set(1, Instant(10));
  schedule.set(2, Instant(20));
  schedule.set(2, Instant(5));
  schedule.set(1, std::nullopt);

  EXPECT_EQ(schedule.next(), Instant(5));
  EXPECT_THAT(schedule.take_due(Instant(29)), ElementsAre(2));
  EXPECT_THAT(schedule.take_due(Instant(30)), ElementsAre(3));
  EXPECT_EQ(schedule.next(), std::nullopt);
}

TEST(Schedule, AgreesWithASortedMapOverManyChanges) {
  Schedule schedule;
  std::map<Schedule::Id, Instant> model;
  std::mt19937 random(7);
  for (int i = 0; i < 5000; ++i) {
    const auto id = static_cast<Schedule::Id>(random() % 50);
    if (random() % 4 == 0) {
      schedule.set(id, std::nullopt);
      model.erase(id);
    } else {
      const Instant due(random() % 1000);
      schedule.set(id, due);
      model[id] = due;
    }
    std::optional<Instant> least;
    for (const auto& [other, due] : model) least = earlier(least, due);
    ASSERT_EQ(schedule.next(), least) << "step " << i;
  }
  EXPECT_EQ(schedule.take_due(Instant(1000)).size(), model.size());
}

}  // namespace
}  // namespace rollbackd::rules
