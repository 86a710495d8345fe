#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tests/checks/helpers.hpp"

namespace rollbackd::checks {
namespace {

using testing::HasSubstr;

class ProcessCheckTest : public CheckTest {
 protected:
  ProcessCheckTest() {
    settings_.name = "process";
    settings_.type = config::CheckType::process;
  }
  ProcessEvent event_of(ProcessEvent::Kind kind, int pid, Instant started, const std::string& detail = "") {
    ProcessEvent event;
    event.kind = kind;
    event.pid = pid;
    event.started = started;
    event.at = clock_.now();
    event.detail = detail;
    return event;
  }
  ProcessEvent running(int pid, Instant started) { return event_of(ProcessEvent::Kind::running, pid, started); }
  ProcessEvent exited(int pid, Instant started, int code, int signal = 0) {
    ProcessEvent event = event_of(ProcessEvent::Kind::exited, pid, started);
    event.exit_code = code;
    event.signal = signal;
    event.detail = signal != 0 ? "signal " + std::to_string(signal) : "exit " + std::to_string(code);
    return event;
  }
};

TEST_F(ProcessCheckTest, ARunningProcessIsUpWithItsStartTime) {
  make();
  const Instant started = clock_.now() - 5s;

  check_->on_process(running(42, started));

  ASSERT_EQ(batches_.size(), 1U);
  EXPECT_EQ(batches_[0].healthy, true);
  EXPECT_EQ(value(batches_[0], "process_up"), 1);
  EXPECT_EQ(value(batches_[0], "process_start_time_seconds"), started.seconds());
  EXPECT_EQ(value(batches_[0], "process_stops_total"), 0);
}

TEST_F(ProcessCheckTest, AnUnwantedExitIsCountedInTheEpochOfItsProcess) {
  make();
  const Instant started = clock_.now() - 5s;
  check_->on_process(running(42, started));

  check_->on_process(exited(42, started, 3));

  const Batch& batch = batches_.back();
  EXPECT_EQ(batch.began, started + 10ms);  // Start times are rounded down to a tick.
  EXPECT_EQ(batch.healthy, false);
  EXPECT_EQ(value(batch, "process_up"), 0);
  const Sample* exits = find(batch, "process_exits_total", "reason", "exit");
  ASSERT_NE(exits, nullptr);
  EXPECT_EQ(exits->labels.get("code"), "3");
  EXPECT_EQ(exits->value, 1);
  EXPECT_TRUE(exits->counter);
  EXPECT_THAT(batch.detail, HasSubstr("exit 3"));
}

TEST_F(ProcessCheckTest, AStartTimeThatWasRoundedDownBehindTheSwitchStillBelongsToTheNewEpoch) {
  make();
  const Instant switched = clock_.now() - 1s;
  check_->on_process(running(42, switched - 5ms));

  check_->on_process(exited(42, switched - 5ms, 1));

  EXPECT_GE(batches_.back().began, switched);
}

TEST_F(ProcessCheckTest, ExitsAreCountedByReasonOverRestarts) {
  make();
  for (int i = 0; i < 2; ++i) {
    check_->on_process(running(10 + i, clock_.now()));
    check_->on_process(exited(10 + i, clock_.now(), 0, 9));
  }
  ProcessEvent oom = exited(20, clock_.now(), 0, 9);
  oom.oom = true;
  check_->on_process(oom);
  ProcessEvent unknown = exited(21, clock_.now(), 0);
  unknown.code_known = false;
  check_->on_process(unknown);
  check_->on_process(event_of(ProcessEvent::Kind::start_failed, 0, Instant(), "cannot execute /x"));

  const Batch& batch = batches_.back();
  EXPECT_EQ(value(batch, "process_exits_total", "reason", "signal"), 2);
  EXPECT_EQ(value(batch, "process_exits_total", "reason", "oom"), 1);
  EXPECT_EQ(value(batch, "process_exits_total", "reason", "unknown"), 1);
  EXPECT_EQ(value(batch, "process_exits_total", "reason", "start_failed"), 1);
  EXPECT_EQ(batch.detail, "cannot execute /x");
}

TEST_F(ProcessCheckTest, ACleanStopIsNoExit) {
  make();
  check_->on_process(running(42, clock_.now()));
  ProcessEvent asked = exited(42, clock_.now(), 1);
  asked.requested = true;

  check_->on_process(asked);
  check_->on_process(exited(43, clock_.now(), 0));

  EXPECT_EQ(value(batches_.back(), "process_stops_total"), 2);
  EXPECT_EQ(find(batches_.back(), "process_exits_total"), nullptr);
}

TEST_F(ProcessCheckTest, TheEndOfAnOlderProcessDoesNotTakeTheNewOneDown) {
  make();
  const Instant old = clock_.now() - 10s;
  check_->on_process(running(42, old));
  check_->on_process(running(43, clock_.now()));

  check_->on_process(exited(42, old, 1));

  EXPECT_EQ(value(batches_.back(), "process_up"), 1);
  EXPECT_EQ(batches_.back().began, old + 10ms);  // A tick: start times are rounded down.
}

TEST_F(ProcessCheckTest, NothingIsKnownBeforeTheManagerSpeaksAndAfterItIsLost) {
  make();
  EXPECT_NE(run_for(context_, check_->probe_now()).unobserved, "");

  check_->on_process(running(42, clock_.now()));
  EXPECT_EQ(run_for(context_, check_->probe_now()).unobserved, "");

  check_->on_process(event_of(ProcessEvent::Kind::lost, 0, Instant(), "keeper gone"));
  EXPECT_THAT(batches_.back().unobserved, HasSubstr("keeper gone"));
  EXPECT_TRUE(batches_.back().samples.empty());
  EXPECT_FALSE(batches_.back().healthy.has_value());
}

TEST_F(ProcessCheckTest, ASecondOpinionSaysWhatIsKnown) {
  make();
  check_->on_process(running(42, clock_.now()));

  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_EQ(batch.healthy, true);
  EXPECT_EQ(batches_.size(), 2U);
}

/// A process that waits until it is killed. Not waited for before the end of the test, so that its number is not given away.
class Child {
 public:
  Child() : pid_(::fork()) {
    if (pid_ == 0) {
      ::pause();
      ::_exit(0);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    kill();
    ::waitpid(pid_, nullptr, 0);
  }
  void kill() const { ::kill(pid_, SIGKILL); }
  int pid() const { return pid_; }

 private:
  int pid_;
};

class PidFileTest : public ProcessCheckTest {
 protected:
  PidFileTest() { settings_.pid_file = dir_ / "app.pid"; }
  void write(int pid) { std::ofstream(settings_.pid_file) << pid << "\n"; }
  test::TempDir dir_;
};

TEST_F(PidFileTest, FindsTheProcessAndSeesItsEndAtOnce) {
  const Child child;
  write(child.pid());
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(batches_arrive(1));
  EXPECT_EQ(value(batches_[0], "process_up"), 1);

  child.kill();
  ASSERT_TRUE(batches_arrive(2));

  EXPECT_EQ(value(batches_[1], "process_up"), 0);
  EXPECT_EQ(value(batches_[1], "process_exits_total", "reason", "unknown"), 1);
  EXPECT_NEAR(batches_[1].began.seconds(), value(batches_[0], "process_start_time_seconds"), 0.011);  // A tick: it was rounded down.
}

TEST_F(PidFileTest, AProcessThatTookItsPidFileAwayBeforeItEndedWasStopped) {
  const Child child;
  write(child.pid());
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(batches_arrive(1));

  std::filesystem::remove(settings_.pid_file);
  child.kill();
  ASSERT_TRUE(batches_arrive(2));

  EXPECT_EQ(value(batches_[1], "process_up"), 0);
  EXPECT_EQ(value(batches_[1], "process_stops_total"), 1);
  EXPECT_EQ(find(batches_[1], "process_exits_total"), nullptr);
}

TEST_F(PidFileTest, FollowsTheFileToTheNextProcess) {
  const Child first, second;
  write(first.pid());
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(batches_arrive(1));
  first.kill();
  ASSERT_TRUE(batches_arrive(2));

  write(second.pid());
  ASSERT_TRUE(batches_arrive(3));

  EXPECT_EQ(value(batches_[2], "process_up"), 1);
  EXPECT_THAT(batches_[2].detail, HasSubstr(std::to_string(second.pid())));
}

TEST_F(PidFileTest, NoFileMeansDownAndAMissingDirectoryMeansUnknown) {
  make();
  {
    test::Background running(context_, check_->run());
    ASSERT_TRUE(batches_arrive(1));
    EXPECT_EQ(batches_[0].unobserved, "");
    EXPECT_EQ(value(batches_[0], "process_up"), 0);
  }
  batches_.clear();
  settings_.pid_file = dir_ / "nowhere/app.pid";
  make();
  test::Background running(context_, check_->run());

  ASSERT_TRUE(batches_arrive(1));
  EXPECT_NE(batches_[0].unobserved, "");
}

TEST_F(PidFileTest, AFileMuchOlderThanTheProcessItNamesIsNotBelieved) {
  const Child child;
  write(child.pid());
  std::filesystem::last_write_time(settings_.pid_file, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  make();
  test::Background running(context_, check_->run());

  ASSERT_TRUE(batches_arrive(1));

  EXPECT_THAT(batches_[0].unobserved, HasSubstr("older than process"));
}

}  // namespace
}  // namespace rollbackd::checks
