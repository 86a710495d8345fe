#include "cli/replay.hpp"

#include <CLI/CLI.hpp>

namespace rollbackd::cli {

void add_replay_command(CLI::App& app, const InsightCommands& commands, int& result) {
  auto* command = app.add_subcommand("replay", "Not built yet")->group("");
  command->callback([&commands, &result] { result = commands.fail(Error(Errc::unsupported, "replay is not built yet")); });
}

}  // namespace rollbackd::cli
