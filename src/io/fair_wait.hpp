// A bound on waiting that a process which stood still does not use up.
#pragma once

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>

#include "base/time.hpp"

namespace rollbackd::io {

/// Waits until `timer` is cancelled, `done()` is true after a wait, or `longest` has passed while this process ran. It waits in slices, and
/// one that ends more than kStoodStill late tells that the process was stopped (SIGSTOP, a frozen cgroup): whoever is waited for had no
/// turn either, and the slice does not count. At most kForgivenMax do not, so that a machine with far too much to do comes to an end, too.
/// @param timer  of the caller, without another wait on it; whoever sets what `done` looks at cancels it
/// @return operation_aborted when it was cancelled
template <class Done>
boost::asio::awaitable<boost::system::error_code> wait_fairly(boost::asio::steady_timer& timer, Duration longest, Done done) {
  using Steady = std::chrono::steady_clock;
  constexpr Duration kSlice = std::chrono::milliseconds(500), kStoodStill = kSlice;
  constexpr int kForgivenMax = 4;
  int forgiven = 0;
  for (Duration ran{}; !done();) {
    const Duration slice = std::min(longest - ran, kSlice);
    timer.expires_after(slice);
    const auto due = timer.expiry();
    const auto [stopped] = co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    if (stopped) co_return stopped;
    const Duration late = Steady::now() - due;
    if (late < kStoodStill || ++forgiven > kForgivenMax) ran += slice + late;
    if (ran >= longest) break;
  }
  co_return boost::system::error_code();
}

}  // namespace rollbackd::io
