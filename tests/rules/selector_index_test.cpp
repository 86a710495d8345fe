#include "rules/selector_index.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace rollbackd::rules {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::uint32_t> rules_reading(const SelectorIndex& index, const Labels& labels) {
  std::vector<std::uint32_t> out;
  for (const series::Reader& reader : index.readers_of(labels)) out.push_back(reader.rule);
  return out;
}

TEST(SelectorIndex, FindsASelectorHoweverItNamesItsSeries) {
  const char* const texts[] = {
      R"(up)",                                          // 0
      R"(up{job="a"})",                                 // 1
      R"({job="a"})",                                   // 2
      R"({__name__=~"u.*"})",                           // 3
      R"({__name__!~"u.*",job!=""})",                   // 4
      R"(up{job!="a"})",                                // 5
      R"(up{job=~"a|b",service="s"})",                  // 6
      R"({__name__=~"up|down",instance="x",job="b"})",  // 7
      R"(up{zone=""})",                                 // 8
  };
  SelectorIndex index;
  std::vector<promql::ExprPtr> kept;
  for (std::uint32_t n = 0; n < std::size(texts); ++n) {
    kept.push_back(promql::parse(texts[n]).value());
    index.add({n, 0}, kept.back().get());
  }
  index.ready();

  EXPECT_THAT(rules_reading(index, Labels{{"__name__", "up"}, {"job", "a"}}), ElementsAre(0, 1, 2, 3, 8));
  EXPECT_THAT(rules_reading(index, Labels{{"__name__", "up"}, {"job", "b"}, {"service", "s"}}), ElementsAre(0, 3, 5, 6, 8));
  EXPECT_THAT(rules_reading(index, Labels{{"__name__", "down"}, {"instance", "x"}, {"job", "b"}}), ElementsAre(4, 7));
  EXPECT_THAT(rules_reading(index, Labels{{"__name__", "up"}, {"zone", "z"}}), ElementsAre(0, 3, 5));
  EXPECT_THAT(rules_reading(index, Labels{{"job", "a"}}), ElementsAre(2, 4)) << "a series without a name";
  EXPECT_THAT(rules_reading(index, Labels{{"__name__", "down"}}), IsEmpty());
}

TEST(SelectorIndex, NamesEachSelectorOfARuleOnce) {
  const promql::ExprPtr both = promql::parse(R"(a / a{x="1"})").value();
  SelectorIndex index;
  const auto selectors = promql::selectors(*both);
  for (std::uint32_t n = 0; n < selectors.size(); ++n) index.add({5, n}, selectors[n]);
  index.ready();

  EXPECT_THAT(index.readers_of(Labels{{"__name__", "a"}, {"x", "1"}}), ElementsAre(series::Reader{5, 0}, series::Reader{5, 1}));
  EXPECT_THAT(index.readers_of(Labels{{"__name__", "a"}}), ElementsAre(series::Reader{5, 0}));
}

}  // namespace
}  // namespace rollbackd::rules
