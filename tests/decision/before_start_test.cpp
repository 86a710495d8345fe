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

TEST(BeforeTheStart, WhatTheProcessBeforeSaidAndIsHeardLaterStaysInSightLonger) {
  Machine m = alert_before_start({"log_matches_total"});
  m.pass(40s);
  m.send(event::HeardLate{"health"});  // Its lines could not be read until now.
  m.pass(60s);
  EXPECT_EQ(m.count<action::Reprobe>(), 0);

  m.pass(2s);
  EXPECT_EQ(m.count<action::Reprobe>(), 1) << "it still fires";
}

TEST(BeforeTheStart, WhetherItStillFiresWhenTheProcessBeforeIsOutOfSightMustBeKnown) {
  Machine m = alert_before_start({"log_matches_total"});
  m.pass(50s).verdict(Verdict::blind, "Alert");
  m.pass(10min);
  EXPECT_EQ(m.count<action::Reprobe>(), 0);

  m.verdict(Verdict::breached, "Alert");
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

/// v2 has started and is healthy; an alert fires whose word was given `before_start` before the start.
Machine word_from_before_the_start(Duration before_start, const std::vector<std::string>& reads) {
  Machine m;
  m.switched("v1").started();
  m.send(event::Mark{"v1", Standing::good, "tested", "test"});
  m.pass(1h);
  m.switched("v2");
  m.pass(2s).started();
  const Instant started = m.now;
  m.pass(20ms).health(true);
  AlertChange change = Machine::change("Alert", reads, AlertAction::rollback, m.now);
  change.began = started - before_start;
  m.send(event::Alert{change});
  m.pass(1s);
  return m;
}

TEST(BeforeTheStart, TheLastLineOfTheProcessBeforeIsNotTheNewOnesBecauseItIsReadLater) {
  Machine m = word_from_before_the_start(0ms, {"log_matches_total"});
  EXPECT_EQ(m.count<action::Reprobe>(), 0);
  m.pass(55s);
  m.clears("Alert");
  m.pass(10min);
  EXPECT_EQ(m.count<action::Reprobe>(), 0);

  Machine of_the_new = word_from_before_the_start(-15ms, {"log_matches_total"});
  EXPECT_EQ(of_the_new.count<action::Reprobe>(), 1);
}

TEST(BeforeTheStart, ALineThatIsReadMuchLaterIsOutOfSightMuchLater) {
  Machine m;
  m.switched("v1").started();
  m.send(event::Mark{"v1", Standing::good, "tested", "test"});
  m.pass(1h);
  m.switched("v2");
  const Instant written = m.now;
  m.pass(2s).started().health(true);
  m.pass(50s);  // Nobody could read the log.
  AlertChange change = Machine::change("Alert", {"log_matches_total"}, AlertAction::rollback, m.now);
  change.began = written;
  m.send(event::Alert{change});
  m.pass(59s);
  EXPECT_EQ(m.count<action::Reprobe>(), 0);

  m.pass(3s);
  EXPECT_EQ(m.count<action::Reprobe>(), 1) << "it still fires";
}

TEST(BeforeTheStart, WhatIsMeasuredOverAWindowHoldsTheProcessBeforeWhereItRanOnAfterTheSwitch) {
  for (const Duration ran_on : {Duration(10s), Duration(100ms)}) {
    Machine m;
    m.switched("v1").started();
    m.send(event::Mark{"v1", Standing::good, "tested", "test"});
    m.pass(1h);
    m.switched("v2");
    m.pass(ran_on).started().health(true);
    m.pass(10s).fires("HighErrorRatio", {"http_requests_total"});
    EXPECT_EQ(m.count<action::Reprobe>(), ran_on > 1s ? 0 : 1);
    m.pass(55s);
    EXPECT_GE(m.count<action::Reprobe>(), 1) << "it still fires";
  }
}

TEST(BeforeTheStart, WhatTheVerificationOfThisStartSaysCountsAtOnce) {
  Machine m = word_from_before_the_start(0ms, {"verification_success"});
  EXPECT_EQ(m.count<action::Reprobe>(), 1);
}

TEST(BeforeTheStart, ALinkSeenLateIsRememberedOverARestart) {
  Machine m;
  m.switched("v1").started();
  m.pass(1h);
  event::Switched late{"v2", m.now, false, false, ""};
  late.link_changed = m.now - 8s;
  m.send(late);
  m.restart();
  m.switched("v2");
  EXPECT_EQ(m.incident->state().epoch.switched, m.now);
  EXPECT_EQ(m.incident->state().epoch.processes_since(), m.now - 8s);
}

TEST(BeforeTheStart, AFailedStartAndWhatAProbeCanRefuteCountAtOnce) {
  for (const char* metric : {"process_exits_total", "probe_success"}) {
    Machine m = alert_before_start({metric});
    m.pass(1s);
    EXPECT_EQ(m.count<action::Reprobe>(), 1) << metric;
  }
}

TEST(NotStarted, ADeploymentThatNeverStartsIsToldOnceWithWhyAndWhatToDo) {
  auto settings = test_settings();
  settings.components.front().process.unit = "shop.service";
  Machine m(settings);
  m.v2_bakes();
  m.send(event::Switched{"v3", m.now, true, false, "op"});
  m.forget();

  m.pass(5min + 29s);
  EXPECT_EQ(m.count<action::Notify>(), 0);
  m.pass(1s);

  ASSERT_EQ(m.count<action::Notify>(), 1);
  const Notification& told = m.find<action::Notify>()->notification;
  EXPECT_EQ(told.severity, Notification::Severity::warning);
  EXPECT_EQ(told.key, "not started:shop/prod:3") << "after a restart it is no news";
  EXPECT_NE(told.title.find("v3 was deployed on shop/prod and has not started"), std::string::npos);
  EXPECT_NE(told.text.find("Its manager took the restart, but no process younger than the switch has been seen."), std::string::npos);
  EXPECT_NE(told.text.find("systemctl restart shop.service"), std::string::npos);
  m.pass(24h);
  EXPECT_EQ(m.count<action::Notify>(), 1);
}

TEST(NotStarted, OneThatStartsInTimeAndARollbackAreNotTold) {
  Machine in_time;
  in_time.v2_bakes().switched("v3").pass(5min);
  in_time.started().pass(5min);
  EXPECT_EQ(in_time.count<action::Notify>(), 0);

  Machine back;
  back.v2_bakes().send(event::Switched{"v1", back.now, false, true, "op"});
  back.forget();
  back.pass(1h);
  EXPECT_EQ(back.count<action::Notify>(), 0) << "its verification says it";
}

TEST(NotStarted, WhereNobodyCanSeeAStartItSaysSo) {
  auto settings = test_settings();
  settings.components.front().process.manager = config::ManagerType::command;
  Machine m(settings);
  m.v2_bakes().switched("v3");
  m.forget();
  m.pass(6min);
  ASSERT_NE(m.find<action::Notify>(), nullptr);
  EXPECT_NE(m.find<action::Notify>()->notification.text.find("set `pid_file`, or `identity`"), std::string::npos);
}

}  // namespace
}  // namespace rollbackd::decision
