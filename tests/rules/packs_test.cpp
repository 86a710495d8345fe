// Every shipped pack, driven with the batches of its checks: it fires on its failure, and not before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
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
  std::set<std::string> push(Instant at, const std::string& check, std::vector<Sample> samples, const std::string& unobserved = "") {
    pass_time(at);
    Batch batch;
    batch.service = kShop;
    batch.check = check;
    batch.began = batch.at = at;
    batch.samples = std::move(samples);
    batch.unobserved = unobserved;
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
      EXPECT_THAT(c.checks, testing::Not(IsEmpty()));
      EXPECT_FALSE(c.annotations.get("summary").empty() || c.annotations.get("description").empty());
      EXPECT_EQ(c.annotations.to_string().find("error expanding"), std::string::npos) << c.annotations.to_string();
      actions_[c.rule] = c.action;
      if (c.phase == AlertPhase::firing)
        firing_.insert(c.rule);
      else
        firing_.erase(c.rule);
    }
  }
  std::set<std::string> firing_;

 protected:
  std::map<std::string, AlertAction> actions_;  ///< of the alerts that changed
};

TEST_F(Packs, EveryRuleIsLocalAndEveryAlertIsNamedForPeople) {
  std::vector<std::string> names;
  for (const Group& group : shipped_packs()) {
    EXPECT_TRUE(fs::exists(fs::path(ROLLBACKD_SOURCE_DIR) / "rules/tests" / (group.name + "_test.yml"))) << group.name;
    for (const Rule& rule : group.rules) {
      EXPECT_TRUE(rule.service_local) << rule.name;
      if (!rule.alerting) continue;
      names.push_back(group.file + ": " + rule.name + " " + to_string(rule.action));
      EXPECT_TRUE(rule.labels.has("severity")) << rule.name;
      EXPECT_TRUE(rule.annotations.has("summary") && rule.annotations.has("description")) << rule.name;
    }
  }
  EXPECT_THAT(names, UnorderedElementsAre("config.json: ConfigurationInvalid rollback", "crash.json: ProcessCrashed rollback",
                                          "crash.json: ProcessCrashLoop rollback", "database.json: DatabaseUnreachable rollback",
                                          "database.json: DatabaseDown hold", "database.json: DatabaseErrors notify",
                                          "dependency.json: DependencyDown hold", "errors.json: HighErrorRatio rollback",
                                          "errors.json: HighProxiedErrorRatio rollback", "health.json: HealthCheckFailing rollback",
                                          "health.json: HealthCheckTimingOut rollback", "latency.json: LatencyRegression rollback",
                                          "latency.json: TailLatencyRegression rollback", "log.json: CriticalLogErrors rollback",
                                          "memory.json: MemoryGrowth rollback", "verification.json: VerificationFailed rollback"));
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
  int fed = 0;
  for (const RuleStatus& status : judge_.status(kShop)) {
    const bool asks_dependencies = status.rule == "DatabaseUnreachable" || status.rule == "DatabaseDown";  // There are none: known empty.
    EXPECT_EQ(status.verdict, status.fed && !asks_dependencies ? Verdict::blind : Verdict::ok) << status.rule;
    fed += status.fed;
  }
  EXPECT_GE(fed, 6) << "crash, health, log and verification have their checks here";
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

/// The same service with a scrape each 5 s, a configuration check, an independent check of its database, and the engine's own source.
class ScrapedPacks : public Packs {
 protected:
  ScrapedPacks() {
    judge_.set_service(kShop,
                       {{kShop, "app", {}, 16s, {"up", "scrape_duration_seconds"}},
                        {kShop, "app-log", {"log_lines_total", "log_matches_total"}, 31s},
                        {kShop, "nginx", {"config_valid"}, 31s},
                        {kShop, "db-port", {"dependency_up"}, 16s},
                        {kShop, "release", {"release_switched_timestamp_seconds"}, 31s}},
                       t0 - 1s);
  }

  static Sample sample(const char* name, double value, std::initializer_list<std::pair<const char*, const char*>> labels = {}) {
    Sample s{Labels{{"__name__", name}}, value, false};
    for (const auto& [label, text] : labels) s.labels.set(label, text);
    return s;
  }
  /// One scrape after `seconds` of traffic at `rate` requests a second since the process began; with everything else that repeats.
  struct Traffic {
    double ok = 0, failed = 0, slow_seconds = 0, memory = 100e6;
    bool counted_errors = true;
  };
  std::set<std::string> scrape(Instant at, const Traffic& t) {
    std::vector<Sample> samples{sample("up", 1), sample("http_requests_total", t.ok, {{"code", "200"}}),
                                sample("http_request_duration_seconds_count", t.ok + t.failed),
                                sample("http_request_duration_seconds_sum", t.slow_seconds),
                                sample("process_resident_memory_bytes", t.memory)};
    if (t.failed > 0 || t.counted_errors) samples.push_back(sample("http_requests_total", t.failed, {{"code", "500"}}));
    push(at, "release", {sample("release_switched_timestamp_seconds", switched_.seconds())});
    return push(at + 1ms, "app", std::move(samples));
  }
  std::set<std::string> begin_release(Instant at) {
    switched_ = at;
    return epoch(at);
  }
  std::set<std::string> database(Instant at, double lines, std::optional<double> up) {
    if (up) push(at, "db-port", {sample("dependency_up", *up, {{"dependency", "orders-db"}})});
    push(at + 1ms, "app", {sample("up", 1)});
    Sample matches = sample("log_matches_total", lines, {{"pattern", "database"}});
    matches.counter = true;
    return push(at + 2ms, "app-log", {matches});
  }
  static bool has(const std::set<std::string>& names, const char* name) { return names.contains(name); }

  Instant switched_ = t0;
};

TEST_F(ScrapedPacks, TwentyPercentOfErrorsFireOnceThereWereFiftyRequests) {
  Instant at = t0 + 1s;
  Traffic traffic;
  EXPECT_THAT(scrape(at, traffic), IsEmpty());
  for (int i = 1; i <= 12; ++i) {
    traffic.ok += 100;
    EXPECT_THAT(scrape(at = at + 5s, traffic), IsEmpty()) << "healthy";
  }
  begin_release(at + 1s);
  traffic = Traffic{};
  EXPECT_THAT(scrape(at = at + 5s, traffic), IsEmpty());
  traffic.ok = 80, traffic.failed = 20;
  EXPECT_THAT(scrape(at = at + 5s, traffic), ElementsAre("HighErrorRatio"));
  EXPECT_EQ(actions_["HighErrorRatio"], AlertAction::rollback);
}

TEST_F(ScrapedPacks, TheSameRatioOnFiveRequestsSaysNothing) {
  Instant at = t0 + 1s;
  scrape(at, Traffic{});
  Traffic traffic;
  traffic.ok = 4, traffic.failed = 1;
  for (int i = 0; i < 30; ++i) EXPECT_THAT(scrape(at = at + 5s, traffic), IsEmpty());
}

TEST_F(ScrapedPacks, ErrorsOfOneReleaseAreNotTheNextOnes) {
  Instant at = t0 + 1s;
  Traffic traffic;
  scrape(at, traffic);
  traffic.ok = 80, traffic.failed = 20;
  EXPECT_THAT(scrape(at = at + 5s, traffic), ElementsAre("HighErrorRatio"));

  EXPECT_THAT(begin_release(at + 1s), IsEmpty());
  for (int i = 0; i < 12; ++i) {
    traffic.ok += 100;  // Its counters go on: the configuration was reloaded, the process stayed.
    EXPECT_THAT(scrape(at = at + 5s, traffic), IsEmpty()) << i;
  }
}

TEST_F(ScrapedPacks, ATargetThatCannotBeScrapedFiresNothingAndIsBlind) {
  Instant at = t0 + 1s;
  Traffic traffic;
  scrape(at, traffic);
  traffic.ok = 95, traffic.failed = 5;
  scrape(at = at + 5s, traffic);

  EXPECT_THAT(push(at + 5s, "app", {sample("up", 0)}, "connection refused"), IsEmpty());

  for (const RuleStatus& status : judge_.status(kShop)) {
    if (status.group != "errors" && status.group != "latency") continue;
    EXPECT_EQ(status.verdict, Verdict::blind) << status.rule;
  }
  EXPECT_THAT(pass_time(at + 1h), IsEmpty());
}

TEST_F(ScrapedPacks, ATrebledLatencyFiresAgainstTheReleaseBeforeOnceItHasLasted) {
  Instant at = t0 + 1s;
  Traffic traffic;
  for (int i = 0; i < 12; ++i) {
    EXPECT_THAT(scrape(at = at + 5s, traffic), IsEmpty());
    traffic.ok += 100, traffic.slow_seconds += 100 * 0.05;
  }
  begin_release(at + 1s);
  traffic = Traffic{};
  bool fired = false;
  for (int i = 0; i < 11 && !fired; ++i) {
    fired = has(scrape(at = at + 5s, traffic), "LatencyRegression");
    if (i < 7) {
      EXPECT_FALSE(fired) << "its for is 30s: " << i;
    }
    traffic.ok += 100, traffic.slow_seconds += 100 * 0.15;
  }
  EXPECT_TRUE(fired);
}

TEST_F(ScrapedPacks, ALatencyThatTrebledBeforeTheSwitchIsNotTheNextReleasesDoing) {
  Instant at = t0 + 1s;
  Traffic traffic;
  for (int i = 0; i < 48; ++i) {
    EXPECT_THAT(scrape(at = at + 5s, traffic), IsEmpty()) << "there is no release before: " << i;
    traffic.ok += 100, traffic.slow_seconds += 100 * (i < 24 ? 0.05 : 0.2);
  }
  begin_release(at + 1s);
  traffic = Traffic{};
  for (int i = 0; i < 240; ++i) {
    EXPECT_THAT(scrape(at = at + 5s, traffic), IsEmpty()) << i;
    traffic.ok += 100, traffic.slow_seconds += 100 * 0.2;
  }
}

TEST_F(ScrapedPacks, WithTooFewRequestsOnEitherSideLatencySaysNothing) {
  for (const bool few_before : {true, false}) {
    Instant at = switched_ + 2h;
    begin_release(at);
    Traffic traffic;
    for (int i = 0; i < 12; ++i) {
      scrape(at = at + 5s, traffic);
      const double n = few_before ? 3 : 100;
      traffic.ok += n, traffic.slow_seconds += n * 0.05;
    }
    begin_release(at + 1s);
    traffic = Traffic{};
    for (int i = 0; i < 12; ++i) {
      EXPECT_THAT(scrape(at = at + 5s, traffic), IsEmpty()) << few_before << i;
      const double n = few_before ? 100 : 3;
      traffic.ok += n, traffic.slow_seconds += n * 0.5;
    }
  }
}

TEST_F(ScrapedPacks, MemoryThatGrowsBeyondTheReleaseBeforeFiresAndWarmingUpDoesNot) {
  Instant at = t0 + 1s;
  Traffic traffic;
  traffic.memory = 200e6;
  for (int i = 0; i < 240; ++i) EXPECT_THAT(scrape(at = at + 5s, traffic), IsEmpty());

  begin_release(at + 1s);
  for (int i = 0; i < 240; ++i) {
    traffic.memory = std::min(390e6, 50e6 + i * 10e6);  // Warm after three minutes.
    EXPECT_THAT(scrape(at = at + 5s, traffic), IsEmpty()) << i;
  }
  begin_release(at + 1s);
  bool fired = false;
  for (int i = 0; i < 240 && !fired; ++i) {
    traffic.memory = 390e6 + i * 15e6;
    fired = has(scrape(at = at + 5s, traffic), "MemoryGrowth");
    if (i < 72) {
      EXPECT_FALSE(fired) << "three minutes of grace and three of for: " << i;
    }
  }
  EXPECT_TRUE(fired);
}

TEST_F(ScrapedPacks, AnInvalidConfigurationFiresInItsBatchAndEndsWithItsEpoch) {
  EXPECT_THAT(push(t0 + 1s, "nginx", {sample("config_valid", 1)}), IsEmpty());
  EXPECT_THAT(push(t0 + 2s, "nginx", {sample("config_valid", 0)}), ElementsAre("ConfigurationInvalid"));
  EXPECT_THAT(begin_release(t0 + 3s), IsEmpty());
  EXPECT_THAT(push(t0 + 4s, "nginx", {sample("config_valid", 1)}), IsEmpty());
}

TEST_F(ScrapedPacks, ADependencyThatIsDownHoldsAfterTenSeconds) {
  const auto up = [&](Instant at, double value) {
    return push(at, "db-port", {sample("dependency_up", value, {{"dependency", "orders-db"}})});
  };
  EXPECT_THAT(up(t0 + 1s, 1), IsEmpty());
  EXPECT_THAT(up(t0 + 6s, 0), IsEmpty());
  EXPECT_THAT(up(t0 + 11s, 1), IsEmpty()) << "one failure";
  EXPECT_THAT(up(t0 + 16s, 0), IsEmpty());
  EXPECT_THAT(up(t0 + 21s, 0), IsEmpty());
  EXPECT_THAT(up(t0 + 27s, 0), ElementsAre("DependencyDown"));
  EXPECT_EQ(actions_["DependencyDown"], AlertAction::hold);
  EXPECT_THAT(up(t0 + 31s, 1), IsEmpty());
}

TEST_F(ScrapedPacks, AnUnreachableDatabaseThatIsWellIsTheReleasesFault) {
  EXPECT_THAT(database(t0 + 1s, 0, 1), IsEmpty());
  EXPECT_THAT(database(t0 + 6s, 1, 1), IsEmpty()) << "one line is not enough";
  EXPECT_THAT(database(t0 + 11s, 5, 1), ElementsAre("DatabaseUnreachable"));
  EXPECT_EQ(actions_["DatabaseUnreachable"], AlertAction::rollback);
  EXPECT_THAT(begin_release(t0 + 12s), IsEmpty());
  EXPECT_THAT(database(t0 + 16s, 5, 1), IsEmpty());
}

TEST_F(ScrapedPacks, ADatabaseThatIsDownHolds) {
  EXPECT_THAT(database(t0 + 1s, 0, 1), IsEmpty());
  EXPECT_THAT(database(t0 + 6s, 5, 0), ElementsAre("DatabaseDown"));
  EXPECT_EQ(actions_["DatabaseDown"], AlertAction::hold);
}

TEST_F(ScrapedPacks, NothingIsSaidOfADatabaseWhileItsProbeIsBlind) {
  push(t0 + 1s, "db-port", {}, "the name is not resolved");
  EXPECT_THAT(database(t0 + 2s, 0, std::nullopt), IsEmpty());
  EXPECT_THAT(database(t0 + 6s, 5, std::nullopt), IsEmpty());
}

}  // namespace
}  // namespace rollbackd::rules
