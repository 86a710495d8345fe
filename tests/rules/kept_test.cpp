// Alerts over a restart of the daemon: what one judge keeps, another takes back.
#include <memory>

#include "tests/rules/judge_fixture.hpp"

namespace rollbackd::rules {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class KeptTest : public JudgeTest {
 protected:
  /// The daemon ends at `known_until` and starts again at `now`, in the same epoch, with these rules.
  void restart(const std::string& rules, Instant known_until, Instant now) {
    const std::vector<KeptAlert> kept = judge_.keep(100);
    std::destroy_at(&judge_);
    std::construct_at(&judge_);
    judge_.set_rules(read(rules), now);
    judge_.set_service(kShop, {{kShop, "c", {"x"}, 10s}}, now);
    judge_.begin_epoch(kShop, t0);
    std::vector<KeptAlert> of_shop, of_nobody;
    for (const KeptAlert& alert : kept) (alert.service == kShop ? of_shop : of_nobody).push_back(alert);
    judge_.restore(kShop, of_shop, known_until, now);
    judge_.restore(ServiceKey{}, of_nobody, known_until, now);
  }
  void start(const std::string& rules) {
    judge_.set_rules(read(rules), t0);
    watch(kShop, {"x"});
    judge_.begin_epoch(kShop, t0);
    judge_.on_due(t0);
  }
  static std::string rule(const std::string& expr, const std::string& more = "") {
    return "groups: [{name: g, interval: 5s, rules: [{alert: A, expr: '" + expr + "'" + (more.empty() ? "" : ", " + more) + "}]}]";
  }
};

TEST_F(KeptTest, ARestartInAForNeitherFiresEarlyNorStartsOver) {
  start(rule("x > 5", "for: 20s"));
  for (int i = 1; i <= 13; ++i) push(t0 + i * 1s, 7);  // 12 s of 20.

  restart(rule("x > 5", "for: 20s"), t0 + 13s, t0 + 60s);

  ASSERT_THAT(judge_.alerts(), SizeIs(1));
  EXPECT_TRUE(judge_.alerts()[0].blind);
  EXPECT_EQ(judge_.alerts()[0].alert.phase, AlertPhase::pending);
  EXPECT_THAT(told(push(t0 + 61s, 7)), ElementsAre("A pending", "A breached")) << "48 s in which nobody looked prove nothing";
  std::vector<std::string> out;
  for (int i = 62; i <= 75; ++i)
    for (const std::string& what : told(push(t0 + i * 1s, 7))) out.push_back(std::to_string(i) + ": " + what);
  EXPECT_THAT(out, ElementsAre("69: A firing")) << "the 8 s that were left";
}

TEST_F(KeptTest, AFiringAlertIsBlindAndUntoldUntilFreshEvidenceBearsItOut) {
  start(rule("x > 5", "for: 2s"));
  for (int i = 1; i <= 4; ++i) push(t0 + i * 1s, 7);
  const Instant since = judge_.alerts().at(0).alert.since;

  restart(rule("x > 5", "for: 2s"), t0 + 4s, t0 + 60s);

  EXPECT_THAT(told(judge_.on_due(t0 + 60s)), IsEmpty());
  EXPECT_THAT(query("ALERTS", t0 + 60s), ElementsAre(testing::StartsWith("blind")));
  const Judgement borne_out = push(t0 + 61s, 7);
  EXPECT_THAT(told(borne_out), ElementsAre("A firing", "A breached")) << "without its for once more";
  EXPECT_EQ(borne_out.alerts[0].since, since);
  EXPECT_THAT(told(push(t0 + 62s, 7)), IsEmpty()) << "and once";
  EXPECT_THAT(told(push(t0 + 63s, 1)), ElementsAre("A inactive", "A ok"));
}

TEST_F(KeptTest, AFiringAlertThatIsOverEndsWithFreshEvidence) {
  start(rule("x > 5"));
  push(t0 + 1s, 7);

  restart(rule("x > 5"), t0 + 1s, t0 + 60s);

  EXPECT_THAT(told(judge_.on_due(t0 + 60s)), IsEmpty());
  EXPECT_THAT(told(push(t0 + 61s, 1)), ElementsAre("A inactive", "A ok"));
}

TEST_F(KeptTest, KeepFiringForGoesOnToo) {
  start(rule("x > 5", "keep_firing_for: 10s"));
  push(t0 + 1s, 7);
  push(t0 + 2s, 1);
  push(t0 + 6s, 1);

  restart(rule("x > 5", "keep_firing_for: 10s"), t0 + 6s, t0 + 60s);
  push(t0 + 61s, 1);
  push(t0 + 66s, 1);

  EXPECT_THAT(run_until(t0 + 70s), Contains("67000: A inactive")) << "4 s before, 6 s after";
}

TEST_F(KeptTest, AnAlertThatWasBlindWhenTheDaemonEndedWasKnownOnlyUntilThen) {
  start(rule("x > 5", "for: 20s"));
  push(t0 + 1s, 7);
  push(t0 + 2s, 7);
  run_until(t0 + 30s);  // Silent since; blind from 12 s on.

  restart(rule("x > 5", "for: 20s"), t0 + 30s, t0 + 60s);
  push(t0 + 61s, 7);
  push(t0 + 69s, 7);

  EXPECT_THAT(run_until(t0 + 75s), ElementsAre("70000: A firing")) << "11 s before, 9 s after";
}

TEST_F(KeptTest, WhatChangedItsRuleIsGone) {
  start(rule("x > 5"));
  push(t0 + 1s, 7);

  restart(rule("x > 6"), t0 + 1s, t0 + 60s);

  EXPECT_THAT(judge_.alerts(), IsEmpty());
}

TEST_F(KeptTest, AnAlertWithOtherLabelsIsNotTheSame) {
  start(rule("x > 5", "labels: {severity: page}"));
  push(t0 + 1s, 7);

  restart(rule("x > 5", "labels: {severity: ticket}"), t0 + 1s, t0 + 60s);

  EXPECT_THAT(told(push(t0 + 61s, 7)), ElementsAre("A inactive", "A firing", "A breached"));
}

TEST_F(KeptTest, WhatIsAlreadyKnownCountsMore) {
  start(rule("x > 5", "for: 20s"));
  push(t0 + 1s, {sample("x", 7), Sample{Labels{{"__name__", "x"}, {"service", "shop"}, {"environment", "prod"}, {"pod", "b"}}, 7, false}});
  push(t0 + 11s, {sample("x", 7), Sample{Labels{{"__name__", "x"}, {"service", "shop"}, {"environment", "prod"}, {"pod", "b"}}, 7, false}});
  const std::vector<KeptAlert> kept = judge_.keep(100);
  ASSERT_THAT(kept, SizeIs(2));
  std::destroy_at(&judge_);
  std::construct_at(&judge_);
  judge_.set_rules(read(rule("x > 5", "for: 20s")), t0 + 60s);
  judge_.set_service(kShop, {{kShop, "c", {"x"}, 1h}}, t0 + 60s);
  judge_.begin_epoch(kShop, t0);
  push(t0 + 60s, 7);

  judge_.restore(kShop, kept, t0 + 11s, t0 + 60s);

  ASSERT_THAT(judge_.alerts(), SizeIs(1)) << "pod b is known to be well";
  EXPECT_THAT(run_until(t0 + 2min), Contains("70000: A firing")) << "10 of the 20 seconds were over";
}

TEST_F(KeptTest, ARuleOnTheIntervalKeepsItsAlertsToo) {
  start(rule("sum(x) > 5", "for: 20s"));
  for (int i = 1; i <= 10; ++i) {
    push(t0 + i * 1s, 7);
    run_until(t0 + i * 1s);
  }
  ASSERT_THAT(judge_.alerts(), SizeIs(1));
  ASSERT_EQ(judge_.alerts()[0].active_at, t0 + 5s);

  restart(rule("sum(x) > 5", "for: 20s"), t0 + 10s, t0 + 60s);
  ASSERT_THAT(judge_.alerts(), SizeIs(1));
  ASSERT_EQ(judge_.alerts()[0].active_at, t0 + 5s);
  for (int i = 61; i <= 90; ++i) {
    push(t0 + i * 1s, 7);
    for (const std::string& what : run_until(t0 + i * 1s)) {
      if (what.find("firing") == std::string::npos) continue;
      EXPECT_EQ(what, "80000: A firing of /") << "5 s before, 15 s after 65";
    }
  }
  EXPECT_EQ(judge_.alerts().at(0).alert.phase, AlertPhase::firing);
}

TEST_F(KeptTest, WhatMayRollBackIsKeptFirst) {
  start("groups: [{name: g, rules: [{alert: N, expr: x > 5}, {alert: R, expr: x > 5, labels: {rollbackd_action: rollback}}]}]");
  push(t0 + 1s, 7);

  ASSERT_THAT(judge_.keep(1), SizeIs(1));
  EXPECT_EQ(judge_.keep(1)[0].labels.get("alertname"), "R");
}

}  // namespace
}  // namespace rollbackd::rules
