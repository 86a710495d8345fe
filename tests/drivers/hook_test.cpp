// Hooks against real programs: whatever they do, their time, their output and what they leave behind is bounded, and none is called twice.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/text.hpp"
#include "drivers/driver.hpp"
#include "drivers/hook_guard.hpp"
#include "drivers/hook_memory.hpp"
#include "drivers/trusted_program.hpp"
#include "io/process.hpp"
#include "tests/drivers/helpers.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;
using rollbackd::testing::read_file;
using rollbackd::testing::run_until_done;
using rollbackd::testing::TempDir;
using rollbackd::testing::write_file;
using ::testing::HasSubstr;
using Steady = std::chrono::steady_clock;
using Status = Outcome::Status;

/// This test binary is also the guard: `rollbackd --hook-guard`.
class GuardProgram : public ::testing::Environment {
 public:
  void SetUp() override {
    const auto arguments = split(read_file("/proc/self/cmdline"), '\0');
    if (arguments.size() >= 2 && arguments[1] == "--hook-guard") ::_exit(run_hook_guard());
  }
};
const auto* const kProgram = ::testing::AddGlobalTestEnvironment(new GuardProgram);

class HookTest : public ::testing::Test {
 protected:
  HookTest() {
    made.executor = context.get_executor();
    made.steps = &worker;
    made.service = {"shop", "prod"};
    made.service_directory = dir.path();
    made.program = fs::read_symlink("/proc/self/exe").string();
  }
  /// A hook that is this shell script.
  config::HookSettings& hook(const std::string& script, config::HookPoint at = config::HookPoint::after_switch) {
    const std::string name = "hook" + std::to_string(made.hooks.size() + 1);
    write_file(dir / name, "#!/bin/sh\n" + script, 0755);
    config::HookSettings settings;
    settings.name = name;
    settings.at = at;
    settings.command = {dir / name};
    made.hooks.push_back(settings);
    return made.hooks.back();
  }
  Outcome call(const std::string& operation = "op", int number = 1, Duration deadline = 30s, Json facts = Json::object()) {
    const auto runner = make_hook_runner(made);
    Step step = runner->plan(made.hooks.back().at).back();
    step.operation = operation;
    step.number = number;
    const auto began = Steady::now();
    auto outcome = run_until_done<Outcome>(context, runner->run(step, std::move(facts), deadline), 60s);
    took = Steady::now() - began;
    return outcome.value_or(Outcome{});
  }
  static bool alive(const std::string& pid) { return io::process_facts(std::stoi(pid)).has_value(); }

  TempDir dir;
  boost::asio::io_context context;
  io::Worker worker{1};
  DriverContext made;
  Duration took{};
};

TEST_F(HookTest, IsToldTheFactsAndInheritsNothingElse) {
  ::setenv("ROLLBACKD_TEST_SECRET", "leaks", 1);  // NOLINT(concurrency-mt-unsafe)
  const io::Fd leaking(::open("/dev/zero", O_RDONLY));
  auto& settings =
      hook("cat; env; pwd; umask; ls -l /proc/self/fd/; grep -E 'Sig(Blk|Ign)' /proc/self/status; ps -o sid= -p $$; echo $$; echo err >&2");
  settings.environment = {{"MINE", "1"}, {"ROLLBACKD_TO", "forged"}};
  settings.command.push_back("an argument; rm -rf");
  ::signal(SIGUSR1, SIG_IGN);  // NOLINT(cert-err33-c)

  const Outcome outcome = call("0190-op", 3, 30s, Json::object().set("to", "r1").set("count", 2));

  ::signal(SIGUSR1, SIG_DFL);  // NOLINT(cert-err33-c)
  EXPECT_EQ(outcome.status, Status::done) << outcome.error.text();
  const std::string said = outcome.facts["output"].string_or("");
  for (const char* line :
       {"ROLLBACKD_TO=r1\n", "ROLLBACKD_COUNT=2\n", "ROLLBACKD_OPERATION=0190-op\n", "ROLLBACKD_AT=after_switch\n", "ROLLBACKD_ATTEMPT=1\n",
        "MINE=1\n", "PATH=/usr/local/sbin:", "\n/\n0022\n", "SigBlk:\\x090000000000000000\n", "SigIgn:\\x090000000000000000\n", "err"})
    EXPECT_THAT(said, HasSubstr(line)) << said;
  for (const char* none : {"leaks", "HOME=", "/dev/zero", "forged", "memfd", "socket"})
    EXPECT_THAT(said, ::testing::Not(HasSubstr(none))) << said;
  EXPECT_EQ(outcome.facts["exit_code"].int_or(-1), 0);
}

TEST_F(HookTest, AFailureSaysHow) {
  hook("echo no drain today; exit 3");
  Outcome outcome = call();
  EXPECT_EQ(outcome.status, Status::failed);
  EXPECT_EQ(outcome.facts["exit_code"].int_or(-1), 3);
  EXPECT_THAT(outcome.error.text(), HasSubstr("exit 3; it said: no drain today"));

  hook("kill -SEGV $$");
  outcome = call();
  EXPECT_EQ(outcome.status, Status::failed) << "another step number is another call";
  outcome = call("op", 2);
  EXPECT_EQ(outcome.facts["signal"].int_or(0), SIGSEGV);
  EXPECT_TRUE(outcome.facts["exit_code"].is_null());

  hook("exit 0").command = {dir / "missing"};
  outcome = call("op", 3);
  EXPECT_EQ(outcome.status, Status::refused);
  EXPECT_THAT(outcome.error.text(), HasSubstr("there is no "));
  write_file(dir / "garbage",
             "\x7f"
             "ELFgarbage",
             0755);
  made.hooks.back().command = {dir / "garbage"};
  outcome = call("op", 4);
  EXPECT_EQ(outcome.status, Status::refused) << outcome.error.text();
  made.hooks.back().command = {"bin/true"};
  outcome = call("op", 5);
  EXPECT_EQ(outcome.status, Status::refused) << outcome.error.text();
  EXPECT_THAT(outcome.error.text(), HasSubstr("not absolute"));
}

TEST_F(HookTest, OneThatDoesNothingIsDone) {
  hook("exit 0").command = {"/bin/true"};
  const Outcome outcome = call();
  EXPECT_EQ(outcome.status, Status::done) << outcome.error.text();
  EXPECT_EQ(outcome.facts["output_bytes"].int_or(-1), 0);
  EXPECT_TRUE(outcome.facts["remembered"].bool_or(false));
}

TEST_F(HookTest, OneThatHangsGetsTermAndThenKill) {
  hook("trap 'echo asked' TERM; echo $$; while :; do sleep 0.1; done").timeout = 1s;

  const Outcome outcome = call();

  EXPECT_EQ(outcome.status, Status::timed_out);
  EXPECT_EQ(outcome.error.code, Errc::timed_out);
  const auto lines = split(outcome.facts["output"].string_or(""), '\n');
  ASSERT_GE(lines.size(), 2U);
  EXPECT_THAT(outcome.facts["output"].string_or(""), HasSubstr("asked"));
  EXPECT_FALSE(alive(lines[0]));
  EXPECT_EQ(outcome.facts["signal"].int_or(0), SIGKILL);
  EXPECT_GE(took, 2300ms);

  hook("exec sleep 1000").timeout = 1h;
  EXPECT_EQ(call("op", 2, 1s).status, Status::timed_out) << "the step's deadline counts too";
}

TEST_F(HookTest, WhatForksAwayIsFoundAndKilledAndNobodyWaitsForIt) {
  // A double fork with a session of its own, one that ignores TERM, and one that keeps the output open.
  hook("setsid sh -c '(trap \"\" TERM HUP; echo $$ > " + (dir / "one") +
       "; exec sleep 1000) & exec sleep 1001' &\n"
       "(setsid sleep 1002 & echo $! > " +
       (dir / "two") +
       ")\n"
       "while [ ! -s " +
       (dir / "one") + " ]; do sleep 0.01; done\n");

  const Outcome outcome = call();

  EXPECT_EQ(outcome.status, Status::done) << outcome.error.text();
  EXPECT_TRUE(outcome.facts["strays_killed"].bool_or(false));
  EXPECT_FALSE(outcome.facts.has("left_running"));
  EXPECT_FALSE(alive(read_file(dir / "one")));
  EXPECT_FALSE(alive(read_file(dir / "two")));
  EXPECT_LT(took, 60s);
}

TEST_F(HookTest, GigabytesOfOutputAreReadAndDropped) {
  auto& settings = hook("exit 0");
  settings.command = {"/bin/sh", "-c", "exec head -c 5368709120 /dev/zero"};
  settings.output_bytes_max = 100;
  settings.timeout = 25s;

  const Outcome outcome = call("op", 1, 60s);

  // A busy machine may need longer than the hook has; bounded it is either way.
  EXPECT_TRUE(outcome.status == Status::done || outcome.status == Status::timed_out) << outcome.error.text();
  if (outcome.status == Status::done) {
    EXPECT_EQ(outcome.facts["output_bytes"].int_or(0), 5368709120);
  }
  EXPECT_LE(outcome.facts["output"].string_or("").size(), 103U) << "as it is told, not as it came";
  EXPECT_LT(took, 60s);

  hook("exec yes").timeout = 200ms;
  EXPECT_EQ(call("op", 2).status, Status::timed_out) << "output without end does not hide the clock";
}

TEST_F(HookTest, ARepeatedStepReturnsTheFirstOutcome) {
  hook("echo called >> " + (dir / "calls") + "; exit 3");

  const Outcome first = call();
  const Outcome second = call();

  EXPECT_EQ(second.to_json(), first.to_json());
  EXPECT_EQ(read_file(dir / "calls"), "called\n");
  for (int number = 2; number < 80; ++number) {  // More than there are places: the oldest go.
    auto memory = HookMemory::open(dir / "hooks.memory", false);
    const auto known = memory->look("other", number);
    ASSERT_EQ(known->state, HookMemory::Known::State::never);
    ASSERT_TRUE(memory->begin(known->place, known->sequence, "other", number, 1).has_value());
  }
  EXPECT_EQ(HookMemory::open(dir / "hooks.memory", false)->look("other", 79)->state, HookMemory::Known::State::lost);
  EXPECT_EQ(HookMemory::open(dir / "hooks.memory", false)->look("op", 1)->state, HookMemory::Known::State::never);
}

TEST_F(HookTest, OneWhoseEndNobodyKnowsIsCalledAgainOnlyBeforeTheSwitch) {
  hook("echo $ROLLBACKD_ATTEMPT >> " + (dir / "calls"));
  {
    auto memory = HookMemory::open(dir / "hooks.memory", true);
    ASSERT_TRUE(memory->begin(0, 1, "op", 1, 1).has_value());
  }

  Outcome outcome = call();
  EXPECT_EQ(outcome.status, Status::unknown);
  EXPECT_EQ(outcome.error.code, Errc::outcome_unknown);
  EXPECT_FALSE(fs::exists(dir / "calls"));

  made.hooks.back().at = config::HookPoint::before_switch;
  outcome = call();
  EXPECT_EQ(outcome.status, Status::done) << outcome.error.text();
  EXPECT_EQ(read_file(dir / "calls"), "2\n");
  EXPECT_EQ(outcome.facts["attempt"].int_or(0), 2);
}

TEST_F(HookTest, OneThatAnEndedRollbackdBeganIsWaitedForAndAnswered) {
  hook("echo called >> " + (dir / "calls") + "; while [ ! -e " + (dir / "go") + " ]; do sleep 0.01; done; exit 4");
  {
    boost::asio::io_context ended;  // The first daemon: gone while the hook runs.
    DriverContext first = made;
    first.executor = ended.get_executor();
    const auto runner = make_hook_runner(first);
    Step step = runner->plan(config::HookPoint::after_switch).back();
    step.operation = "op";
    step.number = 1;
    boost::asio::co_spawn(ended, runner->run(step, Json::object(), 30s), [](const std::exception_ptr&, const Outcome&) {});
    ASSERT_TRUE(rollbackd::testing::run_until(ended, [&] {
      usleep(1000);
      boost::asio::post(ended, [] {});
      return fs::exists(dir / "calls");
    }));
  }
  write_file(dir / "go", "");

  const Outcome outcome = call();

  EXPECT_EQ(outcome.status, Status::failed) << outcome.error.text();
  EXPECT_EQ(outcome.facts["exit_code"].int_or(0), 4);
  EXPECT_EQ(read_file(dir / "calls"), "called\n");
}

TEST_F(HookTest, WithoutAPlaceForItsMemoryItRunsAllTheSame) {
  hook("echo called >> " + (dir / "calls"));
  made.service_directory = dir / "nowhere";
  const Outcome outcome = call();
  EXPECT_EQ(outcome.status, Status::done) << outcome.error.text();
  EXPECT_FALSE(outcome.facts["remembered"].bool_or(true));
  EXPECT_EQ(read_file(dir / "calls"), "called\n");
}

TEST_F(HookTest, AGuardThatIsKilledTakesTheHookWithIt) {
  hook("echo $$ > " + (dir / "pid") + "; exec sleep 1000");
  const auto runner = make_hook_runner(made);
  Step step = runner->plan(config::HookPoint::after_switch).back();
  step.operation = "op";
  step.number = 1;
  std::optional<Outcome> outcome;
  boost::asio::co_spawn(context, runner->run(step, Json::object(), 30s),
                        [&](const std::exception_ptr&, Outcome ended) { outcome = std::move(ended); });
  const auto poll = [this] {
    usleep(1000);
    boost::asio::post(context, [] {});
  };
  ASSERT_TRUE(rollbackd::testing::run_until(context, [&] {
    poll();
    return !read_file(dir / "pid").empty();
  }));
  const std::string pid = trim(read_file(dir / "pid")).data();
  const auto stat = split(read_file("/proc/" + std::to_string(std::stoi(pid)) + "/stat"), ' ');
  ::kill(std::stoi(stat[3]), SIGKILL);

  ASSERT_TRUE(rollbackd::testing::run_until(context, [&] {
    poll();
    return outcome.has_value();
  }));

  EXPECT_EQ(outcome->status, Status::unknown);
  EXPECT_TRUE(rollbackd::testing::run_until(context, [&] {
    poll();
    return !alive(pid);
  }));
  EXPECT_EQ(call().status, Status::unknown) << "nobody knows how far it came";
  hook("exit 0");
  EXPECT_EQ(call("op", 2).status, Status::done) << "and it takes away the control group that was left";
}

TEST_F(HookTest, AProgramThatOthersCouldHavePutThereIsRefused) {
  fs::create_directory(dir / "bin");
  const std::string program = dir / "bin/program";
  write_file(program, "#!/bin/sh\necho good\n", 0755);
  EXPECT_TRUE(open_trusted_program(program).has_value()) << open_trusted_program(program).error().text();
  const auto why_not = [&](const std::string& path) {
    const auto opened = open_trusted_program(path);
    return opened.has_value() ? std::string("trusted") : opened.error().text();
  };

  fs::create_symlink("../bin/program", dir / "bin/link");
  fs::create_symlink(dir / "bin/link", dir / "bin/second");
  EXPECT_EQ(why_not(dir / "bin/second"), "trusted");
  fs::create_symlink("loop", dir / "bin/loop");
  EXPECT_THAT(why_not(dir / "bin/loop"), HasSubstr("symbolic links"));
  ::chmod(program.c_str(), 0775);
  EXPECT_THAT(why_not(program), HasSubstr("writable by group"));
  EXPECT_THAT(why_not(dir / "bin/second"), HasSubstr("writable by group"));
  ::chmod(program.c_str(), 0757);
  EXPECT_THAT(why_not(program), HasSubstr("writable by group or others"));
  ::chmod(program.c_str(), 0644);
  EXPECT_THAT(why_not(program), HasSubstr("not executable"));
  ::chmod(program.c_str(), 0755);
  for (const unsigned mode : {0775U, 0777U}) {
    ::chmod((dir / "bin").c_str(), mode);
    EXPECT_THAT(why_not(program), HasSubstr("directory")) << "whoever may write to it may swap the program";
  }
  ::chmod((dir / "bin").c_str(), 01777);
  EXPECT_THAT(why_not(program), HasSubstr("stands in a directory that others may write to")) << "a hard link would do";
  ::chmod((dir / "bin").c_str(), 0755);
  EXPECT_THAT(why_not(dir / "bin"), HasSubstr("it is a directory"));
  EXPECT_THAT(why_not(program + "/x"), HasSubstr("there is no"));
  ASSERT_EQ(::mkfifo((dir / "bin/pipe").c_str(), 0755), 0);
  EXPECT_THAT(why_not(dir / "bin/pipe"), HasSubstr("no regular file"));
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(program.c_str(), 12345, 0), 0);
    EXPECT_THAT(why_not(program), HasSubstr("belongs to uid 12345"));
    ASSERT_EQ(::chown(program.c_str(), 0, 0), 0);
    ASSERT_EQ(::chown((dir / "bin").c_str(), 12345, 0), 0);
    EXPECT_THAT(why_not(program), HasSubstr("belongs to uid 12345"));
    ASSERT_EQ(::chown((dir / "bin").c_str(), 0, 0), 0);
    ASSERT_EQ(::lchown((dir / "bin/link").c_str(), 12345, 0), 0);
    EXPECT_THAT(why_not(dir / "bin/second"), HasSubstr("belongs to uid 12345"));
    EXPECT_EQ(why_not(program), "trusted");

    hook("exit 0").command = {program};
    ASSERT_EQ(::chown(program.c_str(), 12345, 0), 0);
    EXPECT_EQ(call().status, Status::refused);
    ASSERT_EQ(::chown(program.c_str(), 0, 0), 0);
    EXPECT_EQ(call().status, Status::done) << "a refusal is no outcome to keep: nothing was done";
  }
}

TEST_F(HookTest, AProgramThatIsSwappedAfterTheLookIsNotWhatRuns) {
  fs::copy_file("/bin/true", dir / "program");
  const auto opened = open_trusted_program(dir / "program");
  ASSERT_TRUE(opened.has_value()) << opened.error().text();
  fs::copy_file("/bin/false", dir / "evil");
  fs::rename(dir / "evil", dir / "program");

  const int child = ::fork();
  if (child == 0) {
    char name[] = "program";
    char* argv[] = {name, nullptr};
    char* envp[] = {nullptr};
    ::execveat(opened->file.get(), "", argv, envp, AT_EMPTY_PATH);
    ::_exit(127);
  }
  int status = -1;
  ::waitpid(child, &status, 0);

  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace rollbackd::drivers
