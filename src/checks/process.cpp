// Says whether the service's process runs and counts how processes ended. Its manager tells it, or with a pid file it looks for itself.
// Flow: service manager -on_process-> [process check] -batch-> engine; or pid file + pidfd -> [process check] -batch-> engine.
#include "io/process.hpp"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/log.hpp"
#include "checks/kinds.hpp"
#include "checks/process_tally.hpp"
#include "io/inotify.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr Duration kRetry = 1s;       ///< while the pid file's directory is missing
constexpr Duration kStaleSlack = 2s;  ///< a pid file may be this much older than the process it names
constexpr std::uint32_t kDirectoryEvents =
    IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

class ProcessCheck final : public Check {
 public:
  explicit ProcessCheck(CheckContext context)
      : context_(std::move(context)),
        instance_(host_name()),
        timer_(context_.executor),
        retry_(context_.executor),
        tally_(context_.settings.pid_file.empty() ? "the service manager has not spoken yet" : "the pid file was not looked at yet") {}

  asio::awaitable<void> run() override {
    using namespace asio::experimental::awaitable_operators;
    if (context_.settings.pid_file.empty()) {
      co_await repeat();
    } else {
      co_await (repeat() || watch_pid_file());
    }
  }

  asio::awaitable<Batch> probe_now() override {
    if (!context_.settings.pid_file.empty()) look_at_pid_file();
    Batch batch = known(context_.clock->now());
    context_.sink(batch);
    co_return batch;
  }

  Source source() const override {
    return {context_.service,
            context_.settings.name,
            {"process_up", "process_start_time_seconds", "process_exits_total", "process_stops_total"},
            kRepeatStaleness};
  }

  void on_process(const ProcessEvent& event) override { deliver(tally_.on(event, context_.clock->now())); }

  const CheckCounters& counters() const override { return counters_; }

 private:
  Batch known(Instant began) {
    Batch batch = batch_of(context_, began);
    batch.detail = evidence(tally_.detail());
    if (!tally_.is_known()) {
      ++counters_.unobserved;
      batch.unobserved = evidence(tally_.why_unknown());
      return batch;
    }
    ++(tally_.is_up() ? counters_.ok : counters_.failed);
    batch.healthy = tally_.is_up();
    tally_.sample(context_, instance_, batch.samples);
    return batch;
  }

  void deliver(Instant began) { context_.sink(known(began)); }

  asio::awaitable<void> repeat() {
    co_await asio::this_coro::throw_if_cancelled(false);
    while (true) {
      timer_.expires_after(kRepeat);
      const auto [stopped] = co_await timer_.async_wait(kToken);
      const bool cancelled = co_await is_cancelled();
      if (stopped || cancelled) co_return;
      if (!context_.settings.pid_file.empty()) look_at_pid_file();  // inotify is a hint; this is a second look.
      deliver(context_.clock->now());
    }
  }

  // ---- With a pid file ----

  void not_known(std::string why) {
    if (!tally_.forget(std::move(why))) return;
    deliver(context_.clock->now());
  }

  /// The process that the file names; 0 when there is no file or it names none.
  int named_pid() const {
    std::ifstream in(context_.settings.pid_file);
    std::array<char, 32> text{};  // More is no pid.
    in.read(text.data(), text.size());
    const std::string_view word = trim({text.data(), static_cast<std::size_t>(in.gcount())});
    int pid = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), pid);
    return error == std::errc() && end == word.data() + word.size() && pid > 0 ? pid : 0;
  }

  /// Compares what the file says with what is known, and follows it. Idempotent.
  void look_at_pid_file() {
    const int pid = named_pid();
    if (watched_ && watched_->pid == pid) return;
    if (pid == 0) {
      // While a process is still watched its end will be told by its pidfd. A missing directory is told by the watcher.
      if (!watched_ && directory_watched_) settle_down("no process: " + context_.settings.pid_file + " names none");
      return;
    }
    const auto facts = io::process_facts(pid);
    if (facts.has_error()) {
      if (!watched_ && facts.error().code == Errc::not_found) settle_down("no process: " + std::to_string(pid) + " does not run");
      if (!watched_ && facts.error().code != Errc::not_found) not_known(facts.error().text());
      return;
    }
    const Instant started = context_.clock->from_boot_ns(facts->started_boot_ns);
    struct stat file {};
    if (::stat(context_.settings.pid_file.c_str(), &file) != 0) return;  // Gone again: the next event tells.
    const Instant written(static_cast<std::int64_t>(file.st_mtim.tv_sec) * 1'000'000'000 + file.st_mtim.tv_nsec);
    const Duration file_age = io::Clock::wall_now() - written, process_age = context_.clock->now() - started;
    if (process_age + kStaleSlack < file_age) {
      return not_known("the pid file is older than process " + std::to_string(pid) +
                       ", which it names: another process has got that number");
    }
    auto opened = io::PidFd::open(context_.executor, pid);
    if (opened.has_error()) {
      if (opened.error().code != Errc::not_found) not_known(opened.error().text());
      return;
    }
    // Between reading the facts and opening the pidfd the number may have passed to another process.
    const auto again = io::process_facts(pid);
    if (again.has_error() || again->started_boot_ns != facts->started_boot_ns) return;

    auto watched = std::make_shared<Watched>(Watched{pid, started, std::move(*opened)});
    watched_ = watched;
    ProcessEvent event;
    event.kind = ProcessEvent::Kind::running;
    event.pid = pid;
    event.started = started;
    event.at = context_.clock->now();
    on_process(event);
    asio::co_spawn(context_.executor, wait_for_end(watched, alive_), [](std::exception_ptr) {});
  }

  void settle_down(std::string detail) {
    if (!tally_.settle_down(std::move(detail))) return;
    deliver(context_.clock->now());
  }

  struct Watched {
    int pid = 0;
    Instant started;
    io::PidFd pidfd;
  };

  /// `alive` tells whether the check is still there when the process ends.
  asio::awaitable<void> wait_for_end(std::shared_ptr<Watched> watched, std::weak_ptr<bool> alive) {
    const Result<> ended = co_await watched->pidfd.wait();
    if (ended.has_error() || alive.expired()) co_return;
    if (watched_ == watched) watched_.reset();
    ProcessEvent event;
    event.kind = ProcessEvent::Kind::exited;
    event.pid = watched->pid;
    event.started = watched->started;
    event.at = context_.clock->now();
    event.code_known = false;
    // By convention a daemon removes its pid file when it is asked to stop, and leaves it when it crashes.
    event.requested = named_pid() != watched->pid;
    event.detail = event.requested ? "ended after its pid file was taken away" : "ended; how is not known, it is not our child";
    on_process(event);
    look_at_pid_file();  // The next one may be there already.
  }

  asio::awaitable<void> watch_pid_file() {
    co_await asio::this_coro::throw_if_cancelled(false);
    const std::filesystem::path file(context_.settings.pid_file);
    while (true) {
      const bool cancelled = co_await watch_directory(file.parent_path().string(), file.filename().string());
      directory_watched_ = false;
      if (cancelled) co_return;
      retry_.expires_after(kRetry);
      const auto [stopped] = co_await retry_.async_wait(kToken);
      const bool cancelled_meanwhile = co_await is_cancelled();
      if (stopped || cancelled_meanwhile) co_return;
    }
  }

  /// Follows the directory's events until it goes away. @return true when cancelled
  asio::awaitable<bool> watch_directory(std::string directory, std::string name) {
    auto inotify = io::Inotify::open(context_.executor);
    Result<int> watch = inotify.has_error() ? Result<int>(inotify.error()) : inotify->add(directory, kDirectoryEvents);
    if (watch.has_error()) {
      // A process found before is still watched by its pidfd; without one nothing is known.
      if (!watched_) not_known(watch.error().text());
      co_return false;
    }
    directory_watched_ = true;
    look_at_pid_file();
    while (true) {
      const auto events = co_await inotify->next();
      const bool cancelled = co_await is_cancelled();
      if (events.has_error() || cancelled) co_return cancelled || events.error().code == Errc::cancelled;
      bool look = false, gone = false;
      for (const io::FileEvent& event : *events) {
        look |= event.name == name || (event.mask & IN_Q_OVERFLOW) != 0;
        gone |= (event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0;
      }
      if (gone) {
        if (!watched_) not_known("the pid file's directory " + directory + " is gone");
        co_return false;
      }
      if (look) look_at_pid_file();
    }
  }

  CheckContext context_;
  std::string instance_;
  asio::steady_timer timer_, retry_;
  CheckCounters counters_;

  ProcessTally tally_;
  std::shared_ptr<Watched> watched_;
  bool directory_watched_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

Result<std::unique_ptr<Check>> make_process_check(CheckContext context) {
  if (!context.settings.pid_file.empty() && context.settings.pid_file[0] != '/') {
    return Error(Errc::invalid_config, "the pid file of check " + context.settings.name + " is no absolute path");
  }
  return std::unique_ptr<Check>(std::make_unique<ProcessCheck>(std::move(context)));
}

}  // namespace rollbackd::checks
