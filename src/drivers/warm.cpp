// Flow: engine's warmer -> [warm] -> page cache.
#include "drivers/warm.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>
#include <vector>

#include "io/process.hpp"

namespace rollbackd::drivers {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLarge = 16 << 20;         // Archives, models: what a start reads first is rarely among them.
constexpr std::int64_t kWindow = 64 << 20;        // Mapped at a time.
constexpr std::int64_t kReadAtATime = 128 << 10;  // The kernel cuts a larger request down to its own read-ahead.

struct File {
  std::string path;
  std::int64_t size = 0;
};

std::int64_t page() {
  static const std::int64_t size = ::sysconf(_SC_PAGESIZE);
  return size;
}
std::int64_t whole_pages(std::int64_t bytes) { return (bytes + page() - 1) / page() * page(); }
bool stopped(const WarmOptions& options) { return options.stop != nullptr && options.stop->load(); }

Result<std::vector<File>> files_of(const std::string& directory, const WarmOptions& options) {
  std::error_code failed;
  if (!fs::is_directory(fs::symlink_status(directory, failed))) return Error(Errc::not_found, "there is no directory " + directory);
  std::vector<File> files;
  std::size_t seen = 0;
  const auto how = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator at(directory, how, failed), end; !failed && at != end; at.increment(failed)) {
    if (++seen > options.files_max) return Error(Errc::too_large, directory + " has too many entries to be kept in memory");
    if (stopped(options)) return Error(Errc::cancelled, "no longer wanted");
    std::error_code gone;
    if (!fs::is_regular_file(at->symlink_status(gone))) continue;
    const auto size = fs::file_size(at->path(), gone);
    if (!gone && size > 0) files.push_back({at->path().string(), static_cast<std::int64_t>(size)});
  }
  if (failed) return Error(Errc::io, "cannot read " + directory).because(failed.message());
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return std::pair(a.size > kLarge, a.path) < std::pair(b.size > kLarge, b.path); });
  return files;
}

/// Counts the pages of [from, from + length) that are in memory, and asks for the others.
void warm_window(int fd, std::int64_t from, std::int64_t length, Warmth& out) {
  void* mapped = ::mmap(nullptr, static_cast<std::size_t>(length), PROT_READ, MAP_SHARED, fd, from);
  if (mapped == MAP_FAILED) return;
  std::vector<unsigned char> resident(static_cast<std::size_t>(whole_pages(length) / page()));
  const bool known = ::mincore(mapped, static_cast<std::size_t>(length), resident.data()) == 0;
  ::munmap(mapped, static_cast<std::size_t>(length));
  const std::int64_t pages = static_cast<std::int64_t>(resident.size());
  for (std::int64_t i = 0; i < pages;) {
    const bool there = known && (resident[static_cast<std::size_t>(i)] & 1U) != 0;
    std::int64_t run = 1;
    while (i + run < pages && run * page() < kReadAtATime && (known && (resident[static_cast<std::size_t>(i + run)] & 1U) != 0) == there)
      ++run;
    if (there) {
      out.warm_bytes += run * page();
    } else {
      out.read_bytes += run * page();
      ::posix_fadvise(fd, from + i * page(), run * page(), POSIX_FADV_WILLNEED);
    }
    i += run;
  }
}

}  // namespace

Result<Warmth> warm_tree(const std::string& directory, const WarmOptions& options) {
  const auto files = files_of(directory, options);
  if (files.has_error()) return files.error();
  Warmth out;
  for (const File& file : *files) {
    out.bytes += file.size;
    const std::int64_t room = options.bytes_max - out.wanted_bytes;
    const std::int64_t wanted = std::min(whole_pages(file.size), room / page() * page());
    if (wanted <= 0) continue;
    if (stopped(options)) return Error(Errc::cancelled, "no longer wanted");
    const io::Fd fd(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOATIME));
    const io::Fd plain(!fd && errno == EPERM ? ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1);
    const int open = fd ? fd.get() : plain.get();
    struct stat facts {};
    if (open < 0 || ::fstat(open, &facts) != 0 || !S_ISREG(facts.st_mode)) {
      ++out.unreadable;
      continue;
    }
    const std::int64_t length = std::min<std::int64_t>(wanted, whole_pages(facts.st_size));
    out.wanted_bytes += length;
    for (std::int64_t from = 0; from < length; from += kWindow) warm_window(open, from, std::min(kWindow, length - from), out);
  }
  return out;
}

}  // namespace rollbackd::drivers
