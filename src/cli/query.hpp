// `rollbackctl query`: an expression against the running daemon; `rollbackctl dump`: its samples as a recording.
#pragma once

#include <string>

#include "base/json.hpp"
#include "cli/insight.hpp"

namespace rollbackd::cli {

/// Adds both commands. @param result  gets the exit code
void add_query_command(CLI::App& app, const InsightCommands& commands, int& result);

/// The "data" of an answer as a table: a row a series, of a range a row a sample; a scalar or text alone on its line.
std::string render_query(const Json& data);
/// An error's text without its place, then the line of the expression that it names with a mark under the column.
std::string render_query_error(const std::string& expression, const std::string& error);

}  // namespace rollbackd::cli
