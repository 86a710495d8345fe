#include "drivers/guarded_path.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <deque>

#include "base/text.hpp"

namespace rollbackd::drivers {
namespace {

using io::Fd;

constexpr int kLinksMax = 40;  // As the kernel has it.

std::deque<std::string> parts_of(const std::string& path) {
  std::deque<std::string> out;
  for (std::string& part : split(path, '/'))
    if (!part.empty() && part != ".") out.push_back(std::move(part));
  return out;
}

}  // namespace

std::string distrust(const struct stat& facts) {
  if (facts.st_uid != 0 && facts.st_uid != ::geteuid()) return "it belongs to the user " + std::to_string(facts.st_uid);
  const bool sticky_directory = S_ISDIR(facts.st_mode) && (facts.st_mode & S_ISVTX) != 0;
  const bool is_link = S_ISLNK(facts.st_mode);  // A link's own mode says nothing.
  if (!is_link && !sticky_directory && (facts.st_mode & (S_IWGRP | S_IWOTH)) != 0) return "others may write it";
  return {};
}

Result<Fd> open_by_parts(const std::string& path, int flags) {
  if (!path.starts_with('/')) return Error(Errc::invalid_argument, path + " is not an absolute path");
  const auto root = [] { return Fd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)); };
  const auto failed = [&] { return Error::from_errno("cannot open " + path, errno); };
  const auto refused = [&](const std::string& part, const std::string& why) {
    return Error(Errc::refused, "cannot open " + path)
        .because(printable(part) + " on the way there " + why)
        .try_next("name what it leads to");
  };
  Fd at = root();
  if (!at) return failed();
  std::deque<std::string> rest = parts_of(path);
  for (int links = 0; !rest.empty();) {
    const std::string part = std::move(rest.front());
    rest.pop_front();
    Fd next(::openat(at.get(), part.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat facts {
    }, above{};
    if (!next || ::fstat(next.get(), &facts) != 0 || ::fstat(at.get(), &above) != 0) return failed();
    if (!S_ISLNK(facts.st_mode)) {
      at = std::move(next);
      continue;
    }
    if (!distrust(facts).empty() || !distrust(above).empty()) return refused(part, "is a link that others than root can turn");
    if (++links > kLinksMax) return refused(part, "is one link too many");
    std::array<char, PATH_MAX> value;
    const ssize_t n = ::readlinkat(next.get(), "", value.data(), value.size());
    if (n < 0) return failed();
    const std::string to(value.data(), static_cast<std::size_t>(n));
    const std::deque<std::string> way = parts_of(to);
    rest.insert(rest.begin(), way.begin(), way.end());
    if (to.starts_with('/')) at = root();
    if (!at) return failed();
  }
  Fd out(::openat(at.get(), ".", flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!out && errno == ENOTDIR) return refused(path, "is no directory");
  if (!out) return failed();
  return out;
}

Result<Fd> open_directory(const std::string& path, bool guarded) {
  if (guarded) return open_by_parts(path, O_RDONLY);
  Fd out(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!out) return Error::from_errno("cannot open " + path, errno);
  return out;
}

}  // namespace rollbackd::drivers
