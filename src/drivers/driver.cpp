#include "drivers/driver.hpp"

#include <utility>

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
  co_return Reading{std::move(read.value()), ""};
}

Result<Step> Driver::plan_removal(const std::string&) const { return Error(Errc::unsupported, "this driver removes no releases"); }

Result<std::unique_ptr<Driver>> make_driver(DriverContext context) {
  if (context.settings.driver == "symlink") return make_symlink_driver(std::move(context));
  return Error(Errc::unsupported, "no driver \"" + context.settings.driver + "\" in this version").try_next("use \"symlink\"");
}

namespace {

/// `supervised`: by whom. A service that a keeper parents stays there: it must not be started a second time.
Result<std::unique_ptr<Manager>> make_kept(DriverContext context) {
  using Parent = config::ProcessSettings::Parent;
  const Parent parent = context.settings.process.parent;
  const bool by_systemd = parent == Parent::systemd || (parent == Parent::auto_ && io::systemd_reachable());
  if (by_systemd && !has_keeper(context)) return make_transient_manager(std::move(context));
  return make_supervised_manager(std::move(context));
}

}  // namespace

Result<std::unique_ptr<Manager>> make_manager(DriverContext context) {
  switch (context.settings.process.manager) {
    case config::ManagerType::none: return std::unique_ptr<Manager>();
    case config::ManagerType::supervised: return make_kept(std::move(context));
    case config::ManagerType::command: return make_command_manager(std::move(context));
    case config::ManagerType::systemd: return make_systemd_manager(std::move(context));
  }
  return Error(Errc::internal, "there is no such service manager");
}

}  // namespace rollbackd::drivers
