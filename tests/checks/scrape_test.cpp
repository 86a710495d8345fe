#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>

#include "tests/checks/helpers.hpp"
#include "tests/support/gzip.hpp"

namespace rollbackd::checks {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class ScrapeCheckTest : public CheckTest {
 protected:
  ScrapeCheckTest() {
    settings_.name = "app";
    settings_.type = config::CheckType::scrape;
    settings_.url = server_.url("/metrics");
    settings_.interval = 20ms;
    settings_.timeout = 2s;
    settings_.body_bytes_max = 1 << 20;
  }
  void say(const std::string& body, const std::string& headers = "") {
    server_.answer = "HTTP/1.1 200 OK\r\n" + headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  Batch scrape() {
    if (!check_) make();
    return run_for(context_, check_->probe_now());
  }
  /// The names of the batch's samples beside those that come always.
  static std::vector<std::string> brought(const Batch& batch) {
    std::vector<std::string> out;
    for (std::size_t i = 4; i < batch.samples.size(); ++i) out.emplace_back(batch.samples[i].labels.name());
    return out;
  }
  /// The target is down, and that is all that is known.
  static void expect_down(const Batch& batch, const std::string& why) {
    EXPECT_THAT(batch.unobserved, HasSubstr(why));
    ASSERT_EQ(batch.samples.size(), 4U);
    EXPECT_EQ(value(batch, "up"), 0);
    EXPECT_GT(value(batch, "scrape_duration_seconds"), 0);
    EXPECT_EQ(value(batch, "scrape_samples_scraped"), 0);
    EXPECT_FALSE(batch.healthy.has_value());
  }
  WebServer server_{context_};
};

TEST_F(ScrapeCheckTest, BringsTheTargetsSamplesWithOurLabelsAndItsOwn) {
  say("# TYPE requests_total counter\nrequests_total{code=\"200\"} 5\nqueue NaN\n");

  const Batch batch = scrape();

  EXPECT_EQ(batch.unobserved, "");
  EXPECT_FALSE(batch.healthy.has_value()) << "rules judge metrics; a scrape has no opinion of its own";
  EXPECT_THAT(batch.detail, StartsWith("HTTP 200 OK in "));
  EXPECT_THAT(batch.detail, HasSubstr(", 2 samples"));
  EXPECT_THAT(brought(batch), ElementsAre("requests_total", "queue"));
  EXPECT_EQ(batch.samples[4].value, 5);
  EXPECT_EQ(batch.samples[4].labels, (Labels{{"__name__", "requests_total"},
                                             {"code", "200"},
                                             {"service", "shop-api"},
                                             {"environment", "prod"},
                                             {"check", "app"},
                                             {"instance", server_.place()},
                                             {"job", "shop-api"}}));
  EXPECT_TRUE(std::isnan(value(batch, "queue")));
  EXPECT_EQ(value(batch, "up", "job", "shop-api"), 1);
  EXPECT_EQ(value(batch, "scrape_samples_scraped"), 2);
  EXPECT_EQ(value(batch, "scrape_samples_post_metric_relabeling"), 2);
  EXPECT_EQ(check_->counters().ok, 1U);
  EXPECT_EQ(batches_.size(), 1U);
}

TEST_F(ScrapeCheckTest, ATargetsOwnLabelOfOneOfOurNamesIsExported) {
  settings_.job = "api";
  say("a{job=\"x\",instance=\"y\",exported_job=\"z\",service=\"\"} 1\n");

  const Batch batch = scrape();

  EXPECT_EQ(batch.samples.back().labels, (Labels{{"__name__", "a"},
                                                 {"exported_exported_job", "x"},
                                                 {"exported_job", "z"},
                                                 {"exported_instance", "y"},
                                                 {"service", "shop-api"},
                                                 {"environment", "prod"},
                                                 {"check", "app"},
                                                 {"instance", server_.place()},
                                                 {"job", "api"}}));
}

TEST_F(ScrapeCheckTest, AsksAsPrometheusDoes) {
  settings_.timeout = 500ms;
  settings_.headers = {{"X-Tenant", "a"}};
  say("a 1\n");

  scrape();

  EXPECT_THAT(server_.request, StartsWith("GET /metrics HTTP/1.1\r\n"));
  EXPECT_THAT(server_.request, HasSubstr("Accept: application/openmetrics-text;version=1.0.0,"));
  EXPECT_THAT(server_.request, HasSubstr("Accept-Encoding: gzip\r\n"));
  EXPECT_THAT(server_.request, HasSubstr("X-Prometheus-Scrape-Timeout-Seconds: 0.5\r\n"));
  EXPECT_THAT(server_.request, HasSubstr("X-Tenant: a\r\n"));
}

TEST_F(ScrapeCheckTest, ReadsPackedAnswersAndOpenMetricsByItsContentType) {
  say(test::gzip("a 1\n# EOF\n"), "Content-Encoding: gzip\r\nContent-Type: application/openmetrics-text; version=1.0.0\r\n");
  EXPECT_THAT(brought(scrape()), ElementsAre("a"));

  say(test::gzip("a 1\n"), "Content-Encoding: gzip\r\nContent-Type: application/openmetrics-text; version=1.0.0\r\n");
  expect_down(scrape(), "# EOF");
  say("\x1f\x8bnot really", "Content-Encoding: gzip\r\n");
  expect_down(scrape(), "cannot be unpacked");
  say("a 1\n", "Content-Encoding: br\r\n");
  expect_down(scrape(), "\"br\" was not asked for");
}

TEST_F(ScrapeCheckTest, ABombIsNotUnpackedBeyondTheBodysBound) {
  settings_.body_bytes_max = 64 << 10;
  const std::string bomb = test::gzip(std::string(8 << 20, '\n'));
  ASSERT_LT(bomb.size(), 64U << 10);
  say(bomb, "Content-Encoding: gzip\r\n");

  expect_down(scrape(), "over body_bytes_max");
}

TEST_F(ScrapeCheckTest, KeepAndDropAreAnchoredAndDropWins) {
  settings_.keep = {"http_.*", "up"};
  settings_.drop = {".*_bucket"};
  say("http_requests_total 1\nhttp_latency_bucket{le=\"1\"} 1\nhttp_latency_sum 1\nmy_http_requests 1\nprocess_x 1\n");

  const Batch batch = scrape();

  EXPECT_THAT(brought(batch), ElementsAre("http_requests_total", "http_latency_sum"));
  EXPECT_EQ(value(batch, "scrape_samples_scraped"), 5);
  EXPECT_EQ(value(batch, "scrape_samples_post_metric_relabeling"), 2);
}

TEST_F(ScrapeCheckTest, OverTheSampleLimitTheWholeScrapeIsRefused) {
  settings_.sample_limit = 2;
  settings_.drop = {"dropped"};
  say("a 1\ndropped 1\nb 1\n");
  EXPECT_EQ(value(scrape(), "up"), 1) << "what is dropped does not count";

  say("a 1\nb 1\nc 1\n");

  expect_down(scrape(), "more than 2 samples");
}

TEST_F(ScrapeCheckTest, OfASeriesGivenTwiceTheFirstCounts) {
  say("a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\nup 7\n");

  const Batch batch = scrape();

  EXPECT_THAT(brought(batch), ElementsAre("a"));
  EXPECT_EQ(value(batch, "a"), 1);
  EXPECT_EQ(value(batch, "up"), 1) << "a target's own cannot stand for ours";
  EXPECT_EQ(check_->counters().duplicates, 2U);
  EXPECT_THAT(batch.detail, HasSubstr("2 duplicates dropped"));
}

TEST_F(ScrapeCheckTest, ASampleFromAnotherTimeDoesNotCount) {
  const std::int64_t now = clock_.now().millis();
  say("near " + std::string("1 ") + std::to_string(now - 3000) + "\nold 1 " + std::to_string(now - 60'000) + "\nahead 1 " +
      std::to_string(now + 60'000) + "\nabsurd 1 -9223372036854775808\n");

  const Batch batch = scrape();

  EXPECT_THAT(brought(batch), ElementsAre("near"));
  EXPECT_EQ(check_->counters().skewed, 3U);
}

TEST_F(ScrapeCheckTest, ATimestampCountsByTheWallClockThatWasSetSinceTheStartAndByTheOneBefore) {
  for (const Duration set_by : {Duration(1h), Duration(-1h)}) {
    SCOPED_TRACE(format_duration(set_by));
    check_.reset();
    clock_.pretend_set_by(set_by);
    const ClockReading now = clock_.read();
    say("by_the_wall 1 " + std::to_string(now.stamp.wall_ns / 1'000'000) + "\nby_our_start 1 " + std::to_string(now.instant.millis()) +
        "\nbetween 1 " + std::to_string((now.instant + set_by / 2).millis()) + "\n");

    EXPECT_THAT(brought(scrape()), ElementsAre("by_the_wall", "by_our_start"));
  }
}

TEST_F(ScrapeCheckTest, WhatIsNotAScrapeSaysThatTheTargetIsDownAndNothingElse) {
  server_.say("500 Internal Server Error", "a 1\n");
  expect_down(scrape(), "HTTP 500 Internal Server Error in ");
  server_.say("302 Found", "");
  expect_down(scrape(), "only 200 brings metrics");
  server_.say("200 OK", "<html>");
  expect_down(scrape(), "line 1, column 1: expected a metric's name");
  server_.say("200 OK", std::string(2 << 20, '\n'));
  expect_down(scrape(), "over body_bytes_max");
  server_.answer = "no HTTP at all\r\n\r\n";
  expect_down(scrape(), "is not HTTP");
  EXPECT_EQ(check_->counters().failed, 5U);
  EXPECT_EQ(check_->counters().ok, 0U);
}

TEST_F(ScrapeCheckTest, ATargetThatIsSilentOrGoneIsDown) {
  settings_.timeout = 30ms;
  server_.answer = "";
  expect_down(scrape(), "no answer within 30ms");
  {
    asio::ip::tcp::acceptor gone(context_, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    settings_.url = "http://127.0.0.1:" + std::to_string(gone.local_endpoint().port()) + "/";
  }
  make();
  expect_down(scrape(), "Connection refused");
}

TEST_F(ScrapeCheckTest, OurOwnTroubleDoesNotSayThatTheTargetIsDown) {
  settings_.url = "http://no-such-host.invalid/metrics";
  Batch batch = scrape();
  EXPECT_NE(batch.unobserved, "");
  EXPECT_TRUE(batch.samples.empty());

  settings_.url = server_.url();
  settings_.bearer_token_file = "/no/such/file";
  make();
  batch = scrape();
  EXPECT_THAT(batch.unobserved, HasSubstr("/no/such/file"));
  EXPECT_TRUE(batch.samples.empty());
  EXPECT_EQ(check_->counters().unobserved, 1U);
  EXPECT_EQ(server_.requests, 0);
}

TEST_F(ScrapeCheckTest, CredentialsAreReadAtEachScrape) {
  const test::TempDir dir;
  const std::string file = dir / "secret";
  const auto write = [&](const std::string& text) { std::ofstream(file, std::ios::trunc) << text; };
  say("a 1\n");
  write("open sesame\n");
  settings_.username = "Aladdin";
  settings_.password_file = file;
  make();

  scrape();
  EXPECT_THAT(server_.request, HasSubstr("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"));
  write("other");
  scrape();
  EXPECT_THAT(server_.request, HasSubstr("Authorization: Basic QWxhZGRpbjpvdGhlcg==\r\n"));
  write("");
  EXPECT_THAT(scrape().unobserved, HasSubstr("it is empty"));

  settings_.username = settings_.password_file = "";
  settings_.bearer_token_file = file;
  write("token\n");
  make();
  EXPECT_EQ(value(scrape(), "up"), 1);
  EXPECT_THAT(server_.request, HasSubstr("Authorization: Bearer token\r\n"));
  write("two\nlines");
  EXPECT_THAT(scrape().unobserved, Not("")) << "it would end the header";
}

TEST_F(ScrapeCheckTest, ScrapesOnItsGridOverOneConnection) {
  say("a 1\n");
  make();
  test::Background running(context_, check_->run());

  ASSERT_TRUE(batches_arrive(4));

  EXPECT_EQ(server_.connections, 1);
  const Duration between = batches_[3].began - batches_[2].began;
  EXPECT_NEAR(static_cast<double>(between.count()), 20e6, 15e6);
}

TEST_F(ScrapeCheckTest, ALargeExpositionHoldsNobodyUp) {
  std::string body;
  for (int i = 0; i < 3000; ++i)
    body += "some_metric_total{path=\"/api/v1/things/" + std::to_string(i) + "\",code=\"200\"} " + std::to_string(i) + "\n";
  say(test::gzip(body), "Content-Encoding: gzip\r\n");
  make();
  std::size_t turns = 0;
  bool done = false;
  std::function<void()> tick = [&] {
    ++turns;
    if (!done) asio::post(context_, tick);
  };
  asio::post(context_, tick);

  const Batch batch = run_for(context_, check_->probe_now());
  done = true;

  EXPECT_EQ(batch.samples.size(), 3004U);
  EXPECT_GT(turns, body.size() / (16 << 10)) << "others had their turns in between";
}

TEST_F(ScrapeCheckTest, EndsWhenCancelledInTheMiddleOfAScrape) {
  server_.answer = "";
  make();
  {
    test::Background running(context_, check_->run());
    ASSERT_TRUE(run_until(context_, [&] { return server_.requests == 1; }));
  }

  EXPECT_TRUE(batches_.empty());
}

TEST_F(ScrapeCheckTest, ASecondOpinionMayBeCancelledAtAnyMoment) {
  std::string body;
  for (int i = 0; i < 400; ++i) body += "some_metric_total{path=\"/api/v1/things/that/are/many/" + std::to_string(i) + "\"} 1\n";
  say(test::gzip(body), "Content-Encoding: gzip\r\n");
  make();
  int whole = 0, cancelled = 0;
  for (int turns = 0; turns < 60; ++turns) {
    asio::cancellation_signal signal;
    std::optional<Batch> batch;
    bool threw = false;
    asio::co_spawn(context_, check_->probe_now(), asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e, Batch b) {
                     threw = e != nullptr;
                     batch.emplace(std::move(b));
                   }));
    ASSERT_TRUE(run_until(context_, [&] { return server_.requests == turns + 1; }));
    for (int i = 0; i < turns && !batch; ++i) context_.restart(), context_.run_one_for(1s);
    asio::dispatch(context_, [&] { signal.emit(asio::cancellation_type::terminal); });
    ASSERT_TRUE(run_until(context_, [&] { return batch.has_value(); })) << turns;
    context_.restart(), context_.poll();  // The cancellation's own handler looks at the signal.

    EXPECT_FALSE(threw) << turns;
    (batch->unobserved.empty() ? whole : cancelled) += 1;
  }

  EXPECT_GT(cancelled, 5);
  EXPECT_GT(whole, 5);
  EXPECT_EQ(batches_.size(), static_cast<std::size_t>(whole)) << "a cancelled one goes nowhere";
}

TEST_F(ScrapeCheckTest, ItsSourceMayFeedAnythingAndSaysWhatComesAlways) {
  make();

  const Source source = check_->source();

  EXPECT_TRUE(source.metrics.empty());
  EXPECT_THAT(source.always,
              ElementsAre("up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling"));
  EXPECT_EQ(source.staleness, 2040ms);
}

TEST_F(ScrapeCheckTest, SettingsThatCannotBeMeantAreRefused) {
  const auto refused = [&] {
    const auto made = make_check(context_of());
    return made.has_error() && made.error().code == Errc::invalid_config;
  };
  const config::CheckSettings good = settings_;
  const auto with = [&](auto change) {
    settings_ = good;
    change(settings_);
    return refused();
  };

  EXPECT_FALSE(refused());
  EXPECT_TRUE(with([](auto& s) { s.keep = {"("}; }));
  EXPECT_TRUE(with([](auto& s) { s.drop = {"(?=a)"}; }));
  EXPECT_TRUE(with([](auto& s) { s.sample_limit = 0; }));
  EXPECT_TRUE(with([](auto& s) { s.username = "a"; }));
  EXPECT_TRUE(with([](auto& s) { s.username = "a:b", s.password_file = "/x"; }));
  EXPECT_TRUE(with([](auto& s) { s.username = "a", s.password_file = s.bearer_token_file = "/x"; }));
  EXPECT_TRUE(with([](auto& s) { s.bearer_token_file = "/x", s.headers = {{"authorization", "x"}}; }));
}

}  // namespace
}  // namespace rollbackd::checks
