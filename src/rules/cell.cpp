#include "rules/cell.hpp"

#include <utility>

#include "rules/schedule.hpp"
#include "rules/template.hpp"

namespace rollbackd::rules {
namespace {

AlertTiming timing_of(const CompiledRule& rule) { return {rule.rule->pending_for, rule.rule->keep_firing_for}; }

void set_due(const CompiledRule& rule, Cell& cell, Instant now) {
  cell.due.reset();
  for (const auto& [labels, alert] : cell.alerts()) {
    if (const auto next = next_change(timing_of(rule), alert.state)) cell.due = earlier(cell.due, slot_after(*next, now));
  }
}

void stay_blind(const CompiledRule& rule, Cell& cell, Instant now) {
  for (auto& [labels, alert] : cell.held.edit().alerts) alert.state = advance(timing_of(rule), alert.state, Evidence::blind, now);
  cell.due.reset();
}

void fail(Finding& finding, Sink& sink) {
  finding.blind = finding.failed = true;
  ++sink.counters.evaluation_failures;
}

using Made = std::map<Labels, const promql::Element*>;

/// The alerts that the group's limit would count after this evaluation.
std::size_t would_stand(const CompiledRule& rule, const Cell& cell, const Made& made, Instant now) {
  std::size_t n = made.size();
  for (const auto& [labels, alert] : cell.alerts()) {
    if (!made.contains(labels) && advance(timing_of(rule), alert.state, Evidence::absent, now).phase != AlertPhase::inactive) ++n;
  }
  return n;
}

void move_known(const CompiledRule& rule, Cell& cell, const ServiceKey& service, const Made& made, Instant now, Sink& sink) {
  if (cell.alerts().empty()) return;
  std::map<Labels, Alert>& alerts = cell.held.edit().alerts;
  for (auto at = alerts.begin(); at != alerts.end();) {
    Alert& alert = at->second;
    const AlertPhase was = alert.state.phase;
    const auto present = made.find(at->first);
    if (present != made.end()) {
      alert.value = present->second->value;
      alert.element = present->second->labels;
    }
    alert.state = advance(timing_of(rule), alert.state, present != made.end() ? Evidence::present : Evidence::absent, now);
    if (alert.state.phase != was || std::exchange(alert.kept, false)) {
      sink.out.alerts.push_back(describe(rule, cell, service, at->first, alert, sink.making));
    }
    if (alert.state.phase == AlertPhase::inactive) {
      at = alerts.erase(at);
      --sink.rule_alerts;
    } else {
      ++at;
    }
  }
}

void add_new(const CompiledRule& rule, Cell& cell, const ServiceKey& service, const Made& made, Instant now, Sink& sink) {
  for (const auto& [labels, element] : made) {
    if (cell.alerts().contains(labels)) continue;
    if (sink.rule_alerts >= kAlertsPerRuleMax) {
      ++sink.counters.alerts_dropped;
      continue;
    }
    Alert alert;
    alert.state = advance(timing_of(rule), alert.state, Evidence::present, now);
    alert.element = element->labels;
    alert.value = element->value;
    sink.out.alerts.push_back(describe(rule, cell, service, labels, alert, sink.making));
    cell.held.edit().alerts.emplace(labels, std::move(alert));
    ++sink.rule_alerts;
  }
}

std::string expanded(const CompiledRule& rule, const std::string& text, const Labels& labels, double value, const Making& making) {
  if (text.find("{{") == std::string::npos) return text;
  std::uint64_t work = kTemplateWorkMax;
  TemplateContext context{labels, value};
  context.name = rule.rule->name;
  context.now = making.now;
  context.query = [&](std::string_view expr, Instant at) { return making.templates.query(expr, at, rule.group->only, work); };
  return expand_template(text, context);
}

}  // namespace

Labels labels_made_by(const CompiledRule& rule, const promql::Element& element, const Making& making) {
  Labels out = element.labels;
  out.remove(kNameLabel);
  for (const std::string& name : rule.rule->labels_removed) out.remove(name);
  for (const auto& [name, value] : rule.labels().pairs()) {
    out.set(name, rule.rule->alerting ? expanded(rule, value, element.labels, element.value, making) : value);
  }
  if (rule.group->only) {
    out.set("service", rule.group->only->name);
    out.set("environment", rule.group->only->environment);
  }
  out.set(rule.rule->alerting ? "alertname" : kNameLabel, rule.rule->name);
  return out;
}

std::size_t alerts_after(const CompiledRule& rule, const Cell& cell, std::span<const promql::Element* const> elements,
                         const Making& making) {
  Made made;
  for (const promql::Element* element : elements) made.emplace(labels_made_by(rule, *element, making), element);
  return would_stand(rule, cell, made, making.now);
}

AlertChange describe(const CompiledRule& rule, const Cell& cell, const ServiceKey& service, const Labels& labels, const Alert& alert,
                     const Making& making) {
  AlertChange change;
  change.service = service;
  change.group = rule.group->name;
  change.rule = rule.rule->name;
  change.labels = labels;
  for (const auto& [name, text] : rule.rule->annotations.pairs()) {
    change.annotations.set(name, expanded(rule, text, alert.element, alert.value, making));
  }
  change.phase = alert.state.phase;
  change.since = alert.state.since;
  change.value = alert.value;
  change.action = rule.rule->action;
  change.reads = rule.rule->reads();
  change.checks = cell.checks();
  return change;
}

void set_verdict(const CompiledRule& rule, Cell& cell, const ServiceKey& service, Verdict verdict, bool fed, std::string detail,
                 Sink sink) {
  const bool same = cell.reported && cell.verdict == verdict && cell.fed == fed;
  if (cell.verdict != verdict || cell.since == Instant()) cell.since = sink.making.now;
  cell.verdict = verdict;
  cell.fed = fed;
  if (!detail.empty() || !cell.detail().empty()) {
    detail.shrink_to_fit();
    std::swap(cell.held.edit().detail, detail);  // The old one's room goes with it.
  }
  cell.tidy();
  if (same || !sink.tell_verdict) return;
  cell.reported = true;
  VerdictChange change;
  change.service = service;
  change.group = rule.group->name;
  change.rule = rule.rule->name;
  change.verdict = verdict;
  change.fed = fed;
  change.ignore_no_data = rule.rule->ignore_no_data;
  change.alerting = rule.rule->alerting;
  sink.out.verdicts.push_back(std::move(change));
}

void clear_alerts(const CompiledRule& rule, Cell& cell, const ServiceKey& service, Instant now, Sink sink) {
  cell.due.reset();
  if (cell.alerts().empty()) return;
  std::map<Labels, Alert>& alerts = cell.held.edit().alerts;
  for (auto& [labels, alert] : alerts) {
    alert.state = AlertState{};
    alert.state.since = now;
    sink.out.alerts.push_back(describe(rule, cell, service, labels, alert, sink.making));
  }
  sink.rule_alerts -= alerts.size();
  alerts.clear();
}

void apply_alerts(const CompiledRule& rule, Cell& cell, const ServiceKey& service, Finding finding, Instant now, Sink sink) {
  Made made;
  for (const promql::Element* element : finding.elements) {
    if (finding.blind) break;
    if (!made.emplace(labels_made_by(rule, *element, sink.making), element).second) {
      fail(finding, sink);
      finding.reason = "vector contains metrics with the same labelset after applying alert labels";
    }
  }
  const auto limit = static_cast<std::size_t>(rule.group->limit);
  if (!finding.blind && limit > 0) {
    if (const std::size_t n = would_stand(rule, cell, made, now); n > limit) {
      clear_alerts(rule, cell, service, now, sink);
      fail(finding, sink);
      finding.reason = "exceeded limit of " + std::to_string(limit) + " with " + std::to_string(n) + " alerts";
    }
  }
  cell.failed = finding.failed;
  if (finding.blind) {
    stay_blind(rule, cell, now);
    set_verdict(rule, cell, service, Verdict::blind, finding.fed, std::move(finding.reason), sink);
    return;
  }

  move_known(rule, cell, service, made, now, sink);
  add_new(rule, cell, service, made, now, sink);
  set_due(rule, cell, now);
  std::string detail;
  if (!finding.elements.empty()) {
    const promql::Element& first = *finding.elements.front();
    detail = first.labels.to_string() + " = " + format_go(first.value);
  }
  set_verdict(rule, cell, service, finding.elements.empty() ? Verdict::ok : Verdict::breached, finding.fed, std::move(detail), sink);
}

void apply_recording(const CompiledRule& rule, Cell& cell, const ServiceKey& service, const Finding& finding, Sink sink) {
  cell.due.reset();
  cell.failed = finding.failed;
  set_verdict(rule, cell, service, finding.blind ? Verdict::blind : Verdict::ok, finding.fed, finding.reason, sink);
}

}  // namespace rollbackd::rules
