// The present file of the audit log: opened with its end put in order, appended to, synced, rotated. Internal to record/; blocking.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "record/audit.hpp"
#include "record/audit_chain.hpp"

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
  /// The oldest of the files before this one, if its last entry is older than `before` and it can go without a loss to the chain: it is in
  /// order in itself, the next file goes on with it, and it is not the newest of them. Nothing: none can. Blocking: reads it whole.
  Result<std::optional<AuditSegment>> oldest_segment(Instant before) const;
  /// Removes a segment whose anchor is on disk (append and commit it first), and waits until the removal is.
  Result<> drop(const AuditSegment& segment) const;
  /// A present file whose first entry is older is set aside as a full one is, at the next commit. 0: never.
  void set_rotate_after(Duration age) { rotate_after_ = age; }

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
  Duration rotate_after_{};
  std::string begun_at_;  ///< time of the present file's first entry; empty: it has none, or it is not known
  std::uint64_t seq_ = 0;
  std::string head_{kAuditGenesis}, found_;
  std::string waiting_;
  std::vector<std::string> hashes_;
  bool begun_ = false;  ///< the next append begins a new commit
};

}  // namespace rollbackd::record
