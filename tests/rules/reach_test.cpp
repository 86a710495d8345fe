// How long samples are kept: as far back as a rule that reads them may look.
#include <gtest/gtest.h>

#include "rules/rule_set.hpp"

namespace rollbackd::rules {
namespace {

Duration reach(const std::string& expr) {
  std::vector<config::Problem> problems;
  const std::string file = R"({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": ")" + expr + R"("}]}]})";
  const RuleSet rules(parse_groups(file, "reach.json", std::nullopt, problems));
  EXPECT_TRUE(problems.empty()) << expr << ": " << problems.front().text();
  return rules.reach_of({{"__name__", "x"}, {"service", "shop"}, {"environment", "prod"}});
}

TEST(Reach, IsTheLongestThatARuleLooksBackWithAMinuteToSpare) {
  EXPECT_EQ(reach("rate(x[30m]) > 1"), 31min);
  EXPECT_EQ(reach("rate(x[30m] offset 10m) > 1"), 41min);
  EXPECT_EQ(reach("max_over_time(x[30m:1m]) > 1"), 36min) << "a selector looks back five minutes from the subquery's first step";
  EXPECT_EQ(reach("rate(x[30m]) > 1 and rate(x[40m]) > 1"), 41min);
  EXPECT_EQ(reach("rate(y[30m]) > 1"), 6min) << "nobody reads x: what a query of an instant needs";
}

TEST(Reach, AnAnchoredOrSmoothedWindowLooksAtWhatLiesBeforeIt) {
  EXPECT_EQ(reach("rate(x[30m] anchored) > 1"), 36min);
  EXPECT_EQ(reach("rate(x[30m] smoothed) > 1"), 36min);
}

}  // namespace
}  // namespace rollbackd::rules
