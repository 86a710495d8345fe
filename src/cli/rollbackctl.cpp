#include "cli/rollbackctl.hpp"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "base/ids.hpp"
#include "base/text.hpp"
#include "base/time.hpp"
#include "cli/check_rules.hpp"
#include "cli/client.hpp"
#include "cli/deploy_lock.hpp"
#include "cli/drill.hpp"
#include "cli/explain.hpp"
#include "cli/fleet.hpp"
#include "cli/generate.hpp"
#include "cli/init.hpp"
#include "cli/insight.hpp"
#include "cli/load.hpp"
#include "cli/one_of.hpp"
#include "cli/query.hpp"
#include "cli/render.hpp"
#include "cli/replay.hpp"
#include "cli/test_rules.hpp"
#include "cli/token.hpp"
#include "cli/usage.hpp"
#include "engine/commands.hpp"

namespace rollbackd::cli {

namespace {

using engine::ExitCode;

constexpr Duration kPoll = 100ms;

int code(ExitCode c) { return static_cast<int>(c); }

/// What all commands share, as CLI11 fills it in.
struct Options {
  std::string url = "unix:/var/lib/rollbackd/rollbackd.sock";
  std::string token_file, format = "table", config = "/etc/rollbackd/rollbackd.json";
  std::string service, environment, release, to, reason, standing, duration, rules_directory, wait_timeout = "15m", group, lock;
  std::vector<std::string> files;
  std::vector<std::string> command;  ///< what followed "--"
  bool take_lock = false, verdict = true;
  bool emergency = false, dry_run = false, force = false, lenient = false, wait = false, all = false, accept_data_loss = false;
};

int fail(const Error& error, ExitCode exit_code = ExitCode::other) {
  std::fprintf(stderr, "rollbackctl: %s\n", printable(error.what).c_str());
  if (!error.why.empty()) std::fprintf(stderr, "  why: %s\n", printable(error.why).c_str());
  if (!error.next_step.empty()) std::fprintf(stderr, "  next: %s\n", printable(error.next_step).c_str());
  return code(error.code == Errc::unavailable ? ExitCode::unreachable : exit_code);
}

Result<Client> connect(const Options& options) {
  std::string token;
  if (!options.token_file.empty()) {
    auto text = read_file(options.token_file, 4096);
    if (!text) return text.error();
    token = std::string(trim(*text));
  }
  return Client::open(options.url, token);
}

void print(const Options& options, const Json& json, const std::function<std::string(const Json&)>& table) {
  const std::string text = options.format == "json" ? json.pretty() + "\n" : table(json);
  std::fputs(text.c_str(), stdout);
}

/// Shows an error answer. The commands with exit codes of their own answer with them; everything else is "other".
int print_error(const Options& options, const Answer& answer) {
  if (options.format == "json") {
    std::fprintf(stdout, "%s\n", answer.body.pretty().c_str());
  } else {
    std::fputs(render_error(answer.body).c_str(), stderr);
  }
  return code(ExitCode::other);
}

int show(const Options& options, const std::string& path, const std::map<std::string, std::string>& query,
         const std::function<std::string(const Json&)>& table) {
  auto client = connect(options);
  if (!client) return fail(client.error());
  auto answer = client->get(path, query);
  if (!answer) return fail(answer.error());
  if (answer->status != 200) return print_error(options, *answer);
  print(options, answer->body, table);
  return 0;
}

/// Exit 0: a rollback of each could begin now; 47: of one at least it could not.
int show_ready(const Options& options) {
  auto client = connect(options);
  if (!client) return fail(client.error());
  std::map<std::string, std::string> query;
  if (!options.service.empty()) query = {{"service", options.service}, {"environment", options.environment}};
  auto answer = client->get("/api/v1/ready", query);
  if (!answer) return fail(answer.error());
  if (answer->status != 200) return print_error(options, *answer);
  const bool one = !options.service.empty();
  print(options, answer->body, [one](const Json& rows) { return one ? render_preflight(rows.elements().front()) : render_ready(rows); });
  for (const Json& row : answer->body.elements())
    if (!row["ready"].bool_or(false)) return code(ExitCode::dry_run_problem);
  return 0;
}

/// What completion offers: one word a line. Names only, because a shell reads them; and silent, because a person is typing.
int words(const Options& options, const std::string& kind) {
  auto client = connect(options);
  if (!client) return code(ExitCode::unreachable);
  const bool releases = kind == "releases";
  auto answer = releases ? client->get("/api/v1/releases", {{"service", options.service}}) : client->get("/api/v1/status");
  if (!answer) return code(ExitCode::unreachable);
  const std::string key = releases ? "release" : kind == "environments" ? "environment" : "service";
  for (const Json& row : answer->body[releases ? "releases" : "services"].elements())
    if (const std::string word = row[key].string_or(""); is_name(word) || is_release_id(word)) std::printf("%s\n", word.c_str());
  return 0;
}

/// A mutation without an operation of its own: suspend, resume, mark, reload.
int change(const Options& options, const std::string& path, const Json& body) {
  auto client = connect(options);
  if (!client) return fail(client.error());
  auto answer = client->post(path, body);
  if (!answer) return fail(answer.error());
  if (answer->status != 200) return print_error(options, *answer);
  print(options, answer->body, [](const Json& j) { return j["message"].string_or("") + "\n"; });
  return 0;
}

/// Asks for a missing --reason, but only where a person sits.
bool need_reason(Options& options) {
  if (!trim(options.reason).empty()) return true;
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDERR_FILENO) == 0) {
    fail(Error(Errc::invalid_argument, "a reason is needed").try_next("add --reason \"...\""));
    return false;
  }
  std::fputs("Reason: ", stderr);
  std::getline(std::cin, options.reason);
  if (!trim(options.reason).empty()) return true;
  fail(Error(Errc::invalid_argument, "a reason is needed"));
  return false;
}

/// Waits for an operation to end, showing its status on a terminal. Polls: the history is what remembers it.
Result<Json> wait_for_operation(Client& client, const std::string& id, std::chrono::steady_clock::time_point until) {
  std::string shown;
  while (std::chrono::steady_clock::now() < until) {
    auto answer = client.get("/api/v1/operations/" + id);
    if (!answer) return answer.error();
    // A row appears a moment after the operation was accepted.
    const std::string status = answer->status == 200 ? answer->body["status"].string_or("") : "";
    if (!status.empty() && status != shown && ::isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "%s\n", status.c_str());
    shown = status;
    const auto known = operation_status_from(status);
    if (known && is_terminal(*known)) return answer->body;
    std::this_thread::sleep_for(kPoll);  // NOLINT: polling a daemon over HTTP, there is no event to wait for
  }
  return Error(Errc::timed_out, "the operation did not end in time").because("operation " + id).try_next("look with: rollbackctl history");
}

/// Waits until a deployed release is judged: good, rolled back, or held.
int wait_for_verdict(const Options& options, Client& client, const std::string& release, std::chrono::steady_clock::time_point until) {
  while (std::chrono::steady_clock::now() < until) {
    auto row = client.get("/api/v1/services", {{"service", options.service}, {"environment", options.environment}});
    if (!row) return fail(row.error());
    auto ledger = client.get("/api/v1/releases", {{"service", options.service}, {"environment", options.environment}});
    if (!ledger) return fail(ledger.error());
    std::string standing;
    for (const Json& r : ledger->body["releases"].elements())
      if (r["release"].string_or("") == release) standing = r["standing"].string_or("");
    const bool live = row->body["release"].string_or("") == release;
    if (live && standing == "good") {
      std::printf("%s is good\n", release.c_str());
      return 0;
    }
    if (!live && row->body["phase"].string_or("") != "operating") {
      std::printf("%s was rolled back: %s runs\n", release.c_str(), row->body["release"].string_or("").c_str());
      return code(ExitCode::deployment_rolled_back);
    }
    if (row->body["phase"].string_or("") == "awaiting approval") {
      std::printf("awaiting approval: %s\n", printable(row->body["decision"]["reason"].string_or("")).c_str());
      return code(ExitCode::awaiting_approval);
    }
    if (row->body["phase"].string_or("") == "held") {
      std::printf("held: %s\n", printable(row->body["decision"]["reason"].string_or("")).c_str());
      return code(ExitCode::held);
    }
    std::this_thread::sleep_for(kPoll);  // NOLINT: polling a daemon over HTTP
  }
  std::printf("%s is not decided yet\n", release.c_str());
  return code(ExitCode::not_decided);
}

int start_operation(Options& options, const std::string& path, Json body, OperationKind kind) {
  auto timeout = parse_duration(options.wait_timeout);
  if (!timeout) return fail(timeout.error());
  const auto until = std::chrono::steady_clock::now() + *timeout;
  auto client = connect(options);
  if (!client) return fail(client.error());
  auto answer = client->post(path, body);
  if (!answer) return fail(answer.error());
  if (!answer->body.has("exit_code")) return print_error(options, *answer);
  const int accepted = static_cast<int>(answer->body["exit_code"].int_or(1));
  const std::string id = answer->body["operation"].string_or("");
  if (body.has("group")) {
    const std::string run = answer->body["group_run"].string_or("");
    if (accepted != 0 || !options.wait || run.empty()) {
      print(options, answer->body, render_group);
      return accepted;
    }
    auto ended = wait_for_group(*client, run, until);
    if (!ended) return fail(ended.error(), ExitCode::outcome_unknown);
    print(options, *ended, render_group);
    return static_cast<int>((*ended)["exit_code"].int_or(1));
  }
  if (accepted != 0 || !options.wait || id.empty()) {
    print(options, answer->body, render_command);
    return accepted;
  }
  auto ended = wait_for_operation(*client, id, until);
  if (!ended) return fail(ended.error(), ExitCode::outcome_unknown);
  print(options, *ended, [](const Json& row) { return render_operations(Json(Json::Array{row})); });
  const auto status = operation_status_from((*ended)["status"].string_or("")).value_or(OperationStatus::unknown);
  const ExitCode outcome = engine::exit_code_of(kind, status);
  if (kind == OperationKind::deploy && outcome == ExitCode::success && options.verdict)
    return wait_for_verdict(options, *client, options.release, until);
  return code(outcome);
}

/// `deploy --lock`: our own deployment, or somebody's command, under the service's lock. It is given back before the verdict is waited for.
int deploy_under_lock(Options& options, Json body, const InsightCommands& commands) {
  LockedCommand locked;
  auto length = parse_duration(options.duration.empty() ? "1h" : options.duration);
  if (!length) return fail(length.error());
  if (*length < 2s) return fail(Error(Errc::invalid_argument, "a lock is for two seconds at least"));
  auto timeout = parse_duration(options.wait_timeout);
  if (!timeout) return fail(timeout.error());
  locked.service = options.service;
  locked.environment = options.environment;
  locked.reason = options.reason;
  locked.length = *length;
  locked.command = options.command;
  const bool wants_verdict = options.wait;
  locked.work = [&options, &body](const std::string& lock) {
    options.wait = true;
    options.verdict = false;
    return start_operation(options, "/api/v1/deploy", body.set("lock", lock), OperationKind::deploy);
  };
  if (wants_verdict)
    locked.verdict = [&options, timeout](Client& client) {
      if (options.release.empty()) {  // The command has put something there: what runs now is judged.
        auto row = client.get("/api/v1/services", {{"service", options.service}, {"environment", options.environment}});
        if (!row) return fail(row.error());
        options.release = row->body["release"].string_or("");
      }
      return wait_for_verdict(options, client, options.release, std::chrono::steady_clock::now() + *timeout);
    };
  return run_locked(std::move(locked), commands);
}

int check_config(const Options& options) {
  const std::string path = options.files.empty() ? options.config : options.files.front();
  const std::string directory = options.rules_directory.empty() ? default_rules_directory() : options.rules_directory;
  const Configuration configuration = load_configuration(path, directory);
  std::size_t rules = 0;
  for (const auto& group : configuration.groups) rules += group.rules.size();
  return print_problems(configuration.problems, configuration.loaded.settings.services.size(), rules, options.format == "json");
}

int show_config(const Options& options) {
  const std::string directory = options.rules_directory.empty() ? default_rules_directory() : options.rules_directory;
  const Configuration configuration = load_configuration(options.config, directory);
  for (const auto& problem : configuration.problems) std::fprintf(stderr, "%s\n", printable(problem.text()).c_str());
  const auto origin_text = [](const config::Origin& o) {
    return o.file.empty() ? std::string("default") : o.file + ":" + std::to_string(o.line);
  };
  if (options.format == "json") {
    Json rows = Json::array();
    for (const auto& shown : configuration.loaded.shown)
      rows.push(Json::object().set("setting", shown.path).set("value", shown.value).set("origin", origin_text(shown.origin)));
    std::printf("%s\n", rows.pretty().c_str());
  } else {
    Table table({"SETTING", "VALUE", "FROM"});
    for (const auto& shown : configuration.loaded.shown) table.row({shown.path, shown.value, origin_text(shown.origin)});
    std::fputs(table.text().c_str(), stdout);
  }
  return configuration.ok() ? 0 : 1;
}

/// True when exactly one of a service and --all was given; says so otherwise.
bool one_or_all(const Options& options) {
  if (options.service.empty() == options.all) return true;
  fail(Error(Errc::invalid_argument, "name a service, or --all").try_next("rollbackctl status lists the services"));
  return false;
}

Json service_body(const Options& options) {
  Json body = Json::object();
  body.set("service", options.all ? "*" : options.service);
  if (!options.environment.empty()) body.set("environment", options.environment);
  return body;
}

Json with_reason(Json body, const Options& options) {
  if (!options.reason.empty()) body.set("reason", options.reason);
  return body;
}

void add_service(CLI::App* app, Options& o, bool required) {
  auto* service = app->add_option("service", o.service, "Name of the service");
  if (required) service->required();
  app->add_option("--env,-e", o.environment, "Environment, when the service runs in several");
}

}  // namespace

int rollbackctl(int argc, char** argv) {
  Options o;
  if (const char* url = std::getenv("ROLLBACKD_URL")) o.url = url;  // NOLINT(concurrency-mt-unsafe): one thread
  // What follows "--" is somebody else's command line: it must not fill our own places.
  for (int i = 1; i < argc && o.command.empty(); ++i) {
    const bool deploys = std::find(argv + 1, argv + i, std::string_view("deploy")) != argv + i;
    if (std::string_view(argv[i]) != "--" || !deploys) continue;
    o.command.assign(argv + i + 1, argv + argc);
    argc = i;
  }
  CLI::App app(
      "rollbackctl asks rollbackd how services stand, and tells it what to do.\n"
      "Exit codes: 0 success, 1 usage or other, 2 verification failed, 3 daemon unreachable, 4 awaiting approval, 5 outcome unknown, 40 "
      "version not found,\n"
      "41 refused by a guard, 43 step failed, 46 already there, 47 dry run found a problem or not ready, 50 deployment rolled back, 51 "
      "held, 52 not "
      "decided.",
      "rollbackctl");
  app.set_version_flag("--version", std::string("rollbackctl ") + ROLLBACKD_VERSION);
  app.add_option("--url", o.url, "The daemon: http://HOST:PORT or unix:PATH (environment: ROLLBACKD_URL)")->capture_default_str();
  app.add_option("--token-file", o.token_file, "File with a token, for changes over TCP");
  app.add_option("--format", o.format, "table or json")->check(one_of({"table", "json"}))->capture_default_str();
  app.require_subcommand(1);
  app.fallthrough();
  int result = 0;

  auto* status = app.add_subcommand("status", "How every service stands; the first column says whether it is protected");
  status->callback([&] { result = show(o, "/api/v1/status", {}, render_status); });

  auto* ready = app.add_subcommand("ready",
                                   "Whether each service could be rolled back now, and why not; of one service every check with its\n"
                                   "evidence. Exit code 47 when one could not");
  add_service(ready, o, false);
  ready->callback([&] { result = show_ready(o); });

  auto* releases = app.add_subcommand("releases", "The ledger of a service: its releases and their standing");
  add_service(releases, o, true);
  releases->callback([&] {
    result = show(o, "/api/v1/releases", {{"service", o.service}, {"environment", o.environment}}, render_releases);
  });

  const InsightCommands insight{[&] { return connect(o); }, [&] { return o.format == "json"; }, [](const Error& e) { return fail(e); }};
  add_explain_command(app, insight, result);
  add_drill_command(app, insight, result);
  add_history_command(app, insight, result);
  add_stats_command(app, insight, result);
  add_audit_commands(app, insight, result);

  auto* rollback = app.add_subcommand("rollback", "Put a release back");
  add_service(rollback, o, false);
  rollback->add_option("--group", o.group, "A group's services instead, in its order; one that may not keeps all from it");
  rollback->add_option("--to", o.to, "Release to go to; default: the newest good one before the live one");
  rollback->add_option("--reason", o.reason, "Why; recorded");
  rollback->add_flag("--emergency", o.emergency, "The short deadline");
  rollback->add_flag("--dry-run", o.dry_run, "Show the steps and what every guard says; change nothing");
  rollback->add_flag("--force", o.force, "Pass over the guards that a person may");
  rollback->add_flag("--lenient", o.lenient, "Pass over windows, locks and dependencies");
  rollback->add_flag("--accept-data-loss", o.accept_data_loss, "Go back though the release says that its data cannot");
  rollback->add_option("--lock-id", o.lock, "The deployment lock that you hold");
  rollback->add_flag("--wait", o.wait, "Wait until it has ended; the exit code tells how");
  rollback->add_option("--timeout", o.wait_timeout, "How long to wait")->capture_default_str();
  rollback->callback([&] {
    if (o.service.empty() == o.group.empty()) {
      result = fail(Error(Errc::invalid_argument, "name a service, or --group").try_next("rollbackctl status lists the services"));
      return;
    }
    if (!need_reason(o)) {
      result = 1;
      return;
    }
    Json body = o.group.empty() ? service_body(o) : Json::object().set("group", o.group);
    body.set("accept_data_loss", o.accept_data_loss);
    if (!o.lock.empty()) body.set("lock", o.lock);
    body.set("reason", o.reason).set("emergency", o.emergency).set("dry_run", o.dry_run).set("force", o.force).set("lenient", o.lenient);
    if (!o.to.empty()) body.set("to", o.to);
    result = start_operation(o, "/api/v1/rollback", std::move(body), OperationKind::rollback);
  });

  auto* deploy =
      app.add_subcommand("deploy",
                         "Switch to a release and watch it; with --wait until it is good, rolled back or held. Or, as\n"
                         "deploy --lock SERVICE --reason R -- COMMAND..., run your own tool under the deployment lock: its id is in\n"
                         "ROLLBACKD_LOCK, it is renewed meanwhile and given back at the end; the exit code is the command's");
  add_service(deploy, o, true);
  deploy->add_option("release", o.release, "Release id, a directory of the releases directory; not with a command");
  deploy->add_option("--reason", o.reason, "Why; recorded");
  deploy->add_flag("--force", o.force, "Deploy it though it is marked bad");
  deploy->add_flag("--lenient", o.lenient, "Pass over windows, others' locks and dependencies");
  deploy->add_option("--lock-id", o.lock, "The deployment lock that you hold");
  deploy->add_flag("--wait", o.wait, "Wait for the verdict");
  deploy->add_option("--timeout", o.wait_timeout, "How long to wait")->capture_default_str();
  deploy->add_flag("--lock", o.take_lock, "Hold the deployment lock meanwhile: nobody else deploys, no automatic rollback begins");
  deploy->add_option("--for", o.duration, "How long the lock holds if we die; it is renewed at half of it")->default_str("1h");
  deploy->callback([&] {
    const bool others = !o.command.empty();
    if (others == !o.release.empty() || (others && !o.take_lock)) {
      result = fail(Error(Errc::invalid_argument, others ? "a command is run with --lock and without a release" : "name a release")
                        .try_next("rollbackctl deploy --lock SERVICE --reason ... -- COMMAND"));
      return;
    }
    if (o.take_lock && !need_reason(o)) {
      result = 1;
      return;
    }
    Json body = service_body(o);
    body.set("release", o.release).set("reason", o.reason).set("force", o.force).set("lenient", o.lenient);
    if (!o.lock.empty()) body.set("lock", o.lock);
    result = o.take_lock ? deploy_under_lock(o, std::move(body), insight)
                         : start_operation(o, "/api/v1/deploy", std::move(body), OperationKind::deploy);
  });

  auto* suspend = app.add_subcommand("suspend", "Tell rollbackd not to act on a service for a time");
  add_service(suspend, o, false);
  suspend->add_flag("--all", o.all, "Every service");
  suspend->add_option("--for", o.duration, "How long")->default_str("4h");
  suspend->add_option("--reason", o.reason, "Why; recorded");
  suspend->callback([&] {
    if (!one_or_all(o) || !need_reason(o)) {
      result = 1;
      return;
    }
    Json body = service_body(o);
    body.set("reason", o.reason);
    if (!o.duration.empty()) body.set("duration", o.duration);
    result = change(o, "/api/v1/suspend", body);
  });

  auto* resume = app.add_subcommand("resume", "Let rollbackd act on a service again");
  add_service(resume, o, false);
  resume->add_flag("--all", o.all, "Every service");
  resume->add_option("--reason", o.reason, "Why; recorded");
  resume->callback([&] { result = one_or_all(o) ? change(o, "/api/v1/resume", with_reason(service_body(o), o)) : 1; });

  auto* acknowledge = app.add_subcommand("acknowledge", "Close a service's open incident: a person has looked");
  add_service(acknowledge, o, true);
  acknowledge->add_option("--reason", o.reason, "Why; recorded");
  acknowledge->callback([&] { result = change(o, "/api/v1/acknowledge", with_reason(service_body(o), o)); });

  auto* mark = app.add_subcommand("mark", "Give a release a standing: rollbackctl mark good SERVICE RELEASE --reason ...");
  mark->add_option("standing", o.standing, "good, bad, revoked, candidate or unknown")
      ->required()
      ->check(one_of({"good", "bad", "revoked", "candidate", "unknown"}));
  add_service(mark, o, true);
  mark->add_option("release", o.release, "Release id")->required();
  mark->add_option("--reason", o.reason, "Why; recorded");
  mark->callback([&] {
    if (!need_reason(o)) {
      result = 1;
      return;
    }
    Json body = service_body(o);
    body.set("release", o.release).set("standing", o.standing).set("reason", o.reason);
    result = change(o, "/api/v1/mark", body);
  });

  auto* reload = app.add_subcommand("reload", "Let the daemon read its configuration again (the same as SIGHUP)");
  reload->add_option("--reason", o.reason, "Why; recorded");
  reload->callback([&] { result = change(o, "/-/reload", with_reason(Json::object(), o)); });

  add_fleet_commands(app, insight, result);
  add_token_commands(app, {[&] { return connect(o); }, [&] { return o.format == "json"; }, [](const Error& e) { return fail(e); }}, result);

  auto* check = app.add_subcommand("check", "Check files without a daemon");
  check->require_subcommand(1);
  auto* check_cfg = check->add_subcommand("config", "Configuration, services.d and rules: every error at once");
  check_cfg->add_option("file", o.files, "Main configuration file")->default_str(o.config);
  check_cfg->add_option("--rules-directory", o.rules_directory, "Where the shipped packs are");
  check_cfg->callback([&] { result = check_config(o); });
  add_check_rules_command(*check, insight, result);
  add_test_command(app, insight, result);
  add_replay_command(app, insight, result);
  add_query_command(app, insight, result);

  auto* config = app.add_subcommand("config", "The configuration");
  config->require_subcommand(1);
  auto* config_show = config->add_subcommand("show", "Every setting with its value and where it comes from");
  config_show->add_option("--config", o.config, "Main configuration file")->capture_default_str();
  config_show->add_option("--rules-directory", o.rules_directory, "Where the shipped packs are");
  config_show->callback([&] { result = show_config(o); });

  InitOptions init_options;
  auto* init =
      app.add_subcommand("init", "Write the configuration of a systemd unit: its release link, port, health page and log are looked for");
  init->add_option("unit", init_options.unit, "The unit, such as shop-api.service")->required();
  init->add_option("--env,-e", init_options.environment, "The service's environment")->capture_default_str();
  init->add_option("--output", init_options.output,
                   "File to write, or - for standard output; default: services.d/NAME.json beside --config");
  init->add_option("--config", init_options.config, "Main configuration file")->capture_default_str();
  init->add_flag("--force", init_options.force, "Replace a file that is there");
  init->callback([&] {
    auto written = cli::init(init_options);
    if (!written) result = fail(written.error());
  });

  std::string kind;
  auto* offered = app.add_subcommand("words", "What completion offers")->group("");
  offered->add_option("kind", kind)->required();
  offered->add_option("service", o.service);
  offered->callback([&] { result = words(o, kind); });
  app.add_option_function<std::string>(
         "--generate",
         [&](const std::string& what) {
           auto text = generate(app, what);
           if (!text) throw CLI::ValidationError("--generate", text.error().next_step);
           std::fputs(text->c_str(), stdout);
           throw CLI::Success();
         },
         "Completion and parts of the manual, for the build")
      ->trigger_on_parse()
      ->group("");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return end_of_parse(app, error);
  }
  return result;
}

}  // namespace rollbackd::cli
