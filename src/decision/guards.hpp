// The guards: named conditions for acting. All are asked even when one has said no.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "config/settings.hpp"
#include "model/decision.hpp"

namespace rollbackd::decision {

/// Everything the guards look at. Filled by the incident machine for an automatic operation, by the engine for a person's.
struct GuardInput {  // NOLINT(clang-analyzer-optin.performance.Padding): in the order of meaning, and one at a time
  const ServiceState* state = nullptr;
  const config::ServiceSettings* settings = nullptr;
  Instant now;
  bool automatic = true;
  Mode mode = Mode::standard;
  OperationKind kind = OperationKind::rollback;
  std::string from, to;
  TargetFacts target;  ///< a look at `to` right now
  bool operation_running = false;
  bool state_trusted = true;  ///< false: the state file failed; nothing may act
  bool daemon_suspended = false;
  std::string suspended_why;
  std::vector<ReprobeAnswer> others;
  std::vector<std::string> dependencies_failing;
  ObserverFacts observer;
  bool evidence_fresh = true;
  std::string evidence_detail;
  /// One release further back in an incident whose first target failed its verification in another way: `cooldown` and `recent_release` are
  /// about the first rollback of an incident and pass; `budget` counts it.
  bool further_step = false;
  /// Guards that said no because others fail, earlier in this incident, and why it is too early to say otherwise; empty when it is not.
  std::set<std::string> failed_with_others{};
  std::string too_early{};
  FleetFacts fleet{};
  bool approved = false;              ///< a person said yes to this decision
  std::string lock_held_by_caller{};  ///< id of the deployment lock that the caller holds
  bool accept_data_loss = false;
};

/// Who may pass over which guard: `--force`, `--lenient`; `--accept-data-loss` is in the input, because it needs a reason of its own.
struct Overrides {
  bool force = false;
  bool lenient = false;
};

/// Asks every guard of DESIGN.md section 6, in the table's order; `asked` is false for those of automatic operations when a person acts,
/// and for those that say nothing of a deployment or a drill. An automatic emergency passes over `window_open` and `approved`.
std::vector<GuardAnswer> ask_guards(const GuardInput& input, const Overrides& overrides = {});
/// True when every asked guard said yes or was passed over.
bool all_yes(const std::vector<GuardAnswer>& answers);
/// Names of the guards that said no and were not passed over.
std::vector<std::string> refusing(const std::vector<GuardAnswer>& answers);

}  // namespace rollbackd::decision
