// The outbox on disk: what waits, and which keys are done with. Blocking; runs on the outbox's own thread. Internal to notify/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/sqlite.hpp"
#include "notify/outbox.hpp"

namespace rollbackd::notify {

/// A message on its way to one channel.
struct Message {
  std::string channel;
  Notification notification;
  std::int64_t queued_ns = 0;  ///< wall clock, unix
};

/// One change of what is on disk. Each may be written again: the end is the same.
struct Change {
  enum class Kind {
    queue,   ///< the message waits
    finish,  ///< its key is done with, and is remembered
    forget,  ///< it was dropped; the key may come again
  };
  Kind kind = Kind::queue;
  std::string channel, key;
  std::int64_t at_ns = 0;  ///< queued, or finished
  int severity = 0;
  std::string document;  ///< queue: the notification as JSON
  std::string how;       ///< finish: "sent", "refused", "given_up"
};

struct FinishedKey {
  std::string channel, key;
  std::int64_t at_ns = 0;
  std::string how;  ///< "sent", "refused", "given_up"
};

/// What a file held when it was opened.
struct Loaded {
  std::vector<Message> waiting;       ///< oldest first
  std::vector<FinishedKey> finished;  ///< oldest first, none over age
  bool anew = false;                  ///< a damaged file was set aside: what memory knows has to be written again
};

class Store {
 public:
  Store(std::string path, OutboxLimits limits) : path_(std::move(path)), limits_(limits) {}
  /// Opens (or after a failure opens again; a damaged file is set aside first) and reads everything.
  Result<Loaded> open(std::int64_t now_ns);
  /// Writes all changes in one transaction. After a failure it is not open any more, and whether they are there is not known.
  Result<> apply(const std::vector<Change>& changes);
  bool is_open() const { return database_.has_value(); }

 private:
  Result<Loaded> load(std::int64_t now_ns);
  Result<> write(const Change& change);
  Result<> forget_old_keys(std::int64_t now_ns);

  std::string path_;
  OutboxLimits limits_;
  std::optional<io::Database> database_;
  bool damaged_ = false;
  int set_aside_count_ = 0;
  std::size_t finished_since_thinning_ = 0;
};

/// A notification as it is stored, and back.
std::string document_of(const Notification& notification);
Result<Notification> notification_of(const std::string& document);

}  // namespace rollbackd::notify
