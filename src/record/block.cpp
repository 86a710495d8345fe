// Bytes of a slot or record, with their checksum. Pure.
#include "record/block.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <string_view>

#include "base/digest.hpp"

namespace rollbackd::record {
namespace {

constexpr std::size_t kFormatAt = 8, kLengthAt = 12, kSequenceAt = 16, kCrcAt = 28;

std::string_view magic(BlockKind kind) { return kind == BlockKind::state ? "rbdstate" : "rbdrecrd"; }

void put(std::span<char> bytes, std::size_t at, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) bytes[at + i] = static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
}

std::uint64_t get(std::span<const char> bytes, std::size_t at, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i) value |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return value;
}

std::uint32_t checksum(std::span<const char> bytes, std::size_t json_bytes) {
  const std::string_view all(bytes.data(), bytes.size());
  return crc32c(all.substr(kBlockHeaderBytes, json_bytes), crc32c(all.substr(0, kCrcAt)));
}

}  // namespace

void encode_block(BlockKind kind, std::uint64_t sequence, const std::string& json, std::span<char> bytes) {
  assert(kBlockHeaderBytes + json.size() <= bytes.size());
  std::fill(bytes.begin(), bytes.end(), '\0');
  std::memcpy(bytes.data(), magic(kind).data(), magic(kind).size());
  put(bytes, kFormatAt, kBlockFormat, 4);
  put(bytes, kLengthAt, json.size(), 4);
  put(bytes, kSequenceAt, sequence, 8);
  std::copy(json.begin(), json.end(), bytes.begin() + kBlockHeaderBytes);
  put(bytes, kCrcAt, checksum(bytes, json.size()), 4);
}

Block decode_block(BlockKind kind, std::span<const char> bytes) {
  Block block;
  if (std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; })) {
    block.health = Block::Health::empty;
    return block;
  }
  const std::size_t length = get(bytes, kLengthAt, 4);
  if (std::string_view(bytes.data(), magic(kind).size()) != magic(kind)) return block;
  if (length > bytes.size() - kBlockHeaderBytes) return block;
  if (get(bytes, kCrcAt, 4) != checksum(bytes, length)) return block;

  block.format = static_cast<std::uint32_t>(get(bytes, kFormatAt, 4));
  block.sequence = get(bytes, kSequenceAt, 8);
  block.health = block.format == kBlockFormat ? Block::Health::whole : Block::Health::foreign;
  block.json.assign(bytes.data() + kBlockHeaderBytes, length);
  return block;
}

}  // namespace rollbackd::record
