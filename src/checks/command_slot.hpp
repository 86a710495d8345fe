// How many commands the checks run at a time, in the whole daemon. Internal to checks/.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <optional>
#include <utility>

#include "base/time.hpp"

namespace rollbackd::checks {

inline constexpr int kCommandsMax = 8;

/// The right to run one command; given back when this goes. For the reactor's one thread.
class CommandSlot {
 public:
  /// Waits its turn, first come, first served. @return nothing after `patience`, or when it was cancelled
  static boost::asio::awaitable<std::optional<CommandSlot>> take(boost::asio::any_io_executor executor, Duration patience);

  CommandSlot(CommandSlot&& other) noexcept : held_(std::exchange(other.held_, false)) {}
  CommandSlot& operator=(CommandSlot&&) = delete;
  ~CommandSlot();

 private:
  CommandSlot() = default;
  bool held_ = true;
};

}  // namespace rollbackd::checks
