// Every shipped pack, driven with the batches of its checks: it fires on its failure, and not before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "rules/judge.hpp"

namespace rollbackd::rules {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

namespace fs = std::filesystem;

const ServiceKey kShop{"shop", "prod"};
const Instant t0 = Instant::from_seconds(100'000);
const std::vector<std::string> kProcessMetrics{"process_up", "process_exits_total", "process_stops_total"};
const std::vector<std::string> kProbeMetrics{"probe_success",   "probe_duration_seconds",     "probe_http_status_code",
                                             "probe_timed_out", "probe_consecutive_failures", "probe_failing_seconds"};

Groups shipped_packs() {
  Groups all;
  for (const auto& entry : fs::directory_iterator(fs::path(ROLLBACKD_SOURCE_DIR) / "rules")) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream in(entry.path());
    std::stringstream text;
    text << in.rdbuf();
    std::vector<config::Problem> problems;
    Groups groups = parse_groups(text.str(), entry.path().filename().string(), {}, problems);
    for (const config::Problem& p : problems) ADD_FAILURE() << p.text();
    for (Group& group : groups) all.push_back(std::move(group));
  }
  return all;
}

class Packs : public testing::Test {
 protected:
  Packs() {
    judge_.set_rules(shipped_packs(), t0 - 1s);
    judge_.set_service(kShop,
                       {{kShop, "process", kProcessMetrics, 31s},
                        {kShop, "health", kProbeMetrics, 2500ms},
                        {kShop, "app-log", {"log_lines_total", "log_matches_total"}, 31s},
                        {kShop, "verification", {"verification_success"}, 1h}},
                       t0 - 1s);
    judge_.begin_epoch(kShop, t0);
  }

  /// Lets time pass as the engine does: everything due first, then the batch. @return names of the alerts that then fire
  std::set<std::string> push(Instant at, const std::string& check, std::vector<Sample> samples) {
    pass_time(at);
    Batch batch;
    batch.service = kShop;
    batch.check = check;
    batch.began = batch.at = at;
    batch.samples = std::move(samples);
    for (Sample& s : batch.samples) {
      s.labels.set("service", "shop");
      s.labels.set("environment", "prod");
      s.labels.set("instance", "localhost");
      s.labels.set("check", check);
    }
    note(judge_.on_batch(batch));
    return firing_;
  }
  std::set<std::string> pass_time(Instant until) {
    for (auto due = judge_.next_due(); due && *due < until; due = judge_.next_due()) note(judge_.on_due(*due));
    return firing_;
  }
  std::set<std::string> epoch(Instant at) {
    note(judge_.begin_epoch(kShop, at));
    return firing_;
  }

  std::set<std::string> process(Instant at, double up, std::map<std::string, double> exits) {
    std::vector<Sample> samples{{Labels{{"__name__", "process_up"}}, up, false}, {Labels{{"__name__", "process_stops_total"}}, 0, true}};
    for (const auto& [reason, n] : exits)
      samples.push_back({Labels{{"__name__", "process_exits_total"}, {"reason", reason}, {"code", "1"}}, n, true});
    return push(at, "process", std::move(samples));
  }
  std::set<std::string> probe(Instant at, double failures, double failing_seconds, double timed_out) {
    return push(at, "health",
                {{Labels{{"__name__", "probe_success"}}, failures == 0 ? 1.0 : 0.0, false},
                 {Labels{{"__name__", "probe_consecutive_failures"}}, failures, false},
                 {Labels{{"__name__", "probe_failing_seconds"}}, failing_seconds, false},
                 {Labels{{"__name__", "probe_timed_out"}}, timed_out, false}});
  }
  std::set<std::string> log(Instant at, double lines, double critical) {
    return push(at, "app-log",
                {{Labels{{"__name__", "log_lines_total"}}, lines, true},
                 {Labels{{"__name__", "log_matches_total"}, {"pattern", "critical"}}, critical, true},
                 {Labels{{"__name__", "log_matches_total"}, {"pattern", "warning"}}, lines, true}});
  }
  std::set<std::string> verified(Instant at, double success) {
    return push(at, "verification", {{Labels{{"__name__", "verification_success"}, {"test", "smoke"}}, success, false}});
  }

  Judge judge_;

 private:
  void note(const Judgement& judgement) {
    for (const AlertChange& c : judgement.alerts) {
      EXPECT_EQ(c.service, kShop);
      EXPECT_EQ(c.action, AlertAction::rollback);
      EXPECT_THAT(c.checks, testing::SizeIs(1));
      EXPECT_FALSE(c.annotations.get("summary").empty() || c.annotations.get("description").empty());
      EXPECT_EQ(c.annotations.to_string().find("error expanding"), std::string::npos) << c.annotations.to_string();
      if (c.phase == AlertPhase::firing)
        firing_.insert(c.rule);
      else
        firing_.erase(c.rule);
    }
  }
  std::set<std::string> firing_;
};

TEST_F(Packs, EveryRuleIsLocalAndMayRollBackAndIsNamedForPeople) {
  std::vector<std::string> names;
  for (const Group& group : shipped_packs()) {
    for (const Rule& rule : group.rules) {
      names.push_back(group.file + ": " + rule.name);
      EXPECT_TRUE(rule.service_local) << rule.name;
      EXPECT_EQ(rule.action, AlertAction::rollback) << rule.name;
      EXPECT_TRUE(rule.labels.has("severity")) << rule.name;
      EXPECT_TRUE(rule.annotations.has("summary") && rule.annotations.has("description")) << rule.name;
    }
    EXPECT_TRUE(fs::exists(fs::path(ROLLBACKD_SOURCE_DIR) / "rules/tests" / (group.name + "_test.yml"))) << group.name;
  }
  EXPECT_THAT(names, UnorderedElementsAre("crash.json: ProcessCrashed", "crash.json: ProcessCrashLoop", "health.json: HealthCheckFailing",
                                          "health.json: HealthCheckTimingOut", "log.json: CriticalLogErrors",
                                          "verification.json: VerificationFailed"));
}

TEST(PackFiles, PromtoolAcceptsThePacksAndTheirTestsPass) {
  if (std::system("command -v promtool >/dev/null 2>&1") != 0) GTEST_SKIP() << "promtool is not installed";
  const std::string rules = std::string("cd '") + ROLLBACKD_SOURCE_DIR + "/rules' && ";

  EXPECT_EQ(std::system((rules + "promtool check rules *.json >/dev/null").c_str()), 0);
  EXPECT_EQ(std::system((rules + "promtool test rules tests/*.yml >/dev/null").c_str()), 0);
}

TEST_F(Packs, ACrashFiresInItsBatchAndForAMinute) {
  EXPECT_THAT(process(t0 + 1s, 1, {}), IsEmpty());
  EXPECT_THAT(process(t0 + 16s, 1, {}), IsEmpty());
  EXPECT_THAT(process(t0 + 20s, 0, {{"signal", 1}}), ElementsAre("ProcessCrashed"));
  for (int i = 1; i < 4; ++i) EXPECT_THAT(process(t0 + 20s + i * 15s, 1, {{"signal", 1}}), ElementsAre("ProcessCrashed")) << i;
  EXPECT_THAT(process(t0 + 80s, 1, {{"signal", 1}}), IsEmpty());
}

TEST_F(Packs, ACrashOfANewKindFiresAtOnceHoursIntoAnEpoch) {
  for (int i = 0; i < 3 * 240; ++i) ASSERT_THAT(process(t0 + i * 15s + 1s, 1, {}), IsEmpty());

  EXPECT_THAT(process(t0 + 3h, 0, {{"oom", 1}}), ElementsAre("ProcessCrashed"));
}

TEST_F(Packs, AReleaseThatNeverComesUpIsACrashInItsFirstBatch) {
  EXPECT_THAT(process(t0 + 3s, 0, {{"start_failed", 1}}), ElementsAre("ProcessCrashed"));
}

TEST_F(Packs, ACrashOfOneReleaseIsNotTheNextOnes) {
  process(t0 + 1s, 1, {});
  EXPECT_THAT(process(t0 + 2s, 0, {{"exit", 1}}), ElementsAre("ProcessCrashed"));

  EXPECT_THAT(epoch(t0 + 2s + 20ms), IsEmpty());
  EXPECT_THAT(process(t0 + 2s + 100ms, 1, {{"exit", 1}}), IsEmpty());
  EXPECT_THAT(process(t0 + 17s, 1, {{"exit", 1}}), IsEmpty());
  EXPECT_THAT(process(t0 + 30s, 0, {{"exit", 2}}), ElementsAre("ProcessCrashed"));
}

TEST_F(Packs, OldExitsAreNoCrashAfterALongSilence) {
  process(t0 + 1s, 0, {{"exit", 1}});
  EXPECT_THAT(process(t0 + 3h, 1, {{"exit", 1}}), IsEmpty());
  EXPECT_THAT(process(t0 + 3h + 15s, 1, {{"exit", 1}}), IsEmpty());
}

TEST_F(Packs, ThreeCrashesInFiveMinutesAreALoopWhateverTheirKind) {
  process(t0 + 1s, 1, {});
  EXPECT_THAT(process(t0 + 10s, 0, {{"exit", 1}}), ElementsAre("ProcessCrashed"));
  EXPECT_THAT(process(t0 + 12s, 0, {{"exit", 2}}), ElementsAre("ProcessCrashed"));
  EXPECT_THAT(process(t0 + 14s, 0, {{"exit", 2}, {"signal", 1}}), ElementsAre("ProcessCrashLoop", "ProcessCrashed"));
}

TEST_F(Packs, AHealthCheckFailsWithItsThirdFailureOverTwoSeconds) {
  EXPECT_THAT(probe(t0 + 1s, 0, 0, 0), IsEmpty());
  EXPECT_THAT(probe(t0 + 2s, 1, 0.01, 0), IsEmpty());
  EXPECT_THAT(probe(t0 + 3s, 2, 1.01, 0), IsEmpty());
  EXPECT_THAT(probe(t0 + 4s, 3, 2.01, 0), ElementsAre("HealthCheckFailing"));
  EXPECT_THAT(probe(t0 + 5s, 0, 0, 0), IsEmpty());
}

TEST_F(Packs, ManyQuickFailuresAreNotEnough) { EXPECT_THAT(probe(t0 + 1s, 20, 1.9, 0), IsEmpty()); }

TEST_F(Packs, TimeoutsAreAnAlertOfTheirOwn) {
  EXPECT_THAT(probe(t0 + 2s, 1, 0.5, 1), IsEmpty());
  EXPECT_THAT(probe(t0 + 3s, 2, 1.5, 1), IsEmpty());
  EXPECT_THAT(probe(t0 + 4s, 3, 2.5, 1), ElementsAre("HealthCheckTimingOut"));
  EXPECT_THAT(probe(t0 + 5s, 4, 3.0, 0), ElementsAre("HealthCheckFailing"));
}

TEST_F(Packs, AnOutageOfTheMonitoringFiresNothing) {
  process(t0 + 1s, 1, {});
  probe(t0 + 1s, 2, 1.5, 0);
  log(t0 + 1s, 5, 0);
  verified(t0 + 1s, 1);

  EXPECT_THAT(pass_time(t0 + 3h), IsEmpty());
  for (const RuleStatus& status : judge_.status(kShop)) EXPECT_EQ(status.verdict, Verdict::blind) << status.rule;
}

TEST_F(Packs, ACriticalLogLineFiresInItsBatchAndForAMinute) {
  EXPECT_THAT(log(t0 + 1s, 10, 0), IsEmpty());
  EXPECT_THAT(log(t0 + 16s, 500, 0), IsEmpty());
  EXPECT_THAT(log(t0 + 17s, 501, 1), ElementsAre("CriticalLogErrors"));
  for (int i = 1; i < 4; ++i) EXPECT_THAT(log(t0 + 17s + i * 15s, 600, 1), ElementsAre("CriticalLogErrors")) << i;
  EXPECT_THAT(log(t0 + 77s, 700, 1), IsEmpty());
}

TEST_F(Packs, ACriticalLineInTheFirstBatchOfAReleaseFires) { EXPECT_THAT(log(t0 + 200ms, 3, 1), ElementsAre("CriticalLogErrors")); }

TEST_F(Packs, AFailedVerificationFiresUntilItPasses) {
  EXPECT_THAT(verified(t0 + 1s, 1), IsEmpty());
  EXPECT_THAT(verified(t0 + 2s, 0), ElementsAre("VerificationFailed"));
  EXPECT_THAT(verified(t0 + 3s, 1), IsEmpty());
}

}  // namespace
}  // namespace rollbackd::rules
