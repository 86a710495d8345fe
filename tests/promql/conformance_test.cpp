// Prometheus's own scripts, where they lie beside the project; they are never copied into it.
#include "tests/promql/conformance.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

namespace rollbackd::promql::conformance {
namespace {

/// What the engine is known to do. Raise `passed` and lower `failed` with every improvement, never the other way.
struct Known {
  std::string file;
  int passed = 0;
  int failed = 0;
};

class Scripts : public testing::TestWithParam<Known> {};

TEST_P(Scripts, PassAsOftenAsTheyEverDid) {
  const auto path = std::filesystem::path(ROLLBACKD_SOURCE_DIR) / ".." / "shared" / "promqltest" / GetParam().file;
  std::ifstream in(path);
  if (!in) GTEST_SKIP() << path << " is not there: put Prometheus's promql/promqltest/testdata beside the project";
  std::ostringstream script;
  script << in.rdbuf();

  const Report report = run(script.str());

  std::cout << GetParam().file << ": " << report.passed << " passed, " << report.skipped_total() << " skipped, " << report.failed.size()
            << " failed\n";
  for (const auto& [reason, count] : report.skipped) std::cout << "  skipped " << count << ": " << reason << '\n';
  for (const Report::Failure& f : report.failed) std::cout << "  line " << f.line << ": " << f.expression << "\n    " << f.why << '\n';
  EXPECT_GE(report.passed, GetParam().passed);
  EXPECT_LE(static_cast<int>(report.failed.size()), GetParam().failed);
}

INSTANTIATE_TEST_SUITE_P(Promqltest, Scripts,
                         testing::Values(Known{"literals.test", 25, 0}, Known{"operators.test", 143, 0}, Known{"selectors.test", 31, 0},
                                         Known{"aggregators.test", 142, 0}, Known{"staleness.test", 17, 0}, Known{"collision.test", 2, 0},
                                         Known{"functions.test", 292, 0}),
                         [](const auto& param) { return param.param.file.substr(0, param.param.file.find('.')); });

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
