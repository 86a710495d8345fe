#include "promql/evaluate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace rollbackd::promql {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

const Instant t0 = Instant::from_seconds(1000);

/// One counter and one gauge, every 10 s from `t0` for 5 min, and some pairs to match.
class Evaluate : public testing::Test {
 protected:
  Evaluate() {
    for (int i = 0; i <= 30; ++i) {
      put({{"__name__", "requests_total"}, {"job", "api"}}, i, i * 10.0);
      put({{"__name__", "gauge"}, {"job", "api"}}, i, i % 2 == 0 ? 1 : 3);
    }
    for (const char* mode : {"idle", "user"}) put({{"__name__", "cpu"}, {"instance", "a"}, {"mode", mode}}, 30, mode[0] == 'i' ? 3 : 1);
    put({{"__name__", "role"}, {"instance", "a"}, {"role", "db"}}, 30, 2);
    for (const auto& [le, n] : {std::pair{"0.1", 10.0}, {"0.5", 30.0}, {"+Inf", 40.0}})
      put({{"__name__", "latency_bucket"}, {"le", le}}, 30, n);
  }
  void put(const Labels& labels, int step, double value) { store.append(labels, {t0 + step * 10s, value}); }

  Result<Value> evaluated(const std::string& text, Instant at = t0 + 300s) const {
    const auto expr = parse(text);
    if (expr.has_error()) return expr.error();
    return evaluate(**expr, StoreQuerier(store), EvalOptions{.at = at});
  }
  /// "labels value" of each element.
  std::vector<std::string> of(const std::string& text, Instant at = t0 + 300s) const {
    const auto value = evaluated(text, at);
    EXPECT_TRUE(value.has_value()) << text << ": " << (value.has_error() ? value.error().text() : "");
    std::vector<std::string> out;
    if (value.has_error()) return out;
    if (value->type == Value::Type::scalar) out.push_back(number(value->scalar));
    for (const Element& e : value->vector) out.push_back(e.labels.to_string() + " " + number(e.value));
    return out;
  }
  static std::string number(double v) {
    std::array<char, 32> buffer{};
    std::snprintf(buffer.data(), buffer.size(), "%.6g", v);
    return buffer.data();
  }
  std::string why_not(const std::string& text) const {
    const auto value = evaluated(text);
    EXPECT_TRUE(value.has_error()) << text;
    return value.has_error() ? value.error().why : "";
  }

  series::Store store;
};

TEST_F(Evaluate, ARateIsExtrapolatedToTheEndsOfItsWindow) {
  EXPECT_THAT(of("rate(requests_total[1m])"), UnorderedElementsAre("{job=\"api\"} 1"));
  EXPECT_THAT(of("increase(requests_total[1m])"), UnorderedElementsAre("{job=\"api\"} 60"));
  EXPECT_THAT(of("rate(requests_total[1m])", t0 + 305s), UnorderedElementsAre("{job=\"api\"} 1"));
  EXPECT_THAT(of("increase(requests_total[10m])"), UnorderedElementsAre("{job=\"api\"} 300")) << "a counter is not extended below zero";
  EXPECT_THAT(of("rate(requests_total[10s])"), IsEmpty()) << "one point has no rate: the window is open on the left";
}

TEST_F(Evaluate, ACounterResetIsNoDecrease) {
  put({{"__name__", "requests_total"}, {"job", "api"}}, 31, 5);

  EXPECT_THAT(of("resets(requests_total[1m])", t0 + 310s), UnorderedElementsAre("{job=\"api\"} 1"));
  EXPECT_THAT(of("irate(requests_total[1m])", t0 + 310s), UnorderedElementsAre("{job=\"api\"} 0.5"));
  EXPECT_THAT(of("idelta(requests_total[1m])", t0 + 310s), UnorderedElementsAre("{job=\"api\"} -295"));
}

TEST_F(Evaluate, FunctionsOverTimeReadTheWindow) {
  EXPECT_THAT(of("avg_over_time(gauge[40s])"), UnorderedElementsAre("{job=\"api\"} 2"));
  EXPECT_THAT(of("count_over_time(gauge[40s])"), UnorderedElementsAre("{job=\"api\"} 4"));
  EXPECT_THAT(of("last_over_time(gauge[40s])"), UnorderedElementsAre("gauge{job=\"api\"} 1")) << "the one that keeps the name";
  EXPECT_THAT(of("stddev_over_time(gauge[40s])"), UnorderedElementsAre("{job=\"api\"} 1"));
  EXPECT_THAT(of("quantile_over_time(0.5, gauge[40s])"), UnorderedElementsAre("{job=\"api\"} 2"));
  EXPECT_THAT(of("changes(gauge[40s])"), UnorderedElementsAre("{job=\"api\"} 3"));
  EXPECT_THAT(of("deriv(requests_total[1m])"), UnorderedElementsAre("{job=\"api\"} 1"));
  EXPECT_THAT(of("present_over_time(nothing[1m])"), IsEmpty());
}

TEST_F(Evaluate, OffsetAndAtMoveTheInstantThatASelectorLooksAt) {
  EXPECT_THAT(of("requests_total offset 1m"), UnorderedElementsAre("requests_total{job=\"api\"} 240"));
  EXPECT_THAT(of("requests_total offset -1m", t0), UnorderedElementsAre("requests_total{job=\"api\"} 60"));
  EXPECT_THAT(of("requests_total @ 1050"), UnorderedElementsAre("requests_total{job=\"api\"} 50"));
  EXPECT_THAT(of("requests_total @ end() offset 10s"), UnorderedElementsAre("requests_total{job=\"api\"} 290"));
  EXPECT_THAT(of("requests_total offset 200y"), IsEmpty());
}

TEST_F(Evaluate, ASubqueryEvaluatesOnAGridOfItsStep) {
  EXPECT_THAT(of("max_over_time(rate(requests_total[1m])[2m:30s])"), UnorderedElementsAre("{job=\"api\"} 1"));
  EXPECT_THAT(of("count_over_time(gauge[1m:30s])", t0 + 290s), UnorderedElementsAre("{job=\"api\"} 2"));
}

TEST_F(Evaluate, ComparisonsFilterOrSayZeroAndOne) {
  EXPECT_THAT(of("cpu > 2"), UnorderedElementsAre("cpu{instance=\"a\", mode=\"idle\"} 3"));
  EXPECT_THAT(of("2 < cpu"), UnorderedElementsAre("cpu{instance=\"a\", mode=\"idle\"} 3"));
  EXPECT_THAT(of("cpu > bool 2"), UnorderedElementsAre("{instance=\"a\", mode=\"idle\"} 1", "{instance=\"a\", mode=\"user\"} 0"));
  EXPECT_THAT(of("1 <= bool 2"), UnorderedElementsAre("1"));
  EXPECT_THAT(of("cpu == NaN"), IsEmpty());
}

TEST_F(Evaluate, ManyMeetOneAndTakeItsLabels) {
  EXPECT_THAT(of("cpu * on (instance) group_left (role) role"),
              UnorderedElementsAre("{instance=\"a\", mode=\"idle\", role=\"db\"} 6", "{instance=\"a\", mode=\"user\", role=\"db\"} 2"));
  EXPECT_THAT(of("role - on (instance) group_right () cpu"),
              UnorderedElementsAre("{instance=\"a\", mode=\"idle\"} -1", "{instance=\"a\", mode=\"user\"} 1"));
  EXPECT_THAT(of("sum by (instance) (cpu) / ignoring (role) role"), UnorderedElementsAre("{instance=\"a\"} 2"));
  EXPECT_THAT(of("cpu and on (instance) role"),
              UnorderedElementsAre("cpu{instance=\"a\", mode=\"idle\"} 3", "cpu{instance=\"a\", mode=\"user\"} 1"));
  EXPECT_THAT(of("cpu unless on (instance) role"), IsEmpty());
}

TEST_F(Evaluate, AmbiguousMatchesAreErrorsWithTheirColumn) {
  EXPECT_THAT(why_not("1 + (role * on (instance) cpu)"),
              HasSubstr("column 6: found duplicate series for the match group {instance=\"a\"} on the right"));
  EXPECT_THAT(why_not("cpu * on (instance) role"), HasSubstr("many-to-one matching must be explicit"));
  EXPECT_THAT(why_not("{__name__=~\"gauge|requests_total\"} * 2"), HasSubstr("vector cannot contain metrics with the same labelset"));
  EXPECT_THAT(why_not("label_replace(cpu, \"mode\", \"\", \"\", \"\")"), HasSubstr("same labelset"));
  EXPECT_THAT(why_not("cpu[5m]"), HasSubstr("invalid expression type \"range vector\""));
}

TEST_F(Evaluate, AggregationsGroupByAndWithout) {
  EXPECT_THAT(of("sum(cpu)"), UnorderedElementsAre("{} 4"));
  EXPECT_THAT(of("avg without (mode) (cpu)"), UnorderedElementsAre("{instance=\"a\"} 2"));
  EXPECT_THAT(of("max by (mode) (cpu)"), UnorderedElementsAre("{mode=\"idle\"} 3", "{mode=\"user\"} 1"));
  EXPECT_THAT(of("count by (nothing) (cpu)"), UnorderedElementsAre("{} 2"));
  EXPECT_THAT(of("topk(1, cpu)"), UnorderedElementsAre("cpu{instance=\"a\", mode=\"idle\"} 3"));
  EXPECT_THAT(of("bottomk(1, cpu)"), UnorderedElementsAre("cpu{instance=\"a\", mode=\"user\"} 1"));
  EXPECT_THAT(of("quantile(0.5, cpu)"), UnorderedElementsAre("{} 2"));
  EXPECT_THAT(of("count_values(\"v\", cpu)"), UnorderedElementsAre("{v=\"1\"} 1", "{v=\"3\"} 1"));
  EXPECT_THAT(of("group(cpu)"), UnorderedElementsAre("{} 1"));
  EXPECT_THAT(of("stdvar(cpu)"), UnorderedElementsAre("{} 1"));
}

TEST_F(Evaluate, AHistogramsQuantileIsInterpolatedInItsBucket) {
  EXPECT_THAT(of("histogram_quantile(0.5, latency_bucket)"), UnorderedElementsAre("{} 0.3"));
  EXPECT_THAT(of("histogram_quantile(0.99, latency_bucket)"), UnorderedElementsAre("{} 0.5"));
  EXPECT_THAT(of("histogram_quantile(2, latency_bucket)"), UnorderedElementsAre("{} inf"));
  EXPECT_THAT(of("histogram_quantile(0.5, latency_bucket{le!=\"+Inf\"})"), UnorderedElementsAre("{} nan"));
}

TEST_F(Evaluate, SimpleFunctionsDropTheName) {
  EXPECT_THAT(of("clamp(cpu{mode=\"idle\"}, 0, 2)"), UnorderedElementsAre("{instance=\"a\", mode=\"idle\"} 2"));
  EXPECT_THAT(of("round(gauge / 2, 0.5)"), UnorderedElementsAre("{job=\"api\"} 0.5"));
  EXPECT_THAT(of("timestamp(requests_total)", t0 + 305s), UnorderedElementsAre("{job=\"api\"} 1300"));
  EXPECT_THAT(of("timestamp(requests_total + 0)", t0 + 305s), UnorderedElementsAre("{job=\"api\"} 1305"));
  EXPECT_THAT(of("scalar(gauge)"), UnorderedElementsAre("1"));
  EXPECT_THAT(of("scalar(cpu)"), UnorderedElementsAre("nan"));
  EXPECT_THAT(of("vector(time())"), UnorderedElementsAre("{} 1300"));
  EXPECT_THAT(of("hour(vector(7200))"), UnorderedElementsAre("{} 2"));
}

TEST_F(Evaluate, LabelsAreReplacedAndJoined) {
  EXPECT_THAT(of("label_replace(gauge, \"to\", \"<$1-${1}-$$>\", \"job\", \"(a).*\")"),
              UnorderedElementsAre("gauge{job=\"api\", to=\"<a-a-$>\"} 1"));
  EXPECT_THAT(of("label_replace(gauge, \"to\", \"x\", \"job\", \"ap\")"), UnorderedElementsAre("gauge{job=\"api\"} 1"));
  EXPECT_THAT(of("label_join(role, \"both\", \"/\", \"instance\", \"role\")"),
              UnorderedElementsAre("role{both=\"a/db\", instance=\"a\", role=\"db\"} 2"));
}

TEST_F(Evaluate, AbsentSaysWhichLabelsWereAskedFor) {
  EXPECT_THAT(of("absent(nothing{job=\"x\", env=~\"a\", zone=\"1\", zone=\"2\"})"), UnorderedElementsAre("{job=\"x\"} 1"));
  EXPECT_THAT(of("absent(gauge)"), IsEmpty());
  EXPECT_THAT(of("absent(sum(nothing))"), UnorderedElementsAre("{} 1"));
  EXPECT_THAT(of("absent_over_time(gauge[5m] offset 1h)"), UnorderedElementsAre("{} 1"));
}

TEST_F(Evaluate, WorkIsBounded) {
  const auto expr = parse("sum_over_time(requests_total[5m:1ms])");
  const auto value = evaluate(**expr, StoreQuerier(store), EvalOptions{.at = t0 + 300s, .work_max = 1000});

  ASSERT_TRUE(value.has_error());
  EXPECT_EQ(value.error().code, Errc::too_large);
}

TEST_F(Evaluate, AnOffsetReachesTheEpochBeforeAndAWindowDoesNot) {
  series::Store epochs;
  const ServiceKey service{"shop", "prod"};
  const Labels labels{{"__name__", "latency"}, {"service", "shop"}, {"environment", "prod"}};
  for (int i = 0; i < 60; ++i) {
    if (i == 30) epochs.begin_epoch(service, t0 + i * 10s);
    epochs.append(labels, {t0 + i * 10s, i < 30 ? 1.0 : 9.0});
  }
  const auto value = [&](const char* text) {
    return evaluate(**parse(text), StoreQuerier(epochs), EvalOptions{.at = t0 + 310s})->vector.at(0).value;
  };

  EXPECT_EQ(value("avg_over_time(latency[5m])"), 9);
  EXPECT_EQ(value("avg_over_time(latency[5m] offset 1m)"), 1);
  EXPECT_EQ(value("latency > on (service) 2 * latency offset 1m"), 9);
}

}  // namespace
}  // namespace rollbackd::promql
