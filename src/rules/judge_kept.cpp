// What outlives the daemon: alerts with their clocks, so that a restart in the middle of a `for` neither fires early nor starts over.
// Time in which nobody looked is taken like time in which a rule was blind: both clocks of an alert stand still.
#include "rules/judge_impl.hpp"

namespace rollbackd::rules {
namespace {

std::string digest_of(const CompiledRule& rule) { return to_text(rule.key); }

AlertState state_of(const KeptAlert& kept, Instant known_until) {
  AlertState out;
  out.phase = kept.phase;
  out.since = std::min(kept.since, known_until);
  out.active_at = std::min(kept.active_at, known_until);
  if (kept.absent_since) out.absent_since = std::min(*kept.absent_since, known_until);
  out.blind_since = std::min(kept.blind_since.value_or(known_until), known_until);
  return out;
}

}  // namespace

std::vector<KeptAlert> Judge::keep(std::size_t max) const {
  const Impl& j = *impl_;
  std::vector<KeptAlert> out;
  for (const bool acts : {true, false}) {
    for (RuleId id = 0; id < j.rules->rules().size() && out.size() < max; ++id) {
      const CompiledRule& rule = (*j.rules)[id];
      if (j.rule_alerts[id] == 0 || (rule.rule->action >= AlertAction::rollback) != acts) continue;
      const std::string digest = digest_of(rule);
      const auto add = [&](const ServiceKey& service, const Cell& cell) {
        for (const auto& [labels, alert] : cell.alerts()) {
          if (out.size() >= max) return;
          const AlertState& s = alert.state;
          out.push_back(
              {digest, service, labels, alert.element, alert.value, s.phase, s.since, s.active_at, s.absent_since, s.blind_since});
        }
      };
      for (const auto& [key, cell] : j.timed_cells[id]) add(key, cell);
      for (const auto& [key, service] : j.services)
        if (const Cell* cell = service->cell(id)) add(key, *cell);
    }
  }
  return out;
}

void Judge::restore(const ServiceKey& service, const std::vector<KeptAlert>& alerts, Instant known_until, Instant now) {
  Impl& j = *impl_;
  ServiceState* declared = j.find(service);
  for (const KeptAlert& kept : alerts) {
    for (const RuleId id : j.dependencies.alerting(kept.labels.get(kAlertNameLabel))) {
      const CompiledRule& rule = (*j.rules)[id];
      if (digest_of(rule) != kept.rule) continue;
      Cell* cell = declared != nullptr && !rule.timed ? declared->cell(id) : nullptr;
      if (declared == nullptr ? j.runs_on_interval(id) : rule.timed) {
        cell = &j.timed_cells[id][service];
        cell->rule = id;
      }
      if (cell != nullptr) j.take_back(rule, *cell, service, kept, state_of(kept, known_until), now);
    }
  }
  j.tell_later(now);
}

void Judge::Impl::take_back(const CompiledRule& rule, Cell& cell, const ServiceKey& service, const KeptAlert& kept, AlertState state,
                            Instant now) {
  std::map<Labels, Alert>& alerts = cell.held.edit().alerts;
  const auto known = alerts.find(kept.labels);
  if (cell.verdict == Verdict::blind) {
    if (known != alerts.end() || rule_alerts[cell.rule] >= kAlertsPerRuleMax) return;
    Alert alert;
    alert.state = state;
    alert.element = kept.element;
    alert.value = kept.value;
    alert.kept = true;
    alerts.emplace(kept.labels, std::move(alert));
    ++rule_alerts[cell.rule];
    return;
  }
  if (known == alerts.end()) return;  // It is known to be over.
  Alert& alert = known->second;
  const AlertPhase was = alert.state.phase;
  alert.state = advance({rule.rule->pending_for, rule.rule->keep_firing_for}, state, Evidence::present, now);
  if (alert.state.phase != was) untold.alerts.push_back(describe(rule, cell, service, kept.labels, alert, {*this, now}));
  if (ServiceState* of = find(service); of != nullptr && !rule.timed) {
    of->touch(cell);  // Its next instant is another one now.
    waiting.insert(of->id);
    untold_at = slot_at_or_after(now);
  }
}

}  // namespace rollbackd::rules
