// `rollbackd rollback --offline` is root's; the daemon, which has no rights, must be able to open afterwards what that wrote.
#include "cli/owner.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <memory>

namespace rollbackd::cli {
namespace {

constexpr int kDeepest = 4;  // STATE/services/NAME.ENVIRONMENT/manifests/ID

/// Calls `look` with each entry, its handle (O_PATH) and its facts; into a directory it goes when `look` says so.
void walk(int directory, int depth, const std::function<bool(int fd, const struct stat& facts)>& look) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(directory), ::closedir);
  if (!entries) {
    ::close(directory);
    return;
  }
  while (const dirent* entry = ::readdir(entries.get())) {  // NOLINT(concurrency-mt-unsafe): the stream is ours alone
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const int fd = ::openat(directory, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) continue;
    struct stat facts {};
    if (::fstat(fd, &facts) == 0 && look(fd, facts) && S_ISDIR(facts.st_mode) && depth < kDeepest) {
      const int inner = ::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      if (inner >= 0) walk(inner, depth + 1, look);
    }
    ::close(fd);
  }
}

int open_directory(const std::string& path) { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }

bool has_keeper_of_roots(int directory) {
  struct stat facts {};
  return ::fstatat(directory, "keeper.lock", &facts, AT_SYMLINK_NOFOLLOW) == 0 && facts.st_uid == 0;
}

}  // namespace

StateOwner::StateOwner(std::string directory) : directory_(std::move(directory)) {
  struct stat facts {};
  if (::geteuid() != 0 || ::stat(directory_.c_str(), &facts) != 0) return;
  user_ = facts.st_uid;
  group_ = facts.st_gid;
  const int top = user_ == 0 ? -1 : open_directory(directory_);
  if (top < 0) return;
  walk(top, 1, [this](int, const struct stat& s) {
    if (S_ISDIR(s.st_mode) && s.st_uid == 0) roots_before_.emplace(s.st_dev, s.st_ino);
    return true;
  });
}

void StateOwner::give_back() const {
  const int top = user_ == 0 ? -1 : open_directory(directory_);
  if (top < 0) return;
  walk(top, 1, [this](int fd, const struct stat& s) {
    const bool directory = S_ISDIR(s.st_mode);
    if (directory && (roots_before_.contains({s.st_dev, s.st_ino}) || has_keeper_of_roots(fd))) return false;
    // Another name of the file may lie anywhere, put there by the owner: that file stays whose it is.
    if (s.st_uid == 0 && (directory || (S_ISREG(s.st_mode) && s.st_nlink == 1)))
      (void)!::fchownat(fd, "", user_, group_, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    return directory;
  });
}

}  // namespace rollbackd::cli
