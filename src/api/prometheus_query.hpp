// One query under way: what was asked, what it has cost, and the series of its answer. Internal to api/.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <set>
#include <unordered_map>

#include "api/prometheus_api.hpp"

namespace rollbackd::api {

/// Everything that is ready by now runs before what follows.
inline boost::asio::awaitable<void> next_turn() {
  auto executor = co_await boost::asio::this_coro::executor;
  co_await boost::asio::post(executor, boost::asio::use_awaitable);
}

struct PrometheusApi::Query {
  std::string text;
  promql::ExprPtr expr;
  Instant start, end;  ///< of the range; of an instant query both are its instant
  Duration step{};     ///< 0: an instant query
  Duration lookback = promql::EvalOptions{}.lookback;
  std::size_t limit = 0;  ///< series in the answer; 0: all
  bool stats = false, blind = false;
  std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now(), deadline;
  std::function<bool()> gone;

  std::uint64_t work = 0, peak = 0;
  prometheus::Notes notes;
  std::set<std::string> noted;

  void note(std::vector<std::string>& where, std::string said) {
    if (noted.insert(said).second) where.push_back(std::move(said));
  }
  /// Once for all instants: the reason's "for 5s" is another at each.
  void note_blindness(const std::string& reason) {
    if (!std::exchange(blind, true)) notes.warnings.push_back("not everything is known: " + reason);
  }
};

/// The series of an answer. Filled on the reactor, written out where it holds nobody up.
class PrometheusApi::Table {
 public:
  enum class Type { matrix, vector, scalar, string };
  explicit Table(const QueryLimits& limits) : limits_(limits) {}

  Type type = Type::matrix;
  std::string text;  ///< of a string
  Instant at;        ///< of a string

  /// @return `too_large` where the answer would be over its bounds
  Result<> add(const Labels& labels, std::span<const series::Point> points);
  std::size_t points() const { return points_; }
  /// Sorts what has an order and keeps the first `limit` series. @return whether any were left out
  bool finish(std::size_t limit);
  /// "resultType" and "result". Pure.
  void write(prometheus::Pieces& out) const;

 private:
  struct Row {
    Labels labels;
    std::vector<series::Point> points;
  };
  const QueryLimits& limits_;
  std::vector<Row> rows_;
  std::unordered_map<Labels, std::size_t, LabelsHash> index_;
  std::size_t bytes_ = 0, points_ = 0;
};

}  // namespace rollbackd::api
