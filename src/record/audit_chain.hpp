// One line of the audit log as a link of its chain. Internal to record/; pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "record/audit.hpp"

namespace rollbackd::record {

inline constexpr std::string_view kRecoveredAction = "audit.recovered";  ///< closes bytes that are no entry
inline constexpr std::string_view kLostAction = "audit.lost";            ///< says how many entries could not be written
inline constexpr std::string_view kRetainedAction = "audit.retained";    ///< an anchor: names the entry up to which the log was dropped

struct ChainLink {
  std::uint64_t seq = 0;
  std::string prev, hash;
  bool whole = false;  ///< its bytes have the hash that it carries
};
/// @param line  without its newline @return nothing when it does not have an entry's form
std::optional<ChainLink> chain_link_of(std::string_view line);

/// The entry that closes `torn`, which is in the file and is no entry: it carries its SHA-256 as target.
AuditEntry recovery_entry(std::string_view torn);

/// A file of the log that is old enough to go, by what its last entry says.
struct AuditSegment {
  std::string file;
  std::uint64_t number = 0;              ///< PATH.number
  std::uint64_t first_seq = 0, seq = 0;  ///< of its first and last entry
  std::string hash, at;                  ///< of the last one
};
/// The anchor that is written before the file goes: its target, "SEQ:HASH", names the last entry in it. A chain that begins with entry
/// SEQ + 1, written after HASH, is then as whole as one that begins with entry 1.
AuditEntry anchor_entry(const AuditSegment& segment);

/// How a file ends: its last whole entry, and where that ends. What follows is torn.
struct ChainEnd {
  std::optional<ChainLink> last;
  std::size_t end = 0;  ///< behind its newline; 0 when there is no whole entry
  bool newline = true;  ///< false: the entry is whole but for its newline
};
ChainEnd chain_end_of(std::string_view text);

}  // namespace rollbackd::record
