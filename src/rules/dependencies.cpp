#include "rules/dependencies.hpp"

#include <algorithm>

namespace rollbackd::rules {
namespace {

using Op = series::Matcher::Op;

bool is_alerts(std::string_view metric) { return metric == kAlertsMetric || metric == kAlertsForStateMetric; }

const series::Matcher* equal_to(std::span<const series::Matcher> matchers, std::string_view label) {
  for (const series::Matcher& m : matchers)
    if (m.label() == label && m.op() == Op::equal) return &m;
  return nullptr;
}

/// Whether the alerts of `rule` can have labels that `matchers` find: its name, and its own labels where they are no templates.
bool may_make(const CompiledRule& rule, std::span<const series::Matcher> matchers) {
  for (const series::Matcher& m : matchers) {
    if (m.label() == kAlertNameLabel && !m.matches(rule.rule->name)) return false;
    const std::string_view own = rule.labels().get(m.label());
    if (!own.empty() && own.find("{{") == std::string_view::npos && !m.matches(own)) return false;
  }
  return true;
}

}  // namespace

Dependencies::Dependencies(const RuleSet& rules) : rules_(&rules) {
  const auto count = static_cast<RuleId>(rules.rules().size());
  for (RuleId id = 0; id < count; ++id) {
    if (!rules[id].rule->alerting) continue;
    alerting_.push_back(id);
  }
  alerting_.shrink_to_fit();
  by_name_ = alerting_;
  std::stable_sort(by_name_.begin(), by_name_.end(), [this](RuleId a, RuleId b) { return name_of(a) < name_of(b); });
  readers_.resize(count);
  reads_timed_.resize(count);
  const bool timed_rules = std::any_of(rules.rules().begin(), rules.rules().end(), [](const CompiledRule& r) { return r.timed; });
  const bool timed_alerts = std::any_of(alerting_.begin(), alerting_.end(), [&](RuleId id) { return rules[id].timed; });

  // One more node stands for all alerting rules, so that many rules that read all alerts do not make many times as many edges.
  std::vector<std::vector<std::uint32_t>> reads(count + 1);
  reads[count] = alerting_;
  for (RuleId id = 0; id < count; ++id) {
    for (const promql::Expr* selector : rules[id].selectors) {
      const std::string_view metric = metric_of(selector->matchers);
      if (metric.empty()) reads_timed_[id] = reads_timed_[id] || timed_rules;
      if (is_alerts(metric) && equal_to(selector->matchers, kAlertNameLabel) == nullptr) {
        reads[id].push_back(count);
        readers_of_any_alert_.push_back(id);
        reads_timed_[id] = reads_timed_[id] || timed_alerts;
        continue;
      }
      for (const RuleId maker : makers(selector->matchers)) {
        reads[id].push_back(maker);
        readers_[maker].push_back(id);
        reads_timed_[id] = reads_timed_[id] || rules[maker].timed;
      }
    }
  }
  find_circles(reads);
}

std::vector<RuleId> Dependencies::makers(std::span<const series::Matcher> matchers) const {
  const std::string_view metric = metric_of(matchers);
  if (rules_ == nullptr || metric.empty()) return {};
  std::vector<RuleId> out;
  if (is_alerts(metric)) {
    const series::Matcher* name = equal_to(matchers, kAlertNameLabel);
    for (const RuleId id : name != nullptr ? alerting(name->value()) : std::span<const RuleId>(alerting_))
      if (may_make((*rules_)[id], matchers)) out.push_back(id);
  }
  if (const std::vector<RuleId>* recorders = rules_->recorders(metric)) out.insert(out.end(), recorders->begin(), recorders->end());
  return out;
}

std::vector<RuleId> Dependencies::readers(RuleId id) const {
  std::vector<RuleId> out(readers_[id].begin(), readers_[id].end());
  if ((*rules_)[id].rule->alerting) out.insert(out.end(), readers_of_any_alert_.begin(), readers_of_any_alert_.end());
  return out;
}

/// Tarjan's strongly connected components, without recursion: a chain of rules may be as long as there are rules.
void Dependencies::find_circles(const std::vector<std::vector<std::uint32_t>>& reads) {
  constexpr std::uint32_t kNew = 0xffffffff;
  const auto count = static_cast<std::uint32_t>(reads.size());
  std::vector<std::uint32_t> index(count, kNew), low(count, 0), stack;
  std::vector<bool> on_stack(count, false);
  struct Visit {
    std::uint32_t node = 0;
    std::size_t next = 0;
  };
  std::vector<Visit> path;
  std::uint32_t visited = 0, circles = 0;
  circle_.assign(count, 0);
  for (std::uint32_t root = 0; root < count; ++root) {
    if (index[root] != kNew) continue;
    path.push_back({root, 0});
    while (!path.empty()) {
      const std::uint32_t node = path.back().node;
      if (path.back().next == 0) {
        index[node] = low[node] = visited++;
        stack.push_back(node);
        on_stack[node] = true;
      }
      if (path.back().next < reads[node].size()) {
        const std::uint32_t to = reads[node][path.back().next++];
        if (index[to] == kNew) {
          path.push_back({to, 0});
        } else if (on_stack[to]) {
          low[node] = std::min(low[node], index[to]);
        }
        continue;
      }
      path.pop_back();
      if (!path.empty()) low[path.back().node] = std::min(low[path.back().node], low[node]);
      if (low[node] != index[node]) continue;
      for (std::uint32_t member = kNew; member != node;) {
        member = stack.back();
        stack.pop_back();
        on_stack[member] = false;
        circle_[member] = circles;
      }
      ++circles;
    }
  }
}

}  // namespace rollbackd::rules
