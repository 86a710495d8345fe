// Decisions, guards and what the incident machine is told and asks for: plain data between the core and its shell.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "base/time.hpp"
#include "model/alert.hpp"
#include "model/operation.hpp"
#include "model/release.hpp"

namespace rollbackd {

/// Numbers reach disk, the wire and metrics.
enum class DecisionKind : int { none = 0, notify = 1, hold = 2, retry = 3, resume = 4, skip = 5, rollback = 6, manual = 7 };
const char* to_string(DecisionKind v);
std::optional<DecisionKind> decision_kind_from(std::string_view text);

/// One guard's answer, with its evidence.
struct GuardAnswer {
  std::string guard;
  bool yes = false;
  bool asked = true;         ///< false: not asked of this kind of operation
  bool passed_over = false;  ///< said no, and a person passed over it
  std::string evidence;      ///< "good since 2026-11-20T03:00:00.000Z", "2 rollbacks in the last 24h, budget 2"
};

/// A decision with its reasons; recorded when it changes.
struct Decision {
  std::string id;  ///< UUIDv7
  ServiceKey service;
  Instant at;
  DecisionKind kind = DecisionKind::none;
  std::string release;  ///< the live one
  std::string target;   ///< chosen target; empty when none
  std::string incident;
  std::vector<std::string> evidence;  ///< "ProcessCrashed firing since ...: process_exits_total ... = 1"
  std::vector<GuardAnswer> guards;
  std::vector<std::string> why_not;  ///< releases that were not chosen, each with its reason
  std::string reason;                ///< one sentence
  std::string next_step;             ///< the exact command that would act now
  std::string operation;             ///< started by it; may be empty
  Json timing;                       ///< {"seen", "reaction", "settled", "decided"} in Unix seconds; added by the engine
  Json to_json() const;
};

/// A page, a warning or a piece of news for people.
struct Notification {
  enum class Severity : int { info = 1, warning = 2, page = 3 };
  std::string key;  ///< idempotency: the outbox sends one key once
  ServiceKey service;
  Severity severity = Severity::info;
  std::string title, text;
  Json details;
};
const char* to_string(Notification::Severity v);

/// Answer to a second opinion: one check probed at once on a new connection.
struct ReprobeAnswer {
  ServiceKey service;
  std::string check;
  bool answered = false;  ///< false: it could not look, or took longer than settle
  bool healthy = false;
  std::string detail;
};

/// State of our own eyes when the second opinion ended.
struct ObserverFacts {
  bool healthy = true;
  std::string why;  ///< "the reactor was stopped for 3.2s"
};

/// What the whole daemon is doing when the second opinion ended: for the guards that look beyond one service.
struct FleetFacts {
  int automatic_running = 0;  ///< automatic operations on other services now
  int rolled_back = 0;        ///< services rolled back automatically within the breaker's time, this one not counted
  int services = 0;           ///< all that are watched
  bool breaker_free = true;
  std::string why;       ///< when it is not
  std::string window;    ///< evidence that a freeze or maintenance window is open now, with its end; empty: none is
  Instant window_until;  ///< its end, when one is open
  /// "api/prod": a service that this one depends on, that has an incident of its own and a younger release: the cause comes before the
  /// symptom.
  std::string cause_elsewhere;
};

/// What a look at the target found, right before acting.
struct TargetFacts {
  std::string release;
  bool present = false;
  bool intact = false;  ///< hashed in full, and size, mtime, ctime, inode unchanged since
  std::string why;      ///< what differs, when not intact
};

// ---- What the incident machine is told. Each event happened; none asks. ----
namespace event {
/// First sight of a service, or `current` now leads to another release.
struct Switched {
  std::string release;
  Instant at;
  bool announced = false;    ///< by an operation of kind deploy
  bool by_rollback = false;  ///< by an operation of kind rollback
  std::string operation;     ///< of ours; empty for an outside deployment
  /// When `current` was changed, where that was noticed later (a gap, a busy machine): which process is the new one.
  std::optional<Instant> link_changed{};
};
/// A process younger than the switch runs, or identity reports the new release.
struct Started {
  Instant at;
};
struct Stopped {
  Instant at;
  bool clean = true;  ///< a clean stop is no evidence; until the next Started no failure is
  std::string detail;
};
/// A health-judging check delivered.
struct CheckHealth {
  std::string check;
  bool healthy = false;
};
/// What a check tells now its probe began to see before the live release's start: the process before may have said it.
struct HeardLate {
  std::string check;
};
struct Alert {
  AlertChange change;
};
struct RuleVerdict {
  VerdictChange change;
};
/// An alert from outside that a route of ours lets through. What it may cause is in `alert.action`.
/// Idempotent by its key: a repeated one changes nothing.
struct Pushed {
  PushedAlert alert;
};
/// The second opinion asked for with this incident's `number` is in (or `settle` has passed).
struct Settled {
  std::uint64_t number = 0;
  std::vector<ReprobeAnswer> own, others;
  /// What this service needs, asked again: checks of its own with a `dependency`, and the services it `depends_on`.
  std::vector<ReprobeAnswer> dependencies{};
  ObserverFacts observer;
  TargetFacts target;
  FleetFacts fleet{};
};
/// An operation on this service began (automatic or manual); nothing else may act until it ended.
struct OperationBegan {
  std::string operation;
  OperationKind kind;
};
struct OperationEnded {
  std::string operation;
  OperationKind kind = OperationKind::rollback;
  OperationStatus status = OperationStatus::unknown;
  Trigger trigger = Trigger::automatic;
  std::string from, to;
  std::string failed_how;  ///< of a failed verification: the first failing test's name and result kind, to tell "the same way"
  std::string detail;
  /// Nothing was done, for the daemon ended, stood still or was told to stop before the commit point: it is judged again.
  bool interrupted = false;
  std::optional<Instant> at{};  ///< when it was over, where that is found out later
};
struct TargetHashed {
  TargetFacts facts;
  std::string digest;
};
/// Nothing was observed between these instants (suspend, stopped process): all evidence is stale.
struct Gap {
  Instant from, to;
};
struct Suspend {
  Duration length;
  std::string reason, principal;
};
struct Unsuspend {
  std::string principal;
};
struct Mark {
  std::string release;
  Standing standing;
  std::string reason, principal;
};
/// A person acknowledges an open incident.
struct Acknowledge {
  std::string principal;
};
/// A person says yes or no to the decision that waits for approval.
struct Approve {
  std::string principal, reason;
  bool yes = true;
};
/// A deployment lock was taken, or given back (`lock` has no id then). The engine has asked whether it may.
struct Locked {
  DeployLock lock;
};
/// Something else than a release changed.
struct Changed {
  OtherChange change;
};
/// A drill went all the way through.
struct Drilled {
  Instant at;
};
/// A release's directory was removed from disk by our own retention.
struct Pruned {
  std::string release;
};
/// The state could not be written: this service holds until a restart.
struct StateUntrusted {
  std::string why;
};
/// Nothing happened but time.
struct Tick {};
}  // namespace event

using Event = std::variant<event::Switched, event::Started, event::Stopped, event::CheckHealth, event::Alert, event::RuleVerdict,
                           event::Pushed, event::Settled, event::OperationBegan, event::OperationEnded, event::TargetHashed, event::Gap,
                           event::Suspend, event::Unsuspend, event::Mark, event::Acknowledge, event::Approve, event::Locked, event::Changed,
                           event::Drilled, event::Pruned, event::StateUntrusted, event::HeardLate, event::Tick>;

// ---- What the incident machine asks for. Data, performed by the engine; each outcome comes back as an event. ----
namespace action {
/// Write the state to the state file.
struct Persist {};
/// Begin an epoch in the judge.
struct BeginEpoch {
  Instant at;
};
/// Probe these checks of this service again at once, and one check each of up to 20 other services; answer with event::Settled.
struct Reprobe {
  std::uint64_t number = 0;
  std::vector<std::string> checks;
  Duration settle{};
  std::string target;  ///< look at this release too
};
struct Record {
  Decision decision;
};
struct Notify {
  Notification notification;
};
/// Start this operation (it has passed every guard).
struct Operate {
  OperationRequest request;
};
/// Hash this release in full and arm the link to it.
struct Arm {
  std::string release;
};
/// Leave a BAD_RELEASE file beside the release's directory; with an empty `reason` take it away, because the release is not bad any more.
struct MarkBadOnDisk {
  std::string release;
  std::string reason;
};
/// The incident is closed; for the history.
struct IncidentClosed {
  OpenIncident incident;
  std::string how;
};
}  // namespace action

using Action = std::variant<action::Persist, action::BeginEpoch, action::Reprobe, action::Record, action::Notify, action::Operate,
                            action::Arm, action::MarkBadOnDisk, action::IncidentClosed>;

}  // namespace rollbackd
