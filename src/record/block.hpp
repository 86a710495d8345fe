// One slot or record of a state file as bytes: a header with a checksum, then JSON. Pure.
// Little-endian: magic (8 bytes), format (4), length of the JSON (4), sequence (8), zero (4), CRC32C of all before and the JSON (4), JSON.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace rollbackd::record {

/// What a block holds. The magics reach disk: "rbdstate" and "rbdrecrd".
enum class BlockKind { state, record };

inline constexpr std::size_t kBlockHeaderBytes = 32;
inline constexpr std::uint32_t kBlockFormat = 1;

struct Block {
  enum class Health {
    empty,    ///< all zero: never written
    whole,    ///< the checksum is right
    foreign,  ///< whole, but of a format that this version does not know
    corrupt,
  };
  Health health = Health::corrupt;
  std::uint32_t format = 0;
  std::uint64_t sequence = 0;
  std::string json;
};

/// Fills `bytes`: header, JSON, then zeros. `json` must fit.
void encode_block(BlockKind kind, std::uint64_t sequence, const std::string& json, std::span<char> bytes);
/// Reads what `bytes` hold; anything but a right checksum is `empty` or `corrupt`.
Block decode_block(BlockKind kind, std::span<const char> bytes);

}  // namespace rollbackd::record
