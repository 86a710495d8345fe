#include "cli/offline.hpp"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdio>

#include "base/text.hpp"
#include "cli/load.hpp"
#include "cli/owner.hpp"
#include "cli/render.hpp"
#include "drivers/actor_client.hpp"
#include "engine/engine.hpp"

namespace rollbackd::cli {

namespace asio = boost::asio;
using engine::ExitCode;

namespace {

int say(const Error& error, ExitCode code) {
  std::fprintf(stderr, "rollbackd: %s\n", printable(error.text()).c_str());
  return static_cast<int>(code);
}

int carry_out(const OfflineOptions& options, const config::Settings& settings) {
  asio::io_context context(1);
  if (auto chosen = options.choose_actor ? options.choose_actor(context.get_executor(), settings) : Result<>{}; !chosen)
    return say(chosen.error(), ExitCode::other);
  // After the engine, whose drivers use it, and before the context, whose sockets it has.
  const std::shared_ptr<void> unlink_actor(nullptr, [&context](void*) { drivers::ActorLink::set(context.get_executor(), nullptr); });
  engine::EngineOptions engine_options;
  engine_options.program = options.program;
  engine_options.node = options.node;
  engine_options.offline = true;
  engine::Engine engine(context.get_executor(), settings, {}, engine_options);
  int exit_code = static_cast<int>(ExitCode::rollback_error);
  std::optional<record::OperationRow> ended;
  asio::steady_timer ended_timer(context);
  engine::Hooks hooks;
  hooks.operation_ended = [&](const record::OperationRow& row) {
    ended = row;
    ended_timer.cancel();
  };
  engine.set_hooks(std::move(hooks));
  auto work = [&]() -> asio::awaitable<void> {
    auto started = co_await engine.start();
    if (!started) {
      exit_code = say(started.error(), started.error().code == Errc::conflict ? ExitCode::refused : ExitCode::other);
      context.stop();
      co_return;
    }
    engine::RollbackCommand command;
    command.service = {options.service, options.environment};
    command.to = options.to;
    command.reason = options.reason;
    command.principal = "uid:" + std::to_string(::getuid()) + " offline";
    command.dry_run = options.dry_run;
    command.force = options.force;
    command.emergency = options.emergency;
    auto answer = co_await engine.rollback(std::move(command));
    if (!answer) {
      exit_code = say(answer.error(), ExitCode::other);
    } else {
      std::fputs(render_command(answer->body).c_str(), stdout);
      exit_code = static_cast<int>(answer->code);
      if (answer->code == ExitCode::success && !answer->operation.empty()) {
        constexpr Duration kLongest = 1h;  // Far beyond every deadline of an operation.
        ended_timer.expires_after(kLongest);
        boost::system::error_code woken;
        while (!ended && !woken) co_await ended_timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
        if (ended) {
          std::printf("%s: %s -> %s %s\n", to_string(ended->status), ended->request.from.c_str(), ended->request.to.c_str(),
                      printable(ended->detail).c_str());
          exit_code = static_cast<int>(engine::exit_code_of(ended->request.kind, ended->status));
        }
      }
    }
    co_await engine.stop();
    context.stop();
  };
  asio::co_spawn(context, work(), asio::detached);
  context.run();
  return exit_code;
}

}  // namespace

int rollback_offline(const OfflineOptions& options) {
  const std::string rules_directory = options.rules_directory.empty() ? default_rules_directory() : options.rules_directory;
  Configuration configuration = load_configuration(options.config, rules_directory);
  for (const auto& problem : configuration.problems) std::fprintf(stderr, "%s\n", printable(problem.text()).c_str());
  if (!configuration.ok()) return static_cast<int>(ExitCode::other);

  // Only the named service is looked at, and nothing acts by itself.
  auto& services = configuration.loaded.settings.services;
  std::erase_if(services, [&](const config::ServiceSettings& s) {
    return s.key.name != options.service || (!options.environment.empty() && s.key.environment != options.environment);
  });
  if (services.empty())
    return say(Error(Errc::not_found, "there is no service " + options.service + " in " + options.config), ExitCode::other);
  if (services.size() > 1)
    return say(Error(Errc::invalid_argument, options.service + " runs in several environments").try_next("name one with --env"),
               ExitCode::other);
  configuration.loaded.settings.notify.clear();

  const StateOwner owner(configuration.loaded.settings.state_directory);
  const int exit_code = carry_out(options, configuration.loaded.settings);
  owner.give_back();
  return exit_code;
}

}  // namespace rollbackd::cli
