// What a state file may hold after the disk had its way with it. By the first byte's low bits: a block ('0'), a service's state ('1'),
// an operation's record ('2'), a step and an outcome ('3').
#include <algorithm>
#include <cstdint>
#include <vector>

#include "model/operation.hpp"
#include "model/release.hpp"
#include "property.hpp"
#include "record/block.hpp"

using namespace rollbackd;
using record::Block, record::BlockKind;

namespace {

const ClockReading kClock{Instant::from_millis(1'760'000'000'000), {"boot", 5'000'000'000'000, 1'760'000'000'000'000'000}};

void check_block(const std::string& bytes) {
  std::vector<char> slot(bytes.begin(), bytes.end());
  slot.resize(std::max<std::size_t>(slot.size(), record::kBlockHeaderBytes));
  record::decode_block(BlockKind::state, slot);
  record::decode_block(BlockKind::record, slot);

  std::vector<char> written(record::kBlockHeaderBytes + bytes.size() + 7);
  record::encode_block(BlockKind::record, bytes.size(), bytes, written);
  const Block read = record::decode_block(BlockKind::record, written);
  fuzz::property(read.health == Block::Health::whole && read.json == bytes && read.sequence == bytes.size(), "a block reads back");
  fuzz::property(record::decode_block(BlockKind::state, written).health == Block::Health::corrupt, "a record is no state");

  const std::size_t bit = bytes.size() * 2654435761u % ((written.size() - 7) * 8);  // Any one of those that the checksum covers.
  written[bit / 8] = static_cast<char>(written[bit / 8] ^ (1 << (bit % 8)));
  fuzz::property(record::decode_block(BlockKind::record, written).health == Block::Health::corrupt, "one flipped bit is noticed");
}

/// What was read once is written and read again without a change.
template <class Read, class Write>
void check_json(const std::string& text, Read read, Write write) {
  const auto json = Json::parse(text);
  if (!json) return;
  const auto value = read(*json);
  if (!value) {
    fuzz::property(value.error().code == Errc::corrupt || value.error().code == Errc::unsupported, "it is called corrupt",
                   value.error().text());
    return;
  }
  const std::string written = write(*value).dump();
  const auto reread_json = Json::parse(written);
  fuzz::property(reread_json.has_value(), "what is written is JSON", written);
  const auto reread = read(*reread_json);
  fuzz::property(reread.has_value(), "what is written can be read", written);
  fuzz::property(write(*reread).dump() == written, "reading it changes nothing", written + "\n" + write(*reread).dump());
}

template <class T>
void check_stored(const std::string& text) {
  check_json(
      text, [](const Json& json) { return T::from_json(json, kClock); }, [](const T& value) { return value.to_json(kClock); });
}
template <class T>
void check_sent(const std::string& text) {
  check_json(
      text, [](const Json& json) { return T::from_json(json); }, [](const T& value) { return value.to_json(); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 64 << 10) return 0;
  const std::string text(data + 1, data + size);
  switch (data[0] & 3) {
    case 0: check_block(text); break;
    case 1: check_stored<ServiceState>(text); break;
    case 2: check_stored<OperationRecord>(text); break;
    default: check_sent<Step>(text); check_sent<Outcome>(text);
  }
  return 0;
}
