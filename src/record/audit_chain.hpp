// One line of the audit log as a link of its chain. Internal to record/; pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "record/audit.hpp"

namespace rollbackd::record {

inline constexpr std::string_view kRecoveredAction = "audit.recovered";  ///< closes bytes that are no entry
inline constexpr std::string_view kLostAction = "audit.lost";            ///< says how many entries could not be written

struct ChainLink {
  std::uint64_t seq = 0;
  std::string prev, hash;
  bool whole = false;  ///< its bytes have the hash that it carries
};
/// @param line  without its newline @return nothing when it does not have an entry's form
std::optional<ChainLink> chain_link_of(std::string_view line);

/// The entry that closes `torn`, which is in the file and is no entry: it carries its SHA-256 as target.
AuditEntry recovery_entry(std::string_view torn);

/// How a file ends: its last whole entry, and where that ends. What follows is torn.
struct ChainEnd {
  std::optional<ChainLink> last;
  std::size_t end = 0;  ///< behind its newline; 0 when there is no whole entry
  bool newline = true;  ///< false: the entry is whole but for its newline
};
ChainEnd chain_end_of(std::string_view text);

}  // namespace rollbackd::record
