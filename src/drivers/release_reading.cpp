#include "drivers/release_reading.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>

#include "base/log.hpp"
#include "base/text.hpp"
#include "drivers/keeper_protocol.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers {
namespace {

constexpr std::size_t kManifestBytesMax = 16 << 20;  // Of one that is kept: some hundred thousand files.
constexpr std::size_t kManifestsMax = 64;            // Files; a ledger has 32 rows, each with one before it.

std::string path_of(const std::string& kept, const std::string& release) { return kept + "/" + release; }
/// An id never begins with "_".
std::string path_before(const std::string& kept, const std::string& release) { return kept + "/_was." + release; }

/// Makes way at the disk for everybody else while it lives. What the kernel does not offer is left as it is.
class IdlePriority {
 public:
  explicit IdlePriority(bool wanted) : wanted_(wanted) {
    if (wanted_) set(kIdle);
  }
  ~IdlePriority() {
    if (wanted_) set(0);
  }
  IdlePriority(const IdlePriority&) = delete;
  IdlePriority& operator=(const IdlePriority&) = delete;

 private:
  static constexpr int kIdle = 3 << 13;                                         // IOPRIO_CLASS_IDLE of ioprio_set(2).
  static void set(int priority) { ::syscall(SYS_ioprio_set, 1, 0, priority); }  // 1: this thread.
  bool wanted_;
};

/// Under another name first, so that nobody reads half a manifest; a name of its own, for several workers may read one release at a time.
Result<> put(const std::string& kept, const std::string& path, const std::string& text) {
  static std::atomic<unsigned> count{0};
  const std::string temporary = kept + "/_new." + std::to_string(++count);
  const io::Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!file) return Error::from_errno("cannot write " + temporary, errno);
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(file.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int why = errno;
      ::unlink(temporary.c_str());
      return Error::from_errno("cannot write " + temporary, why);
    }
    at += static_cast<std::size_t>(n);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return Error::from_errno("cannot write " + path, errno);
  return {};
}

void drop_oldest(const std::string& kept) {
  std::error_code error;
  std::vector<std::pair<std::filesystem::file_time_type, std::filesystem::path>> files;
  for (const auto& entry : std::filesystem::directory_iterator(kept, error)) files.emplace_back(entry.last_write_time(error), entry.path());
  if (files.size() <= kManifestsMax) return;
  std::sort(files.begin(), files.end());
  for (std::size_t i = 0; i < files.size() - kManifestsMax; ++i) std::filesystem::remove(files[i].second, error);
}

/// Keeps `text` as the release's manifest. @return what differs from the one that was kept; empty when nothing does, or none was
std::string keep(const std::string& kept, const std::string& release, const std::string& text) {
  if (kept.empty() || text.size() > kManifestBytesMax) return {};
  std::error_code error;
  std::filesystem::create_directories(kept, error);
  const std::string path = path_of(kept, release);
  std::string change;
  if (const auto before = keeper::read_file(path, kManifestBytesMax); before.has_value()) {
    if (before.value() == text) return {};
    change = join(differences(before.value(), text), ", ");
    std::filesystem::rename(path, path_before(kept, release), error);
  }
  if (auto written = put(kept, path, text); !written)
    log::warning("a manifest is not kept", {{"file", path}, {"error", written.error().text()}});
  drop_oldest(kept);
  return change;
}

}  // namespace

Result<ReleaseRead> read_release(const Layout& layout, const std::string& release, const ReadOptions& options,
                                 const std::shared_ptr<const Known>& known, const std::string& kept) {
  const std::string path = layout.release_path(release);
  if (options.quick && known) {
    const auto changed = first_change(path, known->manifest, {}, known->left_out);
    if (changed.has_value() && changed.value().empty()) return ReleaseRead{{known->manifest.digest, "", false, 0, 0}, known};
  }
  if (const std::string why = layout.why_unfinished(release); !why.empty())
    return Error(Errc::refused, "release " + release + " is not whole").because(why);
  const IdlePriority priority(options.bytes_per_second > 0);
  Known now;
  if (layout.has_release(release)) now.left_out = describe_release(layout, release).left_out;
  ReadPace pace;
  pace.threads = options.threads;
  pace.bytes_per_second = options.bytes_per_second;
  pace.stop = options.stop.get();
  auto manifest = hash_tree(path, {}, pace, now.left_out);
  if (manifest.has_error()) return manifest.error();
  now.manifest = std::move(manifest.value());
  Reading reading;
  reading.digest = now.manifest.digest;
  reading.change = keep(kept, release, now.manifest.text);
  for (const EntryFacts& entry : now.manifest.entries) {
    if (entry.type != 'f') continue;
    ++reading.files;
    reading.bytes += entry.size;
  }
  now.manifest.text = std::string();
  return ReleaseRead{std::move(reading), std::make_shared<const Known>(std::move(now))};
}

void forget_manifest(const std::string& kept, const std::string& release) {
  if (kept.empty()) return;
  ::unlink(path_of(kept, release).c_str());
  ::unlink(path_before(kept, release).c_str());
}

}  // namespace rollbackd::drivers
