#include "cli/fleet.hpp"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <thread>

#include "base/text.hpp"
#include "base/time.hpp"
#include "cli/render.hpp"

namespace rollbackd::cli {

namespace {

struct Asked {
  std::string service, environment, reason, duration, lock;
  bool off = false, force = false;
};

/// Asks for a missing reason where a person sits. @return false when there is none
bool need_reason(const InsightCommands& commands, std::string& reason) {
  if (!trim(reason).empty()) return true;
  if (::isatty(STDIN_FILENO) != 0 && ::isatty(STDERR_FILENO) != 0) {
    std::fputs("Reason: ", stderr);
    std::getline(std::cin, reason);
    if (!trim(reason).empty()) return true;
  }
  commands.fail(Error(Errc::invalid_argument, "a reason is needed").try_next("add --reason \"...\""));
  return false;
}

/// Posts a change and shows its message; the exit code is the answer's own where it has one.
int change(const InsightCommands& commands, const std::string& path, const Json& body, const char* words_key = nullptr) {
  auto client = commands.connect();
  if (!client) return commands.fail(client.error());
  auto answer = client->post(path, body);
  if (!answer) return commands.fail(answer.error());
  const bool own_code = answer->body.has("exit_code");
  if (!own_code && answer->status != 200) {
    if (commands.json()) {
      std::printf("%s\n", answer->body.pretty().c_str());
    } else {
      std::fputs(render_error(answer->body).c_str(), stderr);
    }
    return 1;
  }
  const int code = own_code ? static_cast<int>(answer->body["exit_code"].int_or(1)) : 0;
  if (commands.json()) {
    std::printf("%s\n", answer->body.pretty().c_str());
  } else if (code == 0 && words_key != nullptr && answer->body.has(words_key)) {
    // For scripts: ID=$(rollbackctl lock ...). What a person reads goes to the other stream.
    std::printf("%s\n", printable(answer->body[words_key].string_or("")).c_str());
    std::fprintf(stderr, "%s\n", printable(answer->body["message"].string_or("")).c_str());
  } else {
    std::fprintf(code == 0 ? stdout : stderr, "%s\n", printable(answer->body["message"].string_or("")).c_str());
  }
  return code;
}

Json body_of(const Asked& asked) {
  Json body = Json::object().set("service", asked.service);
  if (!asked.environment.empty()) body.set("environment", asked.environment);
  if (!asked.reason.empty()) body.set("reason", asked.reason);
  if (!asked.lock.empty()) body.set("lock", asked.lock);
  return body;
}

CLI::App* with_service(CLI::App* command, Asked& asked) {
  command->add_option("service", asked.service, "Name of the service")->required();
  command->add_option("--env,-e", asked.environment, "Environment, when the service runs in several");
  command->add_option("--reason", asked.reason, "Why; recorded");
  return command;
}

}  // namespace

void add_fleet_commands(CLI::App& app, const InsightCommands& commands, int& result) {
  const auto asked = std::make_shared<Asked>();
  auto* approve =
      with_service(app.add_subcommand("approve", "Say yes to the rollback that waits for it; it acts on fresh evidence"), *asked);
  approve->callback([asked, commands, &result] {
    result = need_reason(commands, asked->reason) ? change(commands, "/api/v1/approve", body_of(*asked)) : 1;
  });
  auto* reject = with_service(app.add_subcommand("reject", "Say no to the rollback that waits for approval; it is held"), *asked);
  reject->callback([asked, commands, &result] {
    result = need_reason(commands, asked->reason) ? change(commands, "/api/v1/reject", body_of(*asked)) : 1;
  });

  auto* kill = app.add_subcommand("kill", "Stop everything that rollbackd does, on every service, until --off");
  kill->add_flag("--off", asked->off, "Let it act again");
  kill->add_option("--reason", asked->reason, "Why; recorded");
  kill->callback([asked, commands, &result] {
    if (!need_reason(commands, asked->reason)) {
      result = 1;
    } else {
      result = change(commands, asked->off ? "/api/v1/kill/off" : "/api/v1/kill", Json::object().set("reason", asked->reason));
    }
  });

  auto* lock = with_service(
      app.add_subcommand("lock", "Keep others from deploying, and rollbackd from acting by itself; prints the lock's id"), *asked);
  lock->add_option("--for", asked->duration, "How long, at most 24h")->default_str("1h");
  lock->add_option("--id", asked->lock, "Hold this lock of yours for longer");
  lock->callback([asked, commands, &result] {
    if (!need_reason(commands, asked->reason)) {
      result = 1;
      return;
    }
    Json body = body_of(*asked);
    if (!asked->duration.empty()) body.set("duration", asked->duration);
    result = change(commands, "/api/v1/lock", body, "lock");
  });
  auto* unlock = with_service(app.add_subcommand("unlock", "Give a deployment lock back"), *asked);
  unlock->add_option("--id", asked->lock, "The lock's id, as `lock` printed it");
  unlock->add_flag("--force", asked->force, "Take it away from whoever holds it");
  unlock->callback([asked, commands, &result] { result = change(commands, "/api/v1/unlock", body_of(*asked).set("force", asked->force)); });
}

Result<Json> wait_for_group(Client& client, const std::string& run, std::chrono::steady_clock::time_point until) {
  constexpr Duration kPoll = 100ms;
  constexpr Duration kRestart = 30s;  ///< a daemon that is restarted goes on with the run
  auto heard = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() < until) {
    auto answer = client.get("/api/v1/groups/" + run);
    const auto now = std::chrono::steady_clock::now();
    if (!answer && now - heard > kRestart) return answer.error();
    if (answer) {
      heard = now;
      if (answer->status == 404)
        return Error(Errc::outcome_unknown, "the daemon does not know this run any more").try_next("look with: rollbackctl history");
      // Any other refusal is that of a daemon that is starting.
      if (answer->status == 200 && answer->body["status"].string_or("") != "running") return answer->body;
    }
    std::this_thread::sleep_for(kPoll);  // NOLINT: polling a daemon over HTTP, there is no event to wait for
  }
  return Error(Errc::timed_out, "the group's rollback did not end in time").try_next("look with: rollbackctl history");
}

std::string render_group(const Json& run) {
  Table table({"SERVICE", "FROM", "TO", "STATUS", "DETAIL"});
  for (const Json& row : run["members"].elements())
    table.row({row["service"].string_or("") + "/" + row["environment"].string_or(""), row["from"].string_or(""), row["to"].string_or(""),
               row["status"].string_or(row["allowed"].bool_or(false) ? "allowed" : "refused"),
               row["detail"].string_or(row["message"].string_or(""))});
  std::string text = table.text() + "\n" + printable(run["detail"].string_or(run["message"].string_or(""))) + "\n";
  for (const Json& line : run["next_steps"].elements()) text += "  " + printable(line.string_or("")) + "\n";
  return text;
}

}  // namespace rollbackd::cli
