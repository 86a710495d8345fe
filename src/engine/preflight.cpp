// The pre-flight's look at the world: disks and link directories on a worker of its own, managers by their own inspection.
// Flow: run() -> facts -> ready_checks() (pure) -> `ready`, /api/v1/ready, metrics. What memory knows is read when somebody asks.
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "base/text.hpp"
#include "config/judges_health.hpp"
#include "decision/guards.hpp"
#include "drivers/actor_client.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/insight.hpp"
#include "engine/parts.hpp"
#include "engine/service.hpp"
#include "engine/warm.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr Duration kLookEvery = 30s;
constexpr Duration kFirstLook = 200ms;  ///< after the start, when services have armed their targets

std::string why_of(int error) { return std::generic_category().message(error); }

/// @param ours  whether this process writes there; else it is the actor, and that the link was armed shows that it can
DirectoryFacts look_at_directory(const std::string& path, bool ours = true) {
  DirectoryFacts facts;
  facts.path = path;
  struct stat entry {};
  if (::stat(path.c_str(), &entry) != 0 || !S_ISDIR(entry.st_mode)) {
    facts.why = S_ISDIR(entry.st_mode) ? why_of(errno) : entry.st_mode == 0 ? why_of(errno) : "not a directory";
    return facts;
  }
  facts.there = true;
  struct statvfs system {};
  if (::statvfs(path.c_str(), &system) == 0) {
    facts.bytes_free = static_cast<std::int64_t>(system.f_bavail * system.f_frsize);
    // Some file systems (btrfs) have no inode table: they say 0 of 0.
    facts.inodes_free = system.f_files == 0 ? -1 : static_cast<std::int64_t>(system.f_favail);
  }
  facts.writable = !ours || ::faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) == 0;
  if (!facts.writable) facts.why = why_of(errno);
  if ((system.f_flag & ST_RDONLY) != 0) {
    facts.writable = false;
    facts.why = "the file system is read-only";
  }
  return facts;
}

/// What the link beside `current` leads to; empty when there is none. Its name is the symlink driver's.
std::string armed_link_of(const std::string& current) {
  const std::size_t slash = current.rfind('/');
  const std::string path = current.substr(0, slash + 1) + "." + current.substr(slash + 1) + ".rollbackd-armed";
  char target[PATH_MAX];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof target);
  return n > 0 ? std::string(target, static_cast<std::size_t>(n)) : std::string();
}

struct Looked {
  DirectoryFacts state;
  std::vector<LinkLook> links;
};

Looked look(const std::string& state_directory, const std::vector<config::ComponentSettings>& components, bool ours) {
  Looked out;
  out.state = look_at_directory(state_directory);
  for (const config::ComponentSettings& component : components) {
    LinkLook& link = out.links.emplace_back();
    if (components.size() > 1) link.component = component.name;
    link.armed_wanted = component.driver == "symlink";
    const std::string& current = component.current;
    if (current.empty()) continue;
    const std::size_t slash = current.rfind('/');
    link.directory = look_at_directory(slash == std::string::npos || slash == 0 ? "/" : current.substr(0, slash), ours);
    link.armed_link = armed_link_of(current);
  }
  return out;
}

std::string says(const World::Process& process) {
  if (!process.running) return "answers; nothing runs";
  return "runs" + (process.pid > 0 ? " as pid " + std::to_string(process.pid) : std::string());
}

}  // namespace

boost::asio::awaitable<void> Insight::run() {
  // Cancelled while a worker looks, it is told at the next question here; by default that would be an exception.
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await pause(wake_, kFirstLook);
  while (true) {
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
    soon_ = false;
    std::vector<std::shared_ptr<Service>> services;
    for (const auto& [key, service] : engine_.services_) services.push_back(service);
    for (const auto& service : services) {
      co_await look_at(service);
      const auto after = co_await asio::this_coro::cancellation_state;
      if (after.cancelled() != asio::cancellation_type::none) co_return;
    }
    if (!soon_) co_await pause(wake_, kLookEvery);
  }
}

void Insight::look_soon() {
  if (soon_) return;
  soon_ = true;
  wake_.cancel();
}

asio::awaitable<void> Insight::look_at(std::shared_ptr<Service> service) {
  const bool ours = drivers::ActorLink::of(engine_.executor_) == nullptr;
  auto work = [state = service->directory_, components = service->settings().components, ours] { return look(state, components, ours); };
  const Looked found = co_await looks_.run(std::move(work));
  PreflightFacts& facts = world_[service->key().text()];
  facts.state = found.state;
  facts.links = found.links;
  facts.fleet = engine_.fleet().facts(*service);
  const ClockReading now = engine_.clock_.read();
  facts.wall = io::Clock::wall_now();
  facts.wall_ahead = facts.wall - now.instant;
  facts.looked = now.instant;
  bool& asking = asking_[service->key().text()];
  if (!service->manager_ || asking || !service->operating_.empty()) co_return;
  asking = true;
  spawn(engine_.executor_, service, ask_manager(service));
}

/// Apart, so that a manager that hangs holds up nobody else's look; its silence is what `ready` then tells.
asio::awaitable<void> Insight::ask_manager(std::shared_ptr<Service> service) {
  const auto process = co_await service->manager_->inspect();
  std::vector<std::string> of_each;
  if (process && service->many_managed_) {
    const auto each = co_await service->many_managed_->inspect_each();
    for (const rollback::ManagedComponent& one : each)
      of_each.push_back(one.component + " " + (one.process ? says(*one.process) : "does not answer"));
  }
  PreflightFacts& facts = world_[service->key().text()];
  facts.manager_trouble = process ? "" : process.error().text();
  facts.manager_answered = engine_.clock_.now();
  if (process) facts.manager_says = of_each.size() > 1 ? join(of_each, ", ") : says(*process);
  asking_[service->key().text()] = false;
}

std::vector<ReadyCheck> Insight::checks(const Service& service) const {
  const Instant now = engine_.clock_.now();
  ReadyInput input;
  input.settings = &service.settings();
  input.now = now;
  input.trouble = service.trouble_;
  input.link_trouble = service.link_trouble_;
  input.has_manager = service.manager_ != nullptr;
  if (const auto at = world_.find(service.key().text()); at != world_.end()) input.world = at->second;
  input.history_trouble = engine_.history_ ? engine_.history_->trouble() : "";
  if (const auto warm = engine_.warmer().facts(service.key().text())) {
    input.warm = warm->text();
    input.warm_well = warm->trouble.empty() && warm->warmth.warm();
  }
  input.outbox_trouble = engine_.outbox_ ? engine_.outbox_->trouble() : "";
  for (const auto& channel : engine_.settings_.notify)
    input.channels += channel.severity_min <= static_cast<int>(Notification::Severity::page) ? 1 : 0;
  for (const auto& check : service.checks()) {
    const Source source = check->source();
    const auto last = engine_.judge_.store().last_delivery(service.key(), source.check);
    input.observers.push_back({source.check, last && now - *last <= source.staleness});
  }
  if (!service.running()) return ready_checks(input);
  const decision::Incident& incident = service.incident();
  const ServiceState& state = incident.state();
  input.state = &state;
  input.state_trusted = incident.state_trusted();
  const auto choice = ledger::choose_target(state, {});
  input.target = choice.target ? choice.target->id : "";
  if (!choice.target && !choice.why_not.empty()) input.no_target_why = "no good release to go back to: " + cut(choice.why_not.front(), 200);
  input.armed = service.armed_;
  const auto view = incident.view(now);
  input.blind_rules = view.blind_rules;
  input.incident_spent = view.phase == "held" && state.incident && state.incident->acted;
  decision::GuardInput guards = incident.guard_input(now);
  guards.automatic = true;
  guards.to = input.target;
  if (service.armed_) guards.target = *service.armed_;
  guards.dependencies_failing = service.failing_dependencies();
  guards.daemon_suspended = engine_.fleet().kill_switch_on();
  guards.suspended_why = engine_.fleet().kill_switch().why();
  guards.fleet = input.world.fleet;
  input.guards = decision::ask_guards(guards);
  return ready_checks(input);
}

Result<Json> Insight::ready(const ServiceSelector& selector) const {
  std::vector<std::shared_ptr<Service>> services;
  if (selector.name.empty()) {
    for (const auto& [key, service] : engine_.services_) services.push_back(service);
  } else {
    auto found = engine_.find(selector);
    if (!found) return found.error();
    services.push_back(*found);
  }
  Json rows = Json::array();
  for (const auto& service : services) {
    const Service::Ready ready = service->readiness();
    Json row;
    row.set("service", service->key().name).set("environment", service->key().environment);
    row.set("ready", ready.ready).set("why", ready.why).set("checks", to_json(checks(*service)));
    rows.push(std::move(row));
  }
  return rows;
}

}  // namespace rollbackd::engine
