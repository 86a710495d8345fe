// The manager `command`: start, stop, restart and status are somebody else's commands; a pid file, if there is one, tells of the process.
#include <sys/inotify.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <optional>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "drivers/keeper_protocol.hpp"
#include "drivers/managers.hpp"
#include "drivers/restart_step.hpp"
#include "io/inotify.hpp"
#include "io/process.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {
namespace {

using namespace asio::experimental::awaitable_operators;
using Steady = std::chrono::steady_clock;

constexpr Duration kPollInterval = 5s;     // Of `status`, and of a pid file in case inotify says nothing.
constexpr Duration kPidFileRetry = 100ms;  // While a restart is awaited: a pid file may be written before its process is what it names.
constexpr std::size_t kPidFileBytesMax = 4096;
constexpr std::int64_t kTickNs = 10'000'000;  // Start times of /proc are floored to it.

/// Wakes when the file `path` may have changed, or when a time is over. inotify is only a hint; without it the time alone counts.
class FileWait {
 public:
  FileWait(const asio::any_io_executor& executor, const std::string& path) : timer_(executor) {
    const std::size_t slash = path.rfind('/');
    name_ = path.substr(slash + 1);
    auto opened = io::Inotify::open(executor);
    if (opened.has_error()) return;
    constexpr std::uint32_t kChanges = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE;
    if (opened.value().add(slash == 0 ? "/" : path.substr(0, slash), kChanges).has_value()) events_.emplace(std::move(opened.value()));
  }

  asio::awaitable<void> wait(Duration longest) {
    timer_.expires_after(longest);
    while (true) {
      if (!events_) {
        co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
        co_return;
      }
      auto both = co_await (events_->next() || timer_.async_wait(asio::as_tuple(asio::use_awaitable)));
      if (both.index() == 1) co_return;
      const auto& heard = std::get<0>(both);
      if (heard.has_error()) {
        const bool cancelled = (co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none;
        if (cancelled) co_return;
        events_.reset();
        continue;
      }
      for (const io::FileEvent& event : heard.value())
        if (event.name.empty() || event.name == name_) co_return;
    }
  }

 private:
  asio::steady_timer timer_;
  std::optional<io::Inotify> events_;
  std::string name_;
};

class Command final : public Manager {
 public:
  explicit Command(DriverContext context) : context_(std::move(context)), process_(context_.settings.process) {}

  asio::awaitable<Result<>> attach() override { co_return Result<>{}; }

  asio::awaitable<Result<World::Process>> inspect() override {
    World::Process out;
    if (!process_.pid_file.empty()) {
      if (const auto facts = from_pid_file(); facts.has_value()) {
        out.running = true;
        out.pid = facts.value().pid;
        out.started = context_.clock->from_boot_ns(facts.value().started_boot_ns);
        out.executable = facts.value().executable;
      } else if (facts.error().code != Errc::not_found) {
        co_return facts.error();
      }
      co_return out;
    }
    const Result<bool> running = co_await ask_status();
    if (running.has_error()) co_return running.error();
    out.running = running.value();
    co_return out;
  }

  std::vector<Step> plan() const override { return restart_plan(context_, "command"); }

  asio::awaitable<Outcome> run(Step step, Duration deadline) override {
    if (auto refused = refuse_other_step(step, "command")) co_return *std::move(refused);
    const std::string token = restart_token(step);
    if (const auto* begun = restarts_.find(token); begun && begun->outcome) co_return *begun->outcome;
    restarts_.begin(token, boot_now());
    const Restarting now(restarting_);
    Outcome outcome = co_await restart(deadline);
    restarts_.end(token, outcome);
    co_return outcome;
  }

  asio::awaitable<void> watch(std::function<void(ProcessEvent)> sink) override {
    if (process_.pid_file.empty()) {
      co_await watch_status(std::move(sink));
    } else {
      co_await watch_pid_file(std::move(sink));
    }
  }

 private:
  std::int64_t boot_now() const { return context_.clock->to_boot_ns(context_.clock->now()); }

  Result<int> named_pid() const {
    auto text = keeper::read_file(process_.pid_file, kPidFileBytesMax);
    if (text.has_error()) return text.error();
    const std::string_view number = trim(text.value());
    int pid = 0;
    const auto read = std::from_chars(number.data(), number.data() + number.size(), pid);
    if (read.ec != std::errc{} || pid <= 0)
      return Error(Errc::not_found, process_.pid_file + " holds no process id");  // Perhaps half written.
    return pid;
  }
  /// The process that the pid file names. `not_found`: no file, or no such process.
  Result<io::ProcessFacts> from_pid_file() const {
    const Result<int> pid = named_pid();
    if (pid.has_error()) return pid.error();
    return io::process_facts(pid.value());
  }
  /// Whether the file names `pid`, or with 0 any. By convention a daemon takes its pid file away when it is asked to stop, and leaves it
  /// when it crashes.
  bool left_its_pid_file(int pid) const {
    const Result<int> named = named_pid();
    return named.has_value() && (pid == 0 || named.value() == pid);
  }

  asio::awaitable<Result<bool>> ask_status() {
    if (process_.status.empty())
      co_return Error(Errc::unsupported, "nobody can tell whether " + context_.service.text() + " runs")
          .try_next("set `pid_file` or `status`");
    io::CommandOptions options;
    options.argv = process_.status;
    auto result = co_await io::run_command(std::move(options), process_.command_timeout);
    if (result.has_error()) co_return result.error();
    co_return result.value().exit_code == 0;
  }

  /// Runs one of the commands; an exit code other than 0 is an error.
  asio::awaitable<Result<>> call(std::vector<std::string> argv, Steady::time_point until) {
    const Duration left = until - Steady::now();
    if (left <= Duration{0}) co_return Error(Errc::timed_out, "no time left for " + argv[0]);
    io::CommandOptions options;
    options.argv = argv;
    auto result = co_await io::run_command(std::move(options), std::min(left, process_.command_timeout));
    if (result.has_error()) co_return result.error();
    const io::CommandResult& end = result.value();
    if (end.exit_code == 0) co_return Result<>{};
    const std::string how = end.signal != 0 ? "signal " + std::to_string(end.signal) : "exit " + std::to_string(end.exit_code);
    const std::string said = printable(cut(trim(end.output), 512));
    co_return Error(Errc::io, join(argv, " ") + " failed").because(how + (said.empty() ? "" : ": " + said));
  }

  asio::awaitable<Outcome> restart(Duration deadline) {
    const auto until = Steady::now() + deadline;
    const std::int64_t began = boot_now();
    const auto before = process_.pid_file.empty() ? Result<io::ProcessFacts>(Error(Errc::not_found, "")) : from_pid_file();
    if (!process_.restart.empty()) {
      if (auto called = co_await call(process_.restart, until); called.has_error()) co_return failed_step(called.error());
    } else {
      if (!process_.stop.empty()) {
        auto stopped = co_await call(process_.stop, until);
        if (stopped.has_error() && stopped.error().code == Errc::cancelled) co_return failed_step(stopped.error());
        // What counts is whether it still runs: many a stop command fails when there is nothing to stop.
        if (before.has_value()) {
          if (auto gone = co_await wait_until_gone(before.value(), until); gone.has_error()) {
            Error error = gone.error();
            if (stopped.has_error()) error.why = stopped.error().text();
            co_return failed_step(std::move(error));
          }
        }
      }
      if (auto started = co_await call(process_.start, until); started.has_error()) co_return failed_step(started.error());
    }
    Json facts = Json::object();
    if (process_.pid_file.empty()) {
      facts.set("pid", 0).set("started_boot_ns", boot_now());
      co_return Outcome{Outcome::Status::done, std::move(facts), Error()};
    }
    FileWait change(context_.executor, process_.pid_file);
    while (true) {
      const auto now = from_pid_file();
      const bool another = now.has_value() && (before.has_error() || now.value().pid != before.value().pid ||
                                               now.value().started_boot_ns != before.value().started_boot_ns);
      if (another && now.value().started_boot_ns + kTickNs > began) {
        facts.set("pid", now.value().pid).set("started_boot_ns", now.value().started_boot_ns);
        co_return Outcome{Outcome::Status::done, std::move(facts), Error()};
      }
      const Duration left = until - Steady::now();
      if (left <= Duration{0})
        co_return failed_step(
            Error(Errc::timed_out, "no new process after the restart").because(process_.pid_file + " names none that is younger than it"));
      co_await change.wait(std::min(left, kPidFileRetry));
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none)
        co_return failed_step(Error(Errc::cancelled, "nobody waits for the restart any more"));
    }
  }

  asio::awaitable<Result<>> wait_until_gone(io::ProcessFacts process, Steady::time_point until) {
    auto pidfd = io::PidFd::open(context_.executor, process.pid);
    const auto now = io::process_facts(process.pid);
    if (pidfd.has_error() || now.has_error() || now.value().started_boot_ns != process.started_boot_ns) co_return Result<>{};
    asio::steady_timer timer(context_.executor, until);
    auto both = co_await (pidfd.value().wait() || timer.async_wait(asio::as_tuple(asio::use_awaitable)));
    if (both.index() == 0) co_return std::get<0>(both);
    co_return Error(Errc::timed_out, "process " + std::to_string(process.pid) + " does not end");
  }

  ProcessEvent running(const io::ProcessFacts& facts) const {
    ProcessEvent event;
    event.kind = ProcessEvent::Kind::running;
    event.pid = facts.pid;
    event.started = context_.clock->from_boot_ns(facts.started_boot_ns);
    event.at = context_.clock->now();
    return event;
  }

  ProcessEvent exited(const io::ProcessFacts& facts, std::string detail) const {
    ProcessEvent event;
    if (facts.pid != 0) event = running(facts);
    event.kind = ProcessEvent::Kind::exited;
    event.at = context_.clock->now();
    event.code_known = false;  // It is nobody's child of ours.
    event.requested = restarting_ > 0;
    event.detail = std::move(detail);
    return event;
  }

  asio::awaitable<void> watch_pid_file(std::function<void(ProcessEvent)> sink) {
    FileWait change(context_.executor, process_.pid_file);
    bool told_down = false;
    while (true) {
      const auto facts = from_pid_file();
      auto pidfd = facts.has_value() ? io::PidFd::open(context_.executor, facts.value().pid) : Result<io::PidFd>(facts.error());
      // Its number may have gone to another between the two looks.
      const auto again = facts.has_value() ? io::process_facts(facts.value().pid) : facts;
      const bool runs = pidfd.has_value() && again.has_value() && again.value().started_boot_ns == facts.value().started_boot_ns;
      if (runs) {
        told_down = false;
        sink(running(facts.value()));
        auto ended = co_await pidfd.value().wait();
        if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
        if (ended.has_value()) {
          told_down = true;
          const int pid = facts.value().pid;
          const bool left_behind = left_its_pid_file(pid);
          ProcessEvent event = exited(facts.value(), "process " + std::to_string(pid) + " ended");
          if (!left_behind) event.detail += " after its pid file was taken away";
          event.requested = event.requested || !left_behind;
          sink(std::move(event));
        }
      } else if (!told_down) {
        told_down = true;
        ProcessEvent event = exited(io::ProcessFacts{}, "not running");
        event.requested = event.requested || !left_its_pid_file(0);
        sink(std::move(event));
      }
      if (runs) {  // A new one may be named already.
        const auto next = from_pid_file();
        if (next.has_value()) continue;
      }
      co_await change.wait(kPollInterval);
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
    }
  }

  asio::awaitable<void> watch_status(std::function<void(ProcessEvent)> sink) {
    std::optional<ProcessEvent::Kind> told;
    asio::steady_timer timer(context_.executor);
    while (true) {
      const Result<bool> runs = co_await ask_status();
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
      ProcessEvent event;
      event.at = context_.clock->now();
      event.code_known = false;
      if (runs.has_error()) {
        event.detail = runs.error().text();
      } else {
        event.kind = runs.value() ? ProcessEvent::Kind::running : ProcessEvent::Kind::exited;
        event.requested = !runs.value() && restarting_ > 0;
        event.detail = runs.value() ? "" : "`status` says it does not run";
        if (runs.value()) event.started = event.at;  // Not known better.
      }
      if (!told || *told != event.kind) {
        told = event.kind;
        sink(std::move(event));
      }
      timer.expires_after(kPollInterval);
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
    }
  }

  DriverContext context_;
  config::ProcessSettings process_;
  int restarting_ = 0;  ///< restarts of ours under way: an exit then was asked for
  RestartMemory restarts_;
};

}  // namespace

Result<std::unique_ptr<Manager>> make_command_manager(DriverContext context) {
  const config::ProcessSettings& process = context.settings.process;
  const auto wrong = [&](const std::string& why) {
    return Error(Errc::invalid_config, "component " + context.settings.name + " of " + context.service.text() + " cannot be restarted")
        .because(why);
  };
  if (process.restart.empty() && process.start.empty()) return wrong("neither `restart` nor `start` is set");
  if (!process.pid_file.empty() && !process.pid_file.starts_with('/')) return wrong("`pid_file` must be an absolute path");
  if (!context.clock) return Error(Errc::internal, "a manager without a clock");
  return std::unique_ptr<Manager>(std::make_unique<Command>(std::move(context)));
}

}  // namespace rollbackd::drivers
