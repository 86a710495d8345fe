// Alerts pushed from outside: one acts once, whatever comes twice, late, in the wrong order or after a restart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "machine.hpp"

namespace rollbackd::decision {
namespace {

using testing::Contains;
using testing::HasSubstr;

PushedAlert alert_named(const std::string& key, Instant since, AlertAction action = AlertAction::rollback) {
  PushedAlert alert;
  alert.key = key;
  alert.rule = "ErrorsHigh";
  alert.summary = "5 % of requests fail";
  alert.action = action;
  alert.since = alert.received = since;
  return alert;
}

struct Pushed : testing::Test {
  Machine m;
  Pushed() { m.v2_bakes(); }
  Machine& push(const PushedAlert& alert) { return m.send(event::Pushed{alert}); }
  Machine& push(const std::string& key, AlertAction action = AlertAction::rollback) { return push(alert_named(key, m.now, action)); }
  Machine& resolve(const std::string& key, Instant since) {
    PushedAlert alert = alert_named(key, since);
    alert.resolved = true;
    return push(alert);
  }
};

TEST_F(Pushed, AnActionableAlertIsPersistedAndRollsBackWithItselfAsTheTrigger) {
  push("a");
  const bool first_on_disk = std::holds_alternative<action::Persist>(m.last.front());
  m.settled();

  EXPECT_TRUE(first_on_disk);
  const auto* operate = m.find<action::Operate>();
  ASSERT_NE(operate, nullptr);
  EXPECT_EQ(operate->request.trigger, Trigger::alert);
  EXPECT_EQ(operate->request.cause, Cause::alert);
  EXPECT_EQ(operate->request.to, "v1");
  EXPECT_THAT(operate->request.reason, HasSubstr("ErrorsHigh pushed"));
}

TEST_F(Pushed, ItStandsByItselfThoughNoCheckCouldBeAsked) {
  push("a");
  event::Settled nobody = m.answers("v1");
  nobody.own.clear();
  m.send(nobody);

  EXPECT_NE(m.find<action::Operate>(), nullptr);
}

TEST_F(Pushed, WithAnAlertOfOurOwnBesideItTheTriggerIsAutomatic) {
  push("a");
  m.fires("Leak", {"process_resident_memory_bytes"}).settled();

  ASSERT_NE(m.find<action::Operate>(), nullptr);
  EXPECT_EQ(m.find<action::Operate>()->request.trigger, Trigger::automatic);
}

TEST_F(Pushed, FiftyDuplicatesBeforeWhileAndAfterTheRollbackAndARestartAreOneOperation) {
  const PushedAlert alert = alert_named("a", m.now);
  for (int i = 0; i < 50; ++i) push(alert);
  m.settled();
  for (int i = 0; i < 50; ++i) push(alert);
  m.operation_ends(OperationStatus::succeeded);
  for (int i = 0; i < 50; ++i) push(alert);
  m.restart();
  m.switched("v1").started().health(true);
  for (int i = 0; i < 50; ++i) push(alert).pass(100ms);

  EXPECT_EQ(m.count<action::Operate>(), 1);
  EXPECT_EQ(m.incident->state().pushed.size(), 1U);
  EXPECT_EQ(m.phase(), "watching");
}

TEST_F(Pushed, ADuplicateAsksForNoWrite) {
  push("a");
  m.forget();
  push(alert_named("a", m.now));

  EXPECT_EQ(m.count<action::Persist>(), 0);
  EXPECT_EQ(m.incident->fate_of(alert_named("a", m.now), m.now), PushedFate::duplicate);
}

TEST_F(Pushed, ResolvedBeforeItFiredDoesNothing) {
  const Instant since = m.now;
  resolve("a", since);
  const int persisted = m.count<action::Persist>();
  m.pass(1s);
  push(alert_named("a", since)).pass(5s);

  EXPECT_EQ(persisted, 1) << "after a restart the late one must do nothing either";
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
}

TEST_F(Pushed, ResolvedWhileItIsAskedAboutEndsIt) {
  push("a");
  resolve("a", m.now);
  m.settled();

  EXPECT_EQ(m.find<action::Operate>(), nullptr);
  EXPECT_TRUE(m.incident->state().pushed.at(0).resolved);
  m.restart();
  m.switched("v2").started().health(true).pass(5s);
  EXPECT_EQ(m.find<action::Operate>(), nullptr) << "nor does it come back with a restart";
}

TEST_F(Pushed, OneThatFiredBeforeTheSwitchNeverCounts) {
  const PushedAlert old = alert_named("a", m.incident->state().epoch.switched - 1s);

  EXPECT_EQ(m.incident->fate_of(old, m.now), PushedFate::stale);
  push(old).pass(10s);
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
  EXPECT_TRUE(m.incident->state().pushed.empty());
}

TEST_F(Pushed, OneThatFiredAboutTheReleaseBeforeDoesNotCountAgainstTheNext) {
  m.send(event::Suspend{1h, "a look", "marta"});
  push("a").settled().pass(1s);
  m.send(event::Unsuspend{"marta"});
  m.switched("v3").started().health(true).forget();
  push("a").pass(10s);
  push(alert_named("a", m.incident->state().epoch.switched - 2s)).pass(10s);

  EXPECT_EQ(m.count<action::Reprobe>(), 0);
}

TEST_F(Pushed, FiringAtARestartItIsEvidenceAgainOnceTheTargetCouldBeLookedAt) {
  push("a");
  m.restart();
  m.switched("v2").started().health(true);
  const int at_once = m.count<action::Reprobe>();
  m.pass(2s).settled();

  EXPECT_EQ(at_once, 1) << "only that of before the restart";
  EXPECT_NE(m.find<action::Operate>(), nullptr);
}

TEST_F(Pushed, OlderThanItsRoutesAllowItIsOver) {
  m.incident->set_pushed_stale_after({1h, 1h, 10min, 1h});
  m.send(event::Suspend{20min, "a look", "marta"});
  push("a").settled();
  EXPECT_EQ(m.phase(), "held");
  m.pass(9min);
  EXPECT_FALSE(m.incident->state().pushed.at(0).resolved);
  m.pass(1min);

  EXPECT_TRUE(m.incident->state().pushed.at(0).resolved);
  m.pass(30min);
  EXPECT_EQ(m.find<action::Operate>(), nullptr);
  EXPECT_EQ(m.incident->fate_of(alert_named("b", m.now - 10min), m.now), PushedFate::stale);
  EXPECT_EQ(m.incident->fate_of(alert_named("b", m.now - 10min + 1s), m.now), PushedFate::accepted);
}

TEST_F(Pushed, ACleanStopMakesItNoEvidence) {
  m.send(event::Stopped{m.now, true, "stopped by a person"});
  push("a").pass(5s);
  m.started().health(true).pass(5s);
  push("a").pass(5s);

  EXPECT_EQ(m.count<action::Reprobe>(), 0);
}

TEST_F(Pushed, AfterAGapItCountsAgainWhenItsSenderRepeatsIt) {
  m.send(event::Suspend{10s, "a look", "marta"});
  push("a").settled();
  m.send(event::Gap{m.now, m.now + 3s});
  m.pass(20s);
  const int without = m.count<action::Operate>();
  push("a").settled();

  EXPECT_EQ(without, 0);
  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST_F(Pushed, SuspendedItHoldsAndPages) {
  m.send(event::Suspend{1h, "a look", "marta"});
  m.forget();
  push("a").settled();

  EXPECT_EQ(m.find<action::Operate>(), nullptr);
  EXPECT_THAT(m.refused(), Contains("not_suspended"));
  EXPECT_EQ(m.pages(), 1);
}

TEST_F(Pushed, AfterTheBakeItHolds) {
  m.pass(1h).forget();
  ASSERT_EQ(m.standing("v2"), Standing::good);
  push("a").settled();

  EXPECT_EQ(m.find<action::Operate>(), nullptr);
  EXPECT_THAT(m.refused(), Contains("recent_release"));
}

TEST_F(Pushed, TheBudgetBindsItToo) {
  m.settings.policy.budget_rollbacks = 0;
  m.incident->set_settings(m.settings);
  push("a").settled();

  EXPECT_EQ(m.find<action::Operate>(), nullptr);
  EXPECT_THAT(m.refused(), Contains("budget"));
}

TEST_F(Pushed, AnEmergencyRouteMakesItAnEmergency) {
  push("a", AlertAction::emergency).settled();

  ASSERT_NE(m.find<action::Operate>(), nullptr);
  EXPECT_EQ(m.find<action::Operate>()->request.mode, Mode::emergency);
}

TEST_F(Pushed, ANotifyRouteTellsOnceAcrossARestart) {
  push("a", AlertAction::notify);
  m.restart();
  m.switched("v2").started().health(true);
  push("a", AlertAction::notify).pass(10s);

  EXPECT_EQ(m.records(DecisionKind::notify), 1);
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
}

TEST_F(Pushed, AcknowledgedItDoesNotComeBackWithARestart) {
  m.send(event::Suspend{1s, "a look", "marta"});
  push("a").settled();
  m.send(event::Acknowledge{"marta"});
  m.restart();
  m.switched("v2").started().health(true).pass(10s);
  push("a").pass(10s);

  EXPECT_EQ(m.find<action::Operate>(), nullptr);
}

TEST_F(Pushed, AtTheBoundResolvedOnesGoFirstThenThoseThatMayCauseLess) {
  m.send(event::Suspend{24h, "a look", "marta"});
  push("notify", AlertAction::notify);
  for (std::size_t i = 0; i + 2 < ServiceState::kPushedMax; ++i) push("r" + std::to_string(i));
  resolve("gone", m.now);
  const auto has = [&](const std::string& key) {
    return std::any_of(m.incident->state().pushed.begin(), m.incident->state().pushed.end(), [&](const auto& p) { return p.key == key; });
  };
  ASSERT_EQ(m.incident->state().pushed.size(), ServiceState::kPushedMax);
  push("one more");
  EXPECT_TRUE(has("notify") && has("one more") && !has("gone"));
  push("two more");
  EXPECT_TRUE(!has("notify") && has("two more"));

  EXPECT_EQ(m.incident->fate_of(alert_named("three more", m.now), m.now), PushedFate::no_room);
  EXPECT_EQ(m.incident->fate_of(alert_named("worse", m.now, AlertAction::emergency), m.now), PushedFate::accepted);
  EXPECT_EQ(m.incident->state().pushed.size(), ServiceState::kPushedMax);
}

TEST_F(Pushed, WithoutATrustedStateItIsNotPersistedAndDoesNotAct) {
  m.send(event::StateUntrusted{"EIO"});
  m.forget();
  push("a").pass(2s).settled();

  EXPECT_EQ(m.count<action::Persist>(), 0);
  EXPECT_EQ(m.find<action::Operate>(), nullptr);
}

}  // namespace
}  // namespace rollbackd::decision
