#include "io/cancelled.hpp"

#include <gtest/gtest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <stdexcept>

namespace rollbackd::io {
namespace {

namespace asio = boost::asio;

/// What leaves a coroutine that waits in the middle of another and is told to end.
bool ended_orderly(bool fault) {
  asio::io_context context;
  asio::cancellation_signal signal;
  bool orderly = false;
  auto inner = [&context, fault]() -> asio::awaitable<void> {
    asio::steady_timer timer(context, std::chrono::hours(1));
    if (fault) throw std::runtime_error("a fault");
    co_await timer.async_wait(asio::use_awaitable);
  };
  auto outer = [&inner]() -> asio::awaitable<void> { co_await inner(); };
  asio::co_spawn(context, outer(), asio::bind_cancellation_slot(signal.slot(), [&](const std::exception_ptr& escaped) {
                   ASSERT_TRUE(escaped);
                   try {
                     std::rethrow_exception(escaped);
                   } catch (const std::exception& e) {
                     orderly = is_cancellation(e);
                   }
                 }));
  context.poll();
  signal.emit(asio::cancellation_type::terminal);
  context.poll();
  return orderly;
}

TEST(Cancellation, IsToldFromAFault) {
  EXPECT_TRUE(ended_orderly(false));
  EXPECT_FALSE(ended_orderly(true));
}

}  // namespace
}  // namespace rollbackd::io
