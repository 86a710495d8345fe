// Which paths are Prometheus's, the small ones among them, and how many queries may be under way.
// Flow: HTTP -> [prometheus_api] -> prometheus_query, prometheus_series, prometheus_rules, prometheus_dump -> judge.
#include "api/prometheus_api.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "api/prometheus_query.hpp"

namespace rollbackd::api {

namespace asio = boost::asio;
using io::ServerRequest;
using io::ServerResponse;
using prometheus::success;

namespace {

constexpr std::string_view kRoot = "/api/v1/";
/// The version of the language and of this API that we answer for: what Grafana chooses its requests by.
constexpr std::string_view kLanguageVersion = "3.0.0";

struct Route {
  std::string_view path;  ///< after /api/v1/
  bool post = false;      ///< takes its parameters as a form too
};
constexpr std::array<Route, 12> kRoutes{{{"query", true},
                                         {"query_range", true},
                                         {"query_exemplars", true},
                                         {"format_query", true},
                                         {"labels", true},
                                         {"series", true},
                                         {"metadata"},
                                         {"rules"},
                                         {"status/buildinfo"},
                                         {"dump"}}};

constexpr std::string_view kLabel = "label/", kValues = "/values";
bool is_label_values(std::string_view path) {
  return path.starts_with(kLabel) && path.ends_with(kValues) && path.size() > kLabel.size() + kValues.size();
}

ServerResponse build_info() {
  std::string data = R"({"version":")" + std::string(kLanguageVersion) + R"(","revision":"","branch":"","buildUser":"","buildDate":"",)";
  data += R"("goVersion":"","application":"rollbackd","applicationVersion":")" ROLLBACKD_VERSION R"("})";
  return success(data);
}

Result<ServerResponse> format_query(const prometheus::Params& params) {
  auto expr = prometheus::parse_expression(params.get("query"), "query");
  if (!expr) return expr.error();
  std::string text;
  prometheus::append_text(text, promql::to_text(**expr));
  return success(text);
}

Result<ServerResponse> exemplars(const prometheus::Params& params) {  // Samples carry none here.
  auto expr = prometheus::parse_expression(params.get("query"), "query");
  if (!expr) return expr.error();
  return success("[]");
}

}  // namespace

PrometheusApi::PrometheusApi(const engine::Engine& engine, QueryLimits limits) : engine_(engine), limits_(limits) {}

bool PrometheusApi::serves(const ServerRequest& request) const {
  std::string_view path = request.path;
  if (!path.starts_with(kRoot)) return false;
  path.remove_prefix(kRoot.size());
  const bool post = request.method == "POST";
  if (is_label_values(path)) return !post;
  return std::any_of(kRoutes.begin(), kRoutes.end(), [&](const Route& r) { return r.path == path && (r.post || !post); });
}

asio::awaitable<ServerResponse> PrometheusApi::handle(ServerRequest request) {
  auto params = Params::of(request);
  if (!params) co_return prometheus::failure(params.error());
  std::function<bool()> gone = request.gone ? request.gone : [] { return false; };
  Result<ServerResponse> answered = co_await answer(request.path.substr(kRoot.size()), std::move(*params), std::move(gone));
  if (answered) co_return std::move(*answered);
  const Errc code = answered.error().code;
  if (code == Errc::too_large || code == Errc::timed_out) ++counters_.limited;
  if (code == Errc::refused) ++counters_.failed;
  if (code == Errc::unavailable) ++counters_.refused;
  if (code == Errc::cancelled) ++counters_.abandoned;
  co_return prometheus::failure(answered.error());
}

asio::awaitable<Result<ServerResponse>> PrometheusApi::answer(std::string path, Params params, std::function<bool()> gone) {
  if (path == "query") co_return co_await query(std::move(params), std::move(gone));
  if (path == "query_range") co_return co_await query_range(std::move(params), std::move(gone));
  if (path == "labels") co_return co_await label_names(std::move(params), std::move(gone));
  if (path == "series") co_return co_await series(std::move(params), std::move(gone));
  if (path == "rules") co_return co_await rules(std::move(params));
  if (path == "query_exemplars") co_return exemplars(params);
  if (path == "format_query") co_return format_query(params);
  if (path == "metadata") co_return success("{}");  // What a metric is called is all that the store knows of it.
  if (path == "status/buildinfo") co_return build_info();
  if (path == "dump") co_return dump();
  std::string name = path.substr(kLabel.size(), path.size() - kLabel.size() - kValues.size());
  co_return co_await label_values(std::move(name), std::move(params), std::move(gone));
}

}  // namespace rollbackd::api
