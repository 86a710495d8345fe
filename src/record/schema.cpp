#include "record/schema.hpp"

#include "record/bundle.hpp"

namespace rollbackd::record {
namespace {

constexpr const char* kVersion1 = R"sql(
CREATE TABLE operations (
  operation TEXT PRIMARY KEY,
  service TEXT NOT NULL, environment TEXT NOT NULL,
  kind TEXT NOT NULL, selection TEXT NOT NULL, "trigger" TEXT NOT NULL, cause TEXT NOT NULL, mode TEXT NOT NULL,
  status TEXT NOT NULL, terminal INTEGER NOT NULL,
  "from" TEXT NOT NULL, "to" TEXT NOT NULL,
  incident TEXT NOT NULL, reason TEXT NOT NULL, principal TEXT NOT NULL, overrides TEXT NOT NULL, failure_type TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  begun_ns INTEGER NOT NULL, switched_ns INTEGER, ended_ns INTEGER,
  detail TEXT NOT NULL
);
CREATE TABLE steps (
  operation TEXT NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL,
  component TEXT NOT NULL, driver TEXT NOT NULL, version INTEGER NOT NULL, action TEXT NOT NULL, arguments TEXT NOT NULL,
  status TEXT NOT NULL, facts TEXT NOT NULL, error TEXT NOT NULL,
  begun_ns INTEGER NOT NULL, took_ns INTEGER NOT NULL,
  PRIMARY KEY (operation, number, attempt)
);
CREATE TABLE decisions (
  id TEXT PRIMARY KEY,
  service TEXT NOT NULL, environment TEXT NOT NULL,
  at_ns INTEGER NOT NULL, decision TEXT NOT NULL, operation TEXT NOT NULL,
  document TEXT NOT NULL
);
CREATE TABLE deployments (
  service TEXT NOT NULL, environment TEXT NOT NULL, epoch INTEGER NOT NULL,
  release TEXT NOT NULL, "from" TEXT NOT NULL,
  at_ns INTEGER NOT NULL, announced INTEGER NOT NULL, by_rollback INTEGER NOT NULL,
  PRIMARY KEY (service, environment, epoch)
);
)sql";

// operation_totals keeps the count of rows that retention took away, so that counters never fall.
constexpr const char* kVersion2 = R"sql(
ALTER TABLE operations ADD COLUMN failed_how TEXT NOT NULL DEFAULT '';
ALTER TABLE operations ADD COLUMN phases TEXT NOT NULL DEFAULT '{}';
CREATE TABLE operation_totals (
  service TEXT NOT NULL, environment TEXT NOT NULL, kind TEXT NOT NULL, "trigger" TEXT NOT NULL, status TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (service, environment, kind, "trigger", status)
);
CREATE INDEX operations_by_time ON operations (begun_ns);
CREATE INDEX decisions_by_time ON decisions (at_ns);
CREATE INDEX decisions_by_operation ON decisions (operation);
CREATE INDEX deployments_by_time ON deployments (at_ns);
CREATE INDEX steps_by_time ON steps (begun_ns);
)sql";

// For filters by service: without these each look at one service's past reads everybody's.
constexpr const char* kVersion3 = R"sql(
CREATE INDEX operations_by_service ON operations (service, environment, begun_ns);
CREATE INDEX operations_by_status ON operations (status, begun_ns);
CREATE INDEX decisions_by_service ON decisions (service, environment, at_ns);
CREATE INDEX decisions_by_word ON decisions (decision, at_ns);
CREATE INDEX deployments_by_service ON deployments (service, environment, at_ns);
)sql";

}  // namespace

const std::vector<std::string>& history_migrations() {
  static const std::vector<std::string> list{kVersion1, kVersion2, kVersion3, bundles_schema()};
  return list;
}

}  // namespace rollbackd::record
