// What an evaluation says beside its value, and what it does not do when nobody listens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "promql/evaluate.hpp"

namespace rollbackd::promql {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Annotated : public testing::Test {
 protected:
  Annotated() {
    for (int i = 0; i <= 10; ++i)
      for (int series = 0; series < 150; ++series)
        store.append({{"__name__", "speed"}, {"car", std::to_string(series)}}, {Instant::from_seconds(i * 10), i * 1.0});
  }
  Result<Value> evaluated(const std::string& text, EvalOptions options = {}) const {
    options.at = Instant::from_seconds(100);
    const auto expr = parse(text);
    if (expr.has_error()) return expr.error();
    return evaluate(**expr, StoreQuerier(store), options);
  }
  series::Store store;
};

TEST_F(Annotated, SaysEachTextOnceWithItsPlace) {
  const auto value = evaluated("sum(rate(speed[1m])) + sum(rate(speed[1m]))");

  ASSERT_EQ(value->annotations.size(), 1U);
  EXPECT_EQ(value->annotations[0].level, Annotation::Level::info);
  EXPECT_EQ(value->annotations[0].text, "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"speed\"");
  EXPECT_EQ(value->annotations[0].begin, 9U);
  EXPECT_EQ(value->annotations[0].end, 18U);
}

TEST_F(Annotated, SaysNothingWhereNobodyListens) {
  EXPECT_THAT(evaluated("rate(speed[1m])", EvalOptions{.at = {}, .annotate = false})->annotations, IsEmpty());
}

TEST_F(Annotated, SaysAHundredThingsAtMost) {
  const auto value = evaluated("rate(label_join(speed, \"__name__\", \"\", \"car\")[1m:10s])");

  EXPECT_EQ(value->annotations.size(), 100U);
}

TEST_F(Annotated, CountsItsWork) {
  EXPECT_EQ(evaluated("1 + 1")->work, 1U);
  EXPECT_EQ(evaluated("speed{car=\"1\"}")->work, 2U);
  EXPECT_GE(evaluated("rate(speed[1m])")->work, 150U * 6);
}

TEST_F(Annotated, EndsHostileExpressionsByTheirWork) {
  std::string doubled = "speed{car=\"1\"}";
  for (int i = 0; i < 30; ++i) doubled = "label_join(" + doubled + ", \"car\", \"\", \"car\", \"car\")";
  const std::vector<std::string> hostile{"sum_over_time(vector(1)[1y:1ms])", "count_over_time(nothing[10y:1ms])",
                                         "max_over_time(max_over_time(vector(time())[1d:1s])[1d:1s])",
                                         "sum_over_time(sum_over_time(speed[100s:100ms])[1h:1s])"};
  for (const std::string& text : hostile) {
    const auto value = evaluated(text, EvalOptions{.at = {}, .work_max = 100'000});
    ASSERT_TRUE(value.has_error()) << text;
    EXPECT_EQ(value.error().code, Errc::too_large) << text;
  }
  const auto value = evaluated(doubled);
  ASSERT_TRUE(value.has_error());
  EXPECT_EQ(value.error().code, Errc::too_large);
  EXPECT_THAT(value.error().why, HasSubstr("a label value of more than 16384 bytes"));
}

TEST_F(Annotated, ARangeVectorIsAValueOfItsOwn) {
  const auto expr = parse("speed{car=\"7\"}[20s]");
  const auto series = evaluate_range_vector(**expr, StoreQuerier(store), EvalOptions{.at = Instant::from_seconds(100)});

  ASSERT_EQ(series->size(), 1U);
  EXPECT_THAT(series->at(0).points,
              ElementsAre(series::Point{Instant::from_seconds(90), 9}, series::Point{Instant::from_seconds(100), 10}));
  EXPECT_TRUE(evaluate_range_vector(**parse("speed"), StoreQuerier(store), {}).has_error());
}

}  // namespace
}  // namespace rollbackd::promql
