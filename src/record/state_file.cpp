// The state file of one service on disk: opening, choosing the slot that counts, and one durable write at a time.
// Flow: engine -> [state file]; a record that is on disk releases the step it announces.
#include "record/state_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "record/block.hpp"

namespace rollbackd::record {
namespace {

constexpr std::size_t kBlockBytes = 4096;
constexpr std::size_t kFileBytes = 16 * kBlockBytes;
constexpr std::size_t kSlotBytes = 5 * kBlockBytes;
constexpr std::array<std::size_t, 2> kSlotAt{0, kSlotBytes};
constexpr std::size_t kRingAt = 2 * kSlotBytes;
constexpr std::size_t kRingSize = 6;

/// A file descriptor that closes itself.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

struct Free {
  void operator()(char* p) const { std::free(p); }
};
/// Memory that O_DIRECT takes.
std::unique_ptr<char, Free> aligned_bytes(std::size_t size) {
  std::unique_ptr<char, Free> bytes(static_cast<char*>(std::aligned_alloc(kBlockBytes, size)));
  if (!bytes) throw std::bad_alloc();
  std::memset(bytes.get(), 0, size);
  return bytes;
}

/// pwrite(2) until all is written. @return 0, or the errno
int write_all(int fd, std::span<const char> bytes, std::size_t at) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    at += static_cast<std::size_t>(n);
  }
  return 0;
}

int read_all(int fd, std::span<char> bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t n = ::pread(fd, bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO;
    at += static_cast<std::size_t>(n);
  }
  return 0;
}

/// Makes the file whole or not at all: zeros under another name, on disk, then renamed. Every block is there from now on.
Result<> make_file(int directory, const std::string& name, const std::string& path) {
  const auto failed = [&](int error) {
    return Error::from_errno("cannot make the state file " + path, error)
        .try_next("see that the state directory is writable and has 64 KiB left");
  };
  const std::string unfinished = name + ".new";
  if (::unlinkat(directory, unfinished.c_str(), 0) != 0 && errno != ENOENT) return failed(errno);
  const Fd file(::openat(directory, unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.is_open()) return failed(errno);
  const std::vector<char> zeros(kFileBytes);
  int error = write_all(file.get(), zeros, 0);
  if (error == 0 && ::fsync(file.get()) != 0) error = errno;
  if (error == 0 && ::renameat(directory, unfinished.c_str(), directory, name.c_str()) != 0) error = errno;
  if (error == 0) error = ::fsync(directory) != 0 ? errno : 0;
  if (error == 0) return {};
  ::unlinkat(directory, unfinished.c_str(), 0);
  return failed(error);
}

/// A file of ours and nothing else.
Result<> check_file(int fd, const std::string& path) {
  const auto not_ours = [&](Errc code, std::string why) {
    return Error(code, "cannot use the state file " + path).because(std::move(why)).try_next("look at it, move it away, and start again");
  };
  struct stat facts {};
  if (::fstat(fd, &facts) != 0) return Error::from_errno("cannot look at the state file " + path, errno);
  if (!S_ISREG(facts.st_mode)) return not_ours(Errc::invalid_argument, "it is not a regular file");
  if (static_cast<std::size_t>(facts.st_size) == kFileBytes) return {};
  return not_ours(Errc::corrupt, "it has " + std::to_string(facts.st_size) + " bytes instead of " + std::to_string(kFileBytes));
}

/// The record's JSON, with the texts for people cut as far as it takes to fit into a block.
std::string fitting_json(OperationRecord record, const ClockReading& clock, std::size_t bytes_max) {
  std::string json = record.to_json(clock).dump();
  for (const std::size_t text_bytes_max : {1024U, 512U, 256U, 128U, 32U, 0U}) {
    if (json.size() <= bytes_max) break;
    record.note = cut(record.note, text_bytes_max);
    record.request.reason = cut(record.request.reason, text_bytes_max);
    record.request.principal = cut(record.request.principal, text_bytes_max);
    if (text_bytes_max == 0) record.note = record.request.reason = record.request.principal = "";
    json = record.to_json(clock).dump();
  }
  return json;
}

}  // namespace

struct StateFile::Impl {
  std::string path;
  ServiceKey service;
  Fd file;    ///< reads, and writes where the file system has no O_DIRECT
  Fd direct;  ///< O_DIRECT|O_DSYNC; closed when the file system turns out not to take it
  bool direct_proven = false;
  std::unique_ptr<char, Free> buffer = aligned_bytes(kSlotBytes);
  std::string distrust;  ///< why it is not trusted; empty: it is
  std::size_t next_slot = 0;
  std::uint64_t state_sequence = 0;   ///< of the newest slot; 0: none
  std::uint64_t record_sequence = 0;  ///< of the newest record; 0: none

  // ---- Reading ----

  void read_slots(std::span<const char> bytes, const ClockReading& clock, StateRead& read);
  void read_ring(std::span<const char> bytes, const ClockReading& clock, StateRead& read);
  static void say(StateRead& read, const std::string& text) { read.note += (read.note.empty() ? "" : "; ") + text; }
  static void hold(StateRead& read, const std::string& text) {
    read.readable = false;
    say(read, text);
  }

  // ---- Writing ----

  Result<> commit(std::size_t at, std::span<const char> bytes);
  int write_durably(std::size_t at, std::span<const char> bytes);
  Error not_trusted() const {
    return Error(Errc::io, "the state file " + path + " is not trusted any more")
        .because(distrust)
        .try_next("mend the cause, then restart rollbackd; until then this service holds");
  }
};

/// The whole slot with the higher sequence counts. A damaged one beside it is a torn write: the state before it counts.
void StateFile::Impl::read_slots(std::span<const char> bytes, const ClockReading& clock, StateRead& read) {
  const char* const names[] = {"A", "B"};
  std::array<Block, 2> slots;
  int corrupt = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    slots[i] = decode_block(BlockKind::state, bytes.subspan(kSlotAt[i], kSlotBytes));
    if (slots[i].health == Block::Health::foreign) {
      hold(read, std::string("slot ") + names[i] + " was written by another version of rollbackd (format " +
                     std::to_string(slots[i].format) + ")");
    }
    if (slots[i].health == Block::Health::corrupt) ++corrupt;
    if (slots[i].health == Block::Health::corrupt) say(read, std::string("slot ") + names[i] + " is corrupt");
  }
  const auto whole = [&](std::size_t i) { return slots[i].health == Block::Health::whole; };
  if (!whole(0) && !whole(1)) {
    // The first state of all goes into both slots, one after the other: one slot still empty means that no state was ever on disk.
    const auto is_zero = [](char c) { return c == '\0'; };
    const bool no_records = std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(kRingAt), bytes.end(), is_zero);
    if (corrupt == 1 && no_records && read.readable) return say(read, "the very first write was torn, so there is no state yet");
    if (corrupt > 0) hold(read, "no slot can be read");
    return;
  }
  const std::size_t newest = whole(0) && (!whole(1) || slots[0].sequence > slots[1].sequence) ? 0 : 1;
  if (corrupt > 0) say(read, std::string("slot ") + names[newest] + " is used");
  next_slot = 1 - newest;
  state_sequence = slots[newest].sequence;

  auto json = Json::parse(slots[newest].json);
  auto state = json.has_value() ? ServiceState::from_json(json.value(), clock) : Result<ServiceState>(json.error());
  if (state.has_error()) return hold(read, std::string("slot ") + names[newest] + " is whole, but not understood: " + state.error().text());
  if (state.value().service != service)
    return hold(read, "it is the state of " + state.value().service.text() + ", not of " + service.text());
  read.state = std::move(state.value());
}

/// The whole record with the highest sequence counts. One damaged record is a torn write, or older than that; no crash leaves two.
void StateFile::Impl::read_ring(std::span<const char> bytes, const ClockReading& clock, StateRead& read) {
  Block last;
  int corrupt = 0;
  for (std::size_t i = 0; i < kRingSize; ++i) {
    Block block = decode_block(BlockKind::record, bytes.subspan(kRingAt + i * kBlockBytes, kBlockBytes));
    if (block.health == Block::Health::foreign) {
      hold(read, "an operation record was written by another version of rollbackd (format " + std::to_string(block.format) + ")");
    }
    if (block.health == Block::Health::corrupt) ++corrupt;
    if (block.health == Block::Health::whole && block.sequence > last.sequence) last = std::move(block);
  }
  if (corrupt == 1) say(read, "a torn operation record is ignored, the one before it counts");
  if (corrupt > 1) hold(read, std::to_string(corrupt) + " operation records are corrupt: which was the last is not known");
  if (last.health != Block::Health::whole) return;

  record_sequence = last.sequence;
  auto json = Json::parse(last.json);
  auto record = json.has_value() ? OperationRecord::from_json(json.value(), clock) : Result<OperationRecord>(json.error());
  if (record.has_error()) return hold(read, "the last operation record is whole, but not understood: " + record.error().text());
  if (record.value().request.service != service) {
    return hold(read, "the last operation record is of " + record.value().request.service.text() + ", not of " + service.text());
  }
  read.last_record = std::move(record.value());
}

Result<StateFile> StateFile::open(const std::string& directory, const ServiceKey& service, const ClockReading& clock, StateRead& read) {
  read = StateRead{};
  if (!is_name(service.name) || !is_name(service.environment)) {
    return Error(Errc::invalid_argument, "\"" + printable(service.text()) + "\" names no service");
  }
  auto impl = std::make_unique<Impl>();
  const std::string name = service.name + "." + service.environment + ".state";
  impl->path = directory + "/" + name;
  impl->service = service;

  const Fd folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.is_open()) return Error::from_errno("cannot open the state directory " + directory, errno);
  // O_NONBLOCK: a FIFO at this place must not stop us before we can refuse it.
  const auto open_at = [&](int flags) { return Fd(::openat(folder.get(), name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)); };
  impl->file = open_at(O_RDWR);
  if (!impl->file.is_open() && errno == ENOENT) {
    if (auto made = make_file(folder.get(), name, impl->path); made.has_error()) return made.error();
    impl->file = open_at(O_RDWR);
  }
  if (!impl->file.is_open() && errno == ELOOP) {
    return Error(Errc::invalid_argument, "cannot use the state file " + impl->path)
        .because("it is a symbolic link")
        .try_next("put the file itself there");
  }
  if (!impl->file.is_open()) return Error::from_errno("cannot open the state file " + impl->path, errno);
  if (auto ours = check_file(impl->file.get(), impl->path); ours.has_error()) return ours.error();
  impl->direct = open_at(O_WRONLY | O_DIRECT | O_DSYNC);

  std::vector<char> bytes(kFileBytes);
  if (const int error = read_all(impl->file.get(), bytes)) return Error::from_errno("cannot read the state file " + impl->path, error);
  read.fresh = std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; });
  impl->read_slots(bytes, clock, read);
  impl->read_ring(bytes, clock, read);
  if (!read.readable) {
    impl->distrust = "it could not be read when it was opened: " + read.note;
    read.state.reset();
    read.last_record.reset();
  }
  return StateFile(std::move(impl));
}

/// @return 0, or the errno; then nothing is known of what is on disk.
int StateFile::Impl::write_durably(std::size_t at, std::span<const char> bytes) {
  if (direct.is_open()) {
    const int error = write_all(direct.get(), bytes, at);
    direct_proven = direct_proven || error == 0;
    if (error != EINVAL || direct_proven) return error;
    direct = Fd();  // Some file systems take the flag at open and refuse the first write.
  }
  if (const int error = write_all(file.get(), bytes, at)) return error;
  return ::fdatasync(file.get()) == 0 ? 0 : errno;
}

Result<> StateFile::Impl::commit(std::size_t at, std::span<const char> bytes) {
  const int error = write_durably(at, bytes);
  if (error == 0) return {};
  Error failure = Error::from_errno("cannot write the state file " + path, error);
  distrust = failure.text();
  return std::move(failure).try_next("mend the cause, then restart rollbackd; until then this service holds");
}

Result<> StateFile::write_state(const ServiceState& state, const ClockReading& clock) {
  if (!trusted()) return impl_->not_trusted();
  const std::string json = state.to_json(clock).dump();
  const std::size_t size = kBlockHeaderBytes + json.size();
  if (size > kSlotBytes) {
    return Error(Errc::too_large, "the state of " + state.service.text() + " does not fit into its file")
        .because(std::to_string(size) + " bytes, a slot holds " + std::to_string(kSlotBytes));
  }
  const std::size_t blocks = (size + kBlockBytes - 1) / kBlockBytes;
  const std::span<char> bytes(impl_->buffer.get(), blocks * kBlockBytes);
  // The first state of all goes into both slots, so that a lone damaged slot beside an empty one is never a state that was lost.
  for (int copies = impl_->state_sequence == 0 ? 2 : 1; copies > 0; --copies) {
    encode_block(BlockKind::state, impl_->state_sequence + 1, json, bytes);
    if (auto written = impl_->commit(kSlotAt[impl_->next_slot], bytes); written.has_error()) return written;
    ++impl_->state_sequence;
    impl_->next_slot = 1 - impl_->next_slot;
  }
  return {};
}

Result<> StateFile::write_record(const OperationRecord& record, const ClockReading& clock) {
  if (!trusted()) return impl_->not_trusted();
  const std::string json = fitting_json(record, clock, kBlockBytes - kBlockHeaderBytes);
  if (kBlockHeaderBytes + json.size() > kBlockBytes) {
    return Error(Errc::too_large, "a record of operation " + record.request.operation + " does not fit into a block")
        .because(std::to_string(json.size()) + " bytes of JSON, its texts cut");
  }
  const std::span<char> bytes(impl_->buffer.get(), kBlockBytes);
  const std::uint64_t sequence = impl_->record_sequence + 1;
  encode_block(BlockKind::record, sequence, json, bytes);
  if (auto written = impl_->commit(kRingAt + (sequence % kRingSize) * kBlockBytes, bytes); written.has_error()) return written;
  impl_->record_sequence = sequence;
  return {};
}

bool StateFile::trusted() const { return impl_->distrust.empty(); }
const std::string& StateFile::path() const { return impl_->path; }

StateFile::StateFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StateFile::~StateFile() = default;
StateFile::StateFile(StateFile&&) noexcept = default;
StateFile& StateFile::operator=(StateFile&&) noexcept = default;

}  // namespace rollbackd::record
