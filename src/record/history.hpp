// SQLite history: deployments, decisions, operations, steps, notifications. History only: may lag, may be missing; no intent passes through
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"
#include "model/decision.hpp"
#include "model/operation.hpp"
#include "record/bundle.hpp"

namespace rollbackd::record {

/// One row of the operations table; filled by operation id, so writing it again is the same row. An ended one stays ended, and one that
/// recovery knows from the state file alone (no phases) does not replace the whole one.
struct OperationRow {
  OperationRequest request;
  OperationStatus status = OperationStatus::planned;
  Instant begun;  ///< wall-clock values: history is for people
  std::optional<Instant> switched, ended;
  int attempt = 1;
  std::string detail, failed_how;
  std::vector<std::pair<std::string, Duration>> phases;
  Json to_json() const;
};
struct DeploymentRow {
  ServiceKey service;
  std::uint64_t epoch = 0;
  std::string release, from;
  Instant at;
  bool announced = false, by_rollback = false;
  Json to_json() const;
};
struct StepRow {
  Step step;
  Outcome outcome;
  Instant begun;
  Duration took{};
  /// Of the operation: `attempt` in the step's arguments, 1 when it is not there. Steps are kept by (operation, number, attempt).
  int attempt() const;
  Json to_json() const;
};

/// Which rows to read. Empty: any. Where a row has no such thing it is not asked: a deployment has neither status nor cause.
struct HistoryFilter {
  std::string service, environment;
  std::string status;                   ///< of an operation
  std::string kind;                     ///< of an operation; of a decision its word
  std::string trigger, cause;           ///< of an operation
  std::string release;                  ///< that was left or gone to; of a decision the live one or its target
  std::string principal;                ///< of an operation
  std::optional<Instant> since, until;  ///< by begin; both ends belong to it
  int limit = 50;                       ///< 1 to 1000
};

/// Totals for the metrics that must survive a restart.
struct OperationTotal {
  ServiceKey service;
  OperationKind kind;
  Trigger trigger;
  OperationStatus status;
  std::int64_t count = 0;
};

/// Every bound of the history, by name.
struct HistoryLimits {
  std::size_t queued_max = 10'000;             ///< writes waiting; beyond it the oldest goes, counted
  std::size_t reads_max = 1'000;               ///< reads waiting; beyond it `unavailable`, at once and on the caller's thread
  std::size_t batch_max = 500;                 ///< writes in one transaction
  std::int64_t rows_max = 100'000;             ///< of each table; the oldest go, operations that have not ended never
  std::int64_t memory_rows_max = 10'000;       ///< the same while it is in memory
  std::size_t retain_every = 1'000;            ///< writes between two looks at the tables' sizes
  Duration keep_for{};                         ///< older rows go; 0: none does for its age
  std::int64_t keep_rows = 100;                ///< of each service and kind, however old
  std::int64_t age_batch = 500;                ///< rows that go for their age in one transaction
  int age_batches = 10;                        ///< transactions at a look: a clock that is wrong for an hour costs no more
  Duration age_every = 1h;                     ///< between two looks
  Duration retry_first = 1s, retry_max = 60s;  ///< between attempts while the disk does not take writes, doubling
  Duration busy_timeout = 2s;                  ///< for another process that holds the file
  Duration close_max = 5s;                     ///< for writing what is queued at the end
};

/// Writes from any thread are queued (at most 10,000; the oldest goes and is counted) and done by one thread of its own, in batches.
/// WAL, schema version in PRAGMA user_version with migrations. When it is corrupt it is set aside as history.sqlite.corrupt-N and made
/// anew; when it cannot be opened at all, or a newer program wrote it, the file is left alone and memory stands in until the next start: it
/// says so, and everything else goes on. A failed commit may or may not have happened: the batch is written again after re-opening, and
/// every write is idempotent. While the disk takes nothing, writes wait in the queue and reads answer from what is there.
class History {
 public:
  explicit History(std::string path);
  History(std::string path, HistoryLimits limits);
  ~History();  ///< writes what is queued, for at most 5 s
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  void add(DeploymentRow row);
  void add(Decision decision);
  void add(OperationRow row);
  void add(StepRow row);
  void add(BundleRow row);

  /// Reads run on the history's thread; `done` is called there. Newest first.
  void operations(HistoryFilter filter, std::function<void(Result<std::vector<Json>>)> done);
  void decisions(HistoryFilter filter, std::function<void(Result<std::vector<Json>>)> done);
  void deployments(HistoryFilter filter, std::function<void(Result<std::vector<Json>>)> done);
  /// Evidence bundles, newest first.
  void bundles(BundleFilter filter, std::function<void(Result<std::vector<Json>>)> done);
  /// One operation with its steps and the decision that started it.
  void operation(std::string id, std::function<void(Result<Json>)> done);
  /// Statistics over the filter's service, environment and `since` (record/stats.hpp), at most `rows_max` rows of each kind.
  void stats(HistoryFilter filter, std::function<void(Result<Json>)> done);
  /// Blocking, at most 10 s; for start-up only. Operations that have ended.
  std::vector<OperationTotal> totals();
  /// The same: the newest ended operation of each service, environment and kind.
  std::vector<OperationRow> last_operations();

  /// Where it stands: "" when well, else why it is in memory or behind.
  std::string trouble() const;
  std::uint64_t dropped() const;
  /// Blocks until everything queued so far is written, for tests and shutdown. @return false at the timeout
  bool flush(Duration timeout);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rollbackd::record
