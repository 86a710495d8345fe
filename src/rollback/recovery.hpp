// The recovery table of DESIGN.md section 7: what to do at start about an operation that was under way. Pure; one test a cell.
#pragma once

#include <optional>
#include <string>

#include "model/operation.hpp"

namespace rollbackd::rollback {

/// What `current` is, compared with the last record and the ledger.
enum class LinkIs { from, to, ledger_live, other, missing };

struct RecoveryInput {
  std::optional<OperationRecord> last;  ///< nothing: no operation was ever recorded
  LinkIs link = LinkIs::missing;
  bool state_readable = true;  ///< false: both slots corrupt
  std::optional<World::Process> process;
  bool has_manager = false;
};

enum class RecoveryMove {
  idle,                ///< nothing was under way and the ledger's release is live
  outside_deployment,  ///< somebody else deployed while we were away
  abandon,             ///< undo traffic, close as `abandoned`, judge again on fresh evidence
  resume,              ///< continue at `resume_at`
  hold_and_page,
};
const char* to_string(RecoveryMove move);

struct Recovery {
  RecoveryMove move = RecoveryMove::hold_and_page;
  OperationPhase resume_at = OperationPhase::none;  ///< for `resume`: `switched` restarts, `restarted` verifies, ...
  bool restart = false;                             ///< the process is older than the switch, so it must be restarted
  std::string why;
};

inline constexpr int kAttemptsMax = 3;

Recovery recover(const RecoveryInput& input);

}  // namespace rollbackd::rollback
