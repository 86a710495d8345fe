// `rollbackctl approve`, `reject`, `kill`, `lock` and `unlock`; and waiting for a group's rollback.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "cli/client.hpp"
#include "cli/insight.hpp"

namespace CLI {
class App;
}  // namespace CLI

namespace rollbackd::cli {

/// Adds the commands to the app. @param result  gets the exit code
void add_fleet_commands(CLI::App& app, const InsightCommands& commands, int& result);

/// Polls a group's run until it has ended. @return the run; `timed_out` when it did not end in time
Result<Json> wait_for_group(Client& client, const std::string& run, std::chrono::steady_clock::time_point until);
std::string render_group(const Json& run);

}  // namespace rollbackd::cli
