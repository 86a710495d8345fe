// Evaluating: one rule on one service, or over all of them on its group's interval; what a recording rule writes.
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
  Result<promql::Value> value = promql::evaluate(*rule.rule->expr, View(*this, scope), options);
  Evaluated out;
  if (!value) {
    ++counters.evaluation_failures;
    out.blind = true;
    out.reason = value.error().text();
    return out;
  }
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

/// Appends a recording rule's result. When it fails the finding is blind afterwards.
void Judge::Impl::record(RuleId id, Cell& cell, const ServiceKey& service, Finding& finding, Instant now) {
  const CompiledRule& rule = (*rules)[id];
  std::map<Labels, double> made;
  for (const promql::Element* element : finding.elements) {
    if (!made.emplace(labels_made_by(rule, *element), element->value).second) {
      finding.reason = "vector contains metrics with the same labelset after applying rule labels";
    }
  }
  if (rule.group->limit > 0 && made.size() > static_cast<std::size_t>(rule.group->limit)) {
    finding.reason = "exceeded limit of " + std::to_string(rule.group->limit) + " with " + std::to_string(made.size()) + " series";
  }
  if (!finding.reason.empty()) {
    ++counters.evaluation_failures;
    finding.blind = true;
    return;
  }
  const auto write = [&](const Labels& labels, double value) {
    const series::Series* written = store.append(labels, {now - rule.group->query_offset, value});
    if (written == nullptr) return;  // A bound refused it; nobody has anything new to read.
    // A rule that writes into another service's series is read there when that service's own rules next run: no pass causes another.
    ServiceState* owner = find(series::owner_of(*written));
    if (owner == nullptr) return;
    touch_readers(*written, *owner, owner->key == service && !rule.timed ? &cell : nullptr, now);
    if (rule.timed) waiting.insert(owner->id);
  };
  for (const Labels& before : cell.recorded) {
    if (!made.contains(before)) write(before, series::stale_nan());
  }
  cell.recorded.clear();
  for (const auto& [labels, value] : made) {
    write(labels, value);
    cell.recorded.push_back(labels);
  }
}

/// Lets the finding move the cell, whichever kind of rule it is.
void Judge::Impl::settle(RuleId id, Cell& cell, const ServiceKey& service, Finding finding, Instant now, Sink to) {
  const CompiledRule& rule = (*rules)[id];
  if (rule.rule->alerting) {
    apply_alerts(rule, cell, service, std::move(finding), now, to);
    return;
  }
  if (!finding.blind) record(id, cell, service, finding, now);
  apply_recording(rule, cell, service, finding, to);
}

void Judge::Impl::run_local(ServiceState& service, Cell& cell, Instant now, Judgement& out) {
  const CompiledRule& rule = (*rules)[cell.rule];
  Evaluated result = evaluate(rule, &service.key, now);
  const auto elements = pointers(result.elements);
  settle(cell.rule, cell, service.key, {elements, result.blind, result.fed || !cell.checks.empty(), std::move(result.reason)}, now,
         sink(cell.rule, out));
  if (cell.verdict == Verdict::blind || elements.empty()) return;
  if (const auto end = windows_run_out(rule, store, now, &service.key)) cell.due = earlier(cell.due, slot_after(*end, now));
}

void Judge::Impl::run_timed(RuleId id, Instant now, Judgement& out) {
  const CompiledRule& rule = (*rules)[id];
  const ServiceKey* only = rule.group->only ? &*rule.group->only : nullptr;
  if (only != nullptr && find(*only) == nullptr) return;
  const Evaluated result = evaluate(rule, only, now);
  std::map<ServiceKey, std::vector<const promql::Element*>> parts;
  for (const promql::Element& element : result.elements) {
    parts[only != nullptr ? *only : service_of(element.labels)].push_back(&element);
  }
  std::map<ServiceKey, Cell>& cells = timed_cells[id];
  for (const auto& [key, elements] : parts) cells[key].rule = id;
  for (auto at = cells.begin(); at != cells.end();) {
    Cell& cell = at->second;
    const bool declared = find(at->first) != nullptr;
    if (declared) cell.checks = feeders(rule, at->first);
    const bool fed = rule.selectors.empty() ? result.fed : !cell.checks.empty();
    const auto part = parts.find(at->first);
    const std::span<const promql::Element* const> elements =
        part == parts.end() ? std::span<const promql::Element* const>() : std::span<const promql::Element* const>(part->second);
    settle(id, cell, at->first, {elements, result.blind, fed, result.reason}, now, sink(id, out, declared));
    const bool empty = cell.alerts.empty() && cell.recorded.empty();
    at = !declared && empty ? cells.erase(at) : std::next(at);
  }
}

}  // namespace rollbackd::rules
