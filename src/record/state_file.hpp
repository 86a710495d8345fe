// The state file of one service: A/B slots of ledger and guard memory, and a ring of operation records. The truth for acting.
// 64 KiB, preallocated and zero-filled, 4 KiB blocks: block 0-4 slot A, 5-9 slot B, 10-15 one operation record each.
// Every slot and record: magic, format, sequence, length, CRC32C over all of it, then JSON. Writes go through O_DIRECT|O_DSYNC where the
// file system offers it, else pwrite + fdatasync, so that one write is one durable commit and works on a full disk.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/time.hpp"
#include "model/operation.hpp"
#include "model/release.hpp"

namespace rollbackd::record {

/// What a state file held when it was opened.
struct StateRead {
  bool fresh = false;    ///< the file was just made
  bool readable = true;  ///< false: both slots are corrupt: hold and page
  std::string note;      ///< "slot A corrupt, slot B used", for the log
  std::optional<ServiceState> state;
  std::optional<OperationRecord> last_record;
};

/// Blocking; belongs to the writer's thread. One process per state directory (see DirectoryLock).
class StateFile {
 public:
  ~StateFile();
  StateFile(StateFile&&) noexcept;
  StateFile& operator=(StateFile&&) noexcept;

  /// Opens or makes DIRECTORY/NAME.ENVIRONMENT.state (mode 0600) and reads both slots and the ring.
  static Result<StateFile> open(const std::string& directory, const ServiceKey& service, const ClockReading& clock, StateRead& read);

  /// Overwrites the older slot. After a failure the file is not trusted again before it is opened anew: every later write fails too.
  /// @return `too_large` (nothing written, still trusted) when the state exceeds a slot: the caller trims its ledger
  Result<> write_state(const ServiceState& state, const ClockReading& clock);
  /// Writes the next record of the ring. Same failure rule.
  Result<> write_record(const OperationRecord& record, const ClockReading& clock);
  bool trusted() const;
  const std::string& path() const;

 private:
  struct Impl;
  explicit StateFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Holds DIRECTORY/lock with flock(2) as long as it lives: one daemon (or one offline rollback) per state directory.
class DirectoryLock {
 public:
  /// Makes the directory (0700) when it is missing. @return `conflict` naming the pid that holds it
  static Result<DirectoryLock> take(const std::string& directory);
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&& other) noexcept;
  ~DirectoryLock();

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  int fd_ = -1;
  int directory_ = -1;  ///< the directory itself: removing the lock file lets nobody in
};

}  // namespace rollbackd::record
