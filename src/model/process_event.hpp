// What a service manager says of the process it watches.
#pragma once

#include <string>

#include "base/time.hpp"

namespace rollbackd {

struct ProcessEvent {
  enum class Kind {
    running,       ///< a process runs: at attach, or freshly started
    exited,        ///< it ended
    start_failed,  ///< it could not be executed at all
    lost,          ///< the manager cannot tell any more (keeper gone); what was known no longer counts
  };
  Kind kind = Kind::lost;
  int pid = 0;
  Instant started;  ///< engine time of the process's start
  Instant at;       ///< of this event
  // exited:
  bool code_known = true;  ///< false for a process that is nobody's child of ours
  int exit_code = 0;       ///< meaningful when signal is 0
  int signal = 0;
  bool requested = false;  ///< a stop job of ours (restart, stop): never evidence
  bool oom = false;        ///< the kernel's OOM killer ended it, as far as can be told
  std::string detail;      ///< "exit 1", "signal 9 (Killed)", "cannot execute /x: No such file or directory"

  /// An exit that nobody need explain: asked for, status 0, or ended by HUP, INT, TERM or PIPE (systemd.service(5), "clean exit").
  bool clean() const {
    return requested || (code_known && ((signal == 0 && exit_code == 0) || signal == 1 || signal == 2 || signal == 13 || signal == 15));
  }
};

}  // namespace rollbackd
