#include "checks/patterns.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rollbackd::checks {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// "line:names" of each line with a match.
std::vector<std::string> found(const std::map<std::string, std::string>& patterns, std::string_view lines, bool by_blocks = true) {
  const Patterns compiled = Patterns::make(patterns).value();
  EXPECT_EQ(compiled.by_blocks(), by_blocks);
  std::vector<std::string> out;
  compiled.scan(lines, [&](std::string_view line, const std::vector<int>& matching) {
    std::string text(line);
    std::vector<int> sorted = matching;
    std::sort(sorted.begin(), sorted.end());
    for (const int i : sorted) text += ":" + compiled.names()[static_cast<std::size_t>(i)];
    out.push_back(text);
  });
  return out;
}

TEST(Patterns, FindsEachLineOnceWithAllItsPatterns) {
  EXPECT_THAT(found({{"a", "FATAL"}, {"b", "panic"}}, "fine\nFATAL panic FATAL\nfine\npanic\n"),
              ElementsAre("FATAL panic FATAL:a:b", "panic:b"));
}

TEST(Patterns, AMatchNeverReachesOverALineEnd) {
  EXPECT_THAT(found({{"a", "one\\s+two"}, {"b", "x[^y]*z"}}, "one\ntwo\nx\nz\n"), IsEmpty());
  EXPECT_THAT(found({{"a", "one\\s+two"}}, "one  two\n"), ElementsAre("one  two:a"));
}

TEST(Patterns, AnchorsMeanTheLine) {
  EXPECT_THAT(found({{"a", "^start"}, {"b", "end$"}}, "start\nno start\nthe end\nend no\nstart"),
              ElementsAre("start:a", "the end:b", "start:a"));
  EXPECT_THAT(found({{"empty", "^$"}}, "x\n\ny\n"), ElementsAre(":empty"));
}

TEST(Patterns, FlagsOfOnePatternAreItsOwn) {
  EXPECT_THAT(found({{"a", "(?i)fatal"}, {"b", "panic|oops"}}, "FaTaL\nPANIC\noops\n"), ElementsAre("FaTaL:a", "oops:b"));
}

TEST(Patterns, WhatMeansSomethingElseInABlockIsLookedAtLineByLine) {
  EXPECT_THAT(found({{"a", "\\Astart"}}, "x\nstart\n", false), ElementsAre("start:a"));
  EXPECT_THAT(found({{"a", "end\\z"}}, "end\nx\n", false), ElementsAre("end:a"));
  EXPECT_THAT(found({{"a", "\\Qa.b"}}, "a.b\naxb\n", false), ElementsAre("a.b:a"));
  EXPECT_THAT(found({{"a", "(?-m)^x$"}}, "y\nx\n", false), ElementsAre("x:a"));
}

TEST(Patterns, APatternThatMatchesNothingAtAllMatchesEachLine) { EXPECT_THAT(found({{"a", "x*"}}, "a\nb\n"), ElementsAre("a:a", "b:a")); }

TEST(Patterns, NoPatternsMatchNoLine) { EXPECT_THAT(found({}, "a\nb\n", false), IsEmpty()); }

TEST(Patterns, ABrokenPatternIsNamed) {
  const auto patterns = Patterns::make({{"fine", "a"}, {"broken", "("}});

  ASSERT_TRUE(patterns.has_error());
  EXPECT_EQ(patterns.error().code, Errc::invalid_config);
  EXPECT_THAT(patterns.error().what, testing::HasSubstr("broken"));
}

}  // namespace
}  // namespace rollbackd::checks
