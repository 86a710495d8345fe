// Since when a service counts as healthy: every check, this epoch's probes alone, and the process.
#include "engine/health.hpp"

#include <gtest/gtest.h>

namespace rollbackd::engine {
namespace {

const Instant kSwitch = Instant::from_seconds(1000);

World::Process process_since(Instant started, bool running = true) {
  World::Process process;
  process.running = running;
  process.pid = 7;
  process.started = started;
  return process;
}

TEST(Health, IsNotKnownBeforeEveryCheckHasSpoken) {
  Health health;
  health.begin_epoch(kSwitch);

  health.said("front", true, kSwitch + 1s);

  EXPECT_EQ(health.healthy_since(2, std::nullopt), std::nullopt);
  EXPECT_EQ(health.healthy_since(1, std::nullopt), kSwitch + 1s);
}

TEST(Health, BeginsWithTheCheckThatBecameHealthyLast) {
  Health health;
  health.begin_epoch(kSwitch);

  health.said("front", true, kSwitch + 1s);
  health.said("back", true, kSwitch + 4s);

  EXPECT_EQ(health.healthy_since(2, std::nullopt), kSwitch + 4s);
}

TEST(Health, CountsFromTheFirstHealthyProbeOfARow) {
  Health health;
  health.begin_epoch(kSwitch);

  for (int second = 1; second <= 5; ++second) health.said("front", true, kSwitch + std::chrono::seconds(second));

  EXPECT_EQ(health.healthy_since(1, std::nullopt), kSwitch + 1s);
}

TEST(Health, OneFailureEndsItAndTheNextSuccessBeginsItAnew) {
  Health health;
  health.begin_epoch(kSwitch);
  health.said("front", true, kSwitch + 1s);

  health.said("front", false, kSwitch + 2s);
  const auto while_failing = health.healthy_since(1, std::nullopt);
  health.said("front", true, kSwitch + 3s);

  EXPECT_EQ(while_failing, std::nullopt);
  EXPECT_EQ(health.healthy_since(1, std::nullopt), kSwitch + 3s);
}

TEST(Health, AProbeThatBeganBeforeTheSwitchSaysNothingOfTheNewRelease) {
  Health health;
  health.begin_epoch(kSwitch);

  const bool before = health.said("front", true, kSwitch - Duration(1));
  const bool at_the_switch = health.said("back", true, kSwitch);

  EXPECT_FALSE(before);
  EXPECT_TRUE(at_the_switch);
  EXPECT_EQ(health.healthy_since(2, std::nullopt), std::nullopt);
}

TEST(Health, ANewEpochForgetsWhatWasSaidOfTheReleaseBefore) {
  Health health;
  health.begin_epoch(kSwitch);
  health.said("front", true, kSwitch + 1s);

  health.begin_epoch(kSwitch + 10s);

  EXPECT_EQ(health.healthy_since(1, std::nullopt), std::nullopt);
}

TEST(Health, ForgettingKeepsTheEpoch) {
  Health health;
  health.begin_epoch(kSwitch);
  health.said("front", true, kSwitch + 1s);

  health.forget();

  EXPECT_EQ(health.healthy_since(1, std::nullopt), std::nullopt);
  EXPECT_FALSE(health.said("front", true, kSwitch - 1s));
  EXPECT_TRUE(health.said("front", true, kSwitch + 20s));
  EXPECT_EQ(health.healthy_since(1, std::nullopt), kSwitch + 20s);
}

TEST(Health, IsNotOlderThanTheProcess) {
  Health health;
  health.begin_epoch(kSwitch);
  health.said("front", true, kSwitch + 1s);

  EXPECT_EQ(health.healthy_since(1, process_since(kSwitch + 3s)), kSwitch + 3s);
  EXPECT_EQ(health.healthy_since(1, process_since(kSwitch - 60s)), kSwitch + 1s);
}

TEST(Health, AServiceWhoseProcessDoesNotRunIsNotHealthyWhateverAnswers) {
  Health health;
  health.begin_epoch(kSwitch);
  health.said("front", true, kSwitch + 1s);

  EXPECT_EQ(health.healthy_since(1, process_since(kSwitch, false)), std::nullopt);
}

TEST(Health, WithoutAnyCheckTheEpochOrTheProcessIsItsBeginning) {
  Health health;
  health.begin_epoch(kSwitch);

  EXPECT_EQ(health.healthy_since(0, std::nullopt), kSwitch);
  EXPECT_EQ(health.healthy_since(0, process_since(kSwitch + 2s)), kSwitch + 2s);
}

}  // namespace
}  // namespace rollbackd::engine
