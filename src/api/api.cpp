#include "api/api.hpp"

#include <unistd.h>

#include <algorithm>
#include <tuple>

#include "api/answers.hpp"
#include "api/fleet_routes.hpp"
#include "api/query.hpp"
#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/json_request.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/fleet.hpp"
#include "engine/insight.hpp"
#include "io/clock.hpp"

namespace rollbackd::api {

namespace asio = boost::asio;
using io::ServerRequest;
using io::ServerResponse;

namespace {

constexpr Duration kSuspensionDefault = 4h;

ServerResponse answer(const Result<Json>& result) { return result ? json(*result) : failure(result.error()); }

ServerResponse text(std::string body, int status = 200) {
  ServerResponse response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

/// One service's readiness as a status and a line: 200 when a rollback could begin now, else 503 and why.
ServerResponse ready_of(const Result<Json>& rows) {
  if (!rows) return failure(rows.error());
  const Json& row = rows->elements().front();
  const bool ready = row["ready"].bool_or(false);
  return text((ready ? "ready: " : "not ready: ") + printable(row["why"].string_or("")) + "\n", ready ? 200 : 503);
}

std::string query_or(const ServerRequest& request, const std::string& key, const std::string& fallback = "") {
  const auto at = request.query.find(key);
  return at == request.query.end() ? fallback : at->second;
}

/// Who the caller is is known, but it is not enough.
ServerResponse forbidden(const std::string& who, Role has, Role needed) {
  const std::string role = to_string(needed);
  ServerResponse response =
      failure(Error(Errc::refused, who + " may not do this")
                  .because("it needs the role " + role + ", and theirs is " + to_string(has))
                  .try_next("use a token that has it; an admin makes one: rollbackctl token create NAME --role " + role));
  response.status = 403;
  return response;
}

constexpr std::string_view kWebhookPath = "/api/v1/alertmanager";
constexpr std::string_view kTokensPath = "/api/v1/tokens", kRevokePath = "/api/v1/tokens/revoke";

/// What a POST to `path` needs.
Role role_for(std::string_view path) { return path == "/-/reload" || path.starts_with(kTokensPath) ? Role::admin : Role::operator_; }

/// One change that may be asked for, with every field its body may have: texts, and flags that are true or false.
struct Change {
  std::string_view path;
  std::vector<std::string> texts, flags;
};
const std::vector<Change>& changes() {
  static const std::vector<Change> all{
      {"/api/v1/rollback",
       {"service", "environment", "group", "to", "reason", "lock"},
       {"emergency", "dry_run", "force", "lenient", "accept_data_loss"}},
      {"/api/v1/deploy", {"service", "environment", "release", "reason", "lock"}, {"force", "lenient"}},
      {"/api/v1/drill", {"service", "environment", "reason", "inject"}, {"restore"}},
      {"/api/v1/suspend", {"service", "environment", "reason", "duration"}, {}},
      {"/api/v1/resume", {"service", "environment", "reason"}, {}},
      {"/api/v1/acknowledge", {"service", "environment", "reason"}, {}},
      {"/api/v1/approve", {"service", "environment", "reason"}, {}},
      {"/api/v1/reject", {"service", "environment", "reason"}, {}},
      {"/api/v1/lock", {"service", "environment", "reason", "duration", "lock"}, {}},
      {"/api/v1/unlock", {"service", "environment", "reason", "lock"}, {"force"}},
      {"/api/v1/kill", {"reason"}, {}},
      {"/api/v1/kill/off", {"reason"}, {}},
      {"/api/v1/mark", {"service", "environment", "release", "standing", "reason"}, {}},
      {kTokensPath, {"name", "role", "reason"}, {}},
      {kRevokePath, {"name", "reason"}, {}},
  };
  return all;
}

/// The body of a change. A field that the change does not have, or one of another type, is an error: ignored, a misspelt "dry_run" would
/// make a rehearsal the real thing.
Result<Json> body_of(const ServerRequest& request, const Change& change) {
  if (trim(request.body).empty()) return Json::object();
  auto parsed = parse_request_json(request.body, 16);
  if (!parsed) return parsed.error();
  if (!parsed->is_object()) return Error(Errc::invalid_argument, "the body must be a JSON object");
  const auto among = [](const std::vector<std::string>& names, const std::string& key) {
    return std::find(names.begin(), names.end(), key) != names.end();
  };
  for (const auto& [key, value] : parsed->members()) {
    const bool is_text = among(change.texts, key), is_flag = among(change.flags, key);
    if (!is_text && !is_flag) {
      std::vector<std::string> known = change.texts;
      known.insert(known.end(), change.flags.begin(), change.flags.end());
      const std::string near = nearest(key, known);
      return Error(Errc::invalid_argument, "unknown field \"" + printable(cut(key, 64)) + "\"")
          .because(std::string(change.path) + " takes " + join(known, ", "))
          .try_next(near.empty() ? "" : "did you mean \"" + near + "\"?");
    }
    if (is_text && !value.is_string()) return Error(Errc::invalid_argument, "\"" + key + "\" must be a text");
    if (is_flag && !value.is_bool()) return Error(Errc::invalid_argument, "\"" + key + "\" must be true or false");
  }
  return *parsed;
}

}  // namespace

metrics::Standing standing_of(const engine::Engine& engine) {
  metrics::Standing out;
  for (auto& numbers : engine.numbers()) {
    metrics::Standing::Service service;
    service.key = numbers.service;
    service.ready = numbers.ready;
    service.ready_word = numbers.ready_word;
    service.ready_checks = std::move(numbers.ready_checks);
    service.drilled = numbers.drilled;
    service.hook_points = numbers.hook_points;
    service.deadline_standard = numbers.deadline_standard;
    service.deadline_emergency = numbers.deadline_emergency;
    service.incident_open = numbers.incident_open;
    service.held = numbers.held;
    service.suspended = numbers.suspended;
    service.live = numbers.live;
    service.releases = std::move(numbers.releases);
    service.blind_rules = numbers.blind_rules;
    service.blind_rule_names = std::move(numbers.blind_rule_names);
    for (auto& check : numbers.checks)
      service.checks.push_back({check.name, check.type, check.ok, check.failed, check.unobserved, check.late, check.healthy});
    out.services.push_back(std::move(service));
  }
  out.judge = engine.judge().counters();
  std::tie(out.alerts_pending, out.alerts_firing) = engine.judge().alert_counts();
  out.store = engine.judge().store().counters();
  out.series = engine.judge().store().series_count();
  out.outbox = engine.outbox_counters();
  out.history_dropped = engine.history().dropped();
  out.history_ok = engine.history().trouble().empty();
  out.audit = engine.audit_counters();
  out.reloads_ok = engine.reloads_ok;
  out.reloads_failed = engine.reloads_failed;
  out.last_reload_ok = engine.last_reload_error.empty();
  out.reactor_lag_seconds = engine.reactor_lag_seconds();
  out.kill_switch = engine.fleet().kill_switch_on();
  out.breaker_open = engine.fleet().breaker_open();
  return out;
}

Api::Api(engine::Engine& engine, metrics::Exporter& exporter, Reload reload, Tokens tokens, QueryLimits queries)
    : engine_(engine), exporter_(exporter), reload_(std::move(reload)), tokens_(std::move(tokens)), prometheus_(engine, queries) {}

Result<Api::Principal> Api::principal_of(const ServerRequest& request) const {
  if (request.peer) {
    if (request.peer->uid == 0 || request.peer->uid == static_cast<int>(::geteuid()))
      return Principal{"uid:" + std::to_string(request.peer->uid), Role::admin};
    return Error(Errc::unauthorized, "this user may not change anything")
        .because("uid " + std::to_string(request.peer->uid) + " is neither root nor the daemon's own")
        .try_next("run the command as root");
  }
  const auto header = request.headers.find("authorization");
  constexpr std::string_view kBearer = "Bearer ";
  if (header == request.headers.end() || !header->second.starts_with(kBearer))
    return Error(Errc::unauthorized, "a change over TCP needs a token")
        .because("there is no \"Authorization: Bearer ...\" header")
        .try_next("use the unix socket, or --token-file");
  if (const Token* token = find_token(tokens_, std::string_view(header->second).substr(kBearer.size())))
    return Principal{"token:" + token->name, token->role};
  return Error(Errc::unauthorized, "the token is not known");
}

asio::awaitable<ServerResponse> Api::handle(ServerRequest request) {
  say_by_body(request);
  const bool reads = request.method == "GET" || request.method == "HEAD" || request.method == "POST";
  if (reads && prometheus_.serves(request)) co_return co_await prometheus_.handle(std::move(request));
  if (request.method == "GET" || request.method == "HEAD") co_return co_await read(std::move(request));
  if (request.method != "POST") {
    ServerResponse refusal = failure(Error(Errc::unsupported, "the method is not allowed").try_next("use GET to read, POST to change"));
    refusal.status = 405;
    refusal.headers["Allow"] = "GET, HEAD, POST";
    co_return refusal;
  }
  co_return co_await change(std::move(request));
}

asio::awaitable<ServerResponse> Api::change(ServerRequest request) {
  auto principal = principal_of(request);
  if (!principal) {
    ServerResponse refusal = failure(principal.error());
    note(request, refusal, "");
    co_return refusal;
  }
  const std::string name = principal->name;
  const Role needed = role_for(request.path);
  if (principal->role < needed) {
    ServerResponse refusal = forbidden(name, principal->role, needed);
    note(request, refusal, name);
    co_return refusal;
  }
  // Not a change of a person's: what it leads to is recorded as rollbackd's own, with the alert as its trigger.
  if (request.path == kWebhookPath) co_return co_await take_alerts(std::move(request), name);
  ServerResponse response = co_await mutate(request, name);
  note(request, response, name);
  co_return response;
}

void Api::note(const ServerRequest& request, const ServerResponse& response, const std::string& principal) {
  auto entry = audit_entry_of(request, response, principal);
  if (!entry) return;
  // Who asks for nothing that could be done is not let fill the disk either.
  const bool at_the_door = response.status == 400 || response.status == 401 || response.status == 403 || response.status == 404;
  if (at_the_door && !refusals_.take(*entry, io::Clock::wall_now())) return;
  engine_.audit(std::move(*entry));
}

asio::awaitable<ServerResponse> Api::read(ServerRequest request) {
  const std::string& path = request.path;
  const engine::ServiceSelector selector{query_or(request, "service"), query_or(request, "environment")};
  if (path == "/metrics") {
    metrics::Standing standing = standing_of(engine_);
    standing.alerts_received = received_;
    const QueryCounters& asked = queries();
    standing.queries = {asked.instant, asked.range, asked.failed, asked.limited, asked.refused, asked.abandoned};
    ServerResponse response = text(exporter_.text(standing));
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    co_return response;
  }
  if (path == "/-/healthy") co_return text("rollbackd is healthy\n");
  if (path == "/-/ready" && !selector.name.empty()) co_return ready_of(engine_.insight().ready(selector));
  if (path == "/-/ready" && engine_.started() && engine_.fleet().kill_switch_on())
    co_return text("rollbackd is ready; the kill switch is on: " + engine_.fleet().kill_switch().why() + "\n");
  if (path == "/-/ready") co_return engine_.started() ? text("rollbackd is ready\n") : text("rollbackd is starting\n", 503);
  if (path == "/api/v1/status") co_return json(engine_.status());
  if (path == "/api/v1/services") {
    if (selector.name.empty()) co_return json(engine_.status()["services"]);
    co_return answer(engine_.service(selector));
  }
  if (path == kTokensPath) {  // Who may change what is not for everybody's eyes.
    const auto principal = principal_of(request);
    if (!principal) co_return failure(principal.error());
    if (principal->role < Role::admin) co_return forbidden(principal->name, principal->role, Role::admin);
    co_return json(Json::object().set("tokens", tokens_json(tokens_)));
  }
  if (path == "/api/v1/releases") co_return answer(engine_.releases(selector));
  if (path == "/api/v1/explain") co_return answer(engine_.explain(selector));
  if (path == "/api/v1/evidence")
    co_return answer(co_await engine_.insight().evidence(selector, query_or(request, "operation"), query_or(request, "incident")));
  if (path == "/api/v1/ready") co_return answer(engine_.insight().ready(selector));
  if (path == "/api/v1/alerts") {
    const std::string own = co_await prometheus_.alerts();
    const Json passed(Json::Array(passed_by_.begin(), passed_by_.end()));
    ServerResponse response;
    response.body = R"({"status":"success","data":{"alerts":)" + own + R"(,"pushed":)" + engine_.pushed().dump();
    response.body += R"(,"passed_by":)" + passed.dump() + "}}\n";
    co_return response;
  }
  if (path == "/api/v1/groups") co_return json(engine_.fleet().groups());
  constexpr std::string_view kGroup = "/api/v1/groups/";
  if (path.starts_with(kGroup)) co_return answer(engine_.fleet().group_run(path.substr(kGroup.size())));
  constexpr std::string_view kOperation = "/api/v1/operations/";
  if (path.starts_with(kOperation)) co_return answer(co_await engine_.operation(path.substr(kOperation.size())));
  if (path == "/api/v1/audit") {
    auto filter = audit_filter_of(request, io::Clock::wall_now());
    if (!filter) co_return failure(filter.error());
    co_return answer(co_await engine_.audit_entries(*filter));
  }
  if (path == "/api/v1/operations" || path == "/api/v1/decisions" || path == "/api/v1/deployments" || path == "/api/v1/stats") {
    const Rows rows = path == "/api/v1/operations"  ? Rows::operations
                      : path == "/api/v1/decisions" ? Rows::decisions
                      : path == "/api/v1/stats"     ? Rows::stats
                                                    : Rows::deployments;
    auto filter = history_filter_of(request, rows, io::Clock::wall_now());
    if (!filter) co_return failure(filter.error());
    if (rows == Rows::operations) co_return answer(co_await engine_.operations(*filter));
    if (rows == Rows::decisions) co_return answer(co_await engine_.decisions(*filter));
    if (rows == Rows::stats) co_return answer(co_await engine_.stats(*filter));
    co_return answer(co_await engine_.deployments(*filter));
  }
  co_return failure(Error(Errc::not_found, "there is nothing at " + printable(cut(path, 128)))
                        .try_next("see /api/v1/status, /metrics, /-/healthy and /-/ready"));
}

asio::awaitable<ServerResponse> Api::mutate(ServerRequest request, std::string principal) {
  const std::string& path = request.path;
  if (path == "/-/reload") {
    auto done = co_await reload_();
    if (!done) co_return failure(done.error());
    co_return json(Json::object().set("message", "the configuration was taken"));
  }
  const auto change = std::find_if(changes().begin(), changes().end(), [&](const Change& c) { return c.path == path; });
  if (change == changes().end()) co_return failure(Error(Errc::not_found, "there is nothing to change at " + printable(cut(path, 128))));
  auto body = body_of(request, *change);
  if (!body) co_return failure(body.error());
  if (path.starts_with(kTokensPath)) co_return co_await change_tokens(std::move(request), std::move(*body));
  const Json& b = *body;
  const engine::ServiceSelector selector{b["service"].string_or(""), b["environment"].string_or("")};
  const std::string reason = b["reason"].string_or("");
  auto of_fleet = co_await fleet_change(engine_, path, b, principal);
  if (of_fleet) co_return std::move(*of_fleet);
  if (path == "/api/v1/rollback") {
    engine::RollbackCommand command;
    command.service = selector;
    command.to = b["to"].string_or("");
    command.reason = reason;
    command.principal = principal;
    command.emergency = b["emergency"].bool_or(false);
    command.dry_run = b["dry_run"].bool_or(false);
    command.force = b["force"].bool_or(false);
    command.lenient = b["lenient"].bool_or(false);
    command.accept_data_loss = b["accept_data_loss"].bool_or(false);
    command.lock = b["lock"].string_or("");
    co_return command_response(co_await engine_.rollback(std::move(command)));
  }
  if (path == "/api/v1/deploy") {
    engine::DeployCommand command;
    command.service = selector;
    command.release = b["release"].string_or("");
    command.reason = reason;
    command.principal = principal;
    command.force = b["force"].bool_or(false);
    command.lenient = b["lenient"].bool_or(false);
    command.lock = b["lock"].string_or("");
    co_return command_response(co_await engine_.deploy(std::move(command)));
  }
  if (path == "/api/v1/drill") {
    engine::DrillCommand command;
    command.service = selector;
    command.reason = reason;
    command.principal = principal;
    command.inject = b["inject"].string_or("");
    command.restore = b["restore"].bool_or(false);
    co_return command_response(co_await engine_.insight().drill(std::move(command)));
  }
  if (path == "/api/v1/suspend") {
    Duration length = kSuspensionDefault;
    if (b.has("duration")) {
      auto parsed = parse_duration(b["duration"].string_or(""));
      if (!parsed) co_return failure(parsed.error());
      length = *parsed;
    }
    auto done = engine_.suspend(selector, length, reason, principal);
    co_return co_await once_on_disk(std::move(done), selector);
  }
  if (path == "/api/v1/resume") {
    auto done = engine_.unsuspend(selector, principal);
    co_return co_await once_on_disk(std::move(done), selector);
  }
  if (path == "/api/v1/acknowledge") {
    auto done = engine_.acknowledge(selector, principal);
    co_return co_await once_on_disk(std::move(done), selector);
  }
  const auto standing = standing_from(b["standing"].string_or(""));
  if (!standing) co_return failure(Error(Errc::invalid_argument, "standing must be candidate, good, bad, revoked or unknown"));
  auto done = engine_.mark(selector, b["release"].string_or(""), *standing, reason, principal);
  co_return co_await once_on_disk(std::move(done), selector);
}

/// Creates or revokes a token: the file first, then it is in force. The secret is in this one answer and nowhere else.
asio::awaitable<ServerResponse> Api::change_tokens(ServerRequest request, Json body) {
  const std::string name = body["name"].string_or("");
  const std::string file = engine_.settings().token_file;
  const bool revokes = request.path == kRevokePath;
  const auto role = role_from(body["role"].string_or(""));
  if (!is_name(name)) co_return failure(Error(Errc::invalid_argument, "a token needs a name").because("[A-Za-z0-9][A-Za-z0-9._-]{0,63}"));
  if (!revokes && !role) co_return failure(Error(Errc::invalid_argument, "role must be viewer, operator or admin"));
  if (file.empty()) co_return failure(Error(Errc::unavailable, "there is no token file").try_next("set token_file in the configuration"));
  if (changing_tokens_) co_return failure(Error(Errc::conflict, "the tokens are being changed right now").try_next("ask again"));
  Result<std::string> secret = revokes ? Result<std::string>(std::string()) : new_secret();
  if (!secret) co_return failure(secret.error());
  Token token{name, role.value_or(Role::viewer), format_rfc3339(io::Clock::wall_now())};
  std::function<Result<Tokens>()> work;
  if (revokes) {
    work = [file, name] { return remove_token(file, name); };
  } else {
    work = [file, token, hash = sha256_hex(*secret)] { return add_token(file, token, hash); };
  }
  changing_tokens_ = true;
  auto changed = co_await files_.run(std::move(work));
  changing_tokens_ = false;
  if (!changed) co_return failure(changed.error());
  tokens_ = std::move(*changed);
  log::info(revokes ? "a token was revoked" : "a token was created", {{"name", name}});
  Json answer_ = Json::object().set("name", name);
  if (revokes) {
    answer_.set("message", "token " + name + " is revoked");
  } else {
    answer_.set("role", to_string(token.role)).set("created", token.created).set("token", *secret);
    answer_.set("message", "token " + name + " is in force; its secret is shown this once");
  }
  co_return json(answer_);
}

/// Answers a change once it would survive our end: who was told "suspended" relies on it.
asio::awaitable<ServerResponse> Api::once_on_disk(Result<Json> done, engine::ServiceSelector selector) {
  if (!done) co_return failure(done.error());
  auto written = co_await engine_.on_disk(selector);
  if (!written) co_return failure(written.error());
  co_return answer(done);
}

}  // namespace rollbackd::api
