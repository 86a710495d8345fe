// How operations of people's end: a deployment that left its service half way is a matter for the pager.
#include "tests/decision/machine.hpp"

namespace rollbackd::decision {
namespace {

using Guards = std::vector<std::string>;

event::OperationEnded deployment_ended(OperationStatus status) {
  event::OperationEnded ended;
  ended.operation = "op";
  ended.kind = OperationKind::deploy;
  ended.trigger = Trigger::manual;
  ended.status = status;
  ended.from = "v2";
  ended.to = "v3";
  return ended;
}

TEST(Deployment, OneThatMayBeHalfDonePagesAndOneThatDidNothingOnlyWarns) {
  for (const OperationStatus status : {OperationStatus::failed, OperationStatus::unknown, OperationStatus::partial}) {
    Machine m;
    m.v2_bakes().send(event::OperationBegan{"op", OperationKind::deploy}).switched("v3");
    m.forget();
    m.send(deployment_ended(status));
    EXPECT_EQ(m.pages(), 1) << to_string(status) << ": the link may lead to a release whose process does not run";
    const std::string key = m.find<action::Notify>()->notification.key;
    m.restart();
    m.send(deployment_ended(status));
    EXPECT_EQ(m.find<action::Notify>()->notification.key, key) << "told again at a start, it is one message to the outbox";
  }
  for (const OperationStatus status : {OperationStatus::abandoned, OperationStatus::undone, OperationStatus::cancelled}) {
    Machine m;
    m.v2_bakes().send(event::OperationBegan{"op", OperationKind::deploy});
    m.forget();
    m.send(deployment_ended(status));
    EXPECT_EQ(m.pages(), 0) << to_string(status);
    EXPECT_EQ(m.count<action::Notify>(), 1) << to_string(status);
  }
}

TEST(Rollback, WhatAPersonSaidOfAReleaseMeanwhileStands) {
  for (const char* failed_how : {"checks_healthy:failed", "smoke:failed"}) {  // In the same way as v2, and in another.
    Machine m;
    m.v2_bakes().unhealthy();
    m.settled();
    m.send(event::Mark{"v2", Standing::revoked, "CVE-2026-1", "anna"});
    m.send(event::Mark{"v1", Standing::bad, "it leaks", "anna"});
    m.operation_ends(OperationStatus::failed, failed_how);
    EXPECT_EQ(m.standing("v2"), Standing::revoked) << failed_how;
    EXPECT_EQ(m.standing("v1"), Standing::bad) << failed_how;
  }
}

TEST(Rollback, OvertakenByADeploymentWhileNoDaemonRanItsCooldownCountsFromThatDeployment) {
  for (const Duration deployed : {3s, -3s}) {  // After the decision; by a clock that somebody set, before it.
    Machine m;
    m.v2_bakes().crashed();
    m.settled();
    ASSERT_NE(m.find<action::Operate>(), nullptr);
    const OperationRequest request = m.find<action::Operate>()->request;
    const Instant decided = m.now;
    m.pass(1h).restart();
    event::OperationEnded ended;
    ended.operation = request.operation;
    ended.status = OperationStatus::abandoned;
    ended.from = request.from;
    ended.to = request.to;
    ended.at = decided + deployed;
    m.send(ended);

    EXPECT_EQ(m.incident->state().past.back().at, std::max(decided, *ended.at));
  }
}

TEST(Rollback, AManagerThatRefusesIsNoReasonToGoFurtherBack) {
  auto settings = test_settings();
  settings.policy.max_steps_back = 2;
  Machine m(settings);
  m.switched("v0").started().send(event::Mark{"v0", Standing::good, "tested", "anna"}).pass(1min);
  m.v2_bakes().crashed();
  m.settled();
  m.operation_ends(OperationStatus::failed, "restart:refused");
  m.pass(1min);

  EXPECT_EQ(m.count<action::Reprobe>(), 1) << "the one on v2";
  EXPECT_NE(m.standing("v1"), Standing::unknown);
}

TEST(Rollback, ItsCooldownHoldsWhatFailsWhileItEnds) {
  auto settings = test_settings();
  settings.policy.late_automatic = true;
  settings.policy.cooldown = 15min;
  settings.policy.budget_rollbacks = 5;
  Machine m(settings);
  m.switched("v0").started().send(event::Mark{"v0", Standing::good, "tested", "anna"}).pass(1min);
  m.v2_bakes().crashed();
  m.settled();
  ASSERT_NE(m.find<action::Operate>(), nullptr) << testing::PrintToString(m.refused());
  const OperationRequest request = m.find<action::Operate>()->request;
  m.send(event::OperationBegan{request.operation, request.kind});
  m.pass(10ms).send(event::Switched{"v1", m.now, false, true, request.operation}).started().health(true);
  m.pass(5s).forget();
  m.crashed();
  event::OperationEnded ended;
  ended.operation = request.operation;
  ended.status = OperationStatus::succeeded;
  ended.from = "v2";
  ended.to = "v1";
  m.send(ended);  // In this turn the next incident opens.
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
  m.settled("v0");
  EXPECT_EQ(m.refused(), Guards{"cooldown"});
}

}  // namespace
}  // namespace rollbackd::decision
