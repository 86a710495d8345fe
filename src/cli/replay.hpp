// `rollbackctl replay`: rules over recorded samples, when each would have fired, and what the decision would have been.
#pragma once

#include "cli/insight.hpp"

namespace rollbackd::cli {

/// Adds the command. @param result  gets the exit code
void add_replay_command(CLI::App& app, const InsightCommands& commands, int& result);

}  // namespace rollbackd::cli
