// Queues notifications, sends them with retry, and keeps SQLite in step. All state belongs to the executor's thread; only `Store` runs
// elsewhere. Flow: engine -> [outbox] -> channels. One coroutine a channel, one that writes the file, all ended by cancelling run().
#include "notify/outbox.hpp"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <deque>
#include <exception>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>

#include "base/digest.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "notify/store.hpp"

namespace rollbackd::notify {

namespace asio = boost::asio;

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kQuiet = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kKeyBytesMax = 512;         // a longer key is known by its digest
constexpr int kTroubleAfterFailures = 3;          // of one channel in a row
constexpr int kLogEveryAttempts = 10;             // of one message, after the first
constexpr std::uint64_t kLogEveryDrops = 1'000;   // after the first
constexpr std::size_t kKeysRewrittenMax = 5'000;  // into a file made anew; with what waits that stays below changes_max

std::int64_t wall_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// A channel and a key as one; names hold no line feed.
std::string joined(const std::string& channel, const std::string& key) { return channel + "\n" + key; }

struct Entry {
  std::string channel;
  Notification notification;
  std::int64_t queued_ns = 0;
  Clock::time_point give_up_at;
  int attempts = 0;
  bool in_flight = false;
};

/// One channel's queue and its coroutine.
struct Lane {
  explicit Lane(const asio::any_io_executor& executor) : wake(executor) {}
  int severity_min = 1;
  std::shared_ptr<Channel> channel;                               ///< null while only what was loaded for it is known
  std::set<std::pair<int, std::uint64_t>> ready;                  ///< (-severity, id): the gravest first, then the oldest
  std::set<std::pair<Clock::time_point, std::uint64_t>> delayed;  ///< (when, id)
  Clock::time_point rests_until{};
  int failures_in_a_row = 0;
  std::string last_failure;
  bool running = false, removed = false;
  asio::steady_timer wake;
  asio::cancellation_signal stop;
};

/// Keys that are done with, oldest first out.
class SentKeys {
 public:
  bool contains(const std::string& key) const { return keys_.contains(key); }
  void add(std::string key, std::int64_t at_ns, const OutboxLimits& limits) {
    const auto [at, is_new] = keys_.insert(std::move(key));
    if (is_new) by_age_.emplace_back(at_ns, &*at);
    while (!by_age_.empty() &&
           (by_age_.size() > limits.sent_keys_max || by_age_.front().first < at_ns - limits.sent_keys_age_max.count())) {
      const std::string oldest = *by_age_.front().second;
      by_age_.pop_front();
      keys_.erase(oldest);
    }
  }
  const std::deque<std::pair<std::int64_t, const std::string*>>& by_age() const { return by_age_; }

 private:
  std::unordered_set<std::string> keys_;  // Its elements stay where they are, so `by_age_` may point at them.
  std::deque<std::pair<std::int64_t, const std::string*>> by_age_;
};

}  // namespace

struct Outbox::Impl : std::enable_shared_from_this<Outbox::Impl> {
  asio::any_io_executor executor;
  const std::string path;
  const OutboxLimits limits;
  OutboxCounters counters;

  std::map<std::uint64_t, Entry> entries;  ///< by id, so the oldest first
  std::array<std::set<std::uint64_t>, 4> by_severity;
  std::unordered_set<std::string> waiting_keys;
  SentKeys sent_keys;
  std::map<std::string, std::string> ended_otherwise;  ///< by joined key: "refused", "given_up"
  std::uint64_t last_id = 0;
  std::map<std::string, std::shared_ptr<Lane>> lanes;
  bool configured = false;

  std::shared_ptr<Store> store;
  std::optional<asio::thread_pool> pool{std::in_place, 1};  ///< one thread, for the store alone
  std::deque<Change> changes;                               ///< not yet handed to the store
  std::shared_ptr<std::vector<Change>> in_store;            ///< being written
  std::uint64_t changes_lost = 0;
  std::string store_trouble;
  Duration store_retry{};
  Clock::time_point store_retry_at{};

  asio::steady_timer wake;
  int lanes_running = 0;
  bool running = false, closing = false;

  Impl(asio::any_io_executor e, std::string p, OutboxLimits l)
      : executor(std::move(e)),
        path(std::move(p)),
        limits(l),
        store(std::make_shared<Store>(path, l)),
        store_retry(l.store_retry_first),
        wake(executor) {}

  // ---- the queue ----

  /// Queues one message for one channel. @return false for a key that waits already or is done with
  bool admit(Message message) {
    std::string key = joined(message.channel, message.notification.key);
    if (sent_keys.contains(key) || !waiting_keys.insert(std::move(key)).second) return false;
    std::shared_ptr<Lane>& lane = lanes[message.channel];
    if (!lane) lane = std::make_shared<Lane>(executor);
    const std::uint64_t id = ++last_id;
    const int severity = severity_of(message.notification);
    const Duration counted_most = std::max(Duration{0}, limits.give_up_after - limits.give_up_least);
    const Duration age = std::clamp(Duration{wall_ns() - message.queued_ns}, Duration{0}, counted_most);
    Entry entry;
    entry.channel = std::move(message.channel);
    entry.notification = std::move(message.notification);
    entry.queued_ns = message.queued_ns;
    entry.give_up_at = Clock::now() + (limits.give_up_after - age);
    entries.emplace(id, std::move(entry));
    by_severity[static_cast<std::size_t>(severity)].insert(id);
    lane->ready.emplace(-severity, id);
    lane->wake.cancel();
    return true;
  }

  static int severity_of(const Notification& notification) { return std::clamp(static_cast<int>(notification.severity), 1, 3); }

  void remove(std::map<std::uint64_t, Entry>::iterator entry) {
    const auto& [id, e] = *entry;
    const int severity = severity_of(e.notification);
    by_severity[static_cast<std::size_t>(severity)].erase(id);
    waiting_keys.erase(joined(e.channel, e.notification.key));
    if (const auto lane = lanes.find(e.channel); lane != lanes.end()) {
      lane->second->ready.erase({-severity, id});
      std::erase_if(lane->second->delayed, [id = id](const auto& d) { return d.second == id; });
    }
    entries.erase(entry);
  }

  /// How a message ended that was not sent: few, so they are remembered apart.
  void note_ended(const std::string& key, const std::string& how) {
    constexpr std::size_t kRemembered = 1000;
    if (how != "sent" && ended_otherwise.size() < kRemembered) ended_otherwise[key] = how;
  }

  /// Ends a message that needs no more attempts, and remembers its key.
  void finish(std::map<std::uint64_t, Entry>::iterator entry, const char* how) {
    const std::int64_t now = wall_ns();
    Change change = change_of(Change::Kind::finish, entry->second, now);
    change.how = how;
    sent_keys.add(joined(entry->second.channel, entry->second.notification.key), now, limits);
    note_ended(joined(entry->second.channel, entry->second.notification.key), how);
    remove(entry);
    note(std::move(change));
  }

  std::vector<Delivery> deliveries(const std::string& asked) const {
    const std::string key = asked.size() > kKeyBytesMax ? "sha256-" + sha256_hex(asked) : asked;
    std::vector<Delivery> out;
    for (const auto& [name, lane] : lanes) {
      const std::string whole = joined(name, key);
      Delivery delivery{name, "not_sent", 0, ""};
      if (sent_keys.contains(whole)) {
        const auto otherwise = ended_otherwise.find(whole);
        delivery.state = otherwise == ended_otherwise.end() ? "sent" : otherwise->second;
      } else if (waiting_keys.contains(whole)) {
        delivery.state = "waiting";
        for (const auto& [id, entry] : entries)
          if (entry.channel == name && entry.notification.key == key) delivery.attempts = entry.attempts;
        if (delivery.attempts > 0) delivery.why = lane->last_failure;
      }
      out.push_back(std::move(delivery));
    }
    return out;
  }

  void drop(std::map<std::uint64_t, Entry>::iterator entry, const char* why) {
    if (counters.dropped++ % kLogEveryDrops == 0) {
      log::error("notifications are dropped", {{"why", why},
                                               {"channel", entry->second.channel},
                                               {"title", entry->second.notification.title},
                                               {"dropped_so_far", std::to_string(counters.dropped)}});
    }
    Change change = change_of(Change::Kind::forget, entry->second, wall_ns());
    remove(entry);
    note(std::move(change));
  }

  /// The oldest of the least severity goes; one that is being sent stays.
  void drop_surplus() {
    while (entries.size() > limits.waiting_max) {
      auto victim = entries.end();
      for (std::size_t severity = 0; severity < by_severity.size() && victim == entries.end(); ++severity) {
        for (const std::uint64_t id : by_severity[severity]) {
          victim = entries.find(id);
          if (!victim->second.in_flight) break;
          victim = entries.end();
        }
      }
      if (victim == entries.end()) return;  // All of them are being sent: there are no more than channels.
      drop(victim, "too many are waiting");
    }
  }

  static Change change_of(Change::Kind kind, const Entry& entry, std::int64_t at_ns) {
    Change change;
    change.kind = kind;
    change.channel = entry.channel;
    change.key = entry.notification.key;
    change.at_ns = at_ns;
    return change;
  }
  static Change queue_change(const Entry& entry) {
    Change change = change_of(Change::Kind::queue, entry, entry.queued_ns);
    change.severity = static_cast<int>(entry.notification.severity);
    change.document = document_of(entry.notification);
    return change;
  }
  void note(Change change) {
    changes.push_back(std::move(change));
    if (changes.size() > limits.changes_max) {
      changes.pop_front();
      ++changes_lost;
    }
    wake.cancel();
  }

  void push(Notification notification) {
    const std::int64_t now = wall_ns();
    if (notification.key.empty()) notification.key = "unnamed-" + std::to_string(now) + "-" + std::to_string(last_id);
    if (!notification.details.has("at") && (notification.details.is_null() || notification.details.is_object())) {
      notification.details.set("at", format_rfc3339(Instant(now)));
    }
    if (notification.key.size() > kKeyBytesMax) notification.key = "sha256-" + sha256_hex(notification.key);
    // In memory it is as it would come back from disk: bounded, and valid UTF-8.
    Result<Notification> bounded = notification_of(document_of(notification));
    if (bounded.has_error()) {
      notification.key = printable(notification.key);
      notification.title = printable(notification.title);
      notification.text = printable(notification.text);
      notification.details = Json::object();
      notification.details.set("at", format_rfc3339(Instant(now))).set("left_out", "not valid UTF-8");
      bounded = notification_of(document_of(notification));
    }
    if (bounded.has_value()) notification = std::move(*bounded);
    for (const auto& [name, lane] : lanes) {
      if (!lane->channel || static_cast<int>(notification.severity) < lane->severity_min) continue;
      if (!admit({name, notification, now})) continue;
      ++counters.queued;
      note(queue_change(entries.rbegin()->second));
    }
    drop_surplus();
  }

  // ---- the channels ----

  Result<> set_channels(const std::vector<config::ChannelSettings>& settings) {
    std::map<std::string, std::pair<int, std::shared_ptr<Channel>>> made;
    for (const config::ChannelSettings& one : settings) {
      Result<std::unique_ptr<Channel>> channel = make_channel(one, executor);
      if (channel.has_error()) return channel.error();
      if (!made.emplace(one.name, std::pair(one.severity_min, std::shared_ptr<Channel>(std::move(*channel)))).second) {
        return Error(Errc::invalid_config, "two channels have the name " + one.name).try_next("give each a name of its own");
      }
    }
    configured = true;
    for (auto at = lanes.begin(); at != lanes.end();) {
      if (made.contains(at->first)) {
        ++at;
        continue;
      }
      const auto [name, lane] = *at;
      for (auto entry = entries.begin(); entry != entries.end();) {
        const auto next = std::next(entry);
        if (entry->second.channel == name) drop(entry, "their channel is gone");
        entry = next;
      }
      lane->removed = true;  // A send under way ends by itself.
      lane->wake.cancel();
      at = lanes.erase(at);
    }
    for (auto& [name, channel] : made) {
      std::shared_ptr<Lane>& lane = lanes[name];
      if (!lane) lane = std::make_shared<Lane>(executor);
      lane->severity_min = channel.first;
      lane->channel = std::move(channel.second);
    }
    wake.cancel();
    return {};
  }

  static asio::awaitable<void> serve(std::shared_ptr<Impl> self, std::shared_ptr<Lane> lane) {
    co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
    co_await asio::this_coro::throw_if_cancelled(false);
    while (!lane->removed && !self->closing) {
      const auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none) break;
      const Clock::time_point now = Clock::now();
      while (!lane->delayed.empty() && lane->delayed.begin()->first <= now) {
        const std::uint64_t due = lane->delayed.begin()->second;
        lane->delayed.erase(lane->delayed.begin());
        lane->ready.emplace(-severity_of(self->entries.at(due).notification), due);
      }
      if (lane->ready.empty() || now < lane->rests_until) {
        Clock::time_point until = lane->delayed.empty() ? Clock::time_point::max() : lane->delayed.begin()->first;
        if (!lane->ready.empty()) until = lane->rests_until;
        lane->wake.expires_at(until);
        co_await lane->wake.async_wait(kQuiet);
        continue;
      }

      const std::uint64_t id = lane->ready.begin()->second;
      lane->ready.erase(lane->ready.begin());
      Entry& entry = self->entries.at(id);
      entry.in_flight = true;
      Notification notification = entry.notification;
      const std::shared_ptr<Channel> channel = lane->channel;
      const SendResult result = co_await attempt(channel, std::move(notification));
      const auto after = co_await asio::this_coro::cancellation_state;
      self->settle(*lane, id, result, after.cancelled() != asio::cancellation_type::none || self->closing);
    }
  }

  static asio::awaitable<SendResult> attempt(std::shared_ptr<Channel> channel, Notification notification) {
    SendResult result;
    try {
      result = co_await channel->send(std::move(notification));
    } catch (const std::exception& e) {
      result.detail = std::string("the channel threw: ") + e.what();
    }
    co_return result;
  }

  /// Takes note of one attempt's end. @param ended  the daemon is stopping: a failure then says nothing about the channel
  void settle(Lane& lane, std::uint64_t id, const SendResult& result, bool ended) {
    const auto entry = entries.find(id);
    if (entry == entries.end()) {  // Its channel was removed meanwhile, and with it the entry.
      if (result.sent) ++counters.sent;
      return;
    }
    Entry& e = entry->second;
    e.in_flight = false;
    const int severity = severity_of(e.notification);
    if (result.sent) {
      ++counters.sent;
      lane.failures_in_a_row = 0;
      return finish(entry, "sent");
    }
    if (ended) {
      lane.ready.emplace(-severity, id);
      return;
    }
    ++e.attempts;
    ++lane.failures_in_a_row;
    lane.last_failure = result.detail;
    const Clock::time_point now = Clock::now();
    if (!result.retry || now >= e.give_up_at) {
      ++counters.given_up;
      log::error(result.retry ? "a notification is given up" : "a notification was refused by its channel",
                 {{"channel", e.channel},
                  {"key", e.notification.key},
                  {"title", e.notification.title},
                  {"attempts", std::to_string(e.attempts)},
                  {"why", result.detail}});
      return finish(entry, result.retry ? "given_up" : "refused");
    }
    ++counters.retried;
    if (e.attempts % kLogEveryAttempts == 1) {
      log::warning("a notification could not be sent yet", {{"channel", e.channel}, {"key", e.notification.key}, {"why", result.detail}});
    }
    lane.rests_until = now + std::chrono::duration_cast<Clock::duration>(limits.retry_first);
    lane.delayed.emplace(now + std::chrono::duration_cast<Clock::duration>(backoff(e.attempts)), id);
  }

  Duration backoff(int attempts) const {
    Duration wait = limits.retry_first;
    for (int i = 1; i < attempts && wait < limits.retry_max; ++i) wait *= 2;
    return std::min(wait, limits.retry_max);
  }

  void start_lanes() {
    for (const auto& [name, lane] : lanes) {
      if (lane->running || !lane->channel) continue;
      lane->running = true;
      ++lanes_running;
      auto ended = [self = shared_from_this(), lane = lane](const std::exception_ptr& thrown) {
        if (thrown) log::error("a channel's queue ended by an exception and begins again");
        lane->running = false;
        --self->lanes_running;
        self->wake.cancel();
      };
      asio::co_spawn(executor, serve(shared_from_this(), lane), asio::bind_cancellation_slot(lane->stop.slot(), std::move(ended)));
      running_lanes.insert(lane);
    }
    std::erase_if(running_lanes, [](const std::shared_ptr<Lane>& lane) { return !lane->running; });
  }
  std::set<std::shared_ptr<Lane>> running_lanes;  ///< removed ones too, until they have ended

  // ---- the file ----

  bool store_is_due() const { return !in_store && Clock::now() >= store_retry_at && (!changes.empty() || !store->is_open()); }

  void adopt(Loaded loaded) {
    if (!store_trouble.empty()) log::info("the outbox is on disk again", {{"path", path}});
    store_trouble.clear();
    store_retry = limits.store_retry_first;
    if (loaded.anew) {
      const auto& keys = sent_keys.by_age();
      for (std::size_t i = keys.size() - std::min(keys.size(), kKeysRewrittenMax); i < keys.size(); ++i) {
        Change change;
        change.kind = Change::Kind::finish;
        const std::size_t at = keys[i].second->find('\n');
        change.channel = keys[i].second->substr(0, at);
        change.key = keys[i].second->substr(at + 1);
        change.at_ns = keys[i].first;
        change.how = "sent";
        note(std::move(change));
      }
      for (const auto& [id, entry] : entries) note(queue_change(entry));
    }
    for (FinishedKey& key : loaded.finished) {
      sent_keys.add(joined(key.channel, key.key), key.at_ns, limits);
      note_ended(joined(key.channel, key.key), key.how);
    }
    for (Message& message : loaded.waiting) {
      if (configured && !lanes.contains(message.channel)) {
        Entry gone;
        gone.channel = message.channel;
        gone.notification.key = message.notification.key;
        ++counters.dropped;
        note(change_of(Change::Kind::forget, gone, wall_ns()));
      } else {
        admit(std::move(message));
      }
    }
    drop_surplus();
  }

  void store_failed(const Error& error) {
    if (store_trouble.empty()) log::error("the outbox is kept in memory only", {{"path", path}, {"why", error.text()}});
    store_trouble = "in memory only: " + error.text();
    store_retry_at = Clock::now() + std::chrono::duration_cast<Clock::duration>(store_retry);
    store_retry = std::min(store_retry * 2, limits.store_retry_max);
  }

  void take_batch() {
    in_store = std::make_shared<std::vector<Change>>();
    while (!changes.empty() && in_store->size() < limits.batch_max) {
      in_store->push_back(std::move(changes.front()));
      changes.pop_front();
    }
  }
  void put_batch_back() {
    for (; !in_store->empty(); in_store->pop_back()) changes.push_front(std::move(in_store->back()));
    in_store.reset();
  }

  /// Runs `work` on the outbox's own thread. An exception (a cancelled hand-over, no memory) is one more way to fail.
  template <class T, class Work>
  static asio::awaitable<Result<T>> elsewhere(std::shared_ptr<Impl> self, Work work) {
    Result<T> result = Error(Errc::internal, "the outbox's thread did not answer");
    auto body = [](Work w) -> asio::awaitable<Result<T>> { co_return w(); };
    // No cancellation reaches the other thread: Asio 1.26 hands it over as a bare pointer into this coroutine, which may be gone by then.
    auto uncancelled = asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable);
    auto task = body(std::move(work));
    try {
      result = co_await asio::co_spawn(*self->pool, std::move(task), uncancelled);
    } catch (const std::exception& e) {
      result = Error(Errc::cancelled, "the outbox was not written").because(e.what());
    }
    co_return result;
  }

  /// Opens the file when it is not open, else writes one batch. @return false when that failed; store_trouble says why
  static asio::awaitable<bool> write_some(std::shared_ptr<Impl> self) {
    const std::shared_ptr<Store> store = self->store;
    if (!store->is_open()) {
      const std::int64_t now = wall_ns();
      auto open = [store, now] { return store->open(now); };
      Result<Loaded> loaded = co_await elsewhere<Loaded>(self, std::move(open));
      if (self->closing) co_return false;
      if (loaded.has_error()) {
        self->store_failed(loaded.error());
        co_return false;
      }
      self->adopt(std::move(*loaded));
      co_return true;
    }
    self->take_batch();
    const std::shared_ptr<std::vector<Change>> batch = self->in_store;
    auto apply = [store, batch] { return store->apply(*batch); };
    const Result<> done = co_await elsewhere<void>(self, std::move(apply));
    if (self->closing) co_return false;  // close() writes the batch again.
    if (done.has_error()) {
      self->put_batch_back();
      self->store_failed(done.error());
      co_return false;
    }
    self->in_store.reset();
    co_return true;
  }

  static asio::awaitable<void> run(std::shared_ptr<Impl> self) {
    if (self->running) co_return;
    co_await asio::this_coro::reset_cancellation_state(asio::enable_total_cancellation());
    co_await asio::this_coro::throw_if_cancelled(false);
    self->running = true;
    while (!self->closing) {
      const auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none) break;
      self->start_lanes();
      if (self->store_is_due()) {
        co_await write_some(self);
        continue;
      }
      const bool waits_for_store = !self->changes.empty() || !self->store->is_open();
      self->wake.expires_at(waits_for_store ? self->store_retry_at : Clock::time_point::max());
      co_await self->wake.async_wait(kQuiet);
    }
    for (const auto& lane : self->running_lanes) lane->stop.emit(asio::cancellation_type::terminal);
    while (self->lanes_running > 0 && !self->closing) {
      self->wake.expires_at(Clock::time_point::max());
      co_await self->wake.async_wait(kQuiet);
    }
    while (!self->closing && self->store->is_open() && !self->changes.empty()) {
      if (!co_await write_some(self)) break;
    }
    self->running_lanes.clear();
    self->running = false;
  }

  /// At the very end, blocking.
  void close() {
    closing = true;
    for (const auto& lane : running_lanes) {
      lane->stop.emit(asio::cancellation_type::terminal);
      lane->wake.cancel();
    }
    wake.cancel();
    pool->join();                    // Waits for what it is doing.
    if (in_store) put_batch_back();  // Perhaps written, perhaps not: written again, which comes to the same.
    if (!store->is_open() && !changes.empty()) (void)store->open(wall_ns());
    while (!changes.empty()) {
      take_batch();
      if (const Result<> done = store->apply(*in_store); done.has_error()) {
        put_batch_back();
        log::error("the outbox could not be written at the end",
                   {{"waiting", std::to_string(entries.size())}, {"why", done.error().text()}});
        return;
      }
      in_store.reset();
    }
  }

  std::string trouble() const {
    std::string out = store_trouble;
    const auto add = [&](const std::string& text) { out += (out.empty() ? "" : "; ") + text; };
    if (changes_lost > 0) add(std::to_string(changes_lost) + " changes were never written to disk");
    for (const auto& [name, lane] : lanes) {
      if (lane->failures_in_a_row >= kTroubleAfterFailures) add("channel " + name + " takes nothing: " + lane->last_failure);
    }
    return out;
  }
};

Outbox::Outbox(asio::any_io_executor executor, std::string sqlite_path)
    : Outbox(std::move(executor), std::move(sqlite_path), OutboxLimits{}) {}

Outbox::Outbox(asio::any_io_executor executor, std::string sqlite_path, OutboxLimits limits)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(sqlite_path), limits)) {
  Result<Loaded> loaded = impl_->store->open(wall_ns());
  if (loaded.has_error()) {
    impl_->store_failed(loaded.error());
  } else {
    impl_->adopt(std::move(*loaded));
  }
}

Outbox::~Outbox() { impl_->close(); }

Result<> Outbox::set_channels(const std::vector<config::ChannelSettings>& channels) { return impl_->set_channels(channels); }
void Outbox::push(Notification notification) { impl_->push(std::move(notification)); }
asio::awaitable<void> Outbox::run() { return Impl::run(impl_); }
const OutboxCounters& Outbox::counters() const { return impl_->counters; }
std::vector<Delivery> Outbox::deliveries(const std::string& key) const { return impl_->deliveries(key); }
std::string Outbox::trouble() const { return impl_->trouble(); }

}  // namespace rollbackd::notify
