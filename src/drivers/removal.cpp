#include "drivers/removal.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/ids.hpp"
#include "base/text.hpp"
#include "drivers/guarded_path.hpp"
#include "io/failpoint.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers {
namespace {

using io::Fd;

constexpr int kDepthMax = 256;  // Directories within each other; as many file handles are open at once.
constexpr std::string_view kSuffix = ".removing";
constexpr std::size_t kHalfRemovedMax = 1000;

std::string hidden_name(const std::string& release) { return "." + release + std::string(kSuffix); }

struct Closer {
  void operator()(DIR* stream) const { ::closedir(stream); }
};

Error failed(const std::string& doing, const std::string& path, int error) {
  return Error::from_errno("cannot " + doing + " " + printable(path), error);
}

/// Removes all that is in `directory`. Each entry is looked at by the handle of the directory that holds it, so no link is ever followed.
Result<> empty_directory(Fd directory, dev_t device, const std::string& path, int depth) {
  if (depth > kDepthMax) return Error(Errc::too_large, "too deep: " + printable(path));
  const int fd = directory.get();
  const std::unique_ptr<DIR, Closer> stream(::fdopendir(fd));
  if (!stream) return failed("read", path, errno);
  static_cast<void>(directory.release());  // The stream owns it now.
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): the stream is this call's own
    if (!entry) return errno == 0 ? Result<>() : Result<>(failed("read", path, errno));
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string inner = path + "/" + name;
    struct stat facts {};
    if (::fstatat(fd, name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      return failed("look at", inner, errno);
    }
    if (!S_ISDIR(facts.st_mode)) {
      if (::unlinkat(fd, name.c_str(), 0) != 0 && errno != ENOENT) return failed("remove", inner, errno);
      continue;
    }
    if (facts.st_dev != device) return Error(Errc::refused, printable(inner) + " is a mount point").try_next("unmount it first");
    Fd next(::openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return failed("open", inner, errno);
    struct stat opened {};
    if (::fstat(next.get(), &opened) != 0 || opened.st_ino != facts.st_ino || opened.st_dev != device)
      return Error(Errc::conflict, printable(inner) + " changed while it was removed");
    if (auto emptied = empty_directory(std::move(next), device, inner, depth + 1); !emptied) return emptied;
    if (::unlinkat(fd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return failed("remove", inner, errno);
  }
}

Outcome refused(const std::string& release, const std::string& why) {
  return Outcome{Outcome::Status::refused, Json::object(), Error(Errc::refused, "release " + release + " is not removed").because(why)};
}

std::string why_not(const Layout& layout, const std::string& release) {
  if (const std::string lock = layout.held_lock(); !lock.empty()) return lock + " is there: somebody deploys";
  if (std::string writing = layout.why_unfinished(release); !writing.empty()) return writing;
  if (const auto links = layout.links_to(release); !links.empty()) return links.front() + " leads to it";
  return {};
}

/// Removes what is at the hidden name.
Outcome finish(int releases, dev_t device, const Layout& layout, const std::string& release) {
  const std::string hidden = hidden_name(release);
  Fd old(::openat(releases, hidden.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  const auto ended = [](Error error) { return Outcome{Outcome::Status::failed, Json::object(), std::move(error)}; };
  if (!old && errno == ENOENT) return Outcome{Outcome::Status::already_done, Json::object(), Error()};
  if (!old) return ended(failed("open", hidden, errno));
  if (auto emptied = empty_directory(std::move(old), device, layout.releases + "/" + hidden, 1); !emptied) return ended(emptied.error());
  if (::unlinkat(releases, hidden.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return ended(failed("remove", hidden, errno));
  // What was said of it went with it.
  ::unlinkat(releases, bad_release_note(release).c_str(), 0);
  ::fsync(releases);
  return Outcome{Outcome::Status::done, Json::object(), Error()};
}

}  // namespace

Outcome remove_release(const Layout& layout, const std::string& release) {
  if (!is_release_id(release)) return refused(printable(release), "that is no release id");
  // Guarded as the switch: nobody who owns a directory above it shall lead us to another one.
  Result<Fd> opened = open_directory(layout.releases, layout.place.guarded);
  if (opened.has_error() && opened.error().code == Errc::refused) return refused(release, opened.error().text());
  if (opened.has_error()) return Outcome{Outcome::Status::failed, Json::object(), opened.error()};
  const Fd releases = std::move(*opened);
  struct stat parent {
  }, facts{};
  if (::fstat(releases.get(), &parent) != 0)
    return Outcome{Outcome::Status::failed, Json::object(), failed("look at", layout.releases, errno)};
  // What an interruption left behind goes first: the hidden name must be free.
  Outcome rest = finish(releases.get(), parent.st_dev, layout, release);
  if (rest.status == Outcome::Status::failed) return rest;
  if (::fstatat(releases.get(), release.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return rest;
    return Outcome{Outcome::Status::failed, Json::object(), failed("look at", release, errno)};
  }
  if (rest.status == Outcome::Status::done)
    return Outcome{Outcome::Status::conflict, Json::object(), Error(Errc::conflict, release + " has come again while it was removed")};
  if (!S_ISDIR(facts.st_mode)) return refused(release, "it is no directory");
  if (facts.st_dev != parent.st_dev) return refused(release, "it is a mount point");
  if (const std::string why = why_not(layout, release); !why.empty()) return refused(release, why);
  const std::string hidden = hidden_name(release);
  if (::syscall(SYS_renameat2, releases.get(), release.c_str(), releases.get(), hidden.c_str(), RENAME_NOREPLACE) != 0)
    return Outcome{Outcome::Status::failed, Json::object(), failed("rename", release, errno)};
  // A link that was made to it between the look and the rename (a deployment going back to it, of a tool that knows no lock): it comes
  // back.
  if (const auto links = layout.links_to(release); !links.empty()) {
    if (::syscall(SYS_renameat2, releases.get(), hidden.c_str(), releases.get(), release.c_str(), RENAME_NOREPLACE) == 0)
      return refused(release, links.front() + " was made to lead to it in that moment");
    return Outcome{Outcome::Status::unknown, Json::object(),
                   failed("rename " + printable(hidden) + " back, though " + links.front() + " leads to it, to", release, errno)};
  }
  ::fsync(releases.get());
  ROLLBACKD_FAILPOINT("prune.renamed");
  return finish(releases.get(), parent.st_dev, layout, release);
}

std::vector<std::string> half_removed(const std::string& releases) {
  std::vector<std::string> out;
  const std::unique_ptr<DIR, Closer> stream(::opendir(releases.c_str()));
  while (stream && out.size() < kHalfRemovedMax) {
    const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): the stream is this function's own
    if (!entry) break;
    const std::string name = entry->d_name;
    if (name.size() <= kSuffix.size() + 1 || name.front() != '.' || !name.ends_with(kSuffix)) continue;
    const std::string id = name.substr(1, name.size() - 1 - kSuffix.size());
    if (is_release_id(id)) out.push_back(id);
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace rollbackd::drivers
