// How the API answers: a JSON body, or an error in its one form. Internal to api/.
#pragma once

#include "base/error.hpp"
#include "base/json.hpp"
#include "io/http_server.hpp"

namespace rollbackd::api {

io::ServerResponse json(const Json& body, int status = 200);
/// {"error": {"code", "what", "why", "next_step"}} with the status that fits the code.
io::ServerResponse failure(const Error& error);

}  // namespace rollbackd::api
