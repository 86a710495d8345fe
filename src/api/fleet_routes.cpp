// Flow: person -> api -> [fleet_routes] -> engine/fleet. Answered once what was changed is on disk.
#include "api/fleet_routes.hpp"

#include <array>

#include "api/answers.hpp"
#include "base/ids.hpp"
#include "base/json_request.hpp"
#include "base/text.hpp"
#include "engine/fleet.hpp"

namespace rollbackd::api {

namespace asio = boost::asio;
using io::ServerRequest;
using io::ServerResponse;

ServerResponse command_response(const Result<engine::CommandAnswer>& result) {
  if (!result) return failure(result.error());
  Json body = result->body;
  body.set("exit_code", static_cast<int>(result->code)).set("operation", result->operation);
  const bool begun = !result->operation.empty() || body.has("group_run");
  const int status = result->code == engine::ExitCode::success             ? (begun ? 202 : 200)
                     : result->code == engine::ExitCode::version_not_found ? 404
                     : result->code == engine::ExitCode::already_on_target ? 200
                                                                           : 409;
  return json(body, status);
}

namespace {

/// Puts `value` under `key` into the body; one that is no object stays, and is refused later.
void put(ServerRequest& request, const char* key, const std::string& value) {
  constexpr int kDepthMax = 16;
  Json body = Json::object();
  if (!trim(request.body).empty()) {
    auto parsed = parse_request_json(request.body, kDepthMax);
    if (!parsed || !parsed->is_object()) return;
    body = std::move(*parsed);
  }
  request.body = body.set(key, value).dump();
}

/// "/api/v1/services/shop/lock" with "/api/v1/services/" gives {"shop", "lock"}.
std::optional<std::array<std::string, 2>> name_and_verb(const std::string& path, std::string_view under) {
  if (!path.starts_with(under)) return std::nullopt;
  const auto pieces = split(path.substr(under.size()), '/');
  if (pieces.size() != 2 || !is_name(pieces[0])) return std::nullopt;
  return std::array<std::string, 2>{pieces[0], pieces[1]};
}

asio::awaitable<ServerResponse> once_on_disk(engine::Engine& engine, ServerResponse response, engine::ServiceSelector selector) {
  constexpr int kRefusals = 300;
  if (response.status >= kRefusals) co_return response;
  auto written = co_await engine.on_disk(selector);
  if (!written) co_return failure(written.error());
  co_return response;
}

asio::awaitable<ServerResponse> lock(engine::Engine& engine, Json body, engine::ServiceSelector selector, std::string principal) {
  engine::LockCommand command;
  command.service = selector;
  command.reason = body["reason"].string_or("");
  command.principal = principal;
  command.id = body["lock"].string_or("");
  if (body.has("duration")) {
    auto parsed = parse_duration(body["duration"].string_or(""));
    if (!parsed) co_return failure(parsed.error());
    command.length = *parsed;
  }
  ServerResponse response = command_response(engine.fleet().lock(command));
  co_return co_await once_on_disk(engine, std::move(response), selector);
}

asio::awaitable<ServerResponse> unlock(engine::Engine& engine, Json body, engine::ServiceSelector selector, std::string principal) {
  engine::UnlockCommand command;
  command.service = selector;
  command.id = body["lock"].string_or("");
  command.reason = body["reason"].string_or("");
  command.principal = principal;
  command.force = body["force"].bool_or(false);
  ServerResponse response = command_response(engine.fleet().unlock(command));
  co_return co_await once_on_disk(engine, std::move(response), selector);
}

asio::awaitable<ServerResponse> rollback_group(engine::Engine& engine, Json body, std::string principal) {
  if (!body["service"].string_or("").empty() || !body["to"].string_or("").empty())
    co_return failure(Error(Errc::invalid_argument, "a group's services and targets are its own")
                          .because("\"service\" and \"to\" mean nothing beside \"group\""));
  engine::GroupCommand command;
  command.group = body["group"].string_or("");
  command.reason = body["reason"].string_or("");
  command.principal = principal;
  command.emergency = body["emergency"].bool_or(false);
  command.dry_run = body["dry_run"].bool_or(false);
  command.force = body["force"].bool_or(false);
  command.lenient = body["lenient"].bool_or(false);
  command.accept_data_loss = body["accept_data_loss"].bool_or(false);
  const auto result = co_await engine.fleet().rollback_group(std::move(command));
  co_return command_response(result);
}

}  // namespace

void say_by_body(ServerRequest& request) {
  const bool deletes = request.method == "DELETE";
  if (!deletes && request.method != "POST") return;
  if (deletes && request.path == "/api/v1/kill") {
    request.path = "/api/v1/kill/off";
    request.method = "POST";
    return;
  }
  if (const auto group = name_and_verb(request.path, "/api/v1/groups/"); group && (*group)[1] == "rollback" && !deletes) {
    put(request, "group", (*group)[0]);
    request.path = "/api/v1/rollback";
  }
  const auto service = name_and_verb(request.path, "/api/v1/services/");
  if (!service) return;
  const std::string& verb = (*service)[1];
  const bool known = deletes ? verb == "lock" : verb == "approve" || verb == "reject" || verb == "lock";
  if (!known) return;
  put(request, "service", (*service)[0]);
  request.path = deletes ? "/api/v1/unlock" : "/api/v1/" + verb;
  request.method = "POST";
}

asio::awaitable<std::optional<ServerResponse>> fleet_change(engine::Engine& engine, std::string path, Json body, std::string principal) {
  const engine::ServiceSelector selector{body["service"].string_or(""), body["environment"].string_or("")};
  const std::string reason = body["reason"].string_or("");
  if (path == "/api/v1/lock") co_return co_await lock(engine, std::move(body), selector, std::move(principal));
  if (path == "/api/v1/unlock") co_return co_await unlock(engine, std::move(body), selector, std::move(principal));
  if (path == "/api/v1/approve" || path == "/api/v1/reject") {
    auto done = engine.fleet().approve(selector, path == "/api/v1/approve", reason, principal);
    if (!done) co_return failure(done.error());
    co_return co_await once_on_disk(engine, json(*done), selector);
  }
  if (path == "/api/v1/kill" || path == "/api/v1/kill/off") {
    const bool on = path == "/api/v1/kill";
    const auto done = co_await engine.fleet().kill(on, reason, principal);
    if (!done) co_return failure(done.error());
    co_return json(*done);
  }
  if (path == "/api/v1/rollback" && body.has("group")) co_return co_await rollback_group(engine, std::move(body), std::move(principal));
  co_return std::nullopt;
}

}  // namespace rollbackd::api
