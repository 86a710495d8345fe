// The manifest of a release's tree: what its digest is made of, and the stat facts by which a quick look sees that nothing was touched.
// Blocking; never follows a link, never leaves the tree, never opens anything but directories and regular files.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
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
  std::string digest;               ///< SHA-256 over `text`
  std::vector<EntryFacts> entries;  ///< sorted by path
  std::string text;                 ///< a line an entry, sorted by path; dropped by who keeps the manifest for quick looks only
};

/// How a tree is read.
struct ReadPace {
  int threads = 1;                    ///< that read files at the same time, this one among them
  std::int64_t bytes_per_second = 0;  ///< at most, on average; 0: as fast as it goes. Then the disk is read, not what memory keeps of it
  const std::atomic<bool>* stop = nullptr;  ///< once true it ends soon, with `cancelled`
};
/// Paths of a tree (relative, no globs) that are not part of the release: what it writes for itself. They and all below are passed over.
using LeftOut = std::vector<std::string>;

/// Reads every byte of the tree at `directory`.
/// One line an entry: type, mode in octal, size, content, path, with tabs between; content is a file's SHA-256, a link's target, "-" of a
/// directory. Backslash, tab and newline are written \\ \t \n. Owners and times are not part of it: the same tree unpacked elsewhere has
/// the same digest.
/// Directories named __pycache__ are passed over: what an interpreter keeps there it makes anew from the sources beside it.
/// @return `not_found` (no such directory, or a link in its place), `refused` (a socket, pipe or device), `too_large`,
///         `conflict` (changed while it was read), `cancelled`, `io`
Result<Manifest> hash_tree(const std::string& directory, TreeLimits limits = {}, ReadPace pace = {}, const LeftOut& left_out = {});

/// Looks at every entry without reading contents. Empty when all facts are as in `known`; else what differs first, for people.
Result<std::string> first_change(const std::string& directory, const Manifest& known, TreeLimits limits = {}, const LeftOut& left_out = {});

/// What differs between two manifests' texts, by path, for people: "app.py has other content", "lib/x was added". At most `max`, and then
/// how many more.
std::vector<std::string> differences(std::string_view was, std::string_view is, std::size_t max = 5);

}  // namespace rollbackd::drivers
