// One service within a replay. Internal to replay_run.cpp and replay_world.cpp.
#pragma once

#include "cli/replay_run.hpp"

namespace rollbackd::cli {

/// A rollback that was decided and, in a replay that does not act, was not carried out.
struct DecidedRollback {
  OperationRequest request;
  std::optional<Instant> quiet_since{};
};

struct Replay::Watched {
  ServiceKey key;
  std::unique_ptr<decision::Incident> incident;
  std::deque<Event> events;
  bool delivering = false;
  bool muted = false;  ///< what it decides now is about what the replay did, and no news
  std::string muted_why;
  bool tells_release = false;  ///< the recording has no `release_switched_timestamp_seconds` of it
  std::optional<Instant> due;
  std::optional<DecidedRollback> decided;
  std::string open_incident;                     ///< its id, once told
  std::pair<std::string, std::string> standing;  ///< of the live release: its id and standing, as told
};

}  // namespace rollbackd::cli
