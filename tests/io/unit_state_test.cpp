// What systemd's properties of a unit mean, as a table of what it really sends: one row a coherent state.
#include "io/unit_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace rollbackd::io {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// The unit runs process 100, begun at 1 s.
UnitFacts running() {
  UnitFacts facts;
  facts.id = "shop.service";
  facts.load = "loaded";
  facts.active = "active";
  facts.sub = "running";
  facts.result = "success";
  facts.service = true;
  facts.main_pid = facts.exec_pid = 100;
  facts.exec_started = 1'000'000;
  return facts;
}

UnitFacts ended(UnitFacts facts, int code, int status, const std::string& result, const std::string& active, const std::string& sub) {
  facts.main_pid = 0;
  facts.exec_exited = facts.exec_started + 500'000;
  facts.exec_code = code;
  facts.exec_status = status;
  facts.result = result;
  facts.active = active;
  facts.sub = sub;
  return facts;
}
UnitFacts with(UnitFacts facts, const std::string& active, const std::string& sub, const std::string& result = "") {
  facts.active = active;
  facts.sub = sub;
  if (!result.empty()) facts.result = result;
  return facts;
}
/// The next process, started by systemd itself.
UnitFacts restarted(UnitFacts facts, int pid) {
  facts.main_pid = facts.exec_pid = pid;
  facts.exec_started += 2'000'000;
  facts.exec_exited = 0;
  facts.exec_code = facts.exec_status = 0;
  ++facts.restarts;
  return with(std::move(facts), "active", "running", "success");
}

/// News in one word each: "running 100", "exit 3 of 100", "exit 3 of 100 as asked", "failed: ...".
std::vector<std::string> told(UnitState& state, const std::vector<UnitFacts>& all) {
  std::vector<std::string> out;
  for (const UnitFacts& facts : all) {
    for (const UnitNews& news : state.on(facts)) {
      std::ostringstream text;
      const std::string of = " of " + std::to_string(news.pid) + (news.requested ? " as asked" : "") + (news.oom ? " oom" : "");
      if (news.kind == UnitNews::Kind::running) text << "running " << news.pid;
      if (news.kind == UnitNews::Kind::start_failed) text << "failed: " << news.detail << (news.requested ? " as asked" : "");
      if (news.kind == UnitNews::Kind::exited && !news.code_known) text << "unknown" << of;
      if (news.kind == UnitNews::Kind::exited && news.code_known && news.signal != 0) text << "signal " << news.signal << of;
      if (news.kind == UnitNews::Kind::exited && news.code_known && news.signal == 0) text << "exit " << news.exit_code << of;
      out.push_back(text.str());
    }
  }
  return out;
}

constexpr int kExited = 1, kKilled = 2, kDumped = 3;

struct Row {
  const char* name;
  std::vector<UnitFacts> states;  ///< after running()
  std::vector<std::string> news;  ///< after "running 100"
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

class UnitStateTable : public testing::TestWithParam<Row> {};

TEST_P(UnitStateTable, TellsEachEndOnceAndWhetherItWasAskedFor) {
  UnitState state;
  ASSERT_THAT(told(state, {running()}), ElementsAre("running 100"));

  EXPECT_THAT(told(state, GetParam().states), testing::ElementsAreArray(GetParam().news));
}

const UnitFacts kCrashed = ended(running(), kExited, 3, "exit-code", "activating", "auto-restart");
const UnitFacts kStopping = with(running(), "deactivating", "stop-sigterm");

INSTANTIATE_TEST_SUITE_P(
    Ways, UnitStateTable,
    testing::Values(
        Row{"nothing_new", {running(), running()}, {}},
        Row{"crash_without_restart", {ended(running(), kExited, 3, "exit-code", "failed", "failed")}, {"exit 3 of 100"}},
        Row{"crash_told_in_two_states", {with(kCrashed, "deactivating", "stop-sigterm"), kCrashed}, {"exit 3 of 100"}},
        Row{"crash_and_auto_restart", {kCrashed, restarted(kCrashed, 101)}, {"exit 3 of 100", "running 101"}},
        Row{"auto_restart_so_quick_that_the_exit_was_not_seen", {restarted(running(), 101)}, {"unknown of 100", "running 101"}},
        Row{"the_same_pid_again", {kCrashed, restarted(kCrashed, 100)}, {"exit 3 of 100", "running 100"}},
        Row{"killed", {ended(running(), kKilled, 9, "signal", "failed", "failed")}, {"signal 9 of 100"}},
        Row{"core_dump", {ended(running(), kDumped, 11, "core-dump", "failed", "failed")}, {"signal 11 of 100"}},
        Row{"out_of_memory", {ended(running(), kKilled, 9, "oom-kill", "failed", "failed")}, {"signal 9 of 100 oom"}},
        Row{"stopped", {kStopping, ended(running(), kKilled, 15, "success", "inactive", "dead")}, {"signal 15 of 100 as asked"}},
        Row{"stopped_with_a_bad_code",
            {kStopping, ended(running(), kExited, 143, "exit-code", "failed", "failed")},
            {"exit 143 of 100 as asked"}},
        Row{"stopped_by_force", {kStopping, ended(running(), kKilled, 9, "timeout", "failed", "failed")}, {"signal 9 of 100 as asked"}},
        Row{"restarted_by_a_job",
            {kStopping, ended(running(), kKilled, 15, "success", "inactive", "dead"), restarted(running(), 101)},
            {"signal 15 of 100 as asked", "running 101"}},
        Row{"its_watchdog_was_not_fed",
            {with(running(), "deactivating", "stop-watchdog", "watchdog"), ended(running(), kKilled, 6, "watchdog", "failed", "failed")},
            {"signal 6 of 100"}},
        Row{"never_ready",
            {with(running(), "deactivating", "stop-sigterm", "timeout"), ended(running(), kKilled, 15, "timeout", "failed", "failed")},
            {"signal 15 of 100"}},
        Row{"a_success_by_the_unit_s_own_word",
            {ended(running(), kExited, 42, "success", "inactive", "dead")},
            {"exit 42 of 100 as asked"}},
        Row{"the_program_is_gone",
            {ended(running(), kExited, 203, "exit-code", "failed", "failed")},
            {"failed: the program could not be executed (exit 203)"}},
        Row{"start_limit",
            {kCrashed, with(kCrashed, "failed", "failed", "start-limit-hit"), with(kCrashed, "failed", "failed", "start-limit-hit")},
            {"exit 3 of 100", "failed: start-limit-hit: systemd starts it no more"}},
        Row{"what_comes_before_the_start_fails",
            {kCrashed, with(kCrashed, "activating", "start-pre", "success"), with(kCrashed, "activating", "auto-restart", "exit-code"),
             with(kCrashed, "activating", "start-pre", "success"), with(kCrashed, "failed", "failed", "exit-code")},
            {"exit 3 of 100", "failed: it could not be started: exit-code", "failed: it could not be started: exit-code"}}),
    [](const auto& one) { return std::string(one.param.name); });

TEST(UnitState, WhileTheHostShutsDownEveryEndWasAskedFor) {
  UnitState state;
  told(state, {running()});
  UnitFacts down = ended(running(), kExited, 1, "exit-code", "failed", "failed");
  down.host_stopping = true;

  EXPECT_THAT(told(state, {down}), ElementsAre("exit 1 of 100 as asked"));
}

TEST(UnitState, AUnitThatIsDownAtFirstTellsHowItEnded) {
  UnitState crashed, stopped, never;
  UnitFacts masked;
  masked.load = "masked";
  masked.active = "inactive";

  EXPECT_THAT(told(crashed, {ended(running(), kExited, 3, "exit-code", "failed", "failed")}), ElementsAre("exit 3 of 100"));
  EXPECT_THAT(told(stopped, {ended(running(), kKilled, 15, "success", "inactive", "dead")}), ElementsAre("signal 15 of 100 as asked"));
  EXPECT_THAT(told(never, {masked}), ElementsAre("unknown of 0 as asked"));
}

TEST(UnitState, AfterALossARunningProcessIsToldAgainAndAnEndOnlyIfItIsNew) {
  UnitState state;
  told(state, {running()});

  state.on_lost();
  EXPECT_THAT(told(state, {running()}), ElementsAre("running 100"));
  state.on_lost();
  const UnitFacts down = ended(running(), kExited, 3, "exit-code", "failed", "failed");
  EXPECT_THAT(told(state, {down}), ElementsAre("exit 3 of 100"));
  state.on_lost();
  EXPECT_THAT(told(state, {down}), IsEmpty());
}

TEST(UnitState, ThePropertiesOfASignalChangeOnlyWhatTheyName) {
  UnitFacts facts = running();

  Json changed = Json::object();
  changed.set("MainPID", 0).set("ExecMainExitTimestampMonotonic", 1'500'000).set("ExecMainCode", 2).set("ExecMainStatus", 9);
  changed.set("Result", "signal").set("Unknown", Json::array());
  update(facts, changed);

  EXPECT_EQ(facts.active, "active");
  EXPECT_FALSE(facts.running());
  EXPECT_EQ(last_exit(facts), "signal 9 (Killed)");
}

}  // namespace
}  // namespace rollbackd::io
