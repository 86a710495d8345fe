// One coordinated rollback of a group: which members it has done, as people see it and as it is kept over a restart. Reads no clock.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "engine/commands.hpp"
#include "model/decision.hpp"

namespace rollbackd::engine {

struct GroupRun {
  struct Member {
    ServiceKey service;
    /// `status` is "planned", "running" (from before its operation is begun), "refused", or what its operation became; "cancelled" where
    /// another member's end kept it from being begun.
    std::string from, to, operation, status, detail;
  };

  std::string id, status = "running", detail;
  GroupCommand command;
  std::vector<Member> members;
  ExitCode code = ExitCode::success;
  Instant begun;     ///< wall time
  int restarts = 0;  ///< of the daemon since it was begun
  Stamp noted;       ///< when it was written to the disk last

  bool running() const { return status == "running"; }
  /// Why a run that a restart has cut off is not gone on with; empty when it is. `away` is the time since it was noted last.
  std::string why_not_go_on(Duration away) const;
  /// Every member's end is known, or `stopped_by` says why no more is begun: sets status, code and detail, which name every member.
  void end(const std::string& stopped_by);
  /// The commands that would do what is left, one a member; empty when nothing is.
  std::vector<std::string> commands_left() const;

  Json to_json() const;  ///< for people
  Json kept() const;     ///< for the disk
  /// @return nothing for what is no run
  static std::optional<GroupRun> from_kept(const Json& json);
};

/// A run goes on after a restart when its last step was at most so long ago: a person's word is about the world as it was then.
inline constexpr Duration kGroupGoesOnWithin = 10min;
/// A run that ends the daemon so often is not gone on with.
inline constexpr int kGroupRestartsMax = 3;

}  // namespace rollbackd::engine
