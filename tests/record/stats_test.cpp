// Statistics over rows: what counts, exact quantiles, and nothing said of nothing.
#include "record/stats.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rollbackd::record {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

const Instant t0 = Instant::from_seconds(1'790'000'000);

struct Row {
  OperationKind kind = OperationKind::rollback;
  OperationStatus status = OperationStatus::succeeded;
  Duration took = 2s;
  std::string reason = "ProcessCrashed";
  std::string environment = "prod";
  Cause cause = Cause::crash;
  Duration ago{};
};

OperationRow row(const Row& of) {
  OperationRow out;
  out.request.kind = of.kind;
  out.request.service = {"shop", of.environment};
  out.request.cause = of.cause;
  out.request.reason = of.reason;
  out.status = of.status;
  out.begun = t0 - of.ago;
  if (is_terminal(of.status)) {
    out.switched = out.begun + 10ms;
    out.ended = out.begun + of.took;
    out.phases = {{"switch", 10ms}, {"verify", of.took - 10ms}};
  }
  return out;
}

DecisionFacts decision(DecisionKind kind, std::vector<std::string> refused_by = {}, Duration ago = {}) {
  DecisionFacts out;
  out.service = {"shop", "prod"};
  out.at = t0 - ago;
  out.kind = kind;
  out.refused_by = std::move(refused_by);
  return out;
}

TEST(Spread, QuantilesAreExactAndTheirBordersAreNearestRank) {
  struct Case {
    std::vector<double> values;
    double mean, median, p95, max;
  };
  std::vector<double> twenty, hundred;
  for (int i = 1; i <= 20; ++i) twenty.push_back(i);
  for (int i = 100; i >= 1; --i) hundred.push_back(i);
  const std::vector<Case> cases{{{3}, 3, 3, 3, 3},
                                {{1, 3}, 2, 2, 3, 3},
                                {{9, 1, 2}, 4, 2, 9, 9},
                                {{1, 1, 1, 97}, 25, 1, 97, 97},
                                {twenty, 10.5, 10.5, 19, 20},
                                {hundred, 50.5, 50.5, 95, 100}};

  for (const Case& c : cases) {
    const Spread spread = spread_of(c.values);
    EXPECT_EQ(spread.count, c.values.size());
    EXPECT_DOUBLE_EQ(spread.mean, c.mean) << c.values.size();
    EXPECT_DOUBLE_EQ(spread.median, c.median) << c.values.size();
    EXPECT_DOUBLE_EQ(spread.p95, c.p95) << c.values.size();
    EXPECT_DOUBLE_EQ(spread.max, c.max) << c.values.size();
  }
}

TEST(Stats, OfNothingThereIsNoRateAndNoDuration) {
  const Stats stats = compute_stats({}, {}, t0);

  EXPECT_EQ(stats.operations, 0U);
  EXPECT_EQ(stats.success_rate, std::nullopt);
  EXPECT_TRUE(stats.to_json()["success_rate"].is_null());
  EXPECT_TRUE(stats.to_json()["durations"]["total"]["mean_seconds"].is_null());
  EXPECT_EQ(stats.to_json()["durations"]["total"]["count"].int_or(-1), 0);
  EXPECT_THAT(stats.by_status, IsEmpty());
}

TEST(Stats, TheRateIsOfRollbacksThatEndedAndUnverifiedIsNoSuccess) {
  const Stats stats =
      compute_stats({row({}), row({}), row({.status = OperationStatus::unverified}), row({.status = OperationStatus::failed}),
                     row({.status = OperationStatus::running}), row({.kind = OperationKind::deploy})},
                    {}, std::nullopt);

  EXPECT_EQ(stats.operations, 6U);
  EXPECT_EQ(stats.unfinished, 1U);
  EXPECT_EQ(stats.rollbacks, 4U);
  EXPECT_EQ(stats.succeeded, 2U);
  EXPECT_EQ(stats.success_rate, 0.5);
  EXPECT_THAT(stats.by_status, ElementsAre(Pair("succeeded", 3), Pair("failed", 1), Pair("running", 1), Pair("unverified", 1)));
}

TEST(Stats, AnOperationThatStillRunsIsNoFailureAndNoHundredPercent) {
  const Stats stats = compute_stats({row({.status = OperationStatus::verifying})}, {}, std::nullopt);

  EXPECT_EQ(stats.success_rate, std::nullopt);
  EXPECT_EQ(stats.total.count, 0U);
}

TEST(Stats, DurationsAreOfTheWholeOfThePhasesAndOfTheWayToTheSwitch) {
  const Stats stats =
      compute_stats({row({.took = 1s}), row({.took = 3s}), row({.status = OperationStatus::failed, .took = 20s})}, {}, std::nullopt);

  EXPECT_DOUBLE_EQ(stats.total.median, 3);
  EXPECT_DOUBLE_EQ(stats.total.mean, 8);
  EXPECT_DOUBLE_EQ(stats.to_switched.median, 0.01);
  EXPECT_EQ(stats.to_verified.count, 2U) << "what failed was never verified";
  EXPECT_DOUBLE_EQ(stats.to_verified.max, 2.99);
  ASSERT_EQ(stats.phases.size(), 2U);
  EXPECT_EQ(stats.phases[0].first, "switch");
  EXPECT_EQ(stats.phases[1].first, "verify");
  EXPECT_DOUBLE_EQ(stats.phases[1].second.max, 19.99);
}

TEST(Stats, WhatIsBeforeSinceIsNotCountedAndTheFirstOfTheRestIsTold) {
  const Stats stats = compute_stats({row({.ago = 1h}), row({.ago = 25h}), row({.ago = 24h})},
                                    {decision(DecisionKind::hold, {}, 25h), decision(DecisionKind::hold)}, t0 - 24h);

  EXPECT_EQ(stats.operations, 2U);
  EXPECT_EQ(stats.first, t0 - 24h);
  EXPECT_EQ(stats.holds, 1U);
}

TEST(Stats, TheFiveCommonestReasonsAndEnvironmentsAndCausesComeMostFirst) {
  std::vector<OperationRow> rows;
  for (const char* reason : {"a", "b", "b", "c", "c", "c", "d", "e", "f", "", "  "}) rows.push_back(row({.reason = reason}));
  rows.push_back(row({.kind = OperationKind::deploy, .reason = "of a deployment", .environment = "staging", .cause = Cause::operator_}));

  const Stats stats = compute_stats(rows, {}, std::nullopt);

  EXPECT_THAT(stats.reasons, ElementsAre(Pair("c", 3), Pair("b", 2), Pair("a", 1), Pair("d", 1), Pair("e", 1)));
  EXPECT_THAT(stats.by_environment, ElementsAre(Pair("prod", 11), Pair("staging", 1)));
  EXPECT_THAT(stats.by_cause, ElementsAre(Pair("crash", 11), Pair("operator", 1)));
  EXPECT_THAT(stats.by_kind, ElementsAre(Pair("rollback", 11), Pair("deploy", 1)));
}

TEST(Stats, OurOwnReasonsAreTheSameWhenTheSameRulesFiredWheneverThatWas) {
  std::vector<OperationRow> rows{
      row({.reason =
               "ErrorRatioHigh firing since 2026-11-20T12:00:00.000Z: 20 %; ProcessCrashed firing since 2026-11-20T12:00:01.000Z: 1"}),
      row({.reason =
               "ProcessCrashed firing since 2026-11-21T01:00:00.000Z: 3; ErrorRatioHigh firing since 2026-11-21T01:00:01.000Z: 55 %"}),
      row({.reason = "ProcessCrashed firing since 2026-11-22T01:00:00.000Z: 1"}), row({.reason = "verification of v2 failed"})};
  rows.push_back(row({.reason = "I saw X firing since noon"}));
  rows.back().request.trigger = Trigger::manual;

  const Stats stats = compute_stats(rows, {}, std::nullopt);

  EXPECT_THAT(stats.reasons, ElementsAre(Pair("ErrorRatioHigh, ProcessCrashed firing", 2), Pair("I saw X firing since noon", 1),
                                         Pair("ProcessCrashed firing", 1), Pair("verification of v2 failed", 1)));
}

TEST(Stats, HoldsAreCountedByEachGuardThatSaidNo) {
  const Stats stats = compute_stats({},
                                    {decision(DecisionKind::hold, {"budget", "cooldown"}), decision(DecisionKind::hold, {"budget"}),
                                     decision(DecisionKind::hold), decision(DecisionKind::rollback, {"window_open"})},
                                    std::nullopt);

  EXPECT_EQ(stats.holds, 3U);
  EXPECT_THAT(stats.holds_by_guard, ElementsAre(Pair("budget", 2), Pair("cooldown", 1)));
}

}  // namespace
}  // namespace rollbackd::record
