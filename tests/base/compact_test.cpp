#include "base/compact.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace rollbackd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::string kLong(100, 'x');  // Not kept within the string itself: who destroys it twice, or never, is found by the sanitizers.

TEST(Packed, KeepsItsElementsInOrderAsItGrowsAndShrinks) {
  Packed<std::string> packed;
  EXPECT_THAT(packed, IsEmpty());
  EXPECT_EQ(sizeof packed, sizeof(void*));
  for (const char* text : {"a", "b", "c"}) packed.push_back(text + kLong);
  packed.push_front("z" + kLong);
  EXPECT_THAT(packed, ElementsAre("z" + kLong, "a" + kLong, "b" + kLong, "c" + kLong));
  packed.erase(&packed[1]);
  packed.shrink_to_fit();
  EXPECT_THAT(packed, ElementsAre("z" + kLong, "b" + kLong, "c" + kLong));
  packed.erase(&packed[2]);
  EXPECT_EQ(packed.back(), "b" + kLong);
}

TEST(Packed, IsCopiedWholeAndMovedAway) {
  const Packed<std::string> first{"a" + kLong, "b" + kLong};
  Packed<std::string> copy = first;
  copy.push_back("c" + kLong);
  EXPECT_EQ(first.size(), 2U);
  Packed<std::string> moved = std::move(copy);
  EXPECT_EQ(moved.size(), 3U);
  moved = first;
  EXPECT_THAT(moved, ElementsAre("a" + kLong, "b" + kLong));
  moved = {};
  EXPECT_TRUE(moved.empty());
}

TEST(Packed, HoldsWhatCanOnlyBeMoved) {
  Packed<std::unique_ptr<int>> packed;
  for (int n = 0; n < 5; ++n) packed.push_back(std::make_unique<int>(n));
  EXPECT_EQ(*packed[4], 4);
}

TEST(Rare, ReadsAsNothingUntilItIsThere) {
  Rare<std::string> rare;
  EXPECT_EQ(*rare, "");
  EXPECT_FALSE(rare);
  rare.edit() = kLong;
  const Rare<std::string> copy = rare;
  rare.edit() = "other";
  EXPECT_EQ(*copy, kLong) << "a copy stands by itself";
  rare.reset();
  EXPECT_TRUE(rare->empty());
}

}  // namespace
}  // namespace rollbackd
