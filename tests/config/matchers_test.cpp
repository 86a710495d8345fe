// Alertmanager's matchers: what its syntax allows, and what wrong ones are told.
#include "config/matchers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rollbackd::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Op = AlertMatcher::Op;

std::vector<AlertMatcher> parsed(const std::string& text) {
  auto out = parse_alert_matchers(text);
  EXPECT_TRUE(out.has_value()) << (out ? "" : out.error().text());
  return out ? *out : std::vector<AlertMatcher>{};
}

std::string refused(const std::string& text) {
  const auto out = parse_alert_matchers(text);
  return out ? "read" : out.error().text();
}

TEST(Matchers, EachOperatorIsRead) {
  EXPECT_THAT(parsed(R"(severity="critical")"), ElementsAre(AlertMatcher{"severity", Op::equal, "critical"}));
  EXPECT_THAT(parsed(R"(team!="x")"), ElementsAre(AlertMatcher{"team", Op::not_equal, "x"}));
  EXPECT_THAT(parsed(R"(service=~"shop.*")"), ElementsAre(AlertMatcher{"service", Op::matches, "shop.*"}));
  EXPECT_THAT(parsed(R"(_a1!~"^b|c$")"), ElementsAre(AlertMatcher{"_a1", Op::not_matches, "^b|c$"}));
}

TEST(Matchers, QuotesAreNeededOnlyForWhatWouldBeReadOtherwise) {
  EXPECT_THAT(parsed(" severity = critical "), ElementsAre(AlertMatcher{"severity", Op::equal, "critical"}));
  EXPECT_THAT(parsed("env=~prod|stage"), ElementsAre(AlertMatcher{"env", Op::matches, "prod|stage"}));
  EXPECT_THAT(parsed(R"(a="b, c = \"d\"\\\n")"), ElementsAre(AlertMatcher{"a", Op::equal, "b, c = \"d\"\\\n"}));
  EXPECT_THAT(parsed(R"(a="")"), ElementsAre(AlertMatcher{"a", Op::equal, ""}));
  EXPECT_THAT(parsed("a=\"gr\xc3\xbc\xc3\x9f\""), ElementsAre(AlertMatcher{"a", Op::equal, "gr\xc3\xbc\xc3\x9f"}));
}

TEST(Matchers, OneTextMayHoldSeveral) {
  const auto both = ElementsAre(AlertMatcher{"a", Op::equal, "b"}, AlertMatcher{"c", Op::not_equal, "d"});

  EXPECT_THAT(parsed(R"({a="b",c!="d"})"), both);
  EXPECT_THAT(parsed(R"( { a = "b" , c != d , } )"), both);
  EXPECT_THAT(parsed(R"(a="b", c!="d")"), both);
}

TEST(Matchers, AListIsReadAsOneConditionOfAllItsTexts) {
  const std::vector<std::string> texts{"a=b", R"({c="d", e="f"})"};
  const std::vector<std::string> broken{"a=b", "c"};

  const auto all = parse_alert_matchers(texts);
  const auto error = parse_alert_matchers(broken);
  const auto none = parse_alert_matchers(std::span<const std::string>());

  ASSERT_TRUE(all.has_value());
  EXPECT_EQ(all->size(), 3U);
  ASSERT_FALSE(error.has_value());
  EXPECT_EQ(error.error().code, Errc::invalid_argument);
  ASSERT_TRUE(none.has_value());
  EXPECT_TRUE(none->empty());
}

TEST(Matchers, AWrongOneIsToldWhereAndWhatToDo) {
  EXPECT_EQ(
      refused(R"(severity "critical")"),
      R"("severity "critical"" is not a matcher: column 10: an operator is missing at ""critical"" (next: use one of =, !=, =~ and !~))");
  EXPECT_THAT(refused(""), HasSubstr("column 1: a label's name is missing"));
  EXPECT_THAT(refused("{}"), HasSubstr("column 2: a label's name is missing"));
  EXPECT_THAT(refused("1a=b"), HasSubstr("column 1: a label's name is missing"));
  EXPECT_THAT(refused("a="), HasSubstr("column 3: a value is missing (next: put it in quotes; the empty one is written \"\""));
  EXPECT_THAT(refused("a==b"), HasSubstr("column 3: a value is missing at \"=b\""));
  EXPECT_THAT(refused(R"(a="b)"), HasSubstr("column 3: the quotes are not closed"));
  EXPECT_THAT(refused(R"(a="\d")"), HasSubstr("column 4: only \\\", \\\\ and \\n are known"));
  EXPECT_THAT(refused(R"(a="b" c="d")"), HasSubstr("column 7: this was not expected after a condition"));
  EXPECT_THAT(refused("a=b c"), HasSubstr("column 5: this was not expected"));
  EXPECT_THAT(refused(R"({a="b")"), HasSubstr("the brace is not closed"));
  EXPECT_THAT(refused(R"(a="b"})"), HasSubstr("column 6: this was not expected"));
  EXPECT_THAT(refused(R"(a=~"(")"), HasSubstr("column 4: no regular expression: missing ): ("));
}

TEST(Matchers, ThereIsABoundOnHowManyOneTextHolds) {
  std::string text = "a=b";
  for (int i = 1; i < 64; ++i) text += ",a=b";

  EXPECT_EQ(parsed(text).size(), 64U);
  EXPECT_THAT(refused(text + ",a=b"), HasSubstr("more than 64 conditions"));
}

TEST(Matchers, AnyPrefixIsReadOrRefused) {
  const std::string text = R"({a="b\\\"\n",c!~"d.*" , e=f,})";

  for (std::size_t n = 0; n < text.size(); ++n) EXPECT_NE(refused(text.substr(0, n)), "read") << n;

  EXPECT_EQ(parsed(text).size(), 3U);
}

}  // namespace
}  // namespace rollbackd::config
