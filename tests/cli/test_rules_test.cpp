// `rollbackctl test rules`: the notation of series, the file's form, verdicts, and the same verdicts as promtool where it is installed.
#include "cli/test_rules.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/test_rules_series.hpp"
#include "series/store.hpp"
#include "tests/cli/run_ctl.hpp"

namespace rollbackd::cli {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// A directory of its own, gone with the test.
class TestRules : public testing::Test {
 protected:
  TestRules() {
    std::string path = (fs::temp_directory_path() / "test-rules-XXXXXX").string();
    directory_ = ::mkdtemp(path.data());
  }
  ~TestRules() override { fs::remove_all(directory_); }

  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = directory_ / name;
    std::ofstream(path) << text;
    return path;
  }
  Ran run(const std::string& name, std::vector<std::string> options = {}) const {
    std::vector<std::string> all{"test", "rules", (directory_ / name).string()};
    all.insert(all.end(), options.begin(), options.end());
    return ctl(all);
  }

  fs::path directory_;
};

std::string read(const fs::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

bool have_promtool() { return std::system("command -v promtool >/dev/null 2>&1") == 0; }

/// promtool's verdict. Its words go nowhere.
bool promtool_passes(const std::string& file) { return std::system(("promtool test rules '" + file + "' >/dev/null 2>&1").c_str()) == 0; }

std::string values_of(const std::string& line) {
  const auto read = parse_series(line);
  if (!read) return "error";
  std::string out;
  for (const auto& v : read->values) {
    std::ostringstream one;
    if (!v) {
      one << "_";
    } else if (series::is_stale_nan(*v)) {
      one << "stale";
    } else {
      one << *v;
    }
    out += (out.empty() ? "" : " ") + one.str();
  }
  return out;
}

TEST(SeriesNotation, SaysWhatPromtoolReads) {
  EXPECT_EQ(values_of("x 1 -2 +3 .5 1e3 1.5e-1 0x"), "error");
  EXPECT_EQ(values_of("x 1 -2 +3 .5 1e3 1.5e-1"), "1 -2 3 0.5 1000 0.15");
  EXPECT_EQ(values_of("x 1x3"), "1 1 1 1") << "the first and three more";
  EXPECT_EQ(values_of("x 1+2x3 10-5x2 -1-1x1"), "1 3 5 7 10 5 0 -1 -2");
  EXPECT_EQ(values_of("x _ _x3 1"), "_ _ _ _ 1");
  EXPECT_EQ(values_of("x 1 stale  NaN inf -Inf"), "1 stale nan inf -inf");
  EXPECT_EQ(values_of("x 010 08"), "8 8") << "whole numbers as in Go";
  EXPECT_EQ(values_of(R"({__name__="x",a="}\"{ b"} 1)"), "1");
  EXPECT_EQ(values_of("x 1_000 1e-400"), "1000 0");
  EXPECT_EQ(values_of("x"), "");
  for (const char* bad : {"x {a=\"1\"} 1", "x 1,2", "x 1x", "x 1+1", "x 1 1x-1", "x _1", "x stalex3", "x{a=1} 1", "x{a=\"1\" b=\"2\"} 1",
                          "x 1#", "x 1xx2", " 1", "x 1_", "x 1e400", "on 1", "NaN 1"})
    EXPECT_EQ(values_of(bad), "error") << bad;
  EXPECT_FALSE(parse_series("x 1x99999999999"));
  EXPECT_TRUE(parse_series("x {{count:3 sum:2 buckets:[1 2]}}x3 1")->histogram);
}

TEST(SeriesNotation, AMetricKeepsEmptyLabelsOnlyWithoutAName) {
  EXPECT_EQ(parse_metric("x{a=\"\",b=\"1\"}")->pairs, (std::vector<Labels::Pair>{{"__name__", "x"}, {"b", "1"}}));
  EXPECT_EQ(parse_metric("{b=\"1\", a=\"\",}")->pairs, (std::vector<Labels::Pair>{{"a", ""}, {"b", "1"}}));
  EXPECT_EQ(parse_metric("{\"x.y\", 'l.m'='1'}")->pairs, (std::vector<Labels::Pair>{{"__name__", "x.y"}, {"l.m", "1"}}));
  EXPECT_TRUE(parse_metric("")->pairs.empty());
  EXPECT_TRUE(parse_metric("{a=\"1\",a=\"2\"}")->repeats);
  for (const char* bad : {"x{a!=\"1\"}", "x{a}", "x{,}", "x y", "x{", "1"}) EXPECT_FALSE(parse_metric(bad)) << bad;
}

const char* const kRules = R"(
groups:
- name: first
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
- name: second
  rules:
  - alert: AllDown
    expr: job:up:sum == 0
    for: 2m
    labels: {severity: page, cluster: "{{ $externalLabels.cluster }}"}
    annotations: {summary: "all of {{ $labels.job }} down, {{ $value }} left", link: "{{ $externalURL }}/x"}
)";

const char* const kTest = R"(
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
- name: all down
  interval: 1m
  external_labels: {cluster: eu}
  external_url: http://p
  input_series:
  - {series: 'up{job="a",instance="1"}', values: '1x2 0x10'}
  - {series: 'up{job="a",instance="2"}', values: '0x12'}
  alert_rule_test:
  - {eval_time: 4m, alertname: AllDown, exp_alerts: []}
  - eval_time: 5m30s
    alertname: AllDown
    exp_alerts:
    - exp_labels: {severity: page, job: a, cluster: eu}
      exp_annotations: {summary: "all of a down, 0 left", link: http://p/x}
  - {eval_time: 5m, alertname: NoSuchAlert}
  promql_expr_test:
  - {expr: 'job:up:sum', eval_time: 3m, exp_samples: [{labels: 'job:up:sum{job="a"}', value: 0}]}
  - {expr: 'count(up)', eval_time: 2m, exp_samples: [{value: 2}]}
  - {expr: '1 + 1', eval_time: 2m, exp_samples: [{value: 2}]}
)";

TEST_F(TestRules, ATestThatHoldsPasses) {
  write("rules.yml", kRules);
  write("test.yml", kTest);

  const Ran ran = run("test.yml");

  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "Unit Testing:  " + (directory_ / "test.yml").string() + "\n  SUCCESS\n\n");
  EXPECT_EQ(ran.err, "");
}

/// The test with one text put in place of another.
std::string with(std::string text, const std::string& old, const std::string& now) {
  const auto at = text.find(old);
  EXPECT_NE(at, std::string::npos) << old;
  return text.replace(at, old.size(), now);
}

TEST_F(TestRules, WhatDiffersFailsAndIsShownAsExpectedAndGot) {
  write("rules.yml", kRules);
  write("test.yml", with(with(kTest, "0 left", "1 left"), "value: 2}", "value: 3}"));

  const Ran ran = run("test.yml");

  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("  FAILED:\n    name: all down,\n    alertname: AllDown, time: 5m30s, \n        exp:[\n            0:\n"));
  EXPECT_THAT(ran.err, HasSubstr(R"(Annotations:{link="http://p/x", summary="all of a down, 0 left"})"));
  EXPECT_THAT(ran.err, HasSubstr("    expr: \"count(up)\", time: 2m,\n        exp: {} 3E+00\n        got: {} 2E+00\n"));
  EXPECT_THAT(run("test.yml", {"--diff"}).err,
              AllOf(HasSubstr("\n            -   Annotations:{link=\"http://p/x\", summary=\"all of a down, 1 left\"}"),
                    HasSubstr("\n            +   Annotations:{link=\"http://p/x\", summary=\"all of a down, 0 left\"}")));
}

TEST_F(TestRules, RunChoosesTestsByTheirNames) {
  write("rules.yml", kRules);
  write("test.yml", with(kTest, "0 left", "1 left"));

  EXPECT_EQ(run("test.yml", {"--run", "no such", "--run", "^down"}).code, 0);
  EXPECT_EQ(run("test.yml", {"--run", "no such", "--run", "down$"}).code, 1);
  EXPECT_NE(run("test.yml", {"--run", "("}).code, 0);
}

TEST_F(TestRules, TheOutcomeIsJsonAndJUnitToo) {
  write("rules.yml", kRules);
  write("test.yml", with(kTest, "value: 2}", "value: 3}"));
  const fs::path junit = directory_ / "out.xml";

  const Ran ran = run("test.yml", {"--format", "json", "--junit", junit.string()});

  EXPECT_EQ(ran.code, 1);
  const auto json = Json::parse(ran.out);
  ASSERT_TRUE(json) << ran.out;
  EXPECT_FALSE((*json)["ok"].bool_or(true));
  EXPECT_EQ((*json)["files"].elements()[0]["tests"].elements()[0]["name"].string_or(""), "all down");
  EXPECT_THAT(read(junit), AllOf(testing::StartsWith("<testsuites><testsuite name=\""), HasSubstr(R"(tests="1" failures="1" errors="0")"),
                                 HasSubstr(R"(<testcase name="all down"><failure>    expr: &#34;count(up)&#34;)")));

  write("broken.yml", "tests: 1");
  EXPECT_EQ(run("broken.yml", {"--junit", junit.string()}).code, 1);
  EXPECT_THAT(read(junit), AllOf(HasSubstr(R"(failures="0" errors="1")"), HasSubstr("<error>")));
}

TEST_F(TestRules, NativeHistogramsAreSkippedAndSaySo) {
  write("rules.yml",
        "groups: [{name: g, rules: [{record: r, expr: 'h + 1'}, {alert: A, expr: 'absent(r)'}, {alert: B, expr: 'absent(y)'}]}]");
  write("test.yml", R"(
rule_files: [rules.yml]
tests:
- input_series: [{series: h, values: '{{count:1 sum:1 buckets:[1]}}'}, {series: x, values: 1}]
  alert_rule_test: [{eval_time: 0, alertname: A, exp_alerts: [{exp_labels: {a: b}}]}, {eval_time: 0, alertname: B, exp_alerts: [{}]}]
  promql_expr_test:
  - {expr: h, eval_time: 0, exp_samples: [{labels: h, histogram: '{{count:1 sum:1 buckets:[1]}}'}]}
  - {expr: x, eval_time: 0, exp_samples: [{labels: x, value: 1}]}
)");

  const Ran ran = run("test.yml");

  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.err, HasSubstr("SKIPPED: unnamed#0: alertname: A, time: 0s: native histograms are out of scope"));
  EXPECT_THAT(ran.err, HasSubstr("SKIPPED: unnamed#0: expr: \"h\""));
  EXPECT_THAT(ran.err, Not(HasSubstr("alertname: B")));
}

TEST_F(TestRules, AFileThatIsNotThereOrNoTestFileFails) {
  EXPECT_EQ(run("none.yml").code, 1);
  write("rules.yml", kRules);
  write("bad-rules.yml", "groups: [{name: g, rules: [{alert: A, expr: 'sum('}]}]");
  const struct {
    const char *what, *old, *now;
  } kBad[] = {
      {"an unknown field", "evaluation_interval: 1m", "evaluation_intervall: 1m"},
      {"a field unknown in a test", "  interval: 1m", "  intervall: 1m"},
      {"no duration", "eval_time: 3m", "eval_time: 3 minutes"},
      {"no number", "value: 2}", "value: '2'}"},
      {"no list", "rule_files: [rules.yml]", "rule_files: rules.yml"},
      {"a rule file with an error", "rule_files: [rules.yml]", "rule_files: [bad-rules.yml]"},
      {"labels that are none", "labels: 'job:up:sum{job=\"a\"}'", "labels: 'job:up:sum{job=a}'"},
      {"values that are none", "'1x2 0x10'", "'1x2, 0x10'"},
      {"an expression that is none", "expr: 'count(up)'", "expr: 'count(up'"},
      {"no alert's name", "alertname: NoSuchAlert", "alertname: ''"},
      {"a group twice", "tests:", "group_eval_order: [a, a]\ntests:"},
      {"a key twice", "evaluation_interval: 1m", "evaluation_interval: 1m\nevaluation_interval: 1m"},
      {"no rules", "rule_files: [rules.yml]", "rule_files: [none*.yml]"},
  };
  for (const auto& bad : kBad) {
    const std::string file = write("test.yml", with(kTest, bad.old, bad.now));
    EXPECT_EQ(run("test.yml").code, 1) << bad.what;
    if (have_promtool()) {
      EXPECT_FALSE(promtool_passes(file)) << bad.what;
    }
  }
}

/// Whether each file passed, in order, from what a runner printed.
std::vector<bool> verdicts(const std::string& said) {
  std::vector<bool> out;
  for (std::size_t at = said.find("Unit Testing:"); at != said.npos;) {
    const std::size_t next = said.find("Unit Testing:", at + 1);
    out.push_back(said.substr(at, next == said.npos ? said.npos : next - at).find("  FAILED:") == said.npos);
    at = next;
  }
  return out;
}

TEST_F(TestRules, PromtoolAgreesOnDrawnTests) {
  if (!have_promtool()) GTEST_SKIP() << "promtool is not installed";
  std::uint32_t state = 4;
  const auto draw = [&state](std::initializer_list<const char*> from) {
    state = state * 1664525U + 1013904223U;
    return std::string(*(from.begin() + (state >> 16U) % from.size()));
  };
  std::string files;
  std::vector<bool> ours;
  for (int i = 0; i < 60; ++i) {
    const std::string n = std::to_string(i);
    write("r" + n + ".yml", "groups: [{name: g, rules: [{record: r, expr: 'sum by (job) (" + draw({"x", "rate(x[97s])", "x offset 1m"}) +
                                ")'}, {alert: A, expr: 'r " + draw({"> 0", "== 0", "< 2", ">= 0"}) +
                                "', for: " + draw({"0s", "1m", "150s"}) + draw({"", ", keep_firing_for: 2m"}) +
                                ", annotations: {v: '{{ $value | humanize }}'}}]}]");
    const std::string file = write(
        "t" + n + ".yml",
        "rule_files: [r" + n + ".yml]\nevaluation_interval: " + draw({"30s", "1m"}) +
            "\ntests:\n- interval: 59s\n  input_series: [{series: 'x{job=\"a\"}', values: '_ " +
            draw({"1x9", "0x4 1x5", "0+60x9", "1x3 stale 1x3", "1 0 _x2 1x5", "3x3 0x6"}) +
            "'}]\n  alert_rule_test: [{eval_time: " + draw({"2m", "3m", "4m30s", "7m"}) + ", alertname: A, exp_alerts: [" +
            draw({"", "{exp_labels: {job: a}, exp_annotations: {v: '1'}}", "{exp_labels: {job: a}, exp_annotations: {v: '0'}}"}) +
            "]}]\n  promql_expr_test: [{expr: 'count(ALERTS) or vector(0)', eval_time: 4m7s, exp_samples: [{value: " + draw({"0", "1"}) +
            "}]}]\n");
    files += " '" + file + "'";
    ours.push_back(run("t" + n + ".yml").code == 0);
  }
  const fs::path said = directory_ / "said";
  static_cast<void>(std::system(("promtool test rules" + files + " >'" + said.string() + "' 2>&1").c_str()));

  EXPECT_EQ(ours, verdicts(read(said)));
  EXPECT_GT(std::count(ours.begin(), ours.end(), true), 3);
  EXPECT_GT(std::count(ours.begin(), ours.end(), false), 3);
}

TEST_F(TestRules, GroupsRunInTheOrderThatTheTestNames) {
  write("rules.yml", R"(
groups:
- {name: late, rules: [{record: b, expr: a + 1}]}
- {name: early, rules: [{record: a, expr: x}]}
)");
  const std::string test = R"(
rule_files: [rules.yml]
group_eval_order: [early, late]
tests:
- interval: 1m
  input_series: [{series: x, values: 0+1x5}]
  promql_expr_test: [{expr: b, eval_time: 5m, exp_samples: [{labels: b, value: 6}]}]
)";
  write("test.yml", test);
  write("other.yml", with(with(test, "[early, late]", "[late, early]"), "value: 6", "value: 5"));
  EXPECT_EQ(run("test.yml").code, 0) << run("test.yml").err;
  EXPECT_EQ(run("other.yml").code, 0) << run("other.yml").err;
}

TEST_F(TestRules, ATestMayStartAtAnInstantOfItsOwn) {
  write("test.yml", R"(
tests:
- start_timestamp: 2026-01-02T00:00:00Z
  input_series: [{series: x, values: 0+1x5}]
  promql_expr_test:
  - {expr: timestamp(x), eval_time: 5m, exp_samples: [{value: 1767312300}]}
  - {expr: x, eval_time: 5m, exp_samples: [{labels: x, value: 5}]}
)");
  EXPECT_EQ(run("test.yml").code, 0) << run("test.yml").err;
}

TEST_F(TestRules, OnlyTheFirstDocumentOfAFileCounts) {
  write("rules.yml", "---\n" + std::string(kRules) + "---\ngroups: 1\n");
  write("test.yml", "# a comment\n---\n" + std::string(kTest) + "--- # second\nnonsense: 1\n");
  EXPECT_EQ(run("test.yml").code, 0) << run("test.yml").err;
}

TEST_F(TestRules, FuzzyComparesToTheLastBitButOne) {
  const std::string test = R"(
fuzzy_compare: true
tests:
- input_series: [{series: x, values: 0.3}]
  promql_expr_test: [{expr: x, eval_time: 0, exp_samples: [{labels: x, value: 0.30000000000000004}]}]
)";
  write("fuzzy.yml", test);
  write("exact.yml", with(test, "true", "false"));
  EXPECT_EQ(run("fuzzy.yml").code, 0);
  EXPECT_EQ(run("exact.yml").code, 1);
}

TEST(PackTests, PassWithOurOwnRunner) {
  std::vector<std::string> all{"test", "rules"};
  for (const auto& entry : fs::directory_iterator(fs::path(ROLLBACKD_SOURCE_DIR) / "rules/tests")) all.push_back(entry.path().string());
  ASSERT_GT(all.size(), 10U);
  const Ran ran = ctl(all);
  EXPECT_EQ(ran.code, 0) << ran.err;
}

TEST(UpstreamsOwn, UnitTestPasses) {
  const auto file = fs::path(ROLLBACKD_SOURCE_DIR) / "../shared/promqltest/unittest.yml";
  if (!fs::exists(file)) GTEST_SKIP() << file << " is not there: put Prometheus's promql/promqltest/testdata beside the project";
  const Ran ran = ctl({"test", "rules", file.string()});
  EXPECT_EQ(ran.code, 0) << ran.err;
}

}  // namespace
}  // namespace rollbackd::cli
