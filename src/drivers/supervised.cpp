// The manager `supervised`: talks to the keeper that parents the service, and sees that there is one.
#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "drivers/keeper_protocol.hpp"
#include "drivers/managers.hpp"
#include "drivers/restart_step.hpp"
#include "io/dbus.hpp"
#include "io/process.hpp"
#include "io/session.hpp"
#include "io/unit_watch.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {
namespace {

using io::Fd;

constexpr Duration kAskTimeout = 5s;   // For what the keeper answers at once.
constexpr Duration kKeeperStart = 5s;  // Until a new keeper must answer.
constexpr Duration kConnectRetry = 10ms;
constexpr Duration kAttachRetry = 1s;
constexpr Duration kForEver = 24h;  // A watcher's wait; then it asks again.

/// One connection to a keeper.
class Connection {
 public:
  static Result<Connection> open(const asio::any_io_executor& executor, const std::string& directory) {
    const Fd place(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!place) return Error::from_errno("cannot open " + directory, errno);
    Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket) return Error::from_errno("cannot make a socket", errno);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = keeper::short_socket_path(place.get());
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      return Error(Errc::unavailable, "no keeper answers in " + directory).because(std::strerror(errno));
    return Connection(executor, std::move(socket));
  }

  Result<> send(const Json& message) {
    const std::string text = message.dump();
    if (text.size() > keeper::kMessageBytesMax) return Error(Errc::too_large, "a message to the keeper is too large");
    if (::send(socket_->native_handle(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return {};
    return Error(Errc::unavailable, "the keeper is gone").because(std::strerror(errno));
  }

  /// The next message. `timed_out`, `unavailable` (the keeper is gone), `cancelled`.
  asio::awaitable<Result<Json>> receive(Duration timeout) {
    auto socket = socket_;
    auto late = std::make_shared<bool>(false);
    asio::steady_timer timer(socket->get_executor(), timeout);
    timer.async_wait([socket, late](boost::system::error_code stopped) {
      if (stopped || !socket->is_open()) return;
      *late = true;
      socket->cancel(stopped);
    });
    std::vector<char> buffer(keeper::kMessageBytesMax);
    while (true) {
      const ssize_t n = ::recv(socket->native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n > 0) {
        auto json = Json::parse(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
        if (json.has_error()) co_return json.error();
        co_return std::move(json.value());
      }
      if (n == 0 || (errno != EAGAIN && errno != EINTR)) co_return Error(Errc::unavailable, "the keeper is gone");
      const auto [error] = co_await socket->async_wait(asio::posix::descriptor_base::wait_read, asio::as_tuple(asio::use_awaitable));
      if (*late) co_return Error(Errc::timed_out, "the keeper did not answer within " + format_duration(timeout));
      if (error) co_return Error(Errc::cancelled, "waiting for the keeper was cancelled");
    }
  }

 private:
  Connection(const asio::any_io_executor& executor, Fd socket)
      : socket_(std::make_shared<asio::posix::stream_descriptor>(executor, socket.release())) {}
  std::shared_ptr<asio::posix::stream_descriptor> socket_;
};

class Supervised final : public Manager {
 public:
  Supervised(DriverContext context, keeper::Settings settings) : context_(std::move(context)), settings_(std::move(settings)) {}
  ~Supervised() override { keepers_->clear(); }  // No longer waits for them; they go on.

  asio::awaitable<Result<>> attach() override {
    if (auto kept = co_await ensure_keeper(); kept.has_error()) co_return kept;
    auto status = co_await ask("status", "", kAskTimeout);
    if (status.has_error()) co_return status.error();
    if (status.value()["running"].bool_or(false)) co_return Result<>{};
    if (status.value()["stopped_by_person"].bool_or(false)) {
      log::info("the service stays down: somebody stopped it", {{"service", context_.service.text()}});
      co_return Result<>{};
    }
    auto started = co_await ask("start", "", settings_.stop_timeout + 30s);
    if (started.has_error()) co_return started.error();
    if (started.value()["ok"].bool_or(false)) co_return Result<>{};
    co_return Error(Errc::io, "cannot start " + context_.service.text()).because(started.value()["error"].string_or(""));
  }

  asio::awaitable<Result<World::Process>> inspect() override {
    auto status = co_await ask("status", "", kAskTimeout);
    if (status.has_error()) co_return status.error();
    const Json& json = status.value();
    World::Process out;
    out.running = json["running"].bool_or(false);
    out.pid = static_cast<int>(json["pid"].int_or(0));
    out.last_exit = json["last_exit"].string_or("");
    if (out.running) {
      out.started = context_.clock->from_boot_ns(json["started_boot_ns"].int_or(0));
      if (const auto facts = io::process_facts(out.pid); facts.has_value()) out.executable = facts.value().executable;
    } else {
      out.stopped_cleanly = json["stopped_by_person"].bool_or(false);
    }
    co_return out;
  }

  std::vector<Step> plan() const override { return restart_plan(context_, "supervised"); }

  asio::awaitable<Outcome> run(Step step, Duration deadline) override {
    if (auto refused = refuse_other_step(step, "supervised")) co_return *std::move(refused);
    const auto until = std::chrono::steady_clock::now() + deadline;
    if (auto kept = co_await ensure_keeper(); kept.has_error()) co_return failed_step(kept.error());
    const std::int64_t since = unless_since(step);
    auto answer = co_await ask("restart", restart_token(step), until - std::chrono::steady_clock::now(), since);
    if (answer.has_error()) co_return failed_step(answer.error());
    const Json& json = answer.value();
    Json facts = Json::object();
    facts.set("pid", json["pid"]).set("started_boot_ns", json["started_boot_ns"]);
    const auto how = json["already"].bool_or(false) ? Outcome::Status::already_done : Outcome::Status::done;
    if (json["ok"].bool_or(false)) co_return Outcome{how, std::move(facts), Error()};
    co_return Outcome{Outcome::Status::failed, std::move(facts),
                      Error(Errc::io, "the keeper could not restart " + context_.service.text()).because(json["error"].string_or(""))};
  }

  asio::awaitable<void> watch(std::function<void(ProcessEvent)> sink) override {
    bool told_lost = false;
    while (true) {
      auto kept = co_await attach();
      if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
      if (kept.has_error()) log::warning("a service is not kept", {{"service", context_.service.text()}, {"why", kept.error().text()}});

      auto connection = Connection::open(context_.executor, context_.service_directory);
      Result<> asked = connection.has_error() ? Result<>(connection.error()) : connection.value().send(Json::object().set("do", "watch"));
      bool heard = false;
      while (asked.has_value()) {
        auto message = co_await connection.value().receive(kForEver);
        if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
        if (message.has_error()) {
          if (message.error().code != Errc::timed_out) asked = message.error();
        } else if (message.value()["event"].is_string()) {
          told_lost = false;
          heard = true;
          sink(event_of(message.value()));
        }
      }
      if (!told_lost) {
        told_lost = true;
        ProcessEvent lost;
        lost.at = context_.clock->now();
        lost.detail = asked.error().text();
        sink(std::move(lost));
      }
      if (!heard) {  // Else it was there just now: attach at once.
        asio::steady_timer timer(context_.executor, kAttachRetry);
        co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
        if ((co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none) co_return;
      }
    }
  }

 private:
  ProcessEvent event_of(const Json& json) const {
    ProcessEvent event;
    const std::string kind = json["event"].string_or("");
    event.kind = kind == "running"  ? ProcessEvent::Kind::running
                 : kind == "exited" ? ProcessEvent::Kind::exited
                                    : ProcessEvent::Kind::start_failed;
    event.pid = static_cast<int>(json["pid"].int_or(0));
    if (json["started_boot_ns"].is_number()) event.started = context_.clock->from_boot_ns(json["started_boot_ns"].int_or(0));
    event.at = context_.clock->from_boot_ns(json["at_boot_ns"].int_or(0));
    event.code_known = json["code_known"].bool_or(true);
    event.exit_code = static_cast<int>(json["code"].int_or(0));
    event.signal = static_cast<int>(json["signal"].int_or(0));
    event.requested = json["requested"].bool_or(false);
    event.oom = json["oom"].bool_or(false);
    event.detail = json["detail"].string_or("");
    return event;
  }

  /// One request on a connection of its own; waits for its answer.
  asio::awaitable<Result<Json>> ask(std::string what, std::string token, Duration timeout, std::int64_t unless_since_boot_ns = 0) {
    auto connection = Connection::open(context_.executor, context_.service_directory);
    if (connection.has_error()) co_return connection.error();
    Json request = Json::object();
    request.set("do", what);
    if (!token.empty()) request.set("token", token);
    if (unless_since_boot_ns > 0) request.set("unless_since_boot_ns", unless_since_boot_ns);
    if (auto sent = connection.value().send(request); sent.has_error()) co_return sent.error();
    co_return co_await connection.value().receive(timeout);
  }

  /// Sees that a keeper answers and has today's settings; begins one when there is none.
  asio::awaitable<Result<>> ensure_keeper() {
    auto write = [path = context_.service_directory + "/" + keeper::kSettingsName, text = settings_.to_json().dump()]() -> Result<> {
      const auto now = keeper::read_file(path, text.size());
      if (now.has_value() && now.value() == text) return {};
      return keeper::replace_file(path, text);
    };
    const Result<> written = co_await context_.steps->run(std::move(write));
    const bool cancelled = (co_await asio::this_coro::cancellation_state).cancelled() != asio::cancellation_type::none;
    if (cancelled) co_return Error(Errc::cancelled, "no longer attaching");
    if (written.has_error() && Connection::open(context_.executor, context_.service_directory).has_error()) co_return written;

    auto status = co_await ask("status", "", kAskTimeout);
    if (status.has_error() && status.error().code == Errc::unavailable) {
      Result<> begun;
      if (in_units()) {
        begun = co_await begin_keeper_unit();
      } else {
        begun = begin_keeper();
      }
      if (begun.has_error()) co_return begun;
      status = co_await first_answer();
    }
    if (status.has_error()) co_return status.error();
    if (status.value()["settings"].string_or("") != settings_.fingerprint()) {
      auto reloaded = co_await ask("reload_settings", "", kAskTimeout);
      if (reloaded.has_error()) co_return reloaded.error();
      if (!reloaded.value()["ok"].bool_or(false))
        log::warning("the keeper did not take new settings",
                     {{"service", context_.service.text()}, {"why", reloaded.value()["error"].string_or("")}});
    }
    co_return Result<>{};
  }

  asio::awaitable<Result<Json>> first_answer() {
    const auto until = std::chrono::steady_clock::now() + kKeeperStart;
    while (true) {
      auto status = co_await ask("status", "", kAskTimeout);
      if (status.has_value() || status.error().code != Errc::unavailable) co_return status;
      if (std::chrono::steady_clock::now() >= until) {
        co_return Error(Errc::unavailable, "the new keeper does not answer")
            .because(status.error().text())
            .try_next("see " + context_.service_directory + "/" + keeper::kLogName);
      }
      asio::steady_timer timer(context_.executor, kConnectRetry);
      const auto [stopped] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
      if (stopped) co_return Error(Errc::cancelled, "no longer waiting for the keeper");
    }
  }

  /// Whether keepers are begun by systemd, as units of their own: the actor's unit says so, because what lives within that has no network.
  static bool in_units() {
    const char* where = std::getenv("ROLLBACKD_KEEPERS");  // NOLINT(concurrency-mt-unsafe): never written
    return where && std::strcmp(where, "units") == 0;
  }

  asio::awaitable<Result<>> begin_keeper_unit() {
    const auto variant = [](const char* signature, Json value) {
      return Json::object().set("signature", signature).set("value", std::move(value));
    };
    Json properties = Json::array();
    const auto add = [&](const char* name, const char* signature, Json value) {
      properties.push(Json::array().push(name).push(variant(signature, std::move(value))));
    };
    Json argv = Json::array().push(context_.program).push("--keeper").push(context_.service_directory);
    add("Description", "s", "Keeper of " + context_.service.text() + " for rollbackd");
    add("ExecStart", "a(sasb)", Json::array().push(Json::array().push(context_.program).push(std::move(argv)).push(false)));
    add("Environment", "as", Json::array().push("LANG=C.UTF-8").push("HOME=/"));
    // A keeper that is killed leaves its service running, and its successor takes that over.
    add("KillMode", "s", "process");
    add("SendSIGHUP", "b", false);
    add("CollectMode", "s", "inactive-or-failed");
    add("TimeoutStopUSec", "t", std::chrono::duration_cast<std::chrono::microseconds>(settings_.stop_timeout + kKeeperStart).count());
    add("StandardErrorFileToAppend", "s", context_.service_directory + "/" + keeper::kLogName);
    std::string unit = transient_unit(context_.service);
    unit.insert(unit.find('-') + 1, "keeper-");
    Json arguments = Json::array().push(unit).push("fail").push(std::move(properties)).push(Json::array());
    const auto bus = io::SystemBus::of(context_.executor);
    io::BusMethod method = io::systemd_method("StartTransientUnit");
    auto called = co_await bus->call(std::move(method), "ssa(sv)a(sa(sv))", std::move(arguments), kKeeperStart);
    if (called.has_error() && called.error().why.find("UnitExists") == std::string::npos) co_return called.error();
    co_return Result<>{};
  }

  /// Starts `program --keeper DIRECTORY` in a session of its own, with nothing of ours open: it outlives us.
  Result<> begin_keeper() {
    const std::string log_path = context_.service_directory + "/" + keeper::kLogName;
    const auto files = [&](posix_spawn_file_actions_t* actions) {
      int error = ::posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
      if (!error) error = ::posix_spawn_file_actions_addopen(actions, 1, "/dev/null", O_WRONLY, 0);
      if (!error)
        error = ::posix_spawn_file_actions_addopen(actions, 2, log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
      if (!error) error = ::posix_spawn_file_actions_addclosefrom_np(actions, 3);
      return error;
    };
    auto begun = io::spawn_session(context_.program, {context_.program, "--keeper", context_.service_directory},
                                   {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/"}, files);
    if (begun.has_error()) return Error(begun.error().code, "cannot begin a keeper").because(begun.error().text());
    const pid_t pid = *begun;

    // As long as we live it is our child, and is reaped when it ends.
    auto watched = io::PidFd::open(context_.executor, pid);
    if (watched.has_error()) return Result<>{};
    const auto kept = keepers_->insert_or_assign(pid, std::move(watched.value())).first;
    auto reap = [](asio::awaitable<Result<>> ended, pid_t child,
                   std::shared_ptr<std::map<pid_t, io::PidFd>> keepers) -> asio::awaitable<void> {
      const auto end = co_await std::move(ended);
      if (end.has_error()) co_return;
      ::waitpid(child, nullptr, WNOHANG);
      keepers->erase(child);
    };
    asio::co_spawn(context_.executor, reap(kept->second.wait(), pid, keepers_), asio::detached);
    return Result<>{};
  }

  DriverContext context_;
  keeper::Settings settings_;
  std::shared_ptr<std::map<pid_t, io::PidFd>> keepers_ = std::make_shared<std::map<pid_t, io::PidFd>>();  ///< that we began and that live
};

}  // namespace

bool has_keeper(const DriverContext& context) {
  if (Connection::open(context.executor, context.service_directory).has_value()) return true;
  // A keeper that was killed leaves its service running, and its successor takes that over.
  constexpr std::size_t kStateBytesMax = 1 << 20;
  const auto text = keeper::read_file(context.service_directory + "/" + keeper::kStateName, kStateBytesMax);
  const auto state = text.has_value() ? Json::parse(text.value()) : Result<Json>(text.error());
  if (state.has_error() || !state.value()["running"].bool_or(false)) return false;
  if (state.value()["boot_id"].string_or("") != context.clock->read().stamp.boot_id) return false;
  const auto process = io::process_facts(static_cast<int>(state.value()["pid"].int_or(0)));
  if (process.has_error()) return false;
  constexpr std::int64_t kTickNs = 10'000'000;
  const std::int64_t apart = state.value()["started_boot_ns"].int_or(0) - process.value().started_boot_ns;
  return apart > -kTickNs && apart < 2 * kTickNs;
}

Result<std::unique_ptr<Manager>> make_supervised_manager(DriverContext context) {
  const config::ProcessSettings& process = context.settings.process;
  if (process.command.empty() || process.command[0].empty())
    return Error(Errc::invalid_config,
                 "component " + context.settings.name + " of " + context.service.text() + " has no command to supervise");
  if (!context.clock || !context.steps) return Error(Errc::internal, "a manager without clock or worker");
  keeper::Settings settings;
  settings.argv = process.command;
  settings.working_directory = process.working_directory.empty() ? context.settings.current : process.working_directory;
  settings.environment = process.environment;
  settings.user = process.user;
  settings.stop_timeout = process.stop_timeout;
  settings.restart_delay = process.restart_delay;
  settings.output = process.output.empty() ? context.service_directory + "/output.log" : process.output;
  settings.output_bytes_max = process.output_bytes_max;
  return std::unique_ptr<Manager>(std::make_unique<Supervised>(std::move(context), std::move(settings)));
}

}  // namespace rollbackd::drivers
