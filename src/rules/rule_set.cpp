#include "rules/rule_set.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "promql/evaluate.hpp"
#include "rules/locality.hpp"

namespace rollbackd::rules {
namespace {

bool has_subquery(const promql::Expr& e) {
  if (e.kind == promql::Expr::Kind::subquery) return true;
  for (const promql::ExprPtr& arg : e.args)
    if (has_subquery(*arg)) return true;
  return false;
}

constexpr Duration kForEver = 24h * 36500;

/// How far back each selector below `e` may look when `e` itself is looked at as far back as `from`.
void find_reaches(const promql::Expr& e, Duration from, CompiledRule& out) {
  using Kind = promql::Expr::Kind;
  if (e.at_kind != promql::Expr::At::none) from = kForEver;
  from = std::clamp(from + std::clamp(e.offset(), -kForEver, kForEver), Duration{0}, kForEver);
  if (e.kind == Kind::subquery || e.kind == Kind::range_selector) from = std::min(from + std::min(e.range, kForEver), kForEver);
  if (e.kind == Kind::selector) from = std::min(from + promql::EvalOptions{}.lookback, kForEver);
  const auto at = std::find(out.selectors.begin(), out.selectors.end(), &e);
  if (at != out.selectors.end()) out.reaches[static_cast<std::size_t>(at - out.selectors.begin())] = from + 1min;
  for (const promql::ExprPtr& arg : e.args) find_reaches(*arg, from, out);
}

}  // namespace

std::string_view metric_of(std::span<const series::Matcher> matchers) {
  for (const series::Matcher& m : matchers)
    if (m.label() == kNameLabel && m.op() == series::Matcher::Op::equal) return m.value();
  return {};
}

RuleSet::RuleSet(Groups groups) : groups_(std::move(groups)) {
  std::map<std::string, int> seen;
  for (std::uint32_t g = 0; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    for (const Rule& rule : group.rules) {
      if (rule.expr == nullptr) continue;  // Its file had an error; nothing can be said by it.
      CompiledRule made;
      made.group = &group;
      made.rule = &rule;
      made.group_id = g;
      made.timed = !why_on_interval(group, rule).empty();
      made.subquery = has_subquery(*rule.expr);
      made.labels = rule.labels;
      for (const auto& [name, value] : group.labels.pairs())
        if (!made.labels.has(name)) made.labels.set(name, value);
      made.key = (group.only ? group.only->text() : "") + '\n' + group.name + '\n' + rule.name + '\n' + rule.expr_text + '\n' +
                 (rule.alerting ? 'a' : 'r') + (made.timed ? 't' : 'l');
      made.key += '\n' + std::to_string(seen[made.key]++);
      made.selectors = promql::selectors(*rule.expr);
      made.reaches.resize(made.selectors.size());
      find_reaches(*rule.expr, group.query_offset, made);
      if (auto shape = made.timed ? std::nullopt : shape_of(*rule.expr)) made.shape = std::make_unique<const Shape>(std::move(*shape));
      const auto id = static_cast<RuleId>(rules_.size());
      for (std::uint32_t n = 0; n < made.selectors.size(); ++n) (made.timed ? timed_ : index_).add({id, n}, made.selectors[n]);
      if (!made.timed) (group.only ? own_[*group.only] : everywhere_).push_back(id);
      if (!rule.alerting) recorders_[rule.name].push_back(id);
      rules_.push_back(std::move(made));
    }
  }
  for (std::uint32_t slot = 0; slot < everywhere_.size(); ++slot) rules_[everywhere_[slot]].slot = slot;
  for (const auto& [service, ids] : own_) {
    for (std::size_t n = 0; n < ids.size(); ++n) rules_[ids[n]].slot = static_cast<std::uint32_t>(everywhere_.size() + n);
  }
}

Duration RuleSet::reach_of(const Labels& labels) const {
  Duration reach = kReachMin;
  for (const SelectorIndex* index : {&index_, &timed_})
    for (const series::Reader& reader : index->readers_of(labels)) reach = std::max(reach, rules_[reader.rule].reaches[reader.selector]);
  return reach;
}

std::vector<RuleId> RuleSet::cells_of(const ServiceKey& service) const {
  std::vector<RuleId> out = everywhere_;
  if (const auto own = own_.find(service); own != own_.end()) out.insert(out.end(), own->second.begin(), own->second.end());
  return out;
}

const std::vector<RuleId>* RuleSet::recorders(std::string_view metric) const {
  if (metric.empty()) return nullptr;
  const auto at = recorders_.find(metric);
  return at == recorders_.end() ? nullptr : &at->second;
}

}  // namespace rollbackd::rules
