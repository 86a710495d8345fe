// Statistics over the history's rows: how often it went well, how long it took, and why it happened. Pure.
// Flow: history rows -> [stats] -> API, rollbackctl stats.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/time.hpp"
#include "model/decision.hpp"
#include "record/history.hpp"

namespace rollbackd::record {

/// Of a set of durations. Quantiles are exact: the smallest value that at least that share of them does not exceed (nearest rank); the
/// median of an even number is the mean of the middle two.
struct Spread {
  std::uint64_t count = 0;
  double mean = 0, median = 0, p95 = 0, max = 0;  ///< seconds; meaningless when count is 0
  Json to_json() const;                           ///< numbers are null when count is 0
};
Spread spread_of(std::vector<double> seconds);

/// What one decision row tells the statistics.
struct DecisionFacts {
  ServiceKey service;
  Instant at;
  DecisionKind kind = DecisionKind::none;
  std::vector<std::string> refused_by;  ///< guards that were asked, said no and were not passed over
};

struct Stats {
  using Counts = std::vector<std::pair<std::string, std::uint64_t>>;  ///< most first, then by name
  std::optional<Instant> since, first;                                ///< asked for; begin of the oldest operation that is counted
  std::uint64_t operations = 0;                                       ///< of every kind, ended or not
  std::uint64_t unfinished = 0;                                       ///< of them, not ended yet
  std::uint64_t rollbacks = 0;         ///< operations of kind rollback that ended, however: what rollbackd_rollback_success_ratio counts
  std::uint64_t succeeded = 0;         ///< of these, verified; `unverified` is none of them
  std::optional<double> success_rate;  ///< succeeded / rollbacks; nothing when none has ended
  Spread total, to_switched, to_verified;  ///< of ended rollbacks: begin → end, begin → switched; switched → end of a verified one
  std::vector<std::pair<std::string, Spread>> phases;               ///< by name, in their order
  Counts by_kind, by_environment, by_cause, by_trigger, by_status;  ///< of all operations
  Counts reasons;                                                   ///< of rollbacks; the commonest 5; our own by the rules that fired
  std::uint64_t holds = 0;
  Counts holds_by_guard;
  bool truncated = false;  ///< more rows than are looked at: the oldest are left out
  Json to_json() const;
};

/// @param operations, decisions  in any order; those before `since` are left out
Stats compute_stats(const std::vector<OperationRow>& operations, const std::vector<DecisionFacts>& decisions, std::optional<Instant> since);

}  // namespace rollbackd::record
