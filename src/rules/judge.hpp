// The hot path: a batch in, alert and verdict changes out. Owns the series store, the rule groups and every alert's state.
// Flow: checks -> [judge: series -> promql -> rules] -> incident. Pure: no I/O, no clock; not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/time.hpp"
#include "model/alert.hpp"
#include "model/batch.hpp"
#include "model/kept_alert.hpp"
#include "promql/evaluate.hpp"
#include "rules/groups.hpp"
#include "series/store.hpp"

namespace rollbackd::rules {

/// One alert as it stands, for the API.
struct ActiveAlert {
  AlertChange alert;
  bool blind = false;
  Instant active_at;                    ///< when the breach began, whatever the phase since
  std::optional<Instant> absent_since;  ///< when the breach ended, while `keep_firing_for` keeps it firing
};
/// One rule's standing on one service, for the API and `explain`.
struct RuleStatus {
  std::string group, rule, expr;
  ServiceKey service;
  Verdict verdict = Verdict::blind;
  bool fed = false;
  std::string detail;  ///< why blind, or the value that breached
  bool alerting = true, ignore_no_data = false;
  std::string runs{};  ///< for people: after each batch, of the service's own file, or on the interval and why
  Instant since{};     ///< of the verdict
  bool failed = false;
  std::size_t pending = 0, firing = 0;  ///< alerts
  /// Up to five: of its alerts, of what it recorded, or where nothing breaches of the compared side. As they are now.
  std::vector<promql::Element> values{};
};

/// One rule over all services, for `/api/v1/rules`.
struct RuleReport {
  const Group* group = nullptr;  ///< valid until the next `set_rules`
  const Rule* rule = nullptr;
  enum class Runs { per_batch, per_interval };
  Runs runs = Runs::per_batch;
  std::string why_on_interval;             ///< the construct that spans services, or that its group has a query_offset
  std::string health = "unknown";          ///< Prometheus's words: ok, err, unknown (never ran)
  std::string last_error;                  ///< of the last evaluation
  std::optional<Instant> last_evaluation;  ///< engine time
  std::vector<ActiveAlert> alerts;         ///< pending and firing ones
};

/// Plain counters for the metrics room.
struct JudgeCounters {
  std::uint64_t batches = 0, evaluations = 0, evaluation_failures = 0, alerts_dropped = 0;
  std::uint64_t limits_hit = 0;  ///< evaluations that ended because of a bound on work, results or samples
  std::uint64_t work = 0;        ///< samples touched plus elements made, by all evaluations
};

class Judge {
 public:
  explicit Judge(series::Limits limits = {});
  ~Judge();

  /// Replaces all rules. Alerts whose rule is unchanged (same group, name, expression) keep their state.
  void set_rules(Groups groups, Instant now);
  /// Declares a service with the checks that watch it; a check no longer named is forgotten.
  void set_service(const ServiceKey& service, std::vector<Source> sources, Instant now);
  void remove_service(const ServiceKey& service);

  /// Begins an epoch: windows start anew, the service's alerts go back to inactive (reported as changes where they were not).
  Judgement begin_epoch(const ServiceKey& service, Instant at);
  /// Commits `batch` whole at `batch.at`, then runs each touched rule that concerns its service once: groups in file order, rules in
  /// group order; recorded values are part of the commit. A batch whose samples belong to an earlier epoch changes no alert.
  Judgement on_batch(const Batch& batch);
  /// Runs what fell due at or before `now`: `for` and `keep_firing_for`, windows running out, staleness, spanning rules' intervals.
  Judgement on_due(Instant now);
  /// When `on_due` next has work, in slots of 100 ms; nothing when it never has.
  std::optional<Instant> next_due() const;
  /// All evidence is stale: every rule is blind until fresh samples (suspend, stopped process).
  Judgement on_gap(Instant now);

  /// At most `max` pending and firing alerts as they can be taken back by a later run; those that may roll back first.
  std::vector<KeptAlert> keep(std::size_t max) const;
  /// Takes back alerts of `service` from a run before, where their rules are unchanged; after `begin_epoch`, and only when it is the epoch
  /// that they were about. They are blind, and nothing is told of them, until their rules see; what is already known counts more. The time
  /// since `known_until` proves neither a breach nor its absence.
  void restore(const ServiceKey& service, const std::vector<KeptAlert>& alerts, Instant known_until, Instant now);

  /// Pending and firing alerts, counted.
  std::pair<std::size_t, std::size_t> alert_counts() const;
  std::vector<ActiveAlert> alerts() const;                          ///< pending and firing ones
  std::vector<RuleStatus> status(const ServiceKey& service) const;  ///< of every rule that concerns it
  /// Of the rules from place `first` on in file order, at most `count`: all, or a slice a turn. A reload between slices moves the places.
  std::vector<RuleReport> report(std::size_t first = 0, std::size_t count = static_cast<std::size_t>(-1)) const;
  /// What an expression asked from outside reads: all series, with the liveness of recorded metrics. Valid while nothing changes: an
  /// evaluation that is spread over several turns takes one for each instant.
  std::unique_ptr<promql::Querier> querier() const;
  const series::Store& store() const;
  const JudgeCounters& counters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rollbackd::rules
