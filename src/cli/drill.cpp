// `rollbackctl drill`: begins a drill and, with --wait, shows the chain link by link. The daemon does it; this asks and waits.
#include "cli/drill.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "base/text.hpp"
#include "cli/one_of.hpp"
#include "cli/render.hpp"
#include "model/operation.hpp"

namespace rollbackd::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr Duration kPoll = 100ms;
constexpr int kUnknown = 5, kRollbackError = 49;

struct DrillOptions {
  std::string service, environment, reason, inject, timeout = "5m";
  bool wait = false, restore = false;
};

/// Polls: the history is what remembers a drill, also after a restart of the daemon.
Result<Json> ended_drill(Client& client, const std::string& id, Clock::time_point until) {
  while (Clock::now() < until) {
    auto answer = client.get("/api/v1/operations/" + id);
    if (!answer) return answer.error();
    const auto status = operation_status_from(answer->body["status"].string_or(""));
    if (answer->status == 200 && status && is_terminal(*status)) return answer->body;
    std::this_thread::sleep_for(kPoll);  // NOLINT: polling a daemon over HTTP, there is no event to wait for
  }
  return Error(Errc::timed_out, "the drill did not end in time")
      .because("operation " + id)
      .try_next("look with: rollbackctl explain --operation " + id);
}

int drill(const DrillOptions& o, const InsightCommands& commands) {
  auto timeout = parse_duration(o.timeout);
  if (!timeout) return commands.fail(timeout.error());
  if (trim(o.reason).empty())
    return commands.fail(Error(Errc::invalid_argument, "a drill needs a reason").try_next("add --reason \"...\""));
  const auto until = Clock::now() + *timeout;
  auto client = commands.connect();
  if (!client) return commands.fail(client.error());
  Json body = Json::object().set("service", o.service).set("reason", o.reason).set("restore", o.restore);
  if (!o.environment.empty()) body.set("environment", o.environment);
  if (!o.inject.empty()) body.set("inject", o.inject);
  auto answer = client->post("/api/v1/drill", body);
  if (!answer) return commands.fail(answer.error());
  const bool json = commands.json();
  const int code = static_cast<int>(answer->body["exit_code"].int_or(1));
  const std::string id = answer->body["operation"].string_or("");
  if (code != 0 || !o.wait || id.empty()) {
    const std::string text =
        answer->body.has("error") ? render_error(answer->body) : printable(answer->body["message"].string_or("")) + "\n";
    std::fputs(json ? (answer->body.pretty() + "\n").c_str() : text.c_str(), code == 0 || json ? stdout : stderr);
    if (!json && code == 0) std::printf("operation %s\n", id.c_str());
    return code;
  }
  auto ended = ended_drill(*client, id, until);
  if (!ended) {
    commands.fail(ended.error());
    return ended.error().code == Errc::unavailable ? 3 : kUnknown;
  }
  std::map<std::string, std::string> query{{"service", o.service}, {"operation", id}};
  if (!o.environment.empty()) query["environment"] = o.environment;
  auto evidence = client->get("/api/v1/evidence", query);
  if (!evidence) return commands.fail(evidence.error());
  std::fputs(json ? (evidence->body.pretty() + "\n").c_str() : render_drill(evidence->body).c_str(), stdout);
  return (*ended)["status"].string_or("") == to_string(OperationStatus::succeeded) ? 0 : kRollbackError;
}

}  // namespace

std::string render_drill(const Json& evidence) {
  const Json &row = evidence["operation"], &links = evidence["bundle"]["drill"];
  std::string out = "drill of " + evidence["service"].string_or("") + "/" + evidence["environment"].string_or("") + " " +
                    printable(row["status"].string_or("unknown")) + ": " + printable(row["detail"].string_or("")) + "\n";
  Table table({"LINK", "STATE", "AFTER", "DETAIL"});
  for (const Json& link : links.elements()) {
    char after[32] = "-";
    if (link["after_seconds"].is_number()) std::snprintf(after, sizeof after, "%.3f s", link["after_seconds"].number_or(0));
    table.row({link["link"].string_or(""), link["state"].string_or(""), after, link["detail"].string_or("")});
  }
  return links.elements().empty() ? out : out + table.text();
}

void add_drill_command(CLI::App& app, const InsightCommands& commands, int& result) {
  const auto o = std::make_shared<DrillOptions>();
  auto* command = app.add_subcommand(
      "drill",
      "Prove the chain to the page. Without --inject nothing is broken: pre-flight, guards, records on disk, target, manager, and a page\n"
      "through every channel. With it a service marked for it (drill.marked) is really broken, and what follows is real: a rollback too,\n"
      "where automation is automatic. Exit code 49 where a link broke");
  command->add_option("service", o->service, "Name of the service")->required();
  command->add_option("--env,-e", o->environment, "Environment, when the service runs in several");
  command->add_option("--reason", o->reason, "Why; recorded");
  command
      ->add_option("--inject", o->inject,
                   "Break the running instance: crash (kill -9), 500 (POST to drill.fault_url), log (a critical line)")
      ->check(one_of({"crash", "500", "log"}));
  command->add_flag("--restore", o->restore, "After a drilled rollback deploy the release that was left again");
  command->add_flag("--wait", o->wait, "Wait for its end and show every link");
  command->add_option("--timeout", o->timeout, "How long to wait")->capture_default_str();
  command->callback([o, commands, &result] { result = drill(*o, commands); });
}

}  // namespace rollbackd::cli
