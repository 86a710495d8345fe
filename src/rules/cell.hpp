// One rule on one service: its verdict and its alerts, and how the result of an evaluation moves them.
// Flow: promql -> [cell] -> incident. Pure: no I/O, no clock.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/compact.hpp"
#include "promql/evaluate.hpp"
#include "rules/alert_state.hpp"
#include "rules/compiled.hpp"
#include "rules/judge.hpp"
#include "rules/rule_set.hpp"

namespace rollbackd::rules {

/// Alerts that one rule may have over all services; further ones are dropped and counted.
inline constexpr std::size_t kAlertsPerRuleMax = 1000;

/// A pending or firing alert. Its labels are its key.
struct Alert {
  AlertState state;
  Labels element;  ///< labels of the result's element, for the templates
  double value = 0;
  bool kept = false;  ///< from the run before: told once fresh evidence bears it out
};

/// There is one for every rule on every service, and most are quiet: what only the others have is aside.
struct Cell {
  using Checks = std::vector<std::string>;
  struct Held {
    std::string detail;
    std::map<Labels, Alert> alerts;
    std::vector<Labels> recorded;
  };

  RuleId rule = 0;
  Verdict verdict = Verdict::blind;
  bool fed = false;
  bool reported = false;       ///< false until its first verdict was told
  bool failed = false;         ///< blind because its last evaluation ended in an error, which `detail` says
  Instant since;               ///< of its verdict
  Instant ran;                 ///< when it last ran
  std::optional<Instant> due;  ///< when it is to run again without a sample
  std::unique_ptr<Compiled> compiled;
  std::shared_ptr<const Checks> fed_by;  ///< shared with the cells that the same checks feed
  Rare<Held> held;

  const std::string& detail() const { return held->detail; }
  const std::map<Labels, Alert>& alerts() const { return held->alerts; }
  /// Series that its last known result made; one that is missing next time gets a staleness marker.
  const std::vector<Labels>& recorded() const { return held->recorded; }
  /// Of its service that can feed it, by way of recording rules too.
  const Checks& checks() const {
    static const Checks none;
    return fed_by ? *fed_by : none;
  }
  void set_checks(Checks checks) {
    if (checks != this->checks()) fed_by = std::make_shared<const Checks>(std::move(checks));
  }
  /// Lets go of what is held where that is nothing.
  void tidy() {
    if (held && held->detail.empty() && held->alerts.empty() && held->recorded.empty()) held.reset();
  }
};

/// What one evaluation says about one cell.
struct Finding {
  std::span<const promql::Element* const> elements;
  bool blind = false;  ///< or the evaluation failed
  bool fed = false;
  std::string reason;   ///< why blind
  bool failed = false;  ///< it is an error
};

/// Answers `query` in templates.
class TemplateSource {
 public:
  virtual ~TemplateSource() = default;
  /// @param only  for a rule of a service's own file: it sees this service alone
  /// @param work  what is left of the template's bound; what the query took is taken off
  virtual Result<std::vector<promql::Element>> query(std::string_view expr, Instant at, const std::optional<ServiceKey>& only,
                                                     std::uint64_t& work) const = 0;
};
/// What all queries of one template together may touch; they run on the reactor.
inline constexpr std::uint64_t kTemplateWorkMax = 100'000;

/// What making labels and annotations needs beside the rule.
struct Making {
  const TemplateSource& templates;
  Instant now;
};

/// Where the changes go, and what the alerts of one rule are counted by.
struct Sink {
  Judgement& out;
  std::size_t& rule_alerts;  ///< of this rule over all services
  JudgeCounters& counters;
  Making making;
  bool tell_verdict = true;  ///< false for a service that nobody declared
};

/// The labels of the alert or recorded series that `element` makes. A rule of a service's own file makes only what is that service's.
Labels labels_made_by(const CompiledRule& rule, const promql::Element& element, const Making& making);

/// One alert as it stands.
AlertChange describe(const CompiledRule& rule, const Cell& cell, const ServiceKey& service, const Labels& labels, const Alert& alert,
                     const Making& making);

/// How many alerts the group's limit would count in this cell after an evaluation with these elements.
std::size_t alerts_after(const CompiledRule& rule, const Cell& cell, std::span<const promql::Element* const> elements,
                         const Making& making);

/// Moves an alerting rule's cell. Fails (blind, alerts kept) on two elements with the same labels; over the group's limit all alerts of the
/// cell are cleared, as Prometheus does. Sets `cell.due` to the next end of a `for` or `keep_firing_for`.
void apply_alerts(const CompiledRule& rule, Cell& cell, const ServiceKey& service, Finding finding, Instant now, Sink sink);

/// Tells a recording rule's verdict: ok unless blind.
void apply_recording(const CompiledRule& rule, Cell& cell, const ServiceKey& service, const Finding& finding, Sink sink);

/// All alerts of the cell go back to inactive; those that were not are reported.
void clear_alerts(const CompiledRule& rule, Cell& cell, const ServiceKey& service, Instant now, Sink sink);

/// Sets the verdict and reports it when it is another, or the first.
void set_verdict(const CompiledRule& rule, Cell& cell, const ServiceKey& service, Verdict verdict, bool fed, std::string detail, Sink sink);

}  // namespace rollbackd::rules
