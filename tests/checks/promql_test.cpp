#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "checks/promql_answer.hpp"
#include "tests/checks/helpers.hpp"

namespace rollbackd::checks {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

/// A vector's answer whose elements are `elements`.
std::string vector_of(const std::string& elements, const std::string& more = "") {
  return R"({"status":"success","data":{"resultType":"vector","result":[)" + elements + "]}" + more + "}";
}

TEST(PromqlAnswer, ReadsVectorsAndScalarsInAnyOrderOfMembers) {
  const auto vector = read_promql_answer(
      R"({"infos":["x"],"data":{"stats":{"result":[1,"2"]},"result":[{"value":[1435781451.781,"1"],"metric":{"__name__":"up","job":"a"}},
         {"metric":{},"value":[1435781451,"NaN"]}],"resultType":"vector"},"warnings":["w1","w2"],"status":"success"})",
      10);
  const auto scalar = read_promql_answer(R"({"status":"success","data":{"resultType":"scalar","result":[1435781451.5,"-Inf"]}})", 10);

  ASSERT_TRUE(vector.has_value()) << vector.error().text();
  ASSERT_EQ(vector->elements.size(), 2U);
  EXPECT_THAT(vector->elements[0].labels, ElementsAre(Labels::Pair{"__name__", "up"}, Labels::Pair{"job", "a"}));
  EXPECT_EQ(vector->elements[0].value, 1);
  EXPECT_EQ(vector->elements[0].at_seconds, 1435781451.781);
  EXPECT_TRUE(std::isnan(vector->elements[1].value));
  EXPECT_EQ(vector->warnings, 2U);
  ASSERT_TRUE(scalar.has_value()) << scalar.error().text();
  ASSERT_EQ(scalar->elements.size(), 1U);
  EXPECT_EQ(scalar->elements[0].value, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(read_promql_answer(vector_of(""), 10)->elements.size(), 0U);
}

TEST(PromqlAnswer, WhatIsNoAnswerIsAnErrorOfItsKind) {
  const auto code = [](const std::string& body) { return read_promql_answer(body, 2).error().code; };
  const std::string element = R"({"metric":{},"value":[1,"1"]})";

  EXPECT_EQ(code(""), Errc::corrupt);
  EXPECT_EQ(code("<html>"), Errc::corrupt);
  EXPECT_EQ(code("null"), Errc::corrupt);
  EXPECT_EQ(code("{}"), Errc::corrupt);
  EXPECT_EQ(code("[]"), Errc::corrupt);
  EXPECT_EQ(code(vector_of(element) + "x"), Errc::corrupt);
  EXPECT_EQ(code(vector_of(element).substr(0, 80)), Errc::corrupt);
  EXPECT_EQ(code(R"({"status":"success","data":{}})"), Errc::corrupt);
  EXPECT_EQ(code(R"({"status":"success","data":{"resultType":"scalar","result":[]}})"), Errc::corrupt);
  EXPECT_EQ(code(R"({"status":"success","data":{"resultType":"matrix","result":[]}})"), Errc::unsupported);
  EXPECT_EQ(code(R"({"status":"success","data":{"resultType":"string","result":[1,"x"]}})"), Errc::unsupported);
  EXPECT_EQ(code(vector_of(R"({"metric":{},"histogram":[1,{}]})")), Errc::unsupported);
  EXPECT_EQ(code(vector_of(R"({"metric":{},"value":["1","x"]})")), Errc::unsupported);
  EXPECT_EQ(code(vector_of(R"({"metric":{"a":"1","a":"2"},"value":[1,"1"]})")), Errc::corrupt);
  EXPECT_EQ(code(vector_of(element + "," + element + "," + element)), Errc::too_large);
  EXPECT_EQ(code(std::string(100'000, '[')), Errc::corrupt) << "nesting is bounded";
  EXPECT_EQ(code(vector_of("{\"metric\":{\"a\":\"\xff\"},\"value\":[1,\"1\"]}")), Errc::corrupt);
  const auto refused = read_promql_answer(R"({"status":"error","errorType":"bad_data","error":"parse error"})", 2);
  EXPECT_EQ(refused.error().code, Errc::refused);
  EXPECT_EQ(refused.error().why, "bad_data: parse error");
}

class PromqlCheckTest : public CheckTest {
 protected:
  PromqlCheckTest() {
    settings_.name = "prom";
    settings_.type = config::CheckType::promql;
    settings_.url = server_.url("/base");
    settings_.interval = 20ms;
    settings_.timeout = 2s;
    settings_.body_bytes_max = 1 << 20;
    settings_.queries = {{"shop:errors:ratio", "sum(rate(errors[5m])) / 2 > 0.1"}};
  }
  std::string element(const std::string& labels, const std::string& value, Duration from_now = {}) {
    return R"({"metric":{)" + labels + R"(},"value":[)" + std::to_string((clock_.now() + from_now).seconds()) + ",\"" + value + "\"]}";
  }
  Batch ask() {
    if (!check_) make();
    return run_for(context_, check_->probe_now());
  }
  /// The server is in trouble: nothing is known but that.
  static void expect_unknown(const Batch& batch, const std::string& why) {
    EXPECT_THAT(batch.unobserved, HasSubstr(why));
    ASSERT_EQ(batch.samples.size(), 1U);
    EXPECT_EQ(value(batch, "promql_up"), 0);
    EXPECT_FALSE(batch.healthy.has_value()) << "its outage says nothing of the service";
  }
  WebServer server_{context_};
};

TEST_F(PromqlCheckTest, RecordsWhatItsQueryGivesUnderTheNameAndOurLabels) {
  server_.say("200 OK", vector_of(element(R"("__name__":"x","code":"500","job":"theirs")", "0.25")));

  const Batch batch = ask();

  EXPECT_EQ(batch.unobserved, "");
  ASSERT_EQ(batch.samples.size(), 2U);
  EXPECT_EQ(value(batch, "promql_up"), 1);
  EXPECT_EQ(batch.samples[1].value, 0.25);
  EXPECT_EQ(batch.samples[1].labels, (Labels{{"__name__", "shop:errors:ratio"},
                                             {"code", "500"},
                                             {"exported_job", "theirs"},
                                             {"service", "shop-api"},
                                             {"environment", "prod"},
                                             {"check", "prom"},
                                             {"instance", server_.place()},
                                             {"job", "shop-api"}}));
  EXPECT_THAT(server_.request, StartsWith("POST /base/api/v1/query HTTP/1.1\r\n"));
  EXPECT_THAT(server_.request, HasSubstr("Content-Type: application/x-www-form-urlencoded\r\n"));
  EXPECT_THAT(server_.request, HasSubstr("\r\n\r\nquery=sum%28rate%28errors%5B5m%5D%29%29%20%2F%202%20%3E%200.1&timeout="));
}

TEST_F(PromqlCheckTest, AnEmptyVectorIsAFactAndAScalarHasNoLabelsOfItsOwn) {
  server_.say("200 OK", vector_of(""));
  const Batch empty = ask();
  EXPECT_EQ(empty.unobserved, "");
  EXPECT_EQ(empty.samples.size(), 1U);

  server_.say("200 OK",
              R"({"status":"success","data":{"resultType":"scalar","result":[)" + std::to_string(clock_.now().seconds()) + R"(,"3"]}})");
  EXPECT_EQ(value(ask(), "shop:errors:ratio"), 3);
}

TEST_F(PromqlCheckTest, AllQueriesAreOneBatch) {
  settings_.queries = {{"a", "1"}, {"b", "2"}, {"c", "3"}};
  server_.say("200 OK", vector_of(element("", "1"), R"(,"warnings":["partial"])"));

  const Batch batch = ask();

  EXPECT_EQ(batch.samples.size(), 4U);
  EXPECT_EQ(value(batch, "c"), 1);
  EXPECT_EQ(server_.requests, 3);
  EXPECT_EQ(server_.connections, 1);
  EXPECT_EQ(check_->counters().warnings, 3U);
}

TEST_F(PromqlCheckTest, AServerInTroubleMakesNothingBad) {
  server_.say("503 Service Unavailable", R"({"status":"error","errorType":"unavailable","error":"too many queries"})");
  expect_unknown(ask(), "query shop:errors:ratio: the server refused the query: unavailable: too many queries");
  server_.say("502 Bad Gateway", "<html>");
  expect_unknown(ask(), "HTTP 502 Bad Gateway");
  server_.say("200 OK", R"({"status":"error","errorType":"bad_data","error":"parse error"})");
  expect_unknown(ask(), "parse error");
  server_.say("200 OK", "{\"status\":");
  expect_unknown(ask(), "no JSON");
  server_.say("200 OK", std::string(2 << 20, ' '));
  expect_unknown(ask(), "over body_bytes_max");
  server_.say("200 OK", vector_of(element("", "1", 60s)));
  expect_unknown(ask(), "clock");
  server_.say("200 OK", vector_of(element("", "1", -60s)));
  expect_unknown(ask(), "clock");
  EXPECT_EQ(check_->counters().unobserved, 7U);
  EXPECT_EQ(check_->counters().failed, 0U);

  settings_.timeout = 30ms;
  server_.answer = "";
  make();
  expect_unknown(ask(), "no answer within");
}

TEST_F(PromqlCheckTest, AResultCountsByTheWallClockThatWasSetSinceTheStartAndByTheOneBefore) {
  clock_.pretend_set_by(1h);

  server_.say("200 OK", vector_of(element("", "2", 1h)));
  EXPECT_EQ(value(ask(), "shop:errors:ratio"), 2);
  server_.say("200 OK", vector_of(element("", "3")));
  EXPECT_EQ(value(ask(), "shop:errors:ratio"), 3);
  server_.say("200 OK", vector_of(element("", "4", 30min)));
  EXPECT_THAT(ask().unobserved, HasSubstr("the result is not of now"));
}

TEST_F(PromqlCheckTest, TooManyElementsAreRefusedOverAllQueries) {
  settings_.queries = {{"a", "1"}, {"b", "2"}};
  settings_.sample_limit = 3;
  server_.say("200 OK", vector_of(element(R"("x":"1")", "1") + "," + element(R"("x":"2")", "1")));

  expect_unknown(ask(), "more than 3 elements");
}

TEST_F(PromqlCheckTest, ALargeAnswerIsReadAside) {
  std::string elements;
  for (int i = 0; i < 2000; ++i) elements += (i > 0 ? "," : "") + element("\"path\":\"/api/v1/things/" + std::to_string(i) + "\"", "1");
  server_.say("200 OK", vector_of(elements));

  const Batch batch = ask();

  EXPECT_EQ(batch.unobserved, "");
  EXPECT_EQ(batch.samples.size(), 2001U);
}

TEST_F(PromqlCheckTest, OurOwnTroubleDoesNotSayThatTheServerIsDown) {
  settings_.url = "http://no-such-host.invalid/";

  const Batch batch = ask();

  EXPECT_NE(batch.unobserved, "");
  EXPECT_TRUE(batch.samples.empty());
}

TEST_F(PromqlCheckTest, ItsSourceFeedsWhatItRecordsAndNothingElse) {
  make();

  const Source source = check_->source();

  EXPECT_THAT(source.metrics, ElementsAre("shop:errors:ratio"));
  EXPECT_THAT(source.always, ElementsAre("promql_up"));
  EXPECT_EQ(source.staleness, 2040ms);
}

TEST_F(PromqlCheckTest, EndsWhenCancelledInTheMiddleOfAQuery) {
  server_.answer = "";
  make();
  {
    test::Background running(context_, check_->run());
    ASSERT_TRUE(run_until(context_, [&] { return server_.requests == 1; }));
  }

  EXPECT_TRUE(batches_.empty());
}

TEST_F(PromqlCheckTest, SettingsThatCannotBeMeantAreRefused) {
  const auto refused = [&](std::map<std::string, std::string> queries) {
    settings_.queries = std::move(queries);
    const auto made = make_check(context_of());
    return made.has_error() && made.error().code == Errc::invalid_config;
  };

  EXPECT_TRUE(refused({}));
  EXPECT_TRUE(refused({{"a b", "1"}}));
  EXPECT_TRUE(refused({{"promql_up", "1"}}));
  EXPECT_TRUE(refused({{"a", " "}}));
  settings_.url += "?x=1";
  EXPECT_TRUE(refused({{"a", "1"}}));
}

}  // namespace
}  // namespace rollbackd::checks
