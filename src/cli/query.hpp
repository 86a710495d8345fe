// `rollbackctl query`: an expression against the running daemon.
#pragma once

#include "cli/insight.hpp"

namespace rollbackd::cli {

/// Adds the command. @param result  gets the exit code
void add_query_command(CLI::App& app, const InsightCommands& commands, int& result);

}  // namespace rollbackd::cli
