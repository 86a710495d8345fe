// Evidence bundles as rows of the history. Called on the history's thread alone.
#include "record/bundle.hpp"

namespace rollbackd::record {

const char* bundles_schema() {
  return R"sql(
CREATE TABLE bundles (
  id TEXT PRIMARY KEY,
  service TEXT NOT NULL, environment TEXT NOT NULL,
  incident TEXT NOT NULL, operation TEXT NOT NULL,
  at_ns INTEGER NOT NULL, document TEXT NOT NULL
);
CREATE INDEX bundles_by_service ON bundles (service, environment, at_ns);
CREATE INDEX bundles_by_incident ON bundles (incident, at_ns);
CREATE INDEX bundles_by_time ON bundles (at_ns);
)sql";
}

Result<> write_bundle(io::Database& database, const BundleRow& row) {
  if (row.document.size() > kBundleBytesMax)
    return Error(Errc::too_large, "an evidence bundle is too large").because(std::to_string(row.document.size()) + " bytes");
  return database.run(
      "INSERT OR REPLACE INTO bundles (id, service, environment, incident, operation, at_ns, document) VALUES (?,?,?,?,?,?,?)",
      {row.id, row.service.name, row.service.environment, row.incident, row.operation, row.at.ns(), row.document});
}

Result<std::vector<Json>> read_bundles(io::Database& database, const BundleFilter& filter) {
  std::string sql = "SELECT document FROM bundles WHERE 1";
  std::vector<io::SqlValue> values;
  const auto where = [&](const char* column, const std::string& value) {
    if (value.empty()) return;
    sql += std::string(" AND ") + column + " = ?";
    values.emplace_back(value);
  };
  where("service", filter.service);
  where("environment", filter.environment);
  where("operation", filter.operation);
  where("incident", filter.incident);
  sql += " ORDER BY at_ns DESC, rowid DESC LIMIT ?";
  values.emplace_back(std::int64_t{kBundlesReadMax});
  std::vector<Json> documents;
  const Result<> asked = database.query(sql, values, [&](const io::SqlRow& row) {
    auto json = Json::parse(row.text(0));
    if (json) documents.push_back(std::move(*json));
  });
  if (asked.has_error()) return asked.error();
  return documents;
}

Result<> retain_bundles(io::Database& database, std::int64_t rows_max) {
  const Result<std::int64_t> count = database.number("SELECT count(*) FROM bundles");
  if (count.has_error()) return count.error();
  if (*count <= rows_max) return {};
  return database.run("DELETE FROM bundles WHERE rowid IN (SELECT rowid FROM bundles ORDER BY at_ns, rowid LIMIT ?1)",
                      {std::int64_t{*count - rows_max}});
}

}  // namespace rollbackd::record
