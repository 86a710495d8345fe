// What the shell sees of the world: senses, processes, links, second opinions, and people's commands.
#include <algorithm>

#include "config/judges_health.hpp"
#include "decision/guards.hpp"
#include "ledger/ledger.hpp"
#include "rollback/plan.hpp"
#include "tests/simulation/shell.hpp"

namespace rollbackd::simulation {
namespace {
constexpr Duration kObserverMistrust = 5s;
constexpr Duration kTick = 10ms;
}  // namespace

void Shell::on_sense(const Sense& sense) {
  turn();
  const std::size_t n = sense.service;
  Watched& service = services_[n];
  if (!service.incident) return;
  Instant began = instant(sense.began);
  // As checks/log.cpp: lines that could not be read when they were written are told as of the time when they may have been.
  if (sense.what == Sense::What::log && sense.looked && sense.log_critical > service.lines_read) {
    began = std::min(began, instant(around_.site.service(n).logged_at[static_cast<std::size_t>(service.lines_read)]));
    service.lines_read = sense.log_critical;
  }
  if (sense.looked)
    around_.onlooker.heard(n, (sense.what == Sense::What::health && !sense.healthy) || sense.what != Sense::What::health, sense.began);
  const Epoch& epoch = service.incident->state().epoch;
  const bool counts = began >= epoch.switched;
  if (sense.looked && epoch.started && began < *epoch.started + kTick && now() > *epoch.started)
    deliver(n, event::HeardLate{name_of(sense.what)});
  if (sense.what == Sense::What::health && sense.looked && counts) deliver(n, event::CheckHealth{"health", sense.healthy});
  deliver(eyes_->on_sense(sense, began, now()));
  if (service.has_dependency && sense.what == Sense::What::process)
    deliver(eyes_->on_dependency(n, around_.site.dependency_answers(n), now()));
}

void Shell::on_process(std::size_t n, const ProcessSeen& seen) {
  turn();
  Watched& service = services_[n];
  if (!service.incident) return;
  const Instant at = instant(seen.at), started = instant(seen.started);
  World::Process now_runs = service.process.value_or(World::Process{});
  now_runs.running = seen.kind == ProcessEvent::Kind::running;
  if (now_runs.running) {
    now_runs.started = started;
    now_runs.pid = 1;
  }
  now_runs.stopped_cleanly = seen.kind == ProcessEvent::Kind::exited && (seen.requested || seen.clean);
  service.process = now_runs;
  const Instant since = service.incident->state().epoch.processes_since();
  if (now_runs.running && started + kTick > since) deliver(n, event::Started{started});
  if (!now_runs.running) {
    const bool older = seen.kind == ProcessEvent::Kind::exited && started + kTick < since;
    if (!older) deliver(n, event::Stopped{at, now_runs.stopped_cleanly, ""});
  }
}

/// `current` is looked at, whatever the event said. While an operation runs its own record says what it should be.
void Shell::on_link(std::size_t n) {
  turn();
  Watched& service = services_[n];
  if (!service.incident || !service.operating.empty()) return;
  const World world = around_.site.world(n, [this](Duration t) { return instant(t); });
  if (world.live == service.incident->state().epoch.release) return;
  Release release;
  release.id = world.live;
  release.path = "/srv/releases/" + world.live;
  service.incident->enter_release(release, now());
  const Instant changed = instant(around_.site.service(n).link_changed);
  event::Switched switched;
  switched.release = world.live;
  switched.at = now();
  switched.link_changed = changed;
  deliver(n, std::move(switched));
  // Seen late, the new process may already run: the link's own time says which process is the new one.
  if (world.process && world.process->running && world.process->started + kTick > service.incident->state().epoch.processes_since())
    deliver(n, event::Started{world.process->started});
}

/// As engine.cpp gathers it: own failing checks, what is needed, others, and the target, all at once and for no longer than `settle`.
void Shell::second_opinion(std::size_t n, const action::Reprobe& wanted) {
  Random random(around_.scenario.seed, 5000 + ++around_.ids);
  const double p = around_.scenario.noise.second_opinion_silent;
  std::vector<bool> silent;  // By service; the last but one is the look at the target.
  bool all_in = true;
  for (std::size_t i = 0; i < services_.size() + 1; ++i) {
    silent.push_back(random.chance(p));
    all_in = all_in && !silent.back();
  }
  trace(n, "asks", wanted.target);
  const Duration takes = all_in ? random.between(1ms, std::min<Duration>(300ms, wanted.settle)) : wanted.settle;
  around_.clock.in_daemon(takes, [this, n, wanted, silent] { answer(n, wanted, silent); });
}

void Shell::answer(std::size_t n, const action::Reprobe& wanted, const std::vector<bool>& silent) {
  turn();
  Watched& service = services_[n];
  event::Settled settled;
  settled.number = wanted.number;
  const auto probe = [&](std::size_t which, const std::string& check) {
    const Sense sense = around_.site.probe(which);
    ReprobeAnswer out{services_[which].plan->settings.key, check, false, false, "no answer within settle"};
    if (silent[which]) return out;
    out.answered = sense.looked || check == "process";
    out.healthy = check == "health" ? sense.healthy : check == "process" ? sense.running : true;
    if (check == "db") out.healthy = around_.site.dependency_answers(which);
    out.detail.clear();
    return out;
  };
  for (const std::string& check : wanted.checks) {
    const auto& checks = service.settings.checks;
    const bool known = std::any_of(checks.begin(), checks.end(), [&](const config::CheckSettings& c) { return c.name == check; });
    ReprobeAnswer own = known ? probe(n, check) : ReprobeAnswer{service.plan->settings.key, check, false, false, "no such check"};
    if (broken("blind") && !own.answered) own = {own.service, check, true, false, ""};
    settled.own.push_back(std::move(own));
  }
  if (service.has_dependency) settled.dependencies.push_back(probe(n, "db"));
  for (std::size_t other = 0; other < services_.size(); ++other) {
    if (other == n || !services_[other].incident) continue;
    const auto& needs = service.settings.depends_on;
    const bool needed = std::find(needs.begin(), needs.end(), services_[other].plan->settings.key.text()) != needs.end();
    if (silent[other]) continue;
    (needed ? settled.dependencies : settled.others).push_back(probe(other, "health"));
  }
  if (broken("shared")) settled.others.clear();
  settled.observer.healthy = around_.clock.now() - last_gap_end_ >= kObserverMistrust;
  if (!settled.observer.healthy) settled.observer.why = "nothing was observed";
  settled.target.why = "no answer within settle";
  if (!wanted.target.empty() && !silent.back()) settled.target = look(n, wanted.target);
  if (broken("intact")) settled.target = TargetFacts{wanted.target, true, true, ""};
  settled.fleet = fleet(n);
  around_.onlooker.asked(n, settled);
  deliver(n, std::move(settled));
}

FleetFacts Shell::fleet(std::size_t n) const {
  FleetFacts facts;
  facts.services = static_cast<int>(services_.size());
  for (std::size_t other = 0; other < services_.size(); ++other) {
    if (other == n || !services_[other].incident) continue;
    const Watched& service = services_[other];
    facts.automatic_running += !service.operating.empty() && service.request.trigger != Trigger::manual;
  }
  return facts;
}

TargetFacts Shell::look(std::size_t n, const std::string& release) const {
  TargetFacts facts;
  facts.release = release;
  const auto at = around_.site.find(n, release);
  facts.present = at && around_.site.service(n).on_disk[*at];
  if (!facts.present) {
    facts.why = "it is not there";
    return facts;
  }
  const auto hashed = services_[n].hashed.find(*at);
  facts.intact = hashed != services_[n].hashed.end() && hashed->second == around_.site.service(n).content[*at];
  if (!facts.intact) facts.why = hashed == services_[n].hashed.end() ? "it was not hashed yet" : "its files changed";
  return facts;
}

void Shell::arm(std::size_t n, const std::string& release) {
  Random random(around_.scenario.seed, 7000 + ++around_.ids);
  around_.clock.in_daemon(random.between(20ms, random.chance(0.1) ? 20s : 1s), [this, n, release] {
    const auto at = around_.site.find(n, release);
    TargetFacts facts;
    facts.release = release;
    facts.present = facts.intact = at && around_.site.service(n).on_disk[*at];
    if (!facts.present) facts.why = "it is not there";
    if (facts.intact) services_[n].hashed[*at] = around_.site.service(n).content[*at];
    deliver(n, event::TargetHashed{facts, facts.intact ? around_.site.digest(n, *at) : ""});
  });
}

/// After a switch that no rollback of ours verifies: its tests, once the release has started; then what they said is repeated every 15 s.
/// Tests that could not look at last say nothing, and run anew; and so they do after a gap, or when it was stopped on purpose.
void Shell::verify_epoch(std::size_t n, std::uint64_t epoch, Duration until, Tests tests) {
  Watched& service = services_[n];
  const auto again = [&](Duration delay, Duration next_until, Tests next) {
    around_.clock.in_daemon(delay, [this, n, epoch, next_until, next] { verify_epoch(n, epoch, next_until, next); });
  };
  constexpr Duration kWithin = 30s;
  turn();
  if (service.verifying != epoch) return;
  const Duration now_true = around_.clock.now(), began = until - kWithin;
  const auto view = service.incident->view(now());
  const bool ran = !view.stopped_cleanly && service.incident->running_since() <= instant(began);
  if (until != Duration(0) && (!ran || last_gap_end_ > began)) {  // What the tests saw is stale: they run anew.
    until = Duration(0);
    tests = Tests::unknown;
  }
  if (until == Duration(0) && !view.started) return again(1s, until, tests);
  if (until == Duration(0)) until = now_true + kWithin;
  if (tests != Tests::passed && now_true < until) {
    tests = around_.site.is_blind(n) ? Tests::unknown : around_.site.verification_passes(n) ? Tests::passed : Tests::failed;
    if (tests != Tests::passed) return again(2s, until, tests);
  }
  if (tests != Tests::unknown) {
    around_.onlooker.heard(n, tests == Tests::failed, now_true);
    deliver(eyes_->on_verification(n, tests == Tests::passed, instant(until - kWithin), now()));
  }
  again(15s, tests == Tests::unknown ? Duration(0) : until, tests);
}

// ---- People ----

void Shell::command(std::size_t n, Event event) {
  turn();
  if (!services_[n].incident) return;
  const bool not_obeyed = (broken("suspension") && std::holds_alternative<event::Suspend>(event)) ||
                          (broken("lock") && std::holds_alternative<event::Locked>(event));
  around_.onlooker.told(n, event);
  if (!not_obeyed) deliver(n, event);
  when_performed(n, [this, n, event] {
    if (services_[n].incident->state_trusted()) around_.onlooker.promised(n, event);
  });
}

void Shell::kill_switch_changed() {
  for (std::size_t n = 0; n < services_.size(); ++n) {
    if (!services_[n].incident || broken("kill_switch")) continue;
    services_[n].incident->set_daemon_suspended(around_.kill_switch, "kill switch");
    deliver(n, event::Tick{});
  }
}

void Shell::push(std::size_t n, const PushedAlert& alert) {
  if (!services_[n].incident) return;
  around_.onlooker.pushed(n);
  deliver(n, event::Pushed{alert});
}

void Shell::rollback(std::size_t n, std::optional<std::size_t> to, bool force) {
  turn();
  Watched& service = services_[n];
  if (!service.incident) return;
  World world = around_.site.world(n, [this](Duration t) { return instant(t); });
  OperationRequest request;
  request.operation = new_id();
  request.service = service.plan->settings.key;
  request.trigger = Trigger::manual;
  request.cause = Cause::operator_;
  request.reason = "simulated";
  request.principal = "person";
  request.from = world.live;
  if (to) {
    request.selection = Selection::specific;
    request.to = around_.site.id(n, *to);
  } else {
    const auto choice = ledger::choose_target(service.incident->state(), {});
    if (!choice.target) return;
    request.to = choice.target->id;
  }
  if (request.to == request.from) return;
  decision::GuardInput input = service.incident->guard_input(now());
  input.automatic = false;
  input.kind = request.kind;
  input.from = request.from;
  input.to = request.to;
  input.target = look(n, request.to);
  if (input.target.present) input.target.intact = true;  // It is hashed now, where it was not.
  input.operation_running = input.operation_running || !service.operating.empty();
  input.fleet = fleet(n);
  const auto answers = decision::ask_guards(input, decision::Overrides{force, force});
  for (const GuardAnswer& answer : answers)
    if (answer.passed_over) request.overrides.push_back(answer.guard);
  const bool allowed = decision::all_yes(answers) && plan_of(n, request, world).has_value() && service.operating.empty();
  trace(n, allowed ? "a person rolls back to" : "a person may not roll back to", request.to);
  if (!allowed) return;
  service.operating = request.operation;
  around_.clock.in_daemon(0ms, [this, n, request] { operate(n, request); });
}

void Shell::deploy(std::size_t n, std::size_t release, bool force) {
  turn();
  Watched& service = services_[n];
  if (!service.incident) return;
  const World world = around_.site.world(n, [this](Duration t) { return instant(t); });
  OperationRequest request;
  request.operation = new_id();
  request.service = service.plan->settings.key;
  request.kind = OperationKind::deploy;
  request.selection = Selection::specific;
  request.trigger = Trigger::manual;
  request.cause = Cause::operator_;
  request.from = world.live;
  request.to = around_.site.id(n, release);
  request.reason = "simulated";
  const LedgerEntry* entry = ledger::find(service.incident->state(), request.to);
  const bool refused = request.to == request.from || (entry && entry->standing == Standing::revoked) ||
                       (entry && entry->standing == Standing::bad && !force) || !service.operating.empty() ||
                       service.incident->operation_running() || !service.incident->state_trusted();
  trace(n, refused ? "may not be deployed:" : "is deployed:", request.to);
  if (refused) return;
  Release described;
  described.id = request.to;
  described.irreversible = service.plan->releases[release].irreversible;
  service.incident->enter_release(described, now());
  service.operating = request.operation;
  around_.clock.in_daemon(0ms, [this, n, request] { operate(n, request); });
}

}  // namespace rollbackd::simulation
