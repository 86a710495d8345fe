// Notifications on their way: kept in SQLite (memory when it cannot be opened) until a channel took them, with retry and backoff.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "config/settings.hpp"
#include "model/decision.hpp"

namespace rollbackd::notify {

/// Whether trying again can help: a sender says.
struct SendResult {
  bool sent = false;
  bool retry = true;  ///< false: the channel refused this message for good (4xx other than 408, 429)
  std::string detail;
};

/// One way to reach people. One file a channel.
class Channel {
 public:
  virtual ~Channel() = default;
  virtual const std::string& name() const = 0;
  virtual boost::asio::awaitable<SendResult> send(Notification notification) = 0;
};

/// Makes the channel of `settings`: webhook (POST of JSON, 2xx is taken) or exec (JSON on standard input, exit 0 is taken).
Result<std::unique_ptr<Channel>> make_channel(const config::ChannelSettings& settings, boost::asio::any_io_executor executor);

struct OutboxCounters {
  std::uint64_t queued = 0, sent = 0, retried = 0, given_up = 0, dropped = 0;
};

/// At most 10,000 waiting; beyond it the oldest of the least severity goes, counted. A message is tried for 24 h: 1 s, 2 s, 4 s ... 5 min apart.
/// Each channel has its own queue, so a dead one delays no other. One key goes to one channel once, restarts included.
class Outbox {
 public:
  Outbox(boost::asio::any_io_executor executor, std::string sqlite_path);
  ~Outbox();
  /// Replaces the channels (at start and reload); what waits for a channel that is gone is dropped and counted.
  Result<> set_channels(const std::vector<config::ChannelSettings>& channels);
  /// Queues for every channel whose severity_min allows it; never blocks. Nothing happens for a key already sent.
  void push(Notification notification);
  /// Sends until cancelled.
  boost::asio::awaitable<void> run();
  const OutboxCounters& counters() const;
  std::string trouble() const;  ///< "" when well

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace rollbackd::notify
