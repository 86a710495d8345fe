// What dpkg's log says was installed, upgraded or removed. Pure: the text is handed in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rollbackd::checks {

struct PackageChange {
  std::int64_t local_seconds = 0;  ///< as the log's clock showed it (local time), counted as if it were UTC
  std::string what;                ///< "libssl3:amd64 3.0.11-1 -> 3.0.15-1", "curl:amd64 7.88.1 installed", "curl:amd64 7.88.1 removed"
};

/// One entry a package that ended in another version or state than it began with, in the log's order; at most `max`, the newest. A line
/// that is not understood, or cut off, is passed over. A run of dpkg that is still going on has no entry for what is not configured yet.
std::vector<PackageChange> parse_dpkg_log(std::string_view text, std::size_t max = 64);

}  // namespace rollbackd::checks
