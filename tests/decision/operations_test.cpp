// How operations of people's end: a deployment that left its service half way is a matter for the pager.
#include "tests/decision/machine.hpp"

namespace rollbackd::decision {
namespace {

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

}  // namespace
}  // namespace rollbackd::decision
