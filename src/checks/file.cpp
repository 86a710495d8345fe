// Whether a file is there, young and large enough: a backup, a heartbeat, a generated list. On a grid, and at once when its directory says
// that it changed. Flow: file -> [file check] -batch-> engine. inotify is a hint; what stat() says counts.
#include <sys/inotify.h>
#include <sys/stat.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <utility>

#include "checks/kinds.hpp"
#include "checks/looker.hpp"
#include "checks/parts.hpp"
#include "checks/probe_loop.hpp"
#include "io/inotify.hpp"
#include "series/store.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr Duration kDebounce = 200ms;  ///< a writer's last words are waited for
constexpr Duration kRetry = 15s;       ///< for a directory that is not there
constexpr std::uint32_t kEvents =
    IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
constexpr std::array<const char*, 4> kMetrics{"file_exists", "file_age_seconds", "file_size_bytes", "file_mtime_seconds"};

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

/// What stat() said.
struct Seen {
  int error = 0;         ///< errno; 0 when there is something
  bool link_is = false;  ///< after an error: the name itself is a link that leads nowhere
  bool regular = false;
  std::int64_t bytes = 0;
  Instant written;
};

Seen look_at(const std::string& path) {
  Seen out;
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) {
    out.error = errno;
    out.link_is = ::lstat(path.c_str(), &facts) == 0;
    return out;
  }
  out.regular = S_ISREG(facts.st_mode);
  out.bytes = facts.st_size;
  out.written = Instant(static_cast<std::int64_t>(facts.st_mtim.tv_sec) * 1'000'000'000 + facts.st_mtim.tv_nsec);
  return out;
}

class FileCheck final : public Check {
 public:
  explicit FileCheck(CheckContext context)
      : context_(std::move(context)), looker_(context_.executor), hinted_looker_(context_.executor), timer_(context_.executor) {
    for (std::size_t i = 0; i < kMetrics.size(); ++i) labels_[i] = labels_of(context_, kMetrics[i], host_name());
    const std::size_t slash = context_.settings.path.rfind('/');
    directory_ = slash == 0 ? "/" : context_.settings.path.substr(0, slash);
    name_ = context_.settings.path.substr(slash + 1);
  }

  asio::awaitable<void> run() override {
    using namespace asio::experimental::awaitable_operators;
    Probe probe_slot = [this](Instant) { return probe(&looker_); };
    co_await (run_on_grid(&context_, &counters_, std::move(probe_slot)) || follow_hints());
  }

  asio::awaitable<Batch> probe_now() override {
    Looker looker(context_.executor);  // Its own: the slot's look may be under way.
    std::optional<Batch> batch = co_await probe(&looker);
    co_return told_at_once(context_, std::move(batch));
  }

  Source source() const override {
    Source out{context_.service, context_.settings.name, {}, 2 * context_.settings.interval + context_.settings.timeout};
    out.metrics.assign(kMetrics.begin(), kMetrics.end());
    return out;
  }
  const CheckCounters& counters() const override { return counters_; }

 private:
  /// @return nothing when it was cancelled
  asio::awaitable<std::optional<Batch>> probe(Looker* looker) {
    co_await asio::this_coro::throw_if_cancelled(false);
    const Instant began = context_.clock->now();
    auto look = [path = context_.settings.path] { return look_at(path); };
    const std::optional<Seen> seen = co_await looker->look(std::move(look), context_.settings.timeout);
    const bool cancelled = co_await is_cancelled();
    if (cancelled) co_return std::nullopt;
    co_return judged(seen, began);
  }

  Batch could_not_look(Batch batch, const std::string& why) {
    ++counters_.unobserved;
    batch.unobserved = batch.detail = evidence(why);
    return batch;
  }

  Batch judged(const std::optional<Seen>& seen, Instant began) {
    Batch batch = batch_of(context_, began);
    const std::string& path = context_.settings.path;
    if (!seen)
      return could_not_look(std::move(batch),
                            "the file system of " + path + " did not answer within " + format_duration(context_.settings.timeout));
    const bool is_missing = seen->error == ENOENT || seen->error == ENOTDIR || seen->error == ELOOP;
    if (seen->error != 0 && !is_missing)
      return could_not_look(std::move(batch), Error::from_errno("cannot look at " + path, seen->error).text());

    const bool is_there = seen->error == 0 && seen->regular;
    batch.samples.push_back({labels_[0], is_there ? 1.0 : 0.0, false});
    std::string failure;
    if (!is_there) {
      failure = path + (seen->error == 0 ? " is no regular file" : seen->link_is ? " is a link that leads nowhere" : " is not there");
    } else {
      const Duration age = age_of(*seen);
      batch.samples.push_back({labels_[1], seconds(age), false});
      batch.samples.push_back({labels_[2], static_cast<double>(seen->bytes), false});
      batch.samples.push_back({labels_[3], seen->written.seconds(), false});
      failure = too_old_or_small(age, seen->bytes);
      batch.detail = evidence(path + ": " + std::to_string(seen->bytes) + " bytes, " + rounded(age) + " old");
    }
    batch.healthy = failure.empty();
    if (!failure.empty()) batch.detail = evidence(failure);
    ++(failure.empty() ? counters_.ok : counters_.failed);
    end_what_is_gone(batch, is_there);
    return batch;
  }

  /// The wall clock tells how old a file is that was not seen before; from then on it ages by engine time. A wall clock that is set makes
  /// no file older or younger.
  Duration age_of(const Seen& seen) {
    const ClockReading now = context_.clock->read();
    if (!written_ || written_->first != seen.written) {
      const Duration age = std::max(Instant(now.stamp.wall_ns) - seen.written, Duration::zero());
      written_.emplace(seen.written, now.instant - age);
    }
    return now.instant - written_->second;
  }

  std::string too_old_or_small(Duration age, std::int64_t bytes) const {
    const config::CheckSettings& s = context_.settings;
    if (s.age_max > Duration::zero() && age > s.age_max)
      return s.path + " is " + rounded(age) + " old, and " + format_duration(s.age_max) + " is the most";
    if (bytes < s.bytes_min)
      return s.path + " has " + std::to_string(bytes) + " bytes, and " + std::to_string(s.bytes_min) + " is the least";
    return {};
  }

  static std::string rounded(Duration age) { return format_duration(std::chrono::floor<std::chrono::seconds>(age)); }

  /// Age and size of a file that has gone end at once; else their last values would count for five minutes.
  void end_what_is_gone(Batch& batch, bool is_there) {
    for (std::size_t i = 1; was_there_ && !is_there && i < labels_.size(); ++i)
      batch.samples.push_back({labels_[i], series::stale_nan(), false});
    was_there_ = is_there;
  }

  /// Waits on `timer_`. @return false when cancelled
  asio::awaitable<bool> wait(Duration length) {
    timer_.expires_after(length);
    const auto [stopped] = co_await timer_.async_wait(kToken);
    const bool cancelled = co_await is_cancelled();
    co_return !stopped && !cancelled;
  }

  bool open() {
    auto opened = io::Inotify::open(context_.executor);
    if (opened.has_error() || opened->add(directory_, kEvents).has_error()) return false;
    inotify_.emplace(std::move(*opened));
    return true;
  }

  asio::awaitable<void> follow_hints() {
    co_await asio::this_coro::throw_if_cancelled(false);
    while (true) {
      if (!inotify_ && !open()) {
        const bool go_on = co_await wait(kRetry);
        if (!go_on) co_return;
        continue;
      }
      const auto events = co_await inotify_->next();
      const bool cancelled = co_await is_cancelled();
      if (cancelled) co_return;
      const bool directory_gone = events.has_error() || is_any(*events, IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT);
      const bool concerned = directory_gone || std::any_of(events->begin(), events->end(), [this](const io::FileEvent& event) {
                               return event.name == name_ || (event.mask & IN_Q_OVERFLOW) != 0;
                             });
      if (directory_gone) inotify_.reset();
      if (!concerned) continue;
      const bool go_on = co_await wait(kDebounce);
      if (!go_on) co_return;
      std::optional<Batch> batch = co_await probe(&hinted_looker_);
      if (!batch) co_return;
      context_.sink(std::move(*batch));
    }
  }

  static bool is_any(const std::vector<io::FileEvent>& events, std::uint32_t mask) {
    return std::any_of(events.begin(), events.end(), [mask](const io::FileEvent& event) { return (event.mask & mask) != 0; });
  }

  CheckContext context_;
  Looker looker_, hinted_looker_;
  asio::steady_timer timer_;
  CheckCounters counters_;
  std::array<Labels, kMetrics.size()> labels_;
  std::string directory_, name_;
  std::optional<io::Inotify> inotify_;
  bool was_there_ = false;
  std::optional<std::pair<Instant, Instant>> written_;  ///< the file's own time when it was last seen to change, and engine time of it
};

}  // namespace

Result<std::unique_ptr<Check>> make_file_check(CheckContext context) {
  const std::string& path = context.settings.path;
  if (path.empty() || path[0] != '/' || path.back() == '/')
    return Error(Errc::invalid_config, "the path of check " + context.settings.name + " names no file").try_next("write an absolute path");
  if (context.settings.interval < 1ms || context.settings.timeout < 1ms)
    return Error(Errc::invalid_config, "interval and timeout of check " + context.settings.name + " must be 1ms or more");
  return std::unique_ptr<Check>(std::make_unique<FileCheck>(std::move(context)));
}

}  // namespace rollbackd::checks
