// The system bus on the reactor: libsystemd's sd-bus driven by Asio, values as Json. One connection for all that share an executor.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"

namespace rollbackd::io {

/// What a method is called on.
struct BusMethod {
  std::string destination;  ///< "org.freedesktop.systemd1"
  std::string path;         ///< "/org/freedesktop/systemd1"
  std::string interface;
  std::string member;
};

/// A signal that came.
struct BusSignal {
  std::string path, interface, member;
  Json body;  ///< an array of its arguments
};

/// Values: integers and doubles are numbers (unsigned ones over 2^63-1 become that), strings, paths and signatures strings, arrays and
/// structures arrays, dictionaries objects, bytes arrays of numbers, a variant what it holds. File descriptors are null.
/// As an argument a variant is {"signature": "s", "value": ...}.
///
/// Used on the executor's one thread. The address is DBUS_SYSTEM_BUS_ADDRESS, else the usual one. While the bus is away it is tried again
/// after 100 ms, doubling to 10 s; matches are kept and made again. It never blocks: connecting and authenticating happen in turns too.
class SystemBus : public std::enable_shared_from_this<SystemBus> {
 public:
  /// The connection of this executor's context: made with the first owner, ended with the last. Never fails; an absent bus is told by the
  /// calls.
  static std::shared_ptr<SystemBus> of(const boost::asio::any_io_executor& executor);
  explicit SystemBus(const boost::asio::any_io_executor& executor);  ///< of() is the way
  SystemBus(const SystemBus&) = delete;
  SystemBus& operator=(const SystemBus&) = delete;
  ~SystemBus();

  /// Calls a method and gives the array of what it returned. Waits for a connection that is being made.
  /// @return `unavailable` without a bus (or when it went away meanwhile: whether the call arrived is not known), `timed_out`, `cancelled`;
  ///         the other side's errors: `not_found`, `refused`, `unauthorized`, else `io`; `why` begins with the D-Bus error's name
  boost::asio::awaitable<Result<Json>> call(BusMethod method, std::string signature, Json arguments, Duration timeout);

  /// Something that is told until it is destroyed; destroying it inside its own callback is allowed.
  class Subscription {
   public:
    virtual ~Subscription() = default;
  };
  /// @param rule  a match rule, "type='signal',sender='...',..."; a bad one is logged
  std::unique_ptr<Subscription> on_signal(std::string rule, std::function<void(const BusSignal&)> heard);
  /// Told at once when connected, and at each change. `Error()` (Errc::none): connected, and the matches of before are in place again.
  /// Whoever follows something asks for its state then: signals were missed.
  std::unique_ptr<Subscription> on_connection(std::function<void(const Error&)> changed);
  bool connected() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// The object path of a unit, label escaped: "/org/freedesktop/systemd1/unit/shop_2eservice".
std::string unit_path(const std::string& unit);
/// Whether systemd is this system's service manager (sd_booted(3)) and its bus takes connections. Does not wait.
bool systemd_reachable();

}  // namespace rollbackd::io
