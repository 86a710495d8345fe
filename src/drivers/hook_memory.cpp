// Flow: hook runner, hook guard -> [hook memory] -> disk.
#include "drivers/hook_memory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/digest.hpp"
#include "base/text.hpp"

namespace rollbackd::drivers {
namespace {

using io::Fd;

constexpr const char* kBegun = "rbdhookb";
constexpr const char* kEnded = "rbdhooke";
constexpr std::size_t kMagic = 8, kLength = 8, kCrc = 12, kSequence = 16, kHeader = 24;
constexpr std::size_t kFileBytes = HookMemory::kPlaces * HookMemory::kPlace;

struct Block {
  std::uint64_t sequence = 0;  ///< 0: empty or torn
  Json json;
};

std::uint32_t checksum(std::uint64_t sequence, std::string_view json) {
  char bytes[sizeof sequence];
  std::memcpy(bytes, &sequence, sizeof sequence);
  return crc32c(json, crc32c(std::string_view(bytes, sizeof bytes)));
}

Block block_at(const std::string& file, std::size_t at, const char* magic) {
  const char* bytes = file.data() + at;
  std::uint32_t length = 0, crc = 0;
  Block block;
  if (std::memcmp(bytes, magic, kMagic) != 0) return block;
  std::memcpy(&length, bytes + kLength, sizeof length);
  std::memcpy(&crc, bytes + kCrc, sizeof crc);
  std::uint64_t sequence = 0;
  std::memcpy(&sequence, bytes + kSequence, sizeof sequence);
  if (length > HookMemory::kBlock - kHeader) return block;
  const std::string_view text(bytes + kHeader, length);
  if (crc != checksum(sequence, text)) return block;
  auto json = Json::parse(text);
  if (json.has_error()) return block;
  block.sequence = sequence;
  block.json = std::move(*json);
  return block;
}

Result<> sync_parent(const std::string& path) {
  const std::string parent = path.substr(0, path.rfind('/'));
  const Fd directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0) return Error::from_errno("cannot sync " + parent, errno);
  return {};
}

/// Made under another name and renamed: it is there whole or not at all.
Result<> make_file(const std::string& path) {
  const std::string aside = path + ".new";
  ::unlink(aside.c_str());
  const Fd fd(::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Error::from_errno("cannot make " + aside, errno);
  const std::string zeros(64 << 10, '\0');
  for (std::size_t at = 0; at < kFileBytes;) {
    const ssize_t n = ::pwrite(fd.get(), zeros.data(), std::min(zeros.size(), kFileBytes - at), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error::from_errno("cannot write " + aside, n < 0 ? errno : EIO);
    at += static_cast<std::size_t>(n);
  }
  if (::fsync(fd.get()) != 0) return Error::from_errno("cannot sync " + aside, errno);
  if (::rename(aside.c_str(), path.c_str()) != 0) return Error::from_errno("cannot rename " + aside, errno);
  return sync_parent(path);
}

struct flock lock_of(std::size_t place, int type) {
  struct flock lock {};
  lock.l_type = static_cast<short>(type);
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(place * HookMemory::kPlace);
  lock.l_len = HookMemory::kPlace;
  return lock;
}

}  // namespace

Result<HookMemory> HookMemory::open(const std::string& path, bool make) {
  for (int tries = 0; tries < 2; ++tries) {
    HookMemory memory;
    memory.fd_.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!memory.fd_) {
      if (errno != ENOENT || !make || tries > 0) return Error::from_errno("cannot open " + path, errno);
      if (auto made = make_file(path); made.has_error()) return made.error();
      continue;
    }
    struct stat facts {};
    if (::fstat(memory.fd_.get(), &facts) != 0) return Error::from_errno("cannot read " + path, errno);
    if (!S_ISREG(facts.st_mode) || facts.st_size != static_cast<off_t>(kFileBytes))
      return Error(Errc::corrupt, path + " is not what rollbackd made").try_next("move it away");
    return memory;
  }
  return Error(Errc::io, "cannot make " + path);
}

Result<HookMemory::Known> HookMemory::look(const std::string& operation, int number) const {
  std::string file(kFileBytes, '\0');
  for (std::size_t at = 0; at < file.size();) {
    const ssize_t n = ::pread(fd_.get(), file.data() + at, file.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error::from_errno("cannot read what hooks were called", n < 0 ? errno : EIO);
    at += static_cast<std::size_t>(n);
  }
  Known known;
  std::uint64_t newest = 0, oldest = UINT64_MAX;
  bool found = false;
  for (std::size_t place = 0; place < kPlaces; ++place) {
    const Block begun = block_at(file, place * kPlace, kBegun);
    newest = std::max(newest, begun.sequence);
    if (begun.sequence > 0 && begun.json["operation"].string_or("") == operation && begun.json["number"].int_or(0) == number) {
      found = true;
      known.place = place;
      known.attempt = static_cast<int>(begun.json["attempt"].int_or(1));
      known.state = Known::State::lost;
      const Block ended = block_at(file, place * kPlace + kBlock, kEnded);
      auto outcome = ended.sequence == begun.sequence ? Outcome::from_json(ended.json) : Result<Outcome>(Error(Errc::not_found, ""));
      if (outcome.has_value()) {
        known.state = Known::State::ended;
        known.outcome = std::move(*outcome);
      } else if (struct flock lock = lock_of(place, F_WRLCK); ::fcntl(fd_.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
        known.state = Known::State::running;
      }
    } else if (!found && begun.sequence < oldest) {
      oldest = begun.sequence;
      known.place = place;
    }
  }
  known.sequence = newest + 1;
  return known;
}

Result<> HookMemory::take(std::size_t place) const {
  struct flock lock = lock_of(place, F_WRLCK);
  if (::fcntl(fd_.get(), F_OFD_SETLK, &lock) == 0) return {};
  if (errno == EAGAIN || errno == EACCES) return Error(Errc::conflict, "the hook is being run already");
  return Error::from_errno("cannot lock what hooks were called", errno);
}

Result<> HookMemory::begin(std::size_t place, std::uint64_t sequence, const std::string& operation, int number, int attempt) const {
  Json json = Json::object();
  json.set("operation", operation).set("number", number).set("attempt", attempt);
  return write(place * kPlace, kBegun, sequence, json.dump());
}

Result<> HookMemory::end(std::size_t place, std::uint64_t sequence, Outcome outcome) const {
  std::string text = outcome.to_json().dump();
  for (std::size_t room = kBlock / 2; text.size() > kBlock - kHeader; room /= 2) {
    outcome.facts.set("output", cut(outcome.facts["output"].string_or(""), room)).set("output_cut", true);
    outcome.error.why = cut(outcome.error.why, std::max<std::size_t>(room / 4, 64));
    text = outcome.to_json().dump();
    if (room < 2) return Error(Errc::too_large, "what the hook did does not fit");
  }
  return write(place * kPlace + kBlock, kEnded, sequence, text);
}

Result<> HookMemory::write(std::size_t at, const char* magic, std::uint64_t sequence, const std::string& json) const {
  if (json.size() > kBlock - kHeader) return Error(Errc::too_large, "too much to remember of a hook");
  std::string block(kBlock, '\0');
  const auto length = static_cast<std::uint32_t>(json.size());
  const std::uint32_t crc = checksum(sequence, json);
  std::memcpy(block.data(), magic, kMagic);
  std::memcpy(block.data() + kLength, &length, sizeof length);
  std::memcpy(block.data() + kCrc, &crc, sizeof crc);
  std::memcpy(block.data() + kSequence, &sequence, sizeof sequence);
  std::memcpy(block.data() + kHeader, json.data(), json.size());
  if (::pwrite(fd_.get(), block.data(), block.size(), static_cast<off_t>(at)) != static_cast<ssize_t>(block.size()) ||
      ::fdatasync(fd_.get()) != 0)
    return Error::from_errno("cannot write what hooks were called", errno);
  return {};
}

}  // namespace rollbackd::drivers
