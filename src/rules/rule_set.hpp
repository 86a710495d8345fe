// The loaded rules, made ready: which series touch which rules, and what every evaluation of one needs.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/compact.hpp"
#include "rules/compiled_shape.hpp"
#include "rules/groups.hpp"
#include "rules/selector_index.hpp"

namespace rollbackd::rules {

using RuleId = std::uint32_t;  ///< place in file order: groups, then rules

/// Of a series that no rule reads, too: what an ad hoc query's lookback sees, and a minute for who looks a little late.
inline constexpr Duration kReachMin = 6min;

/// What makes it the same rule after a reload: the first half of a SHA-256 of its service, group, name, text and kind.
using RuleKey = std::array<std::uint64_t, 2>;
/// As 32 hexadecimal digits.
std::string to_text(const RuleKey& key);

/// One rule with what is derived from it.
struct CompiledRule {
  const Group* group = nullptr;
  const Rule* rule = nullptr;
  std::uint32_t group_id = 0;
  std::uint32_t slot = 0;  ///< its cell's place among the cells of any service that it concerns; not of a timed one
  bool timed = false;      ///< runs on its group's interval over all services; `why_on_interval` says why
  bool subquery = false;   ///< its windows cannot be read off its selectors alone
  RuleKey key{};
  Packed<const promql::Expr*> selectors;
  std::unique_ptr<const Labels> merged;  ///< where they are other than the rule's own
  std::unique_ptr<const Shape> shape;    ///< where it is of a plain shape and runs for one service alone

  /// The group's and the rule's own, templates unexpanded.
  const Labels& labels() const { return merged ? *merged : *rule->labels; }
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

  /// Rules that run for one service alone and concern it: those of all services, then its own; by `CompiledRule::slot`.
  std::vector<RuleId> cells_of(const ServiceKey& service) const;
  /// The selectors of rules that run for one service alone that match the series, in order of their rules.
  std::vector<series::Reader> readers_of(const Labels& labels) const { return index_.readers_of(labels); }
  /// How far back any rule may look at such a series, and at least kReachMin.
  Duration reach_of(const Labels& labels) const;

 private:
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  template <class T>
  using ByName = std::unordered_map<std::string, T, TextHash, std::equal_to<>>;
  Groups groups_;
  std::vector<CompiledRule> rules_;
  std::vector<RuleId> everywhere_;                 ///< cells that every service has
  std::map<ServiceKey, std::vector<RuleId>> own_;  ///< of a service's own files
  SelectorIndex index_;
  SelectorIndex timed_;  ///< selectors of rules on an interval: no batch touches those, but what they reach is kept
  ByName<std::vector<RuleId>> recorders_;
};

/// The value of the first equality matcher on `__name__`, or "".
std::string_view metric_of(std::span<const series::Matcher> matchers);

}  // namespace rollbackd::rules
