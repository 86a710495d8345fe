// The recovery table, one test a cell: rows are the last record, columns where `current` leads.
#include "rollback/recovery.hpp"

#include <gmock/gmock.h>

#include "tests/rollback/helpers.hpp"

namespace rollbackd::rollback {
namespace {

using testing::a_rollback;
using ::testing::HasSubstr;
using testing::t0;
using Move = RecoveryMove;
using Phase = OperationPhase;

RecoveryInput found(Phase phase, LinkIs link) {
  OperationRecord record;
  record.request = a_rollback();
  record.phase = phase;
  record.at = t0;
  if (phase >= Phase::switched) record.switched = t0;
  RecoveryInput input;
  input.last = record;
  input.link = link;
  input.managed.push_back({"app", {}});
  return input;
}

World::Process process(Instant started, bool running = true) {
  World::Process out;
  out.running = running;
  out.pid = running ? 42 : 0;
  out.started = started;
  return out;
}

Recovery recover_with_process(RecoveryInput input, Instant started, bool running = true) {
  input.managed.front().process = process(started, running);
  return recover(input);
}

constexpr Phase kBeforeSwitching[] = {Phase::intent, Phase::traffic_away};
constexpr Phase kSwitched[] = {Phase::switched, Phase::restarted, Phase::verifying};

// ---- Row "none, or outcome" ----

TEST(RecoveryNothingUnderWay, TheLedgersLiveReleaseIsIdle) {
  RecoveryInput never;
  never.link = LinkIs::ledger_live;

  EXPECT_EQ(recover(never).move, Move::idle);
  EXPECT_EQ(recover(found(Phase::none, LinkIs::ledger_live)).move, Move::idle);
  EXPECT_EQ(recover(found(Phase::outcome, LinkIs::ledger_live)).move, Move::idle);
}

TEST(RecoveryNothingUnderWay, AnyOtherReleaseIsAnOutsideDeployment) {
  for (const LinkIs link : {LinkIs::from, LinkIs::to, LinkIs::other}) {
    RecoveryInput never;
    never.link = link;
    EXPECT_EQ(recover(never).move, Move::outside_deployment);
    EXPECT_EQ(recover(found(Phase::outcome, link)).move, Move::outside_deployment);
  }
}

TEST(RecoveryNothingUnderWay, AMissingLinkHoldsAndPages) {
  EXPECT_EQ(recover(RecoveryInput{}).move, Move::hold_and_page);
  EXPECT_EQ(recover(found(Phase::outcome, LinkIs::missing)).move, Move::hold_and_page);
}

// ---- Row "intent, traffic away" ----

TEST(RecoveryBeforeSwitching, OnFromItIsAbandoned) {
  for (const Phase phase : kBeforeSwitching) EXPECT_EQ(recover(found(phase, LinkIs::from)).move, Move::abandon) << to_string(phase);
}

TEST(RecoveryBeforeSwitching, OnToItContinuesWithTheRestart) {
  for (const Phase phase : kBeforeSwitching) {
    const Recovery recovery = recover_with_process(found(phase, LinkIs::to), t0 + 5s);
    EXPECT_EQ(recovery.move, Move::resume);
    EXPECT_EQ(recovery.resume_at, Phase::switched);
    EXPECT_TRUE(recovery.restart) << "when the link came there is not on record, so no process is known to be younger";
  }
}

TEST(RecoveryBeforeSwitching, ElsewhereItHoldsAndPages) {
  for (const Phase phase : kBeforeSwitching)
    for (const LinkIs link : {LinkIs::ledger_live, LinkIs::other, LinkIs::missing})
      EXPECT_EQ(recover(found(phase, link)).move, Move::hold_and_page) << to_string(phase);
}

// ---- Row "switching" ----

TEST(RecoverySwitching, OnFromItIsAbandoned) { EXPECT_EQ(recover(found(Phase::switching, LinkIs::from)).move, Move::abandon); }

TEST(RecoverySwitching, OnToItRestartsAndVerifies) {
  const Recovery recovery = recover_with_process(found(Phase::switching, LinkIs::to), t0 - 1h);

  EXPECT_EQ(recovery.move, Move::resume);
  EXPECT_EQ(recovery.resume_at, Phase::switched);
  EXPECT_TRUE(recovery.restart);
}

TEST(RecoverySwitching, OnToAProcessThatSurelyBeganAfterTheRecordIsNotRestartedAgain) {
  const Recovery recovery = recover_with_process(found(Phase::switching, LinkIs::to), t0);

  EXPECT_EQ(recovery.resume_at, Phase::restarted);
  EXPECT_FALSE(recovery.restart);
  EXPECT_TRUE(recover_with_process(found(Phase::switching, LinkIs::to), t0 - 1ns).restart) << "not surely";
}

/// The system call hung, and before it came through the process before crashed and was started again.
TEST(RecoverySwitching, OnToAProcessOlderThanTheLinkIsRestarted) {
  RecoveryInput input = found(Phase::switching, LinkIs::to);
  input.link_changed = t0 + 5s;

  const Recovery recovery = recover_with_process(input, t0 + 3s);

  EXPECT_EQ(recovery.resume_at, Phase::switched);
  EXPECT_TRUE(recovery.restart);
  EXPECT_EQ(recovery.switched, t0 + 5s);
  EXPECT_FALSE(recover_with_process(input, t0 + 5s).restart);
}

TEST(RecoverySwitching, TheSwitchIsNotOlderThanTheRecordThatAnnouncedIt) {
  RecoveryInput input = found(Phase::switching, LinkIs::to);
  input.link_changed = t0 - 1h;

  EXPECT_TRUE(recover_with_process(input, t0 - 1s).restart);
  EXPECT_EQ(recover(input).switched, t0);
}

TEST(RecoverySwitching, ElsewhereItHoldsAndPages) {
  for (const LinkIs link : {LinkIs::ledger_live, LinkIs::other, LinkIs::missing})
    EXPECT_EQ(recover(found(Phase::switching, link)).move, Move::hold_and_page);
}

// ---- Row "switched, restarted, verifying" ----

TEST(RecoverySwitched, OnFromAnOutsideDeploymentWon) {
  for (const Phase phase : kSwitched) {
    const Recovery recovery = recover(found(phase, LinkIs::from));
    EXPECT_EQ(recovery.move, Move::outside_deployment) << to_string(phase);
    EXPECT_THAT(recovery.why, HasSubstr("v2 was deployed since"));
  }
}

TEST(RecoverySwitched, OnToAnOlderProcessIsRestarted) {
  const Recovery recovery = recover_with_process(found(Phase::switched, LinkIs::to), t0 - 1h);

  EXPECT_EQ(recovery.move, Move::resume);
  EXPECT_EQ(recovery.resume_at, Phase::switched);
  EXPECT_TRUE(recovery.restart);
}

TEST(RecoverySwitched, OnToAYoungerProcessIsOnlyVerified) {
  const Recovery recovery = recover_with_process(found(Phase::switched, LinkIs::to), t0 + 1s);

  EXPECT_EQ(recovery.move, Move::resume);
  EXPECT_EQ(recovery.resume_at, Phase::restarted);
  EXPECT_FALSE(recovery.restart);
}

TEST(RecoverySwitched, WithinTheClockTickBeforeTheSwitchAProcessCountsAsYounger) {
  EXPECT_FALSE(recover_with_process(found(Phase::switched, LinkIs::to), t0 - 10ms).restart);
  EXPECT_TRUE(recover_with_process(found(Phase::switched, LinkIs::to), t0 - 10ms - 1ns).restart);
}

TEST(RecoverySwitched, OnToAProcessThatDoesNotRunOrCannotBeSeenIsStarted) {
  EXPECT_TRUE(recover_with_process(found(Phase::switched, LinkIs::to), t0 + 1s, false).restart);
  EXPECT_TRUE(recover(found(Phase::switched, LinkIs::to)).restart);
}

TEST(RecoverySwitched, OnToWithoutAManagerThereIsNothingToRestart) {
  for (const Phase phase : {Phase::intent, Phase::switching, Phase::switched}) {
    RecoveryInput input = found(phase, LinkIs::to);
    input.managed.clear();
    EXPECT_EQ(recover(input).resume_at, Phase::restarted);
    EXPECT_FALSE(recover(input).restart);
  }
}

TEST(RecoveryRestarted, OnToItIsVerifiedAndNeverRestartedAgain) {
  for (const Phase phase : {Phase::restarted, Phase::verifying}) {
    for (const Instant started : {t0 - 1h, t0 + 1s}) {
      const Recovery recovery = recover_with_process(found(phase, LinkIs::to), started);
      EXPECT_EQ(recovery.move, Move::resume);
      EXPECT_EQ(recovery.resume_at, phase);
      EXPECT_FALSE(recovery.restart);
    }
  }
}

TEST(RecoverySwitched, ElsewhereItHoldsAndPages) {
  for (const Phase phase : kSwitched)
    for (const LinkIs link : {LinkIs::ledger_live, LinkIs::other, LinkIs::missing})
      EXPECT_EQ(recover(found(phase, link)).move, Move::hold_and_page) << to_string(phase);
}

// ---- Beside the table ----

TEST(Recovery, AfterThreeAttemptsItHoldsAndPagesInsteadOfTryingAgain) {
  RecoveryInput input = found(Phase::switched, LinkIs::to);
  input.last->attempt = 2;
  EXPECT_EQ(recover(input).move, Move::resume);

  input.last->attempt = 3;
  EXPECT_EQ(recover(input).move, Move::hold_and_page);
  EXPECT_THAT(recover(input).why, HasSubstr("3 attempts"));
}

TEST(Recovery, AnUnreadableStateHoldsAndPagesWhateverElseIsFound) {
  for (const Phase phase : {Phase::none, Phase::switched, Phase::outcome}) {
    RecoveryInput input = found(phase, LinkIs::ledger_live);
    input.state_readable = false;
    EXPECT_EQ(recover(input).move, Move::hold_and_page);
  }
}

}  // namespace
}  // namespace rollbackd::rollback
