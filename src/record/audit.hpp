// The audit log: who changed what, when and why, as an append-only chain of hashes that a person can check without the daemon.
// Flow: API, engine -> [audit] -> STATE/audit.log; the chain's head -> system log.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"
#include "model/batch.hpp"

namespace rollbackd::record {

/// `prev` of the first entry ever: there is nothing before it.
inline constexpr std::string_view kAuditGenesis = "0000000000000000000000000000000000000000000000000000000000000000";

/// One change, or one attempt at it. Texts are made printable and cut: `reason` and `outcome` at 4 KiB, the others at 256 bytes.
struct AuditEntry {
  std::string principal;  ///< "uid:0", "token:ci", "rollbackd", "anonymous"
  std::string action;     ///< "rollback", "suspend", "token.create", ...
  ServiceKey service;     ///< both empty when it is about the daemon
  std::string target;     ///< release, token name, file; may be empty
  std::string reason;     ///< why, in the words of whoever did it; for what rollbackd does by itself, its evidence
  std::string outcome;    ///< "begun", "succeeded", "done", "refused: ...", "failed: ..."
  std::string operation;  ///< id, when there is one
  std::string from;       ///< peer: "unix", "127.0.0.1:4711"; empty for what rollbackd does by itself
};

/// Every bound of the audit log, by name.
struct AuditLimits {
  std::size_t queued_max = 10'000;             ///< entries waiting; beyond it a new one is lost, and counted
  std::size_t batch_max = 200;                 ///< entries in one write
  std::uint64_t file_bytes_max = 64ULL << 20;  ///< of one file; then it is renamed audit.log.N and a new one goes on with the chain
  std::uint64_t head_every = 100;              ///< entries between two looks of the system log at the head
  Duration head_at_least = 24h;                ///< the same in time
  Duration retry_first = 1s, retry_max = 60s;  ///< between attempts while the disk does not take entries, doubling
  Duration close_max = 5s;                     ///< for writing what is queued at the end
  Duration keep_for{};                         ///< a file whose last entry is older may go; 0: none ever goes
  /// Between two looks for such a file, of which one goes at a time: a clock that is wrong for an hour costs one file.
  Duration retain_every = 1h;
};

struct AuditCounters {
  bool ok = true;             ///< false while entries cannot be written
  std::uint64_t entries = 0;  ///< written by this run
  std::uint64_t lost = 0;     ///< in this run; the next entry that is written says so
  std::uint64_t seq = 0;      ///< of the last entry in the log
  std::string head;           ///< its hash
};

/// Appends from any thread; a thread of its own writes and syncs. Never blocks its caller, and never fails it: what cannot be written
/// waits, then is lost and counted, and the daemon goes on acting. One writer a file: the holder of the state directory's lock.
class AuditLog {
 public:
  /// @param path  of the present file, STATE/audit.log; older ones are beside it as audit.log.1, .2, ...
  explicit AuditLog(std::string path);
  AuditLog(std::string path, AuditLimits limits);
  ~AuditLog();  ///< writes what is queued, for at most `close_max`
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  /// The entry's time is that of this call.
  void add(AuditEntry entry);
  AuditCounters counters() const;
  /// Blocks until everything added so far is on disk. @return false at the timeout
  bool flush(Duration timeout);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// ---- The chain itself: pure, and what `audit verify` does. ----

/// One line without its newline: canonical JSON, members in this order: seq, at, principal, action, service, environment, target, reason,
/// outcome, operation, from, prev, and `hash` last: SHA-256 over the line as it is without `,"hash":"..."`.
/// @param hash  gets the entry's hash, the next one's `prev`
std::string audit_line(const AuditEntry& entry, std::uint64_t seq, Instant at, std::string_view prev, std::string* hash);

/// What a look at a whole log found.
struct AuditVerdict {
  bool ok = false;
  std::uint64_t entries = 0;             ///< that are in order, up to the first problem
  std::uint64_t first_seq = 0, seq = 0;  ///< of the first and the last of them; 0: none
  std::string head;                      ///< hash of the last of them
  std::string since;                     ///< time of the first of them
  std::uint64_t anchor_seq = 0;          ///< of the entry that says that what is before the first was dropped; 0: nothing was
  std::vector<std::string> notes;        ///< what is in order but worth knowing: a torn line that was closed, entries that were lost
  std::string file;                      ///< of the first problem
  std::uint64_t line = 0;                ///< its line, from 1
  std::string problem;                   ///< what is wrong, for people
  Json to_json() const;
};

/// Checks a chain file by file, oldest first.
class AuditVerifier {
 public:
  /// @param whole  the chain must begin with entry 1, or where one of its entries says that retention dropped what is before; else it may
  ///               begin anywhere, which is noted
  /// @param head  a hash that was noted elsewhere and must be among the chain's; empty: none. Nothing else shows that the end was cut off
  AuditVerifier(bool whole, std::string head);
  /// After the first problem nothing is looked at any more.
  void add_file(const std::string& name, std::string_view text);
  AuditVerdict finish();

 private:
  void on_damage(const std::string& name, std::string_view text, std::size_t& at, std::uint64_t& line);
  void fail(const std::string& file, std::uint64_t line, std::string problem);
  bool whole_;
  std::string wanted_head_;
  std::uint64_t wanted_head_seq_ = 0;       ///< 0: not met yet
  std::string wanted_anchor_, first_file_;  ///< what an anchor must say of what is missing at the beginning; empty: nothing is
  std::uint64_t anchor_seq_ = 0;            ///< of that anchor; 0: not met yet
  AuditVerdict verdict_;
};

/// Verifies files in this order. Blocking, reads only, one file in memory at a time.
/// @return `io` when one cannot be read, `too_large` for one over 256 MiB
Result<AuditVerdict> verify_audit_files(const std::vector<std::string>& files, bool whole, const std::string& head);
/// The files of a state directory, oldest first: audit.log.1, audit.log.2, ..., audit.log. `not_found` when there is none.
Result<std::vector<std::string>> audit_files(const std::string& state_directory);

/// Which entries to show. Empty: any.
struct AuditFilter {
  std::string service, environment, principal, action;
  std::optional<Instant> since, until;
  int limit = 50;  ///< 1 to 1000
};
/// Entries as JSON, newest first, of the newest four files. Blocking, reads only; what is no entry is left out (`verify_audit_files` judges
/// it).
Result<std::vector<Json>> read_audit(const std::vector<std::string>& files, const AuditFilter& filter);

}  // namespace rollbackd::record
