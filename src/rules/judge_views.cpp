// What the judge shows: alerts, verdicts, rules as they stand. Reads only.
#include "rules/judge_impl.hpp"

namespace rollbackd::rules {
namespace {

ActiveAlert shown(const CompiledRule& rule, const Cell& cell, const ServiceKey& service, const Labels& labels, const Alert& alert,
                  const Making& making) {
  const AlertState& state = alert.state;
  return {describe(rule, cell, service, labels, alert, making), state.blind_since.has_value(), state.active_at, state.absent_since};
}

}  // namespace

std::vector<ActiveAlert> Judge::alerts() const {
  const Impl& j = *impl_;
  std::vector<ActiveAlert> out;
  const auto add = [&](const ServiceKey& service, const Cell& cell) {
    for (const auto& [labels, alert] : cell.alerts) {
      out.push_back(shown((*j.rules)[cell.rule], cell, service, labels, alert, {j, j.latest(cell.rule)}));
    }
  };
  for (const auto& [key, service] : j.services)
    for (const Cell& cell : service->cells) add(key, cell);
  for (const auto& cells : j.timed_cells)
    for (const auto& [key, cell] : cells) add(key, cell);
  return out;
}

std::vector<RuleStatus> Judge::status(const ServiceKey& key) const {
  Impl& j = *impl_;
  std::vector<RuleStatus> out;
  ServiceState* service = j.find(key);
  if (service == nullptr) return out;
  for (RuleId id = 0; id < j.rules->rules().size(); ++id) {
    const CompiledRule& rule = (*j.rules)[id];
    const Cell* cell = service->cell(id);
    if (rule.timed) {
      const auto at = j.timed_cells[id].find(key);
      cell = at == j.timed_cells[id].end() ? nullptr : &at->second;
    }
    if (cell == nullptr) continue;
    out.push_back({rule.group->name, rule.rule->name, rule.rule->expr_text, key, cell->verdict, cell->fed, cell->detail});
  }
  return out;
}

std::vector<RuleReport> Judge::report(std::size_t first, std::size_t count) const {
  const Impl& j = *impl_;
  std::vector<RuleReport> out;
  const std::size_t size = j.rules->rules().size();
  for (std::size_t place = first; place < size && out.size() < count; ++place) {
    const auto id = static_cast<RuleId>(place);
    const CompiledRule& rule = (*j.rules)[id];
    RuleReport made;
    made.group = rule.group;
    made.rule = rule.rule;
    made.runs = rule.timed ? RuleReport::Runs::per_interval : RuleReport::Runs::per_batch;
    made.why_on_interval = why_on_interval(*rule.group, *rule.rule);
    made.last_evaluation = j.facts[id].last_run;
    if (made.last_evaluation) made.health = "ok";
    const auto add = [&](const ServiceKey& service, const Cell& cell) {
      if (cell.failed && made.last_error.empty()) {
        made.health = "err";
        made.last_error = cell.detail;
      }
      for (const auto& [labels, alert] : cell.alerts) {
        made.alerts.push_back(shown(rule, cell, service, labels, alert, {j, j.latest(id)}));
      }
    };
    for (const auto& [key, cell] : j.timed_cells[id]) add(key, cell);
    for (const auto& [key, service] : j.services)
      if (const Cell* cell = service->cell(id)) add(key, *cell);
    out.push_back(std::move(made));
  }
  return out;
}

std::unique_ptr<promql::Querier> Judge::querier() const { return std::make_unique<Impl::View>(*impl_, nullptr); }

const series::Store& Judge::store() const { return impl_->store; }
const JudgeCounters& Judge::counters() const { return impl_->counters; }

}  // namespace rollbackd::rules
