// The loaded rules, made ready: which metric names touch which rules, and what every evaluation of one needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "rules/groups.hpp"

namespace rollbackd::rules {

using RuleId = std::uint32_t;  ///< place in file order: groups, then rules

/// One rule with what is derived from it.
struct CompiledRule {
  const Group* group = nullptr;
  const Rule* rule = nullptr;
  std::uint32_t group_id = 0;
  bool timed = false;     ///< runs on its group's interval: it spans services, or its group has a query_offset
  bool subquery = false;  ///< its windows cannot be read off its selectors alone
  Labels labels;          ///< the group's and the rule's own, templates unexpanded
  std::string key;        ///< what makes it the same rule after a reload
  std::vector<const promql::Expr*> selectors;
};

/// All rules. Holds the groups; not copyable, because rules point into them.
class RuleSet {
 public:
  explicit RuleSet(Groups groups = {});
  RuleSet(const RuleSet&) = delete;
  RuleSet& operator=(const RuleSet&) = delete;

  const Groups& groups() const { return groups_; }
  const std::vector<CompiledRule>& rules() const { return rules_; }
  const CompiledRule& operator[](RuleId id) const { return rules_[id]; }
  /// Rules that record `metric`; nothing when none does.
  const std::vector<RuleId>* recorders(std::string_view metric) const;

  /// Calls `touched(id)` for each rule with a selector that matches the series; a rule may be named twice.
  template <class F>
  void for_each_reader(const Labels& series, F&& touched) const {
    if (const auto named = readers_.find(series.name()); named != readers_.end()) touch(named->second, series, touched);
    touch(readers_of_any_, series, touched);
  }

 private:
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  template <class T>
  using ByName = std::unordered_map<std::string, T, TextHash, std::equal_to<>>;
  struct Use {
    RuleId rule = 0;
    const promql::Expr* selector = nullptr;
  };

  template <class F>
  static void touch(const std::vector<Use>& uses, const Labels& series, F& touched) {
    for (const Use& use : uses) {
      bool matches = true;
      for (const series::Matcher& m : use.selector->matchers) matches = matches && m.matches(series);
      if (matches) touched(use.rule);
    }
  }

  Groups groups_;
  std::vector<CompiledRule> rules_;
  ByName<std::vector<Use>> readers_;
  std::vector<Use> readers_of_any_;  ///< selectors without an equality on __name__
  ByName<std::vector<RuleId>> recorders_;
};

/// The value of the first equality matcher on `__name__`, or "".
std::string_view metric_of(std::span<const series::Matcher> matchers);

}  // namespace rollbackd::rules
