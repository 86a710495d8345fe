// Rules on a clock, as Prometheus's manager runs them: alert phases, recorded series, staleness, limits, what a failure leaves.
#include "rules/tick_run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rollbackd::rules {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

Groups groups_of(const std::string& yaml) {
  std::vector<config::Problem> problems;
  Groups groups = parse_groups(yaml, "rules.yml", std::nullopt, problems);
  for (const config::Problem& p : problems) {
    if (!p.warning) ADD_FAILURE() << p.text();
  }
  return groups;
}

Instant at(Duration d) { return Instant() + d; }

/// A run with helpers that speak the tests' language.
struct World {
  explicit World(const std::string& yaml, TickSetup setup = {}) : run(groups_of(yaml), std::move(setup)) {}

  void put(Labels labels, Duration when, double value) {
    const auto written = run.append(labels, {at(when), value});
    EXPECT_TRUE(written) << written.error().text();
  }
  void tick(Duration when) {
    for (const TickFailure& f : run.tick(at(when))) ADD_FAILURE() << f.rule << ": " << f.why;
  }
  /// The elements of `expr`, as "labels value".
  std::vector<std::string> ask(const std::string& expr, Duration when) const {
    std::vector<std::string> out;
    const auto value = run.query(*promql::parse(expr), at(when));
    if (!value) return {value.error().text()};
    for (const promql::Element& e : value->vector) out.push_back(e.labels.to_string() + " " + std::to_string(static_cast<int>(e.value)));
    std::sort(out.begin(), out.end());
    return out;
  }

  TickRun run;
};

const char* const kDown = R"(
groups:
- name: g
  labels: {team: web}
  rules:
  - alert: Down
    expr: up == 0
    for: 2m
    keep_firing_for: 90s
    labels: {severity: page, of: "{{ $labels.job }}"}
    annotations: {summary: "{{ $labels.instance }} is {{ $value }}"}
)";

TEST(TickRun, AnAlertIsPendingThenFiresThenIsKeptAndItsSeriesEndWithIt) {
  World w(kDown);
  const Labels up{{"__name__", "up"}, {"job", "api"}, {"instance", "a"}};
  for (int minute = 0; minute <= 8; ++minute) {
    w.put(up, minute * 1min, minute < 4 ? 0 : 1);
    w.tick(minute * 1min);
    const auto alerts = w.run.alerts("Down");
    if (minute < 6) {
      ASSERT_THAT(alerts, SizeIs(1)) << minute;
      EXPECT_EQ(alerts[0].phase, minute < 2 ? AlertPhase::pending : AlertPhase::firing) << minute;
      EXPECT_THAT(alerts[0].annotations, ElementsAre(Pair("summary", "a is 0")));
      EXPECT_EQ(alerts[0].labels.to_string(), R"({alertname="Down", instance="a", job="api", of="api", severity="page", team="web"})");
    } else {
      EXPECT_THAT(alerts, IsEmpty()) << minute << ": its 90 s are over";
    }
  }

  const std::string of = R"(instance="a", job="api", of="api", severity="page", team="web"})";
  EXPECT_THAT(w.ask("ALERTS", 1min), ElementsAre("ALERTS{alertname=\"Down\", alertstate=\"pending\", " + of + " 1"));
  EXPECT_THAT(w.ask("ALERTS", 3min), ElementsAre("ALERTS{alertname=\"Down\", alertstate=\"firing\", " + of + " 1"));
  EXPECT_THAT(w.ask("ALERTS_FOR_STATE", 5min), ElementsAre("ALERTS_FOR_STATE{alertname=\"Down\", " + of + " 0"));
  EXPECT_THAT(w.ask("ALERTS", 6min), IsEmpty()) << "a staleness marker, not five minutes of silence";
}

TEST(TickRun, ARecordedSeriesThatIsNotMadeAgainEndsAtOnce) {
  World w(
      "groups: [{name: g, rules: [{record: 'r:sum', expr: 'sum by (job) (x)', labels: {kind: made, job: ''}}, {record: s, expr: 'r:sum * "
      "2'}]}]");
  w.put({{"__name__", "x"}, {"job", "a"}}, 0s, 3);
  w.tick(0s);
  EXPECT_THAT(w.ask("s", 0s), ElementsAre(HasSubstr(" 6"))) << "a rule sees what the rule before it recorded";
  w.put({{"__name__", "x"}, {"job", "a"}}, 1min, series::stale_nan());
  w.tick(1min);
  EXPECT_THAT(w.ask("{__name__=~'r:sum|s'}", 1min), IsEmpty());
}

TEST(TickRun, AFailedRuleSaysWhyAndKeepsItsSeries) {
  World w(R"(
groups:
- name: g
  limit: 1
  rules:
  - {record: r, expr: x}
  - {alert: A, expr: x > 0}
)");
  w.put({{"__name__", "x"}, {"a", "1"}}, 0s, 1);
  w.tick(0s);
  w.put({{"__name__", "x"}, {"a", "2"}}, 1min, 1);

  const auto failures = w.run.tick(at(1min));

  ASSERT_THAT(failures, SizeIs(2));
  EXPECT_EQ(failures[0].why, "exceeded limit of 1 with 2 series");
  EXPECT_EQ(failures[1].why, "exceeded limit of 1 with 2 alerts");
  EXPECT_THAT(w.ask("r", 1min), ElementsAre("r{a=\"1\"} 1")) << "as it was: no marker";
  EXPECT_THAT(w.run.alerts("A"), IsEmpty()) << "over its limit a rule has no alerts";
}

TEST(TickRun, TwoElementsThatBecomeOneAreAnError) {
  World w("groups: [{name: g, rules: [{record: r, expr: x, labels: {a: same}}, {alert: A, expr: x, labels: {a: same}}]}]");
  w.put({{"__name__", "x"}, {"a", "1"}}, 0s, 1);
  w.put({{"__name__", "x"}, {"a", "2"}}, 0s, 1);

  const auto failures = w.run.tick(at(0s));

  ASSERT_THAT(failures, SizeIs(2));
  EXPECT_EQ(failures[0].why, "vector contains metrics with the same labelset after applying rule labels");
  EXPECT_EQ(failures[1].why, "vector contains metrics with the same labelset after applying alert labels");
}

TEST(TickRun, AnEmptyLabelIsTakenAwayAndAnEmptyAnnotationStays) {
  World w(
      "groups:\n- name: g\n  labels: {b: ''}\n  rules:\n  - {record: r, expr: x, labels: {a: ''}}\n"
      "  - {alert: A, expr: x, labels: {a: ''}, annotations: {z: text, e: '', a: '{{ $labels.a }}'}}");
  w.put({{"__name__", "x"}, {"a", "1"}, {"b", "2"}, {"c", "3"}}, 0s, 1);

  w.tick(0s);

  EXPECT_THAT(w.ask("r", 0s), ElementsAre("r{c=\"3\"} 1"));
  const auto alerts = w.run.alerts("A");
  ASSERT_THAT(alerts, SizeIs(1));
  EXPECT_EQ(alerts[0].labels, (Labels{{"alertname", "A"}, {"c", "3"}}));
  EXPECT_THAT(alerts[0].annotations, ElementsAre(Pair("a", "1"), Pair("e", ""), Pair("z", "text")));
}

TEST(TickRun, AnOffsetMovesTheQueryAndItsSamplesButNotTheAlertsClock) {
  World w("groups: [{name: g, query_offset: 1m, rules: [{record: r, expr: 'timestamp(x)'}, {alert: A, expr: x > 0, for: 1m}]}]");
  for (int minute = 0; minute <= 2; ++minute) {
    w.put({{"__name__", "x"}}, minute * 1min, 5);
    w.tick(minute * 1min);
  }
  EXPECT_THAT(w.ask("r", 1min), ElementsAre("r 60"));
  EXPECT_THAT(w.ask("timestamp(r)", 2min), ElementsAre("{} 60"));
  const auto alerts = w.run.alerts("A");
  ASSERT_THAT(alerts, SizeIs(1));
  EXPECT_EQ(alerts[0].phase, AlertPhase::firing);
  EXPECT_EQ(alerts[0].active_at, at(1min)) << "nothing was there a minute before the first tick";
}

TEST(TickRun, TheStorageTakesTheSameSampleTwiceAndNoOther) {
  World w("groups: []");
  const Labels x{{"__name__", "x"}};
  w.put(x, 1min, 1);
  w.put(x, 1min, 1);
  EXPECT_THAT(w.run.append(x, {at(1min), 2}).error().what, HasSubstr("duplicate sample for timestamp 60000"));
  EXPECT_EQ(w.run.append(x, {at(0s), 1}).error().what, "out of order sample");
  EXPECT_THAT(w.ask("x", 1min), ElementsAre("x 1"));
}

TEST(TickRun, ARuleThatRecordsWhatATestPutThereFailsUnlessBothAgree) {
  World w("groups: [{name: g, rules: [{record: r, expr: vector(1)}]}]");
  w.put({{"__name__", "r"}}, 0s, 1);
  EXPECT_THAT(w.run.tick(at(0s)), IsEmpty());
  w.put({{"__name__", "r"}}, 1min, 2);
  EXPECT_THAT(w.run.tick(at(1min)), SizeIs(1));
}

TEST(TickRun, TimeReachesAsFarAsGosDurations) {
  World w("groups: [{name: g, rules: [{record: r, expr: 'count_over_time(x[1h])'}]}]");
  constexpr Duration kFar = 106'751 * 24h;
  w.put({{"__name__", "x"}}, kFar, 1);
  w.tick(kFar);
  EXPECT_THAT(w.ask("r", kFar), ElementsAre("r 1"));
  EXPECT_THAT(w.ask("x offset -1h", kFar - 1h), ElementsAre("x 1"));
  EXPECT_THAT(w.ask("x offset -100y", kFar), IsEmpty()) << "beyond what an instant can say there is nothing";
}

TEST(TickRun, ASubqueryWithoutAStepTakesTheEvaluationInterval) {
  TickSetup setup;
  setup.subquery_step = 30s;
  World w("groups: [{name: g, rules: [{record: r, expr: 'count_over_time(vector(1)[5m:])'}]}]", setup);
  w.tick(10min);
  EXPECT_THAT(w.ask("r", 10min), ElementsAre("r 10"));
  EXPECT_THAT(w.ask("count_over_time(vector(1)[5m:])", 10min), ElementsAre("{} 10"));
}

TEST(TickRun, NoMoreSamplesThanAllowed) {
  TickSetup setup;
  setup.samples_max = 2;
  World w("groups: []", setup);
  w.put({{"__name__", "x"}}, 0s, 1);
  w.put({{"__name__", "x"}}, 1s, 1);
  EXPECT_EQ(w.run.append({{"__name__", "x"}}, {at(2s), 1}).error().code, Errc::too_large);
}

}  // namespace
}  // namespace rollbackd::rules
