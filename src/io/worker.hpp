// Blocking work off the reactor: `co_await worker.run([...] { ... })` runs on the worker's threads and resumes on the caller's executor.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <utility>

namespace rollbackd::io {

class Worker {
 public:
  explicit Worker(std::size_t threads) : pool_(threads) {}
  ~Worker() { pool_.join(); }
  /// Runs `work` (which must not throw) on the pool and gives its result on the awaiting coroutine's executor.
  template <class Work>
  auto run(Work work) -> boost::asio::awaitable<decltype(work())> {
    using T = decltype(work());
    // In an optional, because co_spawn wants a type with a default constructor.
    auto body = [](Work w) -> boost::asio::awaitable<std::optional<T>> { co_return std::optional<T>(w()); };
    // Cut off from the caller's cancellation: begun work ends by itself, and Asio would hand a pointer into the caller's slot to another
    // thread.
    auto token = boost::asio::bind_cancellation_slot(boost::asio::cancellation_slot(), boost::asio::use_awaitable);
    auto running = body(std::move(work));
    std::optional<T> result = co_await boost::asio::co_spawn(pool_, std::move(running), token);
    co_return std::move(*result);
  }

 private:
  boost::asio::thread_pool pool_;
};

}  // namespace rollbackd::io
