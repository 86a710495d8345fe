// How operations end, and what that says of the releases they left and went to.
#include <algorithm>

#include "decision/evidence.hpp"
#include "decision/incident.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::decision {

void Incident::handle(Turn&, const event::OperationBegan& e) {
  operation_ = e.operation;
  phase_ = Operating{e.operation, true};
}

void Incident::handle(Turn& turn, const event::OperationEnded& e) {
  if (e.operation == operation_) {
    operation_.clear();
    if (std::holds_alternative<Operating>(phase_)) phase_ = Watching{};
  }
  if (e.kind == OperationKind::rollback) return rollback_ended(turn, e);
  if (e.status == OperationStatus::succeeded) return;
  // Half way, the next start of the process brings another release than runs: nobody may have to find that out by themselves.
  const bool may_be_half_done =
      e.status == OperationStatus::failed || e.status == OperationStatus::unknown || e.status == OperationStatus::partial;
  notify(turn, may_be_half_done ? Notification::Severity::page : Notification::Severity::warning,
         std::string(to_string(e.kind)) + " of " + state_.service.text() + " ended " + to_string(e.status), e.detail, nullptr,
         "ended:" + e.operation);  // Told again at a start, it is the same message.
}

void Incident::rollback_ended(Turn& turn, const event::OperationEnded& e) {
  if (e.interrupted && e.trigger != Trigger::manual && state_.incident && state_.incident->acted) return judge_again(turn, e);
  remember_operation(e, std::min(e.at.value_or(turn.now), turn.now));
  switch (e.status) {
    case OperationStatus::succeeded: return rollback_succeeded(turn, e);
    case OperationStatus::failed:
      // A hook of ours, or a manager that refuses, says nothing of the release that it was called for: no reason to go further back.
      if (!e.failed_how.empty() && !e.failed_how.starts_with("hook:") && e.failed_how != "restart:refused")
        return target_failed_verification(turn, e);
      return hold_after(turn, e, "the rollback to " + e.to + " failed");
    case OperationStatus::undone:
    case OperationStatus::abandoned:
    case OperationStatus::cancelled: return hold_after(turn, e, "the rollback to " + e.to + " was not carried out");
    case OperationStatus::unverified: return hold_after(turn, e, e.to + " is live, but nothing verified it");
    case OperationStatus::partial: return hold_after(turn, e, "the rollback to " + e.to + " stopped half way");
    case OperationStatus::unknown:
    case OperationStatus::planned:
    case OperationStatus::running:
    case OperationStatus::verifying: return hold_after(turn, e, "how the rollback to " + e.to + " ended is not known");
  }
}

/// The daemon ended before the commit point, so the incident has not acted after all: it is judged again on fresh evidence. What it used of
/// the budget stays used, so that a daemon that dies in every attempt ends in a hold.
void Incident::judge_again(Turn& turn, const event::OperationEnded& e) {
  OpenIncident& incident = *state_.incident;
  incident.acted = false;
  incident.steps_back = std::max(incident.steps_back - 1, 0);
  if (!incident.left.empty() && incident.left.back() == e.from) incident.left.pop_back();
  last_signature_.clear();
  paged_signature_.clear();
  held_keys_.clear();
  if (!std::holds_alternative<Operating>(phase_)) phase_ = Watching{};
  turn.add(action::Persist{});
  notify(turn, Notification::Severity::warning, "the rollback of " + state_.service.text() + " to " + e.to + " was cut off before it began",
         e.detail + "\nIt is judged again on fresh evidence.");
}

/// The cooldown counts from the end. An automatic one is in the state since its decision.
void Incident::remember_operation(const event::OperationEnded& e, Instant ended) {
  const auto known =
      std::find_if(state_.past.begin(), state_.past.end(), [&](const PastOperation& p) { return p.operation == e.operation; });
  if (known != state_.past.end()) {
    known->at = std::max(known->at, ended);
    return;
  }
  const bool automatic = e.trigger != Trigger::manual;
  if (!automatic && e.status != OperationStatus::succeeded) return;
  state_.past.push_back(PastOperation{e.operation, e.from, e.to, automatic, ended});
  if (state_.past.size() > ServiceState::kPastMax) state_.past.erase(state_.past.begin());
}

void Incident::mark_left_bad(Turn& turn, const std::string& release, std::string reason) {
  const LedgerEntry* entry = ledger::find(state_, release);
  if (entry == nullptr || entry->standing == Standing::revoked) return;
  ledger::set_standing(state_, release, Standing::bad, reason);
  turn.add(action::MarkBadOnDisk{release, std::move(reason)});
}

/// Neither release is bad or revoked when a rollback is decided: one that is now was marked by a person meanwhile, and that stands.
void Incident::mark_unknown(const std::string& release, std::string reason) {
  const LedgerEntry* entry = ledger::find(state_, release);
  if (entry == nullptr || entry->standing == Standing::bad || entry->standing == Standing::revoked) return;
  ledger::set_standing(state_, release, Standing::unknown, std::move(reason));
}

void Incident::rollback_succeeded(Turn& turn, const event::OperationEnded& e) {
  std::string reason = "rolled back to " + e.to + " at " + format_rfc3339(turn.now);
  if (state_.incident && !state_.incident->failure_type.empty()) reason += ": " + state_.incident->failure_type;
  mark_left_bad(turn, e.from, reason);
  further_.reset();
  if (state_.epoch.release == e.from) alerts_.clear();  // They are about the release that was left; its successor's Switched is on its way.
  turn.add(action::Persist{});
  const bool automatic = e.trigger != Trigger::manual;
  notify(turn, automatic ? Notification::Severity::warning : Notification::Severity::info,
         state_.service.text() + " was rolled back from " + e.from + " to " + e.to,
         e.to + " is verified; " + e.from + " is bad now: " + reason);
  if (state_.incident) {
    close_incident(turn, "rolled back to " + e.to + ", verified");
  } else if (!std::holds_alternative<Operating>(phase_)) {
    phase_ = Watching{};
  }
}

bool Incident::fails_the_same_way(const std::string& failed_how) const {
  const std::string test = failed_how.substr(0, failed_how.rfind(':'));
  if (ways_.contains(failed_how) || ways_.contains(test)) return true;
  if (!ways_.empty() || !state_.incident) return false;
  // After a restart only the incident's cause is left; a verification that cannot be compared counts as the same: then nothing more is
  // done.
  const auto cause = cause_from(state_.incident->cause);
  return !cause || *cause == Cause::verification || ways_of(*cause).contains(test);
}

void Incident::target_failed_verification(Turn& turn, const event::OperationEnded& e) {
  if (e.trigger == Trigger::manual || !state_.incident) {
    return hold_after(turn, e, e.to + " failed its verification (" + e.failed_how + ")");
  }
  if (fails_the_same_way(e.failed_how)) {
    mark_unknown(e.from, e.to + " failed in the same way: " + e.failed_how);
    return hold_after(turn, e, e.to + " fails in the same way as " + e.from + " (" + e.failed_how + "): the cause lies elsewhere");
  }
  mark_left_bad(turn, e.from, "failed; " + e.to + " after it failed in another way");
  mark_unknown(e.to, "failed its verification: " + e.failed_how);
  ways_.insert(e.failed_how);
  const bool further = state_.incident->steps_back < settings_.policy.max_steps_back && state_.epoch.release == e.to;
  if (!further || !ledger::choose_target(state_, never()).target) {
    return hold_after(turn, e, e.to + " failed its verification (" + e.failed_how + ") and there is no further step back");
  }
  turn.add(action::Persist{});
  further_ = FurtherStep{e.to, e.failed_how, e.detail};  // evaluate() asks for the second opinion on it.
}

void Incident::hold_after(Turn& turn, const event::OperationEnded& e, std::string reason) {
  const bool nothing_was_done =
      e.status == OperationStatus::abandoned || e.status == OperationStatus::undone || e.status == OperationStatus::cancelled;
  if (!e.detail.empty()) reason += ": " + e.detail;
  if (!operation_.empty()) return notify(turn, Notification::Severity::page, reason, e.detail);  // Another one runs already.
  if (e.trigger == Trigger::manual && nothing_was_done && !state_.incident) {
    return notify(turn, Notification::Severity::warning, "rollback of " + state_.service.text() + " was not carried out", reason);
  }
  held_keys_.clear();
  for (const Remembered* alert : evidence(turn.now)) held_keys_.insert(key_of(alert->change));
  hold(turn, make_decision(turn.now, DecisionKind::hold, std::move(reason)));
}

}  // namespace rollbackd::decision
