// A decision that waits for a person (automation: approve): asked for once, answered once, for one target and one incident.
//
//   every guard says yes but `approved`  --> Held, PendingApproval with its end    (Record, Persist, Notify page)
//   a person says yes                    --> a new second opinion, every guard again, and only then the rollback
//   a person says no, or nobody anything --> Held; a PendingApproval without a decision remembers that it was asked
#include <algorithm>

#include "base/text.hpp"
#include "decision/evidence.hpp"
#include "decision/incident.hpp"

namespace rollbackd::decision {
namespace {

/// A yes is good for at least so long: the second opinion takes its time, and something else may hold for a moment.
constexpr Duration kApprovedFor = 1min;

}  // namespace

bool Incident::awaits_approval(Instant now) const {
  const auto& approval = state_.approval;
  return approval && state_.incident && approval->incident == state_.incident->id && approval->from == state_.epoch.release &&
         approval->approved_by.empty() && !approval->decision.empty() && now < approval->until;
}

/// Asked, answered or run out: this target in this incident has had its question.
bool Incident::approval_is_about(const std::string& target) const {
  const auto& approval = state_.approval;
  return approval && state_.incident && approval->incident == state_.incident->id && approval->from == state_.epoch.release &&
         approval->to == target;
}

bool Incident::approved(const std::string& target, Instant now) const {
  return approval_is_about(target) && !state_.approval->approved_by.empty() && !state_.approval->decision.empty() &&
         now < state_.approval->until;
}

/// Every other guard says yes.
void Incident::await_approval(Turn& turn, Decision decision) {
  if (approval_is_about(decision.target) && !awaits_approval(turn.now)) return hold(turn, std::move(decision));
  const bool waits_already = approval_is_about(decision.target);
  const std::string of = " " + state_.service.name + " --env " + state_.service.environment + " --reason \"...\"";
  decision.kind = DecisionKind::hold;
  decision.reason = decision.release + " fails and every other guard says yes: a person must approve going back to " + decision.target;
  decision.next_step = "rollbackctl approve" + of;
  if (waits_already) decision.id = state_.approval->decision;  // After a restart too: nobody is paged twice for one question.
  phase_ = Held{decision};
  last_decision_ = decision;
  if (waits_already) return;
  PendingApproval approval;
  approval.decision = decision.id;
  approval.incident = decision.incident;
  approval.from = decision.release;
  approval.to = decision.target;
  approval.asked = turn.now;
  approval.until = turn.now + settings_.policy.approve_timeout;
  state_.approval = approval;
  last_signature_ = signature_of(decision);
  told_held_ = true;
  record(turn, decision);
  turn.add(action::Persist{});
  notify(turn, Notification::Severity::page, state_.service.text() + " waits for approval to go back to " + decision.target,
         decision.reason + "\n" + join(decision.evidence, "\n") + "\nto approve: " + decision.next_step +
             "\nto reject: rollbackctl reject" + of + "\nuntil " + format_rfc3339(approval.until) + "; then it is held",
         &decision);
}

void Incident::handle(Turn& turn, const event::Approve& e) {
  if (!awaits_approval(turn.now)) return;
  const std::string because = e.reason.empty() ? "" : ": " + e.reason;
  if (!e.yes) return end_approval(turn, "rejected by " + e.principal + because);
  PendingApproval& approval = *state_.approval;
  approval.approved_by = cut(e.principal, 128);
  approval.until = std::max(approval.until, turn.now + kApprovedFor);
  ask_again_ = true;  // What was true when it was asked need not be true now.
  turn.add(action::Persist{});
  notify(turn, Notification::Severity::info, "the rollback of " + state_.service.text() + " to " + approval.to + " is approved",
         "by " + e.principal + because);
}

/// The question has been answered with no, or not in time. It is not asked again in this incident, and a person can still act.
void Incident::end_approval(Turn& turn, const std::string& reason) {
  state_.approval->decision.clear();
  state_.approval->approved_by.clear();
  turn.add(action::Persist{});
  Decision decision = make_decision(turn.now, DecisionKind::hold, "going back to " + state_.approval->to + " was not approved: " + reason);
  decision.next_step = command_that_acts(turn.now, decision.target);
  if (const auto* held = std::get_if<Held>(&phase_)) {
    decision.evidence = held->decision.evidence;
    decision.guards = held->decision.guards;
    phase_ = Held{decision};
  }
  record(turn, decision);
  notify(turn, Notification::Severity::page, state_.service.text() + " is held on " + decision.release,
         decision.reason + "\n" + join(decision.evidence, "\n") + "\nto act now: " + decision.next_step, &decision);
}

void Incident::end_approval_when_due(Turn& turn) {
  const auto& approval = state_.approval;
  if (!approval || approval->decision.empty() || turn.now < approval->until || std::holds_alternative<Settling>(phase_)) return;
  if (!approval_is_about(approval->to)) {
    state_.approval.reset();
    return turn.add(action::Persist{});
  }
  end_approval(turn, approval->approved_by.empty()
                         ? "nobody answered within " + format_duration(settings_.policy.approve_timeout)
                         : approval->approved_by + " approved it, but it could not be done until " + format_rfc3339(approval->until));
}

}  // namespace rollbackd::decision
