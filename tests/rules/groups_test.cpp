#include "rules/groups.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rollbackd::rules {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Read {
  Groups groups;
  std::vector<std::string> errors, warnings;
};

Read read(std::string_view text, const std::string& file = "rules.json", const std::optional<ServiceKey>& only = {}) {
  std::vector<config::Problem> problems;
  Read out;
  out.groups = parse_groups(text, file, only, problems);
  for (const config::Problem& p : problems) (p.warning ? out.warnings : out.errors).push_back(p.text());
  return out;
}

/// A file with one rule of these members.
Read rule(const std::string& members) { return read(R"({"groups": [{"name": "g", "rules": [{)" + members + "}]}]}"); }

TEST(Groups, AFullFileIsReadInJsonAndInYaml) {
  const Read json = read(R"json({"groups": [{"name": "api", "interval": "30s", "limit": 7, "query_offset": "10s", "labels": {"team": "web"},
    "rules": [
      {"record": "job:errors:rate1m", "expr": "sum by (service, environment) (rate(errors_total[1m]))", "labels": {"team": "own"}},
      {"alert": "Errors", "expr": "job:errors:rate1m > 5 and up", "for": "1m", "keep_firing_for": "90s",
       "labels": {"rollbackd_action": "emergency", "rollbackd_no_data": "ignore"}, "annotations": {"summary": "{{ $value }}"}}]}]})json");
  const Read yaml = read(
      "groups:\n"
      "- name: api\n  interval: 30s\n  limit: 7\n  query_offset: 10s\n  labels: {team: web}\n  rules:\n"
      "  - record: job:errors:rate1m\n    expr: sum by (service, environment) (rate(errors_total[1m]))\n    labels: {team: own}\n"
      "  - alert: Errors\n    expr: job:errors:rate1m > 5 and up\n    for: 1m\n    keep_firing_for: 90s\n"
      "    labels: {rollbackd_action: emergency, rollbackd_no_data: ignore}\n    annotations: {summary: '{{ $value }}'}\n",
      "rules.yml");

  for (const Read& file : {json, yaml}) {
    ASSERT_THAT(file.errors, IsEmpty());
    ASSERT_EQ(file.groups.size(), 1U);
    const Group& group = file.groups[0];
    EXPECT_EQ(group.name, "api");
    EXPECT_EQ(group.interval, 30s);
    EXPECT_EQ(group.query_offset, 10s);
    EXPECT_EQ(group.limit, 7);
    ASSERT_EQ(group.rules.size(), 2U);
    EXPECT_FALSE(group.rules[0].alerting);
    EXPECT_EQ(group.rules[0].labels.get("team"), "own");
    const Rule& alert = group.rules[1];
    EXPECT_EQ(alert.name, "Errors");
    EXPECT_EQ(alert.pending_for, 1min);
    EXPECT_EQ(alert.keep_firing_for, 90s);
    EXPECT_EQ(alert.labels.get("team"), "web") << "a group's labels are its rules'";
    EXPECT_EQ(alert.action, AlertAction::emergency);
    EXPECT_TRUE(alert.ignore_no_data);
    EXPECT_TRUE(alert.service_local);
    EXPECT_THAT(alert.reads, ElementsAre("job:errors:rate1m", "up"));
  }
}

TEST(Groups, ALineIsNamedForEveryErrorAndAllAreFoundAtOnce) {
  const Read file = read(
      "groups:\n"
      "- name: g\n"
      "  rules:\n"
      "  - alert: A\n"
      "    exprs: up == 0\n"
      "  - alert: B\n"
      "    expr: sum(up\n"
      "  - record: 1b\n"
      "    expr: up\n"
      "    for: 1m\n",
      "r.yaml");

  EXPECT_THAT(file.errors, Contains(AllOf(HasSubstr("r.yaml:5:5: unknown field \"exprs\""), HasSubstr("did you mean \"expr\"?"))));
  EXPECT_THAT(file.errors, Contains(AllOf(HasSubstr("r.yaml:4:"), HasSubstr("\"expr\" must be set"))));
  EXPECT_THAT(file.errors, Contains(AllOf(HasSubstr("r.yaml:7:"), HasSubstr("column "))));
  EXPECT_THAT(file.errors, Contains(AllOf(HasSubstr("r.yaml:8:"), HasSubstr("invalid recording rule name"))));
  EXPECT_THAT(file.errors, Contains(AllOf(HasSubstr("r.yaml:10:"), HasSubstr("invalid field \"for\" in the recording rule"))));
}

TEST(Groups, AnExpressionErrorNamesTheColumnWithinTheExpression) {
  const Read file = rule("\"alert\": \"A\", \"expr\": \"up == )\"");

  ASSERT_EQ(file.errors.size(), 1U);
  EXPECT_THAT(file.errors[0], AllOf(HasSubstr("rules.json:1:"), HasSubstr("column 7")));
}

TEST(Groups, RulesThatPrometheusRefusesAreRefused) {
  EXPECT_THAT(rule(R"("alert": "A", "record": "a", "expr": "up")").errors, Contains(HasSubstr("both \"alert\" and \"record\"")));
  EXPECT_THAT(rule(R"("expr": "up")").errors, Contains(HasSubstr("neither \"alert\" nor \"record\"")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "")").errors, Contains(HasSubstr("\"expr\" must be set")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "for": "soon")").errors, Contains(HasSubstr("not a duration")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "labels": {"a-b": "c"})").errors, Contains(HasSubstr("invalid label name \"a-b\"")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "labels": {"__name__": "c"})").errors, Contains(HasSubstr("invalid label name")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "annotations": {"1": "c"})").errors, Contains(HasSubstr("invalid annotation name")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "annotations": {"s": "{{ $value"})").errors, Contains(HasSubstr("unclosed action")));
  EXPECT_THAT(rule(R"("record": "a", "expr": "up", "keep_firing_for": "1m")").errors, Contains(HasSubstr("keep_firing_for")));
  EXPECT_THAT(rule(R"("record": "a", "expr": "up", "annotations": {})").errors, Contains(HasSubstr("invalid field \"annotations\"")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up[5m]")").errors, Contains(HasSubstr("instant vector")));
}

TEST(Groups, GroupNamesAreThereAndDiffer) {
  EXPECT_THAT(read(R"({"groups": [{"name": "g"}, {"name": "g"}]})").errors, Contains(HasSubstr("repeated")));
  EXPECT_THAT(read(R"({"groups": [{"rules": []}]})").errors, Contains(HasSubstr("must not be empty")));
  EXPECT_THAT(read(R"({"groups": [{"name": "g", "limit": -1}]})").errors, Contains(HasSubstr("limit")));
  EXPECT_THAT(read(R"({"group": []})").errors, Contains(HasSubstr("did you mean \"groups\"?")));
  EXPECT_THAT(read(R"({"groups": {}})").errors, Contains(HasSubstr("list of groups")));
  EXPECT_THAT(read("[]").errors, Contains(HasSubstr("not an object")));
}

TEST(Groups, ActionsAndNoDataHaveFixedValues) {
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "labels": {"rollbackd_action": "rolback"})").errors,
              Contains(HasSubstr("write rollback, emergency, hold or notify")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "labels": {"rollbackd_no_data": "no"})").errors,
              Contains(HasSubstr("write hold or ignore")));
  EXPECT_EQ(rule(R"("alert": "A", "expr": "up", "labels": {"rollbackd_action": "hold"})").groups[0].rules[0].action, AlertAction::hold);
  EXPECT_EQ(rule(R"("alert": "A", "expr": "up")").groups[0].rules[0].action, AlertAction::notify);
}

TEST(Groups, ARollbackRuleThatSpansServicesIsWarnedAbout) {
  const Read spanning = rule(R"("alert": "A", "expr": "sum(up) < 3", "labels": {"rollbackd_action": "rollback"})");

  EXPECT_THAT(spanning.errors, IsEmpty());
  EXPECT_THAT(spanning.warnings, Contains(AllOf(HasSubstr("spans services"), HasSubstr("runs every 15s"))));
  EXPECT_FALSE(spanning.groups[0].rules[0].service_local);
}

TEST(Groups, AServicesOwnFileIsLocalWhateverItAggregates) {
  const ServiceKey shop{"shop", "prod"};

  const Read own = read(R"json({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "sum(up) < 3"}]}]})json", "own.json", shop);

  ASSERT_THAT(own.errors, IsEmpty());
  EXPECT_EQ(own.groups[0].only, shop);
  EXPECT_TRUE(own.groups[0].rules[0].service_local);
}

TEST(Groups, ATemplateThatOnlyPrometheusKnowsIsAWarning) {
  const Read file = rule(R"("alert": "A", "expr": "up", "annotations": {"s": "{{ if true }}x{{ end }}"})");

  EXPECT_THAT(file.errors, IsEmpty());
  EXPECT_THAT(file.warnings, Contains(HasSubstr("\"if\" is not supported here")));
}

TEST(Groups, ARuleFileIsStrictJsonBecausePromtoolReadsItToo) { EXPECT_FALSE(read("{\"groups\": [] // none\n}").errors.empty()); }

TEST(Groups, ASelectorWithoutANameReadsAnyMetric) {
  EXPECT_THAT(rule(R"("alert": "A", "expr": "{check=\"x\"} > 0 or {__name__=~\"a.*\"} or b")").groups[0].rules[0].reads,
              ElementsAre("", "b"));
}

}  // namespace
}  // namespace rollbackd::rules
