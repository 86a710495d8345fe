#include "base/ids.hpp"

#include <gtest/gtest.h>

namespace rollbackd {
namespace {

TEST(UuidV7, HasVersionVariantAndTheMillisecondsInFront) {
  // The example of RFC 9562, appendix A.6.
  const std::array<std::uint8_t, 10> random{0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f};
  EXPECT_EQ(make_uuid_v7(Instant::from_millis(0x017F22E279B0), random), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}

TEST(UuidV7, SortsByTime) {
  const std::array<std::uint8_t, 10> high{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, low{};
  EXPECT_LT(make_uuid_v7(Instant::from_millis(1'000'000), high), make_uuid_v7(Instant::from_millis(1'000'001), low));
}

TEST(ReleaseId, TakesVersionsAndRefusesWhatCouldBecomeAPath) {
  for (const char* good : {"v1", "2026.11.20-3+build_4", "A"}) {
    EXPECT_TRUE(is_release_id(good)) << good;
  }
  for (const char* bad : {"", ".", "..", "-v", "_v", "a/b", "a b", "a\n", "a..b", "ä", "v1;rm"}) {
    EXPECT_FALSE(is_release_id(bad)) << bad;
    EXPECT_EQ(check_release_id(bad).error().code, Errc::invalid_argument);
  }
  EXPECT_TRUE(is_release_id(std::string(128, 'a')));
  EXPECT_FALSE(is_release_id(std::string(129, 'a')));
  EXPECT_TRUE(check_release_id("v1"));
}

TEST(Name, IsAtMost64CharactersAndHoldsNoSlash) {
  EXPECT_TRUE(is_name("shop-api"));
  EXPECT_TRUE(is_name(std::string(64, 'a')));
  EXPECT_FALSE(is_name(std::string(65, 'a')));
  EXPECT_FALSE(is_name("a/b"));
  EXPECT_FALSE(is_name("a+b"));
  EXPECT_FALSE(is_name(""));
}

}  // namespace
}  // namespace rollbackd
