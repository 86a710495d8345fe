// Pre-flight: the named conditions for a rollback that could begin now, each with yes, no or a warning and its evidence.
// Pure: what was looked at is in the input; engine/preflight.cpp looks.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "config/settings.hpp"
#include "model/decision.hpp"

namespace rollbackd::engine {

/// One condition. Its name is a label of `rollbackd_ready_check`: one of `ready_check_names()`.
struct ReadyCheck {
  /// `no`: an automatic rollback would not happen now. `warning`: it would, but something around it is not as it should be.
  enum class Answer : int { no = 0, warning = 1, yes = 2 };
  std::string name;
  Answer answer = Answer::no;
  std::string evidence;
};
const char* to_string(ReadyCheck::Answer answer);

/// Every name, in the order of the checks.
const std::vector<std::string>& ready_check_names();

/// What one look at a directory found. Negative numbers: not known.
struct DirectoryFacts {
  std::string path;
  bool there = false, writable = false;
  std::string why;  ///< when it is not
  std::int64_t bytes_free = -1, inodes_free = -1;
};

/// What one look at a component's link found.
struct LinkLook {
  std::string component;      ///< empty where the service has only one
  DirectoryFacts directory;   ///< that of the link `current`; without a path there is no link to switch
  std::string armed_link;     ///< what the armed link beside `current` leads to; empty: there is none
  bool armed_wanted = false;  ///< this driver makes one
};

/// What the background look found; it is at most a minute old while everything answers.
struct PreflightFacts {
  std::optional<Instant> looked;  ///< when it ended; nothing: not yet
  DirectoryFacts state;           ///< the state directory
  std::vector<LinkLook> links;    ///< of each component, in their order
  bool exchange = true;           ///< the file system can exchange two names in one step
  /// The service manager's answer: nothing while there is no manager, or it never answered.
  std::optional<Instant> manager_answered;
  std::string manager_trouble, manager_says;
  /// The rest of the fleet, as it was at the look: a walk over all services, too much for every question.
  FleetFacts fleet;
  Duration wall_ahead{};  ///< the wall clock against engine time
  Instant wall;
  /// Who carries out steps, where that is not this process: its name and why it cannot be reached (empty: it can).
  std::string actor, actor_trouble;
};

/// One of the service's checks as an observer.
struct ObserverState {
  std::string check;
  bool live = false;
};

/// All that the answers follow from.
struct ReadyInput {
  const config::ServiceSettings* settings = nullptr;
  const ServiceState* state = nullptr;  ///< nothing while the service is not watched
  Instant now;
  std::string trouble, link_trouble;
  bool state_trusted = true, has_manager = false;
  std::string target, no_target_why;
  std::optional<TargetFacts> armed;
  PreflightFacts world;
  std::vector<ObserverState> observers;
  std::vector<std::string> blind_rules;
  /// What the guards would say of an automatic rollback to `target` now.
  std::vector<GuardAnswer> guards;
  std::string warm;        ///< what the warm target is like (engine/warm.hpp); empty: not looked at
  bool warm_well = false;  ///< all of it that is wanted is in memory
  std::string history_trouble, outbox_trouble;
  std::size_t channels = 0;     ///< that a page goes to
  bool incident_spent = false;  ///< its incident has had its one rollback
};

/// One answer for each name, in order.
std::vector<ReadyCheck> ready_checks(const ReadyInput& input);
/// The first `no`; nothing when a rollback could begin.
const ReadyCheck* first_no(const std::vector<ReadyCheck>& checks);
Json to_json(const std::vector<ReadyCheck>& checks);

}  // namespace rollbackd::engine
