#include "cli/query.hpp"

#include <CLI/CLI.hpp>

namespace rollbackd::cli {

void add_query_command(CLI::App& app, const InsightCommands& commands, int& result) {
  auto* command = app.add_subcommand("query", "Not built yet")->group("");
  command->callback([&commands, &result] { result = commands.fail(Error(Errc::unsupported, "query is not built yet")); });
}

}  // namespace rollbackd::cli
