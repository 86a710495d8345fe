// The writer of the audit log: a bounded queue, one thread, one write and one fdatasync a batch.
#include "record/audit.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "record/audit_chain.hpp"
#include "record/audit_file.hpp"

namespace rollbackd::record {
namespace {

using Clock = std::chrono::steady_clock;

Instant wall_now() { return Instant(std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch()).count()); }

Clock::duration steady(Duration d) { return std::chrono::duration_cast<Clock::duration>(d); }

struct Queued {
  AuditEntry entry;
  Instant at;
};

}  // namespace

struct AuditLog::Impl {
  const std::string path;
  const AuditLimits limits;

  // Shared, under `mutex`.
  mutable std::mutex mutex;
  std::condition_variable wake, written;
  std::deque<Queued> queue;
  std::size_t in_flight = 0;  ///< entries taken from the queue and not yet on disk
  std::uint64_t lost_untold = 0;
  AuditCounters counters;
  bool opened = false, stopping = false;
  Clock::time_point stop_by{};

  // The thread's own.
  std::optional<AuditFile> file;
  std::deque<Queued> batch;
  std::vector<std::string> unsure;  ///< hashes of a commit that failed: which of them are there is not known yet
  std::uint64_t lost_told = 0;      ///< that the latest write told of
  std::uint64_t unsure_lost = 0;    ///< lost ones that its first entry told of; 0: it had none
  std::uint64_t told_seq = 0;
  Clock::time_point told_at{}, retry_at{}, retain_at{};
  Duration retry_after{};

  std::thread thread;  // The last member: everything it uses is there before it.

  Impl(std::string p, AuditLimits l) : path(std::move(p)), limits(l), retry_after(l.retry_first) {
    thread = std::thread([this] { run(); });
  }

  void run() {
    retain_at = Clock::now() + steady(limits.retain_every / 60);
    (void)open();
    {
      const std::scoped_lock lock(mutex);
      opened = true;
    }
    written.notify_all();
    tell_head(true);
    std::unique_lock lock(mutex);
    while (true) {
      const auto work = [&] { return stopping || !queue.empty() || !batch.empty(); };
      const bool retains = limits.keep_for > Duration{0};
      wake.wait_for(lock, steady(retains ? std::min(limits.head_at_least, limits.retain_every) : limits.head_at_least), work);
      wake.wait_until(lock, retry_at, [&] { return stopping || Clock::now() >= retry_at; });
      while (!queue.empty() && batch.size() < limits.batch_max) {
        batch.push_back(std::move(queue.front()));
        queue.pop_front();
      }
      in_flight = batch.size();
      const std::uint64_t lost = lost_untold;
      if (!batch.empty() && (stopping || Clock::now() >= retry_at)) {
        lock.unlock();
        const std::size_t done = write(lost);
        lock.lock();
        in_flight = batch.size();
        lost_untold -= std::exchange(lost_told, 0);
        counters.entries += done;
        if (file) {
          counters.seq = file->seq();
          counters.head = file->head();
        }
        written.notify_all();
      }
      const bool idle = queue.empty() && batch.empty();
      if (stopping && (idle || Clock::now() >= stop_by)) break;
      if (stopping && !counters.ok) break;  // It was tried once more; an unwell disk is not waited for.
      const bool retain_now = retains && !stopping && Clock::now() >= retain_at;
      lock.unlock();
      if (retain_now) retain();
      tell_head(false);
      lock.lock();
    }
    if (!queue.empty() || !batch.empty())
      log::error("audit entries were lost at the end", {{"entries", std::to_string(queue.size() + batch.size())}, {"path", path}});
  }

  bool open() {
    Result<AuditFile> opening = AuditFile::open(path, limits.file_bytes_max);
    if (!opening) {
      unwell(opening.error());
      return false;
    }
    file = std::move(*opening);
    file->set_rotate_after(limits.keep_for / 4);  // So that a file that never fills can go some day.
    const std::scoped_lock lock(mutex);
    counters.seq = file->seq();
    counters.head = file->head();
    return true;
  }

  /// Writes the batch, behind a word on what was lost before it. @return how many entries reached the disk; 0: none for certain, they wait
  std::size_t write(std::uint64_t lost) {
    if (!file && !open()) return 0;
    // Of a commit that failed: the disk may have refused to be read or mended at once, too.
    const std::size_t earlier = unsure.empty() ? 0 : drop_written(std::exchange(unsure, {}), unsure_lost > 0);
    if (earlier > 0) lost_told = std::min(lost, unsure_lost);
    lost -= lost_told;
    unsure_lost = 0;
    if (batch.empty() && lost == 0) return earlier;
    if (lost > 0) {
      AuditEntry entry;
      entry.principal = "rollbackd";
      entry.action = kLostAction;
      entry.reason = std::to_string(lost) + " entries before this one were lost: the disk took none, and " +
                     std::to_string(limits.queued_max) + " were waiting";
      entry.outcome = "lost";
      file->append(entry, wall_now());
    }
    for (const Queued& queued : batch) file->append(queued.entry, queued.at);
    const Result<> done = file->commit();
    if (!done) {
      // Whether it is there is found out by reading the file again: what is there is not written twice.
      unsure = file->uncommitted();
      unsure_lost = lost;
      file.reset();
      unwell(done.error());
      return earlier;
    }
    lost_told += lost;
    const std::size_t n = earlier + batch.size() + (lost > 0 ? 1 : 0);
    batch.clear();
    well();
    return n;
  }

  /// After a commit that may have happened: entries up to the head that was found are there.
  std::size_t drop_written(const std::vector<std::string>& hashes, bool told_lost) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < hashes.size(); ++i)
      if (hashes[i] == file->found()) n = i + 1;
    const std::size_t of_batch = n > 0 && told_lost ? n - 1 : n;
    batch.erase(batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(of_batch));
    return n;
  }

  /// Drops the oldest file if it is old enough. First the anchor, on disk; only then the file: what a crash leaves verifies at any moment.
  void retain() {
    retain_at = Clock::now() + steady(limits.retain_every);
    if (!file && !open()) return;
    const auto oldest = file->oldest_segment(wall_now() - limits.keep_for);
    if (!oldest) log::warning("the audit log's oldest file stays", {{"why", oldest.error().text()}});
    if (!oldest || !*oldest) return;
    const AuditSegment& segment = **oldest;
    file->append(anchor_entry(segment), wall_now());
    if (const Result<> anchored = file->commit(); !anchored) {
      file.reset();
      return unwell(anchored.error());
    }
    if (const Result<> dropped = file->drop(segment); !dropped) log::warning("an old audit file stays", {{"why", dropped.error().text()}});
    log::info("audit anchor", {{"seq", std::to_string(segment.seq)}, {"hash", segment.hash}, {"dropped", segment.file}});
    const std::scoped_lock lock(mutex);
    counters.seq = file->seq();
    counters.head = file->head();
  }

  void unwell(const Error& error) {
    retry_at = Clock::now() + steady(retry_after);
    retry_after = std::min(retry_after * 2, limits.retry_max);
    const std::scoped_lock lock(mutex);
    if (counters.ok) log::error("audit entries cannot be written; they wait in memory, and acting goes on", {{"why", error.text()}});
    counters.ok = false;
  }
  void well() {
    retry_at = {};
    retry_after = limits.retry_first;
    const std::scoped_lock lock(mutex);
    if (!counters.ok) log::info("audit entries are written again", {{"path", path}});
    counters.ok = true;
  }

  /// The head in the system log is what shows later that the end was cut off, or that the whole was written anew.
  void tell_head(bool at_start) {
    if (!file || file->seq() == 0) return;
    const bool due = at_start || file->seq() >= told_seq + limits.head_every || Clock::now() - told_at >= steady(limits.head_at_least);
    if (!due) return;
    told_seq = file->seq();
    told_at = Clock::now();
    log::info("audit head", {{"seq", std::to_string(file->seq())}, {"hash", file->head()}});
  }
};

AuditLog::AuditLog(std::string path) : AuditLog(std::move(path), AuditLimits{}) {}
AuditLog::AuditLog(std::string path, AuditLimits limits) : impl_(std::make_unique<Impl>(std::move(path), limits)) {}

AuditLog::~AuditLog() {
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->stopping = true;
    impl_->stop_by = Clock::now() + steady(impl_->limits.close_max);
  }
  impl_->wake.notify_one();
  impl_->thread.join();
}

void AuditLog::add(AuditEntry entry) {
  const Instant at = wall_now();
  const std::scoped_lock lock(impl_->mutex);
  if (impl_->queue.size() >= impl_->limits.queued_max) {
    ++impl_->counters.lost;
    ++impl_->lost_untold;
    return;
  }
  impl_->queue.push_back({std::move(entry), at});
  impl_->wake.notify_one();
}

AuditCounters AuditLog::counters() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->counters;
}

bool AuditLog::flush(Duration timeout) {
  std::unique_lock lock(impl_->mutex);
  return impl_->written.wait_for(lock, timeout, [&] { return impl_->opened && impl_->queue.empty() && impl_->in_flight == 0; });
}

}  // namespace rollbackd::record
