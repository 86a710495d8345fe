#include "drivers/manifest.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers {
namespace {

using io::Fd;

constexpr std::size_t kReadBytes = 256 << 10;
constexpr int kThreadsMax = 8;

std::int64_t ns_of(const timespec& t) { return t.tv_sec * 1'000'000'000LL + t.tv_nsec; }

Error failed(const std::string& doing, const std::string& path, int error) {
  return Error::from_errno("cannot " + doing + " " + printable(path), error);
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\\': out += "\\\\"; break;
      case '\t': out += "\\t"; break;
      case '\n': out += "\\n"; break;
      default: out += c;
    }
  }
  return out;
}

/// Keeps an average: who has read `bytes` waits here until they are due. One for all threads of a tree.
class Throttle {
 public:
  explicit Throttle(std::int64_t bytes_per_second) : rate_(bytes_per_second) {}
  /// In short pieces, so that `stop` is obeyed at once. @return false when it was asked to stop
  bool read(std::size_t bytes, const std::atomic<bool>* stop) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed)) return false;
    if (rate_ <= 0) return true;
    const std::int64_t total = read_.fetch_add(static_cast<std::int64_t>(bytes)) + static_cast<std::int64_t>(bytes);
    const auto due =
        began_ + std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(total) / static_cast<double>(rate_) * 1e9));
    for (auto now = std::chrono::steady_clock::now(); now < due; now = std::chrono::steady_clock::now()) {
      if (stop != nullptr && stop->load(std::memory_order_relaxed)) return false;
      std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(due - now, 50ms));
    }
    return true;
  }
  bool slow() const { return rate_ > 0; }

 private:
  std::int64_t rate_;
  std::atomic<std::int64_t> read_{0};
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

Error changed(const std::string& path) {
  return Error(Errc::conflict, printable(path) + " changed while it was read").try_next("let the copying end first");
}

/// A file of the tree, by its whole path in one go, through no link. The kernel looks; without openat2 the plain call refuses the last one.
int open_beneath(int top, const std::string& path) {
  // O_NONBLOCK: should a pipe be put in its place, opening it must not hang.
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  open_how how{};
  how.flags = kFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  const long fd = ::syscall(SYS_openat2, top, path.c_str(), &how, sizeof how);
  if (fd >= 0 || errno != ENOSYS) return static_cast<int>(fd);
  return ::openat(top, path.c_str(), kFlags);
}

Result<std::string> file_sha(int top, const EntryFacts& before, std::vector<char>& buffer, Throttle& throttle,
                             const std::atomic<bool>* stop) {
  const std::string& path = before.path;
  const Fd file(open_beneath(top, path));
  if (!file)
    return errno == ENOENT || errno == ELOOP || errno == ENOTDIR ? Result<std::string>(changed(path)) : failed("open", path, errno);
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0) return failed("look at", path, errno);
  if (facts.st_ino != before.inode || !S_ISREG(facts.st_mode)) return changed(path);
  if (throttle.slow()) ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  if (facts.st_size > static_cast<off_t>(buffer.size())) ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  Sha256 sha;
  while (true) {
    const ssize_t n = ::read(file.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("read", path, errno);
    if (n == 0) break;
    sha.update(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
    if (!throttle.read(static_cast<std::size_t>(n), stop)) return Error(Errc::cancelled, "reading " + printable(path) + " was stopped");
  }
  if (::fstat(file.get(), &facts) != 0) return failed("look at", path, errno);
  if (facts.st_size != before.size || ns_of(facts.st_mtim) != before.mtime_ns || ns_of(facts.st_ctim) != before.ctime_ns)
    return changed(path);
  return sha.hex();
}

/// One walk over a tree, with or without reading contents. First all names, then the files, by several threads if wanted.
class Walk {
 public:
  Walk(TreeLimits limits, bool read_contents, const LeftOut& left_out)
      : limits_(limits), read_contents_(read_contents), left_out_(left_out) {}

  Result<> run(const std::string& directory, const ReadPace& pace) {
    const Fd top(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!top && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
      return Error(Errc::not_found, "no directory " + printable(directory))
          .because(std::strerror(errno));  // NOLINT(concurrency-mt-unsafe): glibc's is
    if (!top) return failed("open", directory, errno);
    struct stat facts {};
    if (::fstat(top.get(), &facts) != 0) return failed("look at", directory, errno);
    note(".", 'd', facts, "-");
    Fd walked(::fcntl(top.get(), F_DUPFD_CLOEXEC, 0));
    if (!walked) return failed("open", directory, errno);
    if (auto names = walk(std::move(walked), "", 1); names.has_error()) return names;
    std::sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) { return a.facts.path < b.facts.path; });
    return read_contents_ ? read_files(top.get(), pace) : Result<>{};
  }

  Manifest take() {
    Manifest out;
    out.entries.reserve(found_.size());
    for (Found& f : found_) {
      if (read_contents_) {
        std::array<char, 64> head{};
        const std::int64_t size = f.facts.type == 'd' ? 0 : f.facts.size;  // A directory's size is its file system's business.
        std::snprintf(head.data(), head.size(), "%c\t%04o\t%lld\t", f.facts.type, f.facts.mode, static_cast<long long>(size));
        out.text += head.data();
        out.text += f.content + "\t" + escaped(f.facts.path) + "\n";
      }
      out.entries.push_back(std::move(f.facts));
    }
    if (read_contents_) out.digest = sha256_hex(out.text);
    return out;
  }

 private:
  struct Found {
    EntryFacts facts;
    std::string content;
  };

  void note(const std::string& path, char type, const struct stat& facts, std::string content) {
    found_.push_back(Found{EntryFacts{path, type, static_cast<std::uint32_t>(facts.st_mode & 07777U), facts.st_size, ns_of(facts.st_mtim),
                                      ns_of(facts.st_ctim), facts.st_ino},
                           std::move(content)});
  }

  bool is_left_out(const std::string& name, const std::string& path) const {
    return name == "__pycache__" || std::find(left_out_.begin(), left_out_.end(), path) != left_out_.end();
  }

  /// Depth is bounded by `limits_.depth_max`, and so is this recursion.
  Result<> walk(Fd directory, const std::string& prefix, int depth) {
    if (depth > limits_.depth_max)
      return Error(Errc::too_large, "too deep: " + printable(prefix))
          .because("at most " + std::to_string(limits_.depth_max) + " directories within each other");
    const int fd = directory.get();
    DIR* stream = ::fdopendir(fd);
    if (!stream) return failed("read", prefix, errno);
    static_cast<void>(directory.release());  // The stream owns it now.
    const std::unique_ptr<DIR, int (*)(DIR*)> closer(stream, ::closedir);
    ::rewinddir(stream);
    while (true) {
      errno = 0;
      const dirent* entry = ::readdir(stream);  // NOLINT(concurrency-mt-unsafe): the stream is this walk's own
      if (!entry) break;
      const std::string name = entry->d_name;
      if (name == "." || name == ".." || is_left_out(name, prefix + name)) continue;
      if (found_.size() >= limits_.files_max)
        return Error(Errc::too_large, "too many files").because("at most " + std::to_string(limits_.files_max) + " in one release");
      if (auto one = visit(fd, name, prefix + name, depth); one.has_error()) return one;
    }
    if (errno != 0) return failed("read", prefix, errno);
    return {};
  }

  Result<> visit(int directory, const std::string& name, const std::string& path, int depth) {
    struct stat facts {};
    if (::fstatat(directory, name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return changed(path);
      return failed("look at", path, errno);
    }
    if (S_ISDIR(facts.st_mode)) {
      Fd inner(::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!inner) return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? changed(path) : failed("open", path, errno);
      note(path, 'd', facts, "-");
      return walk(std::move(inner), path + "/", depth + 1);
    }
    if (S_ISLNK(facts.st_mode)) {
      if (!read_contents_) return note(path, 'l', facts, ""), Result<>{};
      std::array<char, 4096> target;
      const ssize_t n = ::readlinkat(directory, name.c_str(), target.data(), target.size());
      if (n < 0) return errno == ENOENT || errno == EINVAL ? changed(path) : failed("read", path, errno);
      note(path, 'l', facts, escaped(std::string_view(target.data(), static_cast<std::size_t>(n))));
      return {};
    }
    if (!S_ISREG(facts.st_mode))
      return Error(Errc::refused, printable(path) + " is no file, directory or link")
          .because("sockets, pipes and devices cannot be part of a release");
    note(path, 'f', facts, "");
    return {};
  }

  Result<> read_files(int top, const ReadPace& pace) {
    Throttle throttle(pace.bytes_per_second);
    std::atomic<std::size_t> next{0};
    std::mutex turn;
    std::optional<Error> trouble;  // The first by path, so that two runs over the same tree say the same.
    std::size_t trouble_at = found_.size();
    const auto work = [&] {
      std::vector<char> buffer(kReadBytes);
      for (std::size_t i = next++; i < found_.size(); i = next++) {
        if (found_[i].facts.type != 'f') continue;
        auto sha = file_sha(top, found_[i].facts, buffer, throttle, pace.stop);
        if (sha.has_value()) {
          found_[i].content = std::move(sha.value());
          continue;
        }
        const std::lock_guard lock(turn);
        if (i < trouble_at) {
          trouble_at = i;
          trouble = sha.error();
        }
        next = found_.size();
      }
    };
    std::vector<std::thread> helpers;
    for (int i = 1; i < std::min(pace.threads, kThreadsMax); ++i) {
      try {
        helpers.emplace_back(work);
      } catch (const std::system_error&) {
        break;  // No thread to be had: this one does it all.
      }
    }
    work();
    for (std::thread& helper : helpers) helper.join();
    if (trouble) return *trouble;
    return {};
  }

  TreeLimits limits_;
  bool read_contents_;
  const LeftOut& left_out_;
  std::vector<Found> found_;
};

std::string difference(const EntryFacts& was, const EntryFacts& is) {
  const std::string path = printable(is.path);
  if (was.type != is.type) return path + " is of another kind";
  if (was.mode != is.mode) return path + " has another mode";
  if (was.size != is.size) return path + " has another size";
  if (was.inode != is.inode) return path + " was replaced";
  return path + " was touched";
}

}  // namespace

Result<Manifest> hash_tree(const std::string& directory, TreeLimits limits, ReadPace pace, const LeftOut& left_out) {
  Walk walk(limits, true, left_out);
  if (auto done = walk.run(directory, pace); done.has_error()) return done.error();
  return walk.take();
}

Result<std::string> first_change(const std::string& directory, const Manifest& known, TreeLimits limits, const LeftOut& left_out) {
  Walk walk(limits, false, left_out);
  if (auto done = walk.run(directory, ReadPace{}); done.has_error()) return done.error();
  const std::vector<EntryFacts> now = walk.take().entries;
  for (std::size_t i = 0; i < std::max(now.size(), known.entries.size()); ++i) {
    if (i == now.size() || (i < known.entries.size() && known.entries[i].path < now[i].path))
      return printable(known.entries[i].path) + " is missing";
    if (i == known.entries.size() || now[i].path < known.entries[i].path) return printable(now[i].path) + " was added";
    if (now[i] != known.entries[i]) {
      // A directory is touched by what happens in it: name that instead, if it can be told.
      if (now[i].type == 'd' && known.entries[i].type == 'd' && now.size() != known.entries.size()) continue;
      return difference(known.entries[i], now[i]);
    }
  }
  return std::string();
}

std::vector<std::string> differences(std::string_view was, std::string_view is, std::size_t max) {
  // Path to the rest of its line: type, mode, size and content, each ended by a tab. The path stands last and holds no raw tab.
  const auto lines = [](std::string_view text) {
    std::map<std::string_view, std::string_view> out;
    while (!text.empty()) {
      const std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(text.size(), line.size() + 1));
      const std::size_t tab = line.rfind('\t');
      if (tab != line.npos) out.emplace(line.substr(tab + 1), line.substr(0, tab));
    }
    return out;
  };
  const auto how = [](std::string_view a, std::string_view b) -> std::string {
    const std::vector<std::string> before = split(a, '\t'), after = split(b, '\t');
    if (before.size() != 4 || after.size() != 4 || before[0] != after[0]) return " is of another kind";
    if (before[3] != after[3]) return before[0] == "l" ? " leads elsewhere" : " has other content";
    return before[1] != after[1] ? " has another mode" : " differs";
  };
  const auto before = lines(was), after = lines(is);
  std::vector<std::string> out;
  std::size_t more = 0;
  const auto add = [&](std::string_view path, const std::string& what) {
    if (out.size() < max) {
      out.push_back(printable(path) + what);
    } else {
      ++more;
    }
  };
  for (const auto& [path, facts] : before) {
    const auto now = after.find(path);
    if (now == after.end()) {
      add(path, " is missing");
    } else if (now->second != facts) {
      add(path, how(facts, now->second));
    }
  }
  for (const auto& [path, facts] : after)
    if (!before.contains(path)) add(path, " was added");
  if (more > 0) out.push_back(std::to_string(more) + " more");
  return out;
}

}  // namespace rollbackd::drivers
