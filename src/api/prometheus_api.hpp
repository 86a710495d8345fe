// Prometheus's HTTP API over the live samples and the loaded rules, for Grafana, promtool and `rollbackctl query`. Reads only.
// Flow: Grafana -> [api] -> judge. Belongs to the reactor's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "api/prometheus_form.hpp"
#include "engine/engine.hpp"
#include "io/http_server.hpp"
#include "io/worker.hpp"

namespace rollbackd::api {

/// What a query may cost. Beyond a bound it ends in an error of kind `execution`, `timeout` or `unavailable`.
struct QueryLimits {
  std::size_t points_max = 11'000;               ///< steps of a range query, Prometheus's own bound
  std::size_t steps_max = 100'000;               ///< of a subquery that is asked for its samples
  std::size_t series_max = 50'000;               ///< in one answer
  std::size_t answer_bytes_max = 32U << 20U;     ///< of one answer
  std::uint64_t instant_work_max = 5'000'000;    ///< samples touched plus elements made by one instant's evaluation
  std::uint64_t request_work_max = 100'000'000;  ///< by all instants of one request
  std::size_t at_once = 4;                       ///< queries under way; each has its turn after the others' step
  std::size_t waiting_max = 64;                  ///< queries that wait for their turn to begin; further ones are refused
  std::size_t dumps_max = 2;                     ///< dumps under way
  std::uint64_t dump_bytes_max = std::uint64_t{1} << 30U;
  Duration timeout = 2min;
};

/// Plain counters for the metrics room.
struct QueryCounters {
  std::uint64_t instant = 0, range = 0, dumps = 0;  ///< begun
  std::uint64_t failed = 0;                         ///< the expression cannot be evaluated
  std::uint64_t limited = 0;                        ///< ended at one of the bounds
  std::uint64_t refused = 0;                        ///< too many at once
  std::uint64_t abandoned = 0;                      ///< the client hung up
  std::uint64_t steps = 0, work = 0;                ///< instants evaluated; samples touched plus elements made
};

class PrometheusApi {
 public:
  explicit PrometheusApi(const engine::Engine& engine, QueryLimits limits = {});
  /// Whether this request is one of Prometheus's API, a read also when it is a POST.
  bool serves(const io::ServerRequest& request) const;
  /// Answers one that it serves; never throws.
  /// A query of a range is evaluated one instant a turn of the reactor, each over the samples of that moment: what comes in or runs out
  /// meanwhile is seen by the instants after it.
  boost::asio::awaitable<io::ServerResponse> handle(io::ServerRequest request);
  /// The active alerts in Prometheus's form, as the text of a JSON array.
  boost::asio::awaitable<std::string> alerts();
  const QueryCounters& counters() const { return counters_; }

 private:
  using Params = prometheus::Params;
  /// A place among the queries under way; given back when it goes.
  struct Seat;
  struct Waiter;
  /// One query from its parameters to its answer.
  struct Query;
  class Table;

  boost::asio::awaitable<Result<io::ServerResponse>> answer(std::string path, Params params, std::function<bool()> gone);
  // prometheus_query.cpp
  Result<std::unique_ptr<Query>> read(const Params& params, bool range) const;
  boost::asio::awaitable<Result<io::ServerResponse>> query(Params params, std::function<bool()> gone);
  boost::asio::awaitable<Result<io::ServerResponse>> query_range(Params params, std::function<bool()> gone);
  boost::asio::awaitable<Result<>> run_steps(Query* query, promql::ExprPtr expr, Instant from, Instant to, Duration step, Table* into);
  boost::asio::awaitable<Result<>> samples_of(Query* query, Table* into);
  Result<promql::Value> evaluate_at(Query& query, const promql::Expr& expr, Instant at);
  Result<> still_wanted(const Query& query);
  boost::asio::awaitable<Result<io::ServerResponse>> render(Query* query, std::shared_ptr<Table> table);
  boost::asio::awaitable<Result<std::unique_ptr<Seat>>> take_seat(const Query* query);
  void leave();
  // prometheus_series.cpp
  boost::asio::awaitable<Result<>> each_series(Params params, std::function<bool()> gone, std::function<bool(const Labels&)> take);
  boost::asio::awaitable<Result<io::ServerResponse>> series(Params params, std::function<bool()> gone);
  boost::asio::awaitable<Result<io::ServerResponse>> label_names(Params params, std::function<bool()> gone);
  boost::asio::awaitable<Result<io::ServerResponse>> label_values(std::string name, Params params, std::function<bool()> gone);
  // prometheus_rules.cpp
  boost::asio::awaitable<Result<io::ServerResponse>> rules(Params params);
  // prometheus_dump.cpp
  Result<io::ServerResponse> dump();

  const engine::Engine& engine_;
  QueryLimits limits_;
  QueryCounters counters_;
  std::size_t running_ = 0;
  std::list<std::shared_ptr<Waiter>> waiting_;
  std::shared_ptr<int> dumps_ = std::make_shared<int>(0);  ///< how many are under way, by the copies of it
  io::Worker render_{1};                                   ///< writes large answers
};

}  // namespace rollbackd::api
