// What rules write for others to read: ALERTS, ALERTS_FOR_STATE, recorded metrics; and who is blind with whom.
#include "tests/rules/judge_fixture.hpp"

namespace rollbackd::rules {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

using MadeTest = JudgeTest;

TEST_F(MadeTest, AnAlertIsASeriesOfItsStateAndOneOfItsBeginning) {
  judge_.set_rules(alert("x > 5", "for: 3s, labels: {severity: page, note: \"{{ $value }}\"}"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0 + 1s, 7);

  EXPECT_THAT(query("ALERTS", t0 + 1s), ElementsAre(R"(ALERTS{alertname="A", alertstate="pending", check="c", environment="prod", )"
                                                    R"(note="7", service="shop", severity="page"} 1)"));
  EXPECT_THAT(query("ALERTS_FOR_STATE", t0 + 1s), ElementsAre(R"(ALERTS_FOR_STATE{alertname="A", check="c", environment="prod", )"
                                                              R"(note="7", service="shop", severity="page"} 1001)"));

  push(t0 + 4s, 7);
  EXPECT_THAT(query("count by (alertstate) (ALERTS)", t0 + 4s), ElementsAre(R"({alertstate="firing"} 1)")) << "the pending one has ended";
  push(t0 + 5s, 7);
  EXPECT_THAT(query("ALERTS_FOR_STATE - 1000", t0 + 5s), ElementsAre(HasSubstr("} 1")));
  push(t0 + 6s, 1);
  EXPECT_THAT(query("ALERTS", t0 + 6s), IsEmpty());
  EXPECT_THAT(query("ALERTS_FOR_STATE", t0 + 6s), IsEmpty());
}

TEST_F(MadeTest, ARuleThatReadsAlertsRunsInTheSamePass) {
  judge_.set_rules(
      read("groups: [{name: g, rules: [{alert: A, expr: x > 5}, {alert: B, expr: y > 5},"
           "{alert: Both, expr: 'count by (service, environment) (ALERTS{alertname=~\"A|B\", alertstate=\"firing\"}) > 1'}]}]"),
      t0);
  watch(kShop, {"x", "y"}, 1h);
  judge_.on_due(t0);

  EXPECT_THAT(told(push(t0 + 1s, {sample("x", 1), sample("y", 1)})), ElementsAre("A ok", "B ok", "Both ok"));
  EXPECT_THAT(told(push(t0 + 2s, {sample("x", 7), sample("y", 1)})), ElementsAre("A firing", "A breached"));
  EXPECT_THAT(told(push(t0 + 3s, {sample("y", 7)})), ElementsAre("B firing", "Both firing", "B breached", "Both breached"));
  EXPECT_THAT(told(push(t0 + 4s, {sample("x", 1)})), ElementsAre("A inactive", "Both inactive", "A ok", "Both ok"));
}

TEST_F(MadeTest, WhatReadsAlertsIsAsBlindAsTheRulesThatMakeThem) {
  judge_.set_rules(read("groups: [{name: g, rules: [{alert: A, expr: x > 5}, {alert: B, expr: y > 5},"
                        "{alert: OnA, expr: 'ALERTS{alertname=\"A\"}'}, {alert: OnB, expr: 'ALERTS{alertname=\"B\"}'},"
                        "{alert: OnNone, expr: 'ALERTS{alertname=\"None\"}'}]}]"),
                   t0);
  judge_.set_service(kShop, {{kShop, "c", {"x"}, 1h}, {kShop, "d", {"y"}, 10s}}, t0);
  judge_.on_due(t0);

  EXPECT_THAT(told(push(t0 + 1s, {sample("x", 1)})), ElementsAre("A ok", "OnA ok"));
  EXPECT_THAT(query("ALERTS", t0 + 1s), ElementsAre(HasSubstr("blind: rule B of shop/prod is blind: check d")));
  EXPECT_THAT(query("ALERTS{alertname=\"A\"}", t0 + 1s), IsEmpty());
  push(t0 + 1s, {sample("y", 1)}, kShop, "d");
  EXPECT_THAT(run_until(t0 + 1min), ElementsAre("11000: B blind", "11000: OnB blind"));
}

TEST_F(MadeTest, ARuleThatCountsAllAlertsItselfAmongThemIsNotBlindForever) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, rules: [{alert: A, expr: x > 5},"
                        "{alert: Many, expr: 'count(ALERTS{alertstate=\"firing\"}) > 1', labels: {service: shop, environment: prod}},"
                        "{alert: More, expr: 'count by (service, environment) (ALERTS) > 1'}]}]"),
                   t0);
  watch(kShop, {"x"}, 1h);
  judge_.on_due(t0);
  push(t0 + 1s, 7);

  EXPECT_THAT(run_until(t0 + 6s), Contains("5000: Many ok"));
  EXPECT_EQ(status().verdict, Verdict::ok);
  push(t0 + 7s, {sample("x", 7), Sample{Labels{{"__name__", "x"}, {"service", "shop"}, {"environment", "prod"}, {"pod", "b"}}, 7, false}});
  EXPECT_THAT(run_until(t0 + 12s), Contains("10000: Many firing")) << "its own labels say whose it is";
}

TEST_F(MadeTest, ACountOfAlertsOfOneServiceIsNotBlindBecauseOfAnother) {
  judge_.set_rules(
      read("groups: [{name: g, rules: [{alert: A, expr: x > 5}, {alert: M, expr: 'ALERTS{alertname=\"A\",service=\"shop\"}'}]}]"), t0);
  watch(kShop, {"x"}, 1h);
  watch(kCart, {"x"}, 1h);
  push(t0 + 1s, 1);

  EXPECT_THAT(query("ALERTS{service=\"shop\"}", t0 + 1s), IsEmpty());
  EXPECT_THAT(query("ALERTS", t0 + 1s), ElementsAre(HasSubstr("cart/prod")));
}

TEST_F(MadeTest, WhatARemovedRuleMadeEndsAtTheReload) {
  judge_.set_rules(read("groups: [{name: g, rules: [{alert: A, expr: x > 5}, {record: r, expr: x}]}]"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0 + 1s, 7);
  ASSERT_THAT(query("{__name__=~\"ALERTS|r\"}", t0 + 1s), testing::SizeIs(2));

  judge_.set_rules(Groups{}, t0 + 2s);

  EXPECT_THAT(query("{__name__=~\"ALERTS|r\"}", t0 + 2s), IsEmpty());
}

TEST_F(MadeTest, AnEpochHidesTheAlertsOfTheOneBefore) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 1h);
  judge_.begin_epoch(kShop, t0);
  push(t0 + 1s, 7);
  judge_.begin_epoch(kShop, t0 + 10s);
  push(t0 + 11s, 1);

  EXPECT_THAT(query("ALERTS", t0 + 11s), IsEmpty());
  EXPECT_THAT(query("ALERTS offset 8s", t0 + 11s), testing::SizeIs(1));
}

TEST_F(MadeTest, WhatIsMadeStaysInSightThoughNothingNewComes) {
  judge_.set_rules(read("groups: [{name: g, interval: 30s, rules: [{alert: A, expr: 'max_over_time(x[1h]) > 5'},"
                        "{record: r, expr: 'max_over_time(x[1h])'}]}]"),
                   t0);
  watch(kShop, {"x"}, 2h);
  push(t0 + 1s, 7);
  run_until(t0 + 20min);

  EXPECT_THAT(query("ALERTS", t0 + 20min), testing::SizeIs(1));
  EXPECT_THAT(query("r", t0 + 20min), testing::SizeIs(1));
  run_until(t0 + 2h);
  EXPECT_THAT(query("ALERTS", t0 + 70min), IsEmpty());
}

TEST_F(MadeTest, ALocalRuleSeesWhatIsNobodysOnTheInterval) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, rules: [{record: total, expr: sum(x)}, {alert: T, expr: total > 10},"
                        "{alert: L, expr: x > 100}]}]"),
                   t0);
  watch(kShop, {"x"}, 1h);
  watch(kCart, {"x"}, 1h);
  push(t0 + 1s, 7);
  push(t0 + 1s, {sample("x", 4, kCart)}, kCart);

  EXPECT_THAT(run_until(t0 + 5s), Contains("5000: T firing of /"));
  EXPECT_THAT(query("total", t0 + 5s), ElementsAre("total 11"));
  EXPECT_EQ(judge_.report()[1].runs, RuleReport::Runs::per_batch);
}

TEST_F(MadeTest, ARuleOfAServicesOwnFileMakesOnlyWhatIsThatServices) {
  judge_.set_rules(read("groups: [{name: g, rules: [{record: r, expr: x, labels: {service: other}},"
                        "{alert: A, expr: x > 5, labels: {environment: test}}]}]",
                        kShop),
                   t0);
  watch(kShop, {"x"}, 1h);
  const Judgement breach = push(t0 + 1s, 7);

  EXPECT_THAT(query("r", t0 + 1s), ElementsAre(R"(r{check="c", environment="prod", service="shop"} 7)"));
  EXPECT_EQ(judge_.alerts().at(0).alert.labels.get("environment"), "prod");
}

TEST_F(MadeTest, TemplatesMayAsk) {
  judge_.set_rules(read("groups: [{name: g, rules: [{alert: A, expr: x > 5, annotations: {summary: "
                        "'{{ with query \"limit\" }}{{ . | first | value }}{{ end }}'}}]}]"),
                   t0);
  watch(kShop, {"x", "limit"}, 1h);

  const Judgement breach = push(t0 + 1s, {sample("x", 7), sample("limit", 5)});

  ASSERT_EQ(breach.alerts.size(), 1U);
  EXPECT_EQ(breach.alerts[0].annotations.get("summary"), "5");
}

TEST_F(MadeTest, QueriesInATemplateAreBounded) {
  judge_.set_rules(read("groups: [{name: g, rules: [{alert: A, expr: x > 5, annotations: {summary: "
                        "'{{ query \"count_over_time(vector(1)[1000h:1s])\" | first | value }}'}}]}]"),
                   t0);
  watch(kShop, {"x"}, 1h);

  const Judgement breach = push(t0 + 1s, 7);

  ASSERT_EQ(breach.alerts.size(), 1U);
  EXPECT_THAT(breach.alerts[0].annotations.get("summary"), HasSubstr("error"));
}

}  // namespace
}  // namespace rollbackd::rules
