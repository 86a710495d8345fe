// The daemon: reads options, builds the parts, runs them, says how it ended.
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <climits>
#include <cstdio>
#include <filesystem>

#include "api/api.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "cli/load.hpp"
#include "cli/offline.hpp"
#include "cli/usage.hpp"
#include "drivers/actor_client.hpp"
#include "drivers/actor_server.hpp"
#include "drivers/driver.hpp"
#include "drivers/hook_guard.hpp"
#include "engine/engine.hpp"
#include "engine/insight.hpp"
#include "engine/spawn.hpp"
#include "io/http_server.hpp"
#include "io/notify.hpp"
#include "io/session.hpp"
#include "metrics/exporter.hpp"

namespace asio = boost::asio;
using namespace rollbackd;  // NOLINT: a main program

namespace {

struct Options {
  std::string config = "/etc/rollbackd/rollbackd.json";
  std::string rules_directory;
  std::string keeper;
  bool hook_guard = false;
  bool actor = false;
  std::string actor_socket, user;  ///< of the daemon: where its actor is, and whom it becomes
  std::string place_socket, daemon_user, actor_directory;
  int place_fd = -1;
  bool check = false;
  cli::OfflineOptions offline;
};

std::string own_program() {
  std::string path(PATH_MAX, '\0');
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size());
  path.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return path;
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

log::Level level_of(const std::string& text) {
  if (text == "debug") return log::Level::debug;
  if (text == "warning") return log::Level::warning;
  if (text == "error") return log::Level::error;
  return log::Level::info;
}

/// Prints every problem; true when there was an error among them.
bool report(const cli::Configuration& configuration) {
  for (const auto& problem : configuration.problems) log::write(problem.warning ? log::Level::warning : log::Level::error, problem.text());
  return !configuration.ok();
}

Result<api::Tokens> read_tokens(const std::string& file) {
  if (file.empty()) return api::Tokens{};
  std::error_code unknown;
  if (!std::filesystem::exists(file, unknown) && !unknown) return api::Tokens{};  // None was created yet.
  auto text = cli::read_file(file, 1 << 20);
  if (!text) return text.error();
  return api::parse_tokens(*text);
}

std::string socket_path(const config::Settings& settings) {
  return settings.socket.empty() ? settings.state_directory + "/rollbackd.sock" : settings.socket;
}

/// Becomes `name` for good: a daemon that was started as root and has begun its actor needs no rights any more.
Result<> become(const std::string& name) {
  const passwd* user = ::getpwnam(name.c_str());  // NOLINT(concurrency-mt-unsafe): there is one thread yet
  if (!user) return Error(Errc::not_found, "there is no user " + name).try_next("useradd --system " + name);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::initgroups(name.c_str(), user->pw_gid) != 0 || ::setgid(user->pw_gid) != 0 ||
      ::setuid(user->pw_uid) != 0)
    return Error::from_errno("cannot become the user " + name, errno);
  return {};
}

/// Starts actors of our own, each with one end of a socket pair, one at a time.
class ForkedActor {
 public:
  ForkedActor(std::string program, std::string config) : program_(std::move(program)), config_(std::move(config)) {}

  Result<io::Fd> start() {
    if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = 0;
    const auto now = std::chrono::steady_clock::now();
    constexpr Duration kAgain = 500ms;
    if (last_ && now - *last_ < kAgain) return Error(Errc::unavailable, "the actor ended").try_next("see its words in the log");
    last_ = now;
    auto ends = io::seqpacket_pair();
    if (ends.has_error()) return ends.error();
    constexpr int kFd = 3;
    std::vector<std::string> variables;
    for (char** one = environ; *one != nullptr; ++one) variables.emplace_back(*one);
    const auto files = [&](posix_spawn_file_actions_t* actions) {
      int error = ::posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
      if (!error) error = ::posix_spawn_file_actions_adddup2(actions, ends->second.get(), kFd);
      if (!error) error = ::posix_spawn_file_actions_addclosefrom_np(actions, kFd + 1);
      return error;
    };
    // A session of its own: what a terminal sends to the daemon must not end a step.
    const auto pid =
        io::spawn_session(program_, {program_, "--actor", "--fd", std::to_string(kFd), "--config", config_}, std::move(variables), files);
    if (pid.has_error()) return Error(pid.error().code, "cannot start the actor").because(pid.error().text());
    pid_ = *pid;
    return std::move(ends->first);
  }

 private:
  std::string program_, config_;
  pid_t pid_ = 0;
  std::optional<std::chrono::steady_clock::time_point> last_;
};

/// Who carries out the steps: sets the link to an actor, unless this process does them itself.
Result<> choose_actor(const asio::any_io_executor& executor, const config::Settings& settings, const Options& options) {
  constexpr const char* kUsual = "/run/rollbackd/actor.sock";
  const auto use = [&](drivers::ActorLink::Connect connect, const std::string& what) {
    log::info("steps are carried out by an actor", {{"actor", what}});
    drivers::ActorLink::set(executor, std::make_shared<drivers::ActorLink>(executor, std::move(connect)));
  };
  const auto open = [executor](io::Fd fd) { return io::Seqpacket(executor, std::move(fd), drivers::actor::kMessageBytesMax); };
  std::string where = settings.actor;
  if (where == "auto") {
    std::error_code unknown;
    where = !options.actor_socket.empty() ? options.actor_socket : std::filesystem::exists(kUsual, unknown) ? kUsual : "inline";
  }
  if (where == "fork") {
    auto forked = std::make_shared<ForkedActor>(own_program(), cli::absolute(options.config));
    auto first = forked->start();
    if (first.has_error()) return first.error();
    auto kept = std::make_shared<io::Fd>(std::move(*first));
    use(
        [forked, kept, open]() -> Result<io::Seqpacket> {
          if (*kept) return open(std::move(*kept));
          auto next = forked->start();
          if (next.has_error()) return next.error();
          return open(std::move(*next));
        },
        "a process of its own, begun by this one");
  } else if (where != "inline") {
    use([executor, where] { return io::Seqpacket::connect(executor, where, drivers::actor::kMessageBytesMax); }, where);
  }
  if (options.user.empty()) return {};
  return become(options.user);
}

int run_the_actor(const Options& options) {
  drivers::ActorOptions actor;
  actor.config = cli::absolute(options.config);
  actor.directory = options.actor_directory;
  actor.program = own_program();
  if (!options.daemon_user.empty()) {
    const passwd* user = ::getpwnam(options.daemon_user.c_str());  // NOLINT(concurrency-mt-unsafe): there is one thread yet
    if (!user) {
      log::error("there is no user " + options.daemon_user);
      return 1;
    }
    actor.daemon = user->pw_uid;
  }
  drivers::ActorPlace place;
  place.socket = options.place_socket;
  place.fd = options.place_fd;
  place.from_systemd = place.socket.empty() && place.fd < 0;
  return drivers::run_actor(std::move(actor), std::move(place));
}

int run_daemon(const Options& options) {
  const std::string rules_directory = options.rules_directory.empty() ? cli::default_rules_directory() : options.rules_directory;
  cli::Configuration configuration = cli::load_configuration(options.config, rules_directory);
  if (report(configuration)) {
    log::error("rollbackd does not start with an invalid configuration", {{"file", options.config}});
    return 1;
  }
  log::set_level(level_of(configuration.loaded.settings.log_level));
  if (options.check) return 0;
  auto tokens = read_tokens(configuration.loaded.settings.token_file);
  if (!tokens) {
    log::error(tokens.error().text());
    return 1;
  }

  asio::io_context context(1);
  const config::Settings settings = configuration.loaded.settings;
  if (auto chosen = choose_actor(context.get_executor(), settings, options); !chosen) {
    log::error("rollbackd cannot start", {{"error", chosen.error().text()}});
    return 1;
  }
  // After the engine, whose drivers use it, and before the context, whose sockets it has.
  const std::shared_ptr<void> unlink_actor(nullptr, [&context](void*) { drivers::ActorLink::set(context.get_executor(), nullptr); });
  engine::EngineOptions engine_options;
  engine_options.program = own_program();
  engine_options.node = host_name();
  const std::string configuration_digest = cli::digest_of(configuration);
  engine::Engine engine(context.get_executor(), settings, std::move(configuration.groups), engine_options);
  metrics::Exporter exporter;
  engine::Hooks hooks;
  hooks.operation_ended = [&](const record::OperationRow& row) { exporter.operation_ended(row); };
  hooks.decided = [&](const Decision& decision) { exporter.decided(decision); };
  hooks.detected = [&](const ServiceKey& service, Duration took) { exporter.detected(service, took); };
  hooks.tested = [&](const ServiceKey& service, const std::string&, bool passed) { exporter.tested(service, passed); };
  hooks.hook_ended = [&](const ServiceKey& service, const std::string& at, Outcome::Status status, Duration took) {
    exporter.hook_ended(service, at, status, took);
  };
  hooks.scrubbed = [&](const ServiceKey& service, std::int64_t files, std::int64_t bytes, bool intact, Instant wall) {
    exporter.scrubbed(service, files, bytes, intact, wall);
  };
  engine.set_hooks(std::move(hooks));
  engine.insight().set_configuration(configuration_digest);

  api::Api* api = nullptr;
  const api::Reload reload = [&]() -> asio::awaitable<Result<>> {
    io::notify::reloading();
    cli::Configuration next = cli::load_configuration(options.config, rules_directory);
    const std::string next_digest = cli::digest_of(next);
    Result<> taken;
    if (report(next)) {
      std::string first;
      for (const auto& problem : next.problems)
        if (first.empty() && !problem.warning) first = problem.text();
      taken = Error(Errc::invalid_config, "the configuration was not taken; the old one stays").because(first);
    } else {
      auto next_tokens = read_tokens(next.loaded.settings.token_file);
      taken = next_tokens ? co_await engine.reload(next.loaded.settings, std::move(next.groups)) : Result<>(next_tokens.error());
      if (taken) api->set_tokens(std::move(*next_tokens));
      if (taken) engine.insight().set_configuration(next_digest);
    }
    if (taken) {
      ++engine.reloads_ok;
      engine.last_reload_error.clear();
      log::info("the configuration was taken");
    } else {
      ++engine.reloads_failed;
      engine.last_reload_error = taken.error().text();
      log::error(taken.error().text());
    }
    io::notify::ready(taken ? "the configuration was taken" : "runs with its old configuration: " + taken.error().text());
    co_return taken;
  };
  api::Api the_api(engine, exporter, reload, std::move(*tokens));
  api = &the_api;
  io::HttpServer server(context.get_executor(), [&](io::ServerRequest request) { return the_api.handle(std::move(request)); });

  int exit_code = 0;
  bool has_socket = false;
  asio::signal_set stop_signals(context, SIGTERM, SIGINT), reload_signal(context, SIGHUP);
  auto reload_loop = [&]() -> asio::awaitable<void> {
    while (true) {
      boost::system::error_code stopped;
      co_await reload_signal.async_wait(asio::redirect_error(asio::use_awaitable, stopped));
      if (stopped) co_return;
      const Result<> done = co_await reload();
      record::AuditEntry entry;
      entry.principal = "signal:SIGHUP";
      entry.action = "reload";
      entry.reason = "SIGHUP; a signal says neither who sent it nor why";
      entry.outcome = done ? "done" : "failed: " + done.error().text();
      engine.audit(std::move(entry));
    }
  };
  auto whole = [&]() -> asio::awaitable<void> {
    auto started = co_await engine.start();
    if (!started) {
      log::error("rollbackd cannot start", {{"error", started.error().text()}});
      exit_code = 1;
      context.stop();
      co_return;
    }
    exporter.seed(engine.history().totals(), engine.history().last_operations());
    auto port = server.listen_tcp(settings.listen);
    auto local = server.listen_unix(socket_path(settings), 0660);
    has_socket = local.has_value();
    for (const Error& error : {port ? Error{} : port.error(), local ? Error{} : local.error()}) {
      if (error.code == Errc::none) continue;
      log::error("rollbackd cannot listen", {{"error", error.text()}});
      exit_code = 1;
    }
    if (exit_code != 0) {
      co_await engine.stop();
      context.stop();
      co_return;
    }
    log::info("rollbackd watches", {{"services", std::to_string(settings.services.size())},
                                    {"listen", settings.listen.substr(0, settings.listen.rfind(':')) + ":" + std::to_string(*port)},
                                    {"socket", socket_path(settings)}});
    io::notify::ready("watches " + std::to_string(settings.services.size()) + " services");
    const auto feeding = engine::spawn(context.get_executor(), nullptr, io::notify::feed_watchdog());
    const auto serving = engine::spawn(context.get_executor(), nullptr, server.run());
    const auto running = engine::spawn(context.get_executor(), nullptr, engine.run());
    const auto reloading = engine::spawn(context.get_executor(), nullptr, reload_loop());
    boost::system::error_code ignored;
    const int signal = co_await stop_signals.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    log::info("rollbackd stops", {{"signal", strsignal(signal)}});  // NOLINT(concurrency-mt-unsafe)
    io::notify::stopping("ends its work");
    reloading.cancel();
    serving.cancel();
    running.cancel();
    co_await engine.stop();
    context.stop();
  };
  engine::spawn(context.get_executor(), nullptr, whole());
  context.run();
  if (has_socket) ::unlink(socket_path(settings).c_str());  // Else it is another daemon's.
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): writing to a closed connection is an error, not the end
  Options options;
  CLI::App app("rollbackd watches services and puts the last good release back when a new one is bad.", "rollbackd");
  app.set_version_flag("--version", std::string("rollbackd ") + ROLLBACKD_VERSION);
  app.add_option("--config,-c", options.config, "Main configuration file")->capture_default_str();
  app.add_option("--rules-directory", options.rules_directory, "Where the shipped rule packs are");
  app.add_flag("--check", options.check, "Read the configuration, say what is wrong with it, and end");
  app.add_option("--keeper", options.keeper, "Parent one supervised service (rollbackd starts this itself)")->group("");
  app.add_flag("--hook-guard", options.hook_guard, "Run one hook (rollbackd starts this itself)")->group("");
  app.add_option("--actor-socket", options.actor_socket, "Where \"actor\": \"auto\" finds the actor, whether it is there yet or not");
  app.add_option("--user", options.user, "Become this user, after \"actor\": \"fork\" has begun the actor");
  app.add_flag("--actor", options.actor, "Be the actor: carry out steps for a daemon without rights")->group("Actor");
  app.add_option("--socket", options.place_socket, "Listen here; without it and --fd, systemd hands over a socket")->group("Actor");
  app.add_option("--fd", options.place_fd, "Serve one connection that was inherited, and end with it")->group("Actor");
  app.add_option("--daemon-user", options.daemon_user, "Who may ask for steps, beside root")->group("Actor");
  app.add_option("--actor-directory", options.actor_directory, "The actor's own files; default: STATE-actor")->group("Actor");
  auto* rollback = app.add_subcommand("rollback", "Roll back without a running daemon, under the state directory's lock");
  rollback->add_option("service", options.offline.service, "Name of the service")->required();
  rollback->add_option("--env,-e", options.offline.environment, "Environment, when the service runs in several");
  rollback->add_option("--to", options.offline.to, "Release to go to; default: the newest good one before the live one");
  rollback->add_option("--reason", options.offline.reason, "Why; recorded")->required();
  rollback->add_flag("--offline", options.offline.offline, "Needed: with a running daemon, use rollbackctl")->required();
  rollback->add_flag("--dry-run", options.offline.dry_run, "Show the steps and what every guard says; change nothing");
  rollback->add_flag("--force", options.offline.force, "Pass over the guards that a person may");
  rollback->add_flag("--emergency", options.offline.emergency, "The short deadline");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cli::end_of_parse(app, error);
  }
  if (!options.keeper.empty()) return drivers::run_keeper(options.keeper);
  if (options.hook_guard) return drivers::run_hook_guard();
  if (options.actor) return run_the_actor(options);
  if (rollback->parsed()) {
    options.offline.config = options.config;
    options.offline.rules_directory = options.rules_directory;
    options.offline.program = own_program();
    options.offline.node = host_name();
    options.offline.choose_actor = [options](const asio::any_io_executor& executor, const config::Settings& settings) {
      Options own = options;
      own.user.clear();
      return choose_actor(executor, settings, own);
    };
    return cli::rollback_offline(options.offline);
  }
  return run_daemon(options);
}
