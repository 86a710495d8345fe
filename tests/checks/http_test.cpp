#include <gmock/gmock.h>

#include <cmath>

#include "tests/checks/helpers.hpp"

namespace rollbackd::checks {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class HttpCheckTest : public CheckTest {
 protected:
  HttpCheckTest() {
    settings_.name = "health";
    settings_.type = config::CheckType::http;
    settings_.url = server_.url();
    settings_.interval = 20ms;
    settings_.timeout = 2s;
  }
  WebServer server_{context_};
};

TEST_F(HttpCheckTest, AGoodAnswerIsASuccessWithItsSeries) {
  make();

  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_EQ(batch.service, (ServiceKey{"shop-api", "prod"}));
  EXPECT_EQ(batch.check, "health");
  EXPECT_EQ(batch.healthy, true);
  EXPECT_EQ(batch.unobserved, "");
  EXPECT_THAT(batch.detail, StartsWith("HTTP 200 OK in "));
  EXPECT_EQ(value(batch, "probe_success"), 1);
  EXPECT_EQ(value(batch, "probe_http_status_code"), 200);
  EXPECT_EQ(value(batch, "probe_timed_out"), 0);
  EXPECT_EQ(value(batch, "probe_consecutive_failures"), 0);
  EXPECT_EQ(value(batch, "probe_failing_seconds"), 0);
  EXPECT_GT(value(batch, "probe_duration_seconds"), 0);
  EXPECT_EQ(batch.samples[0].labels, (Labels{{"__name__", "probe_success"},
                                             {"service", "shop-api"},
                                             {"environment", "prod"},
                                             {"check", "health"},
                                             {"instance", server_.place()}}));
}

TEST_F(HttpCheckTest, ASecondOpinionAlsoGoesThroughTheSink) {
  make();
  const Instant before = clock_.now();

  run_for(context_, check_->probe_now());

  ASSERT_EQ(batches_.size(), 1U);
  EXPECT_GE(batches_[0].began, before);
  EXPECT_LE(batches_[0].began, clock_.now());
}

TEST_F(HttpCheckTest, AWrongStatusIsAFailureThatSaysItself) {
  server_.say("500 Internal Server Error");
  make();

  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_EQ(batch.healthy, false);
  EXPECT_EQ(value(batch, "probe_success"), 0);
  EXPECT_EQ(value(batch, "probe_http_status_code"), 500);
  EXPECT_THAT(batch.detail, StartsWith("HTTP 500 Internal Server Error in "));
}

TEST_F(HttpCheckTest, FailuresInARowAreCountedInExactMultiplesOfTheInterval) {
  server_.say("503 Service Unavailable");
  make();
  test::Background running(context_, check_->run());

  ASSERT_TRUE(batches_arrive(5));

  double before = -1;
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(value(batches_[i], "probe_consecutive_failures"), static_cast<double>(i + 1));
    const double failing = value(batches_[i], "probe_failing_seconds"), slots = std::round(failing / 0.02);
    EXPECT_EQ(failing, std::chrono::duration<double>(static_cast<std::int64_t>(slots) * 20ms).count());
    EXPECT_GT(failing, before);
    before = failing;
  }
  EXPECT_EQ(value(batches_[0], "probe_failing_seconds"), 0);
}

TEST_F(HttpCheckTest, ASuccessEndsTheRow) {
  server_.say("503 Service Unavailable");
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(batches_arrive(2));
  server_.say("200 OK");

  ASSERT_TRUE(run_until(context_, [&] { return batches_.back().healthy == true; }));

  EXPECT_EQ(value(batches_.back(), "probe_consecutive_failures"), 0);
  EXPECT_EQ(value(batches_.back(), "probe_failing_seconds"), 0);
}

TEST_F(HttpCheckTest, ANewEpochBeginsANewRow) {
  server_.say("503 Service Unavailable");
  make();
  run_for(context_, check_->probe_now());
  run_for(context_, check_->probe_now());

  check_->begin_epoch();
  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_EQ(value(batch, "probe_consecutive_failures"), 1);
  EXPECT_EQ(value(batch, "probe_failing_seconds"), 0);
}

TEST_F(HttpCheckTest, ASecondOpinionCountsAsItsRealTimeAndLeavesTheGridAlone) {
  server_.say("503 Service Unavailable");
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(batches_arrive(2));
  const Instant first = batches_[0].began;

  const Batch opinion = run_for(context_, check_->probe_now());
  const std::size_t count = batches_.size();
  ASSERT_TRUE(batches_arrive(count + 2));

  EXPECT_NEAR(value(opinion, "probe_failing_seconds"), std::chrono::duration<double>(opinion.began - first).count(), 0.02);
  const double slots = value(batches_.back(), "probe_failing_seconds") / 0.02;
  EXPECT_NEAR(slots, std::round(slots), 1e-6);
}

TEST_F(HttpCheckTest, KeepsItsConnectionWhileAllIsWellAndTakesANewOneAfterEachFailure) {
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(batches_arrive(3));
  EXPECT_EQ(server_.connections, 1);

  server_.say("503 Service Unavailable");
  ASSERT_TRUE(run_until(context_, [&] { return !batches_.empty() && value(batches_.back(), "probe_consecutive_failures") == 3; }));

  EXPECT_EQ(server_.connections, 3);  // The first failure came over the kept one.
}

TEST_F(HttpCheckTest, NoAnswerInTimeIsAFailureByTimeout) {
  server_.answer = "";
  settings_.timeout = 30ms;
  make();

  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_EQ(batch.healthy, false);
  EXPECT_EQ(value(batch, "probe_timed_out"), 1);
  EXPECT_EQ(value(batch, "probe_http_status_code"), 0);
  EXPECT_EQ(batch.detail, "no answer within 30ms");
}

TEST_F(HttpCheckTest, ASlotWhileTheProbeBeforeStillRunsIsSkippedAndCounted) {
  server_.answer = "";
  settings_.timeout = 50ms;  // Two and a half intervals.
  make();
  test::Background running(context_, check_->run());

  ASSERT_TRUE(batches_arrive(2));

  EXPECT_GE(check_->counters().late, 2U);
  EXPECT_EQ(check_->counters().failed, 2U);
  EXPECT_GE(value(batches_[1], "probe_failing_seconds"), 0.06);
}

TEST_F(HttpCheckTest, ARefusedConnectionIsAFailureOfTheService) {
  {
    asio::ip::tcp::acceptor gone(context_, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    settings_.url = "http://127.0.0.1:" + std::to_string(gone.local_endpoint().port()) + "/";
  }
  make();

  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_EQ(batch.healthy, false);
  EXPECT_EQ(value(batch, "probe_success"), 0);
  EXPECT_THAT(batch.detail, HasSubstr("Connection refused"));
}

TEST_F(HttpCheckTest, ANameThatDoesNotResolveSaysNothingOfTheService) {
  settings_.url = "http://no-such-host.invalid/";
  make();

  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_NE(batch.unobserved, "");
  EXPECT_TRUE(batch.samples.empty());
  EXPECT_FALSE(batch.healthy.has_value());
  EXPECT_EQ(check_->counters().unobserved, 1U);
  EXPECT_EQ(check_->counters().failed, 0U);
}

TEST_F(HttpCheckTest, TheBodyMustMatchAndMustNotMatch) {
  settings_.body_matches = "\"status\":\\s*\"up\"";
  settings_.body_not_matches = "maintenance";
  make();

  server_.say("200 OK", "{\"status\": \"up\"}");
  EXPECT_EQ(run_for(context_, check_->probe_now()).healthy, true);
  server_.say("200 OK", "{\"status\": \"down\"}");
  EXPECT_THAT(run_for(context_, check_->probe_now()).detail, HasSubstr("but the body does not match"));
  server_.say("200 OK", "{\"status\": \"up\", \"maintenance\": 1}");
  EXPECT_EQ(run_for(context_, check_->probe_now()).healthy, false);
}

TEST_F(HttpCheckTest, AnEvilReasonIsMadePrintable) {
  server_.answer = "HTTP/1.1 500 \x1b[31mred\r\nContent-Length: 0\r\n\r\n";
  make();

  const Batch batch = run_for(context_, check_->probe_now());

  EXPECT_EQ(batch.detail.find('\x1b'), batch.detail.npos);
}

TEST_F(HttpCheckTest, StatusesMayBeNumbersClassesAndRanges) {
  settings_.status = {"204", "3xx", "500-502"};
  make();
  const auto healthy_at = [&](const std::string& status) {
    server_.say(status);
    return run_for(context_, check_->probe_now()).healthy;
  };

  EXPECT_EQ(healthy_at("204 No Content"), true);
  EXPECT_EQ(healthy_at("302 Found"), true);
  EXPECT_EQ(healthy_at("502 Bad Gateway"), true);
  EXPECT_EQ(healthy_at("503 Service Unavailable"), false);
  EXPECT_EQ(healthy_at("200 OK"), false);
}

TEST_F(HttpCheckTest, SettingsThatCannotBeMeantAreRefused) {
  settings_.status = {"2yz"};
  EXPECT_EQ(make_check(context_of()).error().code, Errc::invalid_config);
  settings_.status = {"2xx"};
  settings_.body_matches = "(";
  EXPECT_EQ(make_check(context_of()).error().code, Errc::invalid_config);
  settings_.body_matches = "";
  settings_.url = "https://127.0.0.1/";
  EXPECT_EQ(make_check(context_of()).error().code, Errc::unsupported);
}

TEST_F(HttpCheckTest, ItsSourceIsBlindAfterTwoIntervalsAndTheTimeout) {
  make();

  const Source source = check_->source();

  EXPECT_EQ(source.staleness, 2040ms);
  EXPECT_EQ(source.metrics.size(), 6U);
}

TEST_F(HttpCheckTest, EndsWhenCancelledInTheMiddleOfAProbeAndDeliversNothingMore) {
  server_.answer = "";
  make();
  {
    test::Background running(context_, check_->run());
    ASSERT_TRUE(run_until(context_, [&] { return server_.requests == 1; }));
  }

  EXPECT_TRUE(batches_.empty());
}

}  // namespace
}  // namespace rollbackd::checks
