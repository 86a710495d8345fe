// A start of the daemon: disk and world are read, the recovery table says what to do. Mirrors engine/recover.cpp.
#include <algorithm>

#include "rollback/plan.hpp"
#include "tests/simulation/shell.hpp"

namespace rollbackd::simulation {
namespace {

/// Whether the incident machine had heard, before the daemon ended, how this operation ended.
bool was_told(const ServiceState& state, const OperationRecord& outcome) {
  const OperationRequest& request = outcome.request;
  if (request.kind == OperationKind::deploy)  // Told at each start, and sent once.
    return outcome.status != OperationStatus::failed && outcome.status != OperationStatus::unknown;
  if (request.kind != OperationKind::rollback) return true;
  if (request.trigger != Trigger::manual) return !(state.incident && state.incident->acted && state.incident->id == request.incident);
  return outcome.status != OperationStatus::succeeded ||
         std::any_of(state.past.begin(), state.past.end(), [&](const PastOperation& p) { return p.operation == request.operation; });
}

rollback::LinkIs link_is(const Disk::Read& read, const ServiceState& state, const std::string& live) {
  const bool under_way = read.last && read.last->phase != OperationPhase::outcome;
  if (under_way && live == read.last->request.from) return rollback::LinkIs::from;
  if (under_way && live == read.last->request.to) return rollback::LinkIs::to;
  return live == state.epoch.release && !live.empty() ? rollback::LinkIs::ledger_live : rollback::LinkIs::other;
}

event::Switched switched_by(const OperationRecord& last, std::optional<Instant> at) {
  event::Switched switched;
  switched.release = last.request.to;
  switched.at = at.value_or(last.at);
  switched.announced = last.request.kind == OperationKind::deploy;
  switched.by_rollback = last.request.kind == OperationKind::rollback;
  switched.operation = last.request.operation;
  return switched;
}

}  // namespace

void Shell::start_service(std::size_t n) {
  Watched& service = services_[n];
  service.plan = &around_.scenario.services[n];
  service.settings = service.plan->settings;
  service.lines_read = around_.site.service(n).log_critical;
  if (broken("budget")) service.settings.policy.budget_rollbacks = 1000;
  if (broken("cooldown")) service.settings.policy.cooldown = Duration(0);
  if (broken("observe")) service.settings.automation = config::Automation::automatic;
  const auto& checks = service.settings.checks;
  service.has_dependency = std::any_of(checks.begin(), checks.end(), [](const config::CheckSettings& c) { return !c.dependency.empty(); });
  const Disk::Read read = around_.disks[n]->open(reading());
  ServiceState state = read.state.value_or(ServiceState{});
  if (broken("memory")) {  // Forgets what releases did, and what it did itself.
    for (LedgerEntry& entry : state.ledger) entry.standing = Standing::good;
    state.past.clear();
    if (state.incident) state.incident->acted = false;
  }
  service.incident = std::make_unique<decision::Incident>(service.settings, std::move(state), [this] { return new_id(); });
  if (around_.kill_switch && !broken("kill_switch")) service.incident->set_daemon_suspended(true, "kill switch");
  for (std::size_t i = 0; i < service.plan->releases.size(); ++i) {
    if (!around_.site.service(n).on_disk[i]) continue;
    Release release;
    release.id = around_.site.id(n, i);
    release.path = "/srv/releases/" + release.id;
    release.irreversible = service.plan->releases[i].irreversible;
    service.incident->enter_release(release, now());
  }
  recover(n, read);
}

void Shell::close_unfinished(std::size_t n, OperationRecord last, OperationStatus status, const std::string& note,
                             std::function<void()> then) {
  last.phase = OperationPhase::outcome;
  last.status = status;
  last.note = note;
  last.at = now();
  around_.disks[n]->write(last, reading(), [this, n, then = std::move(then)](bool ok) {
    if (!ok) deliver(n, event::StateUntrusted{"the disk failed"});
    then();
  });
}

void Shell::recover(std::size_t n, const Disk::Read& read) {
  Watched& service = services_[n];
  const ServiceState state = service.incident->state();
  const World world = around_.site.world(n, [this](Duration t) { return instant(t); });
  event::Switched same_epoch;
  same_epoch.release = state.epoch.release;
  same_epoch.at = state.epoch.switched;

  rollback::RecoveryInput input;
  input.state_readable = read.readable;
  input.last = read.last;
  input.link_changed = instant(around_.site.service(n).link_changed);
  input.link = link_is(read, state, world.live);
  service.process = world.process;
  input.managed.push_back({"app", world.process});
  rollback::Recovery found = rollback::recover(input);
  const bool first_sight = read.readable && state.epoch.release.empty() && !world.live.empty();
  if (first_sight && input.link == rollback::LinkIs::other) found.move = rollback::RecoveryMove::outside_deployment;
  if (broken("recovery") && !first_sight) found.move = rollback::RecoveryMove::idle;
  trace(n, "recovery", std::string(to_string(found.move)) + (read.note.empty() ? "" : ": " + read.note));

  const bool never_began = state.incident && state.incident->acted && !state.past.empty() && found.move == rollback::RecoveryMove::idle &&
                           (!read.last || read.last->request.operation != state.past.back().operation);
  const bool has_outcome = read.last && read.last->phase == OperationPhase::outcome;
  const bool untold = has_outcome && !was_told(state, *read.last);
  const auto tell_untold = [this, n, untold, read] {
    if (untold) tell_ended(n, read.last->request, read.last->status, "", read.last->note, false);
  };
  // The manager's and the link's watchers report what is there first at once.
  const auto watch = [this, n] {
    const Site::Process& process = around_.site.service(n).process;
    around_.clock.in_daemon(2ms, [this, n, process] {
      const auto kind = process.running ? ProcessEvent::Kind::running : ProcessEvent::Kind::exited;
      on_process(n, {kind, process.stopped_cleanly, process.stopped_cleanly, process.started, around_.clock.now()});
      // Down since before we looked, after a boot for example: however old its last process is, this release does not run now.
      if (!process.running) deliver(n, event::Stopped{now(), process.stopped_cleanly, ""});
    });
    around_.clock.in_daemon(2ms, [this, n] { on_link(n); });
  };

  switch (found.move) {
    case rollback::RecoveryMove::idle:
      deliver(n, same_epoch);
      if (never_began) {
        OperationRequest request;
        request.operation = state.past.back().operation;
        request.service = state.service;
        request.incident = state.incident->id;
        request.from = state.past.back().from;
        request.to = state.past.back().to;
        tell_ended(n, request, OperationStatus::abandoned, "", "the daemon ended before the operation began", true);
      }
      tell_untold();
      return watch();
    case rollback::RecoveryMove::outside_deployment: {
      const bool unfinished = read.last && !has_outcome;
      const auto then = [this, n, world, tell_untold, watch, first_sight, unfinished, read, why = found.why] {
        if (unfinished)
          tell_ended(n, read.last->request, OperationStatus::abandoned, "", why, false, instant(around_.site.service(n).link_changed));
        tell_untold();
        event::Switched switched;
        switched.release = world.live;
        switched.at = std::min(now(), instant(around_.site.service(n).link_changed));
        if (first_sight && world.process->running) switched.at = std::min(switched.at, world.process->started);
        deliver(n, std::move(switched));
        watch();
      };
      if (unfinished) return close_unfinished(n, *read.last, OperationStatus::abandoned, found.why, then);
      return then();
    }
    case rollback::RecoveryMove::abandon:
      return close_unfinished(n, *read.last, OperationStatus::abandoned, found.why, [this, n, read, same_epoch, watch, why = found.why] {
        deliver(n, same_epoch);
        tell_ended(n, read.last->request, OperationStatus::abandoned, "", why, true);
        watch();
      });
    case rollback::RecoveryMove::undo:
    case rollback::RecoveryMove::resume: resume(n, *read.last, found); return watch();
    case rollback::RecoveryMove::hold_and_page: hold_and_page(n, read, input.link, world, found); return watch();
  }
}

void Shell::resume(std::size_t n, OperationRecord last, const rollback::Recovery& found) {
  Watched& service = services_[n];
  last.switched = found.switched;
  service.operating = last.request.operation;
  service.request = last.request;
  deliver(n, event::OperationBegan{last.request.operation, last.request.kind});
  deliver(n, switched_by(last, last.switched));
  World as_planned = around_.site.world(n, [this](Duration t) { return instant(t); });
  as_planned.live = last.request.from;
  auto plan = plan_of(n, last.request, as_planned);
  if (!plan) return deliver(n, event::StateUntrusted{"the operation cannot be continued: " + plan.error().text()});
  around_.onlooker.began(n, last.request, true);
  rollback::OperationOptions options = options_of(n, last.request);
  options.spared = found.spared;
  service.stood_still = stood_still_;
  service.was_stopped = false;
  service.operation = rollback::Operation::resumed(last, std::move(*plan), std::move(options), found.resume_at, now());
  drive(n, service.operation->begin(now()));
}

void Shell::hold_and_page(std::size_t n, const Disk::Read& read, rollback::LinkIs link, const World& world,
                          const rollback::Recovery& found) {
  const std::string& why = found.why;
  const ServiceState state = services_[n].incident->state();
  event::Switched switched;
  switched.release = state.epoch.release;
  switched.at = state.epoch.switched;
  const bool has_outcome = read.last && read.last->phase == OperationPhase::outcome;
  if (!read.readable || !read.last || has_outcome) {
    if (!switched.release.empty()) deliver(n, std::move(switched));
    return deliver(n, event::StateUntrusted{why});
  }
  const OperationRecord last = *read.last;
  if (link == rollback::LinkIs::to && last.request.to != state.epoch.release) switched = switched_by(last, found.switched);
  if (!switched.release.empty()) deliver(n, std::move(switched));
  close_unfinished(n, last, OperationStatus::unknown, why, [this, n, last, link, world, why] {
    tell_ended(n, last.request, OperationStatus::unknown, "", why, false);
    if (last.request.kind != OperationKind::rollback) {
      Notification page;
      page.key = "recovery:" + last.request.operation;
      page.service = last.request.service;
      page.severity = Notification::Severity::page;
      page.title = "how an operation ended is not known";
      page.text = why;
      trace(n, "page", page.title);
      around_.onlooker.notified(n, page);
    }
    if (link == rollback::LinkIs::other && !world.live.empty()) {
      event::Switched outside;
      outside.release = world.live;
      outside.at = std::min(now(), instant(around_.site.service(n).link_changed));
      deliver(n, std::move(outside));
    }
  });
}

}  // namespace rollbackd::simulation
