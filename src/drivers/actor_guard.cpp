// The actor's own guards: fewer than the daemon's and blunter, so that a daemon that errs or was taken over cannot do more than these
// allow.
#include "drivers/actor_guard.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <filesystem>

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/text.hpp"
#include "drivers/actor_config.hpp"
#include "drivers/guarded_path.hpp"
#include "drivers/layout.hpp"
#include "drivers/managers.hpp"

namespace rollbackd::drivers::actor {
namespace {

using io::Fd;

Error refused(const Request& request, std::string why) {
  return Error(Errc::refused, "the actor refuses the step \"" + request.step.action + "\" of " + request.service.text())
      .because(std::move(why));
}

/// The release that a link's value names: its last part.
std::string named_by(std::string value) {
  while (value.size() > 1 && value.back() == '/') value.pop_back();
  return value.substr(value.rfind('/') + 1);
}

std::string name_in(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

}  // namespace

Result<> may_operate(const config::ServiceSettings& service, const Memory& memory, const Request& request, const ClockReading& now) {
  if (request.about.fence < memory.fence)
    return refused(request, "its fencing token " + std::to_string(request.about.fence) + " is lower than " + std::to_string(memory.fence) +
                                ", which was seen before: somebody newer is in charge");
  if (request.step.action == "remove") return {};  // Housekeeping is no operation; may_remove() has its limits.
  if (memory.steps_of(request.step.operation) >= kStepsOfOneMax)
    return refused(request, "its operation has begun " + std::to_string(kStepsOfOneMax) + " steps, which is the limit");
  if (request.about.trigger == Trigger::manual) {
    if (memory.switched(false, kPersonsWithin, now, request.step.operation) < kPersonsMax) return {};
    return refused(request,
                   std::to_string(kPersonsMax) + " operations by people within " + format_duration(kPersonsWithin) + " are the limit");
  }
  const int budget = service.policy.budget_rollbacks;
  const int most = budget > 0 ? budget + kAutomaticBeyondBudget : 0;
  if (memory.switched(true, service.policy.budget_per, now, request.step.operation) < most) return {};
  return refused(request, "more than " + std::to_string(most) + " automatic operations within " +
                              format_duration(service.policy.budget_per) + " (the budget of the configuration, and a little)")
      .try_next("a person may act: rollbackctl rollback " + service.key.name + " --reason ...");
}

Result<> may_switch(const config::ServiceSettings& service, const config::ComponentSettings& component, const Request& request,
                    const std::string& kill_switch) {
  std::error_code unknown;
  if (std::filesystem::exists(kill_switch, unknown) || (unknown && unknown != std::errc::no_such_file_or_directory))
    return refused(request, "the kill switch " + kill_switch + " is there");
  const bool by_person = request.about.trigger == Trigger::manual;
  if (!by_person && service.automation != config::Automation::automatic && service.automation != config::Automation::approve)
    return refused(request, std::string("the configuration says \"automation\": \"") + to_string(service.automation) + "\"");
  const std::string value = request.step.arguments["to_value"].string_or("");
  const std::string release = named_by(value);
  const auto place = open_release(component.releases, release);
  if (place.has_error()) return refused(request, place.error().text());
  const auto links = open_by_parts(parent_of(component.current), O_PATH);
  if (links.has_error()) return refused(request, links.error().text());
  if (auto leads = leads_to(links->get(), value, *place); leads.has_error()) return refused(request, leads.error().text());
  if (noted_bad(*place, release) && !(by_person && request.about.forced))
    return refused(request, release + " is marked bad by the note " + component.releases + "/" + bad_release_note(release))
        .try_next("rollbackctl mark good takes the note away, or a person forces it");
  return {};
}

bool stands_at(const config::ComponentSettings& component, const std::string& value) {
  const auto links = open_by_parts(parent_of(component.current), O_PATH);
  if (links.has_error()) return false;
  char found[PATH_MAX];
  const ssize_t n = ::readlinkat(links->get(), name_in(component.current).c_str(), found, sizeof found);
  return n >= 0 && std::string(found, static_cast<std::size_t>(n)) == value;
}

Result<> may_undo(const config::ComponentSettings& component, const Request& request, bool begun) {
  // A switch that was never asked for is taken back too where nobody knows how far an operation came: then nothing is to be done.
  if (begun || stands_at(component, request.step.arguments["from_value"].string_or(""))) return {};
  return refused(request, "this actor has not begun the switch that it would take back")
      .try_next("compare " + component.current + " with the operation's record and act by hand");
}

Result<> may_remove(const config::ServiceSettings& service, const config::ComponentSettings& component, const Request& request) {
  const int keep = service.policy.keep_releases;
  if (keep <= 0) return refused(request, "the configuration does not say that releases are removed (keep_releases)");
  const Fd releases(::open(component.releases.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  std::error_code failed;
  int there = 0;
  for (std::filesystem::directory_iterator entries(component.releases, failed), end; !failed && entries != end; entries.increment(failed))
    there += is_release_id(entries->path().filename().string()) && entries->is_directory(failed) && !entries->is_symlink(failed) ? 1 : 0;
  if (!releases || failed) return refused(request, component.releases + " cannot be read");
  if (there < keep)
    return refused(request, "only " + std::to_string(there) + " releases are there, and " + std::to_string(keep) + " are kept");
  const std::string release = request.step.arguments["release"].string_or("");
  if (!is_release_id(release)) return refused(request, printable(release) + " is no release id");
  const auto place = open_release(component.releases, release);
  if (place.has_error()) return {};                                   // Half removed, or gone: the driver knows how it goes on.
  for (const config::ComponentSettings& each : service.components) {  // Several may share a directory of releases.
    const auto links = open_by_parts(parent_of(each.current), O_PATH);
    if (links.has_error()) return refused(request, links.error().text());
    char value[PATH_MAX];
    const ssize_t n = ::readlinkat(links->get(), name_in(each.current).c_str(), value, sizeof value);
    if (n < 0 && errno != ENOENT) return refused(request, each.current + " cannot be read");
    if (n >= 0 && leads_to(links->get(), std::string(value, static_cast<std::size_t>(n)), *place).has_value())
      return refused(request, release + " is live");
  }
  return {};
}

std::string token_of(const Request& request) { return (request.verb == Verb::undo ? "undo:" : "") + restart_token(request.step); }

std::string move_of(const Request& request) {
  const Json& of = request.step.arguments;
  const std::string moved = request.component + "\n" + of["from_value"].string_or("") + "\n" + of["to_value"].string_or("");
  return sha256_hex(moved).substr(0, 16);
}

std::string content_of(const Request& request) {
  return sha256_hex(std::string(to_string(request.verb)) + "\n" + request.step.to_json().dump()).substr(0, 32);
}

}  // namespace rollbackd::drivers::actor
