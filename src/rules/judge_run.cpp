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
  options.annotate = false;  // Nobody reads a rule's warnings, and they are texts made on every batch.
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
  if (scope != nullptr) stamp(rule, *scope, out.elements);
  return out;
}

/// What is evaluated for one service alone belongs to it.
void Judge::Impl::stamp(const CompiledRule& rule, const ServiceKey& scope, std::vector<promql::Element>& elements) {
  for (promql::Element& element : elements) {
    const bool always = rule.group->only.has_value();
    if (always || !element.labels.has(kServiceLabel)) element.labels.set(kServiceLabel, scope.name);
    if (always || !element.labels.has(kEnvironmentLabel)) element.labels.set(kEnvironmentLabel, scope.environment);
  }
}

/// A breach must be asked again when a sample leaves its window; without one that is asked only once batches stay away, as each of them
/// brings the rule up to date.
void Judge::Impl::due_when(Cell& cell, std::optional<Instant> leaves, Instant now) {
  if (leaves) cell.due = earlier(cell.due, slot_after(*leaves, now));
}

/// @return false where only the general evaluator can say
bool Judge::Impl::run_compiled(ServiceState& service, Cell& cell, Instant now, Judgement& out) {
  found.clear();
  const Compiled::Answer answer = cell.compiled->evaluate(*service.in_store, now, sums, found);
  if (!answer.known) return false;
  ++counters.evaluations;
  counters.work += answer.work;
  const bool fed = answer.fed || !cell.checks().empty();
  const bool as_before =
      cell.reported && cell.verdict == Verdict::ok && cell.fed == fed && cell.alerts().empty() && cell.recorded().empty();
  if (found.empty() && as_before) {  // The usual case, and the one that must cost nothing.
    facts[cell.rule].last_run = now;
    cell.due.reset();
    if (by_time && (*rules)[cell.rule].shape->breaches_by_time) due_when(cell, cell.compiled->next_leaving(now), now);
    return true;
  }
  const CompiledRule& rule = (*rules)[cell.rule];
  stamp(rule, service.key, found);
  const auto elements = pointers(found);
  settle(cell.rule, cell, service.key, {elements, false, fed, {}, false}, now, sink(cell.rule, out, now));
  if (cell.verdict != Verdict::blind && (!elements.empty() || (by_time && rule.shape->breaches_by_time)))
    due_when(cell, cell.compiled->next_leaving(now), now);
  return true;
}

void Judge::Impl::run_local(ServiceState& service, Cell& cell, Instant now, Judgement& out) {
  cell.ran = now;
  if (cell.compiled && run_compiled(service, cell, now, out)) return;
  const CompiledRule& rule = (*rules)[cell.rule];
  Evaluated result = evaluate(rule, &service.key, now);
  const auto elements = pointers(result.elements);
  Finding finding{elements, result.blind, result.fed || !cell.checks().empty(), std::move(result.reason), result.failed};
  settle(cell.rule, cell, service.key, std::move(finding), now, sink(cell.rule, out, now));
  const bool moves = rule.shape ? rule.shape->breaches_by_time : true;
  if (cell.verdict != Verdict::blind && (!elements.empty() || (by_time && moves)))
    due_when(cell, windows_run_out(rule, store, now, &service.key), now);
}

}  // namespace rollbackd::rules
