// The grid of planned instants that every probing check runs on (http, tcp, exec, scrape, promql). Internal to checks/.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>

#include "checks/check.hpp"

namespace rollbackd::checks {

/// One probe. `slot` is the instant it was planned for. Nothing when it was cancelled.
using Probe = std::function<boost::asio::awaitable<std::optional<Batch>>(Instant slot)>;

/// Probes once a slot until cancelled and hands each batch to the context's sink. Slots lie `interval` apart from a start that is spread by
/// the context's seed over the interval (at most 10 s). A probe that takes longer lets slots pass, counted in `counters->late`; the grid
/// stays.
/// @param context, counters  outlive the coroutine
boost::asio::awaitable<void> run_on_grid(const CheckContext* context, CheckCounters* counters, Probe probe);

/// The end of a probe_now(): hands what it found to the sink; a cancelled one becomes a batch that says so and goes nowhere.
Batch told_at_once(const CheckContext& context, std::optional<Batch> found);

/// The label `instance` of what a URL names: "host:port", "[v6]:port", or the socket's path.
std::string instance_of(const std::string& unix_socket, const std::string& host, const std::string& port);

}  // namespace rollbackd::checks
