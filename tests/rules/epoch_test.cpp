// v1 -> v2 -> v1 under every construct that looks back: no window mixes releases, offset reaches the release before, `for` starts anew.
#include <memory>

#include "tests/rules/judge_fixture.hpp"

namespace rollbackd::rules {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

/// v1 from 1000 s on with x = 1, v2 from 1060 s on with x = 20, v1 again from 1120 s on with x = 300; a sample every 5 s, a counter beside
/// it.
class EpochTest : public JudgeTest {
 protected:
  void SetUp() override {
    judge_.set_rules(Groups{}, t0);
    watch(kShop, {"x", "n_total"}, 1h);
    const std::vector<double> values{1, 20, 300};
    double n = 0;
    for (int i = 0; i < 36; ++i) {
      if (i % 12 == 0) judge_.begin_epoch(kShop, t0 + i * 5s);
      const double value = values[static_cast<std::size_t>(i / 12)];
      n += value;
      push(t0 + i * 5s + 1s, {sample("x", value), sample("n_total", n)});
    }
  }
  std::string one(const std::string& expr, Duration at) {
    const auto all = query(expr, t0 + at);
    if (all.empty()) return "";
    return all.size() == 1 ? all[0].substr(all[0].rfind(' ') + 1) : "several";
  }
};

TEST_F(EpochTest, EveryWayToLookBackSeesTheReleaseAtItsReference) {
  const std::vector<std::tuple<std::string, Duration, std::string>> table{
      // Instant selectors.
      {"x", 50s, "1"},
      {"x", 70s, "20"},
      {"x", 170s, "300"},
      {"x", 60s, ""},  // v2 has not spoken: v1's last word is not its.
      {"x offset 1m", 110s, "1"},
      {"x offset 1m", 170s, "20"},
      {"x offset 2m", 170s, "1"},
      {"x offset 61s", 121s, ""},  // The very moment v2 began.
      {"x offset -60s", 50s, "20"},
      // Windows.
      {"count_over_time(x[10m])", 55s, "11"},
      {"max_over_time(x[10m])", 70s, "20"},
      {"min_over_time(x[10m])", 70s, "20"},
      {"min_over_time(x[10m])", 179s, "300"},
      {"max_over_time(x[10m] offset 1m)", 170s, "20"},
      {"min_over_time(x[10m] offset 1m)", 170s, "20"},
      {"max_over_time(x[10m] offset 2m)", 170s, "1"},
      {"increase(n_total[50s])", 115s, "200"},
      {"sum_over_time(x[20s] offset 50s)", 120s, "40"},  // Two samples of v2; the two before them are v1's.
      // @, start() and end().
      {"x @ 1050", 170s, "1"},
      {"x @ 1100", 170s, "20"},
      {"x @ 1110 offset 1m", 170s, "1"},
      {"max_over_time(x[10m] @ 1100)", 170s, "20"},
      {"min_over_time(x[10m] @ 1100)", 170s, "20"},
      {"min_over_time(x[10m] @ end())", 170s, "300"},
      {"min_over_time(x[10m] @ start() offset 1m)", 170s, "20"},
      {"x @ end() / x @ 1100", 170s, "15"},
      // Subqueries: each step is an evaluation at its own instant, in the release of then.
      {"max_over_time(x[1m:5s])", 55s, "1"},
      {"max_over_time(min_over_time(x[10m])[50s:10s])", 110s, "20"},
      {"min_over_time(min_over_time(x[10m])[30s:10s] offset 1m)", 170s, "20"},
      {"max_over_time((x @ 1100)[1m:10s])", 170s, "20"},
      {"max_over_time(max_over_time(x[10m])[20s:5s] @ 1100)", 170s, "20"},
      {"count_over_time(sum_over_time(x[20s])[30s:10s] offset 2m)", 170s, "3"},
      // One release beside another.
      {"x / x offset 1m", 170s, "15"},
      {"avg_over_time(x[30s]) / avg_over_time(x[30s] offset 1m) / avg_over_time(x[30s] offset 2m)", 170s, "15"},
  };
  for (const auto& [expr, at, value] : table) EXPECT_EQ(one(expr, at), value) << expr << " at " << at.count() / 1'000'000'000 << " s";
}

TEST_F(EpochTest, AForBelongsToItsRelease) {
  std::destroy_at(&judge_);
  std::construct_at(&judge_);
  judge_.set_rules(alert("x > 5", "for: 20s, keep_firing_for: 1h"), t0);
  watch(kShop, {"x"}, 1h);
  std::vector<std::string> out;
  const auto breached = [&](int from, int to) {
    for (int i = from; i < to; ++i)
      for (const std::string& what : told(push(t0 + i * 1s + 1ms, 7))) out.push_back(std::to_string(i) + ": " + what);
  };
  judge_.begin_epoch(kShop, t0);
  breached(0, 15);
  const Judgement second = judge_.begin_epoch(kShop, t0 + 15s);
  breached(15, 40);
  const Judgement third = judge_.begin_epoch(kShop, t0 + 40s);
  breached(40, 50);

  EXPECT_THAT(told(second), ElementsAre("A inactive", "A blind"));
  EXPECT_THAT(told(third), ElementsAre("A inactive", "A blind")) << "not kept firing either";
  EXPECT_THAT(out, ElementsAre("0: A pending", "0: A breached", "15: A pending", "15: A breached", "35: A firing", "40: A pending",
                               "40: A breached"));
}

TEST_F(EpochTest, WhatRulesRecordBelongsToItsReleaseToo) {
  std::destroy_at(&judge_);
  std::construct_at(&judge_);
  judge_.set_rules(read("groups: [{name: g, rules: [{record: r, expr: x * 10}, {record: m, expr: 'min_over_time(r[10m])'}]}]"), t0);
  watch(kShop, {"x"}, 1h);
  judge_.begin_epoch(kShop, t0);
  push(t0 + 1s, 1);
  judge_.begin_epoch(kShop, t0 + 10s);
  push(t0 + 11s, 2);
  judge_.begin_epoch(kShop, t0 + 20s);
  push(t0 + 21s, 3);

  EXPECT_EQ(one("m", 21s), "30");
  EXPECT_EQ(one("m offset 10s", 22s), "20");
  EXPECT_EQ(one("m offset 20s", 22s), "10");
}

TEST_F(EpochTest, AnotherServicesEpochsAreItsOwn) {
  std::destroy_at(&judge_);
  std::construct_at(&judge_);
  judge_.set_rules(Groups{}, t0);
  watch(kShop, {"x"}, 1h);
  watch(kCart, {"x"}, 1h);
  judge_.begin_epoch(kShop, t0);
  judge_.begin_epoch(kCart, t0);
  push(t0 + 1s, 1);
  push(t0 + 1s, {sample("x", 1, kCart)}, kCart);
  judge_.begin_epoch(kShop, t0 + 10s);
  push(t0 + 11s, 5);
  push(t0 + 11s, {sample("x", 5, kCart)}, kCart);

  EXPECT_EQ(one("min_over_time(x{service=\"shop\"}[1m])", 12s), "5");
  EXPECT_EQ(one("min_over_time(x{service=\"cart\"}[1m])", 12s), "1");
  EXPECT_EQ(one("sum(count_over_time(x[1m]))", 12s), "3");
}

}  // namespace
}  // namespace rollbackd::rules
