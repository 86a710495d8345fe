#include "drivers/driver.hpp"

#include <filesystem>
#include <utility>

#include "drivers/actor_client.hpp"
#include "drivers/actor_server.hpp"
#include "drivers/managers.hpp"
#include "drivers/symlink.hpp"
#include "io/dbus.hpp"

namespace rollbackd::drivers {

std::string restart_token(const Step& step) {
  std::string token = step.operation + ":" + std::to_string(step.number);
  const Json& attempt = step.arguments["attempt"];
  if (attempt.is_number()) token += ":" + std::to_string(attempt.int_or(0));
  if (attempt.is_string()) token += ":" + attempt.string_or("");
  return token;
}

boost::asio::awaitable<Result<Reading>> Driver::read(std::string release, ReadOptions) {
  auto read = co_await digest(std::move(release));
  if (read.has_error()) co_return read.error();
  Reading found;
  found.digest = std::move(read.value());
  found.in_full = false;
  co_return found;
}

Result<Step> Driver::plan_removal(const ComponentRelease&) const { return Error(Errc::unsupported, "this driver removes no releases"); }

namespace {

Result<std::unique_ptr<Driver>> make_local_driver(DriverContext context) {
  if (context.settings.driver == "symlink") return make_symlink_driver(std::move(context));
  return Error(Errc::unsupported, "no driver \"" + context.settings.driver + "\" in this version").try_next("use \"symlink\"");
}

/// `supervised`: by whom. A service that a keeper parents stays there: it must not be started a second time.
Result<std::unique_ptr<Manager>> make_kept(DriverContext context) {
  using Parent = config::ProcessSettings::Parent;
  const Parent parent = context.settings.process.parent;
  const bool by_systemd = parent == Parent::systemd || (parent == Parent::auto_ && io::systemd_reachable());
  if (by_systemd && !has_keeper(context)) return make_transient_manager(std::move(context));
  return make_supervised_manager(std::move(context));
}

Result<std::unique_ptr<Manager>> make_local_manager(DriverContext context) {
  switch (context.settings.process.manager) {
    case config::ManagerType::none: return std::unique_ptr<Manager>();
    case config::ManagerType::supervised: return make_kept(std::move(context));
    case config::ManagerType::command: return make_command_manager(std::move(context));
    case config::ManagerType::systemd: return make_systemd_manager(std::move(context));
  }
  return Error(Errc::internal, "there is no such service manager");
}

}  // namespace

Result<std::unique_ptr<Driver>> make_driver(DriverContext context) {
  const auto link = ActorLink::of(context.executor);
  auto local = make_local_driver(context);
  if (!link || local.has_error()) return local;
  return make_remote_driver(link, std::move(context), std::move(local.value()));
}

Result<std::unique_ptr<Manager>> make_manager(DriverContext context) {
  const auto link = ActorLink::of(context.executor);
  // A keeper that an actor began is found where that one keeps it, or its service would be started a second time.
  const std::string kept = actor_service_directory(context.service_directory);
  std::error_code unknown;
  if (!link && std::filesystem::is_directory(kept, unknown)) context.service_directory = kept;
  auto local = make_local_manager(context);
  if (!link || local.has_error() || !local.value()) return local;
  return make_remote_manager(link, std::move(context), std::move(local.value()));
}

}  // namespace rollbackd::drivers
