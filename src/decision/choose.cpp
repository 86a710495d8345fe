// From evidence to a decision: a second opinion, the guards, and then rollback, hold or nothing.
//
//   Watching  --evidence-->                    Settling   (Reprobe)
//   Settling  --evidence vanished-->           Watching   (or the hold before)
//   Settling  --every guard says yes-->        Operating  (Record, Persist, Operate)
//   Settling  --a guard says no-->             Held       (Record, Persist, Notify page)
//   Settling  --only `approved` says no-->     Held       (approval.cpp)
//   Held      --something may turn it-->       Settling
//   Operating --OperationEnded-->              Watching or Held (operations.cpp)
#include <algorithm>
#include <utility>

#include "base/text.hpp"
#include "decision/evidence.hpp"
#include "decision/incident.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::decision {
namespace {

constexpr Duration kAskSpacing = 1s;
/// Our own sight comes back without an event that says so (it is mistrusted for a while after a gap): looked again so often while we hold.
constexpr Duration kLookAgain = 2s;
/// Other services that fail too recover without an event that says so to us.
constexpr Duration kAskOthersAgain = 30s;
/// The engine sends Settled after `settle`; when it does not, the machine goes on without answers.
constexpr Duration kSettleSafety = 1s;
/// An incident that did not act closes when no rollback alert has fired for so long: a flapping alert is one incident.
constexpr Duration kQuiet = 30s;
constexpr std::size_t kEvidenceTextsMax = 20;

bool is_our_sight(const std::string& guard) { return guard == "observer_healthy" || guard == "evidence_fresh"; }

bool is_about_others(const std::string& guard) { return guard == "not_shared_failure" || guard == "dependency_healthy"; }

bool is_about_time(const std::string& guard) {
  return is_our_sight(guard) || is_about_others(guard) || guard == "cooldown" || guard == "budget" || guard == "not_suspended" ||
         guard == "window_open" || guard == "deploy_lock_free" || guard == "approved";  // Asked for as soon as no other guard refuses.
}

/// The name that people gave what was asked: the service's, or that of the check's `dependency`; with what it said.
std::string name_of_dependency(const config::ServiceSettings& settings, const ReprobeAnswer& answer) {
  std::string name = answer.service.text();
  if (answer.service == settings.key)
    for (const config::CheckSettings& check : settings.checks)
      if (check.name == answer.check) name = check.dependency;
  return answer.detail.empty() ? name : name + " (" + cut(answer.detail, 120) + ")";
}

}  // namespace

std::string signature_of(const Decision& decision) {
  std::string out = std::string(to_string(decision.kind)) + "|" + decision.release + "|" + decision.target;
  for (const GuardAnswer& answer : decision.guards) out += "|" + answer.guard + (answer.yes ? "=yes" : "=no");
  return decision.guards.empty() ? out + "|" + decision.reason : out;
}

void Incident::evaluate(Turn& turn) {
  if (settings_.automation == config::Automation::off) {
    if (std::holds_alternative<Settling>(phase_)) phase_ = Watching{};
    ask_at_.reset();
    quiet_since_.reset();
    return;
  }
  if (state_.epoch.number == 0) return;
  std::visit([&](const auto& phase) { evaluate_phase(turn, phase); }, phase_);  // `phase` is gone once it led to another.
  close_when_quiet(turn);
}

/// True when the evidence may be looked at now; else notes when.
bool Incident::may_ask(Instant now) {
  if (last_asked_ && now < *last_asked_ + kAskSpacing) ask_at_ = std::max(ask_at_.value_or(now), *last_asked_ + kAskSpacing);
  return !ask_at_ || now >= *ask_at_;
}

void Incident::evaluate_phase(Turn& turn, const Watching&) {
  if (evidence(turn.now).empty() && !further_) {
    ask_at_.reset();
  } else if (may_ask(turn.now)) {
    ask(turn, std::nullopt);
  }
}

void Incident::evaluate_phase(Turn& turn, const Settling& settling) {
  if (turn.now < settling.since + settings_.policy.settle + kSettleSafety) return;
  event::Settled none;
  none.number = settling.number;
  none.observer = {false, "the second opinion did not come"};
  decide(turn, none);
}

void Incident::evaluate_phase(Turn&, const Operating&) {}

void Incident::evaluate_phase(Turn& turn, const Held& held) {
  const auto counting = evidence(turn.now);
  const bool something_new =
      std::any_of(counting.begin(), counting.end(), [&](const Remembered* alert) { return !held_keys_.contains(key_of(alert->change)); });
  if (something_new || ask_again_) ask_at_ = turn.now;
  if (!ask_at_) return;
  if (counting.empty() && !further_) {
    if (turn.now >= *ask_at_) ask_at_.reset();
  } else if (may_ask(turn.now)) {
    ask(turn, held.decision);
  }
}

/// Opens the incident where none is open, and asks for the second opinion.
void Incident::ask(Turn& turn, std::optional<Decision> held) {
  const auto counting = evidence(turn.now);
  if (!state_.incident) {
    OpenIncident incident;
    incident.id = new_id_();
    incident.opened = turn.now;
    incident.epoch = state_.epoch.number;
    incident.release = state_.epoch.release;
    if (!counting.empty()) {
      incident.failure_type = failure_type_of(counting.front()->change);
      incident.cause = to_string(cause_of(counting.front()->change));
    }
    state_.incident = std::move(incident);
    last_signature_.clear();
    paged_signature_.clear();
  }
  action::Reprobe reprobe;
  reprobe.number = ++asked_;
  for (const Remembered* alert : counting)
    for (const std::string& check : checks_of(alert->change))
      if (std::find(reprobe.checks.begin(), reprobe.checks.end(), check) == reprobe.checks.end()) reprobe.checks.push_back(check);
  reprobe.settle = settings_.policy.settle;
  if (const auto choice = ledger::choose_target(state_, never()); choice.target) reprobe.target = choice.target->id;
  phase_ = Settling{asked_, turn.now, std::move(held)};
  last_asked_ = turn.now;
  ask_at_.reset();
  turn.add(std::move(reprobe));
}

void Incident::handle(Turn& turn, const event::Settled& e) {
  const auto* settling = std::get_if<Settling>(&phase_);
  if (settling != nullptr && settling->number == e.number) decide(turn, e);
}

void Incident::decide(Turn& turn, const event::Settled& answers) {
  std::vector<const Remembered*> standing;
  std::set<std::string> known;
  bool only_unconfirmed = true, only_pushed = true;
  Mode mode = Mode::standard;
  for (const Remembered* alert : evidence(turn.now)) {
    known.insert(key_of(alert->change));
    const SecondOpinion opinion = second_opinion(alert->change, answers.own);
    if (opinion == SecondOpinion::refuted) continue;
    standing.push_back(alert);
    only_unconfirmed = only_unconfirmed && opinion == SecondOpinion::unconfirmed;
    only_pushed = only_pushed && alert->change.group == kPushedGroup;
    if (alert->change.action == AlertAction::emergency) mode = Mode::emergency;
  }
  if (standing.empty() && !further_) {
    if (!known.empty()) ask_at_ = turn.now + kAskSpacing;  // Refuted, but the rule still fires: look again.
    return vanished(turn, known.empty() ? "no alert fires any more" : "the failing check answered healthy when it was asked again");
  }

  Decision decision = make_decision(turn.now, DecisionKind::hold, "");
  if (further_)
    decision.evidence.push_back("verification of " + further_->from + " failed: " + further_->failed_how + ": " + further_->detail);
  for (const Remembered* alert : standing) {
    if (decision.evidence.size() < kEvidenceTextsMax) decision.evidence.push_back(text_of(alert->change));
    ways_.merge(ways_of(alert->change));
  }
  GuardInput input = guard_input(turn.now);
  input.automatic = true;
  input.mode = mode;
  input.to = decision.target;
  input.target = answers.target;
  if (const LedgerEntry* entry = ledger::find(state_, input.to);
      entry != nullptr && input.target.intact && !entry->intact && entry->intact_why.starts_with("its content differs"))
    input.target = TargetFacts{input.to, true, false, entry->intact_why};
  input.further_step = further_.has_value();
  input.others = answers.others;
  for (const ReprobeAnswer& other : answers.others)
    if (other.answered && !other.healthy &&
        std::find(settings_.depends_on.begin(), settings_.depends_on.end(), other.service.text()) != settings_.depends_on.end())
      input.dependencies_failing.push_back(other.service.text());
  for (const ReprobeAnswer& dependency : answers.dependencies)
    if (dependency.answered && !dependency.healthy) input.dependencies_failing.push_back(name_of_dependency(settings_, dependency));
  input.observer = answers.observer;
  input.evidence_fresh = further_ || !only_unconfirmed;
  input.evidence_detail =
      input.evidence_fresh ? cut(decision.evidence.front(), 300) : "the failing check could not be asked again, so nothing is known";
  input.fleet = answers.fleet;
  input.approved = approved(decision.target, turn.now);
  window_until_ = answers.fleet.window.empty() ? std::nullopt : std::optional(answers.fleet.window_until);
  ask_guards_of(decision, std::move(input), standing, answers.own);

  const Trigger trigger = only_pushed && !standing.empty() ? Trigger::alert : Trigger::automatic;
  if (all_yes(decision.guards)) return roll_back(turn, std::move(decision), mode, trigger);
  held_keys_ = std::move(known);
  if (refusing(decision.guards) == std::vector<std::string>{"approved"}) return await_approval(turn, std::move(decision));
  ask_at_ = when_time_turns_it(refusing(decision.guards), turn.now);
  // The target changed meanwhile and the look was at another one, or there was no look in time: no event tells when one would succeed.
  if (!decision.target.empty() && answers.target.release != decision.target)
    ask_at_ = turn.now + (answers.target.release.empty() ? kLookAgain : kAskSpacing);
  hold(turn, std::move(decision));
}

/// Every guard's answer. Where others failed too and are well again, this one first has the time to recover as they did.
void Incident::ask_guards_of(Decision& decision, GuardInput input, const std::vector<const Remembered*>& standing,
                             const std::vector<ReprobeAnswer>& own) {
  decision.guards = ask_guards(input);
  bool others_fail = false;
  for (const GuardAnswer& answer : decision.guards) {
    if (!is_about_others(answer.guard) || !answer.asked || answer.yes || answer.passed_over) continue;
    failed_with_others_.insert(answer.guard);
    others_fail = true;
  }
  if (others_fail) others_well_since_.reset();
  if (others_fail || failed_with_others_.empty()) return;
  if (!others_well_since_) others_well_since_ = input.now;
  input.too_early = too_early(standing, own, input.now);
  if (input.too_early.empty()) return;
  input.failed_with_others = failed_with_others_;
  decision.guards = ask_guards(input);
}

/// Why the failure may still be what is left of one that others had too; empty when it is this service's own.
std::string Incident::too_early(const std::vector<const Remembered*>& standing, const std::vector<ReprobeAnswer>& own, Instant now) const {
  const std::string since = "others failed too until " + format_rfc3339(*others_well_since_);
  if (now < *others_well_since_ + settings_.policy.start_grace)
    return since + ": it has start_grace (" + format_duration(settings_.policy.start_grace) + ") to recover as they did";
  const bool fails_now =
      std::any_of(own.begin(), own.end(), [](const ReprobeAnswer& answer) { return answer.answered && !answer.healthy; });
  const bool began_since =
      std::any_of(standing.begin(), standing.end(), [&](const Remembered* alert) { return alert->change.since >= *others_well_since_; });
  if (fails_now || began_since || further_) return {};
  return since + ", what fires began then, and its checks answer well now";
}

/// The intent first: the incident has acted and the budget is used before anything is done.
void Incident::roll_back(Turn& turn, Decision decision, Mode mode, Trigger trigger) {
  OpenIncident& incident = *state_.incident;
  const std::string from = state_.epoch.release;
  OperationRequest request;
  request.operation = new_id_();
  request.service = state_.service;
  request.mode = mode;
  request.trigger = trigger;
  request.cause = further_ ? Cause::verification : cause_from(incident.cause).value_or(Cause::alert);
  request.from = from;
  request.to = decision.target;
  request.incident = incident.id;
  request.principal = "rollbackd";
  request.failure_type = incident.failure_type;
  decision.kind = DecisionKind::rollback;
  decision.operation = request.operation;
  decision.reason = from + " fails and every guard says yes: back to " + decision.target;
  request.reason = cut(join(decision.evidence, "; "), 500);
  if (state_.approval && approved(decision.target, turn.now))
    request.reason = cut("approved by " + state_.approval->approved_by + "; " + request.reason, 500);
  state_.approval.reset();

  incident.acted = true;
  ++incident.steps_back;
  incident.left.push_back(from);
  state_.past.push_back(PastOperation{request.operation, request.from, request.to, true, turn.now});
  if (state_.past.size() > ServiceState::kPastMax) state_.past.erase(state_.past.begin());
  further_.reset();
  ask_at_.reset();
  held_keys_.clear();
  operation_ = request.operation;
  phase_ = Operating{operation_, false};
  last_signature_ = signature_of(decision);

  record(turn, decision);
  turn.add(action::Persist{});
  turn.add(action::Operate{std::move(request)});
  notify(turn, Notification::Severity::warning, "rolling back " + state_.service.text() + " from " + from + " to " + decision.target,
         join(decision.evidence, "\n"), &decision);
}

void Incident::hold(Turn& turn, Decision decision) {
  const auto no = refusing(decision.guards);
  if (decision.reason.empty()) decision.reason = decision.release + " fails, but not every guard says yes: " + join(no, ", ");
  decision.kind = DecisionKind::hold;
  decision.next_step = command_that_acts(turn.now, decision.target);
  phase_ = Held{decision};
  const std::string signature = signature_of(decision);
  if (signature == last_signature_) return;  // People have been told.
  last_signature_ = signature;
  record(turn, decision);
  turn.add(action::Persist{});
  told_held_ = state_.incident.has_value();
  // It fires again within the same incident, for which people were paged and nobody told them that it is over.
  if (std::exchange(paged_signature_, signature) == signature) return;
  std::string text = decision.reason;
  for (const GuardAnswer& answer : decision.guards)
    if (answer.asked && !answer.yes && !answer.passed_over) text += "\n" + answer.guard + ": " + answer.evidence;
  text += "\n" + join(decision.evidence, "\n") + "\nto act now: " + decision.next_step;
  notify(turn, Notification::Severity::page, state_.service.text() + " is held on " + decision.release, text, &decision);
}

/// The second opinion left nothing to act on.
void Incident::vanished(Turn& turn, std::string reason) {
  const auto* settling = std::get_if<Settling>(&phase_);
  std::optional<Decision> held = settling != nullptr ? settling->held : std::nullopt;
  const bool stays_held = held && (!state_trusted_ || !state_.incident || state_.incident->acted);
  phase_ = stays_held ? Phase(Held{*held}) : Phase(Watching{});
  if (state_.approval && !state_.approval->approved_by.empty()) {  // It was about a failure that is over: the next one asks again.
    state_.approval.reset();
    turn.add(action::Persist{});
  }
  Decision decision = make_decision(turn.now, DecisionKind::none, std::move(reason));
  const std::string signature = signature_of(decision);
  if (signature == last_signature_) return;
  last_signature_ = signature;
  record(turn, decision);
}

void Incident::close_incident(Turn& turn, std::string how) {
  if (!state_.incident) return;
  action::IncidentClosed closed{*state_.incident, std::move(how)};
  state_.incident.reset();
  state_.approval.reset();
  last_signature_.clear();
  paged_signature_.clear();
  ways_.clear();
  held_keys_.clear();
  told_held_ = false;
  failed_with_others_.clear();
  others_well_since_.reset();
  incident_closed_ = turn.now;
  further_.reset();
  quiet_since_.reset();
  ask_at_.reset();
  if (!std::holds_alternative<Operating>(phase_)) phase_ = Watching{};
  turn.add(action::Persist{});
  turn.add(std::move(closed));
}

/// An incident that did not act closes by itself once its evidence has been gone for a while; one that acted waits for its operation or a
/// person.
void Incident::close_when_quiet(Turn& turn) {
  const bool busy = std::holds_alternative<Operating>(phase_) || std::holds_alternative<Settling>(phase_);
  if (!state_.incident || state_.incident->acted || busy || further_ || any_rollback_alert_fires()) {
    quiet_since_.reset();
    return;
  }
  if (!quiet_since_) quiet_since_ = turn.now;
  if (turn.now < *quiet_since_ + kQuiet) return;
  const bool was_held = std::holds_alternative<Held>(phase_);
  if (was_held) record(turn, make_decision(turn.now, DecisionKind::none, "no alert fires any more"));
  if (told_held_) {  // Who was paged hears that it is over, and that nobody did anything.
    notify(turn, Notification::Severity::info, state_.service.text() + " is not held any more on " + state_.epoch.release,
           "no alert that counts has fired for " + format_duration(kQuiet) + ". Nothing was rolled back.");
  }
  close_incident(turn, "the evidence has been gone for " + format_duration(kQuiet));
}

/// When passing time alone could turn every "no" of `refusing` into a yes; nothing when it cannot.
std::optional<Instant> Incident::when_time_turns_it(const std::vector<std::string>& refusing, Instant now) const {
  if (!std::all_of(refusing.begin(), refusing.end(), is_about_time)) return std::nullopt;
  const auto refuses = [&](const char* guard) { return std::find(refusing.begin(), refusing.end(), guard) != refusing.end(); };
  Instant at = now;
  for (auto past = state_.past.rbegin(); past != state_.past.rend(); ++past) {
    if (!past->automatic) continue;
    at = std::max(at, past->at + settings_.policy.cooldown);
    break;
  }
  std::vector<Instant> used;
  for (const PastOperation& past : state_.past)
    if (past.automatic && now - past.at < settings_.policy.budget_per) used.push_back(past.at);
  const auto allowed = static_cast<std::size_t>(std::max(settings_.policy.budget_rollbacks, 0));
  if (allowed == 0) return std::nullopt;
  if (used.size() >= allowed) at = std::max(at, used[used.size() - allowed] + settings_.policy.budget_per);
  if (state_.suspension) at = std::max(at, state_.suspension->until);
  if (state_.lock && refuses("deploy_lock_free")) at = std::max(at, state_.lock->until);
  if (window_until_ && refuses("window_open")) at = std::max(at, *window_until_);
  if (std::any_of(refusing.begin(), refusing.end(), is_about_others)) {
    const Instant grace_over = others_well_since_.value_or(now) + settings_.policy.start_grace;
    at = std::max(at, others_well_since_ && grace_over > now ? grace_over : now + kAskOthersAgain);
  }
  if (std::any_of(refusing.begin(), refusing.end(), is_our_sight)) at = std::max(at, now + kLookAgain);
  return at > now ? std::optional(at) : std::nullopt;
}

}  // namespace rollbackd::decision
