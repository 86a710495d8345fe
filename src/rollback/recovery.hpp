// The recovery table of DESIGN.md section 7: what to do at start about an operation that was under way. Pure; one test a cell.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/operation.hpp"

namespace rollbackd::rollback {

/// What `current` is, compared with the last record and the ledger. Of several components: what all of them are; `mixed` when each is on
/// `from` or `to` and they differ.
enum class LinkIs { from, to, ledger_live, other, missing, mixed };

/// What the links are together, given each component's world in the record's order (`OperationRecord::components`).
LinkIs links_are(const OperationRecord& record, const std::vector<World>& worlds);

/// A component that has a service manager, and its process as far as that tells.
struct ManagedComponent {
  std::string component;
  std::optional<World::Process> process;
};

struct RecoveryInput {
  std::optional<OperationRecord> last;  ///< nothing: no operation was ever recorded
  LinkIs link = LinkIs::missing;
  std::optional<Instant> link_changed{};  ///< the link's own time, as far as the file system tells; of several links the latest
  bool state_readable = true;             ///< false: both slots corrupt
  std::vector<ManagedComponent> managed;
};

enum class RecoveryMove {
  idle,                ///< nothing was under way and the ledger's release is live
  outside_deployment,  ///< somebody else deployed while we were away
  abandon,             ///< undo traffic, close as `abandoned`, judge again on fresh evidence
  resume,              ///< continue at `resume_at`
  undo,                ///< some of several components are switched: take them back, close as `abandoned`, judge again
  hold_and_page,
};
const char* to_string(RecoveryMove move);

struct Recovery {
  RecoveryMove move = RecoveryMove::hold_and_page;
  OperationPhase resume_at = OperationPhase::none;  ///< for `resume`: `switched` restarts, `restarted` verifies, ...
  bool restart = false;                             ///< a process is older than the switch, so it must be restarted
  std::string why;
  std::vector<std::string> spared{};  ///< components whose process is younger than the switch
  std::optional<Instant> switched{};  ///< where the link is on `to`: since when, at the latest
};

inline constexpr int kAttemptsMax = 3;

Recovery recover(const RecoveryInput& input);

}  // namespace rollbackd::rollback
