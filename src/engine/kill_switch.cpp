// Flow: a file, the API -> [kill_switch] -> fleet -> every incident machine, and each operation before its commit point.
#include "engine/kill_switch.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/text.hpp"

namespace rollbackd::engine {
namespace {

/// What people wrote into the file, as one line; empty when it cannot be read: that it is there is enough.
std::string read_text(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (file < 0) return {};
  char buffer[512];
  struct stat facts {};
  const ssize_t n = ::fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) ? ::read(file, buffer, sizeof buffer) : -1;
  ::close(file);
  if (n <= 0) return {};
  return printable(trim(split(std::string(buffer, static_cast<std::size_t>(n)), '\n').front()));
}

Result<> sync_directory_of(const std::string& path) {
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  const int file = ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return Error::from_errno("cannot open " + directory, errno);
  const bool ok = ::fsync(file) == 0;
  const int why = errno;
  ::close(file);
  if (!ok) return Error::from_errno("cannot sync " + directory, why);
  return {};
}

}  // namespace

bool KillSwitch::look() {
  struct stat facts {};
  const bool was = on();
  const std::string was_why = why_;
  if (::lstat(path_.c_str(), &facts) == 0) {
    const std::int64_t changed_ns = facts.st_ctim.tv_sec * std::int64_t{1'000'000'000} + facts.st_ctim.tv_nsec;
    if (!on_ || inode_ != facts.st_ino || changed_ns_ != changed_ns) {
      const std::string text = read_text(path_);
      why_ = text.empty() ? path_ + " is there" : text;
    }
    on_ = true;
    inode_ = facts.st_ino;
    changed_ns_ = changed_ns;
  } else if (errno == ENOENT) {
    on_ = false;
    if (!forced_) why_.clear();
  } else {
    const int error = errno;
    on_ = true;
    inode_ = 0;
    why_ =
        path_ + " cannot be looked at (" + std::strerror(error) + "), which counts as there";  // NOLINT(concurrency-mt-unsafe): glibc's is
  }
  return on() != was || why_ != was_why;
}

void KillSwitch::force(std::string why) {
  forced_ = true;
  why_ = std::move(why);
}

Result<> KillSwitch::put(const std::string& path, const std::string& text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (file < 0) return Error::from_errno("cannot create " + path, errno);
  [[maybe_unused]] const ssize_t written = ::write(file, text.data(), text.size());
  ::fsync(file);
  ::close(file);
  return sync_directory_of(path);
}

Result<> KillSwitch::take_away(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error::from_errno("cannot remove " + path, errno);
  return sync_directory_of(path);
}

}  // namespace rollbackd::engine
