// libsystemd's sd_notify() in the words of the daemon.
#include "io/notify.hpp"

#include <systemd/sd-daemon.h>
#include <time.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/text.hpp"

namespace asio = boost::asio;

namespace rollbackd::io::notify {
namespace {

constexpr std::size_t kStatusBytesMax = 1024;

std::string status_line(const std::string& text) { return "STATUS=" + cut(printable(text), kStatusBytesMax); }
void send(const std::string& message) { sd_notify(0, message.c_str()); }  // 0 without a socket; an error changes nothing for us.

}  // namespace

void ready(const std::string& text) { send("READY=1\n" + status_line(text)); }

void reloading() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);  // Says to which request this is the answer; systemd 253 and later wants it.
  const std::int64_t us = static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
  send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(us) + "\n" + status_line("reads its configuration"));
}

void status(const std::string& text) { send(status_line(text)); }

void stopping(const std::string& text) { send("STOPPING=1\n" + status_line(text)); }

std::optional<Duration> watchdog() {
  std::uint64_t us = 0;
  if (sd_watchdog_enabled(0, &us) <= 0 || us == 0) return std::nullopt;
  return std::chrono::microseconds(us);
}

asio::awaitable<void> feed_watchdog() {
  const auto every = watchdog();
  if (!every) co_return;
  asio::steady_timer timer(co_await asio::this_coro::executor);
  while (true) {
    send("WATCHDOG=1");
    timer.expires_after(*every / 2);
    const auto [stopped] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (stopped) co_return;
  }
}

}  // namespace rollbackd::io::notify
