// What `check rules` knows beyond the form of a rule: when it runs, whose it can be, and what makes it act on too little.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/document.hpp"
#include "config/settings.hpp"
#include "rules/groups.hpp"

namespace rollbackd::cli {

/// What the configured checks of all services can deliver, as far as the configuration tells.
struct Feeds {
  bool anything = false;  ///< a scrape is among them: any metric may come
  std::set<std::string, std::less<>> metrics;
};
Feeds feeds_of(const config::Settings& settings);

/// One rule as `--explain` shows it.
struct Explained {
  std::string file, group, rule, expr;  ///< the expression as parsed, in Prometheus's canonical text
  int line = 0;
  bool alerting = true, per_batch = true, belongs = true;
  std::string why;  ///< why it runs on its group's interval
  Duration interval{};
};
Explained explain_rule(const rules::Group& group, const rules::Rule& rule);

/// Warnings about rules that may cause something by their label rollbackd_action, and about recording rules that stand in a file twice.
/// @param feeds  when given, rules that read what nobody delivers are warned about too
std::vector<config::Problem> review(const rules::Groups& groups, const std::optional<Feeds>& feeds);

}  // namespace rollbackd::cli
