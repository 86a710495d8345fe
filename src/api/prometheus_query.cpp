// Queries of one instant and of a range. The reactor evaluates one instant a turn; large answers are written on a worker.
// Flow: HTTP -> prometheus_api -> [query] -> promql over the judge's samples.
#include "api/prometheus_query.hpp"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <limits>

namespace rollbackd::api {

namespace asio = boost::asio;
using io::ServerResponse;
using prometheus::bad_data;
using prometheus::bad_parameter;
using promql::Expr;

namespace {

constexpr Duration kSubqueryStep = 1min;           ///< where a subquery names none: Prometheus's default evaluation interval
constexpr std::size_t kElementsPerTurn = 2'000;    ///< of a step's result, taken into the table
constexpr std::size_t kWrittenOnReactorMax = 500;  ///< points; more are written by the worker
constexpr std::size_t kNotesMax = 10;              ///< of each kind, as in Prometheus's own answers

/// `t` moved by `d`, kept within what the store can be asked for.
Instant moved(Instant t, Duration d) {
  constexpr std::int64_t kFarthest = std::int64_t{1} << 62;
  std::int64_t ns = 0;
  if (__builtin_add_overflow(t.ns(), d.count(), &ns)) ns = d.count() < 0 ? -kFarthest : kFarthest;
  return Instant(std::clamp(ns, -kFarthest, kFarthest));
}

const Expr& unwrapped(const Expr& e) { return e.kind == Expr::Kind::paren ? unwrapped(*e.args[0]) : e; }

std::string stats_text(std::chrono::steady_clock::time_point began, std::uint64_t work, std::uint64_t peak) {
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  const std::string seconds = prometheus::float_text(took.count());
  std::string out =
      R"(,"stats":{"timings":{"evalTotalTime":)" + seconds + R"(,"resultSortTime":0,"queryPreparationTime":0,"innerEvalTime":)";
  out += seconds + R"(,"execQueueTime":0,"execTotalTime":)" + seconds + R"(},"samples":{"totalQueryableSamples":)" + std::to_string(work);
  return out + R"(,"peakSamples":)" + std::to_string(peak) + "}}";
}

}  // namespace

struct PrometheusApi::Waiter {
  explicit Waiter(const asio::any_io_executor& executor) : timer(executor) {}
  asio::steady_timer timer;
  bool granted = false;
};

struct PrometheusApi::Seat {
  explicit Seat(PrometheusApi& a) : api(a) {}
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;
  ~Seat() { api.leave(); }
  PrometheusApi& api;
};

void PrometheusApi::leave() {
  --running_;
  if (waiting_.empty()) return;
  waiting_.front()->granted = true;
  waiting_.front()->timer.cancel();
  waiting_.pop_front();
  ++running_;
}

Result<> PrometheusApi::still_wanted(const Query& query) {
  if (query.gone()) return Error(Errc::cancelled, "the client has hung up");
  if (std::chrono::steady_clock::now() >= query.deadline) return Error(Errc::timed_out, "query timed out in expression evaluation");
  return {};
}

asio::awaitable<Result<std::unique_ptr<PrometheusApi::Seat>>> PrometheusApi::take_seat(const Query* query) {
  if (running_ < limits_.at_once) {
    ++running_;
    co_return std::make_unique<Seat>(*this);
  }
  if (waiting_.size() >= limits_.waiting_max)
    co_return Error(Errc::unavailable,
                    "too many queries at once: " + std::to_string(running_) + " run and " + std::to_string(waiting_.size()) + " wait");
  auto executor = co_await asio::this_coro::executor;
  auto waiter = std::make_shared<Waiter>(executor);
  waiting_.push_back(waiter);
  // However the wait ends: who no longer waits is not in the list, and a place that came too late goes to the next.
  struct Leaving {
    PrometheusApi& api;
    std::shared_ptr<Waiter> waiter;
    bool seated = false;
    ~Leaving() {
      api.waiting_.remove(waiter);
      if (waiter->granted && !seated) api.leave();
    }
  } leaving{*this, waiter};
  constexpr Duration kLookAround = 500ms;
  while (!waiter->granted) {
    waiter->timer.expires_after(kLookAround);
    boost::system::error_code woken;
    co_await waiter->timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    if (waiter->granted) break;
    if (auto wanted = still_wanted(*query); !wanted) co_return wanted.error();
  }
  leaving.seated = true;
  co_return std::make_unique<Seat>(*this);
}

Result<std::unique_ptr<PrometheusApi::Query>> PrometheusApi::read(const Params& params, bool range) const {
  auto query = std::make_unique<Query>();
  query->text = params.get("query");
  if (range) {
    for (const char* name : {"start", "end"}) {
      auto when = params.time(name);
      if (!when) return when.error();
      if (!*when) return bad_parameter(name, "cannot parse \"\" to a valid timestamp");
      (name == std::string_view("start") ? query->start : query->end) = **when;
    }
    if (query->end < query->start) return bad_parameter("end", "end timestamp must not be before start time");
    auto step = params.duration("step");
    if (!step) return step.error();
    if (!*step) return bad_parameter("step", "cannot parse \"\" to a valid duration");
    if (**step <= Duration{})
      return bad_parameter("step", "zero or negative query resolution step widths are not accepted. Try a positive integer");
    query->step = **step;
    if (static_cast<std::uint64_t>((query->end - query->start) / query->step) > limits_.points_max)
      return bad_data("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)");
  } else {
    auto when = params.time("time");
    if (!when) return when.error();
    query->start = query->end = when->value_or(engine_.now());
  }
  auto limit = params.limit("limit");
  if (!limit) return limit.error();
  query->limit = *limit;
  auto timeout = params.duration("timeout");
  if (!timeout) return timeout.error();
  query->deadline = query->began + std::min(timeout->value_or(limits_.timeout), limits_.timeout);
  auto lookback = params.duration("lookback_delta");
  if (!lookback) return lookback.error();
  if (*lookback && **lookback > Duration{}) query->lookback = **lookback;
  query->stats = !params.get("stats").empty();
  auto expr = prometheus::parse_expression(query->text, "query");
  if (!expr) return expr.error();
  query->expr = *expr;
  const promql::ValueType type = query->expr->type;
  if (range && type != promql::ValueType::scalar && type != promql::ValueType::vector) {
    const std::string word = type == promql::ValueType::matrix ? "range vector" : "string";
    return bad_parameter("query", "invalid expression type \"" + word + "\" for range query, must be Scalar or instant Vector");
  }
  return query;
}

Result<promql::Value> PrometheusApi::evaluate_at(Query& query, const Expr& expr, Instant at) {
  promql::EvalOptions options;
  options.at = at;
  options.lookback = query.lookback;
  options.start = query.start;
  options.end = query.end;
  options.step = query.step;
  options.work_max = std::min(limits_.instant_work_max, limits_.request_work_max - std::min(query.work, limits_.request_work_max));
  const auto querier = engine_.judge().querier();
  auto value = promql::evaluate(expr, *querier, options);
  ++counters_.steps;
  if (!value) return prometheus::evaluation_failure(value.error(), query.text);
  const std::uint64_t work = value->work + 1;
  query.work += work;
  query.peak = std::max(query.peak, work);
  counters_.work += work;
  if (query.work > limits_.request_work_max)
    return Error(Errc::too_large, "query processing would touch more than " + std::to_string(limits_.request_work_max) + " samples");
  for (const promql::Annotation& annotation : value->annotations) {
    auto& where = annotation.level == promql::Annotation::Level::warning ? query.notes.warnings : query.notes.infos;
    if (where.size() < kNotesMax) query.note(where, prometheus::annotation_text(annotation, query.text));
  }
  if (value->blind) query.note_blindness(value->blind_reason);
  return value;
}

asio::awaitable<Result<>> PrometheusApi::run_steps(Query* query, promql::ExprPtr expr, Instant from, Instant to, Duration step,
                                                   Table* into) {
  for (Instant at = from, next = from; at <= to; at = next) {
    if (at != from) co_await next_turn();
    if (auto wanted = still_wanted(*query); !wanted) co_return wanted.error();
    auto value = evaluate_at(*query, *expr, at);
    if (!value) co_return value.error();
    if (value->type == promql::Value::Type::scalar) value->vector.push_back({Labels{}, value->scalar});
    for (std::size_t i = 0; i < value->vector.size(); ++i) {
      if (i > 0 && i % kElementsPerTurn == 0) co_await next_turn();
      const series::Point point{at, value->vector[i].value};
      if (auto added = into->add(value->vector[i].labels, {&point, 1}); !added) co_return added.error();
    }
    next = moved(at, step);
    if (next == at) break;  // The end of time.
  }
  co_return Result<>();
}

/// The samples that a range selector or a subquery at the top of an instant query stands for.
asio::awaitable<Result<>> PrometheusApi::samples_of(Query* query, Table* into) {
  const Expr& e = unwrapped(*query->expr);
  const Instant to = moved(e.at_kind == Expr::At::timestamp ? e.at() : query->end, -e.offset());
  const Instant from = moved(to, -e.range);
  if (e.kind == Expr::Kind::subquery) {
    const std::int64_t step = (e.step() == Duration{} ? kSubqueryStep : e.step()).count();
    if (static_cast<std::uint64_t>(e.range.count() / step) > limits_.steps_max)
      co_return Error(Errc::too_large, "the subquery has more than " + std::to_string(limits_.steps_max) + " steps");
    std::int64_t first = from.ns() / step * step;
    if (first <= from.ns()) first += step;  // The window is open on the left; division rounds towards zero.
    co_return co_await run_steps(query, e.args[0], Instant(first), to, Duration(step), into);
  }
  if (auto wanted = still_wanted(*query); !wanted) co_return wanted.error();
  const auto querier = engine_.judge().querier();
  ++counters_.steps;
  std::vector<series::Point> known;
  for (const series::Selected& found : querier->range(e.matchers, from, to)) {  // Copied within the turn: the store may change after it.
    query->work += found.points.size() + 1;
    counters_.work += found.points.size() + 1;
    known.clear();
    std::copy_if(found.points.begin(), found.points.end(), std::back_inserter(known),
                 [](const series::Point& p) { return !series::is_stale_nan(p.value); });
    if (auto added = into->add(*found.labels, known); !added) co_return added.error();
  }
  query->peak = query->work;
  const series::Liveness live = querier->liveness(e.matchers, query->end);
  if (live.blind) query->note_blindness(live.blind_reason);
  co_return Result<>();
}

asio::awaitable<Result<ServerResponse>> PrometheusApi::render(Query* query, std::shared_ptr<Table> table) {
  static constexpr const char* kTruncated = "results truncated due to limit";
  std::string stats = query->stats ? stats_text(query->began, query->work, query->peak) : "";
  auto write = [table, stats, limit = query->limit, notes = query->notes]() mutable {
    if (table->finish(limit)) notes.warnings.emplace_back(kTruncated);
    prometheus::Pieces out;
    out.tail() += R"({"status":"success","data":{)";
    table->write(out);
    std::string& end = out.tail();
    end += stats;
    end += '}';
    prometheus::append_notes(end, notes);
    return out;
  };
  if (table->points() <= kWrittenOnReactorMax) co_return write().response();
  auto pieces = co_await render_.run(std::move(write));
  co_return std::move(pieces).response();
}

asio::awaitable<Result<ServerResponse>> PrometheusApi::query(Params params, std::function<bool()> gone) {
  auto read_ = read(params, false);
  if (!read_) co_return read_.error();
  const std::unique_ptr<Query> query = std::move(*read_);
  query->gone = std::move(gone);
  auto seat = co_await take_seat(query.get());
  if (!seat) co_return seat.error();
  ++counters_.instant;
  auto table = std::make_shared<Table>(limits_);
  table->at = query->end;
  if (query->expr->type == promql::ValueType::matrix) {
    auto done = co_await samples_of(query.get(), table.get());
    if (!done) co_return done.error();
    co_return co_await render(query.get(), std::move(table));
  }
  if (auto wanted = still_wanted(*query); !wanted) co_return wanted.error();
  auto value = evaluate_at(*query, *query->expr, query->end);
  if (!value) co_return value.error();
  using Type = promql::Value::Type;
  table->type = value->type == Type::vector ? Table::Type::vector : value->type == Type::scalar ? Table::Type::scalar : Table::Type::string;
  table->text = std::move(value->string);
  if (value->type == Type::scalar) value->vector.push_back({Labels{}, value->scalar});
  for (std::size_t i = 0; i < value->vector.size(); ++i) {
    if (i > 0 && i % kElementsPerTurn == 0) co_await next_turn();
    const series::Point point{query->end, value->vector[i].value};
    if (auto added = table->add(value->vector[i].labels, {&point, 1}); !added) co_return added.error();
  }
  co_return co_await render(query.get(), std::move(table));
}

asio::awaitable<Result<ServerResponse>> PrometheusApi::query_range(Params params, std::function<bool()> gone) {
  auto read_ = read(params, true);
  if (!read_) co_return read_.error();
  const std::unique_ptr<Query> query = std::move(*read_);
  query->gone = std::move(gone);
  auto seat = co_await take_seat(query.get());
  if (!seat) co_return seat.error();
  ++counters_.range;
  auto table = std::make_shared<Table>(limits_);
  auto done = co_await run_steps(query.get(), query->expr, query->start, query->end, query->step, table.get());
  if (!done) co_return done.error();
  co_return co_await render(query.get(), std::move(table));
}

}  // namespace rollbackd::api
