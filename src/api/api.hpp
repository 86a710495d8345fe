// HTTP routes over the engine: JSON under /api/v1, /metrics, and the /-/ endpoints.
// Flow: person or machine -> [api] -> engine.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "api/alertmanager.hpp"
#include "api/change_audit.hpp"
#include "api/prometheus_api.hpp"
#include "api/tokens.hpp"
#include "base/error.hpp"
#include "engine/engine.hpp"
#include "io/http_server.hpp"
#include "io/worker.hpp"
#include "metrics/exporter.hpp"

namespace rollbackd::api {

/// Re-reads the configuration and hands it to the engine; the same as SIGHUP.
using Reload = std::function<boost::asio::awaitable<Result<>>()>;

/// What stands now, for the exporter.
metrics::Standing standing_of(const engine::Engine& engine);

class Api {
 public:
  /// @param tokens  what the token file held; `set_tokens` follows a reload
  /// @param queries  what queries of the samples may cost
  Api(engine::Engine& engine, metrics::Exporter& exporter, Reload reload, Tokens tokens, QueryLimits queries = {});
  /// Answers one request; never throws. Errors are {"error": {"code", "what", "why", "next_step"}} with a fitting status.
  boost::asio::awaitable<io::ServerResponse> handle(io::ServerRequest request);
  const QueryCounters& queries() const { return prometheus_.counters(); }
  void set_tokens(Tokens tokens) { tokens_ = std::move(tokens); }

 private:
  /// Who asks, and what they may do: {"uid:0", admin}, {"token:ci", operator}.
  struct Principal {
    std::string name;
    Role role = Role::viewer;
  };
  boost::asio::awaitable<io::ServerResponse> change(io::ServerRequest request);
  /// Notes in the audit log what became of a change.
  void note(const io::ServerRequest& request, const io::ServerResponse& response, const std::string& principal);
  boost::asio::awaitable<io::ServerResponse> mutate(io::ServerRequest request, std::string principal);
  boost::asio::awaitable<io::ServerResponse> change_tokens(io::ServerRequest request, Json body);
  // webhook.cpp
  boost::asio::awaitable<io::ServerResponse> take_alerts(io::ServerRequest request, std::string principal);
  Result<const Routes*> routes();
  void passed_by(const IncomingAlert& alert, const Routing& routing, const engine::PushedAnswer& answer);
  boost::asio::awaitable<io::ServerResponse> read(io::ServerRequest request);
  boost::asio::awaitable<io::ServerResponse> once_on_disk(Result<Json> done, engine::ServiceSelector selector);
  /// @return `unauthorized` when nobody knows who asks
  Result<Principal> principal_of(const io::ServerRequest& request) const;

  engine::Engine& engine_;
  metrics::Exporter& exporter_;
  Reload reload_;
  Tokens tokens_;
  io::Worker files_{1};             ///< writes the token file, reads large requests
  bool changing_tokens_ = false;    ///< one change at a time
  std::unique_ptr<Routes> routes_;  ///< of the configuration with this signature
  std::string routes_signature_;
  metrics::AlertsReceived received_{};
  std::deque<Json> passed_by_;    ///< alerts from outside that caused nothing, newest last
  std::set<std::string> warned_;  ///< why alerts caused nothing, as far as the log says so already
  PrometheusApi prometheus_;
  RefusalBudget refusals_;  ///< attempts at the door that reach the audit log
};

}  // namespace rollbackd::api
