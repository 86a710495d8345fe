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
    EXPECT_THAT(alert.reads(), ElementsAre("job:errors:rate1m", "up"));
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
      "  - record: a{b}\n"
      "    expr: up\n"
      "    for: 1m\n",
      "r.yaml");

  EXPECT_THAT(file.errors, Contains(AllOf(HasSubstr("r.yaml:5:5: unknown field \"exprs\""), HasSubstr("did you mean \"expr\"?"))));
  EXPECT_THAT(file.errors, Contains(AllOf(HasSubstr("r.yaml:4:"), HasSubstr("\"expr\" must be set"))));
  EXPECT_THAT(file.errors, Contains(AllOf(HasSubstr("r.yaml:7:"), HasSubstr("column "))));
  EXPECT_THAT(file.errors, Contains(AllOf(HasSubstr("r.yaml:8:"), HasSubstr("invalid recording rule name \"a{b}\""))));
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
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "labels": {"": "c"})").errors, Contains(HasSubstr("invalid label name \"\"")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "labels": {"__name__": "c"})").errors, Contains(HasSubstr("invalid label name")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "annotations": {"": "c"})").errors, Contains(HasSubstr("invalid annotation name")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "annotations": {"s": "{{ $value"})").errors, Contains(HasSubstr("unclosed action")));
  EXPECT_THAT(rule(R"("record": "a", "expr": "up", "keep_firing_for": "1m")").errors, Contains(HasSubstr("keep_firing_for")));
  EXPECT_THAT(rule(R"("record": "a", "expr": "up", "annotations": {"a": ""})").errors,
              Contains(HasSubstr("invalid field \"annotations\"")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": " ")").errors, Contains(HasSubstr("expression of \"A\"")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": ["up"])").errors, Contains(HasSubstr("\"expr\" is an array")));
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up", "for": "")").errors, Contains(HasSubstr("not a duration")));
}

TEST(Groups, GroupNamesAreThereAndDiffer) {
  EXPECT_THAT(read(R"({"groups": [{"name": "g"}, {"name": "g"}]})").errors, Contains(HasSubstr("repeated")));
  EXPECT_THAT(read(R"({"groups": [{"rules": []}]})").errors, Contains(HasSubstr("must not be empty")));
  EXPECT_THAT(read(R"({"groups": [{"name": "g", "limit": "1"}]})").errors, Contains(HasSubstr("not a number")));
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

TEST(Groups, WhatPrometheus3TakesIsTaken) {
  for (const char* members : {
           R"("alert": "A", "expr": "up", "labels": {"a-b": "c", "żółć": "", "severity": 1, "on": true, "none": null})",
           R"("alert": "A", "expr": "up", "annotations": {"1 2": "{{ if true }}x{{ end }}", "s": "{{ .Foo }} {{ humanize 1 2 }}"})",
           R"("alert": "1 2", "expr": 1, "for": "0s", "keep_firing_for": null)",
           R"("record": "1:a b", "expr": "up", "annotations": {}, "for": "0s", "labels": {"a": "{{ nope"})",
       }) {
    EXPECT_THAT(rule(members).errors, IsEmpty()) << members;
    EXPECT_THAT(rule(members).warnings, IsEmpty()) << members;
  }
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up[5m]")").errors, IsEmpty());
  EXPECT_THAT(rule(R"("alert": "A", "expr": "up[5m]")").warnings, Contains(HasSubstr("fails at each evaluation")));
  for (const char* file :
       {"", "groups:\n", "groups: [{name: a, rules: }, ~]\n", "# nothing\n---\n", "groups:\n- name: 5\n  limit: -1\n  interval: 0s\n",
        "groups:\n- name: a\n  limit: 1e3\n  rules: [~, ]\n", "\xef\xbb\xbfgroups:\r\n- name: a\r\n"}) {
    EXPECT_THAT(read(file, "r.rules").errors, IsEmpty()) << file;
  }
}

TEST(Groups, AnOddFileGetsPromtoolsVerdict) {
  for (const char* file : {"x-anchors: &a {}\ngroups: []\n", "groups:\n- name: a\n  name: b\n", "groups:\n\t- name: a\n", "- groups\n",
                           "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: {{ x }}\n", "{% if x %}\ngroups: []\n{% endif %}\n",
                           "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nspec: {groups: []}\n", "groups: a\n",
                           "groups: [5]\n", "groups:\n- name: a\n  interval: 5\n", "groups:\n- name: a\n  limit: ten\n",
                           "groups:\n- {name: a, labels: {__name__: x}}\n", "%YAML 1.2\n---\ngroups: []\n"}) {
    EXPECT_FALSE(read(file, "r.yml").errors.empty()) << file;
  }
  EXPECT_THAT(read("%YAML 1.1\n---\ngroups: []\n", "r.yml").errors, IsEmpty());
  const Read merged = read("groups:\n- name: a\n  rules:\n  - &r {alert: A, expr: up, labels: {x: y}}\n  - {<<: *r, alert: B}\n", "r.yml");
  ASSERT_THAT(merged.errors, IsEmpty());
  EXPECT_EQ(merged.groups[0].rules[1].name, "B");
  EXPECT_EQ(merged.groups[0].rules[1].labels.get("x"), "y");
}

TEST(Groups, ARulesEmptyLabelTakesItsGroupsAway) {
  const Read file = read("groups:\n- {name: a, labels: {x: y, z: w}, rules: [{alert: A, expr: up, labels: {x: ''}}]}\n", "r.yml");

  ASSERT_THAT(file.errors, IsEmpty());
  EXPECT_EQ(file.groups[0].rules[0].labels, (Labels{{"z", "w"}}));
  EXPECT_THAT(file.groups[0].rules[0].labels_removed, ElementsAre("x"));
}

TEST(Groups, EmptyTextsOfLabelsAndAnnotationsAreKeptApart) {
  const Read file = read(
      "groups:\n- name: a\n  labels: {x: '', y: ''}\n  rules:\n"
      "  - {alert: A, expr: up, labels: {z: '', y: own}, annotations: {none: '', some: text}}\n",
      "r.yml");

  ASSERT_THAT(file.errors, IsEmpty());
  const Rule& rule = file.groups[0].rules[0];
  EXPECT_EQ(rule.labels, (Labels{{"y", "own"}}));
  EXPECT_THAT(rule.labels_removed, ElementsAre("x", "z"));
  EXPECT_EQ(rule.annotations, (Labels{{"some", "text"}}));
  EXPECT_THAT(rule.annotations_empty, ElementsAre("none"));
}

TEST(Groups, OfSeveralDocumentsTheFirstCounts) {
  const Read file = read("groups: [{name: a}]\n---\ngroups: [{name: b}]\n", "r.yml");

  EXPECT_THAT(file.errors, IsEmpty());
  EXPECT_THAT(file.warnings, Contains(HasSubstr("r.yml:2:1: a second document begins here")));
  EXPECT_EQ(file.groups.size(), 1U);
}

TEST(Groups, WhatIsWrongWithJsonIsSaidOfJson) {
  EXPECT_THAT(read("{\"groups\": [] // none\n}").errors, Contains(HasSubstr("expected no comment")));
  EXPECT_THAT(read("{\"groups\": [{\"name\": \"a\",}]}").errors, IsEmpty()) << "YAML allows the comma, and so does promtool";
}

TEST(Groups, ASelectorWithoutANameReadsAnyMetric) {
  EXPECT_THAT(rule(R"("alert": "A", "expr": "{check=\"x\"} > 0 or {__name__=~\"a.*\"} or b")").groups[0].rules[0].reads(),
              ElementsAre("", "b"));
}

}  // namespace
}  // namespace rollbackd::rules
