// Which series, label names and values there are: a walk over the store, some series a turn.
// Flow: HTTP -> prometheus_api -> [series] -> the judge's store.
#include <algorithm>
#include <chrono>
#include <limits>
#include <set>

#include "api/prometheus_query.hpp"

namespace rollbackd::api {

namespace asio = boost::asio;
using io::ServerResponse;

namespace {

constexpr std::size_t kSeriesPerTurn = 256;
constexpr Instant kEver{std::numeric_limits<std::int64_t>::min()}, kNever{std::numeric_limits<std::int64_t>::max()};

using Matchers = std::vector<std::vector<series::Matcher>>;

bool matches_any(const Matchers& sets, const Labels& labels) {
  return sets.empty() || std::any_of(sets.begin(), sets.end(), [&](const std::vector<series::Matcher>& set) {
           return std::all_of(set.begin(), set.end(), [&](const series::Matcher& m) { return m.matches(labels); });
         });
}

/// The first `limit` of sorted texts, with a word about the rest.
ServerResponse list_of(const std::set<std::string>& texts, std::size_t limit) {
  std::string data = "[";
  prometheus::Notes notes;
  std::size_t n = 0;
  for (const std::string& text : texts) {
    if (limit != 0 && n == limit) {
      notes.warnings.emplace_back("results truncated due to limit");
      break;
    }
    if (n++ > 0) data += ',';
    prometheus::append_text(data, text);
  }
  return prometheus::success(data + "]", notes);
}

}  // namespace

/// Gives `take` the labels of each series that a `match[]` names and that has a sample between `start` and `end`, until it says false. A
/// series that goes during the walk may take the place of one that is then not seen.
asio::awaitable<Result<>> PrometheusApi::each_series(Params params, std::function<bool()> gone, std::function<bool(const Labels&)> take) {
  auto matchers = prometheus::parse_matches(params.all("match[]"));
  if (!matchers) co_return matchers.error();
  auto start = params.time("start"), end = params.time("end");
  if (!start) co_return start.error();
  if (!end) co_return end.error();
  const Instant from = start->value_or(kEver), to = end->value_or(kNever);
  if (to < from) co_return prometheus::bad_parameter("end", "end timestamp must not be before start time");
  const auto deadline = std::chrono::steady_clock::now() + limits_.timeout;
  for (std::size_t first = 0;; first += kSeriesPerTurn) {
    const auto slice = engine_.judge().store().dump(first, kSeriesPerTurn);
    for (const series::Selected& s : slice) {
      if (s.points.empty() || s.points.front().at > to || s.points.back().at < from || !matches_any(*matchers, *s.labels)) continue;
      if (!take(*s.labels)) co_return Result<>();
    }
    if (slice.size() < kSeriesPerTurn) co_return Result<>();
    co_await next_turn();
    if (gone()) co_return Error(Errc::cancelled, "the client has hung up");
    if (std::chrono::steady_clock::now() >= deadline) co_return Error(Errc::timed_out, "the search took too long");
  }
}

asio::awaitable<Result<ServerResponse>> PrometheusApi::series(Params params, std::function<bool()> gone) {
  if (params.all("match[]").empty()) co_return prometheus::bad_data("no match[] parameter provided");
  auto limit = params.limit("limit");
  if (!limit) co_return limit.error();
  const std::size_t most = *limit == 0 ? limits_.series_max : std::min(*limit, limits_.series_max);
  prometheus::Pieces out;
  prometheus::Notes notes;
  std::size_t n = 0;
  out.tail() += R"({"status":"success","data":[)";
  std::function<bool(const Labels&)> take = [&](const Labels& labels) {
    if (n == most) {
      notes.warnings.emplace_back("results truncated due to limit");
      return false;
    }
    std::string& piece = out.tail();
    if (n++ > 0) piece += ',';
    prometheus::append_labels(piece, labels);
    return true;
  };
  auto walked = co_await each_series(std::move(params), std::move(gone), std::move(take));
  if (!walked) co_return walked.error();
  std::string& end = out.tail();
  end += ']';
  prometheus::append_notes(end, notes);
  co_return std::move(out).response();
}

asio::awaitable<Result<ServerResponse>> PrometheusApi::label_names(Params params, std::function<bool()> gone) {
  auto limit = params.limit("limit");
  if (!limit) co_return limit.error();
  std::set<std::string> names;
  std::function<bool(const Labels&)> take = [&names](const Labels& labels) {
    for (const auto& [name, value] : labels.pairs()) names.insert(name);
    return true;
  };
  auto walked = co_await each_series(std::move(params), std::move(gone), std::move(take));
  if (!walked) co_return walked.error();
  co_return list_of(names, *limit);
}

asio::awaitable<Result<ServerResponse>> PrometheusApi::label_values(std::string name, Params params, std::function<bool()> gone) {
  auto limit = params.limit("limit");
  if (!limit) co_return limit.error();
  std::set<std::string> values;
  std::function<bool(const Labels&)> take = [&values, &name](const Labels& labels) {
    if (const auto value = labels.get(name); !value.empty()) values.emplace(value);
    return true;
  };
  auto walked = co_await each_series(std::move(params), std::move(gone), std::move(take));
  if (!walked) co_return walked.error();
  co_return list_of(values, *limit);
}

}  // namespace rollbackd::api
