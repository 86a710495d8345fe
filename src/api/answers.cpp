#include "api/answers.hpp"

namespace rollbackd::api {

using io::ServerResponse;

namespace {

int status_of(Errc code) {
  switch (code) {
    case Errc::none: return 200;
    case Errc::invalid_argument:
    case Errc::invalid_config:
    case Errc::corrupt: return 400;
    case Errc::unauthorized: return 401;
    case Errc::not_found: return 404;
    case Errc::conflict:
    case Errc::refused: return 409;
    case Errc::too_large: return 413;
    case Errc::unsupported: return 501;
    case Errc::unavailable:
    case Errc::cancelled: return 503;
    case Errc::timed_out: return 504;
    case Errc::outcome_unknown:
    case Errc::io:
    case Errc::internal: return 500;
  }
  return 500;
}

}  // namespace

ServerResponse json(const Json& body, int status) {
  ServerResponse response;
  response.status = status;
  response.body = body.dump() + "\n";
  return response;
}

ServerResponse failure(const Error& error) {
  Json e;
  e.set("code", to_string(error.code)).set("what", error.what).set("why", error.why).set("next_step", error.next_step);
  return json(Json::object().set("error", std::move(e)), status_of(error.code));
}

}  // namespace rollbackd::api
