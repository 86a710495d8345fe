// `rollbackctl history`: operations, decisions and deployments of the past, filtered by the daemon.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "base/text.hpp"
#include "cli/insight.hpp"
#include "cli/render.hpp"

namespace rollbackd::cli {

int show_rows(const InsightCommands& commands, const std::string& path, const std::map<std::string, std::string>& query,
              const std::function<std::string(const Json&)>& table) {
  auto client = commands.connect();
  if (!client) return commands.fail(client.error());
  std::map<std::string, std::string> given;
  for (const auto& [name, value] : query)
    if (!value.empty()) given[name] = value;
  auto answer = client->get(path, given);
  if (!answer) return commands.fail(answer.error());
  const bool ok = answer->status == 200;
  if (commands.json()) {
    std::printf("%s\n", answer->body.pretty().c_str());
  } else {
    std::fputs((ok ? table(answer->body) : render_error(answer->body)).c_str(), ok ? stdout : stderr);
  }
  return ok ? 0 : 1;
}

void add_history_command(CLI::App& app, const InsightCommands& commands, int& result) {
  struct Options {
    std::map<std::string, std::string> query;
    int limit = 20;
    bool decisions = false, deployments = false;
  };
  const auto o = std::make_shared<Options>();
  auto* history = app.add_subcommand("history", "Operations of the past, newest first; or decisions, or deployments");
  history->add_option("service", o->query["service"], "Name of the service");
  history->add_option("--env,-e", o->query["environment"], "Environment");
  history->add_option("--kind", o->query["kind"], "Only this kind of operation: rollback, deploy, ...; of decision: hold, rollback, ...");
  history->add_option("--status", o->query["status"], "Only operations that ended so: succeeded, failed, unverified, ...");
  history->add_option("--trigger", o->query["trigger"], "Only operations started so: automatic, manual or alert");
  history->add_option("--cause", o->query["cause"], "Only operations with this cause: crash, health, log, metric, alert, operator, ...");
  history->add_option("--release", o->query["release"], "Only what left this release or went to it");
  history->add_option("--principal", o->query["principal"], "Only operations that this one asked for: uid:0, token:ci, rollbackd");
  history->add_option("--since", o->query["since"], "From then on: 24h, 7d, 2026-11-20, 2026-11-20T13:04:05Z");
  history->add_option("--until", o->query["until"], "Up to then");
  history->add_option("--limit", o->limit, "How many")->check(CLI::Range(1, 1000))->capture_default_str();
  auto* decisions = history->add_flag("--decisions", o->decisions, "Show decisions instead, holds among them");
  history->add_flag("--deployments", o->deployments, "Show deployments instead")->excludes(decisions);
  history->callback([o, commands, &result] {
    auto query = o->query;
    query["limit"] = std::to_string(o->limit);
    const std::string path = o->decisions ? "/api/v1/decisions" : o->deployments ? "/api/v1/deployments" : "/api/v1/operations";
    result = show_rows(commands, path, query, o->decisions ? render_decisions : o->deployments ? render_deployments : render_operations);
  });
}

}  // namespace rollbackd::cli
