// `rollbackctl stats`: how often rollbacks went well, how long they took, and why they happened.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/insight.hpp"
#include "cli/render.hpp"

namespace rollbackd::cli {

void add_stats_command(CLI::App& app, const InsightCommands& commands, int& result) {
  struct Options {
    std::string service, environment, since = "30d";
  };
  const auto o = std::make_shared<Options>();
  auto* stats =
      app.add_subcommand("stats",
                         "Success rate, durations and reasons. The rate is of operations of kind rollback that have ended: those that\n"
                         "ended `succeeded`, their target running and verified, out of all. Deployments are counted, not rated");
  stats->add_option("service", o->service, "Name of the service; default: all");
  stats->add_option("--env,-e", o->environment, "Environment");
  stats->add_option("--since", o->since, "From then on: 24h, 30d, 2026-11-20, 2026-11-20T13:04:05Z")->capture_default_str();
  stats->callback([o, commands, &result] {
    result =
        show_rows(commands, "/api/v1/stats", {{"service", o->service}, {"environment", o->environment}, {"since", o->since}}, render_stats);
  });
}

}  // namespace rollbackd::cli
