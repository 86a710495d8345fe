// What happens in one simulated run, decided in full before it begins: services, releases, faults and what people do. From a seed.
// Flow: seed -> [scenario] -> world and shell -> observer. Plain data, so that a failing one can be made smaller.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.hpp"

namespace rollbackd::simulation {

/// How a release misbehaves, counted from each start of its process. A good one does nothing of it.
struct Behaviour {
  Duration start_takes = 1s;  ///< until it answers at all
  std::optional<Duration> crashes_after, errors_after, hangs_after, logs_after, slow_after;
  bool fails_verification = false;
  bool bad() const { return crashes_after || errors_after || hangs_after || logs_after || slow_after || fails_verification; }
};

struct ReleasePlan {
  std::string id;
  Behaviour behaviour;
  bool irreversible = false;
};

struct ServicePlan {
  config::ServiceSettings settings;
  std::vector<ReleasePlan> releases;  ///< the first is live at the beginning and good; all are on disk
  bool trusted = true;                ///< a person marks the first one good at once
};

/// Something that happens to the world, or that a person does.
struct Deed {
  enum class Kind {
    deploy,           ///< outside deployment: link and restart
    deploy_link,      ///< outside deployment that forgets the restart for `length`
    deploy_command,   ///< rollbackctl deploy
    rollback,         ///< rollbackctl rollback
    rollback_forced,  ///< ... --to `release` --force
    suspend,
    unsuspend,
    kill_switch,  ///< the whole daemon, for `length`
    mark_good,
    mark_bad,
    mark_revoked,
    acknowledge,
    answer_approval,  ///< yes when `number` is even
    crash,            ///< of the daemon
    crash_at_event,   ///< at the `number`-th event of the daemon after the next operation begins
    reboot,           ///< of the machine: another boot id, wall clock moved by `number` seconds
    freeze,           ///< the daemon sees nothing for `length` (SIGSTOP, suspend)
    wall_jump,        ///< by `number` seconds
    corrupt,          ///< files of `release` change
    remove,           ///< its directory goes
    dependency_down,  ///< of this service, for `length`
    outage,           ///< infrastructure: all services fail for `length`
    blind,            ///< its checks cannot look for `length`
    blind_all,        ///< none can
    disk_fails,       ///< the next `number` writes of its state file fail
    stop_cleanly,     ///< a person stops it for `length`
    kill_process,     ///< a process of a good release dies by somebody's hand
    push_alert,       ///< a false alert from outside
    lock,             ///< deployment lock for `length`
  };
  Duration at{};
  Kind kind = Kind::deploy;
  std::size_t service = 0;
  std::size_t release = 0;
  Duration length{};
  int number = 0;
};
const char* to_string(Deed::Kind kind);

/// What goes wrong all the time, by chance.
struct Noise {
  double lost = 0, duplicated = 0, late = 0, contradicted = 0;  ///< of signals
  Duration late_max{};
  double step_fails = 0, step_hangs = 0, step_lies = 0;  ///< of drivers' steps
  double second_opinion_silent = 0;
  bool any_false_signal() const { return contradicted > 0; }
};

struct Scenario {
  std::uint64_t seed = 0;
  std::vector<ServicePlan> services;
  std::vector<Deed> deeds;  ///< by time
  Noise noise;
  Duration length{};    ///< then faults end, the daemon is restarted once more, and the run is drained
  bool judge = false;   ///< samples through rules::Judge and the shipped packs; else a stand-in makes the alerts
  bool calm = false;    ///< no fault but bad releases: they must be rolled back, not only held
  bool forced = false;  ///< a person may force: some promises are theirs then
};

Scenario make_scenario(std::uint64_t seed);

}  // namespace rollbackd::simulation
