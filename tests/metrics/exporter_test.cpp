// The daemon's own metrics: every documented family is there once, counts what it says, and the whole is valid exposition text.
#include "metrics/exporter.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <re2/re2.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "base/text.hpp"

namespace rollbackd::metrics {
namespace {

using testing::HasSubstr;
using testing::Not;

const ServiceKey kShop{"shop", "prod"};

/// What an exposition says: the value of each series, as it is written ("name{a=\"b\"}").
std::map<std::string, std::string> series_of(const std::string& text) {
  std::map<std::string, std::string> out;
  for (const std::string& line : split(text, '\n')) {
    if (line.empty() || line[0] == '#') continue;
    const std::size_t space = line.rfind(' ');
    out[line.substr(0, space)] = line.substr(space + 1);
  }
  return out;
}

double value_of(const std::string& text, const std::string& series) {
  const auto all = series_of(text);
  const auto at = all.find(series);
  if (at == all.end()) {
    ADD_FAILURE() << "there is no series " << series << " in\n" << text;
    return -1;
  }
  return std::stod(at->second);
}

record::OperationRow row(OperationKind kind, OperationStatus status, const ServiceKey& service = kShop) {
  record::OperationRow out;
  out.request.service = service;
  out.request.kind = kind;
  out.request.trigger = Trigger::automatic;
  out.status = status;
  out.begun = Instant::from_seconds(100);
  out.ended = Instant::from_seconds(103);
  out.phases = {{"switch", 20ms}, {"verify", 2s}};
  return out;
}

Decision decision(DecisionKind kind) {
  Decision out;
  out.service = kShop;
  out.kind = kind;
  return out;
}

/// One service with one check and two releases.
Standing standing() {
  Standing out;
  Standing::Service service;
  service.key = kShop;
  service.ready = true;
  service.live = "v2";
  service.releases = {{"v1", "good"}, {"v2", "candidate"}};
  service.checks = {{"health", "http", 41, 3, 2, 1, true}};
  service.deadline_standard = 60s;
  service.deadline_emergency = 30s;
  service.suspended = true;
  service.ready_checks = {{"target", 0}, {"drill", 0.5}};
  service.drilled = 1'795'176'000;
  service.blind_rules = 5;
  service.blind_rule_names = {"Slow", "Errors", "Slow"};  // Of two groups.
  out.services.push_back(service);
  out.judge.batches = 1000;
  out.judge.evaluations = 2000;
  out.series = 17;
  out.outbox.sent = 6;
  return out;
}

/// An exporter in whose life everything has happened once.
void live_through_everything(Exporter& exporter) {
  exporter.operation_ended(row(OperationKind::rollback, OperationStatus::succeeded));
  Decision hold = decision(DecisionKind::hold);
  GuardAnswer no;
  no.guard = "budget";
  hold.guards = {no};
  exporter.decided(hold);
  exporter.detected(kShop, 3ms);
  exporter.tested(kShop, true);
  exporter.hook_ended(kShop, "before_switch", Outcome::Status::timed_out, 10s);
  exporter.scrubbed(kShop, 3, 4096, false, Instant::from_seconds(1'795'176'000));
}

/// The rows of the table in src/metrics/README.md: family, type, labels.
struct Documented {
  std::string type;
  std::set<std::string> labels;
};
std::map<std::string, Documented> documented_families() {
  std::ifstream file(std::string(ROLLBACKD_SOURCE_DIR) + "/src/metrics/README.md");
  std::map<std::string, Documented> out;
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> cells = split(line, '|');
    if (cells.size() < 6) continue;
    std::string name(trim(cells[1]));
    if (!name.starts_with("`rollbackd_")) continue;
    Documented row{std::string(trim(cells[2])), {}};
    for (const std::string& label : split(cells[3], ',')) {
      const std::string_view word = trim(label);
      if (word.size() > 2) row.labels.insert(std::string(word.substr(1, word.size() - 2)));
    }
    out[name.substr(1, name.size() - 2)] = row;
  }
  return out;
}

TEST(Exporter, TheTableOfTheReadmeAndTheExpositionNameTheSameFamilies) {
  Exporter exporter;
  live_through_everything(exporter);

  const std::string text = exporter.text(standing());

  std::map<std::string, Documented> exported;
  for (const std::string& line : split(text, '\n')) {
    std::string name, type, labels;
    if (RE2::PartialMatch(line, "^# TYPE ([^ ]+) (.+)$", &name, &type)) exported[name].type = type;
    if (!RE2::PartialMatch(line, R"(^([a-z_]+)(?:\{(.*)\})? )", &name, &labels)) continue;
    for (const char* suffix : {"_bucket", "_sum", "_count"})
      if (name.ends_with(suffix) && exported.count(name.substr(0, name.rfind('_'))) > 0) name = name.substr(0, name.rfind('_'));
    re2::StringPiece rest(labels);
    for (std::string label; RE2::FindAndConsume(&rest, R"re(([a-z_]+)="[^"]*",?)re", &label);)
      if (label != "le") exported[name].labels.insert(label);
  }
  const auto documented = documented_families();
  for (const auto& [name, family] : exported) {
    ASSERT_EQ(documented.count(name), 1U) << name << " is not in the table of src/metrics/README.md";
    EXPECT_EQ(documented.at(name).type, family.type) << name;
    EXPECT_EQ(documented.at(name).labels, family.labels) << name;
  }
  for (const auto& [name, row] : documented) EXPECT_EQ(exported.count(name), 1U) << name << " is in the table alone";
  EXPECT_GT(documented.size(), 30U);
}

TEST(Exporter, PromtoolFindsNothingToSayAboutIt) {
  if (std::system("promtool --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "promtool is not installed";  // NOLINT
  Exporter exporter;
  live_through_everything(exporter);
  const std::string path = testing::TempDir() + "/rollbackd-exposition-" + std::to_string(::getpid());
  std::ofstream(path) << exporter.text(standing());

  const int status = std::system(("promtool check metrics <" + path).c_str());  // NOLINT(concurrency-mt-unsafe,cert-env33-c)

  EXPECT_EQ(status, 0);
  std::remove(path.c_str());
}

TEST(Exporter, EveryLineIsExpositionTextAndNoFamilyOrSeriesComesTwice) {
  const RE2 sample(R"re([a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\[\\"n])*",?)*\})? ([+-]?Inf|NaN|[-+0-9.eE]+))re");
  const RE2 comment(R"(# (HELP [a-zA-Z_:][a-zA-Z0-9_:]* .+|TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)))");
  Exporter exporter;
  live_through_everything(exporter);
  Standing all = standing();
  all.services[0].releases.emplace_back("we\"ird\\re\nlease", "bad");

  const std::string text = exporter.text(all);

  std::set<std::string> families, series;
  ASSERT_TRUE(text.ends_with('\n'));
  for (const std::string& line : split(text.substr(0, text.size() - 1), '\n')) {
    std::string family;
    if (line.starts_with("# ")) {
      EXPECT_TRUE(RE2::FullMatch(line, comment)) << line;
      const bool is_type = RE2::PartialMatch(line, "^# TYPE ([^ ]+)", &family);
      EXPECT_TRUE(!is_type || families.insert(family).second) << family << " comes twice";
    } else {
      EXPECT_TRUE(RE2::FullMatch(line, sample)) << line;
      EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line << " comes twice";
    }
  }
  EXPECT_GT(families.size(), 20U);
}

TEST(Exporter, HooksAreCountedByWhereAndHowTheyEndedAndTimed) {
  Exporter exporter;
  exporter.hook_ended(kShop, "before_switch", Outcome::Status::done, 20ms);
  exporter.hook_ended(kShop, "before_switch", Outcome::Status::done, 30ms);
  exporter.hook_ended(kShop, "after_switch", Outcome::Status::timed_out, 10s);

  const std::string text = exporter.text(standing());

  EXPECT_NE(text.find(R"(rollbackd_hook_runs_total{service="shop",environment="prod",at="before_switch",outcome="done"} 2)"),
            std::string::npos);
  EXPECT_NE(text.find(R"(rollbackd_hook_runs_total{service="shop",environment="prod",at="after_switch",outcome="timed_out"} 1)"),
            std::string::npos);
  EXPECT_NE(text.find(R"(rollbackd_hook_duration_seconds_sum{at="after_switch"} 10)"), std::string::npos);
}

TEST(Exporter, OfTheHooksThatAServiceHasThereIsAZero) {
  Exporter exporter;
  Standing all = standing();
  all.services[0].hook_points = {"after_switch"};

  const std::string text = exporter.text(all);

  EXPECT_NE(text.find(R"(rollbackd_hook_runs_total{service="shop",environment="prod",at="after_switch",outcome="failed"} 0)"),
            std::string::npos);
  EXPECT_EQ(text.find("before_switch"), std::string::npos);
}

TEST(Exporter, AScrubIsCountedWithWhatItReadAndFound) {
  Exporter exporter;
  const std::string before = exporter.text(standing());
  exporter.scrubbed(kShop, 3, 4096, true, Instant::from_seconds(1000));
  exporter.scrubbed(kShop, 2, 1000, false, Instant::from_seconds(2000));

  const std::string text = exporter.text(standing());

  EXPECT_NE(before.find(R"(rollbackd_scrubs_total{service="shop",environment="prod",result="corrupt"} 0)"), std::string::npos);
  EXPECT_EQ(before.find("rollbackd_scrub_last_completed_timestamp_seconds"), std::string::npos) << "there was none";
  EXPECT_NE(text.find(R"(rollbackd_scrubs_total{service="shop",environment="prod",result="corrupt"} 1)"), std::string::npos);
  EXPECT_NE(text.find(R"(rollbackd_scrub_files_total{service="shop",environment="prod"} 5)"), std::string::npos);
  EXPECT_NE(text.find(R"(rollbackd_scrub_bytes_total{service="shop",environment="prod"} 5096)"), std::string::npos);
  EXPECT_NE(text.find(R"(rollbackd_scrub_last_completed_timestamp_seconds{service="shop",environment="prod"} 2000)"), std::string::npos);
}

TEST(Exporter, OperationsAreCountedByKindTriggerAndStatus) {
  Exporter exporter;
  exporter.operation_ended(row(OperationKind::rollback, OperationStatus::succeeded));
  exporter.operation_ended(row(OperationKind::rollback, OperationStatus::succeeded));
  exporter.operation_ended(row(OperationKind::deploy, OperationStatus::failed));

  const std::string text = exporter.text({});

  const std::string of_shop = R"(rollbackd_operations_total{service="shop",environment="prod",)";
  EXPECT_EQ(value_of(text, of_shop + R"(kind="rollback",trigger="automatic",status="succeeded"})"), 2);
  EXPECT_EQ(value_of(text, of_shop + R"(kind="deploy",trigger="automatic",status="failed"})"), 1);
}

TEST(Exporter, AnOperationsPhasesAndItsWholeAreInTheHistogram) {
  Exporter exporter;
  exporter.operation_ended(row(OperationKind::rollback, OperationStatus::succeeded));

  const std::string text = exporter.text({});

  const std::string name = "rollbackd_operation_duration_seconds";
  EXPECT_EQ(value_of(text, name + R"(_sum{kind="rollback",phase="verify"})"), 2);
  EXPECT_EQ(value_of(text, name + R"(_sum{kind="rollback",phase="total"})"), 3);
  EXPECT_EQ(value_of(text, name + R"(_bucket{kind="rollback",phase="switch",le="0.01"})"), 0);
  EXPECT_EQ(value_of(text, name + R"(_bucket{kind="rollback",phase="switch",le="0.025"})"), 1);
}

TEST(Exporter, TheFirstOperationAfterAStartIsAnIncreaseOfItsHistogramToo) {
  const Exporter exporter;

  const std::string text = exporter.text({});

  for (const char* kind : {"rollback", "deploy"})
    for (const char* phase : {"preflight", "switch", "restart", "verify", "total"})
      EXPECT_EQ(value_of(text, "rollbackd_operation_duration_seconds_count{kind=\"" + std::string(kind) + "\",phase=\"" + phase + "\"}"),
                0);
}

TEST(Exporter, TheRatioIsOfEndedRollbacksAloneAndOfEachEnvironment) {
  Exporter exporter;
  exporter.operation_ended(row(OperationKind::rollback, OperationStatus::succeeded));
  exporter.operation_ended(row(OperationKind::rollback, OperationStatus::failed));
  exporter.operation_ended(row(OperationKind::deploy, OperationStatus::failed));
  exporter.operation_ended(row(OperationKind::rollback, OperationStatus::succeeded, {"shop", "staging"}));

  const std::string text = exporter.text({});

  EXPECT_EQ(value_of(text, R"(rollbackd_rollback_success_ratio{environment="prod"})"), 0.5);
  EXPECT_EQ(value_of(text, R"(rollbackd_rollback_success_ratio{environment="staging"})"), 1);
}

TEST(Exporter, WithoutAnyRollbackThereIsNoRatioToMistakeForPerfection) {
  Exporter exporter;
  exporter.operation_ended(row(OperationKind::deploy, OperationStatus::succeeded));

  EXPECT_THAT(exporter.text({}), Not(HasSubstr("rollbackd_rollback_success_ratio")));
}

TEST(Exporter, WhatTheHistoryRemembersIsCountedOnFrom) {
  record::OperationTotal total;
  total.service = kShop;
  total.kind = OperationKind::rollback;
  total.trigger = Trigger::automatic;
  total.status = OperationStatus::succeeded;
  total.count = 3;
  record::OperationTotal running = total;
  running.status = OperationStatus::running;
  Exporter exporter;

  exporter.seed({total, running});
  exporter.operation_ended(row(OperationKind::rollback, OperationStatus::failed));

  const std::string text = exporter.text({});
  const std::string succeeded = R"({service="shop",environment="prod",kind="rollback",trigger="automatic",status="succeeded"})";
  EXPECT_EQ(value_of(text, "rollbackd_operations_total" + succeeded), 3);
  EXPECT_EQ(value_of(text, R"(rollbackd_rollback_success_ratio{environment="prod"})"), 0.75);
  EXPECT_THAT(text, Not(HasSubstr("status=\"running\"")));
}

TEST(Exporter, AnOperationThatRecoveryEndedBeforeTheHistoryWasReadIsNotCountedTwice) {
  record::OperationTotal total;
  total.service = kShop;
  total.kind = OperationKind::rollback;
  total.trigger = Trigger::automatic;
  total.status = OperationStatus::abandoned;
  total.count = 1;
  Exporter exporter;
  exporter.operation_ended(row(OperationKind::rollback, OperationStatus::abandoned));

  exporter.seed({total});

  const std::string text = exporter.text({});
  const std::string abandoned = R"({service="shop",environment="prod",kind="rollback",trigger="automatic",status="abandoned"})";
  EXPECT_EQ(value_of(text, "rollbackd_operations_total" + abandoned), 1);
}

TEST(Exporter, AHistoryThatCannotTellTakesNothingAway) {
  Exporter exporter;
  exporter.operation_ended(row(OperationKind::rollback, OperationStatus::succeeded));

  exporter.seed({});

  EXPECT_EQ(value_of(exporter.text({}), R"(rollbackd_rollback_success_ratio{environment="prod"})"), 1);
}

TEST(Exporter, DecisionsOfAStandingServiceExistFromTheStartAndAreCountedByKind) {
  Exporter exporter;
  const std::string before = exporter.text(standing());

  exporter.decided(decision(DecisionKind::rollback));
  exporter.decided(decision(DecisionKind::hold));
  exporter.decided(decision(DecisionKind::hold));

  const std::string of_shop = R"(rollbackd_decisions_total{service="shop",environment="prod",decision=")";
  EXPECT_EQ(value_of(before, of_shop + "rollback\"}"), 0);
  EXPECT_EQ(value_of(exporter.text(standing()), of_shop + "rollback\"}"), 1);
  EXPECT_EQ(value_of(exporter.text(standing()), of_shop + "hold\"}"), 2);
}

TEST(Exporter, AFailureThatHasNotHappenedYetIsAZeroSoThatItsFirstTimeIsAnIncrease) {
  Exporter exporter;

  const std::string text = exporter.text(standing());

  const std::string of_shop = R"(rollbackd_operations_total{service="shop",environment="prod",)";
  EXPECT_EQ(value_of(text, of_shop + R"(kind="rollback",trigger="automatic",status="failed"})"), 0);
  EXPECT_EQ(value_of(text, of_shop + R"(kind="deploy",trigger="manual",status="unknown"})"), 0);
}

TEST(Exporter, TheLastOperationOfEachKindIsKnownWithHowItEndedAlsoAfterARestart) {
  Exporter exporter;
  record::OperationRow deploy = row(OperationKind::deploy, OperationStatus::unverified);
  exporter.seed({}, {row(OperationKind::rollback, OperationStatus::succeeded), deploy});
  record::OperationRow failed = row(OperationKind::rollback, OperationStatus::failed);
  failed.ended = failed.begun + 7s;
  exporter.operation_ended(failed);

  const std::string text = exporter.text({});

  const std::string of_shop = R"({service="shop",environment="prod",kind=")";
  EXPECT_EQ(value_of(text, "rollbackd_last_operation_duration_seconds" + of_shop + "rollback\"}"), 7);
  EXPECT_EQ(value_of(text, "rollbackd_last_operation_duration_seconds" + of_shop + "deploy\"}"), 3);
  EXPECT_EQ(value_of(text, "rollbackd_last_operation_timestamp_seconds" + of_shop + R"(rollback",status="failed"})"), 107);
  EXPECT_EQ(value_of(text, "rollbackd_last_operation_timestamp_seconds" + of_shop + R"(deploy",status="unverified"})"), 103);
  EXPECT_THAT(text, Not(HasSubstr(R"(kind="rollback",status="succeeded"})")));
}

TEST(Exporter, ACheckWithoutAnOpinionHasNoHealthToMistakeForABadOne) {
  Exporter exporter;
  Standing all = standing();
  const std::string speaks = exporter.text(all);

  all.services[0].checks[0].healthy.reset();

  const std::string healthy = R"(rollbackd_check_healthy{service="shop",environment="prod",check="health",type="http"})";
  EXPECT_EQ(value_of(speaks, healthy), 1);
  EXPECT_THAT(exporter.text(all), Not(HasSubstr("rollbackd_check_healthy")));
}

TEST(Exporter, AServiceThatIsNotReadySaysWhyInAWord) {
  Exporter exporter;
  Standing all = standing();
  all.services[0].ready = false;
  all.services[0].ready_word = "no_target";

  const std::string text = exporter.text(all);

  EXPECT_EQ(value_of(text, R"(rollbackd_rollback_ready{service="shop",environment="prod",reason="no_target"})"), 0);
}

TEST(Exporter, ARefusalIsAGuardThatWasAskedSaidNoAndWasNotPassedOver) {
  Decision hold = decision(DecisionKind::hold);
  GuardAnswer no, yes, not_asked, passed_over;
  no.guard = "budget";
  yes.guard = "cooldown";
  yes.yes = true;
  not_asked.guard = "live_is_suspect";
  not_asked.asked = false;
  passed_over.guard = "target_not_bad";
  passed_over.passed_over = true;
  hold.guards = {no, yes, not_asked, passed_over};
  Exporter exporter;

  exporter.decided(hold);

  const std::string text = exporter.text({});
  EXPECT_EQ(value_of(text, R"(rollbackd_guard_refusals_total{service="shop",environment="prod",guard="budget"})"), 1);
  for (const char* guard : {"cooldown", "live_is_suspect", "target_not_bad"}) EXPECT_THAT(text, Not(HasSubstr(guard)));
}

TEST(Exporter, TestsAndDetectionsAreCounted) {
  Exporter exporter;
  exporter.tested(kShop, true);
  exporter.tested(kShop, false);
  exporter.tested(kShop, false);
  exporter.detected(kShop, 3ms);

  const std::string text = exporter.text({});

  EXPECT_EQ(value_of(text, R"(rollbackd_verification_tests_total{service="shop",environment="prod",result="passed"})"), 1);
  EXPECT_EQ(value_of(text, R"(rollbackd_verification_tests_total{service="shop",environment="prod",result="failed"})"), 2);
  EXPECT_EQ(value_of(text, "rollbackd_detection_seconds_count"), 1);
  EXPECT_EQ(value_of(text, R"(rollbackd_detection_seconds_bucket{le="0.0025"})"), 0);
  EXPECT_EQ(value_of(text, R"(rollbackd_detection_seconds_bucket{le="0.005"})"), 1);
}

TEST(Exporter, WhatStandsIsWhatWasHandedInAtThisScrape) {
  Exporter exporter;

  const std::string text = exporter.text(standing());

  const std::string check = R"(rollbackd_checks_total{service="shop",environment="prod",check="health",type="http",result=")";
  EXPECT_EQ(value_of(text, check + "ok\"}"), 41);
  EXPECT_EQ(value_of(text, check + "failed\"}"), 3);
  EXPECT_EQ(value_of(text, check + "unobserved\"}"), 2);
  EXPECT_EQ(value_of(text, check + "late\"}"), 1);
  EXPECT_EQ(value_of(text, R"(rollbackd_rollback_ready{service="shop",environment="prod",reason=""})"), 1);
  EXPECT_EQ(value_of(text, R"(rollbackd_operation_deadline_seconds{service="shop",environment="prod",mode="emergency"})"), 30);
  EXPECT_EQ(value_of(text, R"(rollbackd_suspended{service="shop",environment="prod"})"), 1);
  EXPECT_EQ(value_of(text, R"(rollbackd_held{service="shop",environment="prod"})"), 0);
  EXPECT_EQ(value_of(text, R"(rollbackd_incident_open{service="shop",environment="prod"})"), 0);
  EXPECT_EQ(value_of(text, R"(rollbackd_blind_rules{service="shop",environment="prod"})"), 5);
  EXPECT_EQ(value_of(text, R"(rollbackd_rule_blind{service="shop",environment="prod",rule="Slow"})"), 1);
  EXPECT_EQ(value_of(text, R"(rollbackd_release_info{service="shop",environment="prod",release="v2",standing="candidate",live="1"})"), 1);
  EXPECT_EQ(value_of(text, R"(rollbackd_release_info{service="shop",environment="prod",release="v1",standing="good",live="0"})"), 1);
  EXPECT_EQ(value_of(text, "rollbackd_rule_evaluations_total"), 2000);
  EXPECT_EQ(value_of(text, R"(rollbackd_notifications_total{result="sent"})"), 6);
}

TEST(Exporter, AServiceOrReleaseThatIsGoneLeavesNothingBehind) {
  Exporter exporter;
  const std::string before = exporter.text(standing());

  const std::string after = exporter.text({});

  EXPECT_THAT(before, HasSubstr("service=\"shop\""));
  EXPECT_THAT(after, Not(HasSubstr("service=\"shop\"")));
}

TEST(Exporter, LabelValuesAreEscaped) {
  Standing all = standing();
  all.services[0].releases = {{"a\"b\\c\nd", "bad"}};
  Exporter exporter;

  const std::string text = exporter.text(all);

  EXPECT_THAT(text, HasSubstr(R"(release="a\"b\\c\nd")"));
}

TEST(Exporter, TroubleShowsInTheGauges) {
  Standing all;
  all.history_ok = false;
  all.audit.ok = false;
  all.audit.lost = 3;
  all.last_reload_ok = false;
  all.reloads_failed = 2;
  all.reactor_lag_seconds = 0.25;
  Exporter exporter;

  const std::string text = exporter.text(all);

  EXPECT_EQ(value_of(text, "rollbackd_history_ok"), 0);
  EXPECT_EQ(value_of(text, "rollbackd_audit_ok"), 0);
  EXPECT_EQ(value_of(text, "rollbackd_audit_entries_lost_total"), 3);
  EXPECT_EQ(value_of(text, "rollbackd_config_last_reload_successful"), 0);
  EXPECT_EQ(value_of(text, R"(rollbackd_config_reloads_total{result="failed"})"), 2);
  EXPECT_EQ(value_of(text, "rollbackd_reactor_lag_seconds"), 0.25);
}

}  // namespace
}  // namespace rollbackd::metrics
