// A fixed set of seeds keeps every promise, equal seeds run equally, and the observer notices when a promise is broken.
#include "tests/simulation/simulation.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "tests/simulation/packs.hpp"

namespace rollbackd::simulation {
namespace {

TEST(Simulation, AFixedSetOfSeedsKeepsEveryPromise) {
  std::uint64_t incidents = 0, automatic = 0;
  for (std::uint64_t seed = 1; seed <= 14; ++seed) {
    const RunResult result = simulate(make_scenario(seed));
    EXPECT_THAT(result.violations, testing::IsEmpty()) << "replay: simulation --seed " << seed << " --shrink --verbose";
    incidents += result.counts.incidents;
    automatic += result.counts.automatic;
  }
  EXPECT_GT(incidents, 60U) << "the runs must reach the interesting places";
  EXPECT_GT(automatic, 20U);
}

/// Seeds that once reported a violation, whoever was wrong: the core, its shell or the observer.
TEST(Simulation, SeedsThatOnceFailedKeepEveryPromise) {
  const std::vector<std::uint64_t> seeds{
      7576,  7745,          // A frozen daemon heard of a lock when it was over.
      7153,  8111,          // A system call hung and switched after its operation had ended.
      8566,                 // The wall clock was set between a boot and the daemon's start.
      20008,                // An outside deployment won while no daemon ran.
      22232,                // The daemon ended between a failed deployment's outcome and its page.
      23171,                // A release that had not crashed yet did well.
      23281,                // A person's word reached a disk that failed.
      23611,                // Deployed again over a rollback that nobody saw.
      23904, 24259, 24906,  // What hung in the kernel cannot be recalled.
      24297, 25504,         // Frozen between decision and switch.
      25123, 29205,         // The same release was deployed anew, unseen, after an alert was pushed.
      30067,                // A person revoked a release while its rollback failed.
      32036,                // A rollback ended in the turn in which the next incident opened.
      7444,                 // A process's end was told after the next one's start.
      7517,                 // The simulator's shell did not know when a link that was seen late had been changed.
      7666,  7949,          // The process before had written the line that was read after the start.
      7968,                 // What the tests saw before a gap was said after it.
      37810,                // A process between the record of a switch and the switch itself was taken for the new release's.
      36329,                // A rule was blind when what the process before had said went out of sight.
      60382,                // The process before's lines were read long after the start.
      71680,                // That the target did not start was heard from the driver alone.
      80583,                // A rollback was overtaken by a deployment while no daemon ran: its cooldown began at its decision.
      80015,                // A driver claimed to have restarted what a person deployed.
      89298,                // Verification that could not look was told as failed.
      82375,                // A fault was meant for the time after the faults.
      92095,                // What a frozen daemon had not heard fell into the instant at which the next epoch began.
  };
  for (const std::uint64_t seed : seeds)
    EXPECT_THAT(simulate(make_scenario(seed)).violations, testing::IsEmpty())
        << "replay: simulation --seed " << seed << " --shrink --verbose";
}

TEST(Simulation, ASeedReplaysExactly) {
  for (const std::uint64_t seed : {3, 11, 25}) {
    const RunResult once = simulate(make_scenario(seed)), again = simulate(make_scenario(seed));
    EXPECT_EQ(once.hash, again.hash);
    EXPECT_EQ(once.events, again.events);
  }
  EXPECT_NE(simulate(make_scenario(3)).hash, simulate(make_scenario(4)).hash);
}

/// The first seed with which the observer notices that `promise` is broken; nothing within `runs`.
std::optional<std::uint64_t> noticed(const std::string& promise, std::uint64_t runs) {
  for (std::uint64_t seed = 1; seed <= runs; ++seed)
    if (!simulate(make_scenario(seed), promise).violations.empty()) return seed;
  return std::nullopt;
}

TEST(Simulation, ABrokenPromiseIsNoticed) {
  for (const char* promise : {"budget", "cooldown", "intent_first", "recovery", "memory", "silence", "observe", "suspension", "lock"})
    EXPECT_TRUE(noticed(promise, 150)) << promise;
}

TEST(Packs, DetectTheirOwnFailureAndLeaveGoodReleasesAloneWithoutNoise) {
  for (const PackResult& result : judge_packs(1, {0.0})) {
    EXPECT_EQ(result.missed, 0U) << result.pack;
    EXPECT_EQ(result.false_rollbacks, 0U) << result.pack;
  }
}

}  // namespace
}  // namespace rollbackd::simulation
