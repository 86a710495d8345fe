// A child that outlives us: a session of its own, and nothing of our signals.
#pragma once

#include <spawn.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace rollbackd::io {

/// Executes `file` in a session of its own, with default signals, none of them blocked.
/// @param arguments  its argv, the program's name among them
/// @param variables  its whole environment, "NAME=value"
/// @param files      says what its descriptors are, and closes the others; 0 or an errno
/// @return its pid: it is our child, for us to reap as long as we live
Result<pid_t> spawn_session(const std::string& file, std::vector<std::string> arguments, std::vector<std::string> variables,
                            const std::function<int(posix_spawn_file_actions_t*)>& files);

}  // namespace rollbackd::io
