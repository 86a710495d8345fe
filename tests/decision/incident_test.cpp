#include "tests/decision/machine.hpp"

namespace rollbackd::decision {
namespace {

using Guards = std::vector<std::string>;

TEST(Epoch, ASwitchBeginsAnEpochPersistsAndArmsTheTarget) {
  Machine m;
  m.v2_bakes();

  m.pass(5s).switched("v3");

  EXPECT_EQ(m.incident->state().epoch.number, 3U);
  EXPECT_EQ(m.incident->state().epoch.from, "v2");
  EXPECT_EQ(m.find<action::BeginEpoch>()->at, m.now);
  EXPECT_EQ(m.count<action::Persist>(), 1);
  EXPECT_EQ(m.find<action::Arm>()->release, "v1");
}

TEST(Epoch, ARestartOfTheDaemonBeginsNoEpochButTellsTheJudge) {
  Machine m;
  m.v2_bakes();
  const Instant since = m.incident->state().epoch.switched;

  m.pass(1min);
  m.restart();
  m.forget();
  m.switched("v2");

  EXPECT_EQ(m.incident->state().epoch.number, 2U);
  EXPECT_EQ(m.find<action::BeginEpoch>()->at, since);
  EXPECT_EQ(m.count<action::Persist>(), 0);
}

TEST(Epoch, TheReleaseFoundLiveAtFirstSightIsACandidateUnlessThePolicyTrustsIt) {
  Machine careful;
  careful.switched("v1");
  EXPECT_EQ(careful.standing("v1"), Standing::candidate);

  auto settings = test_settings();
  settings.policy.trust_live = true;
  Machine trusting(settings);
  trusting.switched("v1").switched("v2");
  EXPECT_EQ(trusting.standing("v1"), Standing::good);
  EXPECT_EQ(trusting.standing("v2"), Standing::candidate);
}

TEST(Epoch, ABadReleaseDeployedAgainPagesAtOnce) {
  Machine m;
  m.v2_bakes();
  m.send(event::Mark{"v1", Standing::bad, "broken", "me"});
  m.forget();

  m.switched("v1");

  EXPECT_EQ(m.pages(), 1);
  EXPECT_EQ(m.count<action::Operate>(), 0);
}

TEST(Epoch, WithoutAManagerAndIdentityTheSwitchIsTheStart) {
  auto settings = test_settings();
  settings.components[0].process.manager = config::ManagerType::none;
  Machine m(settings);
  m.switched("v1");
  EXPECT_EQ(m.incident->state().epoch.started, m.now);

  settings.identity.url = "http://x/version";
  Machine asks(settings);
  asks.switched("v1");
  EXPECT_FALSE(asks.incident->state().epoch.started);
}

TEST(Evidence, BeforeTheStartOnlyAFailedStartCounts) {
  Machine m;
  m.v2_bakes().switched("v3");
  m.unhealthy();
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
  m.crashed();
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

TEST(Evidence, WhileWarmingOnlyExitsAndVerificationCount) {
  for (const char* metric : {"process_exits_total", "verification_success"}) {
    Machine m;
    m.v2_bakes().switched("v3").started();
    m.fires("Rule", {metric});
    EXPECT_EQ(m.count<action::Reprobe>(), 1) << metric;
  }
  Machine m;
  m.v2_bakes().switched("v3").started();
  m.unhealthy().fires("Log", {"log_matches_total"});
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
  EXPECT_TRUE(m.incident->view(m.now).warming);
}

TEST(Evidence, WhatFiredWhileWarmingCountsAtTheFirstSuccess) {
  Machine m;
  m.v2_bakes().switched("v3").started();
  m.fires("Log", {"log_matches_total"});

  m.pass(3s).health(true);

  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

TEST(Evidence, WhatFiredWhileWarmingCountsWhenStartGraceIsOver) {
  Machine m;
  m.v2_bakes().switched("v3").started();
  m.unhealthy();
  const Instant began = m.now;

  m.pass(29s);
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
  EXPECT_EQ(m.incident->next_due(), began + 30s);
  m.pass(1s);

  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

TEST(Evidence, WithoutHttpChecksNothingWarms) {
  auto settings = test_settings();
  settings.checks.clear();
  Machine m(settings);
  m.v2_bakes().switched("v3").started();
  m.fires("Log", {"log_matches_total"});
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

TEST(Evidence, TheReleaseBeforeDoesNotEndTheWarmingOfTheNext) {
  Machine m;
  m.v2_bakes().switched("v3").health(true).started();
  EXPECT_TRUE(m.incident->view(m.now).warming);
}

TEST(Evidence, AfterACleanStopNothingCountsUntilItStartsAndFiresAgain) {
  Machine m;
  m.v2_bakes().send(event::Stopped{m.now, true, ""});
  m.crashed().unhealthy();
  EXPECT_EQ(m.count<action::Reprobe>(), 0);

  m.pass(5s).started().health(true);
  EXPECT_EQ(m.count<action::Reprobe>(), 0) << "what fired while it was stopped says nothing";
  m.pass(1s).unhealthy();
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

TEST(Evidence, ACleanStopCancelsASettling) {
  Machine m;
  m.v2_bakes().unhealthy();
  ASSERT_EQ(m.phase(), "settling");

  m.send(event::Stopped{m.now, true, ""});
  EXPECT_EQ(m.phase(), "watching");
  m.settled();

  EXPECT_EQ(m.count<action::Operate>(), 0);
}

TEST(Evidence, AnUncleanStopIsByItselfNoneButItsExitIs) {
  Machine m;
  m.v2_bakes().send(event::Stopped{m.now, false, "exit 1"});
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
  m.crashed();
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

TEST(Evidence, AFailedStartCountsEvenWhenItIsJudgedBeforeTheStopIsReported) {
  Machine m;
  m.v2_bakes().switched("v3").send(event::Stopped{m.now, true, "restart"});
  m.crashed();
  m.send(event::Stopped{m.now, false, "cannot execute"});
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

TEST(Evidence, AnAlertOfTheReleaseBeforeIsNone) {
  Machine m;
  m.v2_bakes();
  const Instant before = m.now;
  m.pass(1s).switched("v3").started().health(true);
  m.send(event::Alert{Machine::change("Crashed", {"process_exits_total"}, AlertAction::rollback, before)});
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
}

TEST(Evidence, AfterAGapAnAlertCountsOnlyWhenItFiresAgain) {
  Machine m;
  m.v2_bakes().unhealthy();
  m.send(event::Gap{m.now, m.now + 10s});
  m.now = m.now + 10s;
  m.settled();
  EXPECT_EQ(m.count<action::Operate>(), 0);
  m.pass(2s);
  EXPECT_EQ(m.count<action::Reprobe>(), 1);

  m.unhealthy();
  EXPECT_EQ(m.count<action::Reprobe>(), 2);
}

TEST(Settle, AnAlertOpensAnIncidentAndAsksItsChecksAgain) {
  Machine m;
  m.v2_bakes().unhealthy();
  const auto* reprobe = m.find<action::Reprobe>();
  ASSERT_NE(reprobe, nullptr);
  EXPECT_EQ(reprobe->checks, std::vector<std::string>{"health"});
  EXPECT_EQ(reprobe->target, "v1");
  EXPECT_EQ(reprobe->settle, 1s);
  EXPECT_EQ(m.incident->state().incident->release, "v2");
  EXPECT_EQ(m.phase(), "settling");
}

TEST(Settle, AHealthAlertWhoseCheckAnswersHealthyIsASingleTransient) {
  Machine m;
  m.v2_bakes().unhealthy();
  auto answers = m.answers("v1");
  answers.own[0].healthy = true;
  m.send(answers);
  EXPECT_EQ(m.count<action::Operate>(), 0);
  EXPECT_EQ(m.records(DecisionKind::none), 1);
  EXPECT_EQ(m.phase(), "watching");
}

TEST(Settle, ARefutedAlertThatKeepsFiringIsLookedAtAgainASecondLater) {
  Machine m;
  m.v2_bakes().unhealthy();
  auto answers = m.answers("v1");
  answers.own[0].healthy = true;
  m.send(answers).pass(1s);
  EXPECT_EQ(m.count<action::Reprobe>(), 2);
  m.settled();
  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST(Settle, ExitsLogMatchesAndVerificationStandWhateverTheCheckAnswers) {
  for (const char* metric : {"process_exits_total", "log_matches_total", "verification_success"}) {
    Machine m;
    m.v2_bakes().fires("Rule", {metric});
    auto answers = m.answers("v1");
    answers.own[0].healthy = true;
    m.send(answers);
    EXPECT_EQ(m.count<action::Operate>(), 1) << metric;
  }
}

TEST(Settle, AnAlertGoneByThenIsDecidedAsNone) {
  Machine m;
  m.v2_bakes().unhealthy().clears("Unhealthy");
  m.settled();
  EXPECT_EQ(m.records(DecisionKind::none), 1);
  EXPECT_EQ(m.count<action::Operate>(), 0);
}

TEST(Settle, WithoutAnAnswerOfTheEngineTheMachineHoldsASecondAfterSettle) {
  Machine m;
  m.v2_bakes().crashed();
  EXPECT_EQ(m.incident->next_due(), m.now + 2s);
  m.pass(2s);
  EXPECT_EQ(m.phase(), "held");
  EXPECT_EQ(m.count<action::Operate>(), 0);
  EXPECT_EQ(m.pages(), 1);
}

TEST(Settle, AnAnswerToAnEarlierQuestionIsIgnored) {
  Machine m;
  m.v2_bakes().unhealthy();
  auto answers = m.answers("v1");
  answers.number += 1;
  m.send(answers);
  EXPECT_EQ(m.phase(), "settling");
}

TEST(Settle, UnknownNeverRollsBack) {
  Machine m;
  m.v2_bakes().unhealthy();
  auto answers = m.answers("v1");
  answers.own[0].answered = false;
  m.send(answers);
  EXPECT_EQ(m.count<action::Operate>(), 0);
  EXPECT_EQ(m.refused(), Guards{"evidence_fresh"});
}

TEST(Rollback, EveryGuardYesRecordsPersistsAndOperatesInThisOrder) {
  Machine m;
  m.v2_bakes().unhealthy();
  m.settled();
  ASSERT_GE(m.last.size(), 3U);
  EXPECT_TRUE(std::holds_alternative<action::Record>(m.last[0]));
  EXPECT_TRUE(std::holds_alternative<action::Persist>(m.last[1]));
  ASSERT_TRUE(std::holds_alternative<action::Operate>(m.last[2]));
  const OperationRequest& request = std::get<action::Operate>(m.last[2]).request;
  EXPECT_EQ(request.from, "v2");
  EXPECT_EQ(request.to, "v1");
  EXPECT_EQ(request.cause, Cause::health);
  EXPECT_EQ(request.trigger, Trigger::automatic);
  EXPECT_TRUE(m.incident->state().incident->acted);
  EXPECT_TRUE(m.incident->operation_running());
  EXPECT_EQ(m.incident->state().past.back().operation, request.operation);
}

TEST(Rollback, AnEmergencyAlertMakesAnEmergencyOperation) {
  Machine m;
  m.v2_bakes().fires("Data", {"log_matches_total"}, AlertAction::emergency);
  m.settled();
  EXPECT_EQ(m.find<action::Operate>()->request.mode, Mode::emergency);
}

TEST(Rollback, FailureTypeAndCauseComeFromTheAlert) {
  struct Case {
    const char* metric;
    const char* type;
    Cause cause;
  };
  for (const Case& c :
       {Case{"probe_timed_out", "timeout", Cause::health}, Case{"probe_success", "network_error", Cause::health},
        Case{"verification_success", "test_failure", Cause::verification}, Case{"process_exits_total", "unknown", Cause::crash},
        Case{"log_matches_total", "quality_gate", Cause::log}, Case{"http_requests_total", "unknown", Cause::metric}}) {
    Machine m;
    m.v2_bakes().fires("Rule", {c.metric});
    m.settled();
    ASSERT_NE(m.find<action::Operate>(), nullptr) << c.metric;
    EXPECT_EQ(m.find<action::Operate>()->request.failure_type, c.type) << c.metric;
    EXPECT_EQ(m.find<action::Operate>()->request.cause, c.cause) << c.metric;
  }
  Machine m;
  m.v2_bakes();
  AlertChange change = Machine::change("Oom", {"process_exits_total"}, AlertAction::rollback, m.now);
  change.labels.set("reason", "oom");
  m.send(event::Alert{change});
  EXPECT_EQ(m.incident->state().incident->failure_type, "resource_exhaustion");
}

TEST(Rollback, ASuccessMarksTheLeftReleaseBadTellsOthersAndClosesTheIncident) {
  Machine m;
  m.v2_bakes().crashed();
  m.settled().operation_ends(OperationStatus::succeeded);
  EXPECT_EQ(m.standing("v2"), Standing::bad);
  EXPECT_EQ(m.standing("v1"), Standing::good);
  EXPECT_EQ(m.find<action::MarkBadOnDisk>()->release, "v2");
  EXPECT_EQ(m.count<action::IncidentClosed>(), 1);
  EXPECT_FALSE(m.incident->state().incident);
  EXPECT_EQ(m.incident->state().past.size(), 1U);
  EXPECT_EQ(m.incident->state().past[0].at, m.now) << "the cooldown counts from the end";
  EXPECT_EQ(m.phase(), "watching");
}

TEST(Rollback, AReleaseThatCameBackByRollbackIsNotRolledBackAgain) {
  Machine m;
  m.v2_bakes().crashed();
  m.settled().operation_ends(OperationStatus::succeeded).health(true);
  m.pass(1s).forget();

  m.crashed();
  m.settled("");

  EXPECT_EQ(m.count<action::Operate>(), 0);
  EXPECT_EQ(m.pages(), 1);
}

TEST(Rollback, ATargetThatFailsTheSameWayLeavesTheReleaseUnknownAndHolds) {
  Machine m;
  m.v2_bakes().unhealthy();
  m.settled().operation_ends(OperationStatus::failed, "checks_healthy:failed");
  EXPECT_EQ(m.standing("v2"), Standing::unknown);
  EXPECT_EQ(m.count<action::MarkBadOnDisk>(), 0);
  EXPECT_EQ(m.phase(), "held");
  EXPECT_EQ(m.pages(), 1);
}

Machine with_two_good_releases(int max_steps_back) {
  auto settings = test_settings();
  settings.policy.max_steps_back = max_steps_back;
  Machine m(settings);
  m.switched("v0").send(event::Mark{"v0", Standing::good, "", "t"});
  m.pass(1min).v2_bakes();
  m.crashed();
  m.settled().operation_ends(OperationStatus::failed, "http:failed");
  return m;
}

TEST(Rollback, ATargetThatFailsAnotherWayIsOneFurtherBackWhereThePolicyAllows) {
  Machine m = with_two_good_releases(2);
  EXPECT_EQ(m.standing("v2"), Standing::bad);
  EXPECT_EQ(m.standing("v1"), Standing::unknown);
  EXPECT_EQ(m.find<action::Reprobe>()->target, "v0");

  m.settled("v0");

  ASSERT_EQ(m.count<action::Operate>(), 2);
  EXPECT_EQ(m.find<action::Operate>()->request.from, "v1");
  EXPECT_EQ(m.find<action::Operate>()->request.to, "v0");
  EXPECT_EQ(m.incident->state().incident->left, (std::vector<std::string>{"v2", "v1"}));
  EXPECT_EQ(m.incident->state().incident->steps_back, 2);
}

TEST(Rollback, OneStepBackIsTheEndOfItByDefault) {
  Machine m = with_two_good_releases(1);
  EXPECT_EQ(m.count<action::Operate>(), 1);
  EXPECT_EQ(m.phase(), "held");
  EXPECT_NE(m.incident->view(m.now).last_decision->next_step.find("--to v0"), std::string::npos);
}

TEST(Rollback, AFurtherStepCountsAgainstTheBudget) {
  Machine m = with_two_good_releases(2);
  auto settings = m.settings;
  settings.policy.budget_rollbacks = 1;
  m.incident->set_settings(settings);
  m.settled("v0");
  EXPECT_EQ(m.count<action::Operate>(), 1);
  EXPECT_EQ(m.refused(), Guards{"budget"});
}

TEST(Rollback, WhatEndsUnclearHoldsAndPages) {
  for (const auto status : {OperationStatus::unverified, OperationStatus::unknown, OperationStatus::failed, OperationStatus::abandoned,
                            OperationStatus::undone, OperationStatus::partial, OperationStatus::cancelled}) {
    Machine m;
    m.v2_bakes().crashed();
    m.settled().operation_ends(status, "", false);
    EXPECT_EQ(m.phase(), "held") << to_string(status);
    EXPECT_EQ(m.pages(), 1) << to_string(status);
    EXPECT_EQ(m.standing("v2"), Standing::candidate) << to_string(status);
    m.pass(2s).fires("Other", {"log_matches_total"}).settled();
    EXPECT_EQ(m.count<action::Operate>(), 1) << "at most one automatic rollback an incident";
  }
}

TEST(Rollback, NothingIsDecidedWhileAnOperationRuns) {
  Machine m;
  m.v2_bakes().send(event::OperationBegan{"op", OperationKind::deploy});
  m.crashed();
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
  event::OperationEnded ended;
  ended.operation = "op";
  ended.kind = OperationKind::deploy;
  ended.status = OperationStatus::succeeded;
  m.send(ended);
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

TEST(Rollback, ARestartAfterItHasActedHolds) {
  Machine m;
  m.v2_bakes().crashed();
  m.settled();
  m.restart();
  m.forget();
  m.switched("v2").started().crashed();
  m.settled();
  EXPECT_EQ(m.count<action::Operate>(), 0);
  EXPECT_EQ(m.phase(), "held");
}

TEST(Rollback, OneThatWasCutOffBeforeItsCommitPointIsJudgedAgain) {
  auto settings = test_settings();
  settings.policy.budget_rollbacks = 2;
  settings.policy.cooldown = 15min;
  Machine m(settings);
  m.v2_bakes().crashed();
  m.settled();
  event::OperationEnded cut_off;
  cut_off.operation = m.find<action::Operate>()->request.operation;
  cut_off.status = OperationStatus::abandoned;
  cut_off.from = "v2";
  cut_off.to = "v1";
  cut_off.interrupted = true;
  for (const int operations : {1, 0}) {  // The budget of two is used up by the second.
    m.restart();
    m.forget();
    m.switched("v2").send(cut_off);
    m.started().crashed();
    m.settled();
    EXPECT_EQ(m.count<action::Operate>(), operations);
    if (const auto* operate = m.find<action::Operate>()) cut_off.operation = operate->request.operation;
  }
  EXPECT_EQ(m.refused(), Guards{"budget"});
}

TEST(Automation, OffDecidesNothing) {
  auto settings = test_settings();
  settings.automation = config::Automation::off;
  Machine m(settings);
  m.v2_bakes().crashed();
  m.fires("Note", {"x"}, AlertAction::notify).pass(1min);
  EXPECT_EQ(m.count<action::Reprobe>() + m.count<action::Record>() + m.count<action::Notify>(), 0);
}

TEST(Automation, ChangedToAutomaticAsksAHoldAgain) {
  auto settings = test_settings();
  settings.automation = config::Automation::observe;
  Machine m(settings);
  m.v2_bakes().crashed();
  m.settled();
  settings.automation = config::Automation::automatic;
  m.incident->set_settings(settings);
  m.pass(2s).send(event::Tick{});
  m.settled();
  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST(Alerts, ANotifyAlertWarnsOnceAFiring) {
  Machine m;
  m.v2_bakes().fires("Slow", {"x"}, AlertAction::notify);
  AlertChange same = Machine::change("Slow", {"x"}, AlertAction::notify, m.now);
  m.send(event::Alert{same});
  EXPECT_EQ(m.count<action::Notify>(), 1);
  EXPECT_EQ(m.find<action::Notify>()->notification.severity, Notification::Severity::warning);
  EXPECT_EQ(m.records(DecisionKind::notify), 1);
}

TEST(Alerts, AHoldAlertIsAHoldAndAPage) {
  Machine m;
  m.v2_bakes().fires("DependencyDown", {"x"}, AlertAction::hold);
  EXPECT_EQ(m.records(DecisionKind::hold), 1);
  EXPECT_EQ(m.pages(), 1);
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
}

TEST(Alerts, BeyondTheBoundAnAlertThatMayActTakesTheTurnOfOneThatMayNot) {
  Machine m;
  m.v2_bakes();
  for (int i = 0; i < 1100; ++i) m.fires("N" + std::to_string(i), {"x"}, AlertAction::notify);
  m.crashed();
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

TEST(Commands, MarkingTheLiveReleaseBadDoesNotRollBack) {
  Machine m;
  m.v2_bakes().send(event::Mark{"v2", Standing::bad, "r", "me"});
  m.pass(1h);
  EXPECT_EQ(m.standing("v2"), Standing::bad);
  EXPECT_EQ(m.count<action::Operate>(), 0);
  EXPECT_GE(m.count<action::Persist>(), 1);
}

TEST(Commands, ATargetWithOtherContentThanItWasHashedWithIsNotIntact) {
  Machine m;
  m.v2_bakes();
  m.send(event::TargetHashed{TargetFacts{"v1", true, true, ""}, "aaa"});
  EXPECT_TRUE(ledger::find(m.incident->state(), "v1")->intact);
  m.send(event::TargetHashed{TargetFacts{"v1", true, true, ""}, "bbb"});
  EXPECT_FALSE(ledger::find(m.incident->state(), "v1")->intact);
  EXPECT_EQ(m.standing("v1"), Standing::unknown) << "another release under the same id: nothing known of the old one holds for it";
  EXPECT_EQ(m.pages(), 1);
  m.crashed();
  m.settled();
  EXPECT_EQ(m.count<action::Operate>(), 0);
  EXPECT_EQ(m.refused(), (Guards{"target_intact", "target_known_good"}));
}

TEST(Commands, ATargetThatIsDamagedIsToldAtOnceAndTakenAgainWhenItIsWhole) {
  Machine m;
  m.v2_bakes();
  m.send(event::TargetHashed{TargetFacts{"v1", true, true, ""}, "aaa"});
  m.send(event::TargetHashed{TargetFacts{"v1", false, false, "no directory"}, ""});
  EXPECT_EQ(m.pages(), 1);
  EXPECT_EQ(m.standing("v1"), Standing::good);
  m.send(event::TargetHashed{TargetFacts{"v1", true, true, ""}, "aaa"});
  EXPECT_TRUE(ledger::find(m.incident->state(), "v1")->intact);
}

TEST(Commands, TheLiveReleaseWithOtherContentBakesAgain) {
  Machine m;
  m.v2_bakes();
  m.send(event::TargetHashed{TargetFacts{"v2", true, true, ""}, "aaa"});
  m.send(event::Mark{"v2", Standing::good, "r", "me"});
  m.send(event::TargetHashed{TargetFacts{"v2", true, false, "app.py has another size"}, "bbb"});
  EXPECT_EQ(m.standing("v2"), Standing::candidate);
  EXPECT_EQ(m.pages(), 1);
}

TEST(Commands, ATargetThatTheLiveReleaseSpeaksAgainstIsRefusedByName) {
  for (const bool data : {true, false}) {
    Machine m;
    m.v2_bakes();
    ServiceState state = m.incident->state();
    LedgerEntry* live = ledger::find(state, "v2");
    if (data) {
      live->release.min_compatible = "v2";
    } else {
      live->release.security_epoch = 1;
    }
    GuardInput input = m.incident->guard_input(m.now);
    input.state = &state;
    input.to = "v1";
    const auto answers = ask_guards(input, {});
    const auto no = refusing(answers);
    EXPECT_NE(std::find(no.begin(), no.end(), data ? "reversible" : "target_known_good"), no.end());
  }
}

TEST(Commands, ReleasesFoundOnDiskAreCandidatesAndNewOnlyOnce) {
  Machine m;
  EXPECT_TRUE(m.incident->enter_release(release_named("v9"), m.now));
  EXPECT_FALSE(m.incident->enter_release(release_named("v9"), m.now));
  EXPECT_EQ(m.standing("v9"), Standing::candidate);
}

}  // namespace
}  // namespace rollbackd::decision
