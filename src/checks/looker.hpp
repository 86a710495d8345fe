// Looks at the file system off the reactor, with an end to its patience: a stat() on a dead network file system does not return.
// Internal to checks/.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "base/time.hpp"
#include "io/worker.hpp"

namespace rollbackd::checks {

/// One caller's view of the threads that all checks share. They end, after what they look at then, with the last check.
class Looker {
 public:
  explicit Looker(boost::asio::any_io_executor executor) : executor_(std::move(executor)), threads_(shared_threads()) {}

  /// Runs `work` (which must not throw) on a thread.
  /// @return nothing when it took longer, when the one before still runs, or when the caller was cancelled
  template <class Work>
  auto look(Work work, Duration timeout) -> boost::asio::awaitable<std::optional<decltype(work())>> {
    using T = decltype(work());
    struct State {
      explicit State(const boost::asio::any_io_executor& executor) : done(executor) {}
      boost::asio::steady_timer done;
      std::optional<T> found;
    };
    if (const auto busy = busy_.lock()) co_return std::nullopt;
    auto state = std::make_shared<State>(executor_);
    busy_ = state;
    // A coroutine of its own: whoever asked may be gone when it comes back. The threads outlive it, since the last check joins them.
    auto task = [](io::Worker* threads, Work w, std::shared_ptr<State> s) -> boost::asio::awaitable<void> {
      std::optional<T> found = co_await threads->run(std::move(w));
      s->found = std::move(found);
      s->done.cancel();
    };
    auto running = task(threads_.get(), std::move(work), state);
    state->done.expires_after(timeout);
    boost::asio::co_spawn(executor_, std::move(running), boost::asio::detached);
    co_await state->done.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    co_return std::move(state->found);
  }

 private:
  static std::shared_ptr<io::Worker> shared_threads();

  boost::asio::any_io_executor executor_;
  std::shared_ptr<io::Worker> threads_;
  std::weak_ptr<void> busy_;  ///< the look under way
};

}  // namespace rollbackd::checks
