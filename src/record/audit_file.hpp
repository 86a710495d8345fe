// The present file of the audit log: opened with its end put in order, appended to, synced, rotated. Internal to record/; blocking.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "record/audit.hpp"

namespace rollbackd::record {

class AuditFile {
 public:
  /// Opens or makes the file (0600, append only), finds the chain's end in it or in the newest of those before it, and closes a torn line.
  /// @param bytes_max  beyond it the file is renamed PATH.N and a new one goes on with the chain
  static Result<AuditFile> open(const std::string& path, std::uint64_t bytes_max);
  AuditFile(AuditFile&& other) noexcept;
  AuditFile& operator=(AuditFile&& other) noexcept;
  ~AuditFile();

  /// Adds an entry to what the next commit writes.
  void append(const AuditEntry& entry, Instant at);
  /// Writes what was appended and waits until it is on disk. After an error it is unknown whether it is, and the file must be opened anew.
  Result<> commit();
  /// Hashes of the entries of the last commit, in their order.
  const std::vector<std::string>& uncommitted() const { return hashes_; }
  std::uint64_t seq() const { return seq_; }
  const std::string& head() const { return head_; }
  /// The head as open() found it, before it closed a torn line.
  const std::string& found() const { return found_; }

 private:
  AuditFile() = default;
  Result<> open_present();
  Result<> continue_from_before();
  Result<> close_torn();
  Result<> rotate_when_full();

  std::string path_;
  std::uint64_t bytes_max_ = 0;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::uint64_t seq_ = 0;
  std::string head_{kAuditGenesis}, found_;
  std::string waiting_;
  std::vector<std::string> hashes_;
  bool begun_ = false;  ///< the next append begins a new commit
};

}  // namespace rollbackd::record
