// Keeps the files of a release in the page cache, so that its start reads no disk. Nothing of it is started.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/error.hpp"

namespace rollbackd::drivers {

struct Warmth {
  std::int64_t bytes = 0;         ///< of the tree's regular files
  std::int64_t wanted_bytes = 0;  ///< of those that fit into the cap, whole pages
  std::int64_t warm_bytes = 0;    ///< of the wanted ones that were in memory when it was looked
  std::int64_t read_bytes = 0;    ///< that were asked for now
  std::int64_t unreadable = 0;    ///< files that we may not read
  bool warm() const { return warm_bytes >= wanted_bytes; }
};

struct WarmOptions {
  std::int64_t bytes_max = 256 << 20;       ///< the cap; files are taken in the order of their names, small ones before ones over 16 MiB
  std::size_t files_max = 200'000;          ///< entries that are looked at; beyond: `too_large`
  const std::atomic<bool>* stop = nullptr;  ///< once true it ends soon, with `cancelled`
};

/// Looks which pages of the tree at `directory` are in memory, and asks the kernel to read those that are not. Blocking, for bulk work;
/// never follows a link. The kernel reads in its own time, and may let go of pages again when memory is short: so it is asked again and
/// again, and what counts is what the next look finds.
/// @return `not_found` where there is no such directory
Result<Warmth> warm_tree(const std::string& directory, const WarmOptions& options);

}  // namespace rollbackd::drivers
