// See observer.hpp. One function a promise.
#include "tests/simulation/observer.hpp"

#include <algorithm>

#include "ledger/ledger.hpp"

namespace rollbackd::simulation {
namespace {

constexpr std::size_t kViolationsMax = 20;
/// Obeyed within a second; what passed the commit point before goes on.
constexpr Duration kObeyed = 1s;
/// How long after a command the disk may have let a person wait for the answer.
constexpr Duration kPromiseLate = 10s;

bool is_automatic(const OperationRequest& request) { return request.trigger != Trigger::manual && request.kind == OperationKind::rollback; }

}  // namespace

Observer::Observer(const Scenario& scenario, Clockwork& clock, Trace& trace)
    : scenario_(scenario), clock_(clock), trace_(trace), services_(scenario.services.size()) {}

DiskWatcher Observer::disk_watcher() {
  return {[this](std::size_t n, const ServiceState& state, Duration asked) { on_state(n, state, asked); },
          [this](std::size_t n, const OperationRecord& record) { on_record(n, record); }};
}

void Observer::violated(std::size_t n, const std::string& what) {
  if (violations_.size() >= kViolationsMax) return;
  const std::string text = scenario_.services[n].settings.key.name + ": " + what;
  violations_.push_back(std::to_string(static_cast<double>(clock_.now() / 1ms) / 1000) + " " + text);
  trace_.note(clock_.now(), "OBSERVER", text);
}

// ---- What it is told ----

void Observer::daemon_began() {
  life_began_ = clock_.now();
  for (Service& service : services_) {
    service.bad_heard.reset();
    // What an earlier boot wrote is told by wall time: where that was set since, nobody knows how long ago anything was, nor when what was
    // to last is over. It may have been set before this boot, by it, or in it while no daemon ran.
    const bool set_since = std::any_of(wall_set_.begin(), wall_set_.end(), [&](Duration at) { return at >= service.written; });
    if (service.written > booted_ || !set_since) continue;
    service.times_lost = life_began_;
    service.suspended.reset();
    service.locked.reset();
  }
}

void Observer::kill_switch(bool on) {
  if (!on)
    killed_.reset();
  else if (!killed_)
    killed_ = clock_.now();
}

void Observer::misbehaved(std::size_t n, const std::string& release, bool by_itself) {
  Service& service = services_[n];
  if (release != site_->id(n, site_->service(n).link)) return;  // The process of the release before still runs.
  service.excused = true;
  if (by_itself && !service.misbehaves_since) {
    service.misbehaves_since = clock_.now();
    ++counts_.bad_epochs;
  }
}

void Observer::pushed(std::size_t n) {
  Service& service = services_[n];
  service.pushed = service.excused = true;
  if (service.state) service.pushed_in_epoch = service.state->epoch.number;
}

void Observer::notified(std::size_t n, const Notification& notification) {
  if (notification.severity != Notification::Severity::page) return;
  services_[n].paged = services_[n].paged_last = clock_.now();
  ++counts_.pages;
}

void Observer::heard(std::size_t n, bool bad, Duration began) {
  Service& service = services_[n];
  if (bad && began >= service.since) service.bad_heard = clock_.now();
}

void Observer::gap() {
  for (Service& service : services_) {
    service.gap = clock_.now();
    service.bad_heard.reset();
  }
}

void Observer::asked(std::size_t n, const event::Settled& answers) {
  Service& service = services_[n];
  std::size_t others_failing = 0, others = 0;
  for (std::size_t other = 0; other < services_.size(); ++other) {
    if (other == n) continue;
    ++others;
    others_failing += !site_->is_blind(other) && !site_->answers(other);
  }
  // What the world answered, not what the shell made of it.
  const bool unseen = service.state && service.pushed_in_epoch == service.state->epoch.number;
  service.asked.pushed = service.pushed || unseen;
  service.asked.evidence = service.bad_heard || service.asked.pushed;
  service.asked.outage = site_->outage_now() && others >= 2 && others_failing == others && scenario_.noise.second_opinion_silent == 0;
  service.asked.intact = true;
  const auto target = site_->find(n, answers.target.release);
  if (!target || !service.state) return;
  const LedgerEntry* entry = ledger::find(*service.state, answers.target.release);
  const bool hashed = entry != nullptr && !entry->release.digest.empty();
  service.asked.intact = site_->service(n).on_disk[*target] && (!hashed || entry->release.digest == site_->digest(n, *target));
}

void Observer::began(std::size_t n, const OperationRequest& request, bool) {
  services_[n].began.try_emplace(request.operation, clock_.now());
  services_[n].basis.try_emplace(request.operation, services_[n].asked);
}

/// A person's yes counts from when the daemon hears it: should the disk fail or the daemon end, nobody can tell them whether it is in
/// force. A person's no counts from when they were told that it is on disk.
void Observer::permit(std::size_t n, const Event& command) {
  Service& service = services_[n];
  const auto* mark = std::get_if<event::Mark>(&command);
  if (mark != nullptr && mark->standing == Standing::good) {
    service.marks.erase(mark->release);
    service.left.erase(mark->release);
  }
  if (std::holds_alternative<event::Unsuspend>(command)) service.suspended.reset();
  if (const auto* said = std::get_if<event::Approve>(&command); said != nullptr && said->yes) service.approved = clock_.now();
  if (const auto* lock = std::get_if<event::Locked>(&command); lock != nullptr && lock->lock.id.empty()) service.locked.reset();
}

void Observer::promised(std::size_t n, const Event& command) {
  permit(n, command);
  Service& service = services_[n];
  if (const auto* mark = std::get_if<event::Mark>(&command); mark != nullptr && mark->standing != Standing::good) {
    service.marks[mark->release] = mark->standing;
    service.marked_at[mark->release] = clock_.now();
  }
  if (const auto* suspend = std::get_if<event::Suspend>(&command)) {
    if (!service.suspended) service.suspended = clock_.now();
    service.suspended_until = clock_.now() + suspend->length - kPromiseLate;
  }
  if (std::holds_alternative<event::Acknowledge>(command)) service.acknowledged = true;
  if (const auto* lock = std::get_if<event::Locked>(&command); lock != nullptr && !lock->lock.id.empty()) {
    service.locked = clock_.now();
    service.locked_until = lock_ends_.at(lock->lock.id);  // It may be over when it is taken: a daemon that was frozen hears late.
  }
}

void Observer::on_state(std::size_t n, const ServiceState& state, Duration asked) {
  Service& service = services_[n];
  service.state = state;
  service.written = asked;
  if (state.incident && service.incidents.insert(state.incident->id).second) ++counts_.incidents;
}

void Observer::on_record(std::size_t n, const OperationRecord& record) {
  Service& service = services_[n];
  const bool known = service.records.contains(record.request.operation);
  if (known && service.records[record.request.operation].phase == OperationPhase::outcome && record.phase != OperationPhase::outcome)
    violated(n, "operation " + record.request.operation + " goes on after its outcome");
  service.records[record.request.operation] = record;
  if (record.phase == OperationPhase::outcome && record.status == OperationStatus::succeeded && is_automatic(record.request))
    service.left.insert(record.request.from);
  if (record.phase == OperationPhase::outcome) service.ended.try_emplace(record.request.operation, clock_.now());
}

// ---- What it checks when something is done ----

void Observer::end_stay(std::size_t n, bool by_us) {
  Service& service = services_[n];
  if (service.misbehaves_since && by_us) ++counts_.rolled_back;
  if (service.misbehaves_since && !by_us && service.paged && *service.paged >= *service.misbehaves_since) ++counts_.held;
  const Duration stayed = clock_.now() - service.since;
  service.since = clock_.now();
  service.stayed_before = stayed;
  service.excused = service.acknowledged = false;
  service.misbehaves_since.reset();
  service.paged.reset();
  service.approved.reset();
  service.bad_heard.reset();
  service.pushed = false;
}

void Observer::link_changed(std::size_t n, const std::string& from, const std::string& to, const std::string& operation, Duration called) {
  Service& service = services_[n];
  if (!operation.empty()) {
    const auto record = service.records.find(operation);
    if (record == service.records.end() || record->second.phase < OperationPhase::switching) {
      violated(n, "switched " + from + " -> " + to + " and its intent is not on disk");
    } else {
      if (record->second.request.from != from || record->second.request.to != to) violated(n, "switched otherwise than was intended");
      check_act(n, record->second, from, to, called);
    }
  }
  const bool automatic = !operation.empty() && service.records.contains(operation) && is_automatic(service.records[operation].request);
  end_stay(n, automatic);
  service.ours = !operation.empty();
  service.switched_by = operation;
  if (automatic) {
    service.acts.push_back({clock_.now(), operation, service.records[operation].request.incident, from, to});
    ++counts_.automatic;
  } else if (!operation.empty()) {
    ++counts_.manual;
  } else {
    service.acts.push_back({clock_.now(), "", "", from, to});  // An outside deployment comes between.
  }
}

/// What may stop it is held against the moment of the system call: one that hangs in the kernel cannot be recalled.
void Observer::check_act(std::size_t n, const OperationRecord& record, const std::string& from, const std::string& to, Duration called) {
  Service& service = services_[n];
  const OperationRequest& request = record.request;
  const Duration began = service.began.contains(request.operation) ? service.began[request.operation] : clock_.now();
  const auto mark = service.marks.find(to);
  const bool marked_before = mark != service.marks.end() && service.marked_at[to] < began;
  const auto over = [&](const char* guard) {
    return std::find(request.overrides.begin(), request.overrides.end(), guard) != request.overrides.end();
  };
  // What was known at the decision may be as old as that at the commit point, and no older: a frozen daemon goes on within it or not at
  // all.
  const bool emergency = request.mode == Mode::emergency;
  if (called - began > (emergency ? policy(n).deadline_emergency : policy(n).deadline_standard)) violated(n, "switched after its deadline");
  if (marked_before && mark->second == Standing::revoked) violated(n, "switched to " + to + ", which is revoked");
  if (marked_before && mark->second == Standing::bad && !over("target_not_bad") && !over("target_known_good") &&
      request.kind == OperationKind::rollback)
    violated(n, "switched to " + to + ", which a person marked bad");
  if (killed_ && request.kind == OperationKind::rollback && called - *killed_ > kObeyed)
    violated(n, "switched while the kill switch was on");
  const bool suspended = service.suspended && service.suspended_until && called < *service.suspended_until;
  if (suspended && request.kind == OperationKind::rollback && called - *service.suspended > kObeyed)
    violated(n, "switched while it was suspended");
  if (!is_automatic(request)) return;
  if (service.left.contains(to)) violated(n, "went back to " + to + ", which was rolled back as bad");
  check_leave(n, request, called);
  check_limits(n, request);
  check_evidence(n, request);
  if (!service.acts.empty() && !service.acts.back().operation.empty() && service.acts.back().from == to && service.acts.back().to == from)
    violated(n, "went " + to + " -> " + from + " -> " + to);
}

/// May it be left at all, and with whose word?
void Observer::check_leave(std::size_t n, const OperationRequest& request, Duration called) {
  Service& service = services_[n];
  const auto automation = scenario_.services[n].settings.automation;
  if (automation == config::Automation::observe || automation == config::Automation::off) violated(n, "acted where it may only observe");
  if (automation == config::Automation::approve && !service.approved) violated(n, "acted without anybody's approval");
  const auto from = site_->find(n, request.from);
  if (from && scenario_.services[n].releases[*from].irreversible) violated(n, "left " + request.from + ", which is irreversible");
  const bool locked = service.locked && called < *service.locked_until;
  if (locked && called - *service.locked > kObeyed) violated(n, "acted under a deployment lock");
  const bool on_disk = service.state && std::any_of(service.state->past.begin(), service.state->past.end(),
                                                    [&](const PastOperation& p) { return p.operation == request.operation; });
  if (!on_disk) violated(n, "acted, and that it would is not in the state on disk");
}

/// Once an incident and target, within the budget and the cooldown, whatever crashed in between.
void Observer::check_limits(std::size_t n, const OperationRequest& request) {
  Service& service = services_[n];
  const Duration now = clock_.now();
  // Budget and cooldown count from the end of the operation. A system call that hung may do its work after that: it counts as part of it.
  // Where an outside deployment won while no daemon ran, the end on disk is only when that was found out.
  const auto ago = [&](const Act& act) {
    const auto ended = service.ended.find(act.operation);
    if (ended == service.ended.end()) return now - act.at;
    const bool given_up = service.records[act.operation].status == OperationStatus::abandoned;
    return now - (given_up ? std::min(act.at, ended->second) : ended->second);
  };
  int in_incident = 0, in_budget = 0;
  std::set<std::string> acted_to;
  for (const Act& act : service.acts) {
    if (act.operation.empty()) {  // A deployment is another incident, even where no daemon ran to see it.
      in_incident = 0;
      acted_to.clear();
      continue;
    }
    in_incident += act.incident == request.incident;
    if (act.incident == request.incident) acted_to.insert(act.to);
    const bool knowable = !service.times_lost || act.at > *service.times_lost;
    in_budget += knowable && ago(act) < policy(n).budget_per;
    if (act.incident != request.incident && knowable && ago(act) < policy(n).cooldown) violated(n, "acted within the cooldown");
  }
  if (acted_to.contains(request.to)) violated(n, "acted twice on one incident and target");
  if (in_incident >= policy(n).max_steps_back) violated(n, "acted more often in one incident than it may");
  if (in_budget >= policy(n).budget_rollbacks) violated(n, "acted beyond its budget");
}

/// Never on unknown, never for what was said falsely of nobody, never for what fails everywhere.
void Observer::check_evidence(std::size_t n, const OperationRequest& request) {
  const Service& service = services_[n];
  const auto found = service.basis.find(request.operation);
  const Basis basis = found != service.basis.end() ? found->second : Basis{};
  if (!basis.evidence) violated(n, "acted on nothing that was heard in this epoch, this life and since the last gap");
  const bool further = !service.acts.empty() && !request.incident.empty() && service.acts.back().incident == request.incident;
  // One that takes longer to answer than it may has misbehaved, perhaps between two looks.
  const ReleasePlan& release = scenario_.services[n].releases[site_->service(n).process.release];
  const bool slow_start = release.behaviour.start_takes + 500ms >= policy(n).start_grace;
  if (!service.excused && !basis.pushed && !further && !slow_start)
    violated(n, "false rollback: the release never misbehaved, and nothing false was said of it");
  if (basis.outage) violated(n, "rolled back although every service failed");
  if (!basis.intact) violated(n, "acted although the target was not intact when it was looked at");
}

// ---- What it checks at the end ----

bool Observer::anything_under_way() const {
  return std::any_of(services_.begin(), services_.end(), [](const Service& service) {
    return std::any_of(service.records.begin(), service.records.end(),
                       [](const auto& entry) { return entry.second.phase != OperationPhase::outcome; });
  });
}

/// The driver lied about a person's deployment: to everybody it is an outside deployment without a restart. Only a rollback is verified.
bool Observer::lied_to(const Service& service) const {
  const auto record = service.records.find(service.switched_by);
  if (record == service.records.end() || scenario_.noise.step_lies == 0) return false;
  const OperationStatus status = record->second.status;
  return record->second.request.trigger == Trigger::manual &&
         (status == OperationStatus::abandoned || status == OperationStatus::undone || status == OperationStatus::succeeded);
}

void Observer::at_rest() {
  for (std::size_t n = 0; n < services_.size(); ++n) {
    const Service& service = services_[n];
    for (const auto& [operation, record] : service.records)
      if (record.phase != OperationPhase::outcome)
        violated(n, "operation " + operation + " has no outcome, only " + std::string(to_string(record.phase)));
    const Site::Service& seen = site_->service(n);
    const bool half = seen.process.release != seen.link || (!seen.process.running && !seen.held_down && seen.process.crashes_in_a_row == 0);
    const bool paged = service.paged.has_value();
    const auto began = service.began.find(service.switched_by);
    const bool told = paged || (service.paged_last && began != service.began.end() && *service.paged_last >= began->second);
    if (half && service.ours && !told && !lied_to(service)) violated(n, "half switched, and nobody was paged");
    const bool detectable = !(scenario_.judge && scenario_.services[n].releases[seen.link].behaviour.slow_after);
    const bool misses = site_->symptomatic(n) && seen.process.release == seen.link && service.misbehaves_since &&
                        clock_.now() - *service.misbehaves_since > 4min && detectable;
    // A restart that the driver only claimed: the process is an older one, and everybody knows of one that was not restarted.
    const bool claimed = lied_to(service) && seen.process.started < service.since;
    if (misses && !paged && !service.acknowledged && !claimed)
      violated(n, "silent miss: " + site_->id(n, seen.link) + " misbehaves and nobody was paged");
    if (misses && paged) ++counts_.held;
    if (scenario_.calm) check_calm(n);
  }
}

/// Where nothing but the release is bad, and the one before was good for long, it must have been rolled back.
void Observer::check_calm(std::size_t n) {
  const Service& service = services_[n];
  const bool first = std::none_of(service.acts.begin(), service.acts.end(), [](const Act& act) { return !act.operation.empty(); });
  const bool within_bake = service.misbehaves_since && *service.misbehaves_since - service.since < policy(n).bake_time - 30s;
  const bool lasted = service.misbehaves_since && clock_.now() - *service.misbehaves_since > 4min;
  if (first && within_bake && lasted && !scenario_.judge && site_->symptomatic(n) && service.stayed_before > policy(n).bake_time + 2min &&
      service.acts.size() == 1)
    violated(n, "missed: " + site_->id(n, site_->service(n).link) + " is bad, could be rolled back, and was not");
}

}  // namespace rollbackd::simulation
