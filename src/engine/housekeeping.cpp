#include "engine/housekeeping.hpp"

#include <sys/inotify.h>

#include <algorithm>

#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/engine.hpp"
#include "engine/service.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr Duration kTurn = 15s;
constexpr Duration kFirstTurn = 500ms;         ///< after the start, when services have armed their targets
constexpr Duration kSoon = 50ms;               ///< what happens together is looked at together
constexpr Duration kLookEvery = 10min;         ///< at all files of the target, without reading them
constexpr Duration kRemovalMax = 10min;        ///< of one release; what is left then goes on with the next turn
constexpr int kTriesMax = 20;                  ///< a live release that is written to all the time is not read for ever
constexpr std::int64_t kScrubRate = 16 << 20;  ///< bytes a second

}  // namespace

Housekeeping::Housekeeping(Engine& engine)
    : engine_(engine), wake_(engine.executor_), changes_({engine.executor_, &engine.clock_, [&engine] {
                                                            std::vector<std::shared_ptr<Service>> services;
                                                            for (const auto& [key, service] : engine.services_) services.push_back(service);
                                                            return services;
                                                          }}) {}
Housekeeping::~Housekeeping() { stop(); }

void Housekeeping::stop() {
  stop_->store(true);
  listening_.cancel();
  changing_.cancel();
  changes_.stop();
  wake_.cancel();
}

void Housekeeping::look_soon() {
  if (soon_) return;
  soon_ = true;
  wake_.cancel();
}

asio::awaitable<void> Housekeeping::run() {
  // Cancelled while a worker reads, it is told at the next question here; by default that would be an exception.
  co_await asio::this_coro::throw_if_cancelled(false);
  changing_ = spawn(engine_.executor_, nullptr, changes_.run());
  co_await pause(wake_, kFirstTurn);
  if (auto events = io::Inotify::open(engine_.executor_); events.has_value()) {
    events_.emplace(std::move(events.value()));
    listening_ = spawn(engine_.executor_, nullptr, listen());
  }
  while (!*stop_) {
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
    soon_ = false;
    std::vector<std::shared_ptr<Service>> services;
    for (const auto& [key, service] : engine_.services_) services.push_back(service);
    for (const auto& service : services) {
      co_await tend(service);
      if (*stop_) co_return;
    }
    if (!soon_) co_await pause(wake_, kTurn);
    if (soon_) co_await pause(wake_, kSoon);
  }
}

asio::awaitable<void> Housekeeping::listen() {
  co_await asio::this_coro::throw_if_cancelled(false);
  while (!*stop_) {
    const auto heard = co_await events_->next();
    if (heard.has_error()) co_return;  // The turns go on without it.
    look_soon();
  }
}

/// An operation is under way, or it is not known what is live: then everything waits.
bool Housekeeping::busy(const Service& service) const {
  return *stop_ || engine_.stopping_ || !service.running() || !service.operating_.empty() || service.incident().operation_running() ||
         service.incident().state().epoch.release.empty();
}

asio::awaitable<void> Housekeeping::tend(std::shared_ptr<Service> service) {
  if (!service->driver_ || service->component().releases.empty()) co_return;
  // Adding it again gives the same watch, unless another directory has come to this place.
  constexpr std::uint32_t kEvents = IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
  for (const config::ComponentSettings& component : service->settings().components)
    if (events_) static_cast<void>(events_->add(component.releases, kEvents));
  if (!busy(*service)) co_await read_live(service);
  if (!busy(*service)) co_await look_at_target(service);
  if (!busy(*service)) scrub_one(service);
  if (!busy(*service)) co_await prune(service);
}

asio::awaitable<Result<drivers::Reading>> Housekeeping::read(std::shared_ptr<Service> service, std::string release,
                                                             drivers::ReadOptions options) {
  options.stop = stop_;
  co_return co_await service->driver_->read(std::move(release), std::move(options));
}

/// A release is read when it has gone live, so that what is judged good is known by its files; and again when it has become good.
asio::awaitable<void> Housekeeping::read_live(std::shared_ptr<Service> service) {
  Kept& kept = kept_[service->key().text()];
  const ServiceState& state = service->incident().state();
  const std::string live = state.epoch.release;
  const LedgerEntry* entry = ledger::find(state, live);
  if (entry == nullptr) co_return;
  const bool new_epoch = kept.epoch != state.epoch.number;
  const bool now_good = entry->standing == Standing::good && kept.standing != Standing::good;
  if (new_epoch) kept.tries = 0;
  if ((!new_epoch && !now_good) || kept.tries >= kTriesMax) co_return;
  const std::uint64_t epoch = state.epoch.number;
  const Standing standing = entry->standing;
  drivers::ReadOptions options;
  options.worker = &reads_;
  options.quick = !new_epoch;
  const auto found = co_await read(service, live, options);
  if (busy(*service) || service->incident().state().epoch.number != epoch) co_return;  // Another one is live now: it has its own turn.
  Kept& after = kept_[service->key().text()];
  TargetFacts facts;
  facts.release = live;
  facts.present = true;
  if (found.has_error()) {
    // It is written to, or cannot be read: tried again with the next turns, and told once.
    if (++after.tries < kTriesMax && found.error().code == Errc::conflict) co_return;
    after.epoch = epoch;
    after.standing = standing;
    facts.why = found.error().text();
    log::warning("the live release cannot be read", {{"service", service->key().text()}, {"release", live}, {"error", facts.why}});
    service->deliver(event::TargetHashed{facts, ""});
    co_return;
  }
  after.epoch = epoch;
  after.standing = standing;
  after.tries = 0;
  facts.intact = true;
  facts.why = found.value().change;
  // What it says of itself may be other than before, under the same id.
  const LedgerEntry* known = ledger::find(service->incident().state(), live);
  const bool first = known != nullptr && known->release.digest.empty();
  const bool another = known != nullptr && !first && known->release.digest != found.value().digest;
  if (another)
    if (auto says = service->driver_->describe(live)) service->incident().enter_release(*says, engine_.clock_.now());
  if (found.value().in_full || first || another) service->deliver(event::TargetHashed{facts, found.value().digest});
}

/// That the release to go back to is there is looked at every turn, at its files from time to time: somebody else's deployment tool may
/// remove what it takes for old.
asio::awaitable<void> Housekeeping::look_at_target(std::shared_ptr<Service> service) {
  const auto choice = ledger::choose_target(service->incident().state(), {});
  if (!choice.target) co_return;
  const std::string target = choice.target->id;
  if (!service->armed_ || service->armed_->release != target) co_return;  // Arming looks at it in full; it is on its way.
  const auto described = service->driver_->describe(target);
  const bool present = described.has_value() || described.error().code != Errc::not_found;
  if (!present) {
    if (!service->armed_->present) co_return;
    TargetFacts facts;
    facts.release = target;
    facts.why = (service->many_ ? described.error().text() : "its directory is gone from " + service->component().releases) +
                ": something other than rollbackd removed it";
    service->armed_ = facts;
    service->deliver(event::TargetHashed{facts, ""});
    co_return;
  }
  Kept& kept = kept_[service->key().text()];
  if (kept.arming) co_return;       // Once is enough, however many events come until it has been read.
  if (!service->armed_->present) {  // It is there again: hashed and armed anew.
    kept.arming = true;
    spawn(engine_.executor_, service, arm_again(service, target));
    co_return;
  }
  const Instant now = engine_.clock_.now();
  if (kept.looked.ns() == 0) kept.looked = now;  // Armed just now.
  if (now - kept.looked < kLookEvery) co_return;
  kept.looked = now;
  drivers::ReadOptions options;
  options.worker = &reads_;
  options.quick = true;
  const auto found = co_await read(service, target, options);
  if (busy(*service) || (found.has_value() && !found.value().in_full)) co_return;
  kept_[service->key().text()].arming = true;
  spawn(engine_.executor_, service, arm_again(service, target));  // Something was touched: it says what, and whether it matters.
}

asio::awaitable<void> Housekeeping::arm_again(std::shared_ptr<Service> service, std::string target) {
  co_await service->arm(std::move(target));
  kept_[service->key().text()].arming = false;
}

/// Each good release is read in full once in `scrub_interval`, slowly, one at a time in the whole daemon: disks forget silently.
void Housekeeping::scrub_one(const std::shared_ptr<Service>& service) {
  const Duration interval = service->settings().policy.scrub_interval;
  if (scrubbing_ || interval <= Duration{} || service->incident().state().incident) return;
  const Instant now = engine_.clock_.now();
  const LedgerEntry* due = nullptr;
  for (const LedgerEntry& entry : service->incident().state().ledger) {
    if (entry.standing != Standing::good || entry.release.digest.empty() || !entry.intact) continue;
    if (entry.scrubbed && now - *entry.scrubbed < interval) continue;
    if (due == nullptr || entry.scrubbed.value_or(Instant()) < due->scrubbed.value_or(Instant())) due = &entry;
  }
  if (due == nullptr) return;
  scrubbing_ = true;
  spawn(engine_.executor_, service, scrub(service, due->release.id));
}

asio::awaitable<void> Housekeeping::scrub(std::shared_ptr<Service> service, std::string release) {
  co_await asio::this_coro::throw_if_cancelled(false);
  drivers::ReadOptions options;
  options.worker = &scrubs_;
  options.bytes_per_second = kScrubRate;
  const auto found = co_await read(service, release, options);
  scrubbing_ = false;
  if (*stop_ || engine_.stopping_ || !service->running()) co_return;
  const LedgerEntry* entry = ledger::find(service->incident().state(), release);
  if (entry == nullptr) co_return;
  TargetFacts facts;
  facts.release = release;
  if (found.has_error()) {
    if (found.error().code == Errc::cancelled || found.error().code == Errc::conflict) co_return;  // Being written to: looked at again.
    facts.present = found.error().code != Errc::not_found;
    facts.why = found.error().text();
  } else {
    facts.present = true;
    facts.intact = entry->release.digest == found.value().digest;
    facts.why = facts.intact ? "" : !found.value().change.empty() ? found.value().change : "its files are not those that were hashed";
  }
  if (found.has_value() && engine_.hooks_.scrubbed)
    engine_.hooks_.scrubbed(service->key(), found.value().files, found.value().bytes, facts.intact, io::Clock::wall_now());
  if (!facts.intact) log::error("a release is damaged", {{"service", service->key().text()}, {"release", release}, {"why", facts.why}});
  if (service->armed_ && service->armed_->release == release && !facts.intact) service->armed_ = facts;
  service->deliver(event::TargetHashed{facts, found.has_value() ? found.value().digest : ""});
}

/// Retention waits while anything is going on, or while what a rollback needs is not in order.
std::string Housekeeping::why_not_prune(const Service& service) const {
  const ServiceState& state = service.incident().state();
  const Instant now = engine_.clock_.now();
  const decision::GuardInput input = service.incident().guard_input(now);
  if (busy(service)) return "an operation runs";
  if (service.settings().automation < config::Automation::approve)
    return "automation is " + std::string(to_string(service.settings().automation));
  if (state.incident) return "an incident is open";
  if (state.lock) return "a deploy lock is held";
  if (state.suspension || input.daemon_suspended) return "suspended";
  if (!input.state_trusted || !service.trouble_.empty() || !service.link_trouble_.empty()) return "the service is in trouble";
  const auto choice = ledger::choose_target(state, {});
  if (!choice.target || !service.armed_ || service.armed_->release != choice.target->id || !service.armed_->intact)
    return "no rollback is ready";
  return {};
}

asio::awaitable<void> Housekeeping::prune(std::shared_ptr<Service> service) {
  const config::PolicySettings& policy = service->settings().policy;
  if (policy.keep_releases <= 0 || !why_not_prune(*service).empty()) co_return;
  Kept& kept = kept_[service->key().text()];
  if (!kept.finished) {
    kept.finished = true;
    auto look = [driver = service->driver_.get()] { return driver->half_removed(); };
    const std::vector<ComponentRelease> rest = co_await reads_.run(std::move(look));
    for (const ComponentRelease& part : rest)
      if (why_not_prune(*service).empty()) co_await remove(service, part, "its removal was cut off");
  }
  const auto world = co_await service->driver_->inspect();
  if (world.has_error() || !why_not_prune(*service).empty()) co_return;
  const ServiceState& state = service->incident().state();
  ledger::Retention retention;
  retention.keep = static_cast<std::size_t>(policy.keep_releases);
  retention.keep_for = policy.keep_releases_for;
  if (!world.value().live.empty()) retention.in_use.push_back(world.value().live);
  // Further steps back need their targets too.
  for (int i = 0; i < policy.max_steps_back; ++i)
    if (const auto further = ledger::choose_target(state, retention.in_use); further.target) retention.in_use.push_back(further.target->id);
  for (const auto& [key, other] : engine_.services_) {  // Services may share a directory of releases.
    if (other == service || !other->running()) continue;
    const ServiceState& theirs = other->incident().state();
    const auto there = disk_of(*other, World{});
    for (const LedgerEntry& entry : theirs.ledger) {
      if (ledger::why_kept(theirs, entry.release.id, {}).empty()) continue;
      for (const ComponentRelease& part : ledger::parts_of(entry, there))
        for (const ledger::ComponentDisk& component : there)
          if (component.component == part.component) retention.places_in_use.insert(component.place(part.release));
    }
  }
  const auto old = ledger::parts_to_remove(state, disk_of(*service, world.value()), retention, engine_.clock_.now());
  if (old.empty()) co_return;
  // One a turn: the disk is others' too. One that somebody's link leads to does not stand in the way of the others.
  const std::string why = "not needed any more: keep_releases is " + std::to_string(policy.keep_releases);
  for (const ComponentRelease& part : old) {
    const bool removed = co_await remove(service, part, why);
    if (removed && old.size() > 1) look_soon();
    if (removed || !why_not_prune(*service).empty()) co_return;
  }
}

/// Each component's directory of releases, and what of `world` is in it.
std::vector<ledger::ComponentDisk> Housekeeping::disk_of(const Service& service, const World& world) const {
  std::vector<ledger::ComponentDisk> out;
  for (const config::ComponentSettings& component : service.settings().components) {
    ledger::ComponentDisk& disk = out.emplace_back();
    disk.component = component.name;
    disk.directory = component.releases;
    const World* seen = world.parts.empty() ? &world : nullptr;
    for (const World& part : world.parts)
      if (part.component == component.name) seen = &part;
    if (seen == nullptr) continue;
    disk.releases = seen->releases;
    disk.live = seen->live;
  }
  return out;
}

asio::awaitable<bool> Housekeeping::remove(std::shared_ptr<Service> service, ComponentRelease part, std::string why) {
  const std::string release = service->many_ ? part.component + "/" + part.release : part.release;
  auto step = service->driver_->plan_removal(part);
  if (step.has_error()) co_return false;
  // As a plan stamps its steps: the actor takes no other, and answers one that it knows with what came of that one.
  step.value().operation = io::new_id();
  step.value().number = 1;
  const Outcome outcome = co_await service->driver_->run(std::move(step.value()), kRemovalMax);
  const bool refused = outcome.status == Outcome::Status::refused;
  if (refused && kept_[service->key().text()].told_not_kept) co_return false;
  record::AuditEntry entry;
  entry.principal = "rollbackd";
  entry.action = "prune";
  entry.service = service->key();
  entry.target = release;
  entry.reason = why;
  entry.outcome = outcome.ok() ? "done" : std::string(to_string(outcome.status)) + ": " + outcome.error.text();
  engine_.audit(std::move(entry));
  kept_[service->key().text()].told_not_kept = refused;
  if (!outcome.ok()) {
    log::warning("a release is not removed", {{"service", service->key().text()}, {"release", release}, {"error", outcome.error.text()}});
    co_return false;
  }
  log::info("release removed", {{"service", service->key().text()}, {"release", release}, {"why", why}});
  if (!service->running()) co_return true;
  std::vector<std::string> gone{part.release};
  if (service->many_) gone.clear();  // Then it is those that it was a part of.
  for (const LedgerEntry& row : service->incident().state().ledger)
    if (service->many_ && std::find(row.components.begin(), row.components.end(), part) != row.components.end())
      gone.push_back(row.release.id);
  for (const std::string& id : gone) service->deliver(event::Pruned{id});
  co_return true;
}

}  // namespace rollbackd::engine
