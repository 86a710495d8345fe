// What differs between two release trees, for a dry run: files by name and size, and the text of small configuration files with what looks
// like a secret masked. Blocking; belongs on the worker for bulk work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"

namespace rollbackd::drivers {

struct FileChange {
  enum class Kind : int { added = 1, removed = 2, changed = 3 };
  Kind kind = Kind::changed;
  std::string path;  ///< relative to the release
  std::int64_t bytes_from = 0, bytes_to = 0;
  std::vector<std::string> lines{};  ///< "-old", "+new" of a small configuration file; masked
};
const char* to_string(FileChange::Kind v);

struct TreeDiff {
  std::int64_t added = 0, removed = 0, changed = 0, same = 0;  ///< all files, shown or not
  std::vector<FileChange> files;                               ///< at most `shown_max`, in the order of their paths
  bool whole = true;                                           ///< false: a bound was met, and `why` says which
  std::string why;
  Json to_json() const;
};

struct TreeDiffBounds {
  std::size_t files_max = 50'000;             ///< in each tree; beyond it only part is compared
  std::size_t shown_max = 200;                ///< lines in all: files and their texts
  std::int64_t text_bytes_max = 64 << 10;     ///< of a file whose text is compared
  std::int64_t compared_bytes_max = 1 << 30;  ///< of contents that are read; beyond it files of one size count as changed
};

/// Compares two directories. A link is what it leads to, and is not followed.
Result<TreeDiff> diff_trees(const std::string& from, const std::string& to, const TreeDiffBounds& bounds = {});

/// The lines that are in one text and not in the other, in order; masked.
std::vector<std::string> diff_lines(const std::string& from, const std::string& to, bool mask_every_value = false);
/// Replaces what is likely to be a secret by "***": the value of a key that is called like one, credentials in an address, long random
/// text.
std::string mask_secrets(const std::string& line, bool mask_every_value = false);

}  // namespace rollbackd::drivers
