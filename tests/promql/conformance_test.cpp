// Prometheus's own scripts, where they lie beside the project; they are never copied into it.
#include "tests/promql/conformance.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

namespace rollbackd::promql::conformance {
namespace {

/// What the engine is known to do: nothing fails, and what is skipped is skipped for its reasons alone.
struct Known {
  std::string file;
  int passed = 0;
  int skipped = 0;
};

class Scripts : public testing::TestWithParam<Known> {};

TEST_P(Scripts, PassAsOftenAsTheyEverDid) {
  const auto path = std::filesystem::path(ROLLBACKD_SOURCE_DIR) / ".." / "shared" / "promqltest" / GetParam().file;
  std::ifstream in(path);
  if (!in) GTEST_SKIP() << path << " is not there: put Prometheus's promql/promqltest/testdata beside the project";
  std::ostringstream script;
  script << in.rdbuf();

  const Report report = run(script.str());

  std::cout << report.text(GetParam().file);
  EXPECT_EQ(report.passed, GetParam().passed);
  EXPECT_EQ(report.skipped_total(), GetParam().skipped);
  EXPECT_TRUE(report.failed.empty());
}

INSTANTIATE_TEST_SUITE_P(Promqltest, Scripts,
                         testing::Values(Known{"literals.test", 25, 0}, Known{"operators.test", 142, 72}, Known{"selectors.test", 31, 0},
                                         Known{"aggregators.test", 124, 36}, Known{"staleness.test", 17, 0}, Known{"collision.test", 2, 0},
                                         Known{"functions.test", 283, 148}),
                         [](const auto& param) { return param.param.file.substr(0, param.param.file.find('.')); });

TEST(OwnScripts, PassWithoutAnyLeftOut) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(ROLLBACKD_SOURCE_DIR) / "tests" / "promql" / "scripts")) {
    std::ifstream in(entry.path());
    std::ostringstream script;
    script << in.rdbuf();

    const Report report = run(script.str());

    EXPECT_GT(report.passed, 0) << entry.path();
    EXPECT_TRUE(report.failed.empty() && report.skipped.empty()) << report.text(entry.path().filename().string());
    ++files;
  }
  EXPECT_GE(files, 8);
}

TEST(ScriptRunner, HoldsAnnotationsAgainstEachOther) {
  const Report report = run(R"(
load 1m
  a 0+1x5

eval instant at 5m rate(a[5m])
  expect warn
  {} 0.016666

eval instant at 5m rate(a[5m])
  expect no_info
  {} 0.0166666

eval instant at 5m rate(a[5m])
  expect info msg: PromQL info: something else
  {} 0.0166666

eval instant at 5m rate(a[5m]) + on () group_left () quantile(2, a)
  expect info
  expect warn regex: quantile value .* got 2
  {} Inf

eval instant at 5m a
  expect nothing like this
  a 5

load 1m
  b 1 2 what

remember this
)");

  EXPECT_EQ(report.passed, 1);
  EXPECT_EQ(report.failed.size(), 6U) << report.text("script");
}

TEST(ScriptRunner, TellsAPassFromAFailure) {
  const Report report = run(R"(
load 1m
  a{x="1"} 0+10x5
  b 1 stale _x2 {{schema:0 sum:1 count:1}}

eval instant at 5m a
  a{x="1"} 50

eval instant at 5m a
  a{x="1"} 51

eval instant at 5m sum(a)
  {x="1"} 50

eval range from 0 to 2m step 1m a + 1
  {x="1"} 1 11 21

eval range from 0 to 2m step 1m a + 1
  {x="1"} 1 11 _

eval instant at 1m a + on(y) group_left a / a * on() a
  expect fail msg: no such message

eval instant at 4m b
  b {{schema:0 sum:1 count:1}}

eval instant at 4m limitk(1, a)
  a{x="1"} 40

eval instant at 1m "text"
  expect string "text"
)");

  EXPECT_EQ(report.passed, 3);
  EXPECT_EQ(report.failed.size(), 4U);
  EXPECT_EQ(report.skipped.at("native histograms"), 1);
  EXPECT_EQ(report.skipped.at("experimental: limitk"), 1);
}

}  // namespace
}  // namespace rollbackd::promql::conformance
