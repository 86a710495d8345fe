// Flow: hook guard -> [control group] -> kernel.
#include "drivers/hook_cgroup.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace rollbackd::drivers {
namespace {

constexpr std::string_view kPrefix = "rollbackd-hook-";

/// Where this process's own group of the unified hierarchy is; empty: nowhere.
std::string own_group() {
  std::ifstream groups("/proc/self/cgroup"), mounts("/proc/self/mountinfo");
  std::string line, below;
  while (std::getline(groups, line))
    if (line.starts_with("0::")) below = line.substr(3);
  if (below.empty() || below.find("..") != below.npos) return {};
  while (std::getline(mounts, line)) {
    const std::size_t dash = line.find(" - cgroup2 ");
    if (dash == line.npos) continue;
    std::istringstream fields(line);
    std::string id, parent, device, root, point;
    fields >> id >> parent >> device >> root >> point;
    if (root == "/") return point + (below == "/" ? "" : below);
    if (below == root || below.starts_with(root + "/")) return point + below.substr(root.size());
  }
  return {};
}

/// Groups whose guard was killed: what is in them is ended, and they are taken away.
void take_away_left_ones(const std::string& own) {
  constexpr int kMax = 64;
  std::error_code failed;
  int seen = 0;
  for (std::filesystem::directory_iterator at(own, failed), end; !failed && at != end && seen < kMax; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    ++seen;
    if (::access(("/proc/" + name.substr(kPrefix.size())).c_str(), F_OK) == 0) continue;
    const io::Fd all(::open((at->path().string() + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
    if (all) (void)!::write(all.get(), "1", 1);
    ::rmdir(at->path().c_str());  // Still busy: the next one takes it away.
  }
}

}  // namespace

HookCgroup::HookCgroup() {
  const std::string own = own_group();
  if (own.empty()) return;
  take_away_left_ones(own);
  path_ = own + "/" + std::string(kPrefix) + std::to_string(::getpid());
  if (::mkdir(path_.c_str(), 0755) != 0) {
    path_.clear();
    return;
  }
  if (::access((path_ + "/cgroup.kill").c_str(), W_OK) == 0)  // Else a kernel before 5.14.
    procs_.reset(::open((path_ + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs_) remove();
}

HookCgroup::~HookCgroup() { remove(); }

void HookCgroup::enter() const {
  if (procs_) (void)!::write(procs_.get(), "0", 1);
}

void HookCgroup::kill() const {
  if (!procs_) return;
  const io::Fd all(::open((path_ + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
  if (all) (void)!::write(all.get(), "1", 1);
}

void HookCgroup::remove() {
  procs_.reset();
  if (!path_.empty() && ::rmdir(path_.c_str()) == 0) path_.clear();
}

}  // namespace rollbackd::drivers
