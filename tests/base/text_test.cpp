#include "base/text.hpp"

#include <gtest/gtest.h>

namespace rollbackd {
namespace {

TEST(Text, SplitsAtEachSeparatorAndJoinsBack) {
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(split("", ','), std::vector<std::string>{""});
  EXPECT_EQ(join(split("a,,b", ','), ","), "a,,b");
  EXPECT_EQ(join({}, ","), "");
}

TEST(Text, TrimsSpaceOnBothSides) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
}

TEST(Text, CutsAtAUtf8Boundary) {
  EXPECT_EQ(cut("abc", 3), "abc");
  EXPECT_EQ(cut("abcd", 3), "abc…");
  EXPECT_EQ(cut("a\xc3\xa4z", 2), "a…");
  EXPECT_EQ(cut("\xf0\x9f\x98\x80", 3), "…");
}

TEST(Text, ShowsControlCharactersAndBadUtf8) {
  EXPECT_EQ(printable("a\n\x1b[31m"), "a\\x0a\\x1b[31m");
  EXPECT_EQ(printable("\xc3\xa4"), "\xc3\xa4");
  EXPECT_EQ(printable("\xc3"), "\\xc3");
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");
}

TEST(Text, NearestFindsATypoAndNothingFarAway) {
  const std::vector<std::string> words{"interval", "timeout", "url"};
  EXPECT_EQ(nearest("intervall", words), "interval");
  EXPECT_EQ(nearest("ulr", words), "");
  EXPECT_EQ(nearest("urls", words), "url");
  EXPECT_EQ(nearest("zzzzzz", words), "");
}

}  // namespace
}  // namespace rollbackd
