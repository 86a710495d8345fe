// `rollbackctl query` and `dump`: tables that people can read, the place of an error in the expression, and exit codes.
#include "cli/query.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "io/http_server.hpp"
#include "tests/cli/run_ctl.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::cli {
namespace {

namespace asio = boost::asio;
using testing::HasSubstr;
using testing::StartsWith;

Json parsed(const std::string& text) { return Json::parse(text).value(); }

TEST(RenderQuery, AVectorHasARowASeries) {
  EXPECT_EQ(render_query(parsed(R"({"resultType": "vector", "result": [
              {"metric": {"__name__": "up", "job": "a"}, "value": [1000.5, "1"]}, {"metric": {}, "value": [1000.5, "+Inf"]}]})")),
            "SERIES       VALUE\nup{job=\"a\"}  1\n{}           +Inf\n");
  EXPECT_EQ(render_query(parsed(R"({"resultType": "vector", "result": []})")), "no series\n");
}

TEST(RenderQuery, ARangeHasARowASampleAndNamesEachSeriesOnce) {
  EXPECT_EQ(render_query(parsed(R"({"resultType": "matrix", "result": [
              {"metric": {"__name__": "up"}, "values": [[1000.5, "1"], [1001.5, "0"]]}]})")),
            "SERIES  TIME                      VALUE\n"
            "up      1970-01-01T00:16:40.500Z  1\n"
            "        1970-01-01T00:16:41.500Z  0\n");
}

TEST(RenderQuery, AScalarAndATextStandAlone) {
  EXPECT_EQ(render_query(parsed(R"({"resultType": "scalar", "result": [1000, "12.5"]})")), "12.5\n");
  EXPECT_EQ(render_query(parsed(R"({"resultType": "string", "result": [1000, "x"]})")), "x\n");
}

TEST(RenderQuery, AnErrorMarksItsColumn) {
  EXPECT_EQ(render_query_error("sum(up", R"(invalid parameter "query": 1:7: parse error: unclosed left parenthesis)"),
            "parse error: unclosed left parenthesis\n  sum(up\n        ^\n");
  EXPECT_EQ(render_query_error("1 +\n foo(", R"(invalid parameter "query": 2:2: parse error: unknown function)"),
            "parse error: unknown function\n   foo(\n   ^\n");
  EXPECT_EQ(render_query_error("a * b", "many-to-many matching not allowed (1:3)"), "many-to-many matching not allowed\n  a * b\n    ^\n");
  EXPECT_EQ(render_query_error("a", "it took (too) long"), "it took (too) long\n") << "no place, no mark";
  EXPECT_EQ(render_query_error("a", "odd (9:9)"), "odd\n") << "a line that is not there";
}

/// A daemon's API on a thread of its own that remembers what it was asked.
class QueryCommand : public testing::Test {
 protected:
  QueryCommand() {
    port_ = server_.listen_tcp("127.0.0.1:0").value();
    serving_.emplace(context_, server_.run());
    thread_ = std::thread([this] {
      while (!ended_) context_.run_for(std::chrono::milliseconds(5));
    });
  }
  ~QueryCommand() override {
    ended_ = true;
    thread_.join();
    context_.restart();
    serving_.reset();
  }
  Ran run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--url", "http://127.0.0.1:" + std::to_string(port_)});
    return ctl(std::move(arguments));
  }

  io::ServerResponse response_;
  io::ServerRequest seen_;
  asio::io_context context_{1};
  int port_ = 0;
  test::TempDir directory_;

 private:
  asio::awaitable<io::ServerResponse> answer(io::ServerRequest request) {
    seen_ = std::move(request);
    co_return response_;
  }
  io::HttpServer server_{context_.get_executor(), [this](io::ServerRequest request) { return answer(std::move(request)); }};
  std::optional<test::Background> serving_;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

TEST_F(QueryCommand, AnInstantIsAskedForAsAFormAndWarningsGoToStandardError) {
  response_.body =
      R"({"status":"success","data":{"resultType":"scalar","result":[1,"2"]},"warnings":["blind"],"infos":["PromQL info: x"]})";

  const Ran ran = run({"query", "a+b{c=\"d&e\"}", "--time", "2026-11-20T13:04:05.5Z"});

  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out, "2\n");
  EXPECT_EQ(ran.err, "rollbackctl: warning: blind\nrollbackctl: info: PromQL info: x\n");
  EXPECT_EQ(seen_.path, "/api/v1/query");
  const auto form = io::parse_form(seen_.body).value();
  EXPECT_THAT(form, testing::ElementsAre(testing::Pair("query", "a+b{c=\"d&e\"}"), testing::Pair("time", "1795179845.500")));
}

TEST_F(QueryCommand, ARangeIsAskedForWithItsStep) {
  response_.body = R"({"status":"success","data":{"resultType":"matrix","result":[]}})";

  const Ran ran = run({"query", "up", "--time", "2026-11-20T13:04:05Z", "--range", "10m"});
  const auto form = io::parse_form(seen_.body).value();
  const Ran other = run({"query", "up", "--start", "2026-11-20T13:04:05Z", "--end", "2026-11-20T13:04:06Z", "--step", "500ms"});
  const auto with_step = io::parse_form(seen_.body).value();

  EXPECT_EQ(ran.out, "no series\n");
  EXPECT_EQ(seen_.path, "/api/v1/query_range");
  EXPECT_THAT(form, testing::ElementsAre(testing::Pair("end", "1795179845.000"), testing::Pair("query", "up"),
                                         testing::Pair("start", "1795179245.000"), testing::Pair("step", "30.000")));
  EXPECT_EQ(other.code, 0);
  EXPECT_THAT(with_step, testing::Contains(testing::Pair("step", "0.500")));
}

TEST_F(QueryCommand, ARefusalIs1AndMarksTheColumn) {
  response_.status = 400;
  response_.body = R"({"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:4: parse error: no"})";

  const Ran ran = run({"query", "sum("});
  const Ran json = run({"--format", "json", "query", "sum("});

  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "rollbackctl: parse error: no\n  sum(\n     ^\n");
  EXPECT_EQ(json.code, 1);
  EXPECT_EQ(parsed(json.out)["errorType"].string_or(""), "bad_data");
}

TEST_F(QueryCommand, WhatDoesNotGoTogetherIsSaidWithoutAskingAnybody) {
  EXPECT_THAT(run({"query", "up", "--step", "1s"}).err, HasSubstr("--step goes with --range"));
  EXPECT_THAT(run({"query", "up", "--range", "1m", "--start", "5m"}).err, HasSubstr("give --range, or --start and --end"));
  EXPECT_THAT(run({"query", "up", "--end", "5m"}).err, HasSubstr("--end needs --start"));
  EXPECT_THAT(run({"query", "up", "--time", "soon"}).err, HasSubstr("soon"));
  EXPECT_EQ(seen_.path, "");
  EXPECT_EQ(ctl({"--url", "unix:" + (directory_ / "nobody"), "query", "up"}).code, 3);
}

TEST_F(QueryCommand, ARecordingIsWrittenOnlyWhenItIsWhole) {
  const std::string file = directory_ / "recording";
  response_.content_type = "text/plain";
  response_.body = "a 1 1000\n# EOF\n";

  const Ran whole = run({"dump", file});
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  const Ran shown = run({"dump", "-"});
  response_.body = "a 1 1000\n";
  const Ran part = run({"dump", directory_ / "other"});

  EXPECT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(text.str(), "a 1 1000\n# EOF\n");
  EXPECT_EQ(shown.out, text.str());
  EXPECT_EQ(part.code, 1);
  EXPECT_THAT(part.err, HasSubstr("not whole"));
  EXPECT_FALSE(std::ifstream(directory_ / "other"));
}

}  // namespace
}  // namespace rollbackd::cli
