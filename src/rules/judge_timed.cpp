// Rules on their group's interval: evaluated over all services as Prometheus would, then each service gets its part of the result.
//
// Whose a part is: its labels `service` and `environment`, where the rule's own labels say so those. What carries neither is nobody's; it
// has a cell too, under the empty service. A blind result is blind for everybody, because it may rest on anybody's series; only where the
// expression is proved to keep services apart is each judged by its own sources.
#include "rules/judge_impl.hpp"

namespace rollbackd::rules {

/// The result of one evaluation, by service.
struct Judge::Impl::Parts {
  struct Part {
    std::vector<const promql::Element*> elements;
    bool blind = false, failed = false;
    std::string reason;
  };
  Evaluated whole;
  std::map<ServiceKey, Evaluated> single;  ///< of services that were evaluated alone
  std::map<ServiceKey, Part> by_service;
};

Judge::Impl::Parts Judge::Impl::part(const CompiledRule& rule, RuleId id, Instant now) {
  Parts out;
  const ServiceKey* only = rule.group->only ? &*rule.group->only : nullptr;
  out.whole = evaluate(rule, only, now);
  const auto standing = [](const Evaluated& from) { return Parts::Part{{}, from.blind, from.failed, from.reason}; };
  for (const auto& [key, cell] : timed_cells[id]) out.by_service.emplace(key, standing(out.whole));
  const bool one_by_one = out.whole.blind && facts[id].splits;
  if (one_by_one) {
    for (auto& [key, own] : out.by_service) {
      if (find(key) == nullptr) continue;
      const Evaluated& alone = out.single[key] = evaluate(rule, &key, now);
      own = standing(alone);
      for (const promql::Element& element : alone.elements) own.elements.push_back(&element);
    }
  }
  for (const promql::Element& element : out.whole.elements) {
    const ServiceKey key = only != nullptr        ? *only
                           : facts[id].sets_owner ? service_of(labels_made_by(rule, element, {*this, now}))
                                                  : service_of(element.labels);
    const bool elsewhere = !rule.timed && find(key) != nullptr;  // Its own cell has it, after each batch.
    if (elsewhere || out.single.contains(key)) continue;
    out.by_service.try_emplace(key, standing(out.whole)).first->second.elements.push_back(&element);
  }
  return out;
}

/// Over the group's limit the whole rule fails, and its alerts are cleared, as in Prometheus.
void Judge::Impl::hold_to_limit(const CompiledRule& rule, RuleId id, Parts& parts, Instant now, Judgement& out) {
  const auto limit = static_cast<std::size_t>(rule.group->limit);
  if (limit == 0) return;
  std::size_t n = 0;
  for (const auto& [key, part] : parts.by_service) {
    if (part.blind) continue;
    const auto cell = timed_cells[id].find(key);
    n += !rule.rule->alerting || cell == timed_cells[id].end() ? part.elements.size()
                                                               : alerts_after(rule, cell->second, part.elements, {*this, now});
  }
  if (n <= limit) return;
  ++counters.evaluation_failures;
  for (auto& [key, part] : parts.by_service) {
    part.blind = part.failed = true;
    part.reason =
        "exceeded limit of " + std::to_string(limit) + " with " + std::to_string(n) + (rule.rule->alerting ? " alerts" : " series");
  }
  for (auto& [key, cell] : timed_cells[id]) clear_alerts(rule, cell, key, now, sink(id, out, now));
}

void Judge::Impl::run_timed(RuleId id, Instant now, Judgement& out) {
  const CompiledRule& rule = (*rules)[id];
  if (rule.group->only && find(*rule.group->only) == nullptr) return;
  Parts parts = part(rule, id, now);
  hold_to_limit(rule, id, parts, now, out);
  std::map<ServiceKey, Cell>& cells = timed_cells[id];
  for (auto& [key, part] : parts.by_service) {
    Cell& cell = cells[key];
    cell.rule = id;
    const bool declared = find(key) != nullptr;
    if (declared) cell.set_checks(feeders(rule, key));
    const bool fed = rule.selectors.empty() || !declared ? parts.whole.fed : !cell.checks().empty();
    settle(id, cell, key, {part.elements, part.blind, fed, std::move(part.reason), part.failed}, now, sink(id, out, now, declared));
  }
  std::erase_if(cells, [&](const auto& entry) {
    const bool stays = find(entry.first) != nullptr || entry.first == ServiceKey{} || !entry.second.alerts().empty();
    return !stays && entry.second.recorded().empty();
  });
}

}  // namespace rollbackd::rules
