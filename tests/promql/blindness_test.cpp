// The truth table of DESIGN.md section 5: what is known, what is not, and what follows from it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "promql/evaluate.hpp"

namespace rollbackd::promql {
namespace {

/// What a selector can be: nothing there and known so, something there, and both with a silent source.
enum class Known { empty, full, blind_empty, blind_full };

/// Gives `a`, `b` and `x` whatever state a test asks for. Elements have no labels but the name, so that all match.
class FakeQuerier final : public Querier {
 public:
  std::map<std::string, Known> state;

  std::vector<series::Selected> range(std::span<const series::Matcher> matchers, Instant, Instant) const override {
    return select(matchers);
  }
  std::vector<series::Selected> latest(std::span<const series::Matcher> matchers, Instant, Duration) const override {
    return select(matchers);
  }
  series::Liveness liveness(std::span<const series::Matcher> matchers, Instant) const override {
    const Known k = state.at(matchers[0].value());
    const bool blind = k == Known::blind_empty || k == Known::blind_full;
    return {blind, true, blind ? matchers[0].value() + " is silent" : ""};
  }

 private:
  std::vector<series::Selected> select(std::span<const series::Matcher> matchers) const {
    const Known k = state.at(matchers[0].value());
    if (k == Known::empty || k == Known::blind_empty) return {};
    return {{&labels_, points_}};
  }
  Labels labels_{{"__name__", "series"}, {"job", "api"}};
  std::vector<series::Point> points_{{Instant::from_seconds(90), 5}, {Instant::from_seconds(100), 7}};
};

/// "1" or "0" elements, "?" when blind.
std::string outcome(const std::string& text, const std::map<std::string, Known>& state) {
  FakeQuerier querier;
  querier.state = state;
  const auto expr = parse(text);
  EXPECT_TRUE(expr.has_value()) << text;
  const auto value = evaluate(**expr, querier, EvalOptions{.at = Instant::from_seconds(100)});
  EXPECT_TRUE(value.has_value()) << text << ": " << (value.has_error() ? value.error().text() : "");
  if (value.has_error()) return "error";
  EXPECT_EQ(value->blind, !value->blind_reason.empty());
  return std::to_string(value->vector.size()) + (value->blind ? "?" : "");
}

constexpr Known E = Known::empty, F = Known::full, BE = Known::blind_empty, BF = Known::blind_full;

struct Row {
  Known a, b;
  const char *both, *either, *unless, *sum;
};

TEST(Blindness, OfTwoOperandsFollowsTheTruthTable) {
  const std::vector<Row> table{
      // a   b   and   or    unless  +
      {E, E, "0", "0", "0", "0"},     {E, F, "0", "1", "0", "0"},      {E, BE, "0", "0?", "0?", "0?"},   {E, BF, "0", "1?", "0?", "0?"},
      {F, E, "0", "1", "1", "0"},     {F, F, "1", "1", "0", "1"},      {F, BE, "0?", "1?", "0?", "0?"},  {F, BF, "1?", "1?", "0?", "1?"},
      {BE, E, "0", "0?", "0?", "0?"}, {BE, F, "0?", "1?", "0?", "0?"}, {BE, BE, "0?", "0?", "0?", "0?"}, {BE, BF, "0?", "1?", "0?", "0?"},
      {BF, E, "0", "1?", "1?", "0?"}, {BF, F, "1?", "1?", "0?", "1?"}, {BF, BE, "0?", "1?", "0?", "0?"}, {BF, BF, "1?", "1?", "0?", "1?"},
  };
  for (std::size_t i = 0; i < table.size(); ++i) {
    const Row& row = table[i];
    const std::map<std::string, Known> state{{"a", row.a}, {"b", row.b}};
    EXPECT_EQ(outcome("a and b", state), row.both) << "row " << i;
    EXPECT_EQ(outcome("a or b", state), row.either) << "row " << i;
    EXPECT_EQ(outcome("a unless b", state), row.unless) << "row " << i;
    EXPECT_EQ(outcome("a + b", state), row.sum) << "row " << i;
    EXPECT_EQ(outcome("a <= b", state), row.sum) << "row " << i;
  }
}

TEST(Blindness, AbsentIsTrueOnlyOfWhatSomebodyLookedFor) {
  for (const char* text : {"absent(x)", "absent_over_time(x[5m])"}) {
    EXPECT_EQ(outcome(text, {{"x", E}}), "1") << text;
    EXPECT_EQ(outcome(text, {{"x", F}}), "0") << text;
    EXPECT_EQ(outcome(text, {{"x", BE}}), "0?") << text;
    EXPECT_EQ(outcome(text, {{"x", BF}}), "0") << text << ": what is seen is not absent, whoever else is silent";
  }
}

TEST(Blindness, GoesThroughFunctionsAggregationsAndComparisons) {
  for (const char* text : {"rate(x[5m])", "sum(x)", "abs(x)", "x > 1", "-x", "(x)", "topk(1, x)", "x * 2", "sum by (job) (x) == bool 7",
                           "sort(x)", "max_over_time(x[1m:30s])", "label_replace(x, \"a\", \"b\", \"\", \"\")", "count(x) > 0",
                           "timestamp(x)", "min_over_time(x[5m])", "quantile(0.5, x)"}) {
    EXPECT_EQ(outcome(text, {{"x", E}}), "0") << text;
    EXPECT_EQ(outcome(text, {{"x", F}}), "1") << text;
    EXPECT_EQ(outcome(text, {{"x", BE}}), "0?") << text;
    EXPECT_EQ(outcome(text, {{"x", BF}}), "1?") << text;
  }
}

TEST(Blindness, AComparisonThatKeepsNothingOfABlindOperandIsNoFact) { EXPECT_EQ(outcome("x > 100", {{"x", BF}}), "0?"); }

TEST(Blindness, GoesThroughScalarsAndParameters) {
  EXPECT_EQ(outcome("vector(scalar(x))", {{"x", BE}}), "1?");
  EXPECT_EQ(outcome("a > scalar(x)", {{"a", F}, {"x", BF}}), "0?");
  EXPECT_EQ(outcome("topk(scalar(x), a)", {{"a", F}, {"x", BF}}), "1?");
  EXPECT_EQ(outcome("clamp_max(a, scalar(x))", {{"a", F}, {"x", BF}}), "1?");
}

TEST(Blindness, NamesTheFirstBlindSelector) {
  FakeQuerier querier;
  querier.state = {{"a", F}, {"b", BE}, {"x", BE}};

  const auto value = evaluate(**parse("a and (b or x)"), querier, EvalOptions{.at = Instant::from_seconds(100)});

  EXPECT_EQ(value->blind_reason, "b is silent");
}

TEST(Blindness, IsJudgedAtTheInstantOfTheEvaluationWhateverTheOffset) {
  series::Store store;
  const ServiceKey service{"shop", "prod"};
  const Labels labels{{"__name__", "up"}, {"service", "shop"}, {"environment", "prod"}, {"check", "app"}};
  store.register_source({service, "app", {}, 10s}, Instant::from_seconds(0));
  store.commit({service, "app", Instant::from_seconds(1), Instant::from_seconds(1), {{labels, 1, false}}, "", {}, ""});
  const StoreQuerier querier(store);

  const auto now = evaluate(**parse("up offset 1m"), querier, EvalOptions{.at = Instant::from_seconds(62)});
  const auto then = evaluate(**parse("up"), querier, EvalOptions{.at = Instant::from_seconds(2)});

  EXPECT_EQ(now->vector.size(), 1U);
  EXPECT_TRUE(now->blind);
  EXPECT_FALSE(then->blind);
}

TEST(Fed, IsSaidOfExpressionsWithASourceOrWithoutAnySelector) {
  series::Store store;
  const StoreQuerier querier(store);
  const auto fed = [&](const char* text) { return evaluate(**parse(text), querier, EvalOptions{.at = Instant::from_seconds(2)})->fed; };

  EXPECT_TRUE(fed("vector(1)"));
  EXPECT_FALSE(fed("up"));
  store.register_source({{"shop", "prod"}, "app", {"up"}, 10s}, Instant::from_seconds(0));
  EXPECT_TRUE(fed("up or nothing"));
  EXPECT_FALSE(fed("nothing"));
}

}  // namespace
}  // namespace rollbackd::promql
