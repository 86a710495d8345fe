// Operations, plans, steps and outcomes as data: what is journaled, previewed and handed to whoever changes the world.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"
#include "model/batch.hpp"

namespace rollbackd {

// The numbers reach disk and are never reused.
/// `deploy` is an announced deployment (`rollbackctl deploy`), journaled and recovered like every other operation.
enum class OperationKind : int { rollback = 1, withdraw = 2, restore = 3, resume = 4, drill = 5, deploy = 6 };
enum class Selection : int { previous = 1, specific = 2 };
enum class Trigger : int { automatic = 1, manual = 2, alert = 3 };
enum class Cause : int { verification = 1, crash = 2, health = 3, log = 4, config = 5, metric = 6, alert = 7, operator_ = 8 };
enum class Mode : int { standard = 1, emergency = 2 };
enum class OperationStatus : int {
  planned = 1,
  running = 2,
  verifying = 3,
  succeeded = 4,
  unverified = 5,
  undone = 6,
  abandoned = 7,
  partial = 8,
  failed = 9,
  unknown = 10,
  cancelled = 11
};
const char* to_string(OperationKind v);
const char* to_string(Selection v);
const char* to_string(Trigger v);
const char* to_string(Cause v);  // `operator_` is "operator"
const char* to_string(Mode v);
const char* to_string(OperationStatus v);
bool is_terminal(OperationStatus status);
std::optional<OperationKind> operation_kind_from(std::string_view text);
std::optional<OperationStatus> operation_status_from(std::string_view text);
std::optional<Trigger> trigger_from(std::string_view text);
std::optional<Cause> cause_from(std::string_view text);
std::optional<Mode> mode_from(std::string_view text);

/// One thing to do to the world, as data. Idempotent (a repeated operation id + number returns the first outcome) and inspectable.
struct Step {
  std::string operation;  ///< UUIDv7
  int number = 0;         ///< within the plan, from 1
  std::string component;
  std::string driver;  ///< "symlink", "supervised", "command"
  int version = 1;     ///< of the driver's arguments
  std::string action;  ///< "traffic_away", "hook", "switch", "restart", "traffic_back"
  Json arguments;
  Json to_json() const;
  static Result<Step> from_json(const Json& json);
  bool operator==(const Step&) const = default;
};

/// How one step ended, as data.
struct Outcome {
  /// `conflict`: the world was not as the plan expected (an outside deployment won); nothing of ours is left in it.
  enum class Status : int { done = 1, already_done = 2, refused = 3, failed = 4, timed_out = 5, conflict = 6, unknown = 7 };
  Status status = Status::unknown;
  Json facts;   ///< what is there now: link target and inode, pid and start time, ...
  Error error;  ///< when it did not succeed
  bool ok() const { return status == Status::done || status == Status::already_done; }
  Json to_json() const;
  static Result<Outcome> from_json(const Json& json);
};
const char* to_string(Outcome::Status v);

/// What is wanted of an operation: made by a decision or a person.
struct OperationRequest {
  std::string operation;  ///< UUIDv7; makes a repeated request the same operation
  ServiceKey service;
  OperationKind kind = OperationKind::rollback;
  Selection selection = Selection::previous;
  Trigger trigger = Trigger::automatic;
  Cause cause = Cause::health;
  Mode mode = Mode::standard;
  std::string from;                    ///< release that is live and is to be left
  std::string to;                      ///< release to put in its place
  std::string incident;                ///< may be empty for a manual one
  std::string reason;                  ///< for people
  std::string principal;               ///< "rollbackd", "uid:0 root", "token:ci"
  std::vector<std::string> overrides;  ///< guards a person passed over
  std::string failure_type;            ///< of the incident, for the record
};

/// Waves -> instances -> components -> steps; one wave and one instance today, so a plan is its steps in order.
struct Plan {
  OperationRequest request;
  std::vector<Step> steps;
  Json to_json() const;
};

/// How far an operation has come; written to the ring before the world is changed. Numbers reach disk.
enum class OperationPhase : int {
  none = 0,
  intent = 1,
  traffic_away = 2,
  switching = 3,
  switched = 4,
  restarted = 5,
  verifying = 6,
  outcome = 7
};
const char* to_string(OperationPhase v);

/// One component's part of an operation, where a service has several: its link as it was planned, and where it stands.
struct ComponentMove {
  /// Where the link is, as far as the operation's own steps say. Numbers reach disk.
  enum class Stands : int { unknown = 0, from = 1, to = 2, elsewhere = 3 };
  std::string component;
  std::string from_path, to_path;  ///< link values
  std::uint64_t armed_inode = 0;   ///< of the link that was exchanged in
  Stands stands = Stands::from;
  std::string from() const { return from_path.substr(from_path.rfind('/') + 1); }  ///< the release that `from_path` ends in
  std::string to() const { return to_path.substr(to_path.rfind('/') + 1); }
  bool operator==(const ComponentMove&) const = default;
};
const char* to_string(ComponentMove::Stands v);

/// One record of the state file's ring.
struct OperationRecord {
  int format = 1;
  std::string node;
  OperationRequest request;
  OperationPhase phase = OperationPhase::none;
  OperationStatus status = OperationStatus::planned;
  int attempt = 1;  ///< counted before each try
  std::int64_t fence = 0;
  std::string from_path, to_path;           ///< link values as they were planned; empty with several components
  std::uint64_t armed_inode = 0;            ///< of the link that was exchanged in
  std::vector<ComponentMove> components{};  ///< with several: each one's, in the order of their switches; empty with one
  Instant at;                               ///< of this record
  Instant begun;                            ///< of the operation
  std::optional<Instant> switched;
  std::optional<Instant> restarted;
  std::string note;  ///< error text of a failed one
  Json to_json(const ClockReading& clock) const;
  static Result<OperationRecord> from_json(const Json& json, const ClockReading& clock);
};

/// The process of one component as its manager sees it.
struct WorldProcess {
  bool running = false;
  int pid = 0;
  Instant started;  ///< engine time of its start; floor of a clock tick (10 ms) unless the keeper knows better
  std::string executable;
  bool stopped_cleanly = false;  ///< not running because somebody asked it to stop
  std::string last_exit;         ///< "exit 1", "signal 9", "" when never run
};

/// What is really there now: a driver's and a manager's inspection of one component.
struct World {
  enum class Link { missing, present, not_a_link };
  Link link = Link::missing;
  std::string link_value;             ///< what readlink(2) gives for `current`
  std::uint64_t link_inode = 0;       ///< of the link itself
  std::string live;                   ///< release id the link leads to; empty when it leads outside the releases directory
  std::vector<std::string> releases;  ///< ids present on disk
  using Process = WorldProcess;
  std::optional<Process> process;  ///< nothing when the component has no service manager
  std::string component{};         ///< which one this is; empty for the whole service
  /// With several components: each one's world, in the configuration's order. Then `live` is their composite id (`name_of`), `link` is
  /// `present` when all are, and `releases` holds the ids whose parts are all on disk.
  std::vector<World> parts{};
};

}  // namespace rollbackd
