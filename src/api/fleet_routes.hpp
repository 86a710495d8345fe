// Changes that look beyond one service: kill switch, locks, approvals, groups. Internal to api/.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>

#include "engine/engine.hpp"
#include "io/http_server.hpp"

namespace rollbackd::api {

/// What a command's answer is over HTTP: its exit code stands in the body.
io::ServerResponse command_response(const Result<engine::CommandAnswer>& result);

/// A change may be said by its path too: POST /api/v1/services/NAME/approve, /reject, /lock, /api/v1/groups/NAME/rollback, and DELETE of
/// /api/v1/services/NAME/lock and /api/v1/kill. Such a request becomes the POST that it stands for; another stays as it is.
void say_by_body(io::ServerRequest& request);

/// Carries out a change of one of these paths; nothing when `path` is none of them.
boost::asio::awaitable<std::optional<io::ServerResponse>> fleet_change(engine::Engine& engine, std::string path, Json body,
                                                                       std::string principal);

}  // namespace rollbackd::api
