// SQLite history: deployments, decisions, operations, steps, notifications. History only: may lag, may be missing; no intent passes through it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"
#include "model/decision.hpp"
#include "model/operation.hpp"

namespace rollbackd::record {

/// One row of the operations table; filled by operation id, so writing it again is the same row.
struct OperationRow {
  OperationRequest request;
  OperationStatus status = OperationStatus::planned;
  Instant begun;                  ///< wall-clock values: history is for people
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
};

struct HistoryFilter {
  std::string service, environment, status, kind;  ///< empty: any
  int limit = 50;                                  ///< 1 to 1000
};

/// Totals for the metrics that must survive a restart.
struct OperationTotal {
  ServiceKey service;
  OperationKind kind;
  Trigger trigger;
  OperationStatus status;
  std::int64_t count = 0;
};

/// Writes from any thread are queued (at most 10,000; the oldest goes and is counted) and done by one thread of its own.
/// WAL, schema version in PRAGMA user_version with migrations. When it cannot be opened, or is corrupt, it is set aside as
/// history.sqlite.corrupt-N and made anew; when even that fails it works in memory, says so, and everything else goes on.
class History {
 public:
  explicit History(std::string path);
  ~History();  ///< writes what is queued, for at most 5 s
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  void add(DeploymentRow row);
  void add(Decision decision);
  void add(OperationRow row);
  void add(StepRow row);

  /// Reads run on the history's thread; `done` is called there. Newest first.
  void operations(HistoryFilter filter, std::function<void(Result<std::vector<Json>>)> done);
  void decisions(HistoryFilter filter, std::function<void(Result<std::vector<Json>>)> done);
  void deployments(HistoryFilter filter, std::function<void(Result<std::vector<Json>>)> done);
  /// One operation with its steps and the decision that started it.
  void operation(std::string id, std::function<void(Result<Json>)> done);
  /// Blocking; for start-up only.
  std::vector<OperationTotal> totals();

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
