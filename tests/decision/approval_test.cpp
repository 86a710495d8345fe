// A decision that waits for a person, and what passing time and other services do to a hold.
#include "tests/decision/machine.hpp"

namespace rollbackd::decision {
namespace {

config::ServiceSettings asks_first() {
  config::ServiceSettings settings = test_settings();
  settings.automation = config::Automation::approve;
  return settings;
}

/// v2 fails, and everything but the approval says yes.
struct Asked : Machine {
  Asked() : Machine(asks_first()) {
    v2_bakes();
    unhealthy().settled();
  }
  Asked& says(bool yes) {
    send(event::Approve{"uid:0 root", "looked at it", yes});
    return *this;
  }
  std::string phase() { return incident->view(now).phase; }
  std::size_t pages() const {
    std::size_t n = 0;
    for (const Action& action : all)
      if (const auto* notify = std::get_if<action::Notify>(&action)) n += notify->notification.severity == Notification::Severity::page;
    return n;
  }
};

TEST(Approval, IsAskedForOnceWithTheCommandAndNothingIsDone) {
  Asked m;

  EXPECT_EQ(m.phase(), "awaiting approval");
  EXPECT_EQ(m.find<action::Operate>(), nullptr);
  ASSERT_TRUE(m.incident->state().approval);
  EXPECT_EQ(m.incident->state().approval->to, "v1");
  EXPECT_EQ(m.incident->state().approval->until, m.now + 30min);
  const auto* page = m.find<action::Notify>();
  ASSERT_NE(page, nullptr);
  EXPECT_NE(page->notification.text.find("rollbackctl approve shop --env prod --reason"), std::string::npos);
  EXPECT_NE(page->notification.text.find("rollbackctl reject shop --env prod --reason"), std::string::npos);
  EXPECT_NE(m.find<action::Persist>(), nullptr) << "it survives a restart";
  m.pass(10min);
  EXPECT_EQ(m.pages(), 1u);
}

TEST(Approval, AYesIsFollowedByANewSecondOpinionAndThenTheRollback) {
  Asked m;
  m.forget();
  m.pass(5min).send(event::Approve{"uid:0 root", "looked", true});
  EXPECT_EQ(m.find<action::Operate>(), nullptr) << "what was true when it was asked need not be true now";
  ASSERT_NE(m.find<action::Reprobe>(), nullptr);

  m.settled();

  ASSERT_NE(m.find<action::Operate>(), nullptr);
  EXPECT_EQ(m.find<action::Operate>()->request.to, "v1");
  EXPECT_NE(m.find<action::Operate>()->request.reason.find("approved by uid:0 root"), std::string::npos);
  EXPECT_FALSE(m.incident->state().approval) << "used up";
}

TEST(Approval, AYesDoesNothingWhereTheFailureIsOverAndIsNotKeptForTheNextOne) {
  Asked m;
  m.pass(5min).send(event::Approve{"uid:0 root", "", true});
  m.forget();
  event::Settled healthy = m.answers("v1");
  healthy.own.front().healthy = true;
  m.send(healthy);
  EXPECT_EQ(m.find<action::Operate>(), nullptr);

  m.pass(2s).settled();  // The alert still fires, and now its check fails again.

  EXPECT_EQ(m.find<action::Operate>(), nullptr);
  EXPECT_EQ(m.phase(), "awaiting approval");
}

TEST(Approval, AYesDoesNotPassOverAnotherGuardThatSaysNoMeanwhile) {
  Asked m;
  m.send(event::Approve{"uid:0 root", "", true});
  m.pass(2s).forget();
  event::Settled answers = m.answers("v1");
  answers.fleet.window = "freeze \"night\" until 06:00";
  answers.fleet.window_until = m.now + 30s;
  m.send(answers);
  EXPECT_EQ(m.find<action::Operate>(), nullptr);
  EXPECT_EQ(m.phase(), "held");

  m.pass(31s).settled();  // The window is over, and the approval is still good.

  EXPECT_NE(m.find<action::Operate>(), nullptr);
}

TEST(Approval, ANoHoldsWithOnePageAndIsNotAskedAgainInThisIncident) {
  Asked m;
  m.says(false);
  EXPECT_EQ(m.phase(), "held");
  EXPECT_EQ(m.pages(), 2u);
  m.forget();
  m.incident->look_again();
  m.pass(2s).send(event::Tick{}).settled();
  EXPECT_EQ(m.phase(), "held");
  EXPECT_EQ(m.pages(), 0u);
  m.says(true);
  EXPECT_EQ(m.phase(), "held") << "nothing waits for it any more";
  m.pass(2s);
  EXPECT_EQ(m.find<action::Operate>(), nullptr);
}

TEST(Approval, HeldWhenNobodyAnswersInTime) {
  Asked m;
  m.forget();
  m.pass(30min);
  EXPECT_EQ(m.phase(), "held");
  EXPECT_EQ(m.pages(), 1u);
  EXPECT_NE(m.find<action::Notify>()->notification.text.find("nobody answered within 30m"), std::string::npos);
  EXPECT_NE(m.find<action::Notify>()->notification.text.find("rollbackctl rollback shop --env prod --to v1"), std::string::npos);
  m.pass(2h);
  EXPECT_EQ(m.pages(), 1u);
}

TEST(Approval, SurvivesARestartAndPagesNobodyTwice) {
  Asked m;
  const std::string asked = m.find<action::Notify>()->notification.key;
  m.restart();
  m.forget();
  EXPECT_EQ(m.phase(), "awaiting approval");
  m.switched("v2").health(true).unhealthy().settled();
  EXPECT_EQ(m.phase(), "awaiting approval");
  EXPECT_EQ(m.pages(), 0u);
  EXPECT_EQ(m.incident->state().approval->decision, asked);

  m.pass(2s);
  m.says(true);
  m.settled();

  EXPECT_NE(m.find<action::Operate>(), nullptr);
}

TEST(Approval, AnApprovalGivenBeforeTheRestartActsOnFreshEvidenceAfterIt) {
  Asked m;
  m.says(true);  // The second opinion is asked for, and the daemon ends.
  m.restart();
  m.forget();
  EXPECT_EQ(m.find<action::Operate>(), nullptr);
  m.switched("v2").health(true).unhealthy().settled();
  EXPECT_NE(m.find<action::Operate>(), nullptr);
}

TEST(Approval, IsForThatTargetAndThatIncidentOnly) {
  Asked m;
  m.send(event::Mark{"v1", Standing::bad, "found out", "test"});
  m.says(true);  // To go back to v1.
  m.pass(2s).send(event::Mark{"v1", Standing::good, "after all", "test"});
  m.forget();
  m.pass(2s);
  m.switched("v3").started().health(true);
  EXPECT_FALSE(m.incident->state().approval) << "another release went live";
  m.pass(2s).unhealthy().settled();
  EXPECT_EQ(m.find<action::Operate>(), nullptr);
  EXPECT_EQ(m.phase(), "awaiting approval");
}

TEST(Approval, AnEmergencyActsWithoutOne) {
  Machine m(asks_first());
  m.v2_bakes();
  m.fires("Burning", {"probe_success"}, AlertAction::emergency).settled();
  ASSERT_NE(m.find<action::Operate>(), nullptr);
  EXPECT_EQ(m.find<action::Operate>()->request.mode, Mode::emergency);
}

TEST(Hold, BecauseOfAFreezeIsAskedAgainWhenTheWindowEnds) {
  Machine m;
  m.v2_bakes();
  m.unhealthy();
  event::Settled answers = m.answers("v1");
  answers.fleet.window = "freeze \"night\" until 06:00";
  answers.fleet.window_until = m.now + 1h;
  m.send(answers);
  ASSERT_EQ(m.incident->view(m.now).phase, "held");
  EXPECT_NE(m.find<action::Record>()->decision.next_step.find("--lenient"), std::string::npos);
  m.pass(1h - 1s);
  EXPECT_EQ(m.incident->view(m.now).phase, "held");

  m.pass(2s).settled();

  EXPECT_NE(m.find<action::Operate>(), nullptr);
}

TEST(Hold, BecauseOfADeploymentLockIsAskedAgainWhenItRunsOutOrIsGivenBack) {
  for (const bool given_back : {true, false}) {
    Machine m;
    m.v2_bakes();
    m.send(event::Locked{DeployLock{"lock-1", m.now + 1h, "deploying", "ci"}});
    m.unhealthy().settled();
    ASSERT_EQ(m.incident->view(m.now).phase, "held");
    m.pass(10min);
    EXPECT_EQ(m.find<action::Operate>(), nullptr);
    if (given_back) {
      m.send(event::Locked{}).settled();
    } else {
      m.pass(50min).settled();
    }
    EXPECT_FALSE(m.incident->state().lock);
    EXPECT_NE(m.find<action::Operate>(), nullptr) << given_back;
  }
}

TEST(Hold, BecauseTheCauseIsElsewhereClosesByItselfOnceTheSymptomIsGone) {
  Machine m;
  m.v2_bakes();
  m.unhealthy();
  event::Settled answers = m.answers("v1");
  answers.fleet.cause_elsewhere = "db/prod";
  m.send(answers);
  ASSERT_EQ(m.incident->view(m.now).phase, "held");
  ASSERT_TRUE(m.incident->state().incident);

  m.clears("Unhealthy");  // The cause was rolled back.
  m.incident->look_again();
  m.send(event::Tick{}).pass(31s);

  EXPECT_FALSE(m.incident->state().incident);
  EXPECT_EQ(m.incident->view(m.now).phase, "watching");
  EXPECT_EQ(m.find<action::Operate>(), nullptr);
}

TEST(Hold, BecauseTheCauseIsElsewhereIsAskedAgainWhenTheCauseIsGoneAndItStillFails) {
  Machine m;
  m.v2_bakes();
  m.unhealthy();
  event::Settled answers = m.answers("v1");
  answers.fleet.cause_elsewhere = "db/prod";
  m.send(answers);
  m.pass(10s).incident->look_again();
  m.send(event::Tick{}).settled();
  EXPECT_NE(m.find<action::Operate>(), nullptr);
}

TEST(Evidence, AnAlertThatBeganInMaintenanceIsNone) {
  Machine m;
  m.v2_bakes();
  m.incident->note_maintenance(m.now - 1min, m.now + 1h);
  m.unhealthy();
  EXPECT_EQ(m.find<action::Reprobe>(), nullptr);
  m.pass(2h);
  EXPECT_EQ(m.find<action::Reprobe>(), nullptr) << "it began inside";
  m.clears("Unhealthy").unhealthy();
  EXPECT_NE(m.find<action::Reprobe>(), nullptr);
}

}  // namespace
}  // namespace rollbackd::decision
