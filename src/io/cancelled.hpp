// Whether the awaiting coroutine was cancelled, and whether that is why one has ended.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>
#include <exception>

namespace rollbackd::io {

/// A cancel that comes while an operation's result is already under way stops nothing by itself, so every loop asks. (Its own coroutine,
/// because gcc 12.2 mistreats a co_await of the state inside a condition.)
inline boost::asio::awaitable<bool> is_cancelled() {
  const auto state = co_await boost::asio::this_coro::cancellation_state;
  co_return state.cancelled() != boost::asio::cancellation_type::none;
}

/// Of an exception that left a coroutine: what it waited for was cancelled. It was told to end, and that is no fault of anybody's.
inline bool is_cancellation(const std::exception& thrown) {
  const auto* error = dynamic_cast<const boost::system::system_error*>(&thrown);
  return error != nullptr && error->code() == boost::asio::error::operation_aborted;
}

}  // namespace rollbackd::io
