#include "model/operation.hpp"

#include <initializer_list>

#include "model/fields.hpp"
#include "model/release.hpp"

namespace rollbackd {
namespace {

using model::Fields;
using model::put;
using model::StoredClock;

template <class E>
std::optional<E> from_name(std::string_view text, int first, int last) {
  for (int number = first; number <= last; ++number)
    if (text == to_string(static_cast<E>(number))) return static_cast<E>(number);
  return std::nullopt;
}

Json request_json(const OperationRequest& request) {
  Json json = Json::object();
  put(json, "operation", request.operation);
  json.set("service", request.service.name).set("environment", request.service.environment);
  json.set("kind", static_cast<int>(request.kind));
  json.set("selection", static_cast<int>(request.selection));
  json.set("trigger", static_cast<int>(request.trigger));
  json.set("cause", static_cast<int>(request.cause));
  json.set("mode", static_cast<int>(request.mode));
  put(json, "from", request.from);
  put(json, "to", request.to);
  put(json, "incident", request.incident);
  put(json, "reason", request.reason);
  put(json, "principal", request.principal);
  put(json, "overrides", request.overrides);
  put(json, "failure_type", request.failure_type);
  return json;
}

Result<OperationRequest> request_from(const Json& json) {
  Fields fields(json, "operation request");
  OperationRequest request;
  fields.required("operation");
  fields.get("operation", request.operation);
  fields.required("service");
  fields.get("service", request.service.name);
  fields.get("environment", request.service.environment);
  for (const char* key : {"kind", "selection", "trigger", "cause", "mode"}) fields.required(key);
  fields.get_enum("kind", OperationKind::rollback, OperationKind::deploy, request.kind);
  fields.get_enum("selection", Selection::previous, Selection::specific, request.selection);
  fields.get_enum("trigger", Trigger::automatic, Trigger::alert, request.trigger);
  fields.get_enum("cause", Cause::verification, Cause::operator_, request.cause);
  fields.get_enum("mode", Mode::standard, Mode::emergency, request.mode);
  fields.get("from", request.from);
  fields.get("to", request.to);
  fields.get("incident", request.incident);
  fields.get("reason", request.reason);
  fields.get("principal", request.principal);
  fields.get("overrides", request.overrides);
  fields.get("failure_type", request.failure_type);
  if (!fields.ok()) return fields.error();
  return request;
}

/// Both values mostly differ in the release alone: then the second is written as that, because a record has 4 KiB.
std::string shortened(const ComponentMove& move) {
  const std::size_t way = move.from_path.rfind('/') + 1;
  const bool same_way = way > 0 && move.to_path.rfind('/') + 1 == way && move.to_path.compare(0, way, move.from_path, 0, way) == 0;
  return same_way ? move.to_path.substr(way) : move.to_path;
}

Json move_json(const ComponentMove& move) {
  const std::string to = shortened(move);
  Json json = Json::object();
  json.set("component", move.component).set("from_path", move.from_path);
  json.set(to == move.to_path ? "to_path" : "to", to);
  put(json, "armed_inode", static_cast<std::int64_t>(move.armed_inode));
  json.set("stands", static_cast<int>(move.stands));
  return json;
}

Result<ComponentMove> move_from(const Json& json) {
  Fields fields(json, "operation record, component");
  ComponentMove move;
  std::string to;
  fields.required("component");
  fields.get("component", move.component);
  fields.get("from_path", move.from_path);
  fields.get("to_path", move.to_path);
  fields.get("to", to);
  fields.get("armed_inode", move.armed_inode);
  fields.get_enum("stands", ComponentMove::Stands::unknown, ComponentMove::Stands::elsewhere, move.stands);
  if (!fields.ok()) return fields.error();
  if (!to.empty()) move.to_path = move.from_path.substr(0, move.from_path.rfind('/') + 1) + to;
  return move;
}

constexpr std::size_t kMovesMax = 64;  // More than the configuration allows: a record is read before its service is known.

}  // namespace

const char* to_string(ComponentMove::Stands v) {
  switch (v) {
    case ComponentMove::Stands::unknown: return "unknown";
    case ComponentMove::Stands::from: return "from";
    case ComponentMove::Stands::to: return "to";
    case ComponentMove::Stands::elsewhere: return "elsewhere";
  }
  return "unknown";
}

const char* to_string(OperationKind v) {
  switch (v) {
    case OperationKind::rollback: return "rollback";
    case OperationKind::withdraw: return "withdraw";
    case OperationKind::restore: return "restore";
    case OperationKind::resume: return "resume";
    case OperationKind::drill: return "drill";
    case OperationKind::deploy: return "deploy";
  }
  return "rollback";
}

const char* to_string(Selection v) {
  switch (v) {
    case Selection::previous: return "previous";
    case Selection::specific: return "specific";
  }
  return "previous";
}

const char* to_string(Trigger v) {
  switch (v) {
    case Trigger::automatic: return "automatic";
    case Trigger::manual: return "manual";
    case Trigger::alert: return "alert";
  }
  return "automatic";
}

const char* to_string(Cause v) {
  switch (v) {
    case Cause::verification: return "verification";
    case Cause::crash: return "crash";
    case Cause::health: return "health";
    case Cause::log: return "log";
    case Cause::config: return "config";
    case Cause::metric: return "metric";
    case Cause::alert: return "alert";
    case Cause::operator_: return "operator";
  }
  return "health";
}

const char* to_string(Mode v) {
  switch (v) {
    case Mode::standard: return "standard";
    case Mode::emergency: return "emergency";
  }
  return "standard";
}

const char* to_string(OperationStatus v) {
  switch (v) {
    case OperationStatus::planned: return "planned";
    case OperationStatus::running: return "running";
    case OperationStatus::verifying: return "verifying";
    case OperationStatus::succeeded: return "succeeded";
    case OperationStatus::unverified: return "unverified";
    case OperationStatus::undone: return "undone";
    case OperationStatus::abandoned: return "abandoned";
    case OperationStatus::partial: return "partial";
    case OperationStatus::failed: return "failed";
    case OperationStatus::unknown: return "unknown";
    case OperationStatus::cancelled: return "cancelled";
  }
  return "unknown";
}

const char* to_string(OperationPhase v) {
  switch (v) {
    case OperationPhase::none: return "none";
    case OperationPhase::intent: return "intent";
    case OperationPhase::traffic_away: return "traffic_away";
    case OperationPhase::switching: return "switching";
    case OperationPhase::switched: return "switched";
    case OperationPhase::restarted: return "restarted";
    case OperationPhase::verifying: return "verifying";
    case OperationPhase::outcome: return "outcome";
  }
  return "none";
}

const char* to_string(Outcome::Status v) {
  switch (v) {
    case Outcome::Status::done: return "done";
    case Outcome::Status::already_done: return "already_done";
    case Outcome::Status::refused: return "refused";
    case Outcome::Status::failed: return "failed";
    case Outcome::Status::timed_out: return "timed_out";
    case Outcome::Status::conflict: return "conflict";
    case Outcome::Status::unknown: return "unknown";
  }
  return "unknown";
}

bool is_terminal(OperationStatus status) {
  switch (status) {
    case OperationStatus::planned:
    case OperationStatus::running:
    case OperationStatus::verifying: return false;
    case OperationStatus::succeeded:
    case OperationStatus::unverified:
    case OperationStatus::undone:
    case OperationStatus::abandoned:
    case OperationStatus::partial:
    case OperationStatus::failed:
    case OperationStatus::unknown:
    case OperationStatus::cancelled: return true;
  }
  return true;
}

std::optional<OperationKind> operation_kind_from(std::string_view text) { return from_name<OperationKind>(text, 1, 6); }
std::optional<OperationStatus> operation_status_from(std::string_view text) { return from_name<OperationStatus>(text, 1, 11); }
std::optional<Trigger> trigger_from(std::string_view text) { return from_name<Trigger>(text, 1, 3); }
std::optional<Cause> cause_from(std::string_view text) { return from_name<Cause>(text, 1, 8); }
std::optional<Mode> mode_from(std::string_view text) { return from_name<Mode>(text, 1, 2); }

Json Step::to_json() const {
  Json json = Json::object();
  json.set("operation", operation).set("number", number);
  put(json, "component", component);
  json.set("driver", driver).set("version", version).set("action", action);
  if (!arguments.is_null()) json.set("arguments", arguments);
  return json;
}

Result<Step> Step::from_json(const Json& json) {
  Fields fields(json, "step");
  Step step;
  for (const char* key : {"operation", "number", "driver", "version", "action"}) fields.required(key);
  fields.get("operation", step.operation);
  fields.get("number", step.number);
  fields.get("component", step.component);
  fields.get("driver", step.driver);
  fields.get("version", step.version);
  fields.get("action", step.action);
  step.arguments = fields["arguments"];
  if (!fields.ok()) return fields.error();
  return step;
}

Json Outcome::to_json() const {
  Json json = Json::object();
  json.set("status", static_cast<int>(status));
  if (!facts.is_null()) json.set("facts", facts);
  if (error.code != Errc::none) {
    Json failure = Json::object();
    failure.set("code", static_cast<int>(error.code)).set("what", error.what);
    put(failure, "why", error.why);
    put(failure, "next_step", error.next_step);
    json.set("error", std::move(failure));
  }
  return json;
}

Result<Outcome> Outcome::from_json(const Json& json) {
  Fields fields(json, "outcome");
  Outcome outcome;
  fields.required("status");
  fields.get_enum("status", Status::done, Status::unknown, outcome.status);
  outcome.facts = fields["facts"];
  if (fields.ok() && fields["error"].is_object()) {
    Fields failure(fields["error"], "outcome, error");
    failure.get_enum("code", Errc::none, Errc::internal, outcome.error.code);
    failure.get("what", outcome.error.what);
    failure.get("why", outcome.error.why);
    failure.get("next_step", outcome.error.next_step);
    if (!failure.ok()) return failure.error();
  } else if (!fields["error"].is_null()) {
    fields.fail("error", "it is not a JSON object");
  }
  if (!fields.ok()) return fields.error();
  return outcome;
}

Json Plan::to_json() const {
  Json json = Json::object();
  json.set("request", request_json(request));
  Json list = Json::array();
  for (const Step& step : steps) list.push(step.to_json());
  json.set("steps", std::move(list));
  return json;
}

Json OperationRecord::to_json(const ClockReading& clock) const {
  Json json = Json::object();
  json.set("format", format);
  put(json, "node", node);
  json.set("clock", stamp_json(clock.stamp));
  json.set("request", request_json(request));
  json.set("phase", static_cast<int>(phase));
  json.set("status", static_cast<int>(status));
  json.set("attempt", attempt);
  put(json, "fence", fence);
  put(json, "from_path", from_path);
  put(json, "to_path", to_path);
  put(json, "armed_inode", static_cast<std::int64_t>(armed_inode));
  if (!components.empty()) {
    Json moves = Json::array();
    for (const ComponentMove& move : components) moves.push(move_json(move));
    json.set("components", std::move(moves));
  }
  json.set("at", StoredClock::number(clock, at));
  json.set("begun", StoredClock::number(clock, begun));
  if (switched) json.set("switched", StoredClock::number(clock, *switched));
  if (restarted) json.set("restarted", StoredClock::number(clock, *restarted));
  put(json, "note", note);
  return json;
}

Result<OperationRecord> OperationRecord::from_json(const Json& json, const ClockReading& clock) {
  Fields fields(json, "operation record");
  OperationRecord record;
  fields.required("format");
  fields.get("format", record.format);
  if (fields.ok() && record.format != 1) fields.fail("format", "this version reads format 1, not " + std::to_string(record.format));
  fields.get("node", record.node);
  Stamp written;
  if (fields.ok()) fields.take(stamp_from(fields["clock"]), written);
  if (fields.ok()) fields.take(request_from(fields["request"]), record.request);
  const StoredClock stored(clock, written);
  for (const char* key : {"phase", "status", "attempt"}) fields.required(key);
  fields.get_enum("phase", OperationPhase::none, OperationPhase::outcome, record.phase);
  fields.get_enum("status", OperationStatus::planned, OperationStatus::cancelled, record.status);
  fields.get("attempt", record.attempt);
  fields.get("fence", record.fence);
  fields.get("from_path", record.from_path);
  fields.get("to_path", record.to_path);
  fields.get("armed_inode", record.armed_inode);
  if (fields.ok() && fields["components"].is_array()) {
    for (const Json& one : fields["components"].elements()) {
      if (record.components.size() >= kMovesMax) fields.fail("components", "there are too many of them");
      ComponentMove move;
      if (fields.ok()) fields.take(move_from(one), move);
      if (fields.ok()) record.components.push_back(std::move(move));
    }
  } else if (!fields["components"].is_null()) {
    fields.fail("components", "it is not a JSON array");
  }
  fields.get("at", stored, record.at);
  fields.get("begun", stored, record.begun);
  fields.get("switched", stored, record.switched);
  fields.get("restarted", stored, record.restarted);
  fields.get("note", record.note);
  if (!fields.ok()) return fields.error();
  return record;
}

}  // namespace rollbackd
