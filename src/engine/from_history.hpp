// Awaits an answer that comes on the history's own thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>

#include "base/error.hpp"
#include "base/time.hpp"

namespace rollbackd::engine {

/// Awaits a read of the history, which answers on its own thread.
/// @return `timed_out` after 5 s
template <class T, class Start>
boost::asio::awaitable<Result<T>> from_history(boost::asio::any_io_executor executor, Start start) {
  struct Slot {
    std::optional<Result<T>> value;
    boost::asio::steady_timer timer;
    explicit Slot(const boost::asio::any_io_executor& e) : timer(e) {}
  };
  auto slot = std::make_shared<Slot>(executor);
  constexpr Duration kPatience = 5s;
  slot->timer.expires_after(kPatience);
  start([slot, executor](Result<T> value) {
    boost::asio::post(executor, [slot, value = std::move(value)]() mutable {
      slot->value = std::move(value);
      slot->timer.cancel();
    });
  });
  boost::system::error_code woken;
  if (!slot->value) co_await slot->timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, woken));
  if (slot->value) co_return std::move(*slot->value);
  co_return Error(Errc::timed_out, "the history did not answer within 5s");
}

}  // namespace rollbackd::engine
