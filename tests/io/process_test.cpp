#include "io/process.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>

#include "tests/drivers/helpers.hpp"

namespace rollbackd::io {
namespace {

using rollbackd::testing::run_until_done;
using rollbackd::testing::TempDir;
using ::testing::HasSubstr;

Result<CommandResult> run(CommandOptions options, Duration timeout = 10s) {
  boost::asio::io_context context;
  auto result = run_until_done(context, run_command(std::move(options), timeout));
  return result ? std::move(*result) : Result<CommandResult>(Error(Errc::internal, "the helper gave nothing"));
}

CommandOptions shell(const std::string& script) { return CommandOptions{.argv = {"sh", "-c", script}}; }

bool is_gone(int pid) { return process_facts(pid).has_error(); }

bool goes_away(int pid) {
  for (int i = 0; i < 400; ++i) {
    if (is_gone(pid)) return true;
    ::usleep(10'000);
  }
  return false;
}

TEST(RunCommand, GivesTheExitCodeAndBothStreams) {
  const auto result = run(shell("echo out; echo err >&2; exit 3"));

  ASSERT_TRUE(result.has_value()) << result.error().text();
  EXPECT_EQ(result.value().exit_code, 3);
  EXPECT_EQ(result.value().signal, 0);
  EXPECT_EQ(result.value().output, "out\nerr\n");
  EXPECT_FALSE(result.value().cut);
}

TEST(RunCommand, TellsASignalFromAnExitCode) {
  const auto result = run(shell("kill -9 $$"));

  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result.value().exit_code, -1);
  EXPECT_EQ(result.value().signal, SIGKILL);
}

TEST(RunCommand, FeedsItsInputAndEndsIt) {
  CommandOptions options = shell("wc -c");
  options.input = std::string(300'000, 'x');

  const auto result = run(options);

  ASSERT_TRUE(result.has_value());
  EXPECT_THAT(result.value().output, HasSubstr("300000"));
}

TEST(RunCommand, AnInputThatNobodyReadsIsNoError) {
  CommandOptions options = shell("exit 0");
  options.input = std::string(300'000, 'x');

  const auto result = run(options);

  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result.value().exit_code, 0);
}

TEST(RunCommand, CutsTheOutputAndStillLetsTheCommandEnd) {
  CommandOptions options = shell("head -c 1000000 /dev/zero; exit 4");
  options.output_bytes_max = 1000;

  const auto result = run(options);

  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result.value().output.size(), 1000U);
  EXPECT_TRUE(result.value().cut);
  EXPECT_EQ(result.value().exit_code, 4);
}

TEST(RunCommand, HasACleanEnvironmentAndWhatIsAdded) {
  ::setenv("ROLLBACKD_TEST_LEAK", "1", 1);
  const TempDir directory;
  CommandOptions options{.argv = {"sh", "-c", "env; pwd"}, .working_directory = directory.path(), .environment = {{"MINE", "a b"}}};

  const auto result = run(options);

  ASSERT_TRUE(result.has_value());
  EXPECT_THAT(result.value().output, HasSubstr("MINE=a b\n"));
  EXPECT_THAT(result.value().output, HasSubstr("LANG=C.UTF-8\n"));
  EXPECT_THAT(result.value().output, HasSubstr(directory.path()));
  EXPECT_THAT(result.value().output, ::testing::Not(HasSubstr("ROLLBACKD_TEST_LEAK")));
}

TEST(RunCommand, HandsOnNoFileOfOurs) {
  const Fd leaky(::open("/dev/null", O_RDONLY));  // no O_CLOEXEC

  const auto result = run(shell("ls /proc/self/fd | wc -l"));

  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result.value().output, "4\n");  // 0, 1, 2 and the one ls reads the directory with
}

TEST(RunCommand, AProgramThatIsNotThereIsNotFound) {
  const auto missing = run(CommandOptions{.argv = {"/no/such/program"}});
  const auto not_in_path = run(CommandOptions{.argv = {"no-such-program-anywhere"}});
  const auto no_right = run(CommandOptions{.argv = {"/etc/passwd"}});
  const auto no_directory = run(CommandOptions{.argv = {"true"}, .working_directory = "/no/such/directory"});

  ASSERT_TRUE(missing.has_error());
  EXPECT_EQ(missing.error().code, Errc::not_found);
  EXPECT_THAT(missing.error().text(), HasSubstr("No such file"));
  EXPECT_EQ(not_in_path.error().code, Errc::not_found);
  EXPECT_EQ(no_right.error().code, Errc::not_found);
  EXPECT_THAT(no_directory.error().text(), HasSubstr("working directory"));
}

TEST(RunCommand, EndsTheWholeGroupAtTheDeadline) {
  const TempDir directory;
  const auto result = run(shell("sleep 100 & echo $! > " + directory / "pid" + "; wait"), 1s);

  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, Errc::timed_out);
  EXPECT_TRUE(goes_away(std::stoi(rollbackd::testing::read_file(directory / "pid"))));
}

TEST(RunCommand, KillsWhatIgnoresTerm) {
  const auto began = std::chrono::steady_clock::now();
  const auto result = run(shell("trap '' TERM; echo deaf; while :; do sleep 0.05; done"), 1s);

  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, Errc::timed_out);
  EXPECT_THAT(result.error().why, HasSubstr("deaf"));
  EXPECT_LT(std::chrono::steady_clock::now() - began, 30s);
}

TEST(RunCommand, DoesNotWaitForAGrandchildThatKeepsThePipeOpen) {
  const TempDir directory;
  const auto began = std::chrono::steady_clock::now();
  const auto result = run(shell("echo first; setsid sleep 100 & echo $! > " + directory / "pid"));

  EXPECT_LT(std::chrono::steady_clock::now() - began, 60s);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result.value().output, "first\n");
  ::kill(std::stoi(rollbackd::testing::read_file(directory / "pid")), SIGKILL);
}

TEST(RunCommand, EndsTheCommandWhenItIsCancelled) {
  using namespace boost::asio::experimental::awaitable_operators;
  const TempDir directory;
  boost::asio::io_context context;
  const auto race = [](CommandOptions options) -> boost::asio::awaitable<int> {
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, 300ms);
    auto winner = co_await (timer.async_wait(boost::asio::use_awaitable) || run_command(std::move(options), 60s));
    co_return static_cast<int>(winner.index());
  };

  const auto winner = run_until_done(context, race(shell("echo $$ > " + directory / "pid" + "; exec sleep 100")));

  EXPECT_EQ(winner, 0);
  EXPECT_TRUE(goes_away(std::stoi(rollbackd::testing::read_file(directory / "pid"))));
  context.run();  // the reaper is all that is left
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child was left unreaped";
}

TEST(RunCommand, EndsTheCommandWhenItsReactorGoes) {
  const TempDir directory;
  {
    boost::asio::io_context context;
    boost::asio::co_spawn(context, run_command(shell("echo $$ > " + directory / "pid" + "; exec sleep 100"), 60s), boost::asio::detached);
    rollbackd::testing::run_until(context, [&] {
      boost::asio::post(context, [] {});
      return rollbackd::testing::read_file(directory / "pid").ends_with("\n");
    });
  }
  EXPECT_TRUE(goes_away(std::stoi(rollbackd::testing::read_file(directory / "pid"))));
}

TEST(ProcessFacts, KnowsWhenThisProcessBegan) {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);

  const auto facts = process_facts(::getpid());

  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts.value().pid, ::getpid());
  EXPECT_THAT(facts.value().executable, HasSubstr("io_test"));
  const std::int64_t age_ns = now.tv_sec * 1'000'000'000LL + now.tv_nsec - facts.value().started_boot_ns;
  EXPECT_GE(age_ns, 0);
  EXPECT_LT(age_ns, 600'000'000'000LL);
  EXPECT_EQ(facts.value().started_boot_ns % 10'000'000, 0);
}

TEST(ProcessFacts, ReadsANameWithSpacesAndParentheses) {
  const auto facts = parse_process_stat(
      "42 (a) S (b 7) R 1 42 42 0 -1 4194304 100 0 0 0 5 6 0 0 20 0 1 0 12345 8192 10 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 "
      "0 0 0 0\n");

  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts.value().pid, 42);
  EXPECT_EQ(facts.value().state, 'R');
  EXPECT_EQ(facts.value().started_boot_ns, 12345LL * (1'000'000'000 / ::sysconf(_SC_CLK_TCK)));
}

TEST(ProcessFacts, RefusesWhatIsNoStatFile) {
  for (const char* text : {"", "42", "42 (x", "42 (x) R", "x (x) R 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1", ")("})
    EXPECT_EQ(parse_process_stat(text).error().code, Errc::corrupt) << text;
}

TEST(ProcessFacts, AZombieIsNoProcess) {
  const int pid = ::fork();
  if (pid == 0) ::_exit(0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);

  const auto facts = process_facts(pid);

  EXPECT_EQ(facts.error().code, Errc::not_found);
  ::waitpid(pid, nullptr, 0);
  EXPECT_EQ(process_facts(0).error().code, Errc::not_found);
}

TEST(PidFd, WakesWhenTheProcessEnds) {
  boost::asio::io_context context;
  const int pid = ::fork();
  if (pid == 0) {
    ::pause();
    ::_exit(0);
  }
  auto fd = PidFd::open(context.get_executor(), pid);
  ASSERT_TRUE(fd.has_value()) << fd.error().text();
  ASSERT_TRUE(fd.value().send_signal(SIGKILL).has_value());

  const auto ended = run_until_done(context, fd.value().wait());

  ASSERT_TRUE(ended && ended->has_value());
  ::waitpid(pid, nullptr, 0);
  EXPECT_EQ(fd.value().send_signal(SIGKILL).error().code, Errc::not_found);
  EXPECT_EQ(PidFd::open(context.get_executor(), pid).error().code, Errc::not_found);
}

TEST(PidFd, StopsWaitingWhenItIsDestroyed) {
  boost::asio::io_context context;
  auto fd = std::make_unique<PidFd>(std::move(PidFd::open(context.get_executor(), ::getpid()).value()));
  std::optional<Result<>> ended;
  boost::asio::co_spawn(context, fd->wait(), [&](const std::exception_ptr&, Result<> r) { ended = std::move(r); });
  context.poll();
  fd.reset();

  rollbackd::testing::run_until(context, [&] { return ended.has_value(); });

  EXPECT_EQ(ended->error().code, Errc::cancelled);
}

}  // namespace
}  // namespace rollbackd::io
