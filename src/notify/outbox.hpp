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
#include "base/time.hpp"
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
/// A `url_file` that cannot be read now is no error: it is read again at each attempt, because a page is worth more than a clean start.
Result<std::unique_ptr<Channel>> make_channel(const config::ChannelSettings& settings, boost::asio::any_io_executor executor);

struct OutboxCounters {
  std::uint64_t queued = 0, sent = 0, retried = 0, given_up = 0, dropped = 0;
};

/// Where one message stands on its way to one channel.
struct Delivery {
  std::string channel;
  std::string state;  ///< "waiting", "sent", "refused", "given_up"; "not_sent": it was never queued for this channel, or long ago
  int attempts = 0;
  std::string why;  ///< the channel's last failure, while it waits
};

/// Every bound of the outbox, by name.
struct OutboxLimits {
  std::size_t waiting_max = 10'000;  ///< messages of all channels together
  Duration retry_first = 1s,
           retry_max = 5min;     ///< between attempts of one message, doubling; after a failure its channel rests `retry_first` too
  Duration give_up_after = 24h;  ///< counted from when it was queued; at least one attempt is made however old it is
  /// A message of the run before is tried for so long at least: how old it is only the wall clock knows, and that may have been set since.
  Duration give_up_least = 1h;
  std::size_t sent_keys_max = 100'000;
  Duration sent_keys_age_max = 30 * 24h;
  std::size_t changes_max = 20'000;  ///< not yet written to SQLite; beyond it the oldest is never written (its message is still sent)
  std::size_t batch_max = 500;       ///< changes in one transaction
  Duration store_retry_first = 1s, store_retry_max = 60s;  ///< between attempts to open and write the file, doubling
};

/// At most 10,000 waiting; beyond it the oldest of the least severity goes, counted. A message is tried for 24 h: 1 s, 2 s, 4 s ... 5 min
/// apart. Each channel has its own queue, so a dead one delays no other. One key goes to one channel once, restarts included (for 30 days).
/// Toward the channel that is at least once: a crash between its answer and our note of it sends again.
///
/// Belongs to the executor's thread (the reactor), which must be one thread. Memory is the truth while it runs; SQLite is written behind it
/// by a thread of its own, and caught up with after it failed.
class Outbox {
 public:
  /// Opens the file and loads what waits: blocking, for at most a few seconds.
  Outbox(boost::asio::any_io_executor executor, std::string sqlite_path);
  Outbox(boost::asio::any_io_executor executor, std::string sqlite_path, OutboxLimits limits);
  /// Writes what is not on disk yet, blocking. The executor's context must still be there.
  ~Outbox();
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;
  /// Replaces the channels (at start and reload); what waits for a channel that is gone is dropped and counted. A send under way is
  /// finished.
  /// @return `invalid_config` for settings that can never work (no url, two of one name, ...): then the channels are as they were
  Result<> set_channels(const std::vector<config::ChannelSettings>& channels);
  /// Queues for every channel whose severity_min allows it; never blocks. Nothing happens for a key already sent.
  void push(Notification notification);
  /// Sends until cancelled; then ends the sends under way, and what they carried waits for the next start.
  boost::asio::awaitable<void> run();
  const OutboxCounters& counters() const;
  /// Of the message with this key, one row for each channel there is. Reads memory; a walk over what waits.
  std::vector<Delivery> deliveries(const std::string& key) const;
  std::string trouble() const;  ///< "" when well

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace rollbackd::notify
