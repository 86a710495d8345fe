// Starts a coroutine that belongs to an owner: it keeps the owner alive, can be cancelled, and its exceptions end up in the log, not in the
// reactor.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <utility>

#include "base/log.hpp"
#include "base/time.hpp"
#include "io/cancelled.hpp"

namespace rollbackd::engine {

/// Cancels a running task; harmless once it has ended. The task itself keeps the signal alive as long as it needs it.
class Task {
 public:
  void cancel() const {
    if (signal_) signal_->emit(boost::asio::cancellation_type::terminal);
  }

 private:
  friend Task spawn(const boost::asio::any_io_executor&, std::shared_ptr<const void>, boost::asio::awaitable<void>);
  std::shared_ptr<boost::asio::cancellation_signal> signal_;
};

/// Runs `work` on `executor`; `owner` lives at least as long.
inline Task spawn(const boost::asio::any_io_executor& executor, std::shared_ptr<const void> owner, boost::asio::awaitable<void> work) {
  Task task;
  task.signal_ = std::make_shared<boost::asio::cancellation_signal>();
  auto ended = [owner = std::move(owner), signal = task.signal_](const std::exception_ptr& escaped) {
    if (!escaped) return;
    try {
      std::rethrow_exception(escaped);
    } catch (const std::exception& e) {
      if (!io::is_cancellation(e)) log::error("a component ended by an exception", {{"what", e.what()}});
    }
  };
  boost::asio::co_spawn(executor, std::move(work), boost::asio::bind_cancellation_slot(task.signal_->slot(), std::move(ended)));
  return task;
}

/// Waits on `timer` for `length`. @return false when cancelled
inline boost::asio::awaitable<bool> pause(boost::asio::steady_timer& timer, Duration length) {
  timer.expires_after(length);
  boost::system::error_code stopped;
  co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, stopped));
  co_return !stopped;
}

}  // namespace rollbackd::engine
