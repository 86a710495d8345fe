// What systemd's properties of a unit mean: which process began, which ended, how, and whether anybody asked for it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.hpp"

namespace rollbackd::io {

/// A unit at one instant, as org.freedesktop.systemd1 tells of it. Times are microseconds of CLOCK_MONOTONIC; 0: never.
struct UnitFacts {
  std::string id{};      ///< canonical name, "shop.service"
  std::string load{};    ///< loaded, not-found, bad-setting, error, masked
  std::string active{};  ///< active, reloading, inactive, failed, activating, deactivating
  std::string sub{};     ///< running, dead, auto-restart, stop-sigterm, ...
  std::string result{};  ///< success, exit-code, signal, core-dump, watchdog, timeout, oom-kill, start-limit-hit, resources, protocol
  bool service = false;  ///< a .service: what follows is known
  int main_pid = 0;      ///< of the process that runs now; 0: none
  int exec_pid = 0;      ///< of the latest main process, running or not
  std::int64_t exec_started = 0, exec_exited = 0;
  int exec_code = 0;    ///< CLD_EXITED (1), CLD_KILLED (2), CLD_DUMPED (3)
  int exec_status = 0;  ///< exit status, or the signal
  std::int64_t restarts = 0;
  bool host_stopping = false;  ///< the machine shuts down

  bool running() const { return main_pid != 0 && exec_exited == 0; }
  bool operator==(const UnitFacts&) const = default;
};

/// Takes over what `properties` (name -> value, of a whole GetAll or of a PropertiesChanged) say; the rest stays.
void update(UnitFacts& facts, const Json& properties);
/// "exit 3", "signal 9 (Killed)", "" when no process of it has ended.
std::string last_exit(const UnitFacts& facts);

/// Something that happened to a unit's process.
struct UnitNews {
  enum class Kind { running, exited, start_failed };
  Kind kind = Kind::running;
  int pid = 0;
  std::int64_t started = 0;  ///< of the process; 0: not known
  std::int64_t at = 0;       ///< of the exit; 0: now
  bool code_known = true;
  int exit_code = 0, signal = 0;
  bool requested = false;  ///< a stop or restart job, a shutdown of the host, or an end that the unit calls a success
  bool oom = false;
  std::string detail;
};

/// Follows one unit. Each process's end is told exactly once with its code, also when systemd restarted it at once (`Restart=`).
class UnitState {
 public:
  /// @param facts  a coherent state, in the order in which they came
  std::vector<UnitNews> on(const UnitFacts& facts);
  /// The bus was lost and what was told no longer counts: a process that still runs is told again, an end that was told is not.
  void on_lost() { told_ = false; }

 private:
  UnitNews exit_of(const UnitFacts& facts) const;
  void follow_process(const UnitFacts& facts, std::vector<UnitNews>& out);
  void follow_unit(const UnitFacts& facts, std::vector<UnitNews>& out);

  UnitFacts before_;
  bool any_ = false;   ///< `before_` was told
  bool told_ = false;  ///< ... since the beginning or the last loss
  int pid_ = 0;        ///< the process that is followed
  std::int64_t started_ = 0;
  bool runs_ = false;
  bool asked_to_stop_ = false;   ///< while it ran, the unit began to stop for no fault of its own
  bool attempt_failed_ = false;  ///< this attempt's failure was told
};

}  // namespace rollbackd::io
