#include <gmock/gmock.h>

#include "tests/decision/machine.hpp"

namespace rollbackd::decision {
namespace {

TEST(Bake, AWholeBakeTimeOfKnownEvidenceMakesACandidateGood) {
  Machine m;
  m.v2_bakes();
  m.pass(9min + 58s);
  EXPECT_EQ(m.standing("v2"), Standing::candidate);
  m.pass(1s);
  EXPECT_EQ(m.standing("v2"), Standing::good);
  EXPECT_EQ(m.count<action::Notify>(), 1);
}

TEST(Bake, ThePersistedProgressIsAtMostHalfAMinuteOld) {
  Machine m;
  m.v2_bakes();
  m.pass(5min);
  EXPECT_GE(m.count<action::Persist>(), 9);
  EXPECT_LE(m.count<action::Persist>(), 11);
}

TEST(Bake, ContinuesAfterARestartOfTheDaemon) {
  Machine m;
  m.v2_bakes();
  m.pass(6min);
  m.restart();
  m.switched("v2").started().verdict(Verdict::ok);
  m.pass(3min + 50s);
  EXPECT_EQ(m.standing("v2"), Standing::candidate);
  m.pass(10s);
  EXPECT_EQ(m.standing("v2"), Standing::good);
}

TEST(Bake, ABlindRuleStopsTheClockUnlessItsNoDataIsIgnored) {
  for (const bool ignore : {false, true}) {
    Machine m;
    m.v2_bakes().verdict(Verdict::blind, "Blind", ignore);
    m.pass(11min);
    EXPECT_EQ(m.standing("v2"), ignore ? Standing::good : Standing::candidate);
    EXPECT_EQ(m.incident->view(m.now).blind, !ignore);
    m.verdict(Verdict::ok, "Blind").pass(10min);
    EXPECT_EQ(m.standing("v2"), Standing::good);
  }
}

TEST(Bake, WhatKeepsAReleaseFromBecomingGoodIsSaid) {
  using testing::ElementsAre;
  using testing::IsEmpty;
  Machine m;
  const auto why = [&m] { return m.incident->view(m.now).keeps_from_good; };
  m.switched("v1").started().health(true);
  EXPECT_THAT(why(), ElementsAre("no rule has judged live data yet"));
  m.verdict(Verdict::blind, "Slow");
  EXPECT_THAT(why(), ElementsAre("Slow is blind", "no rule has judged live data yet"));
  m.verdict(Verdict::breached, "Errors").verdict(Verdict::blind, "Optional", true);
  EXPECT_THAT(why(), ElementsAre("Slow is blind", "no rule says ok")) << "one that ignores missing data keeps nothing";
  m.verdict(Verdict::ok, "Slow");
  EXPECT_THAT(why(), IsEmpty());
  for (int i = 0; i < 30; ++i) m.verdict(Verdict::blind, "Rule" + std::to_string(i));
  EXPECT_EQ(why().size(), 11U);
  EXPECT_EQ(why().back(), "and 20 more");
}

TEST(Bake, ARuleThatNothingFeedsStopsNothingAndProvesNothing) {
  Machine m;
  m.switched("v1").started().health(true);
  m.send(event::RuleVerdict{VerdictChange{{"shop", "prod"}, "g", "Log", Verdict::ok, false, false, true}});
  m.pass(11min);
  EXPECT_EQ(m.standing("v1"), Standing::candidate);
  EXPECT_EQ(m.incident->state().epoch.baked, 0s);
}

TEST(Bake, WithoutARuleJudgedOkAReleaseDoesNotBecomeGood) {
  Machine m;
  m.switched("v1").started().health(true).verdict(Verdict::breached);
  m.pass(11min);
  EXPECT_EQ(m.standing("v1"), Standing::candidate);
  m.verdict(Verdict::ok);
  EXPECT_EQ(m.standing("v1"), Standing::good);
}

TEST(Bake, RunsOnlyFromTheStartAndNotWhileStopped) {
  Machine m;
  m.v2_bakes().switched("v3");
  m.pass(20min);
  EXPECT_EQ(m.incident->state().epoch.baked, 0s);
  m.started().pass(1min);
  EXPECT_EQ(m.incident->state().epoch.baked, 1min);
  m.send(event::Stopped{m.now, true, ""}).pass(5min);
  m.started().pass(1min);
  EXPECT_EQ(m.incident->state().epoch.baked, 2min);
}

TEST(Bake, AFiringRollbackAlertStopsTheClock) {
  auto settings = test_settings();
  settings.automation = config::Automation::observe;
  Machine m(settings);
  m.v2_bakes().crashed();
  m.settled().pass(20min);
  EXPECT_EQ(m.incident->state().epoch.baked, 1s);
}

TEST(Bake, AGapDoesNotCount) {
  Machine m;
  m.v2_bakes();
  const Instant from = m.now;
  m.now = m.now + 20min;
  m.send(event::Gap{from, m.now});
  m.pass(5min);
  EXPECT_EQ(m.incident->state().epoch.baked, 1s) << "nothing was heard since";
  m.health(true).pass(1min).send(event::Tick{});
  EXPECT_EQ(m.incident->state().epoch.baked, 61s);
}

TEST(Bake, BeyondTenBakeTimesAReleaseIsUnknown) {
  Machine m;
  m.v2_bakes().verdict(Verdict::blind, "Blind");
  m.pass(99min);
  EXPECT_EQ(m.standing("v2"), Standing::candidate);
  m.pass(1min);
  EXPECT_EQ(m.standing("v2"), Standing::unknown);
}

TEST(Bake, AReleaseThatIsGoodOrCameBackByRollbackStaysGood) {
  Machine m;
  m.v2_bakes().crashed();
  m.settled().operation_ends(OperationStatus::succeeded);
  EXPECT_EQ(m.standing("v1"), Standing::good);
  m.pass(3h);
  EXPECT_EQ(m.standing("v1"), Standing::good);
}

TEST(Bake, AnUnknownReleaseDeployedAgainBakesAnew) {
  Machine m;
  m.v2_bakes().verdict(Verdict::blind, "Blind");
  m.pass(2h);
  m.switched("v3").pass(1min).switched("v2");
  EXPECT_EQ(m.standing("v2"), Standing::candidate);
}

}  // namespace
}  // namespace rollbackd::decision
