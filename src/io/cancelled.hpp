// Whether the awaiting coroutine was cancelled.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>

namespace rollbackd::io {

/// A cancel that comes while an operation's result is already under way stops nothing by itself, so every loop asks. (Its own coroutine,
/// because gcc 12.2 mistreats a co_await of the state inside a condition.)
inline boost::asio::awaitable<bool> is_cancelled() {
  const auto state = co_await boost::asio::this_coro::cancellation_state;
  co_return state.cancelled() != boost::asio::cancellation_type::none;
}

}  // namespace rollbackd::io
