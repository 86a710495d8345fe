// HTTP routes over the engine: JSON under /api/v1, /metrics, and the /-/ endpoints.
// Flow: person or machine -> [api] -> engine.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <map>
#include <string>

#include "base/error.hpp"
#include "engine/engine.hpp"
#include "io/http_server.hpp"
#include "metrics/exporter.hpp"

namespace rollbackd::api {

/// Re-reads the configuration and hands it to the engine; the same as SIGHUP.
using Reload = std::function<boost::asio::awaitable<Result<>>()>;

/// Names of tokens by the SHA-256 (hex) of their secret. A mutation over TCP needs one.
using Tokens = std::map<std::string, std::string>;

/// Reads a token file's text: one `NAME:SHA256HEX` a line, `#` begins a comment.
Result<Tokens> parse_tokens(std::string_view text);

/// What stands now, for the exporter.
metrics::Standing standing_of(const engine::Engine& engine);

class Api {
 public:
  Api(engine::Engine& engine, metrics::Exporter& exporter, Reload reload, Tokens tokens);
  /// Answers one request; never throws. Errors are {"error": {"code", "what", "why", "next_step"}} with a fitting status.
  boost::asio::awaitable<io::ServerResponse> handle(io::ServerRequest request);
  void set_tokens(Tokens tokens) { tokens_ = std::move(tokens); }

 private:
  boost::asio::awaitable<io::ServerResponse> mutate(io::ServerRequest request, std::string principal);
  boost::asio::awaitable<io::ServerResponse> read(io::ServerRequest request);
  boost::asio::awaitable<io::ServerResponse> once_on_disk(Result<Json> done, engine::ServiceSelector selector);
  /// Who asks: "uid:0", "token:ci"; an error when a mutation is not allowed to them.
  Result<std::string> principal_of(const io::ServerRequest& request) const;

  engine::Engine& engine_;
  metrics::Exporter& exporter_;
  Reload reload_;
  Tokens tokens_;
};

}  // namespace rollbackd::api
