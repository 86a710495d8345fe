// Tells the service manager how this daemon is doing: sd_notify(3) and the watchdog.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>

#include "base/time.hpp"

namespace rollbackd::io::notify {

/// What systemd shows and acts on. Without NOTIFY_SOCKET nothing happens; what cannot be sent is dropped. `status` is one line.
void ready(const std::string& status);
void reloading();  ///< ready() ends it
void status(const std::string& text);
void stopping(const std::string& status);

/// WATCHDOG_USEC, when it is meant for this process.
std::optional<Duration> watchdog();
/// Feeds the watchdog at half its time, until cancelled; returns at once when there is none. On the reactor itself, so that a reactor
/// that hangs is noticed.
boost::asio::awaitable<void> feed_watchdog();

}  // namespace rollbackd::io::notify
