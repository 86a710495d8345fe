#include "rules/rule_set.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <map>
#include <utility>

#include "base/digest.hpp"
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

/// How far back each selector below `e`, in promql::selectors's order, may look when `e` itself is looked at as far back as `from`.
void find_reaches(const promql::Expr& e, Duration from, std::vector<Duration>& out) {
  using Kind = promql::Expr::Kind;
  if (e.at_kind != promql::Expr::At::none) from = kForEver;
  from = std::clamp(from + std::clamp(e.offset(), -kForEver, kForEver), Duration{0}, kForEver);
  if (e.kind == Kind::subquery || e.kind == Kind::range_selector) from = std::min(from + std::min(e.range, kForEver), kForEver);
  const bool beyond = e.kind == Kind::range_selector && e.extend != promql::Expr::Extend::none;  // What lies before the window, too.
  if (e.kind == Kind::selector || beyond) from = std::min(from + promql::EvalOptions{}.lookback, kForEver);
  if (e.kind == Kind::selector || e.kind == Kind::range_selector) out.push_back(from + 1min);
  for (const promql::ExprPtr& arg : e.args) find_reaches(*arg, from, out);
}

RuleKey key_of(const std::string& text) {
  constexpr std::size_t kDigitsAWord = 16;
  const std::string digest = sha256_hex(text);
  RuleKey out{};
  for (std::size_t n = 0; n < out.size(); ++n) {
    const char* from = digest.data() + n * kDigitsAWord;
    std::from_chars(from, from + kDigitsAWord, out[n], 16);
  }
  return out;
}

}  // namespace

std::string to_text(const RuleKey& key) {
  std::array<char, 33> out{};
  std::snprintf(out.data(), out.size(), "%016llx%016llx", static_cast<unsigned long long>(key[0]),  // NOLINT(google-runtime-int)
                static_cast<unsigned long long>(key[1]));                                           // NOLINT(google-runtime-int)
  return out.data();
}

std::string_view metric_of(std::span<const series::Matcher> matchers) {
  for (const series::Matcher& m : matchers)
    if (m.label() == kNameLabel && m.op() == series::Matcher::Op::equal) return m.value();
  return {};
}

RuleSet::RuleSet(Groups groups) : groups_(std::move(groups)) {
  std::map<RuleKey, int> seen;
  std::size_t count = 0;
  for (const Group& group : groups_) count += group.rules.size();
  rules_.reserve(count);
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
      Labels labels = rule.labels;
      for (const auto& [name, value] : group.labels.pairs())
        if (!labels.has(name) && std::find(rule.labels_removed.begin(), rule.labels_removed.end(), name) == rule.labels_removed.end())
          labels.set(name, value);
      if (labels != *rule.labels) made.merged = std::make_unique<const Labels>(std::move(labels));
      const std::string text = (group.only ? group.only->text() : "") + '\n' + group.name + '\n' + rule.name + '\n' + rule.expr_text +
                               '\n' + (rule.alerting ? 'a' : 'r') + (made.timed ? 't' : 'l');
      made.key = key_of(text + '\n' + std::to_string(seen[key_of(text)]++));
      const std::vector<const promql::Expr*> selectors = promql::selectors(*rule.expr);
      made.selectors.reserve(selectors.size());
      for (const promql::Expr* selector : selectors) made.selectors.push_back(selector);
      if (auto shape = made.timed ? std::nullopt : shape_of(*rule.expr)) made.shape = std::make_unique<const Shape>(std::move(*shape));
      const auto id = static_cast<RuleId>(rules_.size());
      for (std::uint32_t n = 0; n < made.selectors.size(); ++n) (made.timed ? timed_ : index_).add({id, n}, made.selectors[n]);
      if (!made.timed) (group.only ? own_[*group.only] : everywhere_).push_back(id);
      if (!rule.alerting) recorders_[rule.name].push_back(id);
      rules_.push_back(std::move(made));
    }
  }
  index_.ready();
  timed_.ready();
  everywhere_.shrink_to_fit();
  for (std::uint32_t slot = 0; slot < everywhere_.size(); ++slot) rules_[everywhere_[slot]].slot = slot;
  for (const auto& [service, ids] : own_) {
    for (std::size_t n = 0; n < ids.size(); ++n) rules_[ids[n]].slot = static_cast<std::uint32_t>(everywhere_.size() + n);
  }
}

Duration RuleSet::reach_of(const Labels& labels) const {
  Duration reach = kReachMin;
  for (const SelectorIndex* index : {&index_, &timed_}) {
    std::vector<Duration> reaches;
    std::optional<RuleId> of;
    for (const series::Reader& reader : index->readers_of(labels)) {  // Those of one rule stand together.
      if (of != reader.rule) {
        reaches.clear();
        find_reaches(*rules_[reader.rule].rule->expr, rules_[reader.rule].group->query_offset, reaches);
      }
      of = reader.rule;
      reach = std::max(reach, reaches[reader.selector]);
    }
  }
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
