// Deployment locks: who deploys says so, others are refused meanwhile, and an automatic rollback does not run into it.
#include "base/text.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/service.hpp"

namespace rollbackd::engine {
namespace {

constexpr Duration kLongest = 24h;
constexpr std::size_t kReasonBytesMax = 256, kPrincipalBytesMax = 128;

CommandAnswer say(ExitCode code, std::string message, Json body = Json::object()) {
  CommandAnswer answer;
  answer.code = code;
  answer.body = std::move(body.set("message", std::move(message)));
  return answer;
}

Json body_of(const Service& service, const DeployLock& lock) {
  return Json::object()
      .set("service", service.key().name)
      .set("environment", service.key().environment)
      .set("until", format_rfc3339(lock.until))
      .set("principal", lock.principal)
      .set("reason", lock.reason);
}

}  // namespace

Result<CommandAnswer> Fleet::lock(const LockCommand& command) {
  if (trim(command.reason).empty()) return Error(Errc::invalid_argument, "a lock needs a reason").try_next("add --reason \"...\"");
  if (command.length <= Duration{} || command.length > kLongest)
    return Error(Errc::invalid_argument, "a lock lasts more than nothing and at most 24h");
  auto found = engine_.find(command.service);
  if (!found) return found.error();
  Service& service = **found;
  if (!service.running()) return Error(Errc::unavailable, "the service is not watched").because(service.trouble());
  const Instant now = engine_.clock_.now();
  const auto& held = service.incident().state().lock;
  const bool mine = held && !command.id.empty() && command.id == held->id;
  if (held && now < held->until && !mine)
    return say(ExitCode::refused,
               service.key().text() + " is locked until " + format_rfc3339(held->until) + " by " + held->principal + ": " + held->reason,
               body_of(service, *held));
  if (!mine && !command.id.empty())
    return say(ExitCode::refused, service.key().text() + " is not locked by " + printable(cut(command.id, 64)) + " any more");
  DeployLock lock;
  lock.id = mine ? held->id : io::new_id();
  lock.until = now + command.length;
  lock.reason = cut(printable(command.reason), kReasonBytesMax);
  lock.principal = cut(command.principal, kPrincipalBytesMax);
  service.deliver(event::Locked{lock});
  return say(ExitCode::success, service.key().text() + " is locked until " + format_rfc3339(lock.until),
             body_of(service, lock).set("lock", lock.id));
}

Result<CommandAnswer> Fleet::unlock(const UnlockCommand& command) {
  auto found = engine_.find(command.service);
  if (!found) return found.error();
  Service& service = **found;
  if (!service.running()) return Error(Errc::unavailable, "the service is not watched").because(service.trouble());
  const auto& held = service.incident().state().lock;
  if (!held) return say(ExitCode::success, service.key().text() + " was not locked");
  const bool mine = command.id.empty() ? command.principal == held->principal : command.id == held->id;
  if (!mine && !command.force)
    return say(ExitCode::refused,
               "the lock of " + service.key().text() + " is not yours: " + held->principal + " holds it until " +
                   format_rfc3339(held->until) + "; --force takes it away",
               body_of(service, *held));
  const std::string whose = mine ? "" : " (it was " + held->principal + "'s)";
  service.deliver(event::Locked{});
  return say(ExitCode::success, service.key().text() + " is not locked any more" + whose);
}

}  // namespace rollbackd::engine
