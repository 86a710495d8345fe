// `rollbackctl history`, `stats` and `audit`: what happened, how often it went well, and who did it.
#pragma once

#include <functional>
#include <string>

#include "cli/client.hpp"

namespace CLI {
class App;
}  // namespace CLI

namespace rollbackd::cli {

/// What these commands need of rollbackctl. Called when a command runs, after all options were read.
struct InsightCommands {
  std::function<Result<Client>()> connect;
  std::function<bool()> json;             ///< --format json
  std::function<int(const Error&)> fail;  ///< says it and gives the exit code
};

/// Each adds its command to the app. @param result  gets the exit code
void add_history_command(CLI::App& app, const InsightCommands& commands, int& result);
void add_stats_command(CLI::App& app, const InsightCommands& commands, int& result);
void add_audit_commands(CLI::App& app, const InsightCommands& commands, int& result);

/// Asks the daemon and shows its rows, as JSON or as the table. @return the exit code
int show_rows(const InsightCommands& commands, const std::string& path, const std::map<std::string, std::string>& query,
              const std::function<std::string(const Json&)>& table);

}  // namespace rollbackd::cli
