// What rules write into the store: recorded metrics, and the `ALERTS` and `ALERTS_FOR_STATE` of alerting rules, as Prometheus's rule
// manager does. All are part of the commit that they come of: rules that read them and stand behind run in the same pass.
#include <cmath>

#include "rules/judge_impl.hpp"

namespace rollbackd::rules {
namespace {

using MadeSeries = std::map<Labels, double>;

/// Of an alert that stands one series for its state and one for when its breach began. A label of the rule that expands to nothing stays
/// as it is written, which is Prometheus's way.
MadeSeries series_of(const CompiledRule& rule, const Cell& cell) {
  MadeSeries out;
  for (const auto& [labels, alert] : cell.alerts()) {
    Labels made = rule.labels();
    for (const auto& [name, value] : labels.pairs()) made.set(name, value);
    made.set(kAlertNameLabel, rule.rule->name);
    made.set(kNameLabel, kAlertsForStateMetric);
    out[made] = std::floor(alert.state.active_at.seconds());
    made.set(kNameLabel, kAlertsMetric);
    made.set(kAlertStateLabel, to_string(alert.state.phase));
    out[std::move(made)] = 1;
  }
  return out;
}

/// What was made is made again at least so often while nothing new comes, so that it stays in its readers' sight.
Duration renewal(const Group& group) { return std::clamp<Duration>(group.interval, 15s, 4min); }

}  // namespace

/// Appends what an evaluation made and ends what it no longer makes.
void Judge::Impl::publish(const CompiledRule& rule, Cell& cell, const ServiceKey& service, const MadeSeries& made, Instant now) {
  if (made.empty() && cell.recorded().empty()) return;
  const auto write = [&](const Labels& labels, double value) {
    const series::Series* written = store.append(labels, {now - rule.group->query_offset, value});
    if (written == nullptr) return;  // A bound refused it; nobody has anything new to read.
    // A rule that writes into another service's series is read there when that service's own rules next run: no pass causes another.
    ServiceState* owner = find(series::owner_of(*written));
    if (owner == nullptr) return;
    touch_readers(*written, *owner, owner->key == service && !rule.timed ? &cell : nullptr, now);
    if (rule.timed) waiting.insert(owner->id);
  };
  for (const Labels& before : cell.recorded()) {
    if (!made.contains(before)) write(before, series::stale_nan());
  }
  std::vector<Labels>& recorded = cell.held.edit().recorded;
  recorded = {};
  for (const auto& [labels, value] : made) {
    write(labels, value);
    recorded.push_back(labels);
  }
  cell.tidy();
}

/// Appends a recording rule's result. When it fails the finding is blind afterwards.
void Judge::Impl::record(RuleId id, Cell& cell, const ServiceKey& service, Finding& finding, Instant now) {
  const CompiledRule& rule = (*rules)[id];
  MadeSeries made;
  for (const promql::Element* element : finding.elements) {
    if (!made.emplace(labels_made_by(rule, *element, {*this, now}), element->value).second) {
      finding.reason = "vector contains metrics with the same labelset after applying rule labels";
    }
  }
  if (rule.group->limit > 0 && made.size() > static_cast<std::size_t>(rule.group->limit)) {
    finding.reason = "exceeded limit of " + std::to_string(rule.group->limit) + " with " + std::to_string(made.size()) + " series";
  }
  if (finding.reason.empty()) return publish(rule, cell, service, made, now);
  ++counters.evaluation_failures;
  finding.blind = finding.failed = true;
}

/// What reads `id` can see again, or no longer: its verdict says so even where nothing is written.
void Judge::Impl::tell_readers(RuleId id, const Cell& cell, const ServiceKey& service, Instant now) {
  ServiceState* of = find(service);
  if (of == nullptr) return;
  const bool timed = (*rules)[id].timed;
  for (const RuleId reader : dependencies.readers(id)) {
    touch_reader(reader, *of, timed ? nullptr : &cell, now);
    if (timed) waiting.insert(of->id);
  }
}

/// Lets the finding move the cell, whichever kind of rule it is.
void Judge::Impl::settle(RuleId id, Cell& cell, const ServiceKey& service, Finding finding, Instant now, Sink to) {
  const CompiledRule& rule = (*rules)[id];
  const bool was_blind = cell.verdict == Verdict::blind;
  facts[id].last_run = now;
  if (rule.rule->alerting) {
    apply_alerts(rule, cell, service, std::move(finding), now, to);
    if (cell.verdict != Verdict::blind) publish(rule, cell, service, series_of(rule, cell), now);
  } else {
    if (!finding.blind) record(id, cell, service, finding, now);
    apply_recording(rule, cell, service, finding, to);
  }
  if (!cell.recorded().empty() && cell.verdict != Verdict::blind) cell.due = earlier(cell.due, slot_after(now + renewal(*rule.group), now));
  if (was_blind != (cell.verdict == Verdict::blind)) tell_readers(id, cell, service, now);
}

Result<std::vector<promql::Element>> Judge::Impl::query(std::string_view expr, Instant at, const std::optional<ServiceKey>& only,
                                                        std::uint64_t& work) const {
  auto parsed = promql::parse(expr);
  if (!parsed) return parsed.error();
  promql::EvalOptions options;
  options.at = at;
  options.work_max = work;
  options.annotate = false;
  auto value = promql::evaluate(**parsed, View(*this, only ? &*only : nullptr), options);
  if (!value) return value.error();
  work -= std::min(work, value->work + 1);
  if (value->type == promql::Value::Type::scalar) value->vector.push_back({Labels(), value->scalar});
  return std::move(value->vector);
}

}  // namespace rollbackd::rules
