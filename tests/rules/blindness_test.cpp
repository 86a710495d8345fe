// Blindness through the judge: from silent sources, by way of every operator, to a rule's verdict.
#include <memory>

#include "tests/rules/judge_fixture.hpp"

namespace rollbackd::rules {
namespace {

using testing::Contains;
using testing::HasSubstr;

/// Three sources: `full` has a value of 7, `empty` speaks and has nothing to say, `blind` is silent (with a value from before).
class BlindnessTest : public JudgeTest {
 protected:
  std::string verdict_of(const std::string& expr, const std::string& more = "") {
    std::destroy_at(&judge_);
    std::construct_at(&judge_);
    judge_.set_rules(read("groups: [{name: g, interval: 5s, rules: [{alert: A, expr: '" + expr + "'" + more + "}]}]", kShop), t0);
    judge_.set_service(kShop, {{kShop, "f", {"full"}, 1h}, {kShop, "e", {"empty"}, 1h}, {kShop, "b", {"blind"}, 10s}}, t0);
    push(t0 + 1s, {sample("blind", 3)}, kShop, "b");
    run_until(t0 + 19s);
    push(t0 + 20s, {sample("full", 7)}, kShop, "f");
    push(t0 + 20s, {}, kShop, "e");
    run_until(t0 + 26s);
    return to_string(status().verdict);
  }
};

TEST_F(BlindnessTest, EveryConstructSaysWhatIsKnownAndNoMore) {
  const std::vector<std::pair<std::string, std::string>> table{
      // Selectors.
      {"full", "breached"},
      {"empty", "ok"},
      {"blind", "blind"},
      {"nobody_delivers_it", "ok"},
      {"full > 10", "ok"},
      {"blind > 10", "blind"},
      {"blind > 1", "blind"},
      // Set operators.
      {"full or empty", "breached"},
      {"empty or full", "breached"},
      {"empty or empty", "ok"},
      {"blind or empty", "blind"},
      {"blind > 10 or empty", "blind"},
      {"full and full", "breached"},
      {"full and empty", "ok"},
      {"empty and blind", "ok"},
      {"blind and empty", "ok"},
      {"full and blind", "blind"},
      {"blind and full", "blind"},
      {"full unless empty", "breached"},
      {"full unless full", "ok"},
      {"empty unless blind", "blind"},  // The design says so of any left side.
      {"full unless blind", "blind"},
      {"full unless (blind > 10)", "blind"},
      {"blind unless empty", "blind"},
      // Absence.
      {"absent(full)", "ok"},
      {"absent(empty)", "breached"},
      {"absent(blind > 10)", "blind"},
      {"absent_over_time(empty[1m])", "breached"},
      {"absent_over_time(blind[5s])", "blind"},
      // Aggregations, also over what is empty but blind.
      {"sum(full) > 1", "breached"},
      {"sum(blind) > 1", "blind"},
      {"count(blind > 10) > 1", "blind"},
      {"sum(full or blind) > 100", "blind"},
      {"topk(1, blind)", "blind"},
      {"quantile(0.9, blind) > 100", "blind"},
      {"count_values(\"v\", blind)", "blind"},
      {"group without (check) (empty)", "ok"},
      // Arithmetic, comparison, functions.
      {"full + full", "breached"},
      {"full + empty", "ok"},
      {"full * on () blind", "blind"},
      {"blind - full", "blind"},
      {"-blind", "blind"},
      {"full > on () group_left () blind", "blind"},
      {"blind == bool 3", "blind"},
      {"1 - full", "breached"},
      {"rate(full[1m])", "ok"},
      {"rate(blind[1m]) > 0", "blind"},
      {"count_over_time(full[1m]) > 0", "breached"},
      {"abs(blind) > 100", "blind"},
      {"label_replace(blind, \"a\", \"b\", \"\", \"\") > 100", "blind"},
      {"histogram_quantile(0.9, blind) > 1", "blind"},
      {"timestamp(blind) < 0", "blind"},
      {"clamp_max(blind, 1) > 1", "blind"},
      {"sort(blind) > 100", "blind"},
      // Scalars.
      {"vector(scalar(full)) > 1", "breached"},
      {"vector(scalar(blind)) > 1", "blind"},
      {"full > scalar(blind)", "blind"},
      {"full > scalar(full) - 1", "breached"},
      {"scalar(blind) > bool 1", "blind"},
      {"vector(1)", "breached"},
      {"vector(1) > 2", "ok"},
      {"clamp_max(full, scalar(blind)) > 0", "blind"},
      {"quantile(scalar(blind), full) > 0", "blind"},
      // Subqueries and times.
      {"max_over_time(full[1m:5s]) > 1", "breached"},
      {"max_over_time(blind[1m:5s]) > 100", "blind"},
      {"max_over_time((full > 100)[1m:5s])", "ok"},
      {"max_over_time((full unless blind)[1m:5s])", "blind"},
      {"blind offset 5s", "blind"},
      {"blind @ 1001", "blind"},
      {"empty offset 1h", "ok"},
      // What decides is known.
      {"(full or blind) and empty", "ok"},
      {"(empty and blind) or full", "breached"},
      {"absent(empty and blind)", "breached"},
  };
  for (const auto& [expr, verdict] : table) EXPECT_EQ(verdict_of(expr), verdict) << expr;
}

TEST_F(BlindnessTest, WhatIsBlindSaysWhy) {
  verdict_of("sum(full) / sum(blind) > 3");

  EXPECT_THAT(status().detail, HasSubstr("check b of shop/prod has delivered nothing for"));
  EXPECT_FALSE(status().failed);
}

TEST_F(BlindnessTest, ARecordedMetricIsAsBlindAsItsRule) {
  const std::string recorded = "groups: [{name: g, rules: [{record: r, expr: blind * 2}, {record: s, expr: r + 1}, {alert: A, expr: '";
  for (const auto& [expr, verdict] : std::vector<std::pair<std::string, Verdict>>{{"s > 100", Verdict::blind},
                                                                                  {"s > 1", Verdict::blind},
                                                                                  {"absent(s)", Verdict::ok},
                                                                                  {"absent(s > 100)", Verdict::blind},
                                                                                  {"s and empty", Verdict::ok}}) {
    judge_.set_rules(read(recorded + expr + "'}]}]", kShop), t0);
    judge_.set_service(kShop, {{kShop, "e", {"empty"}, 1h}, {kShop, "b", {"blind"}, 10s}}, t0);
    push(t0 + 1s, {sample("blind", 3)}, kShop, "b");
    run_until(t0 + 19s);
    push(t0 + 20s, {}, kShop, "e");
    run_until(t0 + 21s);
    EXPECT_EQ(status().verdict, verdict) << expr;
  }
}

TEST_F(BlindnessTest, AnEarlierReleaseIsJudgedByTheSourcesOfNow) {
  judge_.set_rules(alert("max_over_time(x[1m]) > 2 * max_over_time(x[1m] offset 2m)"), t0);
  watch(kShop, {"x"}, 10s);
  judge_.begin_epoch(kShop, t0);
  push(t0 + 1s, 1);
  judge_.begin_epoch(kShop, t0 + 100s);

  EXPECT_EQ(status().verdict, Verdict::blind) << "nothing of the new release is known";
  push(t0 + 121s, 5);
  EXPECT_EQ(status().verdict, Verdict::breached);
  EXPECT_THAT(run_until(t0 + 140s), Contains("131000: A blind"));
}

TEST_F(BlindnessTest, ASpanningRuleIsBlindForAllThatItMayBeAbout) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, rules: [{alert: Share, expr: 'x / on () group_left () sum(x) > 0.9'},"
                        "{alert: Sum, expr: 'sum(x) > 100'}]}]"),
                   t0);
  watch(kShop, {"x"}, 1h);
  watch(kCart, {"x"}, 10s);
  push(t0 + 1s, {sample("x", 1)});
  push(t0 + 1s, {sample("x", 1, kCart)}, kCart);
  EXPECT_EQ(judge_.status(kShop).size(), 1U) << "a sum over all is nobody's: it holds no service up";

  const auto out = run_until(t0 + 20s);

  EXPECT_THAT(out, Contains("5000: Share ok"));
  EXPECT_THAT(out, Contains("15000: Share blind"));
  EXPECT_THAT(out, Contains("15000: Share blind of cart/prod"));
  EXPECT_THAT(judge_.status(kShop)[0].detail, HasSubstr("check c of cart/prod")) << "and it names who is silent";
}

TEST_F(BlindnessTest, WhereServicesAreKeptApartEachIsJudgedByItsOwn) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, query_offset: 1s, rules: [{alert: A, expr: x > 5}]}]"), t0);
  watch(kShop, {"x"}, 1h);
  watch(kCart, {"x"}, 10s);
  push(t0 + 1s, {sample("x", 7)});
  push(t0 + 1s, {sample("x", 7, kCart)}, kCart);

  const auto out = run_until(t0 + 20s);

  EXPECT_THAT(out, Contains("15000: A blind of cart/prod"));
  EXPECT_EQ(status().verdict, Verdict::breached);
  push(t0 + 21s, 1);
  EXPECT_THAT(run_until(t0 + 26s), Contains("25000: A inactive"));
}

}  // namespace
}  // namespace rollbackd::rules
