#include "drivers/manifest.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers {
namespace {

using io::Fd;

constexpr std::size_t kReadBytes = 256 << 10;

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

/// One walk over a tree, with or without reading contents.
class Walk {
 public:
  Walk(TreeLimits limits, bool read_contents) : limits_(limits), read_contents_(read_contents), buffer_(read_contents ? kReadBytes : 0) {}

  Result<> run(const std::string& directory) {
    Fd top(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!top && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
      return Error(Errc::not_found, "no directory " + printable(directory)).because(std::strerror(errno));
    if (!top) return failed("open", directory, errno);
    struct stat facts {};
    if (::fstat(top.get(), &facts) != 0) return failed("look at", directory, errno);
    note(".", 'd', facts, "-");
    return walk(std::move(top), "", 1);
  }

  Manifest take() {
    std::sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) { return a.facts.path < b.facts.path; });
    Manifest out;
    Sha256 sha;
    out.entries.reserve(found_.size());
    for (Found& f : found_) {
      if (read_contents_) {
        std::array<char, 64> head{};
        const std::int64_t size = f.facts.type == 'd' ? 0 : f.facts.size;  // A directory's size is its file system's business.
        std::snprintf(head.data(), head.size(), "%c\t%04o\t%lld\t", f.facts.type, f.facts.mode, static_cast<long long>(size));
        sha.update(head.data());
        sha.update(f.content + "\t" + escaped(f.facts.path) + "\n");
      }
      out.entries.push_back(std::move(f.facts));
    }
    if (read_contents_) out.digest = sha.hex();
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
    while (true) {
      errno = 0;
      const dirent* entry = ::readdir(stream);  // NOLINT(concurrency-mt-unsafe): the stream is this walk's own
      if (!entry) break;
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
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
    if (!read_contents_) return note(path, 'f', facts, ""), Result<>{};
    auto digest = read_file(directory, name, path, facts);
    if (digest.has_error()) return digest.error();
    note(path, 'f', facts, std::move(digest.value()));
    return {};
  }

  Result<std::string> read_file(int directory, const std::string& name, const std::string& path, const struct stat& before) {
    // O_NONBLOCK: should a pipe be put in its place, opening it must not hang.
    const Fd file(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file) return errno == ENOENT || errno == ELOOP ? Result<std::string>(changed(path)) : failed("open", path, errno);
    struct stat facts {};
    if (::fstat(file.get(), &facts) != 0) return failed("look at", path, errno);
    if (facts.st_ino != before.st_ino || !S_ISREG(facts.st_mode)) return changed(path);
    Sha256 sha;
    while (true) {
      const ssize_t n = ::read(file.get(), buffer_.data(), buffer_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed("read", path, errno);
      if (n == 0) break;
      sha.update(std::string_view(buffer_.data(), static_cast<std::size_t>(n)));
    }
    if (::fstat(file.get(), &facts) != 0) return failed("look at", path, errno);
    if (facts.st_size != before.st_size || ns_of(facts.st_mtim) != ns_of(before.st_mtim) || ns_of(facts.st_ctim) != ns_of(before.st_ctim))
      return changed(path);
    return sha.hex();
  }

  static Error changed(const std::string& path) {
    return Error(Errc::conflict, printable(path) + " changed while it was read").try_next("let the copying end first");
  }

  TreeLimits limits_;
  bool read_contents_;
  std::vector<char> buffer_;
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

Result<Manifest> hash_tree(const std::string& directory, TreeLimits limits) {
  Walk walk(limits, true);
  if (auto done = walk.run(directory); done.has_error()) return done.error();
  return walk.take();
}

Result<std::string> first_change(const std::string& directory, const Manifest& known, TreeLimits limits) {
  Walk walk(limits, false);
  if (auto done = walk.run(directory); done.has_error()) return done.error();
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

}  // namespace rollbackd::drivers
