// When a probing check probes: the grid, its jitter, and what happens to slots that were missed.
// Flow: service -> check's run() -> [grid] -> its probe -> sink.
#include "checks/probe_loop.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "checks/parts.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

/// Starts are spread over the interval, but a check with a long one need not wait for all of it.
constexpr Duration kJitterMax = 10s;

/// Spreads seeds that lie side by side (splitmix64).
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

}  // namespace

asio::awaitable<void> run_on_grid(const CheckContext* context, CheckCounters* counters, Probe probe) {
  co_await asio::this_coro::throw_if_cancelled(false);
  asio::steady_timer timer(context->executor);
  const Duration interval = context->settings.interval;
  const auto spread = static_cast<std::uint64_t>(std::min(interval, kJitterMax).count());
  Instant slot = context->clock->now() + Duration(mixed(context->seed) % spread);
  while (true) {
    timer.expires_after(slot - context->clock->now());
    const auto [stopped] = co_await timer.async_wait(kToken);
    const bool cancelled = co_await is_cancelled();
    if (stopped || cancelled) co_return;

    std::optional<Batch> batch = co_await probe(slot);
    const bool cancelled_meanwhile = co_await is_cancelled();
    if (!batch || cancelled_meanwhile) co_return;
    context->sink(std::move(*batch));

    slot = slot + interval;
    const Duration late = context->clock->now() - slot;
    if (late > Duration::zero()) {  // Slots that passed while the probe ran; the grid stays where it is.
      const std::int64_t skipped = late / interval + 1;
      counters->late += static_cast<std::uint64_t>(skipped);
      slot = slot + skipped * interval;
    }
  }
}

Batch told_at_once(const CheckContext& context, std::optional<Batch> found) {
  if (found) {
    context.sink(*found);
    return std::move(*found);
  }
  Batch none = batch_of(context, context.clock->now());
  none.unobserved = "the probe was cancelled";
  return none;
}

std::string instance_of(const std::string& unix_socket, const std::string& host, const std::string& port) {
  if (!unix_socket.empty()) return unix_socket;
  return (host.find(':') != std::string::npos ? "[" + host + "]" : host) + ":" + port;
}

}  // namespace rollbackd::checks
