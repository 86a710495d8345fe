#include "cli/test_rules.hpp"

#include <CLI/CLI.hpp>

namespace rollbackd::cli {

void add_test_command(CLI::App& app, const InsightCommands& commands, int& result) {
  auto* command = app.add_subcommand("test", "Not built yet")->group("");
  command->callback([&commands, &result] { result = commands.fail(Error(Errc::unsupported, "test is not built yet")); });
}

}  // namespace rollbackd::cli
