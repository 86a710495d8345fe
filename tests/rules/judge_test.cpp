#include "tests/rules/judge_fixture.hpp"

namespace rollbackd::rules {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::SizeIs;
using testing::UnorderedElementsAre;

TEST_F(JudgeTest, TheInitialVerdictIsBlindAndToldWithTheNextJudgement) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"});

  EXPECT_EQ(judge_.next_due(), t0);
  EXPECT_THAT(told(judge_.on_due(t0)), ElementsAre("A blind"));
  EXPECT_THAT(told(judge_.on_due(t0)), IsEmpty());
  EXPECT_EQ(judge_.next_due(), std::nullopt);
}

TEST_F(JudgeTest, ABreachFiresInTheVeryBatchAndItsEndResolves) {
  judge_.set_rules(
      alert("x > 5", "labels: {rollbackd_action: rollback, severity: critical}, annotations: {summary: \"x is {{ $value }}\"}"), t0);
  watch(kShop, {"x"});
  judge_.on_due(t0);

  EXPECT_THAT(told(push(t0 + 1s, 3)), ElementsAre("A ok"));
  const Judgement breach = push(t0 + 2s, 7);
  EXPECT_THAT(told(breach), ElementsAre("A firing", "A breached"));
  EXPECT_THAT(told(push(t0 + 3s, 8)), IsEmpty()) << "only changes are told";
  EXPECT_THAT(told(push(t0 + 4s, 1)), ElementsAre("A inactive", "A ok"));

  const AlertChange& change = breach.alerts[0];
  EXPECT_EQ(change.service, kShop);
  EXPECT_EQ(change.group, "g");
  EXPECT_EQ(change.labels, (Labels{{"alertname", "A"},
                                   {"service", "shop"},
                                   {"environment", "prod"},
                                   {"check", "c"},
                                   {"severity", "critical"},
                                   {"rollbackd_action", "rollback"}}));
  EXPECT_EQ(change.annotations.get("summary"), "x is 7");
  EXPECT_EQ(change.action, AlertAction::rollback);
  EXPECT_EQ(change.since, t0 + 2s);
  EXPECT_EQ(change.value, 7);
  EXPECT_THAT(change.reads, ElementsAre("x"));
  EXPECT_THAT(change.checks, ElementsAre("c"));
}

TEST_F(JudgeTest, AnEmptyLabelIsTakenAwayAlsoWhenItSaysWhoseTheAlertIs) {
  judge_.set_rules(read("groups:\n- name: g\n  interval: 1s\n  labels: {check: group, team: web}\n  rules:\n"
                        "  - {alert: A, expr: x > 5, labels: {check: '', team: ''}}\n"
                        "  - {alert: B, expr: x > 5, labels: {service: ''}}\n"),
                   t0);
  watch(kShop, {"x"});
  judge_.on_due(t0);

  const Judgement breach = push(t0 + 1s, 7);
  ASSERT_THAT(told(breach), ElementsAre("A firing", "A breached"));
  EXPECT_EQ(breach.alerts[0].labels, (Labels{{"alertname", "A"}, {"service", "shop"}, {"environment", "prod"}}));

  EXPECT_THAT(run_until(t0 + 3s), testing::Contains(testing::EndsWith("B firing of /prod"))) << "as no service is left to say whose it is";
}

TEST_F(JudgeTest, AForIsKeptToTheSlotAndNeverEndsEarly) {
  judge_.set_rules(alert("x > 5", "for: 3s"), t0);
  watch(kShop, {"x"}, 1h);
  judge_.on_due(t0);
  const Instant began = t0 + 1s + 234567891ns;

  EXPECT_THAT(told(push(began, 7)), ElementsAre("A pending", "A breached"));
  EXPECT_EQ(judge_.next_due(), t0 + 4300ms);
  EXPECT_THAT(told(judge_.on_due(began + 3s - 1ns)), IsEmpty());
  const Judgement fires = judge_.on_due(t0 + 4300ms);
  EXPECT_THAT(told(fires), ElementsAre("A firing"));
  EXPECT_EQ(fires.alerts[0].since, t0 + 4300ms);
}

TEST_F(JudgeTest, ABatchAtTheEndOfAForFiresWithoutWaitingForTheSlot) {
  judge_.set_rules(alert("x > 5", "for: 3s"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0 + 50ms, 7);

  EXPECT_THAT(told(push(t0 + 3050ms - 1ns, 7)), IsEmpty());
  EXPECT_THAT(told(push(t0 + 3050ms, 7)), ElementsAre("A firing"));
}

TEST_F(JudgeTest, KeepFiringForEndsInItsSlot) {
  judge_.set_rules(alert("x > 5", "keep_firing_for: 2s"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0 + 1s, 7);

  EXPECT_THAT(told(push(t0 + 2s + 1ns, 1)), ElementsAre("A ok"));
  EXPECT_THAT(run_until(t0 + 10s), ElementsAre("4100: A inactive"));
}

TEST_F(JudgeTest, AWindowRunningOutEndsABreachAlthoughNothingCame) {
  judge_.set_rules(alert("count_over_time(x[5s]) > 1"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0 + 1s, 1);
  EXPECT_THAT(told(push(t0 + 3s + 1ns, 1)), ElementsAre("A firing", "A breached"));

  EXPECT_THAT(run_until(t0 + 1min), ElementsAre("6000: A inactive", "6000: A ok")) << "the window is open on its left";
}

TEST_F(JudgeTest, AnInstantSelectorsLookbackRunsOutToo) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0, 7);

  EXPECT_THAT(run_until(t0 + 10min), ElementsAre("300000: A inactive", "300000: A ok"));
}

TEST_F(JudgeTest, ASourceGoingSilentMakesItsRulesBlindAndKeepsTheAlert) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 10s);
  push(t0 + 50ms, 7);

  EXPECT_THAT(run_until(t0 + 1h), ElementsAre("10100: A blind"));
  ASSERT_EQ(judge_.alerts().size(), 1U);
  EXPECT_EQ(judge_.alerts()[0].alert.phase, AlertPhase::firing);
  EXPECT_TRUE(judge_.alerts()[0].blind);
  EXPECT_THAT(status().detail, HasSubstr("check c of shop/prod"));
  EXPECT_THAT(told(push(t0 + 2h, 1)), ElementsAre("A inactive", "A ok"));
}

TEST_F(JudgeTest, APendingAlertDoesNotAdvanceWhileBlind) {
  judge_.set_rules(alert("x > 5", "for: 20s"), t0);
  watch(kShop, {"x"}, 10s);
  push(t0, 7);

  EXPECT_THAT(run_until(t0 + 1min), ElementsAre("10000: A blind"));
  EXPECT_THAT(told(push(t0 + 60s, 7)), ElementsAre("A breached")) << "10 of the 20 seconds were seen";
  push(t0 + 65s, 7);
  EXPECT_THAT(run_until(t0 + 70s), ElementsAre("70000: A firing"));
}

TEST_F(JudgeTest, ANonEmptyResultThatIsBlindIsBlindAndNoEvidence) {
  judge_.set_rules(alert("x and y > 5 or z > 5"), t0);
  judge_.set_service(kShop, {{kShop, "cx", {"x"}, 10s}, {kShop, "cy", {"y"}, 10s}, {kShop, "cz", {"z"}, 1h}}, t0);
  push(t0, {sample("x", 1)}, kShop, "cx");

  // y is silent, so that x cannot be judged; its value is still in the lookback.
  EXPECT_THAT(told(push(t0 + 1s, {sample("z", 1)}, kShop, "cz")), IsEmpty());
  EXPECT_EQ(status().verdict, Verdict::blind);
  EXPECT_THAT(judge_.alerts(), IsEmpty());
}

TEST_F(JudgeTest, ARuleThatNothingFeedsIsOkAndNotFed) {
  judge_.set_rules(alert("log_matches_total > 0", "labels: {rollbackd_no_data: ignore}"), t0);
  watch(kShop, {"x"});

  const Judgement first = judge_.on_due(t0);

  ASSERT_THAT(told(first), ElementsAre("A ok"));
  EXPECT_FALSE(first.verdicts[0].fed);
  EXPECT_TRUE(first.verdicts[0].ignore_no_data);
  EXPECT_TRUE(first.verdicts[0].alerting);
}

TEST_F(JudgeTest, AnUnobservedBatchCommitsNothing) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 10s);
  judge_.on_due(t0);
  Batch batch;
  batch.service = kShop;
  batch.check = "c";
  batch.began = batch.at = t0 + 1s;
  batch.unobserved = "no file handles";

  EXPECT_THAT(told(judge_.on_batch(batch)), IsEmpty());
  EXPECT_EQ(status().verdict, Verdict::blind);
}

TEST_F(JudgeTest, AnAlertSaysWhenTheProbeBeganThatMadeItFire) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 10s);
  Batch batch;
  batch.service = kShop;
  batch.check = "c";
  batch.began = t0 + 1s;
  batch.at = t0 + 3s;
  batch.samples = {sample("x", 9)};

  const Judgement judgement = judge_.on_batch(batch);

  ASSERT_EQ(judgement.alerts.size(), 1U);
  EXPECT_EQ(judgement.alerts[0].since, t0 + 3s);
  EXPECT_EQ(judgement.alerts[0].began, t0 + 1s);
}

TEST_F(JudgeTest, ACheckThatCannotLookBlindsItsRulesAtOnce) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 10s);
  push(t0 + 1s, {sample("x", 1)});
  ASSERT_EQ(status().verdict, Verdict::ok);
  Batch batch;
  batch.service = kShop;
  batch.check = "c";
  batch.began = batch.at = t0 + 2s;
  batch.unobserved = "no file handles";

  const Judgement judgement = judge_.on_batch(batch);

  ASSERT_EQ(judgement.verdicts.size(), 1U);
  EXPECT_EQ(judgement.verdicts[0].verdict, Verdict::blind);
  EXPECT_THAT(status().detail, HasSubstr("no file handles"));
}

TEST_F(JudgeTest, ARuleOnUpFiresWhileTheScrapedMetricsAreBlind) {
  judge_.set_rules(read("groups: [{name: g, rules: [{alert: Down, expr: up == 0}, {alert: Slow, expr: latency > 5}, "
                        "{alert: Probe, expr: probe > 0}]}]"),
                   t0);
  judge_.set_service(kShop, {{kShop, "c", {}, 10s, {"up"}}, {kShop, "h", {"probe"}, 1h}}, t0);
  const auto probe = [&](Instant at, double value) {
    Sample probed = sample("probe", value);
    probed.labels.set("check", "h");
    return push(at, {probed}, kShop, "h");
  };
  probe(t0 + 1s, 0);
  judge_.on_due(t0 + 1s);
  ASSERT_THAT(told(push(t0 + 2s, {sample("up", 1), sample("latency", 1)})), UnorderedElementsAre("Down ok", "Slow ok"));
  const auto fail = [&](Instant at) {
    Batch batch;
    batch.service = kShop;
    batch.check = "c";
    batch.began = batch.at = at;
    batch.samples = {sample("up", 0)};
    batch.unobserved = "connection refused";
    return judge_.on_batch(batch);
  };

  EXPECT_THAT(told(fail(t0 + 3s)), UnorderedElementsAre("Down firing", "Down breached", "Slow blind"));
  EXPECT_THAT(told(fail(t0 + 4s)), IsEmpty());
  EXPECT_THAT(told(probe(t0 + 5s, 1)), ElementsAre("Probe firing", "Probe breached"))
      << "a target that is down says nothing of other checks";
  EXPECT_THAT(told(push(t0 + 6s, {sample("up", 1)})), UnorderedElementsAre("Down inactive", "Down ok", "Slow ok"))
      << "that latency is no longer scraped is a fact";
}

TEST_F(JudgeTest, QuantilesOfScrapedBucketsCompareWithTheReleaseBefore) {
  judge_.set_rules(alert("histogram_quantile(0.9, sum by (service, environment, le) (rate(d_bucket[20s]))) "
                         "> 2 * histogram_quantile(0.9, sum by (service, environment, le) (rate(d_bucket[20s] offset 1m)))"),
                   t0);
  judge_.set_service(kShop, {{kShop, "c", {}, 1h, {"up"}}}, t0);
  const auto scrape = [&](Instant at, double fast, double all) {
    const auto bucket = [&](const std::string& le, double value) {
      Sample s = sample("d_bucket", value);
      s.labels.set("le", le);
      return s;
    };
    return push(at, {sample("up", 1), bucket("0.1", fast), bucket("1", all), bucket("+Inf", all)});
  };
  judge_.begin_epoch(kShop, t0);
  for (int i = 0; i < 6; ++i) scrape(t0 + i * 10s, 100.0 * i, 100.0 * i);  // v1: all within 0.1 s
  judge_.begin_epoch(kShop, t0 + 60s);

  std::vector<std::string> out;
  for (int i = 0; i < 4; ++i) {
    for (const std::string& what : told(scrape(t0 + 61s + i * 10s, 0, 50.0 * i))) out.push_back(std::to_string(i) + ": " + what);
  }

  // v2's first scrape makes no rate; with two of them 0.9 s stands against v1's 0.09 s one minute before.
  EXPECT_THAT(out, ElementsAre("0: A ok", "1: A firing", "1: A breached"));
}

TEST_F(JudgeTest, OnlyRulesThatABatchCanFeedAreRun) {
  judge_.set_rules(read("groups: [{name: g, rules: [{alert: X, expr: 'x{check=\"c\"} > 5'}, {alert: Y, expr: y > 5}, {alert: O, expr: "
                        "'x{check=\"d\"} > 5'},"
                        "{alert: Any, expr: '{check=\"c\"} > 100'}]}]"),
                   t0);
  judge_.set_service(kShop, {{kShop, "c", {"x"}, 1h}, {kShop, "d", {"y"}, 1h}}, t0);
  push(t0 + 1s, {sample("x", 1)});
  push(t0 + 1s, {sample("y", 1)}, kShop, "d");
  const auto before = judge_.counters().evaluations;

  push(t0 + 2s, {sample("x", 7)});

  EXPECT_EQ(judge_.counters().evaluations - before, 2U) << "X and Any";
}

TEST_F(JudgeTest, ABatchOfOneServiceDoesNotRunAnotherServicesRules) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"});
  watch(kCart, {"x"});
  judge_.on_due(t0);

  EXPECT_THAT(told(push(t0 + 1s, {sample("x", 7)})), ElementsAre("A firing", "A breached"));
  EXPECT_EQ(status(kCart).verdict, Verdict::blind);
  EXPECT_THAT(told(push(t0 + 1s, {sample("x", 1, kCart)}, kCart)), ElementsAre("A ok of cart/prod"));
}

TEST_F(JudgeTest, AnEpochTakesAlertsBackAndNeedsFreshEvidence) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0 + 1s, 7);

  EXPECT_THAT(told(judge_.begin_epoch(kShop, t0 + 2s)), ElementsAre("A inactive", "A blind"));
  EXPECT_THAT(judge_.alerts(), IsEmpty());
  EXPECT_THAT(told(push(t0 + 3s, 1)), ElementsAre("A ok"));
}

TEST_F(JudgeTest, ASampleOfAnEarlierEpochChangesNoAlert) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 1h);
  judge_.begin_epoch(kShop, t0 + 10s);
  Batch late;
  late.service = kShop;
  late.check = "c";
  late.began = t0 + 9s;
  late.at = t0 + 11s;
  late.samples = {sample("x", 7)};

  EXPECT_THAT(told(judge_.on_batch(late)), IsEmpty());
  EXPECT_EQ(status().verdict, Verdict::blind);
  EXPECT_THAT(told(push(t0 + 12s, 1)), ElementsAre("A ok"));
}

TEST_F(JudgeTest, NoWindowMixesReleasesFromV1ToV2AndBackToV1) {
  judge_.set_rules(alert("increase(e_total[1m]) > 0"), t0);
  watch(kShop, {"e_total"}, 1h);
  const auto errors = [&](Instant at, double value) { return told(push(at, {sample("e_total", value, kShop, true)})); };
  judge_.begin_epoch(kShop, t0);

  EXPECT_THAT(errors(t0 + 1s, 0), ElementsAre("A ok"));
  judge_.begin_epoch(kShop, t0 + 10s);  // v2
  EXPECT_THAT(errors(t0 + 11s, 3), ElementsAre("A firing", "A breached"));
  EXPECT_THAT(told(judge_.begin_epoch(kShop, t0 + 12s)), ElementsAre("A inactive", "A blind"));  // v1 again
  EXPECT_THAT(errors(t0 + 13s, 3), ElementsAre("A ok")) << "what v2 did is not v1's";
  EXPECT_THAT(errors(t0 + 14s, 4), ElementsAre("A firing", "A breached"));
}

TEST_F(JudgeTest, AfterAGapEveryRuleIsBlindUntilFreshSamples) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0 + 1s, 7);

  EXPECT_THAT(told(judge_.on_gap(t0 + 10min)), ElementsAre("A blind"));
  EXPECT_EQ(judge_.alerts().size(), 1U) << "a firing alert stays";
  EXPECT_THAT(told(push(t0 + 11min, 7)), ElementsAre("A breached"));
}

TEST_F(JudgeTest, RecordedValuesArePartOfTheSameCommit) {
  judge_.set_rules(read("groups: [{name: g, rules: ["
                        "{record: 'x:double', expr: x * 2, labels: {team: web}},"
                        "{record: 'x:quad', expr: 'x:double * 2'},"
                        "{alert: A, expr: 'x:quad{team=\"web\"} > 20'}]}]"),
                   t0);
  watch(kShop, {"x"}, 10s);
  judge_.on_due(t0);

  EXPECT_THAT(told(push(t0 + 1s, 3)), ElementsAre("x:double ok", "x:quad ok", "A ok"));
  const Judgement breach = push(t0 + 2s, 6);
  EXPECT_THAT(told(breach), ElementsAre("A firing", "A breached"));
  EXPECT_EQ(breach.alerts[0].value, 24);
  EXPECT_THAT(breach.alerts[0].checks, ElementsAre("c")) << "by way of two recording rules";
  EXPECT_THAT(run_until(t0 + 1min), ElementsAre("12000: x:double blind", "12000: x:quad blind", "12000: A blind"))
      << "what reads a recorded metric is blind with the rule that records it";
}

TEST_F(JudgeTest, ARecordedSeriesEndsWhenItsRuleNoLongerMakesIt) {
  judge_.set_rules(read("groups: [{name: g, rules: [{record: 'x:high', expr: x > 5}, {alert: A, expr: 'x:high > 0'}]}]"), t0);
  watch(kShop, {"x"}, 1h);
  judge_.on_due(t0);

  EXPECT_THAT(told(push(t0 + 1s, 7)), ElementsAre("A firing", "x:high ok", "A breached"));
  EXPECT_THAT(told(push(t0 + 2s, 1)), ElementsAre("A inactive", "A ok"));
}

TEST_F(JudgeTest, ARuleBeforeTheOneThatRecordsSeesTheValueAnIntervalLater) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, rules: [{alert: A, expr: 'x:high > 0'}, {record: 'x:high', expr: x > 5}]}]"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0, 1);
  push(t0 + 500ms, 1);
  ASSERT_EQ(status().verdict, Verdict::ok);

  EXPECT_THAT(told(push(t0 + 1s, 7)), IsEmpty());
  EXPECT_THAT(run_until(t0 + 10s), ElementsAre("6000: A firing", "6000: A breached"));
}

TEST_F(JudgeTest, ARuleThatSpansServicesRunsOnItsIntervalAndIsAttributedByLabels) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, rules: ["
                        "{alert: A, expr: 'x > on () group_left () max(limit)'}]}]"),
                   t0);
  watch(kShop, {"x"}, 1h);
  judge_.set_service(kCart, {{kCart, "c", {"x"}, 1h}, {kCart, "d", {"limit"}, 1h}}, t0);
  EXPECT_THAT(told(judge_.on_due(t0)), UnorderedElementsAre("A blind", "A blind of cart/prod"));
  push(t0 + 1s, {sample("x", 7)});
  push(t0 + 1s, {sample("x", 1, kCart)}, kCart);

  EXPECT_THAT(told(push(t0 + 2s, {sample("limit", 5, kCart)}, kCart, "d")), IsEmpty()) << "not on a batch";
  EXPECT_THAT(run_until(t0 + 6s), ElementsAre("5000: A firing", "5000: A ok of cart/prod", "5000: A breached"));
  EXPECT_EQ(judge_.next_due(), t0 + 10s);
  EXPECT_THAT(told(judge_.begin_epoch(kShop, t0 + 7s)), ElementsAre("A inactive", "A blind"));
}

TEST_F(JudgeTest, ASpanningRecordingFeedsLocalRulesOfEveryService) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, rules: ["
                        "{record: 'x:share', expr: 'x / on () group_left () sum(x)'}, {alert: A, expr: 'x:share > 0.6'}]}]"),
                   t0);
  watch(kShop, {"x"}, 1h);
  watch(kCart, {"x"}, 1h);
  push(t0 + 1s, {sample("x", 7)});
  push(t0 + 1s, {sample("x", 1, kCart)}, kCart);

  const auto what = run_until(t0 + 5s);

  EXPECT_THAT(what, Contains("5000: A firing"));
  EXPECT_THAT(what, Contains("5000: A ok of cart/prod"));
}

TEST_F(JudgeTest, AServicesOwnRulesSeeItAloneAndGetItsLabels) {
  judge_.set_rules(read("groups: [{name: g, rules: [{alert: A, expr: sum(x) > 5}]}]", kShop), t0);
  watch(kShop, {"x"}, 1h);
  watch(kCart, {"x"}, 1h);
  judge_.on_due(t0);

  EXPECT_THAT(told(push(t0 + 1s, {sample("x", 100, kCart)}, kCart)), IsEmpty());
  EXPECT_THAT(told(push(t0 + 1s, 3)), ElementsAre("A ok")) << "the other service's 100 do not count";
  const Judgement breach = push(t0 + 2s, 7);
  ASSERT_THAT(told(breach), ElementsAre("A firing", "A breached"));
  EXPECT_EQ(breach.alerts[0].labels, (Labels{{"alertname", "A"}, {"service", "shop"}, {"environment", "prod"}}));
  EXPECT_THAT(judge_.status(kCart), IsEmpty());
}

TEST_F(JudgeTest, AQueryOffsetIsKeptOnTheInterval) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, query_offset: 2s, rules: [{alert: A, expr: x > 5}]}]"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0 + 4s, 7);
  push(t0 + 8500ms, 1);

  EXPECT_THAT(run_until(t0 + 20s), ElementsAre("5000: A ok", "10000: A firing", "10000: A breached", "15000: A inactive", "15000: A ok"));
}

TEST_F(JudgeTest, AFailedEvaluationIsBlindAndKeepsTheAlerts) {
  judge_.set_rules(alert("x + ignoring (pod) y > 5"), t0);
  watch(kShop, {"x", "y"}, 1h);
  push(t0 + 1s, {sample("x", 7), sample("y", 1)});
  ASSERT_EQ(judge_.alerts().size(), 1U);
  Sample second = sample("y", 1);
  second.labels.set("pod", "b");

  EXPECT_THAT(told(push(t0 + 2s, {second})), ElementsAre("A blind"));

  EXPECT_EQ(judge_.counters().evaluation_failures, 1U);
  EXPECT_FALSE(status().detail.empty());
  EXPECT_EQ(judge_.alerts().size(), 1U);
}

TEST_F(JudgeTest, TwoElementsThatBecomeTheSameAlertFailTheRule) {
  judge_.set_rules(alert("x > 5", "labels: {pod: all}"), t0);
  watch(kShop, {"x"}, 1h);
  Sample a = sample("x", 7), b = sample("x", 8);
  a.labels.set("pod", "a");
  b.labels.set("pod", "b");
  judge_.on_due(t0);

  push(t0 + 1s, {a, b});

  EXPECT_EQ(status().verdict, Verdict::blind);
  EXPECT_THAT(status().detail, HasSubstr("same labelset"));
  EXPECT_THAT(judge_.alerts(), IsEmpty());
}

std::vector<Sample> pods(int n, double value) {
  std::vector<Sample> out;
  for (int i = 0; i < n; ++i)
    out.push_back({Labels{{"__name__", "x"}, {"service", "shop"}, {"environment", "prod"}, {"pod", std::to_string(i)}}, value, false});
  return out;
}

TEST_F(JudgeTest, OverTheGroupsLimitAllAlertsAreClearedAsInPrometheus) {
  judge_.set_rules(read("groups: [{name: g, limit: 2, rules: [{alert: A, expr: x > 5}]}]", kShop), t0);
  watch(kShop, {"x"}, 1h);
  judge_.on_due(t0);

  EXPECT_THAT(told(push(t0 + 1s, pods(2, 7))), ElementsAre("A firing", "A firing", "A breached"));
  EXPECT_THAT(told(push(t0 + 2s, pods(3, 7))), ElementsAre("A inactive", "A inactive", "A blind"));
  EXPECT_EQ(status().detail, "exceeded limit of 2 with 3 alerts");
}

TEST_F(JudgeTest, ALimitCountsOverAllServices) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, limit: 2, rules: [{alert: A, expr: x > 5}, {record: r, expr: x * 2}]}]"), t0);
  watch(kShop, {"x"}, 1h);
  watch(kCart, {"x"}, 1h);
  push(t0 + 1s, {sample("x", 7, kCart)}, kCart);
  EXPECT_THAT(told(push(t0 + 1s, pods(1, 7))), IsEmpty()) << "not on a batch";
  EXPECT_THAT(run_until(t0 + 5s), IsSupersetOf({"5000: A firing", "5000: A firing of cart/prod"}));
  EXPECT_THAT(query("r", t0 + 5s), SizeIs(2));

  push(t0 + 6s, pods(2, 7));

  EXPECT_THAT(run_until(t0 + 10s), IsSupersetOf({"10000: A inactive", "10000: A inactive of cart/prod", "10000: A blind of cart/prod"}));
  EXPECT_EQ(judge_.report()[0].last_error, "exceeded limit of 2 with 3 alerts");
  EXPECT_EQ(judge_.report()[1].last_error, "exceeded limit of 2 with 3 series");
  EXPECT_EQ(judge_.report()[1].health, "err");
}

TEST_F(JudgeTest, ARuleHasAtMostAThousandAlerts) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 1h);

  push(t0 + 1s, pods(1005, 7));
  EXPECT_EQ(judge_.alerts().size(), 1000U);
  EXPECT_EQ(judge_.counters().alerts_dropped, 5U);

  push(t0 + 2s, pods(1005, 1));
  EXPECT_THAT(judge_.alerts(), IsEmpty());
  push(t0 + 3s, pods(10, 7));
  EXPECT_EQ(judge_.alerts().size(), 10U) << "room is given back";
}

TEST_F(JudgeTest, UnchangedRulesKeepTheirAlertsOverAReload) {
  judge_.set_rules(read("groups: [{name: g, rules: [{alert: A, expr: x > 5}, {alert: B, expr: x > 6}]}]"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0 + 1s, 7);

  judge_.set_rules(
      read("groups: [{name: g, rules: [{alert: C, expr: x > 100}, {alert: A, expr: x > 5}, {alert: B, expr: x > 6.5, for: 1m}]}]"),
      t0 + 2s);

  const Judgement after = judge_.on_due(t0 + 2s);
  EXPECT_THAT(told(after), UnorderedElementsAre("B inactive", "B ok", "B pending", "B breached", "C ok"));
  ASSERT_EQ(judge_.alerts().size(), 2U);
  EXPECT_EQ(judge_.alerts()[0].alert.rule, "A");
  EXPECT_EQ(judge_.alerts()[0].alert.since, t0 + 1s);
}

TEST_F(JudgeTest, ACheckNoLongerNamedIsForgotten) {
  judge_.set_rules(alert("x > 5"), t0);
  judge_.set_service(kShop, {{kShop, "c", {"x"}, 1h}, {kShop, "d", {"x"}, 1h}}, t0);
  push(t0 + 1s, 1);
  ASSERT_EQ(status().verdict, Verdict::blind) << "d has not spoken";

  judge_.set_service(kShop, {{kShop, "c", {"x"}, 1h}}, t0 + 2s);

  EXPECT_THAT(told(judge_.on_due(t0 + 2s)), ElementsAre("A ok"));
}

TEST_F(JudgeTest, ARemovedServiceIsGoneAndItsBatchesAreIgnored) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 10s);
  watch(kCart, {"x"}, 1h);
  push(t0 + 1s, 7);

  judge_.remove_service(kShop);

  EXPECT_THAT(judge_.alerts(), IsEmpty());
  EXPECT_THAT(judge_.status(kShop), IsEmpty());
  EXPECT_THAT(told(push(t0 + 2s, 7)), IsEmpty());
  EXPECT_EQ(judge_.store().series_count(), 0U);
  watch(kShop, {"x"}, 10s);
  EXPECT_THAT(told(push(t0 + 3s, 7)), ElementsAre("A firing", "A blind", "A breached"));
}

TEST_F(JudgeTest, ARuleWithoutAnySelectorIsJudgedToo) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, rules: [{alert: Always, expr: vector(1)}]}]"), t0);
  watch(kShop, {"x"});

  const auto what = run_until(t0 + 6s);

  EXPECT_THAT(what, Contains("5000: Always firing of /")) << "it belongs to no service";
}

TEST_F(JudgeTest, NothingIsDueWithoutRulesOrServices) {
  EXPECT_EQ(judge_.next_due(), std::nullopt);
  EXPECT_THAT(told(judge_.on_due(t0)), IsEmpty());
  EXPECT_THAT(told(judge_.on_gap(t0)), IsEmpty());
  EXPECT_THAT(told(judge_.begin_epoch(kShop, t0)), IsEmpty());
}

}  // namespace
}  // namespace rollbackd::rules
