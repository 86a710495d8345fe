#include "tests/decision/machine.hpp"

namespace rollbackd::decision {
namespace {

using Guards = std::vector<std::string>;

TEST(Hold, PagesOnceWithTheCommandThatWouldAct) {
  auto settings = test_settings();
  settings.automation = config::Automation::observe;
  Machine m(settings);
  m.v2_bakes().crashed();
  m.settled();
  EXPECT_EQ(m.refused(), Guards{"automation_allows"});
  EXPECT_EQ(m.pages(), 1);
  EXPECT_EQ(m.find<action::Record>()->decision.next_step, "rollbackctl rollback shop --env prod --to v1 --reason \"...\"");

  m.pass(2s).fires("Other", {"log_matches_total"});
  m.settled();
  EXPECT_EQ(m.count<action::Reprobe>(), 2);
  EXPECT_EQ(m.pages(), 1) << "the same answers are no news";
  EXPECT_EQ(m.records(DecisionKind::hold), 1);
}

TEST(Hold, OneThatFlapsSlowerThanItIsAskedPagesOnceInItsIncident) {
  auto settings = test_settings();
  settings.automation = config::Automation::observe;
  Machine m(settings);
  m.v2_bakes().unhealthy();
  m.settled();
  for (int i = 0; i < 5; ++i) {
    m.clears("Unhealthy").pass(2s).unhealthy();
    auto well = m.answers("v1");
    well.own[0].healthy = true;
    m.send(well);  // It fired, and was well again when it was asked.
    m.clears("Unhealthy").pass(2s).unhealthy();
    m.settled();
  }
  EXPECT_EQ(m.pages(), 1);
  EXPECT_EQ(m.count<action::IncidentClosed>(), 0);
}

TEST(Hold, ACommandWithForceWhereAPersonNeedsIt) {
  Machine m;
  m.v2_bakes().crashed();
  m.settled().operation_ends(OperationStatus::abandoned, "", false);
  EXPECT_EQ(m.find<action::Record>()->decision.next_step, "rollbackctl rollback shop --env prod --to v1 --force --reason \"...\"");
}

TEST(Hold, ASuspendedServiceIsAskedAgainWhenTheSuspensionEnds) {
  Machine m;
  m.v2_bakes().send(event::Suspend{10s, "migration", "me"});
  m.crashed();
  m.settled();
  EXPECT_EQ(m.refused(), Guards{"not_suspended"});
  EXPECT_EQ(m.find<action::Record>()->decision.next_step, "rollbackctl resume shop --env prod");

  m.pass(10s);
  EXPECT_EQ(m.count<action::Reprobe>(), 2);
  m.settled();

  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST(Hold, ResumingAsksAgainAtOnce) {
  Machine m;
  m.v2_bakes().send(event::Suspend{4h, "migration", "me"});
  m.crashed();
  m.settled().pass(5s).send(event::Unsuspend{"me"});
  EXPECT_EQ(m.count<action::Reprobe>(), 2);
}

TEST(Hold, TheDaemonsOwnSuspensionHoldsToo) {
  Machine m;
  m.v2_bakes();
  m.incident->set_daemon_suspended(true, "kill switch");
  m.crashed();
  m.settled();
  EXPECT_EQ(m.refused(), Guards{"not_suspended"});
  m.incident->set_daemon_suspended(false, "");
  m.pass(2s).send(event::Tick{});
  EXPECT_EQ(m.count<action::Reprobe>(), 2);
}

TEST(Hold, ATargetHashedIntactIsAskedAgain) {
  Machine m;
  m.v2_bakes().crashed();
  auto answers = m.answers("v1");
  answers.target.intact = false;
  m.send(answers);
  EXPECT_EQ(m.refused(), Guards{"target_intact"});
  m.pass(2s).send(event::TargetHashed{TargetFacts{"v1", true, true, ""}, "abc"});
  EXPECT_EQ(m.count<action::Reprobe>(), 2);
  m.settled();
  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST(Hold, ATargetThatWasNotLookedAtInTimeIsLookedAtAgain) {
  for (const bool healthy : {true, false}) {
    SCOPED_TRACE(healthy ? "a slow disk" : "a slow disk, and no sight of our own");
    Machine m;
    m.v2_bakes().crashed();
    auto answers = m.answers("v1");
    answers.target = TargetFacts{"", false, false, "no answer within settle"};
    if (!healthy) answers.observer = {false, "no turn for 5s"};
    m.send(answers);
    EXPECT_EQ(m.refused().front(), "target_intact");
    EXPECT_EQ(m.find<action::Record>()->decision.guards.front().evidence, "v1 was not looked at: no answer within settle");
    m.pass(2s);
    EXPECT_EQ(m.count<action::Reprobe>(), 2) << "no event says that the disk answers again";
    m.settled();
    EXPECT_EQ(m.count<action::Operate>(), 1);
  }
}

TEST(Hold, QuestionsAreAtLeastASecondApart) {
  Machine m;
  m.v2_bakes().crashed();
  auto answers = m.answers("v1");
  answers.observer = {false, "blind"};
  m.send(answers);
  for (int i = 0; i < 9; ++i) m.pass(100ms).send(event::TargetHashed{TargetFacts{"v1", true, true, ""}, ""});
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
  m.pass(100ms);
  EXPECT_EQ(m.count<action::Reprobe>(), 2);
}

TEST(Hold, OurOwnSightIsAskedForAgainAndOnceItIsBackItActs) {
  Machine m;
  m.v2_bakes().unhealthy();
  auto answers = m.answers("v1");
  answers.observer = {false, "no turn for 5s"};
  m.send(answers);
  EXPECT_EQ(m.refused(), Guards{"observer_healthy"});
  m.pass(2s);
  EXPECT_EQ(m.count<action::Reprobe>(), 2) << "no event says that our sight is back";
  answers.number = m.asked;
  m.send(answers);
  EXPECT_EQ(m.pages(), 1) << "the same hold is told once";
  m.pass(2s).settled();
  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST(Hold, TheCooldownsEndAsksAgain) {
  Machine m;
  m.v2_bakes().crashed();
  m.settled().operation_ends(OperationStatus::succeeded);
  m.pass(1min).switched("v3").started().health(true);
  m.pass(10s).forget();
  m.crashed();
  m.settled();
  EXPECT_EQ(m.refused(), Guards{"cooldown"});
  m.pass(13min);
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
  m.pass(50s);
  EXPECT_EQ(m.count<action::Reprobe>(), 2);
  m.settled();
  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST(Hold, AfterTheBakeAFailurePagesAndDoesNotRollBackUnlessThePolicySaysLate) {
  for (const bool late : {false, true}) {
    auto settings = test_settings();
    settings.policy.late_automatic = late;
    Machine m(settings);
    m.v2_bakes().send(event::Mark{"v2", Standing::good, "", "me"});
    m.crashed();
    m.settled();
    EXPECT_EQ(m.count<action::Operate>(), late ? 1 : 0);
    EXPECT_EQ(m.pages(), late ? 0 : 1);
  }
}

TEST(Hold, ManyServicesFailingAtOnceAreInfrastructure) {
  Machine m;
  m.v2_bakes().crashed();
  auto answers = m.answers("v1");
  for (const char* name : {"a", "b", "c"}) answers.others.push_back({{name, "prod"}, "health", true, std::string(name) == "c", ""});
  m.send(answers);
  EXPECT_EQ(m.refused(), Guards{"not_shared_failure"});
}

/// v2 fails while others do, which is held.
struct SharedFailure : Machine {
  explicit SharedFailure(config::ServiceSettings s = test_settings()) : Machine(std::move(s)) {
    v2_bakes().crashed();
    others(false);
  }
  event::Settled with_others(bool well) const {
    event::Settled e = answers("v1");
    for (const char* name : {"a", "b", "c"}) e.others.push_back({{name, "prod"}, "health", true, well, ""});
    return e;
  }
  Machine& others(bool well) { return send(with_others(well)); }
};

TEST(Hold, ASharedFailureIsAskedAgainAndActsOnceTheOthersAreWellAndItHadTheTimeToRecoverToo) {
  SharedFailure m;
  m.pass(30s);
  EXPECT_EQ(m.count<action::Reprobe>(), 2) << "nobody tells that others have recovered";
  m.others(false);
  EXPECT_EQ(m.pages(), 1) << "the same hold is told once";

  m.pass(30s).forget();
  m.others(true);
  EXPECT_EQ(m.phase(), "held") << "it may be about to recover as they did";
  EXPECT_EQ(m.pages(), 0);
  m.pass(29s);
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
  m.pass(1s);
  EXPECT_EQ(m.count<action::Reprobe>(), 1) << "start_grace is over";
  m.others(true);

  EXPECT_EQ(m.count<action::Operate>(), 1) << "it still fails, alone";
}

TEST(Hold, WhatIsLeftOfASharedFailureIsNoReasonToRollBack) {
  SharedFailure m;
  m.pass(30s);
  m.others(true);
  m.pass(30s);
  auto answers = m.with_others(true);
  answers.own.front().healthy = true;  // It is well again, but the crash of then still fires.
  m.send(answers);
  EXPECT_EQ(m.phase(), "held");

  m.pass(30s);
  answers.number = m.asked;
  m.send(answers);
  EXPECT_EQ(m.phase(), "held");
  EXPECT_EQ(m.count<action::Operate>(), 0);

  m.pass(2s).fires("CrashedAgain", {"process_exits_total"});
  answers.number = m.asked;
  m.send(answers);
  EXPECT_EQ(m.count<action::Operate>(), 1) << "that one began when the others were well";
}

TEST(Hold, OthersThatFailAgainBeginTheWaitAnew) {
  SharedFailure m;
  m.pass(30s);
  m.others(true);
  m.pass(30s);
  m.others(false);
  m.pass(30s);
  m.others(true);
  EXPECT_EQ(m.phase(), "held");
  m.pass(30s);
  m.others(true);
  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST(Hold, ADependencyThatIsWellAgainIsAskedForToo) {
  Machine m;
  m.v2_bakes().crashed();
  auto answers = m.answers("v1");
  answers.dependencies = {{{"shop", "prod"}, "db", true, false, "refused"}};
  m.send(answers);
  EXPECT_EQ(m.refused(), Guards{"dependency_healthy"});
  m.pass(30s).forget();
  m.settled();
  EXPECT_EQ(m.phase(), "held");
  EXPECT_EQ(m.pages(), 0) << "the same guard says no for the time of a start, and nobody is paged for that";
  m.pass(30s).settled();
  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST(Hold, LastsAsLongAsTheWindowAndThenActs) {
  Machine m;
  m.v2_bakes().unhealthy();
  auto answers = m.answers("v1");
  answers.fleet.window = "freeze: Christmas";
  answers.fleet.window_until = m.now + 72h;
  m.send(answers);
  EXPECT_EQ(m.refused(), Guards{"window_open"});

  m.pass(71h);
  EXPECT_EQ(m.standing("v2"), Standing::candidate) << "it is known to fail: that is not what unknown means";
  m.pass(1h).settled();

  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST(Hold, LastsAsLongAsThePersonAndThenHasTheWholeTimeToBake) {
  auto settings = test_settings();
  settings.automation = config::Automation::observe;
  Machine m(settings);
  m.v2_bakes().crashed();
  m.settled().pass(24h);
  EXPECT_EQ(m.standing("v2"), Standing::candidate);
  EXPECT_EQ(m.phase(), "held");

  m.clears("Crashed").verdict(Verdict::blind, "Blind").pass(1min);
  EXPECT_EQ(m.phase(), "watching");
  m.pass(98min);
  EXPECT_EQ(m.standing("v2"), Standing::candidate);
  m.pass(2min);
  EXPECT_EQ(m.standing("v2"), Standing::unknown);
}

TEST(Hold, ThatEndsBecauseNothingFiresAnyMoreIsSaid) {
  auto settings = test_settings();
  settings.automation = config::Automation::observe;
  Machine m(settings);
  m.v2_bakes().crashed();
  m.settled().forget();
  m.clears("Crashed").pass(1min);
  ASSERT_NE(m.find<action::Notify>(), nullptr);
  EXPECT_EQ(m.find<action::Notify>()->notification.severity, Notification::Severity::info);
  EXPECT_NE(m.find<action::Notify>()->notification.title.find("not held any more"), std::string::npos);
}

TEST(Hold, ClosesByItselfOnceItsEvidenceHasBeenGoneForAWhile) {
  auto settings = test_settings();
  settings.automation = config::Automation::approve;
  Machine m(settings);
  m.v2_bakes().crashed();
  m.settled().clears("Crashed");
  EXPECT_TRUE(m.incident->state().incident);
  m.pass(31s);
  EXPECT_FALSE(m.incident->state().incident);
  EXPECT_EQ(m.count<action::IncidentClosed>(), 1);
  EXPECT_EQ(m.phase(), "watching");
}

TEST(Hold, AnAcknowledgementClosesTheIncidentAndItsAlertsDoNotOpenItAgain) {
  auto settings = test_settings();
  settings.automation = config::Automation::observe;
  Machine m(settings);
  m.v2_bakes().crashed();
  m.settled().send(event::Acknowledge{"me"});
  EXPECT_EQ(m.count<action::IncidentClosed>(), 1);
  m.pass(10s);
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
  m.clears("Crashed").crashed();
  EXPECT_EQ(m.count<action::Reprobe>(), 2);
}

TEST(Hold, AnotherDeploymentClosesTheIncident) {
  auto settings = test_settings();
  settings.automation = config::Automation::observe;
  Machine m(settings);
  m.v2_bakes().crashed();
  m.settled().pass(5s).switched("v3");
  EXPECT_EQ(m.count<action::IncidentClosed>(), 1);
  EXPECT_EQ(m.phase(), "watching");
}

TEST(Hold, AStateThatCannotBeWrittenHoldsEverything) {
  Machine m;
  m.v2_bakes().send(event::StateUntrusted{"I/O error"});
  EXPECT_EQ(m.pages(), 1);
  m.crashed();
  m.settled();
  EXPECT_EQ(m.count<action::Operate>(), 0);
  EXPECT_EQ(m.count<action::Persist>(), 0);
  EXPECT_FALSE(m.incident->state_trusted());
}

TEST(Hold, AnIntentThatDidNotReachTheDiskStartsNothing) {
  Machine m;
  m.v2_bakes().crashed();
  m.settled().send(event::StateUntrusted{"I/O error"});
  EXPECT_FALSE(m.incident->operation_running());
  EXPECT_EQ(m.phase(), "held");
}

}  // namespace
}  // namespace rollbackd::decision
