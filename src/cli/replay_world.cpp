// What the daemon's shell would have answered: second opinions from what was recorded next, operations that succeed or are left to the
// recorded truth, and the settings and the ledger that a service begins with.
#include <algorithm>

#include "cli/replay_watched.hpp"
#include "config/judges_health.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::cli {

namespace {

constexpr std::size_t kOthersMax = 20;  ///< as the engine asks
constexpr Duration kQuiet = 30s;        ///< without a firing rollback alert, as the incident machine has it

/// The news of how a decided rollback ended.
event::OperationEnded ended_as(const OperationRequest& request, OperationStatus status, std::string detail = "") {
  event::OperationEnded ended;
  ended.operation = request.operation;
  ended.kind = request.kind;
  ended.status = status;
  ended.trigger = request.trigger;
  ended.from = request.from;
  ended.to = request.to;
  ended.detail = std::move(detail);
  return ended;
}

}  // namespace

config::ServiceSettings Replay::settings_of(const ServiceKey& key) const {
  config::ServiceSettings settings;
  const auto given = world_.services.find(key);
  if (given != world_.services.end()) {
    settings = given->second;
  } else {
    settings.automation = config::Automation::automatic;
    for (const RecordedSource& source : recording_.sources()) {
      if (source.source.service != key || source.health.empty()) continue;
      config::CheckSettings check;  // It said whether the service is well: warming up and second opinions go by it.
      check.name = source.source.check;
      check.dependency = source.dependency;
      settings.checks.push_back(std::move(check));
    }
  }
  settings.key = key;
  // Nothing recorded tells when a process started: the switch is its start.
  for (auto& component : settings.components) component.process.manager = config::ManagerType::none;
  settings.identity = {};
  return settings;
}

/// @param alone  no other release is recorded: a good one before it is taken for granted
ServiceState Replay::state_of(const ServiceKey& key, const std::string& first_release, bool alone) const {
  ServiceState state;
  state.service = key;
  LedgerEntry entry;
  entry.release.id = alone ? "previous" : first_release;
  entry.standing = Standing::good;
  entry.reason = alone ? "taken for granted by the replay" : "live when the recording begins; taken for good by the replay";
  entry.first_seen = entry.last_live = recording_.begins() - 1h;
  entry.intact = true;
  state.ledger.push_back(std::move(entry));
  return state;
}

void Replay::perform(Watched& service, Action action) {
  const ServiceState& state = service.incident->state();
  if (state.incident && service.open_incident != state.incident->id) {
    service.open_incident = state.incident->id;
    ReplayEvent told{now_, service.key, "incident", "incident opens on " + state.incident->release};
    if (!state.incident->failure_type.empty()) told.text += ": " + state.incident->failure_type + ", cause " + state.incident->cause;
    told.details.set("incident", state.incident->id).set("opened", true).set("release", state.incident->release);
    told.details.set("failure_type", state.incident->failure_type).set("cause", state.incident->cause);
    report_.event(std::move(told));
  }
  if (const auto* begin = std::get_if<action::BeginEpoch>(&action)) {
    deliver(judge_.begin_epoch(service.key, begin->at));
  } else if (const auto* wanted = std::get_if<action::Reprobe>(&action)) {
    ask_again(service, *wanted);
  } else if (const auto* record = std::get_if<action::Record>(&action)) {
    if (!service.muted) report_.decision(record->decision);
  } else if (const auto* request = std::get_if<action::Operate>(&action)) {
    if (world_.act)
      operate(service, request->request);
    else
      service.decided = DecidedRollback{request->request};
  } else if (const auto* closed = std::get_if<action::IncidentClosed>(&action)) {
    service.open_incident.clear();
    const std::string how = service.muted ? service.muted_why + "; the decided rollback was not carried out" : closed->how;
    ReplayEvent told{now_, service.key, "incident", "incident closed: " + how};
    told.details.set("incident", closed->incident.id).set("opened", false).set("how", how);
    report_.event(std::move(told));
  }
}

/// The rollback succeeds: at once where the replay acts, or as it was recorded.
void Replay::operate(Watched& service, const OperationRequest& request) {
  if (world_.act) {
    deliver(service, event::OperationBegan{request.operation, request.kind});
    event::Switched switched;
    switched.release = request.to;
    switched.at = now_;
    switched.by_rollback = true;
    switched.operation = request.operation;
    deliver(service, switched);
    ReplayEvent told{now_, service.key, "release",
                     "release " + request.to + " is live, after " + request.from + ": rolled back by the replay"};
    told.details.set("release", request.to).set("from", request.from);
    report_.event(std::move(told));
  }
  deliver(service, ended_as(request, OperationStatus::succeeded));
}

/// The rollback that was decided is not carried out: the incident is closed, so that the next one is judged too.
void Replay::conclude(Watched& service, const std::string& why) {
  const OperationRequest request = std::exchange(service.decided, std::nullopt)->request;
  service.muted = true;
  service.muted_why = why;
  deliver(service, ended_as(request, OperationStatus::cancelled, "the replay does not act"));
  deliver(service, event::Acknowledge{"the replay"});
  service.muted = false;
}

/// After each change of its alerts, and when its due instant comes.
void Replay::watch_decided(Watched& service) {
  if (!service.decided || service.delivering) return;
  if (!service.incident->view(now_).firing.empty()) {
    service.decided->quiet_since.reset();
  } else if (!service.decided->quiet_since) {
    service.decided->quiet_since = now_;
    deliver(service, event::Tick{});  // So that its due instant is known.
  } else if (now_ >= *service.decided->quiet_since + kQuiet) {
    conclude(service, "its alerts are over");
  }
}

const RecordedSource* Replay::source_of(const ServiceKey& service, const std::string& check) const {
  for (const RecordedSource& source : recording_.sources())
    if (source.source.service == service && source.source.check == check) return &source;
  return nullptr;
}

/// What stands for a service's health among others': its first check that says so.
const RecordedSource* Replay::canary_of(const ServiceKey& service) const {
  for (const RecordedSource& source : recording_.sources())
    if (source.source.service == service && !source.health.empty() && source.dependency.empty()) return &source;
  return nullptr;
}

/// A check asked again is the next that it recorded, within its staleness; at the recording's end the last one.
ReprobeAnswer Replay::answer_of(const RecordedSource& source) const {
  ReprobeAnswer answer;
  answer.service = source.source.service;
  answer.check = source.source.check;
  const Duration patience = source.source.staleness;
  const auto next = std::upper_bound(source.deliveries.begin(), source.deliveries.end(), now_);
  Instant at;
  if (next != source.deliveries.end() && *next - now_ <= patience) {
    at = *next;
  } else if (next == source.deliveries.end() && next != source.deliveries.begin() && now_ - *(next - 1) <= patience) {
    at = *(next - 1);
  } else {
    answer.detail = "nothing was recorded";
    return answer;
  }
  answer.answered = answer.healthy = true;
  const auto said = std::lower_bound(source.health.begin(), source.health.end(), at, [](const auto& h, Instant t) { return h.first < t; });
  if (said != source.health.end() && said->first == at) answer.healthy = said->second;
  answer.detail = "as recorded at " + format_rfc3339(at);
  return answer;
}

void Replay::ask_again(Watched& service, const action::Reprobe& wanted) {
  event::Settled settled;
  settled.number = wanted.number;
  std::set<std::string> about_dependencies;
  for (const auto& check : service.incident->settings().checks) {
    if (check.dependency.empty()) continue;
    about_dependencies.insert(check.name);
    if (const auto* source = source_of(service.key, check.name)) settled.dependencies.push_back(answer_of(*source));
  }
  for (const std::string& check : wanted.checks) {
    if (about_dependencies.contains(check)) continue;
    const auto* source = source_of(service.key, check);
    settled.own.push_back(source != nullptr ? answer_of(*source) : ReprobeAnswer{service.key, check, false, false, "nothing was recorded"});
  }
  const auto& needed = service.incident->settings().depends_on;
  for (const auto& [key, other] : services_) {
    const auto* canary = canary_of(key);
    if (other.get() == &service || canary == nullptr) continue;
    const bool needs_it = std::find(needed.begin(), needed.end(), key.text()) != needed.end();
    if (needs_it)
      settled.dependencies.push_back(answer_of(*canary));
    else if (settled.others.size() < kOthersMax)
      settled.others.push_back(answer_of(*canary));
  }
  settled.target = TargetFacts{wanted.target, !wanted.target.empty(), !wanted.target.empty(), ""};
  deliver(service, std::move(settled));
}

}  // namespace rollbackd::cli
