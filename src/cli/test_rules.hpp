// `rollbackctl test rules`: promtool's unit tests for rules, with the same verdicts; JUnit output too.
#pragma once

#include "cli/insight.hpp"

namespace rollbackd::cli {

/// Adds the command. @param result  gets the exit code
void add_test_command(CLI::App& app, const InsightCommands& commands, int& result);

}  // namespace rollbackd::cli
