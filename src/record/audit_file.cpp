#include "record/audit_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <utility>

#include "base/log.hpp"
#include "record/audit_chain.hpp"

namespace rollbackd::record {
namespace {

constexpr std::uint64_t kFileBytesReadMax = 256ULL << 20;
constexpr std::size_t kTailBytes = 1 << 20;        // Looked at first when a file is opened; an entry is at most some 50 KiB.
constexpr std::uint64_t kLineBytesMax = 64 << 10;  // Of one entry.
constexpr std::uint64_t kFilesMax = 1'000'000;
constexpr std::size_t kFilesShownMax = 4;  // Newest first: some hundred thousand entries, some tenths of a second.

Instant wall_now() { return Instant(std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch()).count()); }

/// Reads [from, from + n) of a file.
Result<std::string> read_range(int fd, const std::string& path, std::uint64_t from, std::uint64_t n) {
  std::string out(n, '\0');
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(from + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno("cannot read " + path, errno);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  out.resize(done);
  return out;
}

Result<std::string> read_whole(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return Error::from_errno("cannot open " + path, errno);
  struct stat status {};
  Result<std::string> out =
      ::fstat(fd, &status) == 0 ? Result<std::string>(std::string()) : Error::from_errno("cannot read " + path, errno);
  if (out && !S_ISREG(status.st_mode)) out = Error(Errc::invalid_argument, path + " is no regular file");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (out && size > kFileBytesReadMax)
    out = Error(Errc::too_large, path + " is larger than 256 MiB").because("no audit file grows so large");
  if (out) out = read_range(fd, path, 0, size);
  ::close(fd);
  return out;
}

/// The numbers of the files before the present one, lowest (oldest) first.
std::vector<std::uint64_t> numbers_of(const std::string& path) {
  std::vector<std::uint64_t> out;
  const std::filesystem::path whole(path);
  const std::string prefix = whole.filename().string() + ".";
  std::error_code failed;
  for (std::filesystem::directory_iterator at(whole.parent_path(), failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with(prefix) || name.size() == prefix.size() || name.size() > prefix.size() + 7) continue;
    const std::string digits = name.substr(prefix.size());
    if (digits.find_first_not_of("0123456789") == digits.npos && digits[0] != '0') out.push_back(std::stoull(digits));
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// The `at` of the entry that begins `text`; RFC 3339 in UTC with a fixed number of digits, so that it orders as time does.
std::string time_of_line(std::string_view text) {
  const auto entry = Json::parse(text.substr(0, text.find('\n')), 4);
  return entry ? (*entry)["at"].string_or("") : std::string();
}

std::string numbered(const std::string& path, std::uint64_t n) { return path + "." + std::to_string(n); }

Result<> sync_directory_of(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Error::from_errno("cannot open " + directory, errno);
  const int failed = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (failed != 0) return Error::from_errno("cannot sync " + directory, failed);
  return {};
}

}  // namespace

Result<AuditFile> AuditFile::open(const std::string& path, std::uint64_t bytes_max) {
  AuditFile file;
  file.path_ = path;
  file.bytes_max_ = bytes_max;
  if (auto done = file.open_present(); !done) return done.error();
  if (auto done = file.close_torn(); !done) return done.error();
  return file;
}

AuditFile::AuditFile(AuditFile&& other) noexcept { *this = std::move(other); }
AuditFile& AuditFile::operator=(AuditFile&& other) noexcept {
  if (this == &other) return *this;
  if (fd_ >= 0) ::close(fd_);
  path_ = std::move(other.path_);
  bytes_max_ = other.bytes_max_;
  fd_ = std::exchange(other.fd_, -1);
  size_ = other.size_;
  rotate_after_ = other.rotate_after_;
  begun_at_ = std::move(other.begun_at_);
  seq_ = other.seq_;
  head_ = std::move(other.head_);
  found_ = std::move(other.found_);
  waiting_ = std::move(other.waiting_);
  hashes_ = std::move(other.hashes_);
  begun_ = other.begun_;
  return *this;
}
AuditFile::~AuditFile() {
  if (fd_ >= 0) ::close(fd_);
}

Result<> AuditFile::open_present() {
  fd_ = ::open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd_ < 0) return Error::from_errno("cannot open " + path_, errno);
  struct stat status {};
  if (::fstat(fd_, &status) != 0) return Error::from_errno("cannot read " + path_, errno);
  if (!S_ISREG(status.st_mode)) return Error(Errc::invalid_argument, path_ + " is no regular file");
  size_ = static_cast<std::uint64_t>(status.st_size);
  begun_at_.clear();
  if (size_ > 0)
    if (const auto first = read_range(fd_, path_, 0, std::min<std::uint64_t>(size_, kLineBytesMax))) begun_at_ = time_of_line(*first);
  return sync_directory_of(path_);
}

/// The end of the chain is in the newest file that has an entry: the present one may have just been begun.
Result<> AuditFile::continue_from_before() {
  const auto numbers = numbers_of(path_);
  for (auto n = numbers.rbegin(); n != numbers.rend(); ++n) {
    auto text = read_whole(numbered(path_, *n));
    if (!text) return text.error();
    const ChainEnd end = chain_end_of(*text);
    if (!end.last) continue;
    seq_ = end.last->seq;
    head_ = end.last->hash;
    return {};
  }
  return {};
}

/// Finds the last whole entry; what is behind it was being written when a crash came, stays, and is closed by an entry that says so.
Result<> AuditFile::close_torn() {
  std::uint64_t from = size_ > kTailBytes ? size_ - kTailBytes : 0;
  ChainEnd end;
  while (true) {
    if (size_ - from > kFileBytesReadMax) return Error(Errc::too_large, path_ + " has no whole entry in its last 256 MiB");
    auto tail = read_range(fd_, path_, from, size_ - from);
    if (!tail) return tail.error();
    end = chain_end_of(*tail);
    if (!end.last && from > 0) {
      from = 0;
      continue;
    }
    if (end.last) {
      seq_ = end.last->seq;
      head_ = end.last->hash;
    } else if (auto before = continue_from_before(); !before) {
      return before;
    }
    found_ = head_;
    const std::string torn = tail->substr(end.end);
    if (torn.empty() && end.newline) return {};
    if (torn.empty()) {
      waiting_ = "\n";  // The entry is whole but for its newline.
      return commit();
    }
    log::warning("the audit log's last line was not whole; it is closed with an entry",
                 {{"path", path_}, {"bytes", std::to_string(torn.size())}});
    if (torn.back() != '\n') waiting_ = "\n";
    append(recovery_entry(torn), wall_now());
    return commit();
  }
}

void AuditFile::append(const AuditEntry& entry, Instant at) {
  if (begun_at_.empty()) begun_at_ = format_rfc3339(at);
  if (!begun_) hashes_.clear();
  begun_ = true;
  std::string hash;
  waiting_ += audit_line(entry, ++seq_, at, head_, &hash) + "\n";
  head_ = hash;
  hashes_.push_back(std::move(hash));
}

Result<> AuditFile::commit() {
  begun_ = false;
  const std::string text = std::exchange(waiting_, {});
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd_, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error::from_errno("cannot write to " + path_, n < 0 ? errno : EIO);
    done += static_cast<std::size_t>(n);
  }
  if (::fdatasync(fd_) != 0) return Error::from_errno("cannot sync " + path_, errno);
  size_ += text.size();
  return rotate_when_full();
}

/// One rename: a crash before or after it leaves a chain that open() goes on with. A file that cannot be renamed just grows on.
Result<> AuditFile::rotate_when_full() {
  const bool aged =
      rotate_after_ > Duration{0} && size_ > 0 && !begun_at_.empty() && begun_at_ < format_rfc3339(wall_now() - rotate_after_);
  if (size_ < bytes_max_ && !aged) return {};
  const auto numbers = numbers_of(path_);
  const std::uint64_t next = numbers.empty() ? 1 : numbers.back() + 1;
  if (next > kFilesMax) return {};
  const std::string aside = numbered(path_, next);
  if (::rename(path_.c_str(), aside.c_str()) != 0) {
    log::warning("the audit log cannot be rotated; it grows on", {{"error", Error::from_errno("cannot rename " + path_, errno).text()}});
    bytes_max_ += bytes_max_;
    return {};
  }
  ::close(std::exchange(fd_, -1));
  return open_present();
}

Result<std::optional<AuditSegment>> AuditFile::oldest_segment(Instant before) const {
  using None = std::optional<AuditSegment>;
  const auto numbers = numbers_of(path_);
  if (numbers.size() < 2) return None();  // The newest stays: the chain's end may be in it, and its number is not given again.
  AuditSegment segment;
  segment.number = numbers.front();
  segment.file = numbered(path_, segment.number);
  auto text = read_whole(segment.file);
  if (!text) return text.error();
  const ChainEnd end = chain_end_of(*text);
  if (!end.last) return Error(Errc::corrupt, segment.file + " has no whole entry").try_next("`rollbackctl audit verify` says more");
  segment.at = time_of_line(std::string_view(*text).substr(text->rfind('\n', end.end - 2) + 1));
  if (segment.at.empty() || segment.at >= format_rfc3339(before)) return None();
  // Evidence of tampering is not thrown away: only what is in order goes.
  AuditVerifier verifier(false, "");
  verifier.add_file(segment.file, *text);
  const AuditVerdict verdict = verifier.finish();
  auto next = read_whole(numbered(path_, numbers[1]));
  if (!next) return next.error();
  const auto follows = chain_link_of(std::string_view(*next).substr(0, next->find('\n')));
  if (!verdict.ok || !follows || follows->seq != end.last->seq + 1 || follows->prev != end.last->hash)
    return Error(Errc::corrupt, segment.file + " is old, and is kept because the chain is not in order")
        .because(verdict.ok ? "the next file does not go on with it" : verdict.problem)
        .try_next("`rollbackctl audit verify` says more");
  segment.first_seq = verdict.first_seq;
  segment.seq = end.last->seq;
  segment.hash = end.last->hash;
  return std::optional<AuditSegment>(std::move(segment));
}

/// Synced one by one: no power cut takes a later file before an earlier one.
Result<> AuditFile::drop(const AuditSegment& segment) const {
  if (::unlink(segment.file.c_str()) != 0 && errno != ENOENT) return Error::from_errno("cannot remove " + segment.file, errno);
  return sync_directory_of(path_);
}

Result<std::vector<std::string>> audit_files(const std::string& state_directory) {
  const std::string path = state_directory + "/audit.log";
  std::vector<std::string> out;
  for (const std::uint64_t n : numbers_of(path)) out.push_back(numbered(path, n));
  if (::access(path.c_str(), F_OK) == 0) out.push_back(path);
  if (out.empty())
    return Error(Errc::not_found, "there is no audit log in " + state_directory).try_next("name the state directory, or the files");
  return out;
}

Result<AuditVerdict> verify_audit_files(const std::vector<std::string>& files, bool whole, const std::string& head) {
  AuditVerifier verifier(whole, head);
  for (const std::string& file : files) {
    auto text = read_whole(file);
    if (!text) return text.error();
    verifier.add_file(file, *text);
  }
  return verifier.finish();
}

Result<std::vector<Json>> read_audit(const std::vector<std::string>& files, const AuditFilter& filter) {
  constexpr int kEntriesMax = 1000;
  const auto limit = static_cast<std::size_t>(std::clamp(filter.limit, 1, kEntriesMax));
  const std::string since = filter.since ? format_rfc3339(*filter.since) : "", until = filter.until ? format_rfc3339(*filter.until) : "";
  // As they stand in a line: most lines are passed over without being read as JSON.
  std::vector<std::string> members;
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
           {"service", filter.service}, {"environment", filter.environment}, {"principal", filter.principal}, {"action", filter.action}})
    if (!value.empty()) members.push_back("\"" + name + "\":" + Json(value).dump());
  const auto may_be_wanted = [&](std::string_view line) {
    return std::all_of(members.begin(), members.end(), [&](const std::string& member) { return line.find(member) != line.npos; });
  };
  const auto wanted = [&](const Json& entry) {
    const auto is = [&](const char* member, const std::string& value) { return value.empty() || entry[member].string_or("") == value; };
    const std::string at = entry["at"].string_or("");  // RFC 3339 in UTC with a fixed number of digits: its text orders as its time does.
    return is("service", filter.service) && is("environment", filter.environment) && is("principal", filter.principal) &&
           is("action", filter.action) && (since.empty() || at >= since) && (until.empty() || at <= until);
  };
  std::vector<Json> out;
  std::size_t looked_at = 0;
  for (auto file = files.rbegin(); file != files.rend() && out.size() < limit && looked_at < kFilesShownMax; ++file, ++looked_at) {
    auto text = read_whole(*file);
    if (!text) return text.error();
    std::string_view rest = *text;
    while (!rest.empty() && out.size() < limit) {
      if (rest.back() == '\n') rest.remove_suffix(1);
      const std::size_t before = rest.rfind('\n');
      const std::string_view line = before == rest.npos ? rest : rest.substr(before + 1);
      rest = before == rest.npos ? std::string_view() : rest.substr(0, before + 1);
      if (!line.starts_with("{\"seq\":") || !may_be_wanted(line)) continue;
      auto entry = Json::parse(line, 4);
      if (entry && wanted(*entry)) out.push_back(std::move(*entry));
    }
  }
  return out;
}

}  // namespace rollbackd::record
