// Follows log files and counts the lines that match patterns, over rotation and truncation.
// Flow: files -inotify-> [log check] -batch-> engine. inotify is a hint for speed; sizes are looked at each second too.
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <list>
#include <optional>
#include <set>

#include "checks/kinds.hpp"
#include "checks/parts.hpp"
#include "checks/patterns.hpp"
#include "io/inotify.hpp"
#include "io/process.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t kBlockBytes = 256 << 10;  ///< read in one turn of the reactor
constexpr std::size_t kOpenMax = 64;            ///< files held open; of more, those that grew longest ago are closed and remembered
constexpr std::size_t kKnownMax = 1024;         ///< files remembered; with more the check says that it cannot look
constexpr Duration kTick = 1s;                  ///< sizes are looked at, and new lines without a match are told
constexpr Duration kRetry = 1s;                 ///< while the directory is missing
constexpr Duration kLookedLately = 2s;          ///< what is read this long after the last look is news of this moment
constexpr Duration kLinger = 15s;  ///< a rotated file is still read for so long: its writer may not have opened the new one yet
constexpr std::uint32_t kDirectoryEvents =
    IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

/// One file, known by its inode. Its name may come to mean another.
struct File {
  dev_t device = 0;
  ino_t inode = 0;
  std::string name;
  io::Fd fd;                       ///< none: closed for a more lively one; opened again when it grows
  std::int64_t offset = 0;         ///< read up to here
  std::int64_t old_until = 0;      ///< what stands before it was written before the present epoch, or before the process ended
  std::string partial;             ///< the last line, as long as it has no newline; at most line_bytes_max
  bool skipping = false;           ///< within the rest of a line that was cut
  bool dirty = false;              ///< there may be more to read
  std::optional<Instant> retired;  ///< since when its name no longer leads to it
  Instant grew;

  void start_again() {
    offset = old_until = 0;
    partial.clear();
    skipping = false;
  }
};

class LogCheck final : public Check {
 public:
  LogCheck(CheckContext context, Patterns patterns)
      : context_(std::move(context)), patterns_(std::move(patterns)), timer_(context_.executor), retry_(context_.executor) {
    const std::size_t slash = context_.settings.path.rfind('/');
    directory_ = slash == 0 ? "/" : context_.settings.path.substr(0, slash);
    glob_ = context_.settings.path.substr(slash + 1);
    line_bytes_max_ = static_cast<std::size_t>(std::max<std::int64_t>(context_.settings.line_bytes_max, 1));
    const std::string instance = host_name();
    lines_labels_ = labels_of(context_, "log_lines_total", instance);
    cut_labels_ = labels_of(context_, "log_lines_cut_total", instance);
    for (const std::string& name : patterns_.names()) {
      Labels labels = labels_of(context_, "log_matches_total", instance);
      labels.set("pattern", name);
      match_labels_.push_back(std::move(labels));
    }
    matches_.resize(match_labels_.size());
  }

  asio::awaitable<void> run() override {
    using namespace asio::experimental::awaitable_operators;
    co_await (follow() || tick());
  }

  asio::awaitable<Batch> probe_now() override {
    co_await asio::this_coro::throw_if_cancelled(false);
    const Instant began = context_.clock->now();
    if (watched_) {
      scan_directory(false);
      look_at_sizes();
      co_await read_all();
      all_is_read(began);
    }
    Batch batch = known(began);
    context_.sink(batch);
    co_return batch;
  }

  void begin_epoch() override { draw_line(); }
  void on_process(const ProcessEvent& event) override {
    if (event.kind == ProcessEvent::Kind::exited) draw_line();
  }

  Source source() const override {
    return {context_.service, context_.settings.name, {"log_lines_total", "log_matches_total", "log_lines_cut_total"}, kRepeatStaleness};
  }
  const CheckCounters& counters() const override { return counters_; }

 private:
  // ---- Batches ----

  Batch known(Instant began) {
    Batch batch = batch_of(context_, began);
    batch.detail = std::exchange(detail_, {});
    last_batch_ = context_.clock->now();
    news_ = false;
    const bool matched = std::exchange(matched_, false);
    // A match is true whatever else cannot be read; without one an unreadable file means that we do not know.
    const std::string& trouble = gone_.empty() ? trouble_ : gone_;
    if (!trouble.empty() && !matched) {
      ++counters_.unobserved;
      batch.unobserved = evidence(trouble);
      return batch;
    }
    ++counters_.ok;
    batch.samples.push_back({lines_labels_, static_cast<double>(lines_), true});
    batch.samples.push_back({cut_labels_, static_cast<double>(cut_lines_), true});
    for (std::size_t i = 0; i < matches_.size(); ++i) batch.samples.push_back({match_labels_[i], static_cast<double>(matches_[i]), true});
    return batch;
  }
  void deliver(Instant began) { context_.sink(known(began)); }

  // ---- Lines ----

  void on_match(std::string_view line, const std::vector<int>& matching) {
    for (const int i : matching) ++matches_[static_cast<std::size_t>(i)];
    if (detail_.empty()) detail_ = evidence(line);
    matched_ = true;
  }

  void take_line(std::string_view line) {
    ++lines_;
    if (line.size() > line_bytes_max_) {
      ++cut_lines_;
      line = line.substr(0, line_bytes_max_);
    }
    patterns_.scan_line(line, on_match_);
  }

  /// Whole lines, each with its newline.
  void take_lines(std::string_view lines) {
    std::uint64_t count = 0;
    std::size_t longest = 0;
    for (std::size_t at = 0; at < lines.size(); ++count) {
      const std::size_t end = lines.find('\n', at);
      longest = std::max(longest, end - at);
      at = end + 1;
    }
    if (longest <= line_bytes_max_) {
      lines_ += count;
      return patterns_.scan(lines, on_match_);
    }
    while (!lines.empty()) {
      const std::size_t end = lines.find('\n');
      take_line(lines.substr(0, end));
      lines.remove_prefix(end + 1);
    }
  }

  void take(File& file, std::string_view data) {
    if (file.skipping || !file.partial.empty()) {
      const std::size_t end = data.find('\n');
      if (!file.skipping) file.partial.append(data.substr(0, end));
      if (end != data.npos) {
        if (!file.skipping) take_line(file.partial);
        file.partial.clear();
        file.skipping = false;
        data.remove_prefix(end + 1);
      } else {
        data = {};
      }
    }
    const std::size_t last = data.rfind('\n');
    if (last != data.npos) {
      take_lines(data.substr(0, last + 1));
      data.remove_prefix(last + 1);
    }
    if (!file.skipping) file.partial.append(data);
    if (file.partial.size() > line_bytes_max_) {  // Counted now, once; the rest is skipped up to its newline.
      take_line(file.partial);
      file.partial = {};
      file.skipping = true;
    }
  }

  // ---- Files ----

  std::string path_of(const std::string& name) const { return directory_ + (directory_ == "/" ? "" : "/") + name; }

  /// Makes room for one more open file. @return false when all are busy: it is tried again at the next tick
  bool make_room() {
    const auto open = std::count_if(files_.begin(), files_.end(), [](const File& f) { return static_cast<bool>(f.fd); });
    if (static_cast<std::size_t>(open) < kOpenMax) return true;
    File* quietest = nullptr;
    for (File& file : files_)
      if (file.fd && !file.dirty && !file.retired && (!quietest || file.grew < quietest->grew)) quietest = &file;
    if (quietest) quietest->fd.reset();
    return quietest != nullptr;
  }

  bool ensure_open(File& file) {
    if (file.fd) return true;
    if (file.retired || !make_room()) return false;
    const std::string path = path_of(file.name);
    io::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat now {};
    if (!fd || ::fstat(fd.get(), &now) != 0) {
      if (errno != ENOENT) trouble_ = Error::from_errno("cannot read " + path, errno).text();
      return false;
    }
    if (now.st_dev != file.device || now.st_ino != file.inode) return false;  // Rotated just now: the event for it is on its way.
    file.fd = std::move(fd);
    return true;
  }

  /// Compares the directory with the files known. @param at_start  files are followed from their present end unless from_beginning
  void scan_directory(bool at_start) {
    trouble_.clear();
    DIR* directory = ::opendir(directory_.c_str());
    if (directory == nullptr) {
      trouble_ = Error::from_errno("cannot list " + directory_, errno).text();
      return;
    }
    const Instant now = context_.clock->now();
    std::set<const File*> present;
    while (const dirent* entry = ::readdir(directory)) {  // NOLINT(concurrency-mt-unsafe): a stream of our own
      const std::string name = entry->d_name;
      if (name != glob_ && ::fnmatch(glob_.c_str(), name.c_str(), FNM_PERIOD) != 0) continue;
      struct stat facts {};
      if (::stat(path_of(name).c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) continue;
      const auto known =
          std::find_if(files_.begin(), files_.end(), [&](const File& f) { return f.device == facts.st_dev && f.inode == facts.st_ino; });
      if (known != files_.end()) {
        known->name = name;
        known->retired.reset();
        if (facts.st_size != known->offset) known->dirty = true;
        present.insert(&*known);
        continue;
      }
      if (files_.size() >= kKnownMax) {
        trouble_ = "more than " + std::to_string(kKnownMax) + " files match " + context_.settings.path;
        break;
      }
      File file;
      file.device = facts.st_dev;
      file.inode = facts.st_ino;
      file.name = name;
      file.offset = at_start && !context_.settings.from_beginning ? facts.st_size : 0;
      file.dirty = facts.st_size > file.offset;
      file.grew = Instant(static_cast<std::int64_t>(facts.st_mtim.tv_sec) * 1'000'000'000);
      present.insert(&files_.emplace_back(std::move(file)));
    }
    ::closedir(directory);

    for (File& file : files_) {
      if (!present.contains(&file)) retire(file, now);
      // Opened at once, so that it can be read to its end even if it is renamed or removed.
      if (!file.retired) ensure_open(file);
    }
    std::erase_if(files_, [](const File& file) { return file.retired && !file.fd; });
  }

  static void retire(File& file, Instant now) {
    if (!file.retired) file.retired = now;
    file.dirty = true;
  }

  /// Looks for growth and truncation that no event told of: a symbolic link's target, a removed file, an overflow.
  void look_at_sizes() {
    for (File& file : files_) {
      const std::int64_t size = size_of(file);
      if (size != file.offset) file.dirty = true;
    }
  }

  /// Its `offset` where it cannot be seen.
  std::int64_t size_of(const File& file) const {
    struct stat now {};
    const bool found = file.fd ? ::fstat(file.fd.get(), &now) == 0 : ::stat(path_of(file.name).c_str(), &now) == 0;
    return found && now.st_ino == file.inode ? now.st_size : file.offset;
  }

  /// What stands in the files now, read or not, is the word of the release before, or of the process that ended.
  void draw_line() {
    for (File& file : files_) {
      file.old_until = size_of(file);
      if (file.old_until != file.offset) file.dirty = true;
    }
  }

  /// Since when the next lines of `file` may stand there: mostly they are news of this moment.
  Instant written_since(const File& file) const {
    const Instant now = context_.clock->now();
    const bool waited = file.offset < file.old_until || now - looked_ > kLookedLately;
    return waited ? std::min(looked_, now) : now;
  }

  void all_is_read(Instant as_of) {
    if (trouble_.empty()) looked_ = as_of;
  }

  void forget_old_ones() {
    const Instant now = context_.clock->now();
    std::erase_if(files_, [&](File& file) {
      if (!file.retired || file.dirty || now - *file.retired < kLinger) return false;
      if (!file.partial.empty()) take_line(file.partial);  // The last line never got its newline.
      return true;
    });
  }

  /// Reads one block. Apart from the coroutines, so that all checks of a thread share one buffer.
  void read_block(File& file) {
    static thread_local std::vector<char> buffer(kBlockBytes);
    file.dirty = false;
    struct stat now {};
    if (::fstat(file.fd.get(), &now) == 0 && now.st_size < file.offset) file.start_again();  // Truncated: copytruncate, or "> app.log".
    const bool old = file.offset < file.old_until;                                           // Told apart from what follows it.
    const std::size_t wanted = old ? std::min(buffer.size(), static_cast<std::size_t>(file.old_until - file.offset)) : buffer.size();
    const ssize_t n = ::pread(file.fd.get(), buffer.data(), wanted, file.offset);
    if (n < 0 && errno != EINTR) trouble_ = Error::from_errno("cannot read " + path_of(file.name), errno).text();
    if (n <= 0) return;
    file.offset += n;
    file.dirty = static_cast<std::size_t>(n) == wanted;
    file.grew = context_.clock->now();
    news_ = true;
    take(file, {buffer.data(), static_cast<std::size_t>(n)});
  }

  /// One block of the next file in rotation that has something. @return false when nothing was left to do
  bool turn() {
    const auto due = [](const File& file) { return file.dirty; };
    auto next = std::find_if(files_.begin(), files_.end(), due);
    if (next == files_.end()) return false;
    const Instant began = written_since(*next);
    if (ensure_open(*next)) {
      read_block(*next);
    } else {
      next->dirty = false;  // Tried again at the next tick.
    }
    files_.splice(files_.end(), files_, next);  // The others come first now.
    if (matched_) deliver(began);
    return true;
  }

  /// Reads until nothing is left, with a turn of the reactor's other work after each block. @return true when cancelled
  asio::awaitable<bool> read_all() {
    for (bool more = turn(); more; more = turn()) {
      co_await asio::post(context_.executor, asio::use_awaitable);
      const bool cancelled = co_await is_cancelled();
      if (cancelled) co_return true;
    }
    co_return co_await is_cancelled();
  }

  // ---- Following ----

  asio::awaitable<void> tick() {
    co_await asio::this_coro::throw_if_cancelled(false);
    while (true) {
      timer_.expires_after(kTick);
      const auto [stopped] = co_await timer_.async_wait(kToken);
      const bool cancelled_meanwhile = co_await is_cancelled();
      if (stopped || cancelled_meanwhile) co_return;
      const Instant now = context_.clock->now();
      const bool repeat = now - last_batch_ >= kRepeat;
      if (watched_ && inotify_ && !directory_is_there()) inotify_.reset();  // Wakes follow(), which knows what to do.
      if (watched_ && inotify_) {
        if (repeat || !trouble_.empty()) scan_directory(false);
        look_at_sizes();
        const bool cancelled = co_await read_all();
        if (cancelled) co_return;
        all_is_read(now);
        forget_old_ones();
      }
      if (matched_ || repeat || (news_ && now - last_batch_ >= kTick)) deliver(now);
    }
  }

  asio::awaitable<void> follow() {
    co_await asio::this_coro::throw_if_cancelled(false);
    for (bool at_start = true;; at_start = false) {
      const bool cancelled = co_await follow_directory(at_start);
      watched_ = false;
      if (cancelled) co_return;
      retry_.expires_after(kRetry);
      const auto [stopped] = co_await retry_.async_wait(kToken);
      const bool cancelled_meanwhile = co_await is_cancelled();
      if (stopped || cancelled_meanwhile) co_return;
    }
  }

  void set_gone(std::string why) {
    if (gone_ == why) return;
    gone_ = std::move(why);
    deliver(context_.clock->now());
  }

  Result<> watch_directory() {
    auto inotify = io::Inotify::open(context_.executor);
    if (inotify.has_error()) return inotify.error();
    const Result<int> watch = inotify->add(directory_, kDirectoryEvents);
    if (watch.has_error()) return watch.error();
    struct stat now {};
    if (::stat(directory_.c_str(), &now) != 0) return Error::from_errno("cannot watch " + directory_, errno);
    directory_inode_ = now.st_ino;
    inotify_.emplace(std::move(*inotify));
    return {};
  }

  /// Whether the path still leads to the directory that is watched. inotify does not tell: a file held open keeps its removed directory
  /// alive.
  bool directory_is_there() const {
    struct stat now {};
    return ::stat(directory_.c_str(), &now) == 0 && now.st_ino == directory_inode_;
  }

  /// Follows the directory's events until it goes away. @return true when cancelled
  asio::awaitable<bool> follow_directory(bool at_start) {
    const Result<> watching = watch_directory();
    if (watching.has_error()) {
      set_gone(watching.error().text());
      co_return false;
    }
    gone_.clear();
    const Instant looked = context_.clock->now();
    if (at_start) looked_ = looked;
    scan_directory(at_start);
    watched_ = true;
    const bool cancelled_at_start = co_await read_all();
    if (cancelled_at_start) co_return true;
    all_is_read(looked);
    deliver(context_.clock->now());

    while (true) {
      const auto events = co_await inotify_->next();
      const bool gone = events.has_error() ? !inotify_.has_value() : take_events(*events);  // tick() takes the watch away, too.
      if (events.has_error() && !gone) co_return events.error().code == Errc::cancelled;
      if (gone) {
        for (File& file : files_) retire(file, context_.clock->now());
        const bool cancelled = co_await read_all();
        if (cancelled) co_return true;
        set_gone("the directory " + directory_ + " is gone");
        co_return false;
      }
      const Instant began = context_.clock->now();
      const bool cancelled = co_await read_all();
      if (cancelled) co_return true;
      if (news_ && began - last_batch_ >= kTick) deliver(began);
    }
  }

  /// Marks what is to be read. @return true when the directory itself is gone
  bool take_events(const std::vector<io::FileEvent>& events) {
    bool scan = false;
    for (const io::FileEvent& event : events) {
      if ((event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0) return true;
      const auto file = std::find_if(files_.begin(), files_.end(), [&](const File& f) { return !f.retired && f.name == event.name; });
      if ((event.mask & IN_MODIFY) != 0 && file != files_.end()) {
        file->dirty = true;
      } else {
        scan = scan || (event.mask & IN_Q_OVERFLOW) != 0 || file != files_.end() || event.name == glob_ ||
               ::fnmatch(glob_.c_str(), event.name.c_str(), FNM_PERIOD) == 0;
      }
    }
    for (File& file : files_)
      if (file.retired) file.dirty = true;  // An event under its new name does not say so.
    if (!directory_is_there()) return true;
    if (scan) scan_directory(false);
    return false;
  }

  CheckContext context_;
  Patterns patterns_;
  asio::steady_timer timer_, retry_;
  CheckCounters counters_;
  std::string directory_, glob_;
  std::size_t line_bytes_max_ = 0;
  Patterns::OnLine on_match_ = [this](std::string_view line, const std::vector<int>& matching) { on_match(line, matching); };

  std::list<File> files_;  ///< in rotation: the next to be read first
  Instant looked_;         ///< what was written until then has been read
  bool watched_ = false;
  std::optional<io::Inotify> inotify_;
  ino_t directory_inode_ = 0;  ///< of the one that is watched
  std::string gone_;           ///< why the directory cannot be watched
  std::string trouble_;        ///< why some file cannot be read

  Labels lines_labels_, cut_labels_;
  std::vector<Labels> match_labels_;
  std::uint64_t lines_ = 0, cut_lines_ = 0;
  std::vector<std::uint64_t> matches_;
  std::string detail_;    ///< the first matching line since the last batch
  bool matched_ = false;  ///< since the last batch
  bool news_ = false;     ///< something was read since the last batch
  Instant last_batch_;
};

}  // namespace

Result<std::unique_ptr<Check>> make_log_check(CheckContext context) {
  const std::string& path = context.settings.path;
  const std::size_t slash = path.rfind('/');
  if (path.empty() || path[0] != '/' || slash + 1 == path.size()) {
    return Error(Errc::invalid_config, "the path of check " + context.settings.name + " names no file").try_next("write an absolute path");
  }
  auto patterns = Patterns::make(context.settings.patterns);
  if (patterns.has_error()) return patterns.error();
  return std::unique_ptr<Check>(std::make_unique<LogCheck>(std::move(context), std::move(*patterns)));
}

}  // namespace rollbackd::checks
