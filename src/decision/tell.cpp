// Decisions and notifications for people: what was decided, why, and the exact command that would act now.
#include <array>

#include "base/text.hpp"
#include "decision/incident.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::decision {

std::vector<std::string> Incident::never() const { return state_.incident ? state_.incident->left : std::vector<std::string>{}; }

/// A decision about the service as it stands: live release, the target that would be chosen, and why not the others.
Decision Incident::make_decision(Instant now, DecisionKind kind, std::string reason) {
  const ledger::Choice choice = ledger::choose_target(state_, never());
  Decision decision;
  decision.id = new_id_();
  decision.service = state_.service;
  decision.at = now;
  decision.kind = kind;
  decision.release = state_.epoch.release;
  decision.target = choice.target ? choice.target->id : "";
  decision.incident = state_.incident ? state_.incident->id : "";
  decision.why_not = choice.why_not;
  decision.reason = std::move(reason);
  return decision;
}

void Incident::record(Turn& turn, const Decision& decision) {
  last_decision_ = decision;
  turn.add(action::Record{decision});
}

void Incident::notify(Turn& turn, Notification::Severity severity, const std::string& title, const std::string& text,
                      const Decision* decision, std::string key) {
  Notification notification;
  notification.key = !key.empty() ? std::move(key) : decision != nullptr ? decision->id : new_id_();
  notification.service = state_.service;
  notification.severity = severity;
  notification.title = cut(title, 200);
  notification.text = cut(text, 4000);
  if (decision != nullptr) notification.details = decision->to_json();
  turn.add(action::Notify{std::move(notification)});
}

std::string Incident::command_that_acts(Instant now, const std::string& target) const {
  const std::string of = " " + state_.service.name + " --env " + state_.service.environment;
  if (!state_trusted_) return "restart rollbackd when its state directory can be written again";
  GuardInput input = guard_input(now);
  input.to = target;
  input.target = TargetFacts{target, true, true, ""};  // The engine looks again when the command comes.
  if (window_until_ && now < *window_until_) input.fleet.window = "closed";
  if (daemon_suspended_) return "rollbackctl kill --off --reason \"...\"";
  if (state_.suspension) return "rollbackctl resume" + of;
  if (target.empty()) return "rollbackctl releases" + of + " (no good release to go back to; deploy a repaired one)";
  for (const bool data_loss : {false, true}) {
    input.accept_data_loss = data_loss;
    for (const Overrides& overrides : std::array<Overrides, 4>{{{false, false}, {false, true}, {true, false}, {true, true}}}) {
      if (!all_yes(ask_guards(input, overrides))) continue;
      return "rollbackctl rollback" + of + " --to " + target + (data_loss ? " --accept-data-loss" : "") +
             (overrides.force ? " --force" : "") + (overrides.lenient ? " --lenient" : "") + " --reason \"...\"";
    }
  }
  return "rollbackctl explain" + of;
}

}  // namespace rollbackd::decision
