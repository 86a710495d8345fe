// A small file that is replaced whole or not at all: one line "MAGIC FORMAT CRC32C BYTES", then as many bytes of JSON.
#pragma once

#include <string>

#include "base/error.hpp"
#include "base/json.hpp"

namespace rollbackd::record {

/// What one of them is called, inside and outside.
struct WholeFile {
  std::string directory, name;  ///< beside it, while it is written, NAME.new
  std::string magic;            ///< without a space
  int format = 1;
  std::string next_step;  ///< what a person does about one that is damaged
};

inline constexpr std::size_t kWholeFileBytesMax = std::size_t{4} << 20;

/// Writes it under another name, synced, and renames it. Blocking; one writer at a time.
Result<> write_whole(const WholeFile& file, const Json& content);

/// Never waits for what is no regular file.
/// @return `not_found` where there is none, `corrupt` where it is not whole, of another format, or not ours
Result<Json> read_whole(const WholeFile& file);

/// Takes it away; fine where there is none. Needs no free space.
Result<> remove_whole(const WholeFile& file);

}  // namespace rollbackd::record
