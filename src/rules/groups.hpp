// Rule files in Prometheus's form, read into groups, with what rollbackd reads from their labels.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "config/document.hpp"
#include "model/alert.hpp"
#include "promql/parse.hpp"

namespace rollbackd::rules {

struct Rule {
  std::string name;  ///< alert's name, or recorded metric's name
  bool alerting = true;
  promql::ExprPtr expr;
  std::string expr_text;
  Duration pending_for{};  ///< `for`
  Duration keep_firing_for{};
  Labels labels, annotations;               ///< templates unexpanded
  std::vector<std::string> labels_removed;  ///< written with an empty text, sorted: what the expression gives loses them
  std::vector<std::string> annotations_empty;
  AlertAction action = AlertAction::notify;  ///< label rollbackd_action
  bool ignore_no_data = false;               ///< label rollbackd_no_data: ignore
  int line = 0;
  // Derived at load:
  bool service_local = false;      ///< proved by DESIGN.md section 5's conditions, or in a service's own rule file
  std::vector<std::string> reads;  ///< metric names its selectors name; empty string among them: any metric
};

struct Group {
  std::string name, file;
  Duration interval = 15s;         ///< of rules that span services; a rule of one service runs on each batch
  int limit = 0;                   ///< alerts or series a rule may make; 0 = none
  Duration query_offset{};         ///< evaluated so far back; such rules run on the interval, as their newest sample is not yet in sight
  Labels labels;                   ///< added to every rule of the group
  std::optional<ServiceKey> only;  ///< from `services[].rule_files`: sees this service's series alone and stamps its labels
  std::vector<Rule> rules;
};

using Groups = std::vector<Group>;

/// Reads one rule file. All problems at once; with an error among them the groups must not be used.
/// @param only  the service whose own rule file it is
Groups parse_groups(std::string_view text, const std::string& file, const std::optional<ServiceKey>& only,
                    std::vector<config::Problem>& problems);

/// Whether evaluating `expr` with one service's series alone gives exactly that service's part of the whole result.
/// @param why_not  the first construct that spans services
bool proves_local(const promql::Expr& expr, std::string* why_not = nullptr);

}  // namespace rollbackd::rules
