// `rollbackctl drill`: proves the chain from a check to the page on purpose.
#pragma once

#include <string>

#include "cli/insight.hpp"

namespace rollbackd::cli {

/// The links of a drill's chain as a table, and how it ended. Pure.
/// @param evidence  what /api/v1/evidence answered about it
std::string render_drill(const Json& evidence);

/// Adds the command. @param result  gets the exit code
void add_drill_command(CLI::App& app, const InsightCommands& commands, int& result);

}  // namespace rollbackd::cli
