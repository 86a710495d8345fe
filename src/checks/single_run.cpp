#include "checks/single_run.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "checks/parts.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

/// Marks a run on every way out, a destroyed coroutine's included.
struct SingleRun::Mark {
  explicit Mark(SingleRun* o) : of(o) {
    of->running_ = true;
    of->last_.reset();
    ++of->run_;
  }
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;
  ~Mark() {
    of->running_ = false;
    of->ended_.cancel();
  }
  SingleRun* of;
};

/// Until the run of that number has ended, or the caller was cancelled.
asio::awaitable<void> SingleRun::until_ended(std::uint64_t run) {
  while (running_ && run_ == run) {
    co_await ended_.async_wait(asio::as_tuple(asio::use_awaitable));
    const bool cancelled = co_await is_cancelled();
    if (cancelled) co_return;
  }
}

asio::awaitable<std::optional<Batch>> SingleRun::shared() {
  co_await asio::this_coro::throw_if_cancelled(false);
  if (!running_) co_return std::nullopt;
  const std::uint64_t run = run_;
  co_await until_ended(run);
  const bool answered = run_ == run && !running_;  // Else the next one began before we came, or we were cancelled.
  co_return answered ? last_ : std::nullopt;
}

asio::awaitable<std::optional<Batch>> SingleRun::own(Body body) {
  co_await asio::this_coro::throw_if_cancelled(false);
  while (running_) {
    co_await until_ended(run_);
    const bool cancelled = co_await is_cancelled();
    if (cancelled) co_return std::nullopt;
  }
  const Mark mark(this);
  std::optional<Batch> answer = co_await body();
  last_ = answer;
  co_return answer;
}

}  // namespace rollbackd::checks
