// The machine's events: each handler changes what is remembered; then the evidence is looked at and the bake clock set.
#include "decision/incident.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "decision/evidence.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::decision {
namespace {

constexpr Duration kSuspensionMax = 366 * 24h;
/// Beside start_grace, from the switch on: a deployment whose process is not there by then is told of.
constexpr Duration kStartsWithin = 5min;

/// Without a process manager and without identity nothing can say that the new release runs: the switch is its start.
bool nothing_reports_a_start(const config::ServiceSettings& settings) {
  const bool managed = !settings.components.empty() && settings.components.front().process.manager != config::ManagerType::none;
  return !managed && settings.identity.url.empty();
}

}  // namespace

Incident::Incident(config::ServiceSettings settings, ServiceState state, NewId new_id)
    : settings_(std::move(settings)), state_(std::move(state)), new_id_(std::move(new_id)) {
  state_.service = settings_.key;
  baked_on_disk_ = state_.epoch.baked;
  warming_since_ = state_.epoch.started;
  remember_pushed();
  if (state_.incident && state_.incident->acted) {
    Decision decision =
        make_decision(state_.incident->opened, DecisionKind::hold, "the daemon was restarted in an incident that has acted");
    phase_ = Held{std::move(decision)};
  } else if (state_.approval && awaits_approval(state_.approval->asked)) {  // The question stands; evidence is looked for anew.
    Decision decision = make_decision(state_.approval->asked, DecisionKind::hold, "the daemon was restarted while it waited for approval");
    decision.id = state_.approval->decision;
    decision.next_step = "rollbackctl approve " + state_.service.name + " --env " + state_.service.environment + " --reason \"...\"";
    last_decision_ = decision;
    phase_ = Held{std::move(decision)};
  }
}

std::vector<Action> Incident::on(const Event& event, Instant now) {
  Turn turn;
  turn.now = now;
  last_now_ = now;
  const auto* gap = std::get_if<event::Gap>(&event);
  accrue_bake(gap != nullptr ? std::min(gap->from, now) : now);
  end_suspension_when_due(turn);
  end_lock_when_due(turn);
  end_approval_when_due(turn);
  end_stale_pushed(turn);
  std::visit([&](const auto& e) { handle(turn, e); }, event);
  evaluate(turn);
  ask_again_ = false;
  bake(turn);
  tell_not_started(turn);
  if (!state_trusted_) std::erase_if(turn.actions, [](const Action& a) { return std::holds_alternative<action::Persist>(a); });
  const bool persists =
      std::any_of(turn.actions.begin(), turn.actions.end(), [](const Action& a) { return std::holds_alternative<action::Persist>(a); });
  if (persists || !state_trusted_) baked_on_disk_ = state_.epoch.baked;
  return std::move(turn.actions);
}

void Incident::handle(Turn& turn, const event::Switched& e) {
  const bool still_live = state_.epoch.number > 0 && e.release == state_.epoch.release;
  if (!still_live) return begin_epoch(turn, e);
  if (ledger::find(state_, e.release) == nullptr) {
    Release release;
    release.id = e.release;
    ledger::note_live(state_, release, e.at);
  }
  turn.add(action::BeginEpoch{state_.epoch.switched});
  arm(turn);
  // A start with pushed alerts that fire: asked at once, the target would not be hashed yet, and every start would hold and page.
  if (asked_ == 0 && !alerts_.empty()) last_asked_ = turn.now;
}

void Incident::begin_epoch(Turn& turn, const event::Switched& e) {
  const bool first_sight = state_.epoch.number == 0;
  if (!e.by_rollback) close_incident(turn, "another release was deployed: " + e.release);
  Epoch epoch;
  epoch.number = state_.epoch.number + 1;
  epoch.release = e.release;
  epoch.from = state_.epoch.release;
  epoch.switched = e.at;
  if (e.link_changed && *e.link_changed < e.at) epoch.link_changed = e.link_changed;
  epoch.announced = e.announced;
  epoch.by_rollback = e.by_rollback;
  if (nothing_reports_a_start(settings_)) epoch.started = e.at;
  state_.epoch = std::move(epoch);
  alerts_.clear();
  healthy_once_.clear();
  heard_late_.clear();
  held_keys_.clear();
  incident_closed_.reset();
  warming_since_ = state_.epoch.started;
  stopped_ = stopped_cleanly_ = false;
  further_.reset();
  ask_at_.reset();
  if (!e.by_rollback) last_asked_.reset();  // A new deployment's first failure does not wait for the spacing of the one before.
  baking_since_.reset();
  baked_on_disk_ = {};
  if (!std::holds_alternative<Operating>(phase_) && state_trusted_) phase_ = Watching{};

  Release release;
  release.id = e.release;
  const LedgerEntry& entry = ledger::note_live(state_, release, e.at);
  const Standing standing = entry.standing;
  const std::string reason = entry.reason;
  if (first_sight && settings_.policy.trust_live && standing == Standing::candidate) {
    ledger::set_standing(state_, e.release, Standing::good, "found live at first sight, and the policy trusts it");
  } else if (standing == Standing::unknown && !e.by_rollback) {
    ledger::set_standing(state_, e.release, Standing::candidate, "deployed again");
  }
  turn.add(action::BeginEpoch{e.at});
  turn.add(action::Persist{});
  arm(turn);
  if (standing == Standing::bad || standing == Standing::revoked) {
    notify(turn, Notification::Severity::page,
           std::string(to_string(standing)) + " release " + e.release + " is live on " + state_.service.text(),
           reason + "\nto act now: " + command_that_acts(turn.now, make_decision(turn.now, DecisionKind::notify, "").target));
  }
}

std::optional<Instant> Incident::not_started_due() const {
  const Epoch& epoch = state_.epoch;
  if (settings_.automation == config::Automation::off || epoch.number == 0 || epoch.started || epoch.by_rollback || !operation_.empty())
    return std::nullopt;  // A rollback's verification says it itself.
  if (told_not_started_ == epoch.number) return std::nullopt;
  return epoch.switched + settings_.policy.start_grace + kStartsWithin;
}

/// A deployment that never starts is not watched: what fails is not blamed on it. Whoever deployed it is to know that.
void Incident::tell_not_started(Turn& turn) {
  const auto due = not_started_due();
  if (!due || turn.now < *due) return;
  const Epoch& epoch = state_.epoch;
  told_not_started_ = epoch.number;
  const config::ProcessSettings process = settings_.components.empty() ? config::ProcessSettings{} : settings_.components.front().process;
  const bool managed = process.manager != config::ManagerType::none;
  Notification notification;
  notification.key = "not started:" + state_.service.text() + ":" + std::to_string(epoch.number);  // After a restart it is the same news.
  notification.service = state_.service;
  notification.severity = Notification::Severity::warning;  // What ran before still runs.
  notification.title = epoch.release + " was deployed on " + state_.service.text() + " and has not started";
  const bool unseen = process.manager == config::ManagerType::command && process.pid_file.empty();
  std::string why;
  if (stopped_) {
    why = "The service does not run.";
  } else if (unseen) {
    why = "Nobody has seen it stop and run again; without `pid_file` a restart that takes no time cannot be seen.";
  } else if (managed) {
    why = std::string(epoch.announced ? "Its manager took the restart, but no" : "No") + " process younger than the switch has been seen.";
  }
  if (!stopped_ && !settings_.identity.url.empty()) why += (why.empty() ? "" : " ") + settings_.identity.url + " does not report it.";
  notification.text = why + "\nIt was switched at " + format_rfc3339(epoch.switched) + ", " + format_duration(turn.now - epoch.switched) +
                      " ago. Until it starts nothing that fails is blamed on it, and nothing is rolled back.\nto start it: " +
                      (process.unit.empty() ? "restart the service" : "systemctl restart " + process.unit) +
                      (unseen ? "; to have its starts seen: set `pid_file`, or `identity`" : "") + "\nto go back: rollbackctl rollback " +
                      state_.service.name + " --env " + state_.service.environment + " --reason \"...\"";
  turn.add(action::Notify{std::move(notification)});
}

/// Has the target that would be chosen hashed and its link made.
void Incident::arm(Turn& turn) {
  if (const auto choice = ledger::choose_target(state_, never()); choice.target) turn.add(action::Arm{choice.target->id});
}

void Incident::handle(Turn& turn, const event::Started& e) {
  if (state_.epoch.number == 0) return;
  if (stopped_ && stopped_cleanly_) {  // Started again on purpose: what fired meanwhile says nothing, and it may warm up anew.
    for (auto& [key, alert] : alerts_) alert.fresh = false;
    healthy_once_.clear();
    if (state_.epoch.started) warming_since_ = std::max(e.at, state_.epoch.switched);
  }
  stopped_ = stopped_cleanly_ = false;
  if (state_.epoch.started) return;
  state_.epoch.started = std::max(e.at, state_.epoch.switched);
  warming_since_ = state_.epoch.started;
  turn.add(action::Persist{});
}

void Incident::handle(Turn& turn, const event::Stopped& e) {
  stopped_ = true;
  stopped_cleanly_ = e.clean;
  if (e.clean && std::holds_alternative<Settling>(phase_)) vanished(turn, "the service was stopped on purpose");
}

/// A release was read in full. `e.facts.why` says what differs from what was known; `e.digest` is empty when it could not be read.
void Incident::handle(Turn& turn, const event::TargetHashed& e) {
  LedgerEntry* entry = ledger::find(state_, e.facts.release);
  if (entry == nullptr) return;
  const Standing was = entry->standing;
  const ledger::Content content = ledger::note_content(state_, e.facts.release, e.digest, e.facts.why, turn.now);
  const bool other_content = content == ledger::Content::other;
  const bool intact = e.facts.present && e.facts.intact && !other_content;
  std::string why = intact ? "" : e.facts.why;
  if (other_content && why.empty()) why = "its content differs from what was hashed before";
  const bool damaged = entry->intact && !intact;
  const bool changed = content == ledger::Content::first || other_content || entry->intact != intact || entry->intact_why != why;
  entry->intact = intact;
  entry->intact_why = cut(why, 256);
  if (intact && !e.digest.empty()) entry->scrubbed = turn.now;
  if (changed) turn.add(action::Persist{});
  if (other_content) {
    arm(turn);  // The target may be another one now.
    return content_changed(turn, *entry, was);
  }
  ask_again_ = true;
  const bool wanted = entry->standing == Standing::good && entry->release.id != state_.epoch.release;
  if (damaged && wanted) {
    notify(turn, Notification::Severity::page, e.facts.release + " of " + state_.service.text() + " is not intact any more",
           entry->intact_why + "\nIt was good; nothing goes back to it until it is whole again.");
  }
}

void Incident::content_changed(Turn& turn, const LedgerEntry& entry, Standing was) {
  ask_again_ = true;
  const bool live = entry.release.id == state_.epoch.release;
  // What a service writes into its own directory while it bakes is news; a good release that is another one now is a page.
  const auto severity = was == Standing::good ? Notification::Severity::page : Notification::Severity::warning;
  std::string text = entry.intact_why + "\nIt was " + to_string(was) + " and is " + to_string(entry.standing) + " now";
  text += live ? ", and bakes again."
               : "; rollbackctl mark good " + state_.service.name + " " + entry.release.id + " --reason ... trusts what is there now.";
  notify(turn, severity, entry.release.id + " of " + state_.service.text() + " is another release now: its files changed under the same id",
         text);
}

void Incident::handle(Turn&, const event::Gap&) {
  for (auto& [key, alert] : alerts_) alert.fresh = false;
  nothing_heard_since_gap_ = true;
  baking_since_.reset();
}

void Incident::handle(Turn& turn, const event::Suspend& e) {
  const Duration length = std::clamp(e.length, Duration(0), kSuspensionMax);
  state_.suspension = Suspension{turn.now + length, cut(e.reason, 256), cut(e.principal, 128)};
  turn.add(action::Persist{});
  notify(turn, Notification::Severity::info, state_.service.text() + " is suspended until " + format_rfc3339(state_.suspension->until),
         "by " + e.principal + ": " + e.reason);
}

void Incident::handle(Turn& turn, const event::Unsuspend& e) {
  if (!state_.suspension) return;
  state_.suspension.reset();
  ask_again_ = true;
  turn.add(action::Persist{});
  notify(turn, Notification::Severity::info, state_.service.text() + " is no longer suspended", "by " + e.principal);
}

void Incident::end_suspension_when_due(Turn& turn) {
  if (!state_.suspension || turn.now < state_.suspension->until) return;
  state_.suspension.reset();
  ask_again_ = true;
  turn.add(action::Persist{});
  notify(turn, Notification::Severity::info, state_.service.text() + " is no longer suspended", "its time is over");
}

void Incident::handle(Turn& turn, const event::Mark& e) {
  if (!ledger::set_standing(state_, e.release, e.standing, "marked by " + e.principal + ": " + e.reason)) return;
  ask_again_ = true;
  turn.add(action::Persist{});
  if (e.standing != Standing::bad && e.standing != Standing::revoked) turn.add(action::MarkBadOnDisk{e.release, ""});
  arm(turn);
  notify(turn, Notification::Severity::info, e.release + " of " + state_.service.text() + " is marked " + to_string(e.standing),
         "by " + e.principal + ": " + e.reason);
}

void Incident::handle(Turn& turn, const event::Acknowledge& e) {
  const bool held = std::holds_alternative<Held>(phase_);
  if (!state_.incident && !held) return;
  for (auto& [key, alert] : alerts_) alert.acknowledged = true;
  acknowledge_pushed(turn);
  further_.reset();
  ask_at_.reset();
  close_incident(turn, "acknowledged by " + e.principal);
  if (held && state_trusted_) phase_ = Watching{};
  notify(turn, Notification::Severity::info, "the incident on " + state_.service.text() + " is acknowledged", "by " + e.principal);
}

void Incident::handle(Turn& turn, const event::StateUntrusted& e) {
  if (!state_trusted_) return;
  state_trusted_ = false;
  const auto* operating = std::get_if<Operating>(&phase_);
  if (operating != nullptr && operating->began) {
    return notify(turn, Notification::Severity::page, "the state of " + state_.service.text() + " cannot be trusted", e.why);
  }
  operation_.clear();  // One that was only announced does not begin: its intent is not on disk.
  hold(turn, make_decision(turn.now, DecisionKind::hold, "the state cannot be trusted: " + e.why));
}

void Incident::handle(Turn&, const event::Tick&) {}

std::optional<Instant> Incident::next_due() const {
  std::optional<Instant> due = bake_due();
  const auto consider = [&](std::optional<Instant> at) {
    if (at && (!due || *at < *due)) due = at;
  };
  if (state_.suspension) consider(state_.suspension->until);
  if (state_.lock) consider(state_.lock->until);
  if (state_.approval && !state_.approval->decision.empty() && !std::holds_alternative<Settling>(phase_)) consider(state_.approval->until);
  consider(pushed_due());
  consider(not_started_due());
  if (settings_.automation == config::Automation::off) return due;
  if (const auto* settling = std::get_if<Settling>(&phase_)) consider(settling->since + settings_.policy.settle + 1s);
  if (!std::holds_alternative<Operating>(phase_) && !std::holds_alternative<Settling>(phase_)) consider(ask_at_);
  if (warming(last_now_) && any_rollback_alert_fires()) consider(*warming_since_ + settings_.policy.start_grace);
  for (const auto& [key, alert] : alerts_)
    if (alert.change.action >= AlertAction::rollback && !alert.acknowledged)
      if (const auto from = counts_from(alert.change); from && last_now_ < *from) consider(from);
  if (quiet_since_) consider(*quiet_since_ + 30s);
  return due;
}

IncidentView Incident::view(Instant now) const {
  struct Name {
    const char* operator()(const Watching&) const { return "watching"; }
    const char* operator()(const Settling&) const { return "settling"; }
    const char* operator()(const Operating&) const { return "operating"; }
    const char* operator()(const Held&) const { return "held"; }
  };
  IncidentView view;
  view.phase = std::visit(Name{}, phase_);
  if (view.phase == "held" && awaits_approval(now)) view.phase = "awaiting approval";
  view.warming = warming(now);
  view.stopped_cleanly = stopped_ && stopped_cleanly_;
  view.started = state_.epoch.started.has_value() && !stopped_;
  for (const auto& [key, verdict] : verdicts_)
    if (verdict.fed && !verdict.ignore_no_data && verdict.verdict == Verdict::blind) view.blind_rules.push_back(verdict.rule);
  view.blind = !view.blind_rules.empty() || nothing_heard_since_gap_;
  for (const auto& [key, alert] : alerts_)
    if (alert.change.action >= AlertAction::rollback) view.firing.push_back(alert.change.rule);
  view.keeps_from_good = keeps_from_good();
  view.last_decision = last_decision_;
  return view;
}

GuardInput Incident::guard_input(Instant now) const {
  GuardInput input;
  input.state = &state_;
  input.settings = &settings_;
  input.now = now;
  input.automatic = false;
  input.from = state_.epoch.release;
  if (const auto choice = ledger::choose_target(state_, never()); choice.target) input.to = choice.target->id;
  input.operation_running = operation_running();
  input.state_trusted = state_trusted_;
  input.daemon_suspended = daemon_suspended_;
  input.suspended_why = daemon_suspended_why_;
  return input;
}

bool Incident::enter_release(const Release& release, Instant now, const std::vector<ComponentRelease>& components) {
  if (LedgerEntry* known = ledger::find(state_, release.id)) {
    if (!components.empty()) known->components = components;
    if (!known->release.path.empty() || release.path.empty()) return false;
    known->release.path = release.path;  // It went live before its directory was read.
    return true;
  }
  if (state_.ledger.size() >= ServiceState::kLedgerMax) return false;  // Only what was live may push rows out.
  LedgerEntry entry;
  entry.release = release;
  entry.components = components;
  entry.first_seen = now;
  state_.ledger.insert(state_.ledger.begin(), std::move(entry));  // Never live yet: before all that were.
  return true;
}

}  // namespace rollbackd::decision
