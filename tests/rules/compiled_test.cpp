#include "rules/compiled.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/rules/compiled_both.hpp"

namespace rollbackd::rules {
namespace {

const ServiceKey kShop{"shop", "prod"};
const Instant t0 = Instant::from_seconds(1'700'000'000);

/// Every shape. `!= 2` lets nearly all values be seen, NaN too; the others show verdicts.
std::vector<std::string> every_shape() {
  std::vector<std::string> out;
  for (const char* comparison : {" > 2", " < 0.5", " >= -1e9", " <= 3", " == 1", " != 2", " > bool 1"}) {
    out.push_back(std::string("m") + comparison);
    out.push_back(std::string("rate(m[30s])") + comparison);
  }
  for (const char* f : {"rate", "increase", "delta", "changes", "resets", "avg_over_time", "min_over_time", "max_over_time",
                        "sum_over_time", "count_over_time", "last_over_time", "present_over_time"}) {
    out.push_back(std::string(f) + "(m{i!=\"3\"}[1m]) != 2");
    out.push_back(std::string(f) + "(n[7s]) != 2");
    out.push_back(std::string(f) + "(n{i=\"1\"}[4m]) != 2");
  }
  for (const char* comparison : {" > 1", " != 2", " < bool 1"}) {
    out.push_back(std::string("sum by (g) (rate(m[30s])) / sum by (g) (rate(n[30s]))") + comparison);
    out.push_back(std::string("sum(increase(n[2m])) / sum(increase(m[2m]))") + comparison);
    out.push_back(std::string("sum by (g, i) (m)") + comparison);
    out.push_back(std::string("sum (avg_over_time(m[20s]))") + comparison);
  }
  out.push_back("2 < m");
  out.push_back("-1 >= bool m");
  out.push_back("(0.5) != (rate(m[30s]))");
  out.push_back(R"({__name__=~"m|n"} > 1)");
  out.push_back(R"({__name__!="m",i="1"} < 1)");
  out.push_back(R"(last_over_time({__name__=~"m|n"}[15s]) > 1)");
  out.push_back(R"(max_over_time(m{g="nowhere"}[15s]) > 1)");
  return out;
}

/// One step of a random life of a service: what delivers, fails, restarts and is released.
class Life {
 public:
  Life(Both& both, std::uint32_t seed) : both_(both), random_(seed) { both_.store.register_source({kShop, "app", {}, 600s}, t0); }

  Instant step() {
    now_ = now_ + std::chrono::milliseconds(random_() % 4 == 0 ? random_() % 30'000 : 1 + random_() % 2'000);
    switch (random_() % 40) {
      case 0: both_.store.begin_epoch(kShop, now_ - std::chrono::milliseconds(random_() % 5'000)); break;
      case 1: both_.store.forget_liveness(now_); break;
      case 2: now_ = now_ + std::chrono::minutes(random_() % 20); break;
      case 3: deliver(now_ - std::chrono::milliseconds(random_() % 20'000)); break;  // Began long ago: maybe late.
      case 4: break;                                                                 // Time alone goes by.
      default: deliver(now_ - 1ms);
    }
    return now_;
  }

 private:
  double value(double before, bool counter) {
    switch (random_() % 60) {
      case 0: return std::numeric_limits<double>::quiet_NaN();
      case 1: return std::numeric_limits<double>::infinity();
      case 2: return -std::numeric_limits<double>::infinity();
      case 3: return series::stale_nan();
      case 4: return random_() % 2 == 0 ? 1e300 : -1e300;
      case 5:
      case 6: return counter ? 0 : -5;
      default: break;
    }
    const double by = static_cast<double>(random_() % 1000) / 300;
    return counter && std::isfinite(before) && std::abs(before) < 1e200 ? before + by : by;
  }
  void deliver(Instant began) {
    Batch batch;
    batch.service = kShop;
    batch.check = "app";
    batch.began = began;
    batch.at = now_;
    for (std::size_t n = 0; n < 10; ++n) {
      if (random_() % 8 == 0) continue;
      const bool counter = n % 2 == 0;
      values_[n] = value(values_[n], counter);
      Labels labels{{"__name__", n < 5 ? "m" : "n"}, {"service", "shop"},         {"environment", "prod"}, {"check", "app"},
                    {"g", n % 3 == 0 ? "x" : "y"},   {"i", std::to_string(n % 5)}};
      batch.samples.push_back({std::move(labels), values_[n], counter && n > 6});
    }
    both_.store.commit(batch);
  }

  Both& both_;
  std::mt19937 random_;
  Instant now_ = t0;
  double values_[10] = {};
};

TEST(Compiled, AnswersWhatTheGeneralEvaluatorDoesOverRandomLives) {
  for (std::uint32_t seed = 1; seed <= 6; ++seed) {
    series::Limits limits;
    if (seed % 3 == 0) limits.points_per_series_max = 25;  // Samples go from under the windows.
    if (seed % 4 == 0) limits.retention = 90s;             // And whole series.
    Both both(kShop, limits);
    for (const std::string& text : every_shape()) ASSERT_TRUE(both.add(text)) << text;
    Life life(both, seed);
    for (int step = 0; step < 150; ++step) {
      const Instant now = life.step();
      both.compare(now, "seed " + std::to_string(seed) + ", step " + std::to_string(step));
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_GT(both.known, 5U * both.asked) << "the test must compare something";
    EXPECT_GT(both.elements, 3'000U);
  }
}

TEST(Compiled, LeavesToTheGeneralEvaluatorWhatIsNotProvablyOfAShape) {
  Both both(kShop);
  for (const char* text : {
           "m",
           "m > m",
           "1 > bool 2",
           "m offset 5m > 1",
           "m @ 100 > 1",
           "rate(m[5m] offset 1m) > 1",
           "rate(m[5m:1m]) > 1",
           "m + 1 > 2",
           R"(rate({__name__=~"m|n"}[5m]) > 1)",
           R"(rate({i="1"}[5m]) > 1)",
           R"({i="1"} > bool 1)",
           "sum without (i) (m) > 1",
           "sum by (__name__) (m) > 1",
           "avg by (i) (m) > 1",
           "sum by (i) (m) / sum by (g) (m) > 1",
           "sum by (i) (m) / on (i) sum by (i) (m) > 1",
           "sum by (i) (m) * sum by (i) (m) > 1",
           "abs(m) > 1",
           "stddev_over_time(m[5m]) > 1",
           "quantile_over_time(0.5, m[5m]) > 1",
           "m and n",
           "m > 1 and n > 1",
           "absent(m) > 0",
           "topk(1, m) > 1",
           "m > time()",
           "m smoothed > 1",
           "rate(m[5m] anchored) > 1",
           "increase(m[5m] smoothed) > 1",
           "sum(rate(m[5m] anchored)) / sum(rate(m[5m])) > 1",
       }) {
    EXPECT_FALSE(both.add(text)) << text;
  }
}

TEST(Compiled, KnowsWhenTheOldestSampleLeaves) {
  Both both(kShop);
  const auto expr = promql::parse("sum_over_time(m[1m]) < 2").value();
  const auto shape = shape_of(*expr);
  const auto selectors = promql::selectors(*expr);
  Compiled compiled(*shape, selectors);
  series::Series* series = both.store.append(Labels{{"__name__", "m"}, {"service", "shop"}, {"environment", "prod"}}, {t0, 1});
  both.store.append(series->labels, {t0 + 10s, 1});
  compiled.add(0, *series);
  Sums sums;
  std::vector<promql::Element> out;

  EXPECT_TRUE(compiled.evaluate(both.store.service(kShop), t0 + 10s, sums, out).known);
  EXPECT_EQ(compiled.next_leaving(t0 + 10s), t0 + 60s);
  EXPECT_THAT(out, ::testing::IsEmpty());
  EXPECT_TRUE(compiled.evaluate(both.store.service(kShop), t0 + 60s, sums, out).known);
  EXPECT_EQ(compiled.next_leaving(t0 + 60s), t0 + 70s);
  EXPECT_THAT(out, ::testing::SizeIs(1)) << "by the time alone";
}

}  // namespace
}  // namespace rollbackd::rules
