// The daemon's own metrics in Prometheus's text form. Counters that happen are told to it; what simply stands is handed in at each scrape.
// Flow: engine -> [metrics] -> /metrics.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "model/decision.hpp"
#include "notify/outbox.hpp"
#include "record/audit.hpp"
#include "record/history.hpp"
#include "rules/judge.hpp"

namespace rollbackd::metrics {

/// Alerts pushed from outside, by what became of them.
inline constexpr std::array<const char*, 7> kAlertResults{"accepted", "duplicate",       "resolved", "stale",
                                                          "unrouted", "unknown_service", "refused"};
using AlertsReceived = std::array<std::uint64_t, kAlertResults.size()>;

/// What stands at the moment of a scrape, read from the plain counters beside each component.
struct Standing {
  struct Check {
    std::string name, type;
    std::uint64_t ok = 0, failed = 0, unobserved = 0, late = 0;
    std::optional<bool> healthy{};  ///< nothing when it has no opinion or is blind
  };
  struct Service {
    ServiceKey key;
    bool ready = false;
    std::string ready_word;  ///< empty when ready, else one of a few fixed words
    /// Of the pre-flight's checks those that do not say yes: name, and 0 (no) or 0.5 (a warning).
    std::vector<std::pair<std::string, double>> ready_checks;
    std::optional<double> drilled;           ///< Unix time of the last drill that went through
    std::vector<std::string> hook_points{};  ///< at which it has hooks
    Duration deadline_standard{}, deadline_emergency{};
    bool incident_open = false, held = false, suspended = false;
    std::string live;
    std::vector<std::pair<std::string, std::string>> releases;  ///< id, standing
    std::vector<Check> checks;
    int blind_rules = 0;
    std::vector<std::string> blind_rule_names;  ///< the first of them
  };
  std::vector<Service> services;
  rules::JudgeCounters judge;
  /// Expressions asked over the API.
  struct Queries {
    std::uint64_t instant = 0, range = 0;                               ///< begun
    std::uint64_t failed = 0, limited = 0, refused = 0, abandoned = 0;  ///< how those ended that did not answer
  };
  Queries queries;
  std::size_t alerts_pending = 0, alerts_firing = 0;
  series::Counters store;
  std::size_t series = 0;
  notify::OutboxCounters outbox;
  std::uint64_t history_dropped = 0;
  bool history_ok = true;
  record::AuditCounters audit;
  std::uint64_t reloads_ok = 0, reloads_failed = 0;
  AlertsReceived alerts_received{};
  bool last_reload_ok = true;
  bool kill_switch = false, breaker_open = false;
  double reactor_lag_seconds = 0;
};

/// Belongs to the reactor's thread.
class Exporter {
 public:
  Exporter();
  ~Exporter();
  /// Totals of operations and the last one of each kind from the history, so that ratios and gauges survive a restart. Once, at start;
  /// operations that recovery has ended by then are among the totals, so what was counted before is not counted twice.
  void seed(const std::vector<record::OperationTotal>& totals, const std::vector<record::OperationRow>& last = {});
  void operation_ended(const record::OperationRow& row);
  void decided(const Decision& decision);
  void detected(const ServiceKey& service, Duration took);
  void tested(const ServiceKey& service, bool passed);
  /// A hook at this point was run, or refused before it was.
  void hook_ended(const ServiceKey& service, const std::string& at, Outcome::Status status, Duration took);
  /// A good release was read in full. @param wall  when that ended
  void scrubbed(const ServiceKey& service, std::int64_t files, std::int64_t bytes, bool intact, Instant wall);
  /// The whole exposition, text format 0.0.4.
  std::string text(const Standing& standing) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rollbackd::metrics
