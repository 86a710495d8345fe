// `rollbackctl check rules`: the verdict, what it warns of, and that it leaves Prometheus's ordinary rules in peace.
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/json.hpp"
#include "run_ctl.hpp"

namespace rollbackd::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::string kPacks = std::string(ROLLBACKD_SOURCE_DIR) + "/rules";

class CheckRules : public testing::Test {
 protected:
  CheckRules() : directory_(testing::TempDir() + "check_rules_" + std::to_string(::getpid())) {
    std::filesystem::create_directories(directory_);
  }
  ~CheckRules() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  std::string write(const std::string& name, const std::string& text) {
    const std::string path = (directory_ / name).string();
    std::ofstream(path) << text;
    return path;
  }
  /// A file with one alert. @param labels  its members
  std::string alert(const std::string& expr, const std::string& labels) {
    return write("alert.yml", "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: " + expr + "\n    labels: {" + labels + "}\n");
  }
  std::filesystem::path directory_;
};

TEST_F(CheckRules, ThePacksPassWithoutAWarning) {
  const Ran ran = ctl({"check", "rules", "--strict", kPacks + "/*.json"});

  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.err, IsEmpty());
  EXPECT_THAT(ran.out, AllOf(HasSubstr("ok: "), HasSubstr(" 0 errors, 0 warnings")));
}

TEST_F(CheckRules, AllErrorsOfAllFilesAreToldAtOnce) {
  const std::string one = write("one.yml", "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up ==\n  - record: b\n    exprs: up\n");
  const std::string other = write("other.rules", "groups:\n- name: g\n\trules: []\n");

  const Ran ran = ctl({"check", "rules", one, other, (directory_ / "*.none").string()});

  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("one.yml:5:11: expression of \"A\""), HasSubstr("one.yml:7:5: unknown field \"exprs\""),
                             HasSubstr("other.rules:3:1: not valid YAML"), HasSubstr("there is no file")));
  EXPECT_THAT(ran.out, HasSubstr("refused: 2 files, 1 groups, 2 rules, 5 errors, 0 warnings"));
}

TEST_F(CheckRules, OrdinaryRulesOfPrometheusAreLeftInPeace) {
  const Ran ran = ctl({"check", "rules", "--strict", alert("sum(rate(a[1m])) / sum(rate(b[1m])) > 0.1", "severity: page")});

  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("ok: 1 files, 1 groups, 1 rules, 0 errors, 0 warnings"));
}

TEST_F(CheckRules, ARuleThatActsAndCanBelongToNobodyIsWarnedAbout) {
  const Ran spanning = ctl({"check", "rules", alert("sum(up) < 3", "rollbackd_action: rollback")});
  const Ran strict = ctl({"check", "rules", "--strict", alert("sum(up) < 3", "rollbackd_action: rollback")});
  const Ran local = ctl({"check", "rules", "--strict", "--local", alert("sum(up) < 3", "rollbackd_action: rollback")});

  EXPECT_EQ(spanning.code, 0);
  EXPECT_THAT(spanning.err, HasSubstr("belongs to no service"));
  EXPECT_EQ(strict.code, 1);
  EXPECT_EQ(local.code, 0) << "a service's own file is that service's";
}

TEST_F(CheckRules, ARatioWithoutAMinimumOfRequestsIsWarnedAbout) {
  const std::string ratio = "sum by (service, environment) (rate(e[1m])) / sum by (service, environment) (rate(r[1m])) > 0.1";
  const std::string guard = " and sum by (service, environment) (increase(r[1m])) > 20";

  EXPECT_THAT(ctl({"check", "rules", alert(ratio, "rollbackd_action: rollback")}).err, HasSubstr("a minimum of requests"));
  EXPECT_THAT(ctl({"check", "rules", alert("'" + ratio + guard + "'", "rollbackd_action: rollback")}).err, IsEmpty());
  EXPECT_THAT(ctl({"check", "rules", alert(ratio, "rollbackd_action: notify")}).err, IsEmpty());
}

TEST_F(CheckRules, ARuleThatReadsWhatNoCheckDeliversIsBlindByConstruction) {
  const std::string config =
      write("rollbackd.json", R"({"services": [{"name": "shop", "environment": "prod", "automation": "observe", "unit": "shop.service",
    "current": "/srv/shop/current", "url": "http://127.0.0.1:8080/health"}]})");
  const auto check = [&](const std::string& expr) {
    return ctl({"check", "rules", "--config", config, "--rules-directory", kPacks, alert(expr, "rollbackd_action: hold")});
  };

  EXPECT_THAT(check("http_requests_total > 1").err, HasSubstr("reads http_requests_total, which no configured check delivers"));
  EXPECT_THAT(check("probe_success == 0 or process_up == 0").err, Not(HasSubstr("no configured check")));
}

TEST_F(CheckRules, ARecordingRuleThatStandsTwiceIsWarnedAbout) {
  const std::string twice = write("twice.yml",
                                  "groups:\n- name: g\n  rules:\n  - {record: a, expr: up}\n  - {record: a, expr: up > 1}\n"
                                  "  - {record: a, expr: up, labels: {b: c}}\n");

  const Ran ran = ctl({"check", "rules", twice});

  EXPECT_THAT(ran.err, HasSubstr("twice.yml:5:1: rule \"a\" records what the rule at line 4 records"));
  EXPECT_THAT(ran.out, HasSubstr("0 errors, 1 warnings"));
}

TEST_F(CheckRules, ExplainSaysWhenEachRuleRunsAndJsonSaysAll) {
  const std::string file =
      write("two.yml", "groups:\n- name: g\n  interval: 30s\n  rules:\n  - {alert: A, expr: up == 0}\n  - {alert: B, expr: sum(up)}\n");

  const Ran text = ctl({"check", "rules", "--explain", file});
  const Ran json = ctl({"--format", "json", "check", "rules", "--explain", file});

  EXPECT_THAT(text.out,
              AllOf(HasSubstr("g, A: runs after each batch"), HasSubstr("g, B: runs every 30s: "), HasSubstr("belongs to no service")));
  const auto parsed = Json::parse(json.out);
  ASSERT_TRUE(parsed) << json.out;
  EXPECT_EQ((*parsed)["rules"].int_or(0), 2);
  EXPECT_EQ((*parsed)["explained"].elements().at(1)["runs"].string_or(""), "on_interval");
  EXPECT_EQ((*parsed)["explained"].elements().at(1)["expr"].string_or(""), "sum(up)");
}

}  // namespace
}  // namespace rollbackd::cli
