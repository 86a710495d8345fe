// The manifest of a release's tree: what its digest is made of, and the stat facts by which a quick look sees that nothing was touched.
// Blocking; never follows a link, never leaves the tree, never opens anything but directories and regular files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace rollbackd::drivers {

struct TreeLimits {
  std::size_t files_max = 200'000;  ///< entries of every kind
  int depth_max = 64;               ///< directories within each other; as many file handles are open at once
};

/// What lstat(2) says of one entry. Any write, chmod, rename or replacement changes one of these.
struct EntryFacts {
  std::string path;  ///< relative to the tree; "." is its top
  char type = 0;     ///< 'd' directory, 'f' file, 'l' link
  std::uint32_t mode = 0;
  std::int64_t size = 0;
  std::int64_t mtime_ns = 0, ctime_ns = 0;
  std::uint64_t inode = 0;
  bool operator==(const EntryFacts&) const = default;
};

struct Manifest {
  std::string digest;               ///< SHA-256 over `manifest text`: a line an entry, sorted by path
  std::vector<EntryFacts> entries;  ///< sorted by path
};

/// Reads every byte of the tree at `directory`.
/// One line an entry: type, mode in octal, size, content, path, with tabs between; content is a file's SHA-256, a link's target, "-" of a
/// directory. Backslash, tab and newline are written \\ \t \n. Owners and times are not part of it: the same tree unpacked elsewhere has
/// the same digest.
/// @return `not_found` (no such directory, or a link in its place), `refused` (a socket, pipe or device), `too_large`,
///         `conflict` (changed while it was read), `io`
Result<Manifest> hash_tree(const std::string& directory, TreeLimits limits = {});

/// Looks at every entry without reading contents. Empty when all facts are as in `known`; else what differs first, for people.
Result<std::string> first_change(const std::string& directory, const Manifest& known, TreeLimits limits = {});

}  // namespace rollbackd::drivers
