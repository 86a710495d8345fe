// `rollbackctl deploy --lock`: a deployment by somebody else's tool under the service's deployment lock.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "cli/insight.hpp"

namespace rollbackd::cli {

struct LockedCommand {
  std::string service, environment, reason;
  Duration length = 1h;                              ///< of the lock; it is renewed at half of it
  std::vector<std::string> command;                  ///< argv; empty: `work` is done instead
  std::function<int(const std::string& lock)> work;  ///< signals wait until it ended, so it must end soon
  /// After the lock is given back and the command ended well: waits for the release's verdict. Empty: it does not wait.
  std::function<int(Client&)> verdict;
};

/// Takes the lock, runs the command with its id in ROLLBACKD_LOCK, renews it meanwhile, gives it back.
/// Signals (TERM, INT, HUP, QUIT) go on to the command, and its end is waited for: the lock never outlasts it.
/// @return the command's exit code, 128 + N when signal N ended it, 126 or 127 when it could not be run, 41 when somebody else has the
/// lock,
///         3 without a daemon, and with a verdict what that gives
int run_locked(LockedCommand asked, const InsightCommands& commands);

}  // namespace rollbackd::cli
