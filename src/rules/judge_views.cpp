// What the judge shows: alerts, verdicts, rules as they stand. Reads only.
#include "rules/judge_impl.hpp"

namespace rollbackd::rules {
namespace {

ActiveAlert shown(const CompiledRule& rule, const Cell& cell, const ServiceKey& service, const Labels& labels, const Alert& alert,
                  const Making& making) {
  const AlertState& state = alert.state;
  return {describe(rule, cell, service, labels, alert, making), state.blind_since.has_value(), state.active_at, state.absent_since};
}

constexpr std::size_t kValuesMax = 5;
constexpr std::uint64_t kValuesWorkMax = 50'000;  ///< of all rules of one service together: views run on the reactor

/// The side whose values say how far from a breach a rule is: what is compared, what is joined.
const promql::Expr& compared(const promql::Expr& e) {
  using promql::BinaryOp;
  using promql::Expr;
  if (e.kind == Expr::Kind::paren) return compared(*e.args[0]);
  if (e.kind != Expr::Kind::binary || e.args.size() != 2) return e;
  if (e.op == BinaryOp::land || e.op == BinaryOp::lunless) return compared(*e.args[0]);
  const bool compares = e.op >= BinaryOp::eq && e.op <= BinaryOp::ge;
  if (!compares || e.type != promql::ValueType::vector) return e;
  return *e.args[e.args[0]->type == promql::ValueType::vector ? 0 : 1];
}

/// In words, which case the rule is.
std::string runs_of(const CompiledRule& rule) {
  const std::string why = why_on_interval(*rule.group, *rule.rule);
  if (!why.empty()) return "every " + format_duration(rule.group->interval) + ": " + why;
  return rule.group->only ? "after each batch, of the service's own file" : "after each batch";
}

}  // namespace

std::pair<std::size_t, std::size_t> Judge::alert_counts() const {
  const Impl& j = *impl_;
  std::pair<std::size_t, std::size_t> out;
  const auto add = [&](const Cell& cell) {
    for (const auto& [labels, alert] : cell.alerts()) ++(alert.state.phase == AlertPhase::firing ? out.second : out.first);
  };
  for (RuleId id = 0; id < j.rules->rules().size(); ++id) {
    if (j.rule_alerts[id] == 0) continue;
    for (const auto& [key, cell] : j.timed_cells[id]) add(cell);
    for (const auto& [key, service] : j.services)
      if (const Cell* cell = service->cell(id)) add(*cell);
  }
  return out;
}

std::vector<promql::Element> Judge::Impl::values_of(const CompiledRule& rule, const Cell& cell, const ServiceKey& service,
                                                    std::uint64_t& work) const {
  std::vector<promql::Element> out;
  for (const auto& [labels, alert] : cell.alerts())
    if (out.size() < kValuesMax) out.push_back({alert.element, alert.value});
  if (!out.empty() || work == 0) return out;
  promql::EvalOptions options;
  options.at = latest(cell.rule) - rule.group->query_offset;
  options.work_max = work;
  options.annotate = false;
  const promql::Expr& expr = rule.rule->alerting ? compared(*rule.rule->expr) : *rule.rule->expr;
  auto value = promql::evaluate(expr, View(*this, rule.timed && !rule.group->only ? nullptr : &service), options);
  work -= value ? std::min(work, value->work + 1) : work;
  if (!value) return out;
  out = std::move(value->vector);
  if (value->type == promql::Value::Type::scalar) out.push_back({Labels(), value->scalar});
  if (rule.timed && !rule.group->only)
    std::erase_if(out, [&](const promql::Element& e) { return e.labels.has(kServiceLabel) && service_of(e.labels) != service; });
  if (out.size() > kValuesMax) out.resize(kValuesMax);
  return out;
}

std::vector<ActiveAlert> Judge::alerts() const {
  const Impl& j = *impl_;
  std::vector<ActiveAlert> out;
  const auto add = [&](const ServiceKey& service, const Cell& cell) {
    for (const auto& [labels, alert] : cell.alerts()) {
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
  std::uint64_t work = kValuesWorkMax;
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
    RuleStatus made{rule.group->name, rule.rule->name, rule.rule->expr_text, key, cell->verdict, cell->fed, cell->detail()};
    made.alerting = rule.rule->alerting;
    made.ignore_no_data = rule.rule->ignore_no_data;
    made.runs = runs_of(rule);
    made.since = cell->since;
    made.failed = cell->failed;
    for (const auto& [labels, alert] : cell->alerts()) ++(alert.state.phase == AlertPhase::firing ? made.firing : made.pending);
    made.values = j.values_of(rule, *cell, key, work);
    out.push_back(std::move(made));
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
        made.last_error = cell.detail();
      }
      for (const auto& [labels, alert] : cell.alerts()) {
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
