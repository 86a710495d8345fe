// Runs a command under a deployment lock. Blocking and single-threaded: signals are taken with sigtimedwait(2), so that none is lost
// between a look and a wait. When this process is killed the lock runs out by itself.
#include "cli/deploy_lock.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "base/text.hpp"

namespace rollbackd::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr Duration kRetry = 5s;  ///< after a renewal that did not come through
constexpr int kCannotRun = 126, kNotFound = 127, kSignalled = 128;

/// One lock as the client holds it.
class Lock {
 public:
  Lock(const LockedCommand& asked, const InsightCommands& commands) : asked_(asked), commands_(commands) {}

  /// @return 0, or the exit code
  int take(Client& client) {
    auto answer = client.post("/api/v1/lock", body());
    if (!answer) return commands_.fail(answer.error());
    id_ = answer->body["lock"].string_or("");
    const int code = static_cast<int>(answer->body["exit_code"].int_or(1));
    if (code != 0 || id_.empty()) {
      const Json& error = answer->body["error"];
      const std::string why = answer->body["message"].string_or(error["what"].string_or("the daemon did not say why"));
      std::fprintf(stderr, "rollbackctl: no lock, so nothing is run: %s\n", printable(why).c_str());
      return code != 0 ? code : 1;
    }
    taken();
    return 0;
  }

  Clock::time_point renew_at() const { return renew_at_; }

  /// Warns and goes on where it cannot: the command is half done, and ending it would leave less in order.
  void renew() {
    auto client = commands_.connect();
    auto answer = client ? client->post("/api/v1/lock", body().set("lock", id_)) : Result<Answer>(client.error());
    if (answer && answer->body["exit_code"].int_or(1) == 0) return taken();
    const std::string why =
        !answer ? answer.error().text() : answer->body["message"].string_or(answer->body["error"]["what"].string_or(""));
    const bool lost = answer && answer->body["exit_code"].int_or(0) == 41;
    if (lost || !warned_)
      std::fprintf(stderr, "rollbackctl: %s: %s\n", lost ? "the lock is lost" : "the lock could not be renewed", printable(why).c_str());
    warned_ = true;
    lost_ = lost_ || lost;
    renew_at_ =
        lost ? Clock::time_point::max() : Clock::now() + std::chrono::duration_cast<Clock::duration>(std::min(kRetry, asked_.length / 4));
  }

  void give_back() {
    if (lost_) return;
    auto client = commands_.connect();
    Json body = Json::object().set("service", asked_.service).set("lock", id_);
    if (!asked_.environment.empty()) body.set("environment", asked_.environment);
    auto answer = client ? client->post("/api/v1/unlock", body) : Result<Answer>(client.error());
    if (answer && answer->body["exit_code"].int_or(1) == 0) return;
    std::fprintf(stderr, "rollbackctl: the lock could not be given back; it ends by itself within %s\n",
                 format_duration(asked_.length).c_str());
  }

  const std::string& id() const { return id_; }

 private:
  Json body() const {
    Json out = Json::object().set("service", asked_.service).set("reason", asked_.reason).set("duration", format_duration(asked_.length));
    if (!asked_.environment.empty()) out.set("environment", asked_.environment);
    return out;
  }
  void taken() {
    warned_ = false;
    renew_at_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(asked_.length / 2);
  }

  const LockedCommand& asked_;
  const InsightCommands& commands_;
  std::string id_;
  Clock::time_point renew_at_{};
  bool warned_ = false, lost_ = false;
};

constexpr int kForwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};

[[noreturn]] void become(const std::vector<std::string>& command, const sigset_t& mask) {
  std::vector<char*> argv;
  for (const std::string& word : command)
    argv.push_back(const_cast<char*>(word.c_str()));  // NOLINT: execvp takes it so and changes nothing
  argv.push_back(nullptr);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::execvp(argv[0], argv.data());
  const int error = errno;
  std::fprintf(stderr, "rollbackctl: cannot run %s: %s\n", argv[0], std::generic_category().message(error).c_str());
  ::_exit(error == ENOENT ? kNotFound : kCannotRun);
}

/// Until the command ends: hands signals on, renews the lock. @return its exit code
int attend(pid_t child, Lock& lock, const sigset_t& waited) {
  while (true) {
    int status = 0;
    const pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended == child) return WIFSIGNALED(status) ? kSignalled + WTERMSIG(status) : WEXITSTATUS(status);
    if (ended < 0 && errno != EINTR) return 1;
    if (Clock::now() >= lock.renew_at()) lock.renew();
    const auto left = std::clamp<std::chrono::nanoseconds>(lock.renew_at() - Clock::now(), 10ms, 60s);
    timespec wait{};
    wait.tv_sec = static_cast<time_t>(left.count() / 1'000'000'000);
    wait.tv_nsec = static_cast<long>(left.count() % 1'000'000'000);
    siginfo_t info{};
    const int signal = ::sigtimedwait(&waited, &info, &wait);
    // The terminal's Ctrl-C has reached the command already: it is in the same process group.
    const bool of_terminal = info.si_code == SI_KERNEL;
    if (signal > 0 && signal != SIGCHLD && !of_terminal) ::kill(child, signal);
  }
}

int run(const std::vector<std::string>& command, Lock& lock, const sigset_t& waited, const sigset_t& before) {
  ::setenv("ROLLBACKD_LOCK", lock.id().c_str(), 1);  // NOLINT(concurrency-mt-unsafe): one thread
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) become(command, before);
  if (child > 0) return attend(child, lock, waited);
  std::fprintf(stderr, "rollbackctl: cannot start a process\n");
  return 1;
}

}  // namespace

int run_locked(LockedCommand asked, const InsightCommands& commands) {
  Lock lock(asked, commands);
  sigset_t waited, before;
  sigemptyset(&waited);
  sigaddset(&waited, SIGCHLD);
  for (const int signal : kForwarded) sigaddset(&waited, signal);
  // From here on a signal waits until the lock is somebody's: none ends us while we hold it.
  ::sigprocmask(SIG_BLOCK, &waited, &before);
  {
    auto client = commands.connect();
    if (!client) return commands.fail(client.error());
    if (const int code = lock.take(*client); code != 0) return code;
  }
  int code = 1;
  if (asked.command.empty()) {
    code = asked.work(lock.id());
  } else {
    code = run(asked.command, lock, waited, before);
  }
  // Before the verdict: while the lock is held no automatic rollback would come.
  lock.give_back();
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  if (code != 0 || !asked.verdict) return code;
  auto client = commands.connect();
  if (!client) return commands.fail(client.error());
  return asked.verdict(*client);
}

}  // namespace rollbackd::cli
