#include <gtest/gtest.h>

#include "series/store.hpp"

namespace rollbackd::series {
namespace {

Matcher made(Matcher::Op op, std::string value) { return Matcher::make("job", op, std::move(value)).value(); }

TEST(Matcher, ARegularExpressionMustMatchTheWholeValue) {
  const Matcher m = made(Matcher::Op::regex, "api.*");

  EXPECT_TRUE(m.matches("api-server"));
  EXPECT_FALSE(m.matches("my-api"));
}

TEST(Matcher, ALabelThatIsAbsentIsTheEmptyValue) {
  const Labels none;

  EXPECT_TRUE(made(Matcher::Op::equal, "").matches(none));
  EXPECT_TRUE(made(Matcher::Op::not_equal, "api").matches(none));
  EXPECT_TRUE(made(Matcher::Op::regex, ".*").matches(none));
  EXPECT_FALSE(made(Matcher::Op::regex, ".+").matches(none));
  EXPECT_FALSE(made(Matcher::Op::not_regex, "|api").matches(none));
}

TEST(Matcher, ADotMatchesALineBreak) { EXPECT_TRUE(made(Matcher::Op::regex, "a.b").matches("a\nb")); }

TEST(Matcher, ABadRegularExpressionSaysWhy) {
  const auto bad = Matcher::make("job", Matcher::Op::regex, "a(b");

  ASSERT_TRUE(bad.has_error());
  EXPECT_EQ(bad.error().code, Errc::invalid_argument);
  EXPECT_FALSE(bad.error().why.empty());
}

TEST(Matcher, ARegularExpressionThatGrowsTooLargeIsRefused) {
  EXPECT_TRUE(Matcher::make("job", Matcher::Op::regex, "((([a-z]{1000})x)y)z|(\\pL{900}){3}").has_error());
}

}  // namespace
}  // namespace rollbackd::series
