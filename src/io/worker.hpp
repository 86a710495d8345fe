// Blocking work off the reactor: `co_await worker.run([...] { ... })` runs on the worker's threads and resumes on the caller's executor.
#pragma once

#include <boost/asio/awaitable.hpp>
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
    std::optional<T> result = co_await boost::asio::co_spawn(pool_, body(std::move(work)), boost::asio::use_awaitable);
    co_return std::move(*result);
  }

 private:
  boost::asio::thread_pool pool_;
};

}  // namespace rollbackd::io
