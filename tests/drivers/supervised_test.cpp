#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <filesystem>

#include "base/json.hpp"
#include "base/text.hpp"
#include "drivers/driver.hpp"
#include "drivers/keeper_protocol.hpp"
#include "io/process.hpp"
#include "tests/drivers/helpers.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;
using rollbackd::testing::read_file;
using rollbackd::testing::run_until;
using rollbackd::testing::run_until_done;
using rollbackd::testing::TempDir;
using rollbackd::testing::write_file;
using ::testing::HasSubstr;
using Kind = ProcessEvent::Kind;

/// This test binary is also the program that the manager begins a keeper with: `drivers_test --keeper DIRECTORY`.
class KeeperProgram : public ::testing::Environment {
 public:
  void SetUp() override {
    const std::string text = read_file("/proc/self/cmdline");
    const auto arguments = split(text, '\0');
    if (arguments.size() >= 3 && arguments[1] == "--keeper") ::_exit(run_keeper(arguments[2]));
  }
};
const auto* const kProgram = ::testing::AddGlobalTestEnvironment(new KeeperProgram);

class ManagerTest : public ::testing::Test {
 protected:
  ManagerTest() {
    made.executor = context.get_executor();
    made.clock = &clock;
    made.steps = &steps;
    made.bulk = &steps;
    made.service = {"shop", "prod"};
    made.service_directory = dir.path();
    made.program = fs::read_symlink("/proc/self/exe").string();
    made.settings.current = dir.path();
  }
  void watch() {
    auto work = [](Manager* watched, std::vector<ProcessEvent>* out) -> boost::asio::awaitable<void> {
      co_await watched->watch([out](ProcessEvent event) { out->push_back(std::move(event)); });
    };
    watching = true;
    boost::asio::co_spawn(context, work(manager.get(), &seen),
                          boost::asio::bind_cancellation_slot(stop.slot(), [this](const std::exception_ptr&) { watching = false; }));
  }
  bool wait_for(Kind kind, std::size_t count = 1) {
    return run_until(context, [&] { return times(kind) >= count; });
  }
  std::size_t times(Kind kind) const {
    return static_cast<std::size_t>(std::count_if(seen.begin(), seen.end(), [&](const ProcessEvent& e) { return e.kind == kind; }));
  }
  const ProcessEvent& last(Kind kind) const {
    return *std::find_if(seen.rbegin(), seen.rend(), [&](const ProcessEvent& e) { return e.kind == kind; });
  }
  Step restart_step(const std::string& operation) {
    Step step = manager->plan().at(0);
    step.operation = operation;
    step.number = 2;
    return step;
  }
  Outcome run(Step step, Duration deadline = 15s) { return *run_until_done(context, manager->run(std::move(step), deadline)); }
  World::Process inspect() { return run_until_done(context, manager->inspect())->value(); }
  void stop_watching() {
    stop.emit(boost::asio::cancellation_type::terminal);
    run_until(context, [&] { return !watching; });
  }

  TempDir dir;
  boost::asio::io_context context;
  io::Clock clock;
  io::Worker steps{1};
  DriverContext made;
  std::unique_ptr<Manager> manager;
  boost::asio::cancellation_signal stop;
  std::vector<ProcessEvent> seen;
  bool watching = false;
};

class SupervisedTest : public ManagerTest {
 protected:
  SupervisedTest() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    made.settings.process.manager = config::ManagerType::supervised;
    made.settings.process.parent = config::ProcessSettings::Parent::keeper;  // Also where systemd runs.
    made.settings.process.command = {"/bin/sleep", "1000"};
    made.settings.process.restart_delay = 10ms;
    make();
  }
  void make() { manager = std::move(make_manager(made).value()); }
  void TearDown() override {
    if (watching) stop_watching();
    if (const int pid = keeper(); pid > 0) ::kill(pid, SIGTERM);
    for (int i = 0; i < 1000 && (::waitpid(-1, nullptr, WNOHANG) >= 0); ++i) ::usleep(10'000);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a process was left behind";
  }
  int keeper() {
    const auto state = Json::parse(read_file(dir / keeper::kStateName));
    const int pid = state.has_value() ? static_cast<int>(state.value()["keeper"].int_or(0)) : 0;
    return io::process_facts(pid).has_value() ? pid : 0;
  }
  void attach() {
    const auto attached = run_until_done(context, manager->attach());
    ASSERT_TRUE(attached->has_value()) << attached->error().text();
  }
};

TEST_F(SupervisedTest, AttachBeginsAKeeperAndStartsTheService) {
  attach();

  const World::Process process = inspect();
  EXPECT_TRUE(process.running);
  EXPECT_THAT(process.executable, HasSubstr("sleep"));
  EXPECT_LT(std::chrono::abs(clock.now() - process.started), 10s);
  attach();
  EXPECT_EQ(inspect().pid, process.pid) << "attaching again starts nothing";
}

TEST_F(SupervisedTest, TheServiceAndItsKeeperSurviveTheManager) {
  attach();
  const World::Process before = inspect();

  manager.reset();
  make();
  attach();

  EXPECT_EQ(inspect().pid, before.pid);
  EXPECT_LT(std::chrono::abs(inspect().started - before.started), 1ms);
}

TEST_F(SupervisedTest, ARestartIsDoneOncePerToken) {
  attach();
  const int first = inspect().pid;

  const Outcome outcome = run(restart_step("op"));
  const Outcome again = run(restart_step("op"));
  Step next = restart_step("op");
  next.arguments.set("attempt", 2);
  const Outcome attempt = run(next);

  ASSERT_TRUE(outcome.ok()) << outcome.error.text();
  EXPECT_NE(outcome.facts["pid"].int_or(0), first);
  EXPECT_GT(outcome.facts["started_boot_ns"].int_or(0), 0);
  EXPECT_EQ(again.facts, outcome.facts);
  EXPECT_NE(attempt.facts["pid"], outcome.facts["pid"]);
}

TEST_F(SupervisedTest, WhatTheKeeperStartedSinceTheSwitchIsNotStartedOnceMore) {
  attach();
  const int bad = inspect().pid;
  const std::int64_t switched = clock.to_boot_ns(clock.now());
  ::kill(bad, SIGABRT);
  int good = bad;
  for (int i = 0; i < 1000 && (good == bad || good == 0); ++i) {
    ::usleep(10'000);
    good = inspect().pid;
  }
  ASSERT_TRUE(good != bad && good != 0);

  Step step = restart_step("op");
  step.arguments.set("unless_since_boot_ns", switched);
  const Outcome spared = run(step);
  Step later = restart_step("op-2");
  later.arguments.set("unless_since_boot_ns", clock.to_boot_ns(clock.now()));
  const Outcome older = run(later);

  EXPECT_EQ(spared.status, Outcome::Status::already_done) << spared.error.text();
  EXPECT_EQ(spared.facts["pid"].int_or(0), good);
  EXPECT_EQ(older.status, Outcome::Status::done) << older.error.text();
  EXPECT_NE(older.facts["pid"].int_or(0), good);
}

TEST_F(SupervisedTest, WatchTellsStartsExitsAndTheirReason) {
  watch();
  ASSERT_TRUE(wait_for(Kind::running));
  const int first = last(Kind::running).pid;

  ::kill(first, SIGABRT);
  ASSERT_TRUE(wait_for(Kind::running, 2));

  EXPECT_EQ(last(Kind::exited).signal, SIGABRT);
  EXPECT_EQ(last(Kind::exited).pid, first);
  EXPECT_FALSE(last(Kind::exited).requested);
  EXPECT_FALSE(last(Kind::exited).clean());
  EXPECT_GT(last(Kind::running).started, last(Kind::exited).at);

  run(restart_step("op"));
  ASSERT_TRUE(wait_for(Kind::running, 3));
  EXPECT_TRUE(last(Kind::exited).requested);
}

TEST_F(SupervisedTest, ALostKeeperIsToldAndReplacedWithoutTouchingTheService) {
  watch();
  ASSERT_TRUE(wait_for(Kind::running));
  const int service = last(Kind::running).pid;

  ::kill(keeper(), SIGKILL);

  ASSERT_TRUE(wait_for(Kind::lost));
  ASSERT_TRUE(wait_for(Kind::running, 2));
  EXPECT_EQ(last(Kind::running).pid, service);
}

TEST_F(SupervisedTest, WhatAPersonStoppedStaysDownAtAttach) {
  watch();
  ASSERT_TRUE(wait_for(Kind::running));
  ::kill(last(Kind::running).pid, SIGTERM);
  ASSERT_TRUE(wait_for(Kind::exited));
  EXPECT_TRUE(last(Kind::exited).clean());

  attach();

  EXPECT_FALSE(inspect().running);
  EXPECT_TRUE(inspect().stopped_cleanly);
}

TEST_F(SupervisedTest, AProgramThatCannotBeExecutedFailsTheStep) {
  made.settings.process.command = {dir / "no-such-program"};
  make();
  const auto attached = run_until_done(context, manager->attach());
  const Outcome outcome = run(restart_step("op"));

  EXPECT_THAT(attached->error().text(), HasSubstr("No such file"));
  EXPECT_EQ(outcome.status, Outcome::Status::failed);
  EXPECT_THAT(outcome.error.text(), HasSubstr("No such file"));
}

TEST_F(SupervisedTest, AStopThatTakesTooLongIsTimedOut) {
  made.settings.process.command = {"/bin/sh", "-c", "trap '' TERM; echo > ready; while :; do sleep 0.1; done"};
  made.settings.process.stop_timeout = 2s;
  make();
  attach();
  for (int i = 0; i < 500 && !fs::exists(dir / "ready"); ++i) ::usleep(10'000);

  EXPECT_EQ(run(restart_step("op"), 200ms).status, Outcome::Status::timed_out);
}

TEST_F(SupervisedTest, AKeeperThatHangsIsAskedNoLongerThanTheDeadline) {
  attach();
  const int pid = keeper();
  ASSERT_GT(pid, 0);
  ::kill(pid, SIGSTOP);
  const auto began = std::chrono::steady_clock::now();

  const Outcome outcome = run(restart_step("op"), 300ms);
  const auto looked = run_until_done(context, manager->inspect());
  ::kill(pid, SIGCONT);

  EXPECT_TRUE(outcome.status == Outcome::Status::timed_out || outcome.status == Outcome::Status::unknown) << to_string(outcome.status);
  ASSERT_TRUE(looked);
  EXPECT_TRUE(looked->has_error());
  EXPECT_LT(std::chrono::steady_clock::now() - began, 15s);
  EXPECT_TRUE(inspect().running) << "once it goes on it answers as before";
}

TEST_F(SupervisedTest, ChangedSettingsReachTheKeeper) {
  attach();
  const int first = inspect().pid;
  made.settings.process.command = {"/bin/sleep", "2000"};
  make();
  attach();
  EXPECT_EQ(inspect().pid, first);

  const Outcome outcome = run(restart_step("op"));

  EXPECT_THAT(read_file("/proc/" + std::to_string(outcome.facts["pid"].int_or(0)) + "/cmdline"), HasSubstr("2000"));
}

TEST_F(SupervisedTest, NoProgramForAKeeperIsAFailureInTime) {
  made.program = "/no/such/rollbackd";
  make();

  const auto attached = run_until_done(context, manager->attach());

  EXPECT_THAT(attached->error().text(), HasSubstr("/no/such/rollbackd"));
  EXPECT_EQ(run(restart_step("op")).status, Outcome::Status::failed);
}

/// A service that daemonizes, as many old ones do, with a script around it.
class CommandTest : public ManagerTest {
 protected:
  CommandTest() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    write_file(dir / "service", "#!/bin/sh\ncd " + dir.path() + R"(
case $1 in
  start) setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $! > pid.new; mv pid.new pid ;;
  stop) [ -f pid ] || exit 5; kill $(cat pid); rm -f pid ;;
  status) [ -f pid ] && kill -0 $(cat pid) ;;
  restart) $0 stop; $0 start ;;
esac
)",
               0755);
    auto& process = made.settings.process;
    process.manager = config::ManagerType::command;
    for (auto* argv : {&process.start, &process.stop, &process.status}) argv->assign({dir / "service"});
    process.start.push_back("start");
    process.stop.push_back("stop");
    process.status.push_back("status");
    process.pid_file = dir / "pid";
    make();
  }
  void make() { manager = std::move(make_manager(made).value()); }
  void TearDown() override {
    if (watching) stop_watching();
    if (const int pid = std::atoi(read_file(dir / "pid").c_str()); pid > 0) ::kill(pid, SIGKILL);
    for (int i = 0; i < 500 && (::waitpid(-1, nullptr, WNOHANG) >= 0); ++i) ::usleep(10'000);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a process was left behind";
  }
};

TEST_F(CommandTest, ARestartStopsAndStartsAndFindsTheNewProcess) {
  const Outcome first = run(restart_step("op1"));
  ASSERT_TRUE(first.ok()) << first.error.text();
  const Outcome second = run(restart_step("op2"));

  ASSERT_TRUE(second.ok()) << second.error.text();
  EXPECT_NE(second.facts["pid"], first.facts["pid"]);
  EXPECT_EQ(second.facts["pid"].int_or(0), std::stoi(read_file(dir / "pid")));
  EXPECT_TRUE(io::process_facts(static_cast<int>(first.facts["pid"].int_or(0))).has_error());
  EXPECT_EQ(run(restart_step("op2")).facts, second.facts) << "a repeated token returns the first outcome";
  EXPECT_EQ(inspect().pid, second.facts["pid"].int_or(0));
}

TEST_F(CommandTest, ARestartCommandIsPreferred) {
  made.settings.process.restart = {dir / "service", "restart"};
  made.settings.process.start = {"/bin/false"};
  make();

  EXPECT_TRUE(run(restart_step("op")).ok());
  EXPECT_TRUE(inspect().running);
}

TEST_F(CommandTest, AFailingStartFailsTheStepWithItsWords) {
  made.settings.process.start = {"/bin/sh", "-c", "echo no port >&2; exit 3"};
  make();

  const Outcome outcome = run(restart_step("op"));

  EXPECT_EQ(outcome.status, Outcome::Status::failed);
  EXPECT_THAT(outcome.error.text(), HasSubstr("exit 3: no port"));
}

TEST_F(CommandTest, AStartWithoutANewProcessIsTimedOut) {
  made.settings.process.start = {"/bin/true"};
  make();

  EXPECT_EQ(run(restart_step("op"), 500ms).status, Outcome::Status::timed_out);
}

TEST_F(CommandTest, WatchFollowsThePidFile) {
  watch();
  ASSERT_TRUE(wait_for(Kind::exited));
  EXPECT_EQ(last(Kind::exited).detail, "not running");

  ASSERT_TRUE(run(restart_step("op1")).ok());
  ASSERT_TRUE(wait_for(Kind::running));
  ::kill(last(Kind::running).pid, SIGKILL);
  ASSERT_TRUE(wait_for(Kind::exited, 2));

  EXPECT_FALSE(last(Kind::exited).code_known);
  EXPECT_FALSE(last(Kind::exited).requested);
  EXPECT_EQ(last(Kind::exited).pid, last(Kind::running).pid);
  ASSERT_TRUE(run(restart_step("op2")).ok());
  ASSERT_TRUE(wait_for(Kind::running, 2));
  ASSERT_TRUE(run(restart_step("op3")).ok());
  ASSERT_TRUE(wait_for(Kind::running, 3));
  EXPECT_TRUE(last(Kind::exited).requested) << "a restart of ours is no evidence";
}

TEST_F(CommandTest, AProcessThatTookItsPidFileAwayWasAskedToStop) {
  watch();
  ASSERT_TRUE(run(restart_step("op1")).ok());
  ASSERT_TRUE(wait_for(Kind::running));
  const std::size_t before = times(Kind::exited);

  ::unlink((dir / "pid").c_str());
  ::kill(last(Kind::running).pid, SIGKILL);
  ASSERT_TRUE(wait_for(Kind::exited, before + 1));

  EXPECT_TRUE(last(Kind::exited).clean()) << last(Kind::exited).detail;
}

TEST_F(CommandTest, AServiceFoundDownCrashedOnlyIfItsPidFileIsStillThere) {
  watch();
  ASSERT_TRUE(wait_for(Kind::exited));
  EXPECT_TRUE(last(Kind::exited).clean()) << "nothing says that it should run";
  stop_watching();

  write_file(dir / "pid", "999999999\n");
  const std::size_t before = times(Kind::exited);
  watch();
  ASSERT_TRUE(wait_for(Kind::exited, before + 1));

  EXPECT_FALSE(last(Kind::exited).clean());
  ::unlink((dir / "pid").c_str());
}

TEST_F(CommandTest, WithoutAPidFileStatusTells) {
  made.settings.process.pid_file.clear();
  make();
  EXPECT_FALSE(inspect().running);
  watch();
  ASSERT_TRUE(wait_for(Kind::exited));

  const Outcome outcome = run(restart_step("op"));

  EXPECT_TRUE(outcome.ok()) << outcome.error.text();
  EXPECT_TRUE(inspect().running);
  EXPECT_EQ(inspect().pid, 0);
  ASSERT_TRUE(wait_for(Kind::running));
}

TEST(MakeManager, SystemdNeedsAUnitAndNoneIsNobody) {
  DriverContext made;
  EXPECT_EQ(make_manager(made).value(), nullptr);
  made.settings.process.manager = config::ManagerType::systemd;
  EXPECT_EQ(make_manager(made).error().code, Errc::invalid_config);
  made.settings.driver = "git";
  EXPECT_EQ(make_driver(made).error().code, Errc::unsupported);
}

TEST_F(CommandTest, ACommandThatHangsIsEndedAtTheDeadlineWithAllThatItStarted) {
  write_file(dir / "hang", "#!/bin/sh\ntrap '' TERM\necho $$ >> " + (dir / "hung") + "\nsleep 1000 &\nwait; wait\n", 0755);
  made.settings.process.restart = {dir / "hang"};
  made.settings.process.status = {dir / "hang"};
  made.settings.process.pid_file.clear();
  made.settings.process.command_timeout = 300ms;
  make();
  const auto began = std::chrono::steady_clock::now();

  EXPECT_EQ(run(restart_step("op"), 200ms).status, Outcome::Status::timed_out);
  const auto looked = run_until_done(context, manager->inspect());

  ASSERT_TRUE(looked && looked->has_error());
  EXPECT_EQ(looked->error().code, Errc::timed_out);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 15s);
  for (const std::string& pid : split(trim(read_file(dir / "hung")), '\n'))
    EXPECT_TRUE(io::process_facts(std::stoi(pid)).has_error()) << pid;
}

}  // namespace
}  // namespace rollbackd::drivers
