// Evaluating: one rule on one service.
#include "rules/judge_impl.hpp"

namespace rollbackd::rules {
namespace {

/// Element pointers, as `Finding` wants them.
std::vector<const promql::Element*> pointers(const std::vector<promql::Element>& elements) {
  std::vector<const promql::Element*> out;
  out.reserve(elements.size());
  for (const promql::Element& element : elements) out.push_back(&element);
  return out;
}

}  // namespace

Judge::Impl::Evaluated Judge::Impl::evaluate(const CompiledRule& rule, const ServiceKey* scope, Instant now) {
  ++counters.evaluations;
  promql::EvalOptions options;
  options.at = now - rule.group->query_offset;
  Result<promql::Value> value =
      promql::evaluate(*rule.rule->expr, View(*this, scope, static_cast<RuleId>(&rule - rules->rules().data())), options);
  Evaluated out;
  if (!value) {
    ++counters.evaluation_failures;
    if (value.error().code == Errc::too_large) ++counters.limits_hit;
    out.blind = out.failed = true;
    out.reason = value.error().text();
    return out;
  }
  counters.work += value->work;
  out.blind = value->blind;
  out.fed = value->fed;
  out.reason = std::move(value->blind_reason);
  out.elements = std::move(value->vector);
  if (value->type == promql::Value::Type::scalar) out.elements.push_back({Labels(), value->scalar});
  if (scope == nullptr) return out;
  for (promql::Element& element : out.elements) {
    const bool stamp = rule.group->only.has_value();
    if (stamp || !element.labels.has(kServiceLabel)) element.labels.set(kServiceLabel, scope->name);
    if (stamp || !element.labels.has(kEnvironmentLabel)) element.labels.set(kEnvironmentLabel, scope->environment);
  }
  return out;
}

void Judge::Impl::run_local(ServiceState& service, Cell& cell, Instant now, Judgement& out) {
  const CompiledRule& rule = (*rules)[cell.rule];
  Evaluated result = evaluate(rule, &service.key, now);
  const auto elements = pointers(result.elements);
  Finding finding{elements, result.blind, result.fed || !cell.checks.empty(), std::move(result.reason), result.failed};
  settle(cell.rule, cell, service.key, std::move(finding), now, sink(cell.rule, out, now));
  if (cell.verdict == Verdict::blind || elements.empty()) return;
  if (const auto end = windows_run_out(rule, store, now, &service.key)) cell.due = earlier(cell.due, slot_after(*end, now));
}

}  // namespace rollbackd::rules
