// Prometheus's API over live samples: the forms that Grafana and promtool read, the bounds, and that a long query lets others have their
// turn. The engine is a real one that was not started: rules and samples are handed to its judge, at instants of our own.
#include "api/prometheus_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <cmath>

#include "tests/support/run_for.hpp"

namespace rollbackd::api {
namespace {

namespace asio = boost::asio;
using io::ServerRequest;
using io::ServerResponse;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kRules = R"json({"groups": [
  {"name": "requests", "interval": "30s", "labels": {"team": "shop"}, "rules": [
    {"record": "job:requests:sum", "expr": "sum by (service, environment) (requests)", "labels": {"kind": "sum"}},
    {"alert": "TooMany", "expr": "requests > 15", "for": "1m", "keep_firing_for": "2m",
     "labels": {"severity": "critical"}, "annotations": {"summary": "{{ $value }} requests"}}]},
  {"name": "others", "rules": [{"alert": "Nothing", "expr": "sum(max_over_time(requests[2h])) < 0"}]}]})json";

class PrometheusApiTest : public testing::Test {
 protected:
  PrometheusApiTest() {
    settings_.state_directory = directory_ / "state";
    engine_ =
        std::make_unique<engine::Engine>(context_.get_executor(), settings_, rules::Groups{}, engine::EngineOptions{"", "test", false});
    std::vector<config::Problem> problems;
    auto groups = rules::parse_groups(kRules, "rules.json", std::nullopt, problems);
    for (const auto& problem : problems) EXPECT_TRUE(problem.warning) << problem.text();
    judge().set_rules(std::move(groups), Instant::from_seconds(900));
    judge().set_service({"shop", "prod"}, {Source{{"shop", "prod"}, "app", {"requests"}, 2h}}, Instant::from_seconds(900));
    api_.emplace(*engine_);
  }
  void limits(QueryLimits limits) { api_.emplace(*engine_, limits); }

  /// The engine's own: what comes in between two steps of a query.
  rules::Judge& judge() { return const_cast<rules::Judge&>(engine_->judge()); }  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  void sample(const Labels& labels, double seconds, double value) {
    Batch batch;
    batch.service = {"shop", "prod"};
    batch.check = "app";
    batch.began = batch.at = Instant::from_millis(static_cast<std::int64_t>(seconds * 1000));
    batch.samples.push_back({labels, value});
    judge().on_batch(batch);
  }
  static Labels requests(const std::string& instance) {
    return {{"__name__", "requests"}, {"service", "shop"}, {"environment", "prod"}, {"instance", instance}};
  }
  /// Of a metric that no rule reads.
  static Labels idle(const std::string& instance) { return {{"__name__", "idle"}, {"instance", instance}}; }
  /// 10, 20, 30, ... of two instances at 1000, 1010, ... 1100, the second ten times as much.
  void some_requests() {
    for (int i = 0; i <= 10; ++i) {
      sample(requests("a"), 1000 + 10 * i, 10 * i);
      sample(requests("b"), 1000.5 + 10 * i, 100 * i);
    }
  }

  static std::string encoded(const std::string& text) {
    std::string out;
    for (const char c : text) {
      constexpr std::string_view kHex = "0123456789ABCDEF";
      out += {'%', kHex[static_cast<unsigned char>(c) >> 4U], kHex[static_cast<unsigned char>(c) & 15U]};
    }
    return out;
  }
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  static std::string form(const Pairs& pairs) {
    std::string out;
    for (const auto& [name, value] : pairs) out += (out.empty() ? "" : "&") + encoded(name) + "=" + encoded(value);
    return out;
  }
  static ServerRequest request(const std::string& path, const Pairs& pairs) {
    ServerRequest out;
    out.method = "GET";
    out.path = path;
    out.query_text = form(pairs);
    return out;
  }
  static asio::awaitable<ServerResponse> whole(PrometheusApi* api, ServerRequest asked) {
    ServerResponse response = co_await api->handle(std::move(asked));
    while (response.more) {
      auto piece = co_await response.more();
      if (!piece) response.body += "BROKEN OFF: " + piece.error().text();
      if (!piece || piece->empty()) break;
      response.body += *piece;
    }
    co_return response;
  }
  ServerResponse ask(ServerRequest asked) {
    EXPECT_TRUE(api_->serves(asked)) << asked.path;
    return test::run_for(context_, whole(&*api_, std::move(asked)));
  }
  std::string get(const std::string& path, const Pairs& pairs = {}, int status = 200) {
    const ServerResponse response = ask(request(path, pairs));
    EXPECT_EQ(response.status, status) << path << " " << response.body;
    EXPECT_TRUE(path == "/api/v1/dump" || Json::parse(response.body)) << response.body;
    return response.body;
  }
  std::string query(const std::string& expr, Pairs more = {{"time", "1100.5"}}, int status = 200) {
    more.insert(more.begin(), {"query", expr});
    return get("/api/v1/query", more, status);
  }
  std::string range(const std::string& expr, const std::string& start, const std::string& end, const std::string& step, int status = 200) {
    return get("/api/v1/query_range", {{"query", expr}, {"start", start}, {"end", end}, {"step", step}}, status);
  }
  static std::string error(const std::string& type, const std::string& text) {
    return R"({"status":"error","errorType":")" + type + R"(","error":")" + text + R"("})";
  }
  static std::string data(const std::string& type, const std::string& result) {
    return R"({"status":"success","data":{"resultType":")" + type + R"(","result":)" + result + "}}";
  }
  static std::string metric(const std::string& instance) {
    return R"({"__name__":"requests","environment":"prod","instance":")" + instance + R"(","service":"shop"})";
  }

  asio::io_context context_{1};
  config::Settings settings_;
  test::TempDir directory_;
  std::unique_ptr<engine::Engine> engine_;
  std::optional<PrometheusApi> api_;
};

TEST_F(PrometheusApiTest, AnInstantQueryAnswersInPrometheussForm) {
  some_requests();

  EXPECT_EQ(query("requests{instance='a'}"), data("vector", R"([{"metric":)" + metric("a") + R"(,"value":[1100.500,"100"]}])"));
  EXPECT_EQ(query("scalar(requests{instance='a'}) / 8"), data("scalar", R"([1100.500,"12.5"])"));
  EXPECT_EQ(query("\"a \\\"word\\\"\""), data("string", R"([1100.500,"a \"word\""])"));
  EXPECT_EQ(query("nothing"), data("vector", "[]"));
  EXPECT_EQ(query("requests{instance='a'}[20s]"),
            data("matrix", R"([{"metric":)" + metric("a") + R"(,"values":[[1090,"90"],[1100,"100"]]}])"));
  EXPECT_EQ(query("(requests{instance='b'}[20s] offset 10s @ 1050.5)"),
            data("matrix", R"([{"metric":)" + metric("b") + R"(,"values":[[1030.500,"300"],[1040.500,"400"]]}])"));
  EXPECT_EQ(query("sum(requests)[30s:10s] @ 1050"), data("matrix", R"([{"metric":{},"values":[[1030,"230"],[1040,"340"],[1050,"450"]]}])"));
  EXPECT_THAT(query("sort_desc(requests)"), HasSubstr(R"([{"metric":)" + metric("b"))) << "an order that was asked for stays";
}

TEST_F(PrometheusApiTest, ValuesAndTimesAreWrittenAsPrometheusWritesThem) {
  EXPECT_EQ(prometheus::float_text(1e21), "1e+21");
  EXPECT_EQ(prometheus::float_text(1e20), "100000000000000000000");
  EXPECT_EQ(prometheus::float_text(1e-7), "1e-07");
  EXPECT_EQ(prometheus::float_text(0.000001), "0.000001");
  EXPECT_EQ(prometheus::float_text(-0.1), "-0.1");
  EXPECT_EQ(prometheus::float_text(NAN), "NaN");
  EXPECT_EQ(prometheus::float_text(INFINITY), "+Inf");
  EXPECT_EQ(prometheus::exponent_text(1), "1e+00");
  EXPECT_EQ(prometheus::exponent_text(1234.5), "1.2345e+03");
  const auto time = [](std::int64_t ns) {
    std::string out;
    prometheus::append_time(out, Instant(ns));
    return out;
  };
  EXPECT_EQ(time(1'435'781'430'781'000'000), "1435781430.781");
  EXPECT_EQ(time(1'000'001'999'999), "1000.001") << "cut, not rounded";
  EXPECT_EQ(time(5'000'000'000), "5");
  EXPECT_EQ(time(-1'500'000'000), "-1.500");
}

TEST_F(PrometheusApiTest, ParametersAreReadAsPrometheusReadsThem) {
  some_requests();
  const std::string at_1050 = data("vector", R"([{"metric":)" + metric("a") + R"(,"value":[1050,"50"]}])");
  const std::string expr = "requests{instance='a'}";

  EXPECT_EQ(query(expr, {{"time", "1970-01-01T00:17:30Z"}}), at_1050);
  EXPECT_EQ(query(expr, {{"time", "1.05e3"}}), at_1050);
  EXPECT_EQ(query(expr, {{"time", "1970-01-01T01:17:30+01:00"}}), at_1050);
  EXPECT_EQ(query(expr, {{"time", "1150"}, {"lookback_delta", "49"}}), data("vector", "[]"));
  EXPECT_THAT(query(expr, {{"time", "1150"}, {"lookback_delta", "51s"}}), HasSubstr("\"100\""));
  EXPECT_THAT(query(expr, {{"time", "1150"}, {"timeout", "30s"}, {"an_unknown_one", "x"}, {"stats", "all"}}),
              HasSubstr(R"("stats":{"timings":{"evalTotalTime":)"));
  EXPECT_EQ(query("requests", {{"time", "1150"}, {"limit", "1"}}),
            R"({"status":"success","data":{"resultType":"vector","result":[{"metric":)" + metric("a") +
                R"(,"value":[1150,"100"]}]},"warnings":["results truncated due to limit"]})");
  EXPECT_EQ(
      query("1", {{"time", "yesterday"}}, 400),
      error("bad_data", R"(invalid parameter \"time\": Invalid time value for 'time': cannot parse \"yesterday\" to a valid timestamp)"));
  EXPECT_EQ(query("1", {{"timeout", "soon"}}, 400),
            error("bad_data", R"(invalid parameter \"timeout\": cannot parse \"soon\" to a valid duration)"));
}

TEST_F(PrometheusApiTest, GrafanaSendsItsQueriesAsForms) {
  some_requests();
  ServerRequest post = request("/api/v1/query_range", {});
  post.method = "POST";
  post.headers["content-type"] = "application/x-www-form-urlencoded";
  post.body = form({{"query", "sum(requests)"}, {"start", "1050"}, {"end", "1070"}, {"step", "10"}});

  const ServerResponse response = ask(post);

  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, data("matrix", R"([{"metric":{},"values":[[1050,"450"],[1060,"560"],[1070,"670"]]}])"));
  EXPECT_EQ(response.content_type, "application/json");
  post.path = "/api/v1/rules";
  EXPECT_FALSE(api_->serves(post)) << "rules are asked for by GET alone";
}

TEST_F(PrometheusApiTest, ARangeQueryIsItsInstantsOneByOne) {
  some_requests();

  EXPECT_EQ(range("requests", "1050", "1060", "5s"),
            data("matrix", R"([{"metric":)" + metric("a") + R"(,"values":[[1050,"50"],[1055,"50"],[1060,"60"]]},{"metric":)" + metric("b") +
                               R"(,"values":[[1050,"400"],[1055,"500"],[1060,"500"]]}])"));
  EXPECT_EQ(range("time() - 1000", "1000", "1002", "1"), data("matrix", R"([{"metric":{},"values":[[1000,"0"],[1001,"1"],[1002,"2"]]}])"));
  EXPECT_EQ(range("requests{instance='a'} @ end() - requests{instance='a'} @ start()", "1020", "1070", "30"),
            data("matrix", R"([{"metric":{"environment":"prod","instance":"a","service":"shop"},"values":[[1020,"50"],[1050,"50"]]}])"));
  EXPECT_EQ(range("requests", "1060", "1050", "5", 400),
            error("bad_data", R"(invalid parameter \"end\": end timestamp must not be before start time)"));
  EXPECT_EQ(range("requests", "1050", "1060", "0", 400),
            error("bad_data", R"(invalid parameter \"step\": zero or negative query resolution step widths are not accepted. )"
                              "Try a positive integer"));
  EXPECT_THAT(range("requests", "0", "11001", "1", 400),
              HasSubstr("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"));
  EXPECT_THAT(range("requests", "0", "1e300", "1", 400), HasSubstr("exceeded maximum resolution"));
  EXPECT_THAT(range("requests[5m]", "1050", "1060", "5", 400),
              HasSubstr(R"(invalid expression type \"range vector\" for range query, must be Scalar or instant Vector)"));
  EXPECT_THAT(range("requests", "", "1060", "5", 400), HasSubstr(R"(invalid parameter \"start\": cannot parse \"\")"));
}

TEST_F(PrometheusApiTest, AnErrorSaysWhereInTheExpressionAndOfWhichKindItIs) {
  some_requests();

  EXPECT_THAT(query("sum(requests", {}, 400),
              HasSubstr(R"("errorType":"bad_data","error":"invalid parameter \"query\": 1:13: parse error: )"));
  EXPECT_THAT(query("1 +\n foo(", {}, 400), HasSubstr(R"(\"query\": 2:2: parse error: )"));
  EXPECT_THAT(query("", {}, 400), HasSubstr("no expression found in input"));
  const std::string failed = query("requests * on(service) requests", {{"time", "1100"}}, 422);
  EXPECT_THAT(failed, HasSubstr(R"("errorType":"execution","error":")"));
  EXPECT_THAT(failed, HasSubstr("many-to-many matching not allowed"));
  EXPECT_EQ(api_->counters().failed, 1U);
}

TEST_F(PrometheusApiTest, BetweenTwoInstantsOfARangeEverythingElseHasItsTurn) {
  some_requests();
  int turns = 0;
  bool ended = false;
  std::function<void()> again = [&] {
    ++turns;
    if (turns == 20) sample(requests("late"), 1100, 7);
    if (!ended) asio::post(context_, again);
  };
  asio::post(context_, again);

  const std::string answer = range("requests", "1001", "1100", "1");
  ended = true;

  EXPECT_GE(turns, 99) << "one after each of the 100 instants but the last";
  EXPECT_EQ(api_->counters().steps, 100U);
  EXPECT_THAT(answer, HasSubstr("\"late\"")) << "each instant sees the samples of its moment";
}

TEST_F(PrometheusApiTest, ARequestIsBoundedInWorkSizeAndTime) {
  some_requests();
  limits({.request_work_max = 50});
  EXPECT_THAT(range("requests", "1000", "1100", "1", 422), HasSubstr(R"("errorType":"execution")"));
  EXPECT_LE(api_->counters().steps, 51U);
  limits({.series_max = 1});
  EXPECT_THAT(query("requests", {{"time", "1100"}}, 422), HasSubstr("more than 1 series"));
  limits({.answer_bytes_max = 300});
  EXPECT_THAT(range("requests", "1000", "1100", "1", 422), HasSubstr("the answer would be larger"));
  EXPECT_THAT(query("requests[200s]", {{"time", "1100"}}, 422), HasSubstr("the answer would be larger"));
  EXPECT_EQ(api_->counters().limited, 2U);
  limits({.steps_max = 10});
  EXPECT_THAT(query("requests[200s:1s]", {{"time", "1100"}}, 422), HasSubstr("more than 10 steps"));
  limits({.timeout = Duration{}});
  EXPECT_EQ(query("requests", {{"time", "1100"}}, 503), error("timeout", "query timed out in expression evaluation"));
}

TEST_F(PrometheusApiTest, AQueryWhoseClientHasHungUpEnds) {
  some_requests();
  ServerRequest asked = request("/api/v1/query_range", {{"query", "requests"}, {"start", "1000"}, {"end", "1100"}, {"step", "1"}});
  int asks = 0;
  asked.gone = [&asks] { return ++asks > 10; };

  const ServerResponse response = ask(asked);

  EXPECT_EQ(response.status, 499);
  EXPECT_THAT(response.body, HasSubstr(R"("errorType":"canceled")"));
  EXPECT_EQ(api_->counters().steps, 10U);
  EXPECT_EQ(api_->counters().abandoned, 1U);
}

TEST_F(PrometheusApiTest, OfManyQueriesSomeRunSomeWaitAndFurtherOnesAreRefused) {
  some_requests();
  limits({.at_once = 1, .waiting_max = 2});
  std::vector<int> statuses;
  for (int i = 0; i < 5; ++i) {
    ServerRequest asked = request("/api/v1/query_range", {{"query", "requests"}, {"start", "1000"}, {"end", "1100"}, {"step", "1"}});
    asio::co_spawn(context_, api_->handle(std::move(asked)),
                   [&statuses](const std::exception_ptr&, const ServerResponse& r) { statuses.push_back(r.status); });
  }

  test::run_until(context_, [&] { return statuses.size() == 5; });

  EXPECT_THAT(statuses, testing::ElementsAre(503, 503, 200, 200, 200));
  EXPECT_EQ(api_->counters().refused, 2U);
  EXPECT_EQ(query("1", {{"time", "0"}}), data("scalar", R"([0,"1"])")) << "all places were given back";
}

TEST_F(PrometheusApiTest, ALargeAnswerIsWrittenElsewhereAndSentInPieces) {
  Batch batch;  // In one: each batch has the rules look at all that is there.
  batch.service = {"shop", "prod"};
  batch.check = "app";
  batch.began = batch.at = Instant::from_seconds(1000);
  for (int i = 0; i < 700; ++i) batch.samples.push_back({requests("instance-" + std::to_string(i)), static_cast<double>(i)});
  judge().on_batch(batch);

  const ServerResponse response =
      test::run_for(context_, api_->handle(request("/api/v1/query", {{"query", "requests"}, {"time", "1000"}})));

  EXPECT_TRUE(response.more);
  EXPECT_EQ(Json::parse(query("requests", {{"time", "1000"}})).value()["data"]["result"].elements().size(), 700U);
}

TEST_F(PrometheusApiTest, WhatIsNotKnownIsSaidInAWarning) {
  judge().set_service({"shop", "prod"}, {Source{{"shop", "prod"}, "app", {"requests"}, 10s}}, Instant::from_seconds(1000));
  some_requests();

  EXPECT_THAT(query("requests", {{"time", "1105"}}), Not(HasSubstr("warnings")));
  EXPECT_THAT(query("requests", {{"time", "1200"}}), HasSubstr(R"("warnings":["not everything is known: check app of shop/prod)"));
  EXPECT_THAT(query("requests[1m]", {{"time", "1200"}}), HasSubstr("not everything is known"));
}

TEST_F(PrometheusApiTest, SamplesOfAnEarlierReleaseAreNotMixedInWhateverTheForm) {
  some_requests();
  judge().begin_epoch({"shop", "prod"}, Instant::from_seconds(1085));
  sample(requests("c"), 1100.25, 1);  // The source speaks in this epoch too.

  EXPECT_EQ(query("requests{instance='a'}[50s]"),
            data("matrix", R"([{"metric":)" + metric("a") + R"(,"values":[[1090,"90"],[1100,"100"]]}])"));
  EXPECT_THAT(query("requests{instance='a'}[50s] @ 1080"), HasSubstr(R"([[1040,"40"],[1050,"50"],[1060,"60"],[1070,"70"],[1080,"80"]])"));
  EXPECT_EQ(
      range("count_over_time(requests{instance='a'}[50s])", "1080", "1100", "10"),
      data("matrix", R"([{"metric":{"environment":"prod","instance":"a","service":"shop"},"values":[[1080,"5"],[1090,"1"],[1100,"2"]]}])"));
}

TEST_F(PrometheusApiTest, SeriesLabelsAndTheirValuesAreListed) {
  some_requests();
  sample({{"__name__", "up"}, {"job", "app"}}, 2000, 1);
  const auto list = [this](const std::string& path, const Pairs& pairs = {}) { return get("/api/v1/" + path, pairs); };

  EXPECT_EQ(
      list("labels"),
      R"({"status":"success","data":["__name__","alertname","alertstate","environment","instance","job","kind","service","severity","team"]})");
  EXPECT_EQ(list("labels", {{"match[]", "up"}}), R"({"status":"success","data":["__name__","job"]})");
  EXPECT_EQ(list("label/instance/values"), R"({"status":"success","data":["a","b"]})");
  EXPECT_EQ(list("label/__name__/values", {{"match[]", "requests{instance='a'}"}, {"match[]", "{job='app'}"}}),
            R"({"status":"success","data":["requests","up"]})");
  EXPECT_EQ(list("label/__name__/values", {{"start", "1500"}, {"limit", "1"}}), R"({"status":"success","data":["up"]})");
  EXPECT_EQ(list("label/instance/values", {{"limit", "1"}}),
            R"({"status":"success","data":["a"],"warnings":["results truncated due to limit"]})");
  EXPECT_EQ(list("series", {{"match[]", "requests{instance='b'}"}}), R"({"status":"success","data":[)" + metric("b") + "]}");
  EXPECT_EQ(list("series", {{"match[]", "requests"}, {"end", "900"}}), R"({"status":"success","data":[]})");
  EXPECT_EQ(get("/api/v1/series", {}, 400), error("bad_data", "no match[] parameter provided"));
  EXPECT_THAT(get("/api/v1/series", {{"match[]", "sum(up)"}}, 400), HasSubstr(R"(invalid parameter \"match[]\": 1:1: parse error: )"));
  EXPECT_THAT(get("/api/v1/labels", {{"match[]", "{{"}}, 400), HasSubstr("bad_data"));
}

TEST_F(PrometheusApiTest, WhatGrafanaAsksBesidesIsAnswered) {
  EXPECT_THAT(get("/api/v1/status/buildinfo"), HasSubstr(R"("application":"rollbackd")"));
  EXPECT_EQ(get("/api/v1/metadata"), R"({"status":"success","data":{}})");
  EXPECT_EQ(get("/api/v1/query_exemplars", {{"query", "up"}}), R"({"status":"success","data":[]})");
  EXPECT_EQ(get("/api/v1/format_query", {{"query", "sum   by(a)(up)/ 2"}}), R"({"status":"success","data":"sum by (a) (up) / 2"})");
  EXPECT_THAT(get("/api/v1/format_query", {{"query", "sum("}}, 400), HasSubstr("parse error"));
}

TEST_F(PrometheusApiTest, RulesAreShownInPrometheussForm) {
  sample(requests("a"), 1000, 20);
  sample(requests("a"), 1040, 21);

  const Json groups = Json::parse(get("/api/v1/rules")).value()["data"]["groups"];

  ASSERT_EQ(groups.elements().size(), 2U);
  const Json& group = groups.elements()[0];
  EXPECT_EQ(group["name"].string_or(""), "requests");
  EXPECT_EQ(group["file"].string_or(""), "rules.json");
  EXPECT_EQ(group["interval"].number_or(0), 30);
  const Json recording = group["rules"].elements().at(0), alerting = group["rules"].elements().at(1);
  EXPECT_EQ(recording["type"].string_or(""), "recording");
  EXPECT_EQ(recording["query"].string_or(""), "sum by (service, environment) (requests)");
  EXPECT_EQ(recording["labels"].dump(), R"({"kind":"sum","team":"shop"})");
  EXPECT_FALSE(recording.has("alerts"));
  EXPECT_EQ(recording["runs"].string_or(""), "per_batch");
  EXPECT_EQ(alerting["type"].string_or(""), "alerting");
  EXPECT_EQ(alerting["state"].string_or(""), "pending");
  EXPECT_EQ(alerting["duration"].number_or(0), 60);
  EXPECT_EQ(alerting["keepFiringFor"].number_or(0), 120);
  EXPECT_EQ(alerting["annotations"]["summary"].string_or(""), "{{ $value }} requests");
  ASSERT_EQ(alerting["alerts"].elements().size(), 1U);
  const Json& alert = alerting["alerts"].elements()[0];
  EXPECT_EQ(alert["labels"]["alertname"].string_or(""), "TooMany");
  EXPECT_EQ(alert["annotations"]["summary"].string_or(""), "21 requests");
  EXPECT_EQ(alert["state"].string_or(""), "pending");
  EXPECT_EQ(alert["value"].string_or(""), "2.1e+01");
  EXPECT_EQ(alert["activeAt"].string_or(""), "1970-01-01T00:16:40.000Z");
  EXPECT_EQ(groups.elements()[1]["rules"].elements().at(0)["runs"].string_or(""), "per_interval");
  EXPECT_EQ(test::run_for(context_, api_->alerts()), "[" + alert.dump() + "]");
}

TEST_F(PrometheusApiTest, RulesAreFilteredAndPaged) {
  const auto names = [this](const Pairs& pairs) {
    std::string out;
    const Json answer = Json::parse(get("/api/v1/rules", pairs)).value();
    for (const Json& group : answer["data"]["groups"].elements())
      for (const Json& rule : group["rules"].elements()) out += rule["name"].string_or("") + " ";
    return out;
  };

  EXPECT_EQ(names({}), "job:requests:sum TooMany Nothing ");
  EXPECT_EQ(names({{"type", "alert"}}), "TooMany Nothing ");
  EXPECT_EQ(names({{"type", "record"}}), "job:requests:sum ");
  EXPECT_EQ(names({{"rule_name[]", "TooMany"}, {"rule_name[]", "Nothing"}}), "TooMany Nothing ");
  EXPECT_EQ(names({{"rule_group[]", "others"}}), "Nothing ");
  EXPECT_EQ(names({{"file[]", "other.json"}}), "");
  EXPECT_EQ(names({{"match[]", "{severity='critical'}"}}), "TooMany ");
  EXPECT_THAT(get("/api/v1/rules", {{"exclude_alerts", "true"}}), Not(HasSubstr("\"alerts\"")));
  EXPECT_THAT(get("/api/v1/rules", {{"type", "odd"}}, 400), HasSubstr(R"(not supported value \"odd\")"));
  const Json page = Json::parse(get("/api/v1/rules", {{"group_limit", "1"}})).value()["data"];
  EXPECT_EQ(page["groups"].elements().size(), 1U);
  EXPECT_EQ(names({{"group_limit", "1"}, {"group_next_token", page["groupNextToken"].string_or("")}}), "Nothing ");
  EXPECT_THAT(get("/api/v1/rules", {{"group_limit", "1"}, {"group_next_token", "x"}}, 400), HasSubstr("group_next_token"));
}

TEST_F(PrometheusApiTest, ARecordingHoldsEveryEpochAndSampleExactly) {
  judge().begin_epoch({"shop", "prod"}, Instant(1'000'000'000'001));
  Batch batch;
  batch.service = {"shop", "prod"};
  batch.check = "app";
  batch.began = batch.at = Instant(1'000'123'456'789);
  batch.samples.push_back({{{"__name__", "a"}, {"text", "one \"two\" \\ \n"}}, 0.1});
  batch.samples.push_back({{{"__name__", "odd.name"}, {"odd label", "x"}}, INFINITY});
  judge().on_batch(batch);
  batch.began = batch.at = Instant(1'001'000'000'000);
  batch.samples.pop_back();
  batch.samples[0].value = series::stale_nan();
  judge().on_batch(batch);

  const std::string text = get("/api/v1/dump");

  EXPECT_THAT(text, HasSubstr("# EPOCH service=\"shop\",environment=\"prod\",release=\"\" 1000.000000001\n"));
  EXPECT_THAT(text,
              HasSubstr("a{text=\"one \\\"two\\\" \\\\ \\n\"} 0.1 1000.123456789\n# STALE a{text=\"one \\\"two\\\" \\\\ \\n\"} 1001\n"));
  EXPECT_THAT(text, HasSubstr("{\"odd.name\",\"odd label\"=\"x\"} +Inf 1000.123456789\n"));
  EXPECT_THAT(text, EndsWith("\n# EOF\n"));
}

/// All of a recording, with `between` called after each piece.
asio::awaitable<std::string> record(PrometheusApi* api, ServerRequest asked, std::function<void()> between) {
  ServerResponse response = co_await api->handle(std::move(asked));
  std::string out = response.body;
  while (true) {
    auto piece = co_await response.more();
    if (!piece) co_return "BROKEN OFF: " + piece.error().text();
    if (piece->empty()) co_return out;
    out += *piece;
    between();
  }
}

TEST_F(PrometheusApiTest, WhatComesAndGoesWhileARecordingIsMadeCostsNoOtherSample) {
  constexpr int kSeries = 1500;
  for (int i = 0; i < kSeries; ++i) sample(idle("instance-" + std::to_string(i)), i < 100 ? 1000 : 5000, i);
  sample(idle("long"), 5000, 0);
  // Eighths of a second, exact in binary: all within what the store keeps where no rule reaches further.
  for (int i = 1; i <= 2500; ++i) sample(idle("long"), 5000 + i / 8.0, i);
  int calls = 0;
  // The first hundred series expire, a few with each sample; their successors move down by as many places.
  std::function<void()> between = [this, &calls] { sample(idle("new"), 1000 + 7'300 + ++calls, 0); };

  const std::string text = test::run_for(context_, record(&*api_, request("/api/v1/dump", {}), between));

  for (int i = 100; i < kSeries; ++i)
    ASSERT_THAT(text, HasSubstr("instance=\"instance-" + std::to_string(i) + "\"} " + std::to_string(i) + " 5000\n"));
  std::size_t of_long = 0;
  for (std::size_t at = text.find("\"long\"}"); at != text.npos; at = text.find("\"long\"}", at + 1)) ++of_long;
  EXPECT_EQ(of_long, 2501U);
  EXPECT_THAT(text, HasSubstr("\"long\"} 1 5000.125\n"));
  EXPECT_THAT(text, HasSubstr("\"long\"} 2500 5312.5\n"));
  EXPECT_GT(calls, 3) << "in pieces";
  std::size_t lines = 0;
  for (std::size_t at = text.find("instance-"); at != text.npos; at = text.find("instance-", at + 1)) ++lines;
  EXPECT_LE(lines, static_cast<std::size_t>(kSeries)) << "none twice";
  EXPECT_THAT(text, EndsWith("# EOF\n"));
}

TEST_F(PrometheusApiTest, ARecordingOverItsBoundIsBrokenOffAndOnlySomeAreMadeAtOnce) {
  for (int i = 0; i < 3000; ++i) sample(idle("instance-" + std::to_string(i)), 1000, i);
  limits({.dumps_max = 1, .dump_bytes_max = 100'000});
  {
    const ServerResponse first = test::run_for(context_, api_->handle(request("/api/v1/dump", {})));
    EXPECT_EQ(test::run_for(context_, api_->handle(request("/api/v1/dump", {}))).status, 503);
  }

  const std::string text = get("/api/v1/dump");

  EXPECT_THAT(text, HasSubstr("BROKEN OFF"));
  EXPECT_THAT(text, Not(HasSubstr("# EOF")));
}

}  // namespace
}  // namespace rollbackd::api
