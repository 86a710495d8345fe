// Follows one unit of systemd over the system bus, and asks about it.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "io/clock.hpp"
#include "io/dbus.hpp"
#include "io/unit_state.hpp"

namespace rollbackd::io {

/// The full name of a unit: "shop" is "shop.service", as for systemctl.
std::string full_unit_name(std::string unit);

/// Asks systemd about a unit, loading it when it is not. A unit that does not exist is an answer: `load` is "not-found".
boost::asio::awaitable<Result<UnitFacts>> ask_unit(std::shared_ptr<SystemBus> bus, std::string unit, Duration timeout);

/// A method of systemd's manager object.
BusMethod systemd_method(std::string member);

/// Told of every coherent state of one unit, first at once; or why it is not known (the bus is away), once a time.
/// Lives on the executor's one thread; ends with its destruction, also inside `heard`.
class UnitWatch {
 public:
  using Heard = std::function<void(const Result<UnitFacts>&)>;
  UnitWatch(const boost::asio::any_io_executor& executor, std::string unit, Heard heard);
  UnitWatch(const UnitWatch&) = delete;
  UnitWatch& operator=(const UnitWatch&) = delete;
  ~UnitWatch();
  const std::shared_ptr<SystemBus>& bus() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// When a time of systemd's (microseconds of CLOCK_MONOTONIC) was, in engine time; off by what the machine slept since.
Instant from_monotonic_us(const Clock& clock, std::int64_t us);

/// News as the event type of a higher room, whose members it fills by their names. (`io` knows nothing of `model`, where that type is.)
template <class Event>
Event event_of(const UnitNews& news, const Clock& clock) {
  Event event;
  event.kind = news.kind == UnitNews::Kind::running  ? Event::Kind::running
               : news.kind == UnitNews::Kind::exited ? Event::Kind::exited
                                                     : Event::Kind::start_failed;
  event.pid = news.pid;
  if (news.started != 0) event.started = from_monotonic_us(clock, news.started);
  event.at = news.at != 0 ? from_monotonic_us(clock, news.at) : clock.now();
  event.code_known = news.code_known;
  event.exit_code = news.exit_code;
  event.signal = news.signal;
  event.requested = news.requested;
  event.oom = news.oom;
  event.detail = news.detail;
  return event;
}

}  // namespace rollbackd::io
