#include "model/release.hpp"

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/text.hpp"
#include "model/fields.hpp"

namespace rollbackd {
namespace {

using model::Fields;
using model::put;
using model::StoredClock;

Json artifact_json(const Artifact& artifact) {
  Json json = Json::object();
  put(json, "name", artifact.name);
  put(json, "locator", artifact.locator);
  put(json, "size", artifact.size);
  put(json, "sha256", artifact.sha256);
  return json;
}

Result<Artifact> artifact_from(const Json& json, const std::string& what) {
  Fields fields(json, what);
  Artifact artifact;
  fields.get("name", artifact.name);
  fields.get("locator", artifact.locator);
  fields.get("size", artifact.size);
  fields.get("sha256", artifact.sha256);
  if (!fields.ok()) return fields.error();
  return artifact;
}

Json release_json(const Release& release) {
  Json json = Json::object();
  json.set("id", release.id);
  put(json, "digest", release.digest);
  if (!release.artifacts.empty()) {
    Json list = Json::array();
    for (const Artifact& artifact : release.artifacts) list.push(artifact_json(artifact));
    json.set("artifacts", std::move(list));
  }
  put(json, "commit", release.commit);
  put(json, "created", release.created);
  put(json, "irreversible", release.irreversible);
  put(json, "min_compatible", release.min_compatible);
  put(json, "security_epoch", release.security_epoch);
  put(json, "path", release.path);
  return json;
}

/// Reads the list at `key` with `read_one(element, "what[i]")`.
template <class T, class ReadOne>
void get_list(Fields& fields, std::string_view key, std::vector<T>& out, ReadOne read_one) {
  const Json& list = fields[key];
  if (list.is_null()) return;
  if (!list.is_array()) return fields.fail(key, "it is not a list");
  for (std::size_t i = 0; i < list.elements().size() && fields.ok(); ++i) {
    T one;
    fields.take(read_one(list.elements()[i], fields.what() + ", " + std::string(key) + "[" + std::to_string(i) + "]"), one);
    out.push_back(std::move(one));
  }
}

Result<Release> release_from(const Json& json, const std::string& what) {
  Fields fields(json, what);
  Release release;
  fields.required("id");
  fields.get("id", release.id);
  fields.get("digest", release.digest);
  get_list(fields, "artifacts", release.artifacts, artifact_from);
  fields.get("commit", release.commit);
  fields.get("created", release.created);
  fields.get("irreversible", release.irreversible);
  fields.get("min_compatible", release.min_compatible);
  fields.get("security_epoch", release.security_epoch);
  fields.get("path", release.path);
  if (!fields.ok()) return fields.error();
  return release;
}

Result<ComponentRelease> component_from(const Json& json, const std::string& what) {
  Fields fields(json, what);
  ComponentRelease component;
  fields.get("component", component.component);
  fields.get("release", component.release);
  if (!fields.ok()) return fields.error();
  return component;
}

Json entry_json(const LedgerEntry& entry, const ClockReading& clock) {
  Json json = Json::object();
  json.set("release", release_json(entry.release));
  json.set("standing", static_cast<int>(entry.standing));
  json.set("first_seen", StoredClock::number(clock, entry.first_seen));
  if (entry.last_live != Instant{}) json.set("last_live", StoredClock::number(clock, entry.last_live));
  put(json, "reason", entry.reason);
  put(json, "intact", entry.intact);
  put(json, "intact_why", entry.intact_why);
  if (!entry.components.empty()) {
    Json list = Json::array();
    for (const ComponentRelease& one : entry.components) {
      Json json_one = Json::object();
      put(json_one, "component", one.component);
      put(json_one, "release", one.release);
      list.push(std::move(json_one));
    }
    json.set("components", std::move(list));
  }
  if (entry.scrubbed) json.set("scrubbed", StoredClock::number(clock, *entry.scrubbed));
  return json;
}

Result<LedgerEntry> entry_from(const Json& json, const std::string& what, const StoredClock& clock) {
  Fields fields(json, what);
  LedgerEntry entry;
  fields.take(release_from(fields["release"], what + ", release"), entry.release);
  fields.required("standing");
  fields.get_enum("standing", Standing::unknown, Standing::revoked, entry.standing);
  fields.get("first_seen", clock, entry.first_seen);
  std::optional<Instant> last_live;  // As a number, "never" would be some other instant of the next run's engine time.
  fields.get("last_live", clock, last_live);
  entry.last_live = last_live.value_or(Instant{});
  fields.get("reason", entry.reason);
  fields.get("intact", entry.intact);
  fields.get("intact_why", entry.intact_why);
  get_list(fields, "components", entry.components, component_from);
  fields.get("scrubbed", clock, entry.scrubbed);
  if (!fields.ok()) return fields.error();
  return entry;
}

Json epoch_json(const Epoch& epoch, const ClockReading& clock) {
  Json json = Json::object();
  put(json, "number", static_cast<std::int64_t>(epoch.number));
  put(json, "release", epoch.release);
  put(json, "from", epoch.from);
  json.set("switched", StoredClock::number(clock, epoch.switched));
  if (epoch.started) json.set("started", StoredClock::number(clock, *epoch.started));
  put(json, "baked_ns", epoch.baked.count());
  put(json, "baked_ok", epoch.baked_ok);
  put(json, "announced", epoch.announced);
  put(json, "by_rollback", epoch.by_rollback);
  if (epoch.link_changed) json.set("link_changed", StoredClock::number(clock, *epoch.link_changed));
  return json;
}

Result<Epoch> epoch_from(const Json& json, const StoredClock& clock) {
  Fields fields(json, "epoch");
  Epoch epoch;
  std::int64_t baked_ns = 0;
  fields.get("number", epoch.number);
  fields.get("release", epoch.release);
  fields.get("from", epoch.from);
  fields.get("switched", clock, epoch.switched);
  fields.get("started", clock, epoch.started);
  fields.get("baked_ns", baked_ns);
  if (baked_ns < 0) fields.fail("baked_ns", "it is negative");
  fields.get("baked_ok", epoch.baked_ok);
  fields.get("announced", epoch.announced);
  fields.get("by_rollback", epoch.by_rollback);
  fields.get("link_changed", clock, epoch.link_changed);
  if (!fields.ok()) return fields.error();
  epoch.baked = Duration(baked_ns);
  return epoch;
}

Json past_json(const PastOperation& past, const ClockReading& clock) {
  Json json = Json::object();
  put(json, "operation", past.operation);
  put(json, "from", past.from);
  put(json, "to", past.to);
  put(json, "automatic", past.automatic);
  json.set("at", StoredClock::number(clock, past.at));
  return json;
}

Result<PastOperation> past_from(const Json& json, const std::string& what, const StoredClock& clock) {
  Fields fields(json, what);
  PastOperation past;
  fields.get("operation", past.operation);
  fields.get("from", past.from);
  fields.get("to", past.to);
  fields.get("automatic", past.automatic);
  fields.get("at", clock, past.at);
  if (!fields.ok()) return fields.error();
  return past;
}

Json pushed_json(const PushedAlert& alert, const ClockReading& clock) {
  Json json = Json::object();
  put(json, "key", alert.key);
  put(json, "rule", alert.rule);
  put(json, "summary", alert.summary);
  put(json, "action", static_cast<std::int64_t>(alert.action));
  json.set("since", StoredClock::number(clock, alert.since));
  json.set("received", StoredClock::number(clock, alert.received));
  put(json, "resolved", alert.resolved);
  return json;
}

Result<PushedAlert> pushed_from(const Json& json, const std::string& what, const StoredClock& clock) {
  Fields fields(json, what);
  PushedAlert alert;
  fields.required("key");
  fields.get("key", alert.key);
  fields.get("rule", alert.rule);
  fields.get("summary", alert.summary);
  fields.get_enum("action", AlertAction::notify, AlertAction::emergency, alert.action);
  fields.get("since", clock, alert.since);
  fields.get("received", clock, alert.received);
  fields.get("resolved", alert.resolved);
  if (!fields.ok()) return fields.error();
  return alert;
}

Json incident_json(const OpenIncident& incident, const ClockReading& clock) {
  Json json = Json::object();
  put(json, "id", incident.id);
  json.set("opened", StoredClock::number(clock, incident.opened));
  put(json, "epoch", static_cast<std::int64_t>(incident.epoch));
  put(json, "release", incident.release);
  put(json, "failure_type", incident.failure_type);
  put(json, "cause", incident.cause);
  put(json, "acted", incident.acted);
  put(json, "steps_back", static_cast<std::int64_t>(incident.steps_back));
  put(json, "left", incident.left);
  return json;
}

Result<OpenIncident> incident_from(const Json& json, const StoredClock& clock) {
  Fields fields(json, "incident");
  OpenIncident incident;
  fields.required("id");
  fields.get("id", incident.id);
  fields.get("opened", clock, incident.opened);
  fields.get("epoch", incident.epoch);
  fields.get("release", incident.release);
  fields.get("failure_type", incident.failure_type);
  fields.get("cause", incident.cause);
  fields.get("acted", incident.acted);
  fields.get("steps_back", incident.steps_back);
  fields.get("left", incident.left);
  if (!fields.ok()) return fields.error();
  return incident;
}

Result<Suspension> suspension_from(const Json& json, const StoredClock& clock) {
  Fields fields(json, "suspension");
  Suspension suspension;
  fields.get("until", clock, suspension.until);
  fields.get("reason", suspension.reason);
  fields.get("principal", suspension.principal);
  if (!fields.ok()) return fields.error();
  return suspension;
}

Json lock_json(const DeployLock& lock, const ClockReading& clock) {
  Json json = Json::object();
  put(json, "id", lock.id);
  json.set("until", StoredClock::number(clock, lock.until));
  put(json, "reason", lock.reason);
  put(json, "principal", lock.principal);
  return json;
}

Result<DeployLock> lock_from(const Json& json, const StoredClock& clock) {
  Fields fields(json, "lock");
  DeployLock lock;
  fields.required("id");
  fields.get("id", lock.id);
  fields.get("until", clock, lock.until);
  fields.get("reason", lock.reason);
  fields.get("principal", lock.principal);
  if (!fields.ok()) return fields.error();
  return lock;
}

Json approval_json(const PendingApproval& approval, const ClockReading& clock) {
  Json json = Json::object();
  put(json, "decision", approval.decision);
  put(json, "incident", approval.incident);
  put(json, "from", approval.from);
  put(json, "to", approval.to);
  json.set("asked", StoredClock::number(clock, approval.asked));
  json.set("until", StoredClock::number(clock, approval.until));
  put(json, "approved_by", approval.approved_by);
  return json;
}

Result<PendingApproval> approval_from(const Json& json, const StoredClock& clock) {
  Fields fields(json, "approval");
  PendingApproval approval;
  fields.required("incident");  // Once answered it has no decision any more: only that it was asked is remembered.
  fields.get("decision", approval.decision);
  fields.get("incident", approval.incident);
  fields.get("from", approval.from);
  fields.get("to", approval.to);
  fields.get("asked", clock, approval.asked);
  fields.get("until", clock, approval.until);
  fields.get("approved_by", approval.approved_by);
  if (!fields.ok()) return fields.error();
  return approval;
}

Json change_json(const OtherChange& change, const ClockReading& clock) {
  Json json = Json::object();
  put(json, "kind", static_cast<std::int64_t>(change.kind));
  put(json, "what", change.what);
  json.set("at", StoredClock::number(clock, change.at));
  return json;
}

Result<OtherChange> change_from(const Json& json, const std::string& what, const StoredClock& clock) {
  Fields fields(json, what);
  OtherChange change;
  fields.required("kind");
  fields.get_enum("kind", OtherChange::Kind::package, OtherChange::Kind::boot, change.kind);
  fields.get("what", change.what);
  fields.get("at", clock, change.at);
  if (!fields.ok()) return fields.error();
  return change;
}

}  // namespace

std::string name_of(const std::vector<ComponentRelease>& components) {
  if (components.empty()) return {};
  std::string joined, rest;
  bool same = true;
  for (const ComponentRelease& one : components) {
    if (one.release.empty()) return {};
    same = same && one.release == components.front().release;
    joined += (joined.empty() ? "" : "+") + one.release;
  }
  if (same) return components.front().release;
  if (is_release_id(joined)) return joined;
  const std::string& first = components.front().release;
  return cut(first, 100) + "+" + sha256_hex(joined).substr(0, 12);
}

const char* to_string(OtherChange::Kind v) {
  switch (v) {
    case OtherChange::Kind::package: return "package";
    case OtherChange::Kind::config: return "config";
    case OtherChange::Kind::unit: return "unit";
    case OtherChange::Kind::boot: return "boot";
  }
  return "unknown";
}

const char* to_string(Standing standing) {
  switch (standing) {
    case Standing::unknown: return "unknown";
    case Standing::candidate: return "candidate";
    case Standing::good: return "good";
    case Standing::bad: return "bad";
    case Standing::revoked: return "revoked";
  }
  return "unknown";
}

std::optional<Standing> standing_from(std::string_view text) {
  for (const Standing s : {Standing::unknown, Standing::candidate, Standing::good, Standing::bad, Standing::revoked})
    if (text == to_string(s)) return s;
  return std::nullopt;
}

Json stamp_json(const Stamp& stamp) {
  Json json = Json::object();
  json.set("boot_id", stamp.boot_id).set("boot_ns", stamp.boot_ns).set("wall_ns", stamp.wall_ns);
  return json;
}

Result<Stamp> stamp_from(const Json& json) {
  Fields fields(json, "time stamp");
  Stamp stamp;
  for (const char* key : {"boot_id", "boot_ns", "wall_ns"}) fields.required(key);
  fields.get("boot_id", stamp.boot_id);
  fields.get("boot_ns", stamp.boot_ns);
  fields.get("wall_ns", stamp.wall_ns);
  if (!fields.ok()) return fields.error();
  return stamp;
}

Json ServiceState::to_json(const ClockReading& clock) const {
  Json json = Json::object();
  json.set("format", 1);
  json.set("service", service.name).set("environment", service.environment);
  json.set("clock", stamp_json(clock.stamp));
  Json rows = Json::array();
  for (const LedgerEntry& entry : ledger) rows.push(entry_json(entry, clock));
  json.set("ledger", std::move(rows));
  json.set("epoch", epoch_json(epoch, clock));
  Json done = Json::array();
  for (const PastOperation& one : past) done.push(past_json(one, clock));
  json.set("past", std::move(done));
  if (incident) json.set("incident", incident_json(*incident, clock));
  if (suspension) {
    Json suspended = Json::object();
    suspended.set("until", StoredClock::number(clock, suspension->until));
    put(suspended, "reason", suspension->reason);
    put(suspended, "principal", suspension->principal);
    json.set("suspension", std::move(suspended));
  }
  Json alerts = Json::array();
  for (const PushedAlert& one : pushed) alerts.push(pushed_json(one, clock));
  json.set("pushed", std::move(alerts));
  put(json, "fence", fence);
  if (lock) json.set("lock", lock_json(*lock, clock));
  if (approval) json.set("approval", approval_json(*approval, clock));
  if (!changes.empty()) {
    Json others = Json::array();
    for (const OtherChange& one : changes) others.push(change_json(one, clock));
    json.set("changes", std::move(others));
  }
  if (drilled) json.set("drilled", StoredClock::number(clock, *drilled));
  return json;
}

Result<ServiceState> ServiceState::from_json(const Json& json, const ClockReading& clock) {
  Fields fields(json, "service state");
  int format = 0;
  fields.required("format");
  fields.get("format", format);
  if (fields.ok() && format != 1) fields.fail("format", "this version reads format 1, not " + std::to_string(format));
  ServiceState state;
  fields.required("service");
  fields.get("service", state.service.name);
  fields.get("environment", state.service.environment);
  Stamp written;
  fields.take(stamp_from(fields["clock"]), written);
  const StoredClock stored(clock, written);
  get_list(fields, "ledger", state.ledger, [&](const Json& one, const std::string& what) { return entry_from(one, what, stored); });
  if (fields.ok()) fields.take(epoch_from(fields["epoch"], stored), state.epoch);
  get_list(fields, "past", state.past, [&](const Json& one, const std::string& what) { return past_from(one, what, stored); });
  if (fields.ok() && !fields["incident"].is_null()) {
    state.incident.emplace();
    fields.take(incident_from(fields["incident"], stored), *state.incident);
  }
  if (fields.ok() && !fields["suspension"].is_null()) {
    state.suspension.emplace();
    fields.take(suspension_from(fields["suspension"], stored), *state.suspension);
  }
  get_list(fields, "pushed", state.pushed, [&](const Json& one, const std::string& what) { return pushed_from(one, what, stored); });
  fields.get("fence", state.fence);
  if (fields.ok() && !fields["lock"].is_null()) {
    state.lock.emplace();
    fields.take(lock_from(fields["lock"], stored), *state.lock);
  }
  if (fields.ok() && !fields["approval"].is_null()) {
    state.approval.emplace();
    fields.take(approval_from(fields["approval"], stored), *state.approval);
  }
  get_list(fields, "changes", state.changes, [&](const Json& one, const std::string& what) { return change_from(one, what, stored); });
  fields.get("drilled", stored, state.drilled);
  if (!fields.ok()) return fields.error();
  return state;
}

}  // namespace rollbackd
