// Rule files in Prometheus's form, read into groups, with what rollbackd reads from their labels.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/compact.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "config/document.hpp"
#include "model/alert.hpp"
#include "promql/parse.hpp"

namespace rollbackd::rules {

/// Labels that do not change. What is equal in one file is there once: most rules carry the same few.
class SharedLabels {
 public:
  SharedLabels() = default;
  SharedLabels(Labels labels)  // NOLINT(google-explicit-constructor): it is those labels
      : held_(labels.empty() ? nullptr : std::make_shared<const Labels>(std::move(labels))) {}

  const Labels& operator*() const { return held_ ? *held_ : nothing(); }
  operator const Labels&() const { return **this; }  // NOLINT(google-explicit-constructor): it is those labels
  const std::vector<Labels::Pair>& pairs() const { return (**this).pairs(); }
  std::string_view get(std::string_view name) const { return (**this).get(name); }
  bool has(std::string_view name) const { return (**this).has(name); }
  bool empty() const { return held_ == nullptr; }
  std::string to_string() const { return (**this).to_string(); }
  friend bool operator==(const SharedLabels& a, const Labels& b) { return *a == b; }

 private:
  static const Labels& nothing() {
    static const Labels none;
    return none;
  }
  std::shared_ptr<const Labels> held_;
};

struct Rule {
  std::string name;  ///< alert's name, or recorded metric's name
  promql::ExprPtr expr;
  std::string expr_text;
  Duration pending_for{};  ///< `for`
  Duration keep_firing_for{};
  SharedLabels labels, annotations;    ///< templates unexpanded
  Packed<std::string> labels_removed;  ///< written with an empty text, sorted: what the expression gives loses them
  Packed<std::string> annotations_empty;
  int line = 0;
  AlertAction action = AlertAction::notify;  ///< label rollbackd_action
  bool alerting = true;
  bool ignore_no_data = false;  ///< label rollbackd_no_data: ignore
  bool service_local = false;   ///< derived: proved by DESIGN.md section 5's conditions, or in a service's own rule file

  /// Metric names that its selectors name; empty string among them: any metric.
  std::vector<std::string> reads() const;
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
