#include "rules/alert_state.hpp"

#include <gtest/gtest.h>

namespace rollbackd::rules {
namespace {

const Instant t0 = Instant::from_seconds(1000);
const AlertTiming kAtOnce{};
const AlertTiming kAfter30s{30s, 0s};
const AlertTiming kKept20s{0s, 20s};
const AlertState kInactive{};

AlertState pending_at(Instant t) { return advance(kAfter30s, kInactive, Evidence::present, t); }
AlertState firing_at(Instant t) { return advance(kAtOnce, kInactive, Evidence::present, t); }

TEST(AlertState, InactiveStaysInactiveWithoutABreach) {
  EXPECT_EQ(advance(kAfter30s, kInactive, Evidence::absent, t0), kInactive);
  EXPECT_EQ(advance(kAfter30s, kInactive, Evidence::blind, t0), kInactive) << "blind is never breached";
}

TEST(AlertState, ABreachWithoutForFiresAtOnce) {
  const AlertState alert = firing_at(t0);

  EXPECT_EQ(alert.phase, AlertPhase::firing);
  EXPECT_EQ(alert.since, t0);
}

TEST(AlertState, ABreachWithForIsPending) {
  const AlertState alert = pending_at(t0);

  EXPECT_EQ(alert.phase, AlertPhase::pending);
  EXPECT_EQ(alert.since, t0);
  EXPECT_EQ(next_change(kAfter30s, alert), t0 + 30s);
}

TEST(AlertState, ABreachShorterThanItsForStaysPending) {
  EXPECT_EQ(advance(kAfter30s, pending_at(t0), Evidence::present, t0 + 30s - 1ns).phase, AlertPhase::pending);
}

TEST(AlertState, ABreachAsLongAsItsForFires) {
  const AlertState alert = advance(kAfter30s, pending_at(t0), Evidence::present, t0 + 30s);

  EXPECT_EQ(alert.phase, AlertPhase::firing);
  EXPECT_EQ(alert.since, t0 + 30s);
  EXPECT_EQ(next_change(kAfter30s, alert), std::nullopt);
}

TEST(AlertState, APendingAlertWhoseBreachEndsIsInactiveAndItsForStartsAnew) {
  const AlertState ended = advance(kAfter30s, pending_at(t0), Evidence::absent, t0 + 29s);
  const AlertState again = advance(kAfter30s, ended, Evidence::present, t0 + 31s);

  EXPECT_EQ(ended.phase, AlertPhase::inactive);
  EXPECT_EQ(ended.since, t0 + 29s);
  EXPECT_EQ(again.phase, AlertPhase::pending);
  EXPECT_EQ(next_change(kAfter30s, again), t0 + 61s);
}

TEST(AlertState, AFiringAlertKeepsItsSinceWhileTheBreachLasts) {
  const AlertState alert = advance(kAtOnce, firing_at(t0), Evidence::present, t0 + 10s);

  EXPECT_EQ(alert, firing_at(t0));
}

TEST(AlertState, AFiringAlertWhoseBreachEndsIsInactive) {
  const AlertState alert = advance(kAtOnce, firing_at(t0), Evidence::absent, t0 + 10s);

  EXPECT_EQ(alert.phase, AlertPhase::inactive);
  EXPECT_EQ(alert.since, t0 + 10s);
}

TEST(AlertState, KeepFiringForHoldsAFiringAlertExactlySoLong) {
  const AlertState ended = advance(kKept20s, firing_at(t0), Evidence::absent, t0 + 10s);

  EXPECT_EQ(ended.phase, AlertPhase::firing);
  EXPECT_EQ(next_change(kKept20s, ended), t0 + 30s);
  EXPECT_EQ(advance(kKept20s, ended, Evidence::absent, t0 + 30s - 1ns).phase, AlertPhase::firing);
  EXPECT_EQ(advance(kKept20s, ended, Evidence::absent, t0 + 30s).phase, AlertPhase::inactive);
}

TEST(AlertState, ABreachThatReturnsWithinKeepFiringForStartsItAnew) {
  const AlertState ended = advance(kKept20s, firing_at(t0), Evidence::absent, t0 + 10s);

  const AlertState back = advance(kKept20s, ended, Evidence::present, t0 + 15s);
  const AlertState ended_again = advance(kKept20s, back, Evidence::absent, t0 + 16s);

  EXPECT_EQ(back.since, t0);
  EXPECT_EQ(next_change(kKept20s, back), std::nullopt);
  EXPECT_EQ(next_change(kKept20s, ended_again), t0 + 36s);
}

TEST(AlertState, APendingAlertDoesNotUseKeepFiringFor) {
  const AlertTiming both{30s, 20s};
  const AlertState pending = advance(both, kInactive, Evidence::present, t0);

  EXPECT_EQ(advance(both, pending, Evidence::absent, t0 + 1s).phase, AlertPhase::inactive);
}

TEST(AlertState, BlindKeepsAPendingAlertAndItsTimeIsNoEvidence) {
  const AlertState blind = advance(kAfter30s, pending_at(t0), Evidence::blind, t0 + 10s);
  const AlertState still = advance(kAfter30s, blind, Evidence::blind, t0 + 100s);
  const AlertState back = advance(kAfter30s, still, Evidence::present, t0 + 110s);

  EXPECT_EQ(still.phase, AlertPhase::pending);
  EXPECT_EQ(still.blind_since, t0 + 10s);
  EXPECT_EQ(next_change(kAfter30s, still), std::nullopt);
  EXPECT_EQ(back.phase, AlertPhase::pending) << "only 10 s of its 30 were seen";
  EXPECT_EQ(next_change(kAfter30s, back), t0 + 130s);
  EXPECT_FALSE(back.blind_since);
}

TEST(AlertState, BlindKeepsAFiringAlertFiring) {
  const AlertState blind = advance(kAtOnce, firing_at(t0), Evidence::blind, t0 + 10s);

  EXPECT_EQ(blind.phase, AlertPhase::firing);
  EXPECT_EQ(blind.since, t0);
  EXPECT_EQ(advance(kAtOnce, blind, Evidence::present, t0 + 20s), firing_at(t0));
  EXPECT_EQ(advance(kAtOnce, blind, Evidence::absent, t0 + 20s).phase, AlertPhase::inactive);
}

TEST(AlertState, BlindStopsTheClockOfKeepFiringForToo) {
  const AlertState ended = advance(kKept20s, firing_at(t0), Evidence::absent, t0 + 10s);
  const AlertState blind = advance(kKept20s, ended, Evidence::blind, t0 + 15s);
  const AlertState seen = advance(kKept20s, blind, Evidence::absent, t0 + 100s);

  EXPECT_EQ(seen.phase, AlertPhase::firing) << "5 s of its 20 had passed";
  EXPECT_EQ(next_change(kKept20s, seen), t0 + 115s);
}

TEST(AlertState, APendingAlertThatIsSeenToHaveEndedAfterBlindnessIsInactive) {
  const AlertState blind = advance(kAfter30s, pending_at(t0), Evidence::blind, t0 + 10s);

  EXPECT_EQ(advance(kAfter30s, blind, Evidence::absent, t0 + 20s).phase, AlertPhase::inactive);
}

}  // namespace
}  // namespace rollbackd::rules
