// One daemon, or one offline rollback, per state directory: an flock(2) that ends with its process.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>

#include "base/text.hpp"
#include "record/state_file.hpp"

namespace rollbackd::record {
namespace {

Result<> make_directory(const std::string& directory) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(directory).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (::mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return Error::from_errno("cannot make the state directory " + directory, errno).try_next("make it, or set state_directory");
}

/// The pid that the holder wrote; "another process" when it has not yet.
std::string holder(int fd) {
  char text[32];
  const ssize_t n = ::pread(fd, text, sizeof text, 0);
  const std::string_view pid = trim(std::string_view(text, n > 0 ? static_cast<std::size_t>(n) : 0));
  return pid.empty() ? "another process" : "pid " + printable(pid);
}

/// A daemon that was killed in the moment between fork and exec of a child leaves its lock with that child until the exec: a holder that is
/// just ending is waited for, half a second at most. @return what errno says, 0 when it is ours
int lock_soon(int fd) {
  constexpr int kTriesMax = 25;
  for (int tried = 1;; ++tried) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return 0;
    if (errno != EWOULDBLOCK || tried == kTriesMax) return errno;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

Result<DirectoryLock> DirectoryLock::take(const std::string& directory) {
  if (auto made = make_directory(directory); made.has_error()) return made.error();
  const std::string path = directory + "/lock";
  DirectoryLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (lock.fd_ < 0) return Error::from_errno("cannot open " + path, errno);
  // The directory itself as well: a lock file that somebody removes is made anew by the next one, and its lock is free.
  lock.directory_ = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock.directory_ < 0) return Error::from_errno("cannot open " + directory, errno);
  for (const int fd : {lock.directory_, lock.fd_}) {
    const int failed = lock_soon(fd);
    if (failed == 0) continue;
    if (failed == EWOULDBLOCK)
      return Error(Errc::conflict, "the state directory " + directory + " is in use")
          .because(holder(lock.fd_) + " holds " + path)
          .try_next("stop that one first, or ask it with rollbackctl");
    // A network file system locks only what is open for writing, which no directory ever is; the file's lock must do.
    if (fd == lock.directory_ && (failed == EBADF || failed == EINVAL)) continue;
    return Error::from_errno("cannot lock " + path, failed)
        .try_next("put the state directory on a local file system: without a lock two daemons could act on one service");
  }
  // For people, and for the error above. The lock holds without it, so a full disk does not matter.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::pwrite(lock.fd_, pid.data(), pid.size(), 0) == static_cast<ssize_t>(pid.size())) {
    (void)!::ftruncate(lock.fd_, static_cast<off_t>(pid.size()));
  }
  return lock;
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), directory_(std::exchange(other.directory_, -1)) {}

DirectoryLock& DirectoryLock::operator=(DirectoryLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(directory_, other.directory_);
  return *this;
}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);
  if (directory_ >= 0) ::close(directory_);
}

}  // namespace rollbackd::record
