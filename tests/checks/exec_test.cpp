#include <gmock/gmock.h>
#include <signal.h>

#include <boost/asio/detached.hpp>
#include <fstream>

#include "checks/command_slot.hpp"
#include "series/store.hpp"
#include "tests/checks/helpers.hpp"

namespace rollbackd::checks {
namespace {

using testing::Contains;
using testing::HasSubstr;

class ExecCheckTest : public CheckTest {
 protected:
  ExecCheckTest() {
    settings_.name = "plugin";
    settings_.type = config::CheckType::exec;
    settings_.interval = 20ms;
    settings_.timeout = 5s;
  }
  void plugin(const std::string& script) { settings_.command = {"/bin/sh", "-c", script}; }
  Batch probed(const std::string& script) {
    plugin(script);
    make();
    return run_for(context_, check_->probe_now());
  }
  /// Runs the context until something outside of it holds, which no event of its own tells of.
  template <class Done>
  bool soon(Done done) {
    const auto deadline = std::chrono::steady_clock::now() + test::kPatience;
    while (!done()) {
      if (std::chrono::steady_clock::now() >= deadline) return false;
      context_.restart();
      context_.run_for(std::chrono::milliseconds(2));
    }
    return true;
  }
  test::TempDir directory_;
};

TEST_F(ExecCheckTest, OkIsASuccessWithItsPerformanceData) {
  const Batch batch = probed("echo \"DISK OK - 3 free| /=2643MB;5948;5958;0;5968 'a b'=7c\"");

  EXPECT_EQ(batch.healthy, true);
  EXPECT_EQ(batch.unobserved, "");
  EXPECT_EQ(batch.detail, "DISK OK - 3 free");
  EXPECT_EQ(value(batch, "probe_success"), 1);
  EXPECT_EQ(value(batch, "probe_timed_out"), 0);
  EXPECT_EQ(value(batch, "plugin_status"), 0);
  EXPECT_EQ(value(batch, "plugin_perfdata", "label", "/"), 2643e6);
  EXPECT_EQ(find(batch, "plugin_perfdata", "label", "/")->labels.get("unit"), "B");
  EXPECT_EQ(value(batch, "plugin_perfdata_warning", "label", "/"), 5948e6);
  EXPECT_EQ(value(batch, "plugin_perfdata_critical", "label", "/"), 5958e6);
  EXPECT_EQ(value(batch, "plugin_perfdata_min", "label", "/"), 0);
  EXPECT_EQ(value(batch, "plugin_perfdata_max", "label", "/"), 5968e6);
  EXPECT_EQ(value(batch, "plugin_perfdata", "unit", "c"), 7);
}

TEST_F(ExecCheckTest, AWarningIsHealthyAndVisible) {
  const Batch batch = probed("echo 'LOAD WARNING'; exit 1");

  EXPECT_EQ(batch.healthy, true);
  EXPECT_EQ(value(batch, "plugin_status"), 1);
  EXPECT_EQ(value(batch, "probe_success"), 1);
  EXPECT_EQ(batch.detail, "LOAD WARNING");
}

TEST_F(ExecCheckTest, CriticalIsAFailure) {
  const Batch batch = probed("echo 'LOAD CRITICAL|load1=9'; exit 2");

  EXPECT_EQ(batch.healthy, false);
  EXPECT_EQ(value(batch, "plugin_status"), 2);
  EXPECT_EQ(value(batch, "probe_success"), 0);
  EXPECT_EQ(value(batch, "probe_consecutive_failures"), 1);
  EXPECT_EQ(value(batch, "plugin_perfdata", "label", "load1"), 9);
}

TEST_F(ExecCheckTest, WhatDoesNotKnowSaysNothingOfTheService) {
  const auto unobserved = [&](const std::string& script) {
    const Batch batch = probed(script);
    EXPECT_FALSE(batch.healthy.has_value()) << script;
    EXPECT_TRUE(batch.samples.empty()) << script;
    return batch.unobserved;
  };

  EXPECT_EQ(unobserved("echo 'no idea|a=1'; exit 3"), "the plugin does not know (UNKNOWN): no idea");
  EXPECT_THAT(unobserved("exit 127"), HasSubstr("status 127"));
  EXPECT_THAT(unobserved("kill -SEGV $$"), HasSubstr("killed by signal 11"));
  settings_.timeout = 30ms;
  EXPECT_THAT(unobserved("sleep 20"), HasSubstr("did not end within 30ms"));
  settings_.command = {"/no/such/plugin"};
  make();
  EXPECT_THAT(run_for(context_, check_->probe_now()).unobserved, HasSubstr("cannot execute /no/such/plugin"));
}

TEST_F(ExecCheckTest, AtItsDeadlineItsWholeGroupIsKilled) {
  settings_.timeout = 1s;

  const Batch batch = probed("sleep 30 & echo $! > " + (directory_ / "pid") + "; sleep 30");

  EXPECT_NE(batch.unobserved, "");
  std::ifstream file(directory_ / "pid");
  int pid = 0;
  ASSERT_TRUE(file >> pid);
  EXPECT_TRUE(soon([&] {  // Reaped by whoever is its parent now, or a zombie.
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string number, name, state;
    return !(stat >> number >> name >> state) || state == "Z";
  }));
}

TEST_F(ExecCheckTest, ItsOutputIsCutAtItsBound) {
  settings_.output_bytes_max = 300;

  const Batch batch = probed("printf 'OK|a=1 '; head -c 100000 /dev/zero | tr '\\0' x");

  EXPECT_EQ(batch.healthy, true);
  EXPECT_EQ(value(batch, "plugin_perfdata", "label", "a"), 1);
}

TEST_F(ExecCheckTest, ItsEnvironmentIsGivenToIt) {
  settings_.environment = {{"GREETING", "hello"}};

  EXPECT_EQ(probed("echo $GREETING").detail, "hello");
}

TEST_F(ExecCheckTest, AValueThatIsPrintedNoMoreEnds) {
  const std::string file = directory_ / "output";
  append(file, "OK|a=1 b=2");
  probed("cat " + file);
  std::ofstream(file, std::ios::trunc) << "OK|b=3";

  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_EQ(value(batch, "plugin_perfdata", "label", "b"), 3);
  ASSERT_NE(find(batch, "plugin_perfdata", "label", "a"), nullptr);
  EXPECT_TRUE(series::is_stale_nan(value(batch, "plugin_perfdata", "label", "a")));
  EXPECT_EQ(find(run_for(context_, check_->probe_now()), "plugin_perfdata", "label", "a"), nullptr);
}

TEST_F(ExecCheckTest, ASecondOpinionTakesTheAnswerOfARunThatIsUnderWay) {
  const std::string log = directory_ / "log", gate = directory_ / "gate";
  plugin("echo began >> " + log + "; until test -e " + gate + "; do sleep 0.01; done; echo done");
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(soon([&] { return std::ifstream(log).good(); }));

  std::optional<Batch> second;
  asio::co_spawn(
      context_,
      [&]() -> asio::awaitable<void> {
        Batch batch = co_await check_->probe_now();
        second = std::move(batch);
      },
      asio::detached);
  context_.restart();
  context_.poll();
  append(gate, "");
  ASSERT_TRUE(run_until(context_, [&] { return second.has_value() && !batches_.empty(); }));

  EXPECT_EQ(second->detail, "done");
  EXPECT_EQ(second->began, batches_[0].began);
}

TEST_F(ExecCheckTest, NeverTwoRunsAtOnce) {
  const std::string lock = directory_ / "lock", trouble = directory_ / "trouble";
  plugin("mkdir " + lock + " || echo x > " + trouble + "; sleep 0.03; rmdir " + lock);
  make();
  test::Background running(context_, check_->run());

  for (int i = 0; i < 5; ++i) run_for(context_, check_->probe_now());

  EXPECT_FALSE(std::ifstream(trouble).good());
  EXPECT_TRUE(run_until(context_, [&] { return check_->counters().late > 0; })) << "slots pass while it runs";
}

TEST_F(ExecCheckTest, OnlySoManyPluginsRunAtATime) {
  const std::string log = directory_ / "log", gate = directory_ / "gate";
  plugin("echo x >> " + log + "; until test -e " + gate + "; do sleep 0.01; done");
  std::vector<std::unique_ptr<Check>> checks;
  int answers = 0;
  const auto ask = [&](Check* check) -> asio::awaitable<void> {
    co_await check->probe_now();
    ++answers;
  };
  for (int i = 0; i < kCommandsMax + 2; ++i) {
    auto made = make_check(context_of());
    ASSERT_TRUE(made.has_value());
    checks.push_back(std::move(*made));
    asio::co_spawn(context_, ask(checks.back().get()), asio::detached);
  }
  const auto began = [&] {
    std::ifstream file(log);
    return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
  };
  ASSERT_TRUE(soon([&] { return began() == kCommandsMax; }));

  run_until(
      context_, [] { return false; }, 50ms);
  EXPECT_EQ(began(), kCommandsMax);
  append(gate, "");
  ASSERT_TRUE(run_until(context_, [&] { return answers == kCommandsMax + 2; }));

  EXPECT_EQ(began(), kCommandsMax + 2);
}

TEST_F(ExecCheckTest, WithoutATurnInTimeItCouldNotLook) {
  std::vector<CommandSlot> taken;
  const auto take = [&]() -> asio::awaitable<bool> {
    std::optional<CommandSlot> slot = co_await CommandSlot::take(context_.get_executor(), 1s);
    if (slot) taken.push_back(std::move(*slot));
    co_return true;
  };
  for (int i = 0; i < kCommandsMax; ++i) run_for(context_, take());
  settings_.timeout = 20ms;

  EXPECT_THAT(probed("exit 0").unobserved, HasSubstr("run 8 commands already"));
  taken.pop_back();
  settings_.timeout = 5s;
  EXPECT_EQ(probed("exit 0").healthy, true);
}

TEST_F(ExecCheckTest, EveryDeliveredSeriesIsOneThatTheSourceNames) {
  const Batch batch = probed("echo 'OK|a=1;2;3;4;5'");

  for (const Sample& sample : batch.samples) EXPECT_THAT(check_->source().metrics, Contains(std::string(sample.labels.name())));
  EXPECT_EQ(batch.samples.size(), 11U);
}

TEST_F(ExecCheckTest, ACancelledRunIsNoBatchAndLeavesNoProcess) {
  plugin("echo $$ > " + (directory_ / "pid") + "; exec sleep 30");
  make();
  {
    test::Background running(context_, check_->run());
    ASSERT_TRUE(soon([&] { return std::ifstream(directory_ / "pid").good(); }));
    ASSERT_TRUE(running.stop());
  }

  EXPECT_TRUE(batches_.empty());
  std::ifstream file(directory_ / "pid");
  int pid = 0;
  ASSERT_TRUE(soon([&] { return (file.clear(), file.seekg(0), static_cast<bool>(file >> pid)); }));
  EXPECT_TRUE(soon([&] { return ::kill(pid, 0) != 0; }));
}

}  // namespace
}  // namespace rollbackd::checks
