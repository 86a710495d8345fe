// Work that hangs holds up nobody beyond its deadline.
#include "engine/in_time.hpp"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <stdexcept>

namespace rollbackd::engine {
namespace {

namespace asio = boost::asio;

asio::awaitable<Result<int>> after(std::shared_ptr<asio::steady_timer> timer, int value) {
  const auto [stopped] = co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
  (void)stopped;
  if (value < 0) throw std::runtime_error("no such thing");
  co_return value;
}

class InTimeTest : public ::testing::Test {
 protected:
  Result<int> ask(Duration takes, Duration longest, int value = 7) {
    context.restart();
    auto timer = std::make_shared<asio::steady_timer>(context, takes);
    hanging = timer;
    std::optional<Result<int>> out;
    auto asking = in_time(context.get_executor(), owner, after(timer, value), longest, std::string("the disk"));
    asio::co_spawn(context, std::move(asking), [&](const std::exception_ptr&, Result<int> result) { out = std::move(result); });
    while (!out && context.run_one() != 0) {
    }
    return out.value_or(Error(Errc::internal, "no answer at all"));
  }
  asio::io_context context;
  std::shared_ptr<int> owner = std::make_shared<int>(1);
  std::shared_ptr<asio::steady_timer> hanging;
};

TEST_F(InTimeTest, AnAnswerIsPassedOnAndAHangIsTimedOut) {
  EXPECT_EQ(ask(0ms, 10s).value(), 7);
  EXPECT_EQ(ask(5ms, 10s).value(), 7);
  EXPECT_EQ(ask(5ms, 10s, -1).error().code, Errc::internal);

  const Result<int> hung = ask(1h, 10ms);
  ASSERT_TRUE(hung.has_error());
  EXPECT_EQ(hung.error().code, Errc::timed_out);
  EXPECT_EQ(hung.error().what, "the disk gave no answer");
}

TEST_F(InTimeTest, AProcessThatStoodStillGivesTheTimeOnceMore) {
  context.restart();
  auto timer = std::make_shared<asio::steady_timer>(context, 1h);
  std::optional<Result<int>> out;
  auto asking = in_time(context.get_executor(), owner, after(timer, 7), 20ms, std::string("the disk"));
  asio::co_spawn(context, std::move(asking), [&](const std::exception_ptr&, Result<int> result) { out = std::move(result); });
  context.poll();  // The wait is under way.
  const auto until = std::chrono::steady_clock::now() + 700ms;
  while (std::chrono::steady_clock::now() < until) {  // Nobody has a turn.
  }
  context.poll();
  EXPECT_FALSE(out.has_value());
  timer->cancel();  // The disk answers.
  while (!out && context.run_one() != 0) {
  }
  ASSERT_TRUE(out.has_value());
  EXPECT_EQ(out->value(), 7);
}

TEST_F(InTimeTest, AStandstillThatEndsBeforeTheTimeIsOverDoesNotCountEither) {
  context.restart();
  auto timer = std::make_shared<asio::steady_timer>(context, 1h);
  std::optional<Result<int>> out;
  auto asking = in_time(context.get_executor(), owner, after(timer, 7), 2s, std::string("the disk"));
  asio::co_spawn(context, std::move(asking), [&](const std::exception_ptr&, Result<int> result) { out = std::move(result); });
  context.poll();
  const auto began = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() < began + 1900ms) {  // Nobody has a turn.
  }
  context.run_until(began + 2100ms);
  EXPECT_FALSE(out.has_value());
  timer->cancel();  // The disk answers.
  while (!out && context.run_one() != 0) {
  }
  ASSERT_TRUE(out.has_value());
  EXPECT_TRUE(out->has_value());
}

TEST_F(InTimeTest, WhatHangsKeepsItsOwnerAndItsLateAnswerIsPassedBy) {
  EXPECT_TRUE(ask(1h, 10ms).has_error());
  EXPECT_EQ(owner.use_count(), 2);

  context.restart();
  hanging->cancel();  // It answers after all.
  while (owner.use_count() > 1 && context.run_one() != 0) {
  }

  EXPECT_EQ(owner.use_count(), 1);
}

}  // namespace
}  // namespace rollbackd::engine
