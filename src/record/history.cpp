#include "record/history.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <future>
#include <mutex>
#include <thread>

#include "base/log.hpp"
#include "base/text.hpp"
#include "io/sqlite.hpp"
#include "record/history_rows.hpp"
#include "record/schema.hpp"
#include "record/stats.hpp"

namespace rollbackd::record {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kSetAsidePerRunMax = 3;  // More often than that it is not the file that is at fault.
constexpr Duration kTotalsWait = 10s;

struct QueuedWrite {
  std::uint64_t number = 0;
  HistoryRow row;
};
/// Gets the database, or why there is none.
using ReadWork = std::function<void(Result<io::Database*>)>;
struct QueuedRead {
  std::uint64_t after = 0;  ///< runs when writes up to this number are settled: a reader sees what it wrote
  ReadWork work;
};

/// Refused for what it holds; every other row goes on without it.
bool is_row_refused(Errc code) { return code == Errc::invalid_argument || code == Errc::too_large; }
bool is_damage(Errc code) { return code == Errc::corrupt || code == Errc::internal; }

}  // namespace

struct History::Impl {
  const std::string path;
  const HistoryLimits limits;

  // Shared, under `mutex`.
  mutable std::mutex mutex;
  std::condition_variable wake, settled_changed;
  std::deque<QueuedWrite> queue;
  std::deque<QueuedRead> reads;
  std::uint64_t last_number = 0;
  std::uint64_t in_flight_from = 0;  ///< number of the first write of the batch that is being written; 0: none
  std::uint64_t dropped = 0;
  std::string in_memory, behind;  ///< why; empty when not
  bool opened = false, stopping = false;
  Clock::time_point stop_by{};

  // The thread's own.
  std::optional<io::Database> database;
  Error no_database{Errc::unavailable, "the history is not open"};
  std::size_t written_since_retention = 0;
  int set_aside_count = 0;
  Duration retry_after{};
  Clock::time_point retry_at{}, age_at{};
  int age_batches_left = 0;  ///< of this look

  std::thread thread;  // The last member: everything it uses is there before it.

  Impl(std::string p, HistoryLimits l) : path(std::move(p)), limits(l), retry_after(l.retry_first) {
    thread = std::thread([this] { run(); });
  }

  io::KeptOptions kept_options() const {
    io::KeptOptions options;
    options.path = path;
    options.migrations = history_migrations();
    options.busy_timeout = limits.busy_timeout;
    return options;
  }

  /// Number of the last write of which, and of all before it, it is known that they are written or dropped. Under the mutex.
  std::uint64_t settled() const {
    if (in_flight_from != 0) return in_flight_from - 1;
    return queue.empty() ? last_number : queue.front().number - 1;
  }

  void add(HistoryRow row) {
    const std::scoped_lock lock(mutex);
    queue.push_back({++last_number, std::move(row)});
    drop_surplus();
    wake.notify_one();
  }
  void drop_surplus() {
    while (queue.size() > limits.queued_max) {
      queue.pop_front();
      ++dropped;
    }
  }

  void read(ReadWork work) {
    {
      const std::scoped_lock lock(mutex);
      if (!stopping && reads.size() < limits.reads_max) {
        reads.push_back({last_number, std::move(work)});
        wake.notify_one();
        return;
      }
    }
    call(work, Error(Errc::unavailable, "the history does not answer").because("too many readers wait for it"));
  }

  static void call(const ReadWork& work, Result<io::Database*> argument) {
    try {
      work(std::move(argument));
    } catch (const std::exception& e) {
      log::error("a reader of the history threw", {{"what", e.what()}});
    }
  }

  // ---- the thread ----

  void run() {
    age_at = Clock::now() + std::chrono::duration_cast<Clock::duration>(limits.age_every / 60);
    adopt(io::open_kept(kept_options()));
    {
      const std::scoped_lock lock(mutex);
      opened = true;
    }
    settled_changed.notify_all();
    thin_out();
    std::unique_lock lock(mutex);
    while (true) {
      const auto may_write = [&] { return !queue.empty() && (behind.empty() || stopping || Clock::now() >= retry_at); };
      const bool ages = limits.keep_for > Duration{0} && behind.empty();
      const auto due = [&] { return stopping || may_write() || next_read() != reads.end() || (ages && Clock::now() >= age_at); };
      if (ages) {
        wake.wait_until(lock, age_at, due);
      } else if (behind.empty() || queue.empty()) {
        wake.wait(lock, due);
      } else {
        wake.wait_until(lock, retry_at, due);
      }
      bool progress = true;
      if (may_write()) {
        std::vector<QueuedWrite> batch;
        while (!queue.empty() && batch.size() < limits.batch_max) {
          batch.push_back(std::move(queue.front()));
          queue.pop_front();
        }
        in_flight_from = batch.front().number;
        lock.unlock();
        progress = write(batch);
        lock.lock();
        in_flight_from = 0;
        for (; !batch.empty(); batch.pop_back()) queue.push_front(std::move(batch.back()));
        drop_surplus();
        settled_changed.notify_all();
      }
      for (auto next = next_read(); next != reads.end(); next = next_read()) {
        const ReadWork work = std::move(next->work);
        reads.erase(next);
        lock.unlock();
        if (database) {
          call(work, &*database);
        } else {
          call(work, no_database);
        }
        lock.lock();
      }
      if (stopping && (queue.empty() || !progress || Clock::now() >= stop_by)) break;
      if (ages && Clock::now() >= age_at && queue.empty()) {
        lock.unlock();
        forget_old();
        lock.lock();
      }
    }
    const std::deque<QueuedRead> left = std::move(reads);
    reads.clear();
    dropped += queue.size();
    if (!queue.empty())
      log::error("history rows were not written before the end", {{"rows", std::to_string(queue.size())}, {"why", behind}});
    lock.unlock();
    for (const QueuedRead& read : left) call(read.work, Error(Errc::cancelled, "the history is closing"));
    database.reset();
  }

  /// The first read that need not wait any more. While it is behind none waits: what is there is better than silence. Under the mutex.
  std::deque<QueuedRead>::iterator next_read() {
    return std::find_if(reads.begin(), reads.end(), [&](const QueuedRead& read) { return !behind.empty() || read.after <= settled(); });
  }

  void adopt(Result<io::Kept> kept) {
    const std::scoped_lock lock(mutex);
    if (kept.has_error()) {
      database.reset();
      no_database = Error(Errc::unavailable, "the history is not open").because(kept.error().text());
      in_memory = "not kept at all: " + kept.error().text();
      return;
    }
    database.emplace(std::move(kept->database));
    in_memory = kept->trouble;
  }

  bool is_in_memory() const {
    const std::scoped_lock lock(mutex);
    return !in_memory.empty();
  }

  /// Writes the batch in one transaction, and empties it. @return false when nothing could be written: the batch is as it was, for a later
  /// attempt
  bool write(std::vector<QueuedWrite>& batch) {
    bool reopened = false;
    while (!batch.empty()) {
      std::size_t at = 0;
      const Result<> done = write_once(batch, at);
      if (done.has_value()) {
        written_since_retention += batch.size();
        batch.clear();
        well_again();
        if (written_since_retention >= limits.retain_every) thin_out();
        return true;
      }
      const Error& error = done.error();
      if (is_row_refused(error.code) && at < batch.size()) {
        log::error("a history row was refused and left out", {{"why", error.text()}});
        batch.erase(batch.begin() + static_cast<std::ptrdiff_t>(at));
        const std::scoped_lock lock(mutex);
        ++dropped;
        continue;
      }
      if (reopened || !reopen(error)) {
        falls_behind(error);
        return false;
      }
      reopened = true;
    }
    well_again();
    return true;
  }

  /// @param at  the row that was being written when it failed; the batch's size when it was none
  Result<> write_once(const std::vector<QueuedWrite>& batch, std::size_t& at) {
    if (!database) return no_database;
    return database->transaction([&]() -> Result<> {
      for (at = 0; at < batch.size(); ++at) {
        if (Result<> done = write_row(*database, batch[at].row); done.has_error()) return done;
      }
      return {};
    });
  }

  /// After a failed write: opens the file again, a damaged one set aside first. @return false when the same attempt need not be made again
  /// at once
  bool reopen(const Error& error) {
    if (is_in_memory()) return false;
    if (is_damage(error.code)) {
      if (++set_aside_count > kSetAsidePerRunMax) return false;
      database.reset();
      const Result<std::string> aside = io::set_aside_database(path);
      log::error("the history is damaged; it is set aside and made anew",
                 {{"path", path}, {"set_aside", aside.has_value() ? *aside : aside.error().text()}, {"why", error.text()}});
      adopt(io::open_kept(kept_options()));
      return true;
    }
    // The old connection stays for readers when a new one cannot be had, as on a full disk.
    Result<io::Kept> anew = io::open_kept_file(kept_options());
    if (anew.has_value()) adopt(std::move(anew));
    return true;
  }

  void falls_behind(const Error& error) {
    const std::scoped_lock lock(mutex);
    if (behind.empty()) log::error("the history falls behind; its rows wait in memory", {{"path", path}, {"why", error.text()}});
    behind = "behind: " + error.text();
    retry_at = Clock::now() + retry_after;
    retry_after = std::min(retry_after * 2, limits.retry_max);
  }

  void well_again() {
    const std::scoped_lock lock(mutex);
    if (behind.empty()) return;
    log::info("the history takes rows again", {{"path", path}});
    behind.clear();
    retry_after = limits.retry_first;
  }

  /// One batch of rows that are too old; the next one at once, but after whoever waits, until the look's share is used up.
  void forget_old() {
    if (age_batches_left == 0) age_batches_left = limits.age_batches;
    const auto wall = std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch());
    const Result<std::int64_t> gone =
        database ? retain_since(*database, Instant(wall.count()) - limits.keep_for, limits.keep_rows, limits.age_batch)
                 : Result<std::int64_t>(0);
    if (gone.has_error()) log::warning("old history rows could not be deleted", {{"path", path}, {"why", gone.error().text()}});
    const bool more = gone.has_value() && *gone > 0 && --age_batches_left > 0;
    if (more) return;
    age_batches_left = 0;
    age_at = Clock::now() + std::chrono::duration_cast<Clock::duration>(limits.age_every);
  }

  void thin_out() {
    written_since_retention = 0;
    if (!database) return;
    const Result<> done = retain_newest(*database, is_in_memory() ? limits.memory_rows_max : limits.rows_max);
    if (done.has_error()) log::warning("old history rows could not be deleted", {{"path", path}, {"why", done.error().text()}});
  }
};

History::History(std::string path) : History(std::move(path), HistoryLimits{}) {}
History::History(std::string path, HistoryLimits limits) : impl_(std::make_unique<Impl>(std::move(path), limits)) {}

History::~History() {
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->stopping = true;
    impl_->stop_by = Clock::now() + std::chrono::duration_cast<Clock::duration>(impl_->limits.close_max);
  }
  impl_->wake.notify_one();
  impl_->thread.join();
}

void History::add(DeploymentRow row) { impl_->add(std::move(row)); }
void History::add(Decision decision) { impl_->add(std::move(decision)); }
void History::add(OperationRow row) { impl_->add(std::move(row)); }
void History::add(StepRow row) { impl_->add(std::move(row)); }
void History::add(BundleRow row) { impl_->add(std::move(row)); }

namespace {

/// A read as queued work: `read` on the open database, its answer to `done`.
template <class Answer, class Read>
ReadWork answering(std::function<void(Result<Answer>)> done, Read read) {
  return [done = std::move(done), read = std::move(read)](const Result<io::Database*>& database) {
    if (database.has_error()) return done(database.error());
    done(read(**database));
  };
}

}  // namespace

void History::operations(HistoryFilter filter, std::function<void(Result<std::vector<Json>>)> done) {
  impl_->read(answering<std::vector<Json>>(std::move(done),
                                           [filter = std::move(filter)](io::Database& db) { return read_operations(db, filter); }));
}
void History::decisions(HistoryFilter filter, std::function<void(Result<std::vector<Json>>)> done) {
  impl_->read(
      answering<std::vector<Json>>(std::move(done), [filter = std::move(filter)](io::Database& db) { return read_decisions(db, filter); }));
}
void History::deployments(HistoryFilter filter, std::function<void(Result<std::vector<Json>>)> done) {
  impl_->read(answering<std::vector<Json>>(std::move(done),
                                           [filter = std::move(filter)](io::Database& db) { return read_deployments(db, filter); }));
}
void History::bundles(BundleFilter filter, std::function<void(Result<std::vector<Json>>)> done) {
  impl_->read(
      answering<std::vector<Json>>(std::move(done), [filter = std::move(filter)](io::Database& db) { return read_bundles(db, filter); }));
}
void History::operation(std::string id, std::function<void(Result<Json>)> done) {
  impl_->read(answering<Json>(std::move(done), [id = std::move(id)](io::Database& db) { return read_operation(db, id); }));
}

void History::stats(HistoryFilter filter, std::function<void(Result<Json>)> done) {
  impl_->read(
      answering<Json>(std::move(done), [filter = std::move(filter), most = impl_->limits.rows_max](io::Database& db) -> Result<Json> {
        const Result<StatsRows> rows = read_stats_rows(db, filter, most);
        if (rows.has_error()) return rows.error();
        Stats stats = compute_stats(rows->operations, rows->decisions, filter.since);
        stats.truncated = rows->truncated;
        return stats.to_json();
      }));
}

namespace {

/// Asks and waits; nothing when there is no answer in time.
template <class List, class Read>
List ask_at_start(const std::function<void(ReadWork)>& ask, Read read, const char* else_what) {
  auto answer = std::make_shared<std::promise<List>>();  // Shared: the thread may answer after we stopped waiting.
  std::future<List> coming = answer->get_future();
  ask(answering<List>([answer](Result<List> list) { answer->set_value(list.has_value() ? std::move(*list) : List{}); }, read));
  if (coming.wait_for(kTotalsWait) == std::future_status::ready) return coming.get();
  log::warning(else_what);
  return {};
}

}  // namespace

std::vector<OperationTotal> History::totals() {
  return ask_at_start<std::vector<OperationTotal>>([this](ReadWork work) { impl_->read(std::move(work)); }, read_totals,
                                                   "the history did not tell its totals in time; they count from 0");
}

std::vector<OperationRow> History::last_operations() {
  return ask_at_start<std::vector<OperationRow>>([this](ReadWork work) { impl_->read(std::move(work)); }, read_last_operations,
                                                 "the history did not tell of its last operations in time");
}

std::string History::trouble() const {
  const std::scoped_lock lock(impl_->mutex);
  if (impl_->in_memory.empty() || impl_->behind.empty()) return impl_->in_memory + impl_->behind;
  return impl_->in_memory + "; " + impl_->behind;
}

std::uint64_t History::dropped() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->dropped;
}

bool History::flush(Duration timeout) {
  std::unique_lock lock(impl_->mutex);
  const std::uint64_t until = impl_->last_number;
  return impl_->settled_changed.wait_for(lock, timeout, [&] { return impl_->opened && impl_->settled() >= until; });
}

}  // namespace rollbackd::record
