// What runs a rule, exactly: series that come and go, reloads, windows that run out; and the judge with compiled rules beside the judge
// without.
#include <random>

#include "tests/rules/judge_fixture.hpp"

namespace rollbackd::rules {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class TouchTest : public JudgeTest {
 protected:
  static Sample labelled(const std::string& metric, const std::string& i, double value) {
    Sample out = sample(metric, value);
    out.labels.set("i", i);
    return out;
  }
  std::uint64_t evaluations() const { return judge_.counters().evaluations; }
};

TEST_F(TouchTest, ASeriesThatComesAfterTheRulesTouchesThoseThatReadIt) {
  judge_.set_rules(read(R"(groups: [{name: g, rules: [
    {alert: Exact, expr: 'x{i="1"} > 5'}, {alert: Pattern, expr: '{__name__=~"x|y"} > 5'}, {alert: Negative, expr: 'x{i!="1"} > 5'},
    {alert: NotNamed, expr: '{__name__!~"x|ALERTS.*",i="3"} > 5'}]}])"),
                   t0);
  watch(kShop, {}, 1h);
  push(t0, {sample("z", 0)});

  EXPECT_THAT(told(push(t0 + 1s, {labelled("x", "1", 7)})),
              ElementsAre("Exact firing", "Pattern firing", "Exact breached", "Pattern breached"));
  EXPECT_THAT(told(push(t0 + 2s, {labelled("x", "2", 7)})), ElementsAre("Pattern firing", "Negative firing", "Negative breached"));
  EXPECT_THAT(told(push(t0 + 3s, {labelled("y", "3", 7)})), ElementsAre("Pattern firing", "NotNamed firing", "NotNamed breached"));
  const std::uint64_t before = evaluations();
  push(t0 + 4s, {sample("z", 0)});
  EXPECT_EQ(evaluations(), before) << "nobody reads it";
  push(t0 + 5s, {labelled("x", "1", 7)});
  EXPECT_EQ(evaluations(), before + 2) << "Exact and Pattern";
}

TEST_F(TouchTest, AReloadFindsTheReadersOfTheSeriesThatAreThere) {
  judge_.set_rules(alert("y > 5"), t0);
  watch(kShop, {"x", "y"}, 1h);
  push(t0, {sample("x", 7), sample("y", 1)});

  judge_.set_rules(read("groups: [{name: g, rules: [{alert: B, expr: 'x > 5'}, {alert: C, expr: 'rate(x[1m]) > 5'}]}]"), t0 + 1s);
  EXPECT_THAT(told(judge_.on_due(t0 + 1s)), ElementsAre("B firing", "A ok", "B breached", "C ok"));
  const std::uint64_t before = evaluations();
  EXPECT_THAT(told(push(t0 + 2s, {sample("x", 1)})), ElementsAre("B inactive", "B ok"));
  EXPECT_EQ(evaluations(), before + 2);
  EXPECT_THAT(told(push(t0 + 3s, {sample("x", 1000)})), ElementsAre("B firing", "C firing", "B breached", "C breached"));
}

TEST_F(TouchTest, ASeriesThatWasForgottenAndComesAgainIsReadAgain) {
  std::destroy_at(&judge_);
  std::construct_at(&judge_, series::Limits{.retention = 1min});
  judge_.set_rules(alert("sum_over_time(x[50s]) > 5"), t0);
  watch(kShop, {"x", "y"}, 1h);
  judge_.on_due(t0);
  EXPECT_THAT(told(push(t0, {sample("x", 7), sample("y", 1)})), ElementsAre("A firing", "A breached"));
  for (int i = 1; i <= 10; ++i) push(t0 + i * 20s, {sample("y", 1)});
  run_until(t0 + 200s);
  for (const series::Selected& s : judge_.store().dump(0, 100)) EXPECT_NE(s.labels->name(), "x") << "it is forgotten";

  EXPECT_THAT(told(push(t0 + 210s, {sample("x", 6)})), ElementsAre("A firing", "A breached"));
  judge_.remove_service(kShop);
  EXPECT_EQ(judge_.store().series_count(), 0U);
}

TEST_F(TouchTest, AWindowThatEmptiesBreachesAlthoughNothingCame) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, rules: [{alert: A, expr: 'count_over_time(x[20s]) < 2'}]}]"), t0);
  watch(kShop, {"x", "y"}, 1h);
  push(t0, {sample("x", 1)});
  EXPECT_THAT(told(push(t0 + 1s, {sample("x", 1)})), ElementsAre("A inactive", "A ok"));
  const std::uint64_t before = evaluations();

  EXPECT_THAT(run_until(t0 + 9s), IsEmpty());
  EXPECT_EQ(evaluations(), before + 1) << "asked once, an interval after it was touched";
  EXPECT_THAT(run_until(t0 + 40s), ElementsAre("20000: A firing", "20000: A breached", "21000: A inactive", "21000: A ok"))
      << "at t0 + 20 s one is left; when it leaves too there is no series, and nothing to breach";
}

TEST_F(TouchTest, ASmoothedWindowIsAskedAgainEachIntervalAsItsEndsMoveBetweenSamples) {
  judge_.set_rules(read("groups: [{name: g, interval: 5s, rules: [{alert: A, expr: 'increase(x[20s] smoothed) > 5'}]}]"), t0);
  watch(kShop, {"x"}, 1h);
  push(t0, {sample("x", 0)});
  EXPECT_THAT(told(push(t0 + 10s, {sample("x", 10)})), ElementsAre("A firing", "A breached"));
  EXPECT_THAT(run_until(t0 + 40s), ElementsAre("25000: A inactive", "25000: A ok"))
      << "five of the ten are left; no sample has left at 25 s";
}

TEST_F(TouchTest, ABatchOfManyServicesTouchesEachOnesOwnRules) {
  judge_.set_rules(alert("x > 5"), t0);
  watch(kShop, {"x"}, 1h);
  watch(kCart, {"x"}, 1h);
  push(t0, {sample("x", 1)});
  push(t0, {sample("x", 1, kCart)}, kCart);

  EXPECT_THAT(told(push(t0 + 1s, {sample("x", 7, kCart)})), ElementsAre("A firing of cart/prod", "A breached of cart/prod"))
      << "whose series it is counts, not whose check brought it";
}

/// The same rules twice: as they are, and written so that only the general evaluator takes them.
class Twins {
 public:
  Twins() {
    const char* const shapes[] = {"x > 50",
                                  "30 > x",
                                  "rate(x[20s]) > 12",
                                  "increase(x[7s]) < 70",
                                  "max_over_time(x[15s]) < 40",
                                  "count_over_time(x[10s]) <= 3",
                                  "sum by (g) (rate(x[30s])) / sum by (g) (rate(y[30s])) > 1",
                                  "avg_over_time(y[12s]) > 60"};
    for (const bool general : {false, true}) {
      std::string yaml = "groups: [{name: g, interval: 5s, rules: [";
      int n = 0;
      for (const std::string shape : shapes) {
        yaml += "{alert: A" + std::to_string(n) + ", expr: '" + (general ? "(" + shape + ") or (" + shape + ")" : shape) + "'" +
                (n % 3 == 1 ? ", for: 4s" : "") + (n % 3 == 2 ? ", keep_firing_for: 3s" : "") + "},";
        ++n;
      }
      Judge& judge = general ? general_ : compiled_;
      std::vector<config::Problem> problems;
      judge.set_rules(parse_groups(yaml + "]}]", "rules.yml", kShop, problems), t0);
      judge.set_service(kShop, {Source{kShop, "c", {}, 25s}}, t0);
    }
  }
  template <class F>
  void both(F&& call, const std::string& where) {
    const auto a = told(call(compiled_)), b = told(call(general_));
    EXPECT_EQ(a, b) << where;
    changes += a.size();
  }
  std::optional<Instant> next_due() const {
    const auto a = compiled_.next_due(), b = general_.next_due();
    return !a || (b && *b < *a) ? b : a;
  }
  std::vector<std::string> standing(const Judge& judge) const {
    std::vector<std::string> out;
    for (const RuleStatus& s : judge.status(kShop))
      out.push_back(s.rule + " " + to_string(s.verdict) + " " + (s.fed ? "fed " : "") + s.detail);
    for (const ActiveAlert& a : judge.alerts()) out.push_back(a.alert.labels.to_string() + " " + to_string(a.alert.phase));
    return out;
  }
  void compare(const std::string& where) const { EXPECT_EQ(standing(compiled_), standing(general_)) << where; }

  std::size_t changes = 0;

 private:
  Judge compiled_, general_;
};

TEST(Twins, SayTheSameAtTheSameInstants) {
  for (std::uint32_t seed = 1; seed <= 3; ++seed) {
    std::mt19937 random(seed);
    Twins twins;
    Instant now = t0;
    double counters[4] = {};
    for (int step = 0; step < 300 && !testing::Test::HasFailure(); ++step) {
      const std::string where = "seed " + std::to_string(seed) + ", step " + std::to_string(step);
      const Instant next = now + std::chrono::milliseconds(random() % 5 == 0 ? random() % 40'000 : random() % 3'000 + 1);
      for (auto due = twins.next_due(); due && *due <= next; due = twins.next_due())
        twins.both([&](Judge& judge) { return judge.on_due(*due); }, where + ", due");
      now = next;
      if (random() % 30 == 0) twins.both([&](Judge& judge) { return judge.begin_epoch(kShop, now); }, where + ", epoch");
      if (random() % 50 == 0) twins.both([&](Judge& judge) { return judge.on_gap(now); }, where + ", gap");
      Batch batch;
      batch.service = kShop;
      batch.check = "c";
      batch.began = batch.at = now;
      if (random() % 20 == 0) batch.unobserved = "refused";
      for (std::size_t i = 0; i < 4; ++i) {
        if (random() % 5 == 0) continue;
        counters[i] = random() % 15 == 0 ? 0 : counters[i] + static_cast<double>(random() % 40);
        Labels labels{
            {"__name__", i < 2 ? "x" : "y"}, {"service", "shop"}, {"environment", "prod"}, {"check", "c"}, {"g", i % 2 == 0 ? "a" : "b"}};
        batch.samples.push_back({std::move(labels), random() % 40 == 0 ? series::stale_nan() : counters[i]});
      }
      twins.both([&](Judge& judge) { return judge.on_batch(batch); }, where + ", batch");
      twins.compare(where);
    }
    EXPECT_GT(twins.changes, 300U) << "seed " << seed;
  }
}

}  // namespace
}  // namespace rollbackd::rules
