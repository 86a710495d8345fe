// Waits for an outcome no longer than a deadline, also for work that cannot be stopped (a system call that hangs on its disk).
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "io/fair_wait.hpp"
#include "model/operation.hpp"

namespace rollbackd::drivers {

/// Runs `work` to its end whatever happens here. When it takes longer than `deadline`, or nobody waits any more: `unknown`, for it may yet
/// happen.
inline boost::asio::awaitable<Outcome> await_outcome(boost::asio::any_io_executor executor, boost::asio::awaitable<Outcome> work,
                                                     Duration deadline) {
  struct Shared {
    explicit Shared(const boost::asio::any_io_executor& e) : done(e) {}
    boost::asio::steady_timer done;
    std::optional<Outcome> outcome;
  };
  auto shared = std::make_shared<Shared>(executor);
  boost::asio::co_spawn(executor, std::move(work), [shared](const std::exception_ptr& thrown, Outcome outcome) {
    if (thrown) outcome = Outcome{Outcome::Status::unknown, Json::object(), Error(Errc::internal, "the step ended without an answer")};
    shared->outcome = std::move(outcome);
    shared->done.cancel();
  });
  auto answered = [shared] { return shared->outcome.has_value(); };
  const auto stopped = co_await io::wait_fairly(shared->done, deadline, std::move(answered));
  if (!shared->outcome) {
    const bool cancelled = static_cast<bool>(stopped);
    Error error(Errc::outcome_unknown, "the step gave no answer");
    error.why = cancelled ? "nobody waits for it any more" : "not within " + format_duration(deadline) + "; it may yet happen";
    co_return Outcome{Outcome::Status::unknown, Json::object(), std::move(error)};
  }
  co_return *std::move(shared->outcome);
}

}  // namespace rollbackd::drivers
