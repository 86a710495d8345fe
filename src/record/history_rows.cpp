#include "record/history_rows.hpp"

#include <algorithm>
#include <iterator>

#include "base/text.hpp"

namespace rollbackd::record {
namespace {

constexpr std::size_t kTextBytesMax = 64 << 10;  // of one column; longer text is cut
constexpr int kRowsReadMax = 1000;

io::SqlValue text(const std::string& value) { return cut(value, kTextBytesMax); }
io::SqlValue integer(std::int64_t value) { return value; }
io::SqlValue time(Instant t) { return t.ns(); }
io::SqlValue time(const std::optional<Instant>& t) { return t ? io::SqlValue(t->ns()) : io::SqlValue(nullptr); }
/// JSON is never cut: half a document cannot be read. One that is too long is replaced.
io::SqlValue document(const Json& json) {
  std::string dumped = json.dump();
  if (dumped.size() > kTextBytesMax) return std::string(R"({"left_out":"too large"})");
  return dumped;
}

/// A step's facts; what a program printed is cut rather than lose the rest.
io::SqlValue facts_document(Json facts) {
  constexpr std::size_t kOutputBytesMax = 8 << 10;  // Six times that at most, as JSON.
  if (facts["output"].string_or("").size() > kOutputBytesMax)
    facts.set("output", cut(facts["output"].string_or(""), kOutputBytesMax)).set("output_cut", true);
  return document(facts);
}

Json parsed(const std::string& stored) {
  Result<Json> json = Json::parse(stored);
  return json.has_value() ? std::move(*json) : Json();
}

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

void set_time(Json& json, const std::string& name, const std::optional<Instant>& t) {
  json.set(name, t ? Json(format_rfc3339(*t)) : Json());
  json.set(name + "_unix", t ? Json(t->seconds()) : Json());
}

Outcome::Status outcome_status_from(std::string_view word) {
  for (int n = static_cast<int>(Outcome::Status::done); n <= static_cast<int>(Outcome::Status::unknown); ++n) {
    if (word == to_string(static_cast<Outcome::Status>(n))) return static_cast<Outcome::Status>(n);
  }
  return Outcome::Status::unknown;
}

Result<> write(io::Database& database, const DeploymentRow& row) {
  return database.run(
      R"(INSERT OR REPLACE INTO deployments (service, environment, epoch, release, "from", at_ns, announced, by_rollback)
         VALUES (?,?,?,?,?,?,?,?))",
      {text(row.service.name), text(row.service.environment), integer(static_cast<std::int64_t>(row.epoch)), text(row.release),
       text(row.from), time(row.at), integer(row.announced), integer(row.by_rollback)});
}

Result<> write(io::Database& database, const BundleRow& row) { return write_bundle(database, row); }

Result<> write(io::Database& database, const Decision& row) {
  return database.run(
      "INSERT OR REPLACE INTO decisions (id, service, environment, at_ns, decision, operation, document) VALUES (?,?,?,?,?,?,?)",
      {text(row.id), text(row.service.name), text(row.service.environment), time(row.at), text(to_string(row.kind)), text(row.operation),
       document(row.to_json())});
}

Result<> write(io::Database& database, const OperationRow& row) {
  const OperationRequest& request = row.request;
  Json overrides = Json::array();
  for (const std::string& guard : request.overrides) overrides.push(guard);
  Json phases = Json::object();
  for (const auto& [name, took] : row.phases) phases.set(name, seconds(took));
  return database.run(
      R"(INSERT INTO operations (operation, service, environment, kind, selection, "trigger", cause, mode, status, terminal, "from", "to",
           incident, reason, principal, overrides, failure_type, attempt, begun_ns, switched_ns, ended_ns, detail, failed_how, phases)
         VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
         ON CONFLICT (operation) DO UPDATE SET service=excluded.service, environment=excluded.environment, kind=excluded.kind,
           selection=excluded.selection, "trigger"=excluded."trigger", cause=excluded.cause, mode=excluded.mode, status=excluded.status,
           terminal=excluded.terminal, "from"=excluded."from", "to"=excluded."to", incident=excluded.incident, reason=excluded.reason,
           principal=excluded.principal, overrides=excluded.overrides, failure_type=excluded.failure_type, attempt=excluded.attempt,
           begun_ns=excluded.begun_ns, switched_ns=coalesce(excluded.switched_ns, switched_ns), ended_ns=excluded.ended_ns,
           detail=excluded.detail, failed_how=excluded.failed_how, phases=excluded.phases
         WHERE excluded.terminal > operations.terminal OR (excluded.terminal = operations.terminal AND
           (excluded.terminal = 0 OR excluded.phases <> '{}' OR operations.phases = '{}')))",
      {text(request.operation),
       text(request.service.name),
       text(request.service.environment),
       text(to_string(request.kind)),
       text(to_string(request.selection)),
       text(to_string(request.trigger)),
       text(to_string(request.cause)),
       text(to_string(request.mode)),
       text(to_string(row.status)),
       integer(is_terminal(row.status)),
       text(request.from),
       text(request.to),
       text(request.incident),
       text(request.reason),
       text(request.principal),
       document(overrides),
       text(request.failure_type),
       integer(row.attempt),
       time(row.begun),
       time(row.switched),
       time(row.ended),
       text(row.detail),
       text(row.failed_how),
       document(phases)});
}

Result<> write(io::Database& database, const StepRow& row) {
  return database.run(
      R"(INSERT OR REPLACE INTO steps (operation, number, attempt, component, driver, version, action, arguments, status, facts, error,
           begun_ns, took_ns)
         VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?))",
      {text(row.step.operation), integer(row.step.number), integer(row.attempt()), text(row.step.component), text(row.step.driver),
       integer(row.step.version), text(row.step.action), document(row.step.arguments), text(to_string(row.outcome.status)),
       facts_document(row.outcome.facts), document(row.outcome.to_json()["error"]), time(row.begun), integer(row.took.count())});
}

constexpr const char* kOperationColumns =
    R"(SELECT operation, service, environment, kind, selection, "trigger", cause, mode, status, "from", "to", incident, reason, principal,
         overrides, failure_type, attempt, begun_ns, switched_ns, ended_ns, detail, failed_how, phases FROM operations )";

OperationRow operation_of(const io::SqlRow& sql) {
  const auto instant = [&](int column) { return sql.is_null(column) ? std::nullopt : std::optional(Instant(sql.integer(column))); };
  OperationRow row;
  row.request.operation = sql.text(0);
  row.request.service = {sql.text(1), sql.text(2)};
  row.request.kind = operation_kind_from(sql.text(3)).value_or(row.request.kind);
  row.request.selection = sql.text(4) == to_string(Selection::specific) ? Selection::specific : Selection::previous;
  row.request.trigger = trigger_from(sql.text(5)).value_or(row.request.trigger);
  row.request.cause = cause_from(sql.text(6)).value_or(row.request.cause);
  row.request.mode = mode_from(sql.text(7)).value_or(row.request.mode);
  row.status = operation_status_from(sql.text(8)).value_or(OperationStatus::unknown);
  row.request.from = sql.text(9);
  row.request.to = sql.text(10);
  row.request.incident = sql.text(11);
  row.request.reason = sql.text(12);
  row.request.principal = sql.text(13);
  const Json overrides = parsed(sql.text(14));
  for (const Json& guard : overrides.elements()) row.request.overrides.push_back(guard.string_or(""));
  row.request.failure_type = sql.text(15);
  row.attempt = static_cast<int>(sql.integer(16));
  row.begun = Instant(sql.integer(17));
  row.switched = instant(18);
  row.ended = instant(19);
  row.detail = sql.text(20);
  row.failed_how = sql.text(21);
  const Json phases = parsed(sql.text(22));
  for (const auto& [name, took] : phases.members()) {
    row.phases.emplace_back(name, std::chrono::round<Duration>(std::chrono::duration<double>(took.number_or(0))));
  }
  return row;
}

StepRow step_of(const io::SqlRow& sql) {
  StepRow row;
  row.step.operation = sql.text(0);
  row.step.number = static_cast<int>(sql.integer(1));
  row.step.component = sql.text(2);
  row.step.driver = sql.text(3);
  row.step.version = static_cast<int>(sql.integer(4));
  row.step.action = sql.text(5);
  row.step.arguments = parsed(sql.text(6));
  row.outcome.status = outcome_status_from(sql.text(7));
  row.outcome.facts = parsed(sql.text(8));
  if (const Json error = parsed(sql.text(9)); error.is_object()) {
    row.outcome.error = Error(static_cast<Errc>(error["code"].int_or(static_cast<int>(Errc::internal))), error["what"].string_or(""));
    row.outcome.error.why = error["why"].string_or("");
    row.outcome.error.next_step = error["next_step"].string_or("");
  }
  row.begun = Instant(sql.integer(10));
  row.took = Duration(sql.integer(11));
  return row;
}

/// A decision's own JSON form, its instant as unix seconds beside the text.
Json decision_of(const std::string& stored, Instant at) {
  Json json = parsed(stored);
  if (json.is_object()) json.set("at_unix", at.seconds());
  return json;
}

/// The WHERE of a filter, with only what it asks for: an index is used for that, not for "any or equal".
class Where {
 public:
  /// `clause` has one `?` for each value.
  void add(const std::string& clause, std::vector<io::SqlValue> values) {
    sql_ += (sql_.empty() ? "WHERE " : " AND ") + clause;
    values_.insert(values_.end(), std::make_move_iterator(values.begin()), std::make_move_iterator(values.end()));
  }
  void equals(const std::string& column, const std::string& value) {
    if (!value.empty()) add(column + "=?", {value});
  }
  void between(const std::string& column, const std::optional<Instant>& since, const std::optional<Instant>& until) {
    if (since) add(column + ">=?", {since->ns()});
    if (until) add(column + "<=?", {until->ns()});
  }
  const std::string& sql() const { return sql_; }
  std::vector<io::SqlValue> values(std::int64_t limit) const {
    std::vector<io::SqlValue> out = values_;
    out.emplace_back(limit);
    return out;
  }

 private:
  std::string sql_;
  std::vector<io::SqlValue> values_;
};

Where operations_where(const HistoryFilter& filter) {
  Where where;
  where.equals("service", filter.service);
  where.equals("environment", filter.environment);
  where.equals("status", filter.status);
  where.equals("kind", filter.kind);
  where.equals("\"trigger\"", filter.trigger);
  where.equals("cause", filter.cause);
  where.equals("principal", filter.principal);
  if (!filter.release.empty()) where.add(R"(("from"=? OR "to"=?))", {filter.release, filter.release});
  where.between("begun_ns", filter.since, filter.until);
  return where;
}

Where decisions_where(const HistoryFilter& filter) {
  Where where;
  where.equals("service", filter.service);
  where.equals("environment", filter.environment);
  where.equals("decision", filter.kind);
  if (!filter.release.empty())
    where.add("(json_extract(document,'$.release')=? OR json_extract(document,'$.target')=?)", {filter.release, filter.release});
  where.between("at_ns", filter.since, filter.until);
  return where;
}

std::int64_t limit_of(const HistoryFilter& filter) { return std::clamp(filter.limit, 1, kRowsReadMax); }

template <class T>
Result<T> or_error(const Result<>& asked, T answer) {
  if (asked.has_error()) return asked.error();
  return answer;
}

}  // namespace

Json OperationRow::to_json() const {
  Json json = Json::object();
  json.set("operation", request.operation).set("service", request.service.name).set("environment", request.service.environment);
  json.set("kind", to_string(request.kind)).set("selection", to_string(request.selection)).set("trigger", to_string(request.trigger));
  json.set("cause", to_string(request.cause)).set("mode", to_string(request.mode)).set("status", to_string(status));
  json.set("from", request.from).set("to", request.to);
  json.set("incident", request.incident).set("reason", request.reason).set("principal", request.principal);
  Json overrides = Json::array();
  for (const std::string& guard : request.overrides) overrides.push(guard);
  json.set("overrides", std::move(overrides)).set("failure_type", request.failure_type).set("attempt", attempt);
  set_time(json, "begun", begun);
  set_time(json, "switched", switched);
  set_time(json, "ended", ended);
  json.set("duration_seconds", ended ? Json(seconds(*ended - begun)) : Json());
  Json took = Json::object();
  for (const auto& [name, length] : phases) took.set(name, seconds(length));
  json.set("phases", std::move(took));
  json.set("detail", detail).set("failed_how", failed_how);
  return json;
}

Json DeploymentRow::to_json() const {
  Json json = Json::object();
  json.set("service", service.name).set("environment", service.environment).set("epoch", epoch);
  json.set("release", release).set("from", from);
  set_time(json, "at", at);
  json.set("announced", announced).set("by_rollback", by_rollback);
  return json;
}

int StepRow::attempt() const { return static_cast<int>(std::clamp<std::int64_t>(step.arguments["attempt"].int_or(1), 1, 1'000'000)); }

Json StepRow::to_json() const {
  Json json = Json::object();
  json.set("operation", step.operation).set("number", step.number).set("attempt", attempt());
  json.set("component", step.component).set("driver", step.driver).set("version", step.version).set("action", step.action);
  json.set("arguments", step.arguments).set("status", to_string(outcome.status)).set("facts", outcome.facts);
  Json error;
  if (outcome.error.code != Errc::none) {
    error.set("code", to_string(outcome.error.code)).set("what", outcome.error.what);
    error.set("why", outcome.error.why).set("next_step", outcome.error.next_step);
  }
  json.set("error", std::move(error));
  set_time(json, "begun", begun);
  json.set("took_seconds", seconds(took));
  return json;
}

Result<> write_row(io::Database& database, const HistoryRow& row) {
  return std::visit([&](const auto& r) { return write(database, r); }, row);
}

Result<std::vector<Json>> read_operations(io::Database& database, const HistoryFilter& filter) {
  std::vector<Json> rows;
  const Where where = operations_where(filter);
  const Result<> asked =
      database.query(kOperationColumns + where.sql() + " ORDER BY begun_ns DESC, operation DESC LIMIT ?", where.values(limit_of(filter)),
                     [&](const io::SqlRow& sql) { rows.push_back(operation_of(sql).to_json()); });
  return or_error(asked, std::move(rows));
}

Result<std::vector<Json>> read_decisions(io::Database& database, const HistoryFilter& filter) {
  std::vector<Json> rows;
  const Where where = decisions_where(filter);
  const Result<> asked = database.query("SELECT document, at_ns FROM decisions " + where.sql() + " ORDER BY at_ns DESC, id DESC LIMIT ?",
                                        where.values(limit_of(filter)),
                                        [&](const io::SqlRow& sql) { rows.push_back(decision_of(sql.text(0), Instant(sql.integer(1)))); });
  return or_error(asked, std::move(rows));
}

Result<std::vector<Json>> read_deployments(io::Database& database, const HistoryFilter& filter) {
  std::vector<Json> rows;
  Where where;
  where.equals("service", filter.service);
  where.equals("environment", filter.environment);
  if (!filter.release.empty()) where.add(R"((release=? OR "from"=?))", {filter.release, filter.release});
  where.between("at_ns", filter.since, filter.until);
  const Result<> asked =
      database.query(R"(SELECT service, environment, epoch, release, "from", at_ns, announced, by_rollback FROM deployments )" +
                         where.sql() + " ORDER BY at_ns DESC, epoch DESC LIMIT ?",
                     where.values(limit_of(filter)), [&](const io::SqlRow& sql) {
                       DeploymentRow row;
                       row.service = {sql.text(0), sql.text(1)};
                       row.epoch = static_cast<std::uint64_t>(sql.integer(2));
                       row.release = sql.text(3);
                       row.from = sql.text(4);
                       row.at = Instant(sql.integer(5));
                       row.announced = sql.integer(6) != 0;
                       row.by_rollback = sql.integer(7) != 0;
                       rows.push_back(row.to_json());
                     });
  return or_error(asked, std::move(rows));
}

Result<Json> read_operation(io::Database& database, const std::string& id) {
  Json operation, decision;
  Json steps = Json::array();
  Result<> asked = database.query(std::string(kOperationColumns) + "WHERE operation=?1", {id},
                                  [&](const io::SqlRow& sql) { operation = operation_of(sql).to_json(); });
  if (asked.has_error()) return asked.error();
  if (operation.is_null()) return Error(Errc::not_found, "there is no operation " + printable(cut(id, 64)) + " in the history");
  asked = database.query(
      "SELECT operation, number, component, driver, version, action, arguments, status, facts, error, begun_ns, took_ns FROM steps "
      "WHERE operation=?1 ORDER BY attempt, number LIMIT ?2",
      {id, integer(kRowsReadMax)}, [&](const io::SqlRow& sql) { steps.push(step_of(sql).to_json()); });
  if (asked.has_error()) return asked.error();
  asked = database.query("SELECT document, at_ns FROM decisions WHERE operation=?1 ORDER BY at_ns DESC LIMIT 1", {id},
                         [&](const io::SqlRow& sql) { decision = decision_of(sql.text(0), Instant(sql.integer(1))); });
  if (asked.has_error()) return asked.error();
  operation.set("steps", std::move(steps)).set("decision", std::move(decision));
  return operation;
}

Result<std::vector<OperationTotal>> read_totals(io::Database& database) {
  std::vector<OperationTotal> totals;
  const Result<> asked = database.query(
      R"(SELECT service, environment, kind, "trigger", status, sum(n) FROM (
           SELECT service, environment, kind, "trigger", status, count(*) AS n FROM operations WHERE terminal=1 GROUP BY 1,2,3,4,5
           UNION ALL SELECT service, environment, kind, "trigger", status, count FROM operation_totals)
         GROUP BY 1,2,3,4,5 ORDER BY 1,2,3,4,5)",
      {}, [&](const io::SqlRow& sql) {
        const auto kind = operation_kind_from(sql.text(2));
        const auto trigger = trigger_from(sql.text(3));
        const auto status = operation_status_from(sql.text(4));
        if (!kind || !trigger || !status) return;
        totals.push_back(OperationTotal{{sql.text(0), sql.text(1)}, *kind, *trigger, *status, sql.integer(5)});
      });
  return or_error(asked, std::move(totals));
}

Result<std::vector<OperationRow>> read_last_operations(io::Database& database) {
  constexpr std::int64_t kRowsMax = 10'000;
  std::vector<OperationRow> rows;
  // Beside a maximum SQLite gives the other columns of the row that has it.
  const Result<> asked = database.query(
      std::string(kOperationColumns) +
          "WHERE rowid IN (SELECT rowid FROM (SELECT rowid, max(ended_ns) FROM operations WHERE terminal=1 AND ended_ns IS NOT NULL "
          "GROUP BY service, environment, kind)) LIMIT ?",
      {kRowsMax}, [&](const io::SqlRow& sql) { rows.push_back(operation_of(sql)); });
  return or_error(asked, std::move(rows));
}

Result<StatsRows> read_stats_rows(io::Database& database, const HistoryFilter& filter, std::int64_t rows_max) {
  StatsRows rows;
  const Where where = operations_where(filter);
  Result<> asked = database.query(kOperationColumns + where.sql() + " ORDER BY begun_ns DESC LIMIT ?", where.values(rows_max + 1),
                                  [&](const io::SqlRow& sql) { rows.operations.push_back(operation_of(sql)); });
  if (asked.has_error()) return asked.error();
  HistoryFilter of_holds;
  of_holds.service = filter.service;
  of_holds.environment = filter.environment;
  of_holds.kind = to_string(DecisionKind::hold);
  of_holds.since = filter.since;
  of_holds.until = filter.until;
  const Where holds = decisions_where(of_holds);
  std::string last;
  asked = database.query(
      "SELECT d.id, d.service, d.environment, d.at_ns, json_extract(g.value, '$.guard') FROM "
      "(SELECT * FROM decisions " +
          holds.sql() +
          " ORDER BY at_ns DESC LIMIT ?) AS d LEFT JOIN json_each(d.document, '$.guards') AS g ON json_extract(g.value, '$.yes')=0 "
          "AND json_extract(g.value, '$.asked')=1 AND json_extract(g.value, '$.passed_over')=0",
      holds.values(rows_max + 1), [&](const io::SqlRow& sql) {
        if (rows.decisions.empty() || last != sql.text(0))
          rows.decisions.push_back(
              DecisionFacts{ServiceKey{sql.text(1), sql.text(2)}, Instant(sql.integer(3)), DecisionKind::hold, std::vector<std::string>{}});
        last = sql.text(0);
        if (!sql.is_null(4)) rows.decisions.back().refused_by.push_back(sql.text(4));
      });
  if (asked.has_error()) return asked.error();
  const auto bound = [&](auto& list) {
    if (static_cast<std::int64_t>(list.size()) <= rows_max) return;
    rows.truncated = true;
    list.resize(static_cast<std::size_t>(rows_max));
  };
  bound(rows.operations);
  bound(rows.decisions);
  return rows;
}

namespace {

/// Takes operations away, their number kept among the totals. `which` chooses rowids, by ?1 and what follows it.
Result<> delete_operations(io::Database& database, const std::string& which, const std::vector<io::SqlValue>& values) {
  Result<> counted = database.run(R"(INSERT INTO operation_totals (service, environment, kind, "trigger", status, count)
             SELECT service, environment, kind, "trigger", status, count(*) FROM operations WHERE rowid IN )" +
                                      which +
                                      R"( GROUP BY 1,2,3,4,5
             ON CONFLICT (service, environment, kind, "trigger", status) DO UPDATE SET count = count + excluded.count)",
                                  values);
  if (counted.has_error()) return counted;
  return database.run("DELETE FROM operations WHERE rowid IN " + which, values);
}

/// Rows of `table` that are older than ?1 and not among the newest ?2 of their service; at most ?3. With fewer than ?2 the inner SELECT is
/// NULL, and no row is older than that.
std::string old_rows(const std::string& table, const std::string& column, const std::string& more) {
  return "(SELECT rowid FROM " + table + " AS o WHERE " + column + "<?1 AND " + more + column + "<=(SELECT " + column + " FROM " + table +
         " AS n WHERE n.service=o.service AND n.environment=o.environment ORDER BY " + column + " DESC LIMIT 1 OFFSET ?2) ORDER BY " +
         column + ", rowid LIMIT ?3)";
}

}  // namespace

Result<std::int64_t> retain_since(io::Database& database, Instant before, std::int64_t keep, std::int64_t batch) {
  std::int64_t gone = 0;
  const Result<> done = database.transaction([&]() -> Result<> {
    const auto went = [&]() -> Result<> {
      gone += database.changed();
      return {};
    };
    const auto values = [&] { return std::vector<io::SqlValue>{time(before), integer(keep), integer(batch - gone)}; };
    if (Result<> ran = delete_operations(database, old_rows("operations", "begun_ns", "terminal=1 AND "), values()); ran.has_error())
      return ran;
    if (Result<> counted = went(); counted.has_error() || gone >= batch) return counted;
    const std::string lone = "NOT EXISTS (SELECT 1 FROM operations AS p WHERE p.operation=o.operation) AND ";
    for (const auto& [table, more] :
         {std::pair("decisions", lone), std::pair("deployments", std::string()), std::pair("bundles", std::string())}) {
      Result<> ran = database.run(std::string("DELETE FROM ") + table + " WHERE rowid IN " + old_rows(table, "at_ns", more), values());
      if (ran.has_error()) return ran;
      if (Result<> counted = went(); counted.has_error() || gone >= batch) return counted;
    }
    const Result<> ran = database.run(
        "DELETE FROM steps WHERE rowid IN (SELECT rowid FROM steps AS o WHERE begun_ns<?1 AND NOT EXISTS (SELECT 1 FROM operations AS p "
        "WHERE p.operation=o.operation) ORDER BY begun_ns, rowid LIMIT ?2)",
        {time(before), integer(batch - gone)});
    return ran.has_error() ? ran : went();
  });
  if (done.has_error()) return done.error();
  return gone;
}

Result<> retain_newest(io::Database& database, std::int64_t rows_max) {
  return database.transaction([&]() -> Result<> {
    for (const char* table : {"deployments", "decisions", "steps"}) {
      const Result<std::int64_t> count = database.number(std::string("SELECT count(*) FROM ") + table);
      if (count.has_error()) return count.error();
      if (*count <= rows_max) continue;
      const std::string column = std::string_view(table) == "steps" ? "begun_ns" : "at_ns";
      // What belongs to an operation that has not ended stays with it.
      const std::string of_open =
          std::string_view(table) == "deployments" ? "" : " WHERE operation NOT IN (SELECT operation FROM operations WHERE terminal=0)";
      Result<> deleted = database.run(std::string("DELETE FROM ") + table + " WHERE rowid IN (SELECT rowid FROM " + table + of_open +
                                          " ORDER BY " + column + ", rowid LIMIT ?1)",
                                      {integer(*count - rows_max)});
      if (deleted.has_error()) return deleted;
    }
    constexpr std::int64_t kBundlesMax = 2000;  // They are larger than all other rows together.
    if (Result<> bundles = retain_bundles(database, std::min(kBundlesMax, rows_max)); bundles.has_error()) return bundles;
    const Result<std::int64_t> count = database.number("SELECT count(*) FROM operations");
    if (count.has_error()) return count.error();
    if (*count <= rows_max) return {};
    return delete_operations(database, "(SELECT rowid FROM operations WHERE terminal=1 ORDER BY begun_ns, rowid LIMIT ?1)",
                             {integer(*count - rows_max)});
  });
}

}  // namespace rollbackd::record
