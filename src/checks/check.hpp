// A check turns the world into batches. One file a check; each ends only when cancelled.
// Flow: world -> [check] -batch-> engine -> judge.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>

#include "base/error.hpp"
#include "config/settings.hpp"
#include "io/clock.hpp"
#include "model/batch.hpp"
#include "model/process_event.hpp"

namespace rollbackd::checks {

/// Takes a finished batch (`at` is set by the taker). Called on the check's executor; never blocks.
using BatchSink = std::function<void(Batch)>;

/// What every check is made of.
struct CheckContext {
  boost::asio::any_io_executor executor;
  const io::Clock* clock = nullptr;  ///< outlives the check
  ServiceKey service;
  config::CheckSettings settings;
  BatchSink sink;
  std::uint64_t seed = 0;  ///< of the start's jitter, so that a thousand checks do not probe at once
  Duration max_skew = 5s;  ///< a sample whose own timestamp lies further from now does not count
};

/// Plain counters for the metrics room.
struct CheckCounters {
  std::uint64_t ok = 0, failed = 0, unobserved = 0, late = 0;  ///< late: a slot was skipped because the one before still ran
  std::uint64_t duplicates = 0, skewed = 0, warnings = 0;      ///< scrape and promql: samples dropped, and what a server warned of
};

/// Used on its executor's one thread. Stays alive until its coroutines have ended.
class Check {
 public:
  virtual ~Check() = default;
  /// Delivers batches until cancelled. Failure of a probe is a batch too.
  virtual boost::asio::awaitable<void> run() = 0;
  /// A second opinion, at once and on a new connection; also goes through the sink. A check that waits for events says what is known now.
  virtual boost::asio::awaitable<Batch> probe_now() = 0;
  /// What the judge must know: metrics it can feed and its staleness.
  virtual Source source() const = 0;
  /// What the service's manager said; only the process check listens.
  virtual void on_process(const ProcessEvent&) {}
  /// The service begins a new epoch: failures of the release before are not part of the new one's row. Counters stay.
  virtual void begin_epoch() {}
  virtual const CheckCounters& counters() const = 0;
};

/// @return `unsupported` for a type this build does not have
Result<std::unique_ptr<Check>> make_check(CheckContext context);

}  // namespace rollbackd::checks
