// Which files a list of paths means, what they look like, and which directories tell of a change. Blocking; for a thread of its own.
// Internal to checks/.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace rollbackd::checks {

struct WatchedFiles {
  /// Of names, inodes, sizes and times: another one means that something changed. Equal while nothing did.
  std::uint64_t fingerprint = 0;
  /// Directories whose entries matter, those that hold a link on the way among them; at most 256.
  std::set<std::string> directories;
  bool complete = true;  ///< false: there are more than 4096 files or 256 directories, and the rest is not looked at
};

/// @param paths  absolute: files, directories (their entries, not deeper ones) or glob patterns; what is not there counts as absent
WatchedFiles look_at_files(const std::vector<std::string>& paths);

}  // namespace rollbackd::checks
