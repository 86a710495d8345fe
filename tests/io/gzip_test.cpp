#include "io/gzip.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/gzip.hpp"

namespace rollbackd::io {
namespace {

using test::gzip;
using testing::HasSubstr;

/// Everything, in pieces of `bytes_max`; the error's text in brackets where it ends with one.
std::string unpacked(const std::string& packed, std::size_t bytes_max) {
  Gunzip data(packed);
  std::string out;
  while (true) {
    const auto piece = data.next(bytes_max);
    if (piece.has_error()) return out + "[" + piece.error().why + "]";
    EXPECT_LE(piece->size(), bytes_max);
    if (piece->empty()) return out;
    out += *piece;
  }
}

TEST(Gunzip, GivesTheSameInPiecesOfAnySize) {
  std::string plain;
  for (int i = 0; i < 1000; ++i) plain += "line " + std::to_string(i * 7919) + "\n";
  const std::string packed = gzip(plain);

  ASSERT_LT(packed.size(), plain.size());
  for (const std::size_t size : {1UL, 7UL, 4096UL, 1UL << 20}) EXPECT_EQ(unpacked(packed, size), plain) << size;
}

TEST(Gunzip, MembersOneAfterAnotherAreOneText) { EXPECT_EQ(unpacked(gzip("first ") + gzip("") + gzip("second"), 3), "first second"); }

TEST(Gunzip, APieceOfABombIsNoLargerThanAskedFor) {
  const std::string packed = gzip(std::string(32 << 20, 'x'));
  Gunzip bomb(packed);

  const auto piece = bomb.next(1000);

  ASSERT_TRUE(piece.has_value());
  EXPECT_EQ(*piece, std::string(1000, 'x'));
}

TEST(Gunzip, DamagedAndCutOffDataIsAnErrorAndStaysOne) {
  const std::string packed = gzip("some text that is long enough to be worth packing, packing, packing");
  std::string damaged = packed;
  damaged[damaged.size() - 6] ^= 0x40;  // Within the checksum.

  EXPECT_THAT(unpacked(packed.substr(0, packed.size() - 1), 4096), HasSubstr("ends too early"));
  EXPECT_THAT(unpacked(packed.substr(0, 5), 4096), HasSubstr("ends too early"));
  EXPECT_THAT(unpacked("", 4096), HasSubstr("ends too early"));
  EXPECT_THAT(unpacked(damaged, 4096), HasSubstr("incorrect data check"));
  EXPECT_THAT(unpacked("# TYPE up gauge", 4096), HasSubstr("incorrect header check"));
  EXPECT_THAT(unpacked(packed + "garbage", 4096), HasSubstr("incorrect header check"));
  Gunzip twice(damaged);
  while (twice.next(8).has_value()) {
  }
  EXPECT_EQ(twice.next(8).error().code, Errc::corrupt);
}

}  // namespace
}  // namespace rollbackd::io
