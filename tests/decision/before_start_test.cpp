// Between the switch and the restart the process before still runs, and is stopped: what it says then is not the new release's.
#include "tests/decision/machine.hpp"

namespace rollbackd::decision {
namespace {

/// v2 is switched to; an alert fires; two seconds later v2 starts and is healthy.
Machine alert_before_start(const std::vector<std::string>& reads) {
  Machine m;
  m.switched("v1").started();
  m.send(event::Mark{"v1", Standing::good, "tested", "test"});
  m.pass(1h);
  m.switched("v2");
  m.pass(500ms).fires("Alert", reads);
  m.pass(2s).started().health(true);
  return m;
}

TEST(BeforeTheStart, ALineThatTheProcessBeforeLoggedAsItWasStoppedRollsNothingBack) {
  Machine m = alert_before_start({"log_matches_total"});
  m.pass(55s);
  m.clears("Alert");  // The line is out of the rule's window.
  m.pass(10min);
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
}

TEST(BeforeTheStart, WhatStillFiresWhenTheProcessBeforeIsOutOfSightIsEvidence) {
  Machine m = alert_before_start({"log_matches_total"});
  m.pass(2min);
  EXPECT_NE(m.find<action::Reprobe>(), nullptr);
}

TEST(BeforeTheStart, AFailedStartAndWhatAProbeCanRefuteCountAtOnce) {
  for (const char* metric : {"process_exits_total", "probe_success"}) {
    Machine m = alert_before_start({metric});
    m.pass(1s);
    EXPECT_EQ(m.count<action::Reprobe>(), 1) << metric;
  }
}

}  // namespace
}  // namespace rollbackd::decision
