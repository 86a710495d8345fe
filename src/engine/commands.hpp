// What people may ask of the engine, as plain values; the API and the offline command line both fill them.
#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/time.hpp"
#include "model/operation.hpp"

namespace rollbackd::engine {

/// Names a service. An empty environment is fine when only one service has the name.
struct ServiceSelector {
  std::string name, environment;
};

/// The process exit codes of `rollbackctl` (DESIGN.md section 8). Numbers are part of the interface.
enum class ExitCode : int {
  success = 0,
  other = 1,
  verification_failed = 2,
  unreachable = 3,
  awaiting_approval = 4,
  outcome_unknown = 5,
  version_not_found = 40,
  refused = 41,
  dependency = 42,
  step_failed = 43,
  index = 44,
  backup = 45,
  already_on_target = 46,
  dry_run_problem = 47,
  manifest = 48,
  rollback_error = 49,
  deployment_rolled_back = 50,
  held = 51,
  not_decided = 52
};

struct RollbackCommand {
  ServiceSelector service;
  std::string to;  ///< "", "ID" or "release:ID"; empty: the previous good one
  std::string reason, principal;
  bool emergency = false, dry_run = false, force = false, lenient = false;
  bool accept_data_loss = false;
  std::string lock{};       ///< id of the deployment lock that the caller holds
  std::string operation{};  ///< its id, where the caller wants to know it beforehand
  std::string from{};       ///< only when this is live; empty: whatever is
};

struct DeployCommand {
  ServiceSelector service;
  std::string release, reason, principal;
  bool force = false;
  bool lenient = false;
  std::string lock{};
};

/// The group's services are rolled back in its order, each to its previous good release, or none is.
struct GroupCommand {
  std::string group, reason, principal;
  bool emergency = false, dry_run = false, force = false, lenient = false, accept_data_loss = false;
};

struct LockCommand {
  ServiceSelector service;
  std::string reason, principal;
  Duration length = 1h;  ///< at most 24 h
  std::string id{};      ///< of the caller's own lock, which is then held for longer
};

/// The holder says the lock's id, or is who took it; anybody else forces it.
struct UnlockCommand {
  ServiceSelector service;
  std::string id, reason, principal;
  bool force = false;
};

/// What came of a command. `code` is `success` when it was accepted (the operation may still be running).
struct CommandAnswer {
  ExitCode code = ExitCode::success;
  std::string operation;  ///< id, when one was started
  Json body;              ///< guards, plan, message
};

/// The exit code that tells how an ended operation went.
ExitCode exit_code_of(OperationKind kind, OperationStatus status);

}  // namespace rollbackd::engine
