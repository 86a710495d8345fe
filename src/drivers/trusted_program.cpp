// Flow: hook guard -> [trusted program] -> execveat. A name is looked up once, and what was looked at is what runs.
#include "drivers/trusted_program.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <deque>
#include <utility>
#include <vector>

#include "base/text.hpp"

namespace rollbackd::drivers {
namespace {

using io::Fd;

constexpr int kLinksMax = 40;  // As the kernel's own walk.
constexpr std::size_t kDepthMax = 128;

Error refused(const std::string& path, std::string why, std::string next) {
  return Error(Errc::refused, "will not run " + printable(cut(path, 512))).because(std::move(why)).try_next(std::move(next));
}

bool is_ours(const struct stat& facts) { return facts.st_uid == 0 || (::geteuid() != 0 && facts.st_uid == ::geteuid()); }
bool others_may_write(const struct stat& facts) { return (facts.st_mode & (S_IWGRP | S_IWOTH)) != 0; }

/// One walk down a path.
class Walk {
 public:
  explicit Walk(std::string path) : path_(std::move(path)) {}

  Result<TrustedProgram> run() {
    if (!path_.starts_with('/'))
      return Error(Errc::invalid_argument, "will not run " + printable(cut(path_, 512))).because("its path is not absolute");
    if (auto at_root = enter(Fd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)), "/"); at_root.has_error()) return at_root.error();
    take(path_);
    while (!names_.empty()) {
      const std::string name = std::move(names_.front());
      names_.pop_front();
      if (name == "..") {
        if (directories_.size() > 1) directories_.pop_back();
        continue;
      }
      Fd next(::openat(directories_.back().fd.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
      if (!next) return cannot(name, errno);
      struct stat facts {};
      if (::fstat(next.get(), &facts) != 0) return cannot(name, errno);
      if (!is_ours(facts))
        return refused(path_, shown(name) + " belongs to uid " + std::to_string(facts.st_uid) + ", not to root", "chown root it");
      if (directories_.back().sticky && !S_ISDIR(facts.st_mode))
        return refused(path_, shown(name) + " stands in a directory that others may write to", "put it elsewhere");
      if (S_ISLNK(facts.st_mode)) {
        if (auto followed = follow(next, name); followed.has_error()) return followed.error();
      } else if (S_ISDIR(facts.st_mode)) {
        if (auto entered = enter(std::move(next), name); entered.has_error()) return entered.error();
      } else {
        if (!names_.empty()) return cannot(name, ENOTDIR);
        return program(std::move(next), name, facts);
      }
    }
    return refused(path_, "it is a directory", "name a program");
  }

 private:
  struct Directory {
    Fd fd;
    std::string name;
    bool sticky = false;  ///< writable by others, who may not touch what is not theirs
  };

  void take(const std::string& text) {
    const std::vector<std::string> parts = split(text, '/');
    for (auto part = parts.rbegin(); part != parts.rend(); ++part)
      if (!part->empty() && *part != ".") names_.push_front(*part);
  }

  std::string shown(const std::string& name) const {
    std::string out;
    for (std::size_t i = 1; i < directories_.size(); ++i) out += "/" + directories_[i].name;
    return printable(out + (name == "/" ? "" : "/") + name);
  }

  Error cannot(const std::string& name, int error) const {
    if (error == ENOENT || error == ENOTDIR)
      return Error(Errc::not_found, "cannot run " + printable(cut(path_, 512))).because("there is no " + shown(name));
    return Error::from_errno("cannot look at " + shown(name), error);
  }

  Result<> enter(Fd fd, const std::string& name) {
    struct stat facts {};
    if (!fd || ::fstat(fd.get(), &facts) != 0) return cannot(name, errno);
    const bool sticky = others_may_write(facts) && (facts.st_mode & S_ISVTX) != 0;
    if (!is_ours(facts)) return refused(path_, shown(name) + " belongs to uid " + std::to_string(facts.st_uid), "chown root it");
    if (others_may_write(facts) && !sticky)
      return refused(path_, "the directory " + shown(name) + " is writable by group or others", "chmod go-w " + shown(name));
    if (directories_.size() >= kDepthMax) return refused(path_, "it lies too deep", "put it elsewhere");
    directories_.push_back({std::move(fd), name, sticky});
    return {};
  }

  Result<> follow(const Fd& link, const std::string& name) {
    if (++links_ > kLinksMax) return cannot(name, ELOOP);
    std::array<char, PATH_MAX> target;
    const ssize_t n = ::readlinkat(link.get(), "", target.data(), target.size());
    if (n <= 0 || n == static_cast<ssize_t>(target.size())) return cannot(name, n < 0 ? errno : ENAMETOOLONG);
    const std::string text(target.data(), static_cast<std::size_t>(n));
    if (text.starts_with('/')) directories_.resize(1);
    take(text);
    if (names_.size() > kDepthMax) return cannot(name, ENAMETOOLONG);
    return {};
  }

  Result<TrustedProgram> program(Fd file, const std::string& name, const struct stat& facts) const {
    if (!S_ISREG(facts.st_mode)) return refused(path_, shown(name) + " is no regular file", "name a program");
    if (others_may_write(facts)) return refused(path_, shown(name) + " is writable by group or others", "chmod go-w " + shown(name));
    if ((facts.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0) return refused(path_, shown(name) + " is not executable", "chmod +x it");
    TrustedProgram out;
    // A program that may be executed and not read is no script.
    const Fd content(::open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    std::array<char, 2> first{};
    out.script = content && ::pread(content.get(), first.data(), first.size(), 0) == 2 && first[0] == '#' && first[1] == '!';
    out.file = std::move(file);
    return out;
  }

  std::string path_;
  std::deque<std::string> names_;  ///< still to be walked
  std::vector<Directory> directories_;
  int links_ = 0;
};

}  // namespace

Result<TrustedProgram> open_trusted_program(const std::string& path) { return Walk(path).run(); }

}  // namespace rollbackd::drivers
