#include <gmock/gmock.h>

#include "io/tcp_client.hpp"
#include "tests/checks/helpers.hpp"

namespace rollbackd::checks {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

/// Accepts connections on a loopback port of its own, says its piece, and answers what is sent with `reply`.
class TcpServer {
 public:
  explicit TcpServer(asio::io_context& context)
      : context_(&context), acceptor_(context, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
    asio::co_spawn(context, accept(), [](std::exception_ptr) {});
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()); }
  void stop() { acceptor_.close(); }

  std::string greeting, reply, received;
  bool closes = false;  ///< after the greeting
  int connections = 0;

 private:
  static constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
  asio::awaitable<void> accept() {
    while (true) {
      auto [error, socket] = co_await acceptor_.async_accept(kToken);
      if (error) co_return;
      ++connections;
      asio::co_spawn(*context_, serve(std::move(socket)), [](std::exception_ptr) {});
    }
  }
  asio::awaitable<void> serve(asio::ip::tcp::socket socket) {
    const std::string text = greeting;
    if (!text.empty()) co_await asio::async_write(socket, asio::buffer(text), kToken);
    if (closes) co_return;
    std::array<char, 1024> buffer{};
    while (true) {
      const auto [error, size] = co_await socket.async_read_some(asio::buffer(buffer), kToken);
      if (error) co_return;
      received.append(buffer.data(), size);
      const std::string answer = reply;
      if (!answer.empty()) co_await asio::async_write(socket, asio::buffer(answer), kToken);
    }
  }
  asio::io_context* context_;
  asio::ip::tcp::acceptor acceptor_;
};

class TcpCheckTest : public CheckTest {
 protected:
  TcpCheckTest() {
    settings_.name = "port";
    settings_.type = config::CheckType::tcp;
    settings_.address = server_.address();
    settings_.interval = 20ms;
    settings_.timeout = 2s;
  }
  Batch probed() {
    make();
    return run_for(context_, check_->probe_now());
  }
  TcpServer server_{context_};
};

TEST_F(TcpCheckTest, AnAcceptedConnectionIsASuccessWithItsSeries) {
  const Batch batch = probed();

  EXPECT_EQ(batch.healthy, true);
  EXPECT_EQ(batch.unobserved, "");
  EXPECT_THAT(batch.detail, StartsWith("connected in "));
  EXPECT_EQ(value(batch, "probe_success"), 1);
  EXPECT_EQ(value(batch, "probe_timed_out"), 0);
  EXPECT_EQ(value(batch, "probe_consecutive_failures"), 0);
  EXPECT_EQ(value(batch, "probe_failing_seconds"), 0);
  EXPECT_GT(value(batch, "probe_duration_seconds"), 0);
  EXPECT_EQ(find(batch, "probe_success")->labels.get("instance"), server_.address());
  EXPECT_EQ(batches_.size(), 1U) << "a second opinion goes through the sink, too";
}

TEST_F(TcpCheckTest, ARefusedConnectionIsAFailure) {
  server_.stop();

  const Batch batch = probed();

  EXPECT_EQ(batch.healthy, false);
  EXPECT_EQ(value(batch, "probe_success"), 0);
  EXPECT_THAT(batch.detail, HasSubstr("refused"));
}

TEST_F(TcpCheckTest, WhatIsSentMayBeAnsweredAsExpected) {
  server_.reply = "+PONG\r\n";
  settings_.send = "PING\r\n";
  settings_.expect = "^\\+PONG";

  const Batch batch = probed();

  EXPECT_EQ(batch.healthy, true);
  EXPECT_EQ(server_.received, "PING\r\n");
  EXPECT_THAT(batch.detail, StartsWith("connected and answered as expected in "));
}

TEST_F(TcpCheckTest, AWrongAnswerOfTheMostBytesIsAFailureThatShowsIt) {
  server_.greeting = "-ERR \x01" + std::string(5000, 'x') + "220";
  settings_.expect = "220";

  const Batch batch = probed();

  EXPECT_EQ(batch.healthy, false);
  EXPECT_EQ(value(batch, "probe_timed_out"), 0);
  EXPECT_THAT(batch.detail, HasSubstr("but it sent \"-ERR \\x01xxx"));
}

TEST_F(TcpCheckTest, AConnectionThatClosesBeforeTheAnswerIsAFailure) {
  server_.greeting = "421 busy";
  server_.closes = true;
  settings_.expect = "^220";

  const Batch batch = probed();

  EXPECT_EQ(batch.healthy, false);
  EXPECT_THAT(batch.detail, HasSubstr("closed after it sent \"421 busy\", which does not match ^220"));
}

TEST_F(TcpCheckTest, SilenceIsAFailureByTimeout) {
  settings_.expect = "^220";
  settings_.timeout = 30ms;

  const Batch batch = probed();

  EXPECT_EQ(batch.healthy, false);
  EXPECT_EQ(value(batch, "probe_timed_out"), 1);
  EXPECT_THAT(batch.detail, HasSubstr("no expected answer within 30ms: " + server_.address() + " is connected and silent"));
}

TEST_F(TcpCheckTest, ANameThatCannotBeResolvedSaysNothingOfTheService) {
  settings_.address = "no-such-host.invalid:80";

  const Batch batch = probed();

  EXPECT_FALSE(batch.healthy.has_value());
  EXPECT_THAT(batch.unobserved, HasSubstr("no-such-host.invalid"));
  EXPECT_TRUE(batch.samples.empty());
  EXPECT_EQ(check_->counters().unobserved, 1U);
}

TEST_F(TcpCheckTest, AnAddressOutOfReachFromHereSaysNothingOfTheService) {
  settings_.address = "255.255.255.255:80";

  const Batch batch = probed();

  EXPECT_NE(batch.unobserved, "") << batch.detail;
}

TEST_F(TcpCheckTest, FailuresInARowAreCountedUntilASuccessOrAnEpoch) {
  server_.closes = true;
  settings_.expect = "x";
  make();
  test::Background running(context_, check_->run());

  ASSERT_TRUE(batches_arrive(3));
  EXPECT_EQ(value(batches_[2], "probe_consecutive_failures"), 3);
  EXPECT_GE(value(batches_[2], "probe_failing_seconds"), 0.04);
  check_->begin_epoch();
  const std::size_t before = batches_.size();
  ASSERT_TRUE(batches_arrive(before + 1));
  EXPECT_EQ(value(batches_[before], "probe_consecutive_failures"), 1);
  server_.greeting = "x";
  ASSERT_TRUE(run_until(context_, [&] { return batches_.back().healthy == true; }));
  EXPECT_EQ(value(batches_.back(), "probe_consecutive_failures"), 0);
}

TEST_F(TcpCheckTest, EveryDeliveredSeriesIsOneThatTheSourceNames) {
  const Batch batch = probed();

  const Source source = check_->source();
  EXPECT_EQ(source.metrics.size(), batch.samples.size());
  for (const Sample& sample : batch.samples) EXPECT_THAT(source.metrics, testing::Contains(std::string(sample.labels.name())));
  EXPECT_EQ(source.staleness, 2 * settings_.interval + settings_.timeout);
}

TEST_F(TcpCheckTest, WhatCannotBeReadIsRefused) {
  for (const char* address : {"", "a", ":80", "a:0", "a:b", "::1:80", "a:65536"}) {
    settings_.address = address;
    EXPECT_FALSE(make_check(context_of()).has_value()) << address;
  }
  settings_.address = "[::1]:80";
  settings_.expect = "(";
  EXPECT_FALSE(make_check(context_of()).has_value());
}

TEST_F(TcpCheckTest, ACancelledProbeIsNoBatch) {
  settings_.expect = "x";
  make();
  test::Background running(context_, check_->run());
  ASSERT_TRUE(run_until(context_, [&] { return server_.connections > 0; }));

  ASSERT_TRUE(running.stop());

  EXPECT_TRUE(batches_.empty());
}

}  // namespace
}  // namespace rollbackd::checks
