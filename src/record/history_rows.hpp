// The rows of the history as SQL: each kind of row written, read and thinned out. Internal to record/; called on the history's thread.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "io/sqlite.hpp"
#include "record/bundle.hpp"
#include "record/history.hpp"
#include "record/stats.hpp"

namespace rollbackd::record {

using HistoryRow = std::variant<DeploymentRow, Decision, OperationRow, StepRow, BundleRow>;

/// Writes one row; writing it again is the same row. A terminal status is never overwritten by one that is not.
Result<> write_row(io::Database& database, const HistoryRow& row);

Result<std::vector<Json>> read_operations(io::Database& database, const HistoryFilter& filter);
Result<std::vector<Json>> read_decisions(io::Database& database, const HistoryFilter& filter);
Result<std::vector<Json>> read_deployments(io::Database& database, const HistoryFilter& filter);
Result<Json> read_operation(io::Database& database, const std::string& id);
/// Ended operations, those that retention took away included.
Result<std::vector<OperationTotal>> read_totals(io::Database& database);

/// The newest ended operation of each service, environment and kind.
Result<std::vector<OperationRow>> read_last_operations(io::Database& database);
/// What the statistics are computed from, newest first, at most `rows_max` of each, and whether there are more.
struct StatsRows {
  std::vector<OperationRow> operations;
  std::vector<DecisionFacts> decisions;  ///< the holds
  bool truncated = false;
};
Result<StatsRows> read_stats_rows(io::Database& database, const HistoryFilter& filter, std::int64_t rows_max);

/// Deletes the oldest rows of each table beyond `rows_max`; an operation that has not ended is never deleted, nor are its steps and its
/// decision.
Result<> retain_newest(io::Database& database, std::int64_t rows_max);
/// Deletes rows older than `before`, at most `batch` in one transaction, oldest first. The newest `keep` operations, decisions and
/// deployments of each service stay however old they are, and steps and decisions as long as their operation does.
/// @return how many went; 0: none is left that may
Result<std::int64_t> retain_since(io::Database& database, Instant before, std::int64_t keep, std::int64_t batch);

}  // namespace rollbackd::record
