// Which rules make the series that other rules read: recorded metrics, and the `ALERTS` and `ALERTS_FOR_STATE` of alerting rules.
// What such a series says is known only as far as its rule can see.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/compact.hpp"
#include "rules/rule_set.hpp"

namespace rollbackd::rules {

inline constexpr std::string_view kAlertsMetric = "ALERTS";
inline constexpr std::string_view kAlertsForStateMetric = "ALERTS_FOR_STATE";
inline constexpr std::string_view kAlertNameLabel = "alertname";
inline constexpr std::string_view kAlertStateLabel = "alertstate";

/// Made anew with each set of rules, which it outlives not.
class Dependencies {
 public:
  Dependencies() = default;
  explicit Dependencies(const RuleSet& rules);

  /// The rules that make series which `matchers` may find, in file order. None without an equality on `__name__`: what such a selector
  /// finds comes from sources in the end.
  std::vector<RuleId> makers(std::span<const series::Matcher> matchers) const;
  /// The rules that read what `id` makes; one may be named twice.
  std::vector<RuleId> readers(RuleId id) const;
  /// Alerting rules of this name.
  std::span<const RuleId> alerting(std::string_view name) const {
    const auto from =
        std::lower_bound(by_name_.begin(), by_name_.end(), name, [this](RuleId id, std::string_view n) { return name_of(id) < n; });
    const auto to = std::upper_bound(from, by_name_.end(), name, [this](std::string_view n, RuleId id) { return n < name_of(id); });
    return {from, to};
  }
  /// Whether each reads what the other makes, over however many others (a rule that counts all alerts, itself among them): then neither
  /// waits for the other to see.
  bool in_one_circle(RuleId a, RuleId b) const { return circle_[a] == circle_[b]; }
  /// Whether it may find series that rules on an interval make, which may be of no declared service.
  bool reads_timed(RuleId id) const { return reads_timed_[id]; }

 private:
  void find_circles(const std::vector<std::vector<std::uint32_t>>& reads);

  std::string_view name_of(RuleId id) const { return (*rules_)[id].rule->name; }

  const RuleSet* rules_ = nullptr;
  std::vector<RuleId> alerting_;
  std::vector<RuleId> by_name_;          ///< the same, by their names, and in file order where they share one
  std::vector<Packed<RuleId>> readers_;  ///< by maker
  std::vector<RuleId> readers_of_any_alert_;
  std::vector<std::uint32_t> circle_;
  std::vector<bool> reads_timed_;
};

}  // namespace rollbackd::rules
