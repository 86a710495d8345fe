// A bound on waiting that a process which stood still does not use up.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>

#include "base/time.hpp"

namespace rollbackd::io {

/// Waits until `timer` is cancelled, `done()` is true after a wait, or `longest` has passed while this process ran. A timer that comes more
/// than kStoodStill late tells that the process was stopped (SIGSTOP, a frozen cgroup): whoever is waited for had no turn either, and has
/// `longest` once more, at most kTurnsMax times.
/// @param timer  of the caller, without another wait on it; whoever sets what `done` looks at cancels it
/// @return operation_aborted when it was cancelled
template <class Done>
boost::asio::awaitable<boost::system::error_code> wait_fairly(boost::asio::steady_timer& timer, Duration longest, Done done) {
  using Steady = std::chrono::steady_clock;
  constexpr Duration kStoodStill = std::chrono::milliseconds(500);
  constexpr int kTurnsMax = 4;
  for (int turn = 1; !done(); ++turn) {
    timer.expires_after(longest);
    const auto due = timer.expiry();
    const auto [stopped] = co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    if (stopped || turn == kTurnsMax || Steady::now() - due < kStoodStill) co_return stopped;
  }
  co_return boost::system::error_code();
}

}  // namespace rollbackd::io
