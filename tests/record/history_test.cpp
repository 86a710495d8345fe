// The history on real SQLite files: what comes back, what is written twice, and what happens when the file is not what it should be.
#include "record/history.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>

#include "io/sqlite.hpp"
#include "record/schema.hpp"

namespace rollbackd::record {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Duration kPatience = 20s;
const Instant kNoon = Instant::from_seconds(1'795'176'000);  // 2026-11-20T12:00:00Z

class HistoryTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "rollbackd-history-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory = pattern;
    path = directory / "history.sqlite";
  }
  void TearDown() override { fs::remove_all(directory); }

  fs::path directory, path;
};

OperationRow operation(const std::string& id, OperationStatus status, int second = 0) {
  OperationRow row;
  row.request.operation = id;
  row.request.service = {"shop-api", "prod"};
  row.request.from = "v2";
  row.request.to = "v1";
  row.request.reason = "ProcessCrashed";
  row.request.overrides = {"cooldown"};
  row.status = status;
  row.begun = kNoon + std::chrono::seconds(second);
  return row;
}

DeploymentRow deployment(std::uint64_t epoch, const std::string& release) {
  DeploymentRow row;
  row.service = {"shop-api", "prod"};
  row.epoch = epoch;
  row.release = release;
  row.at = kNoon + std::chrono::seconds(epoch);
  return row;
}

StepRow step(const std::string& operation, int number, int attempt = 1) {
  StepRow row;
  row.step.operation = operation;
  row.step.number = number;
  row.step.driver = "symlink";
  row.step.action = "switch";
  row.step.arguments.set("attempt", attempt).set("to", "v1");
  row.outcome.status = Outcome::Status::done;
  row.begun = kNoon;
  row.took = 1500us;
  return row;
}

using Rows = Result<std::vector<Json>>;

template <class T>
Result<T> wait_for(std::future<Result<T>> answer) {
  if (answer.wait_for(kPatience) != std::future_status::ready) return Error(Errc::timed_out, "the history did not answer");
  return answer.get();
}

Rows operations(History& history, HistoryFilter filter = {}) {
  auto promise = std::make_shared<std::promise<Rows>>();
  history.operations(std::move(filter), [promise](Rows rows) { promise->set_value(std::move(rows)); });
  return wait_for(promise->get_future());
}
Rows decisions(History& history, HistoryFilter filter = {}) {
  auto promise = std::make_shared<std::promise<Rows>>();
  history.decisions(std::move(filter), [promise](Rows rows) { promise->set_value(std::move(rows)); });
  return wait_for(promise->get_future());
}
Rows deployments(History& history, HistoryFilter filter = {}) {
  auto promise = std::make_shared<std::promise<Rows>>();
  history.deployments(std::move(filter), [promise](Rows rows) { promise->set_value(std::move(rows)); });
  return wait_for(promise->get_future());
}
Result<Json> one_operation(History& history, const std::string& id) {
  auto promise = std::make_shared<std::promise<Result<Json>>>();
  history.operation(id, [promise](Result<Json> row) { promise->set_value(std::move(row)); });
  return wait_for(promise->get_future());
}

std::vector<std::string> texts(const Rows& rows, const char* member) {
  std::vector<std::string> out;
  if (rows.has_error()) return {"error: " + rows.error().text()};
  for (const Json& row : *rows) out.push_back(row[member].string_or("?"));
  return out;
}

std::string bytes_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(HistoryTest, AnOperationComesBackAsItWasWritten) {
  OperationRow row = operation("op-1", OperationStatus::succeeded);
  row.request.selection = Selection::specific;
  row.request.trigger = Trigger::manual;
  row.request.cause = Cause::operator_;
  row.request.mode = Mode::emergency;
  row.request.principal = "uid:0 root";
  row.switched = kNoon + 3ms;
  row.ended = kNoon + 1500ms;
  row.attempt = 2;
  row.phases = {{"switch", 250us}, {"verify", 1250ms}};
  row.failed_how = "health:timeout";
  History history(path);

  history.add(row);

  const Rows rows = operations(history);
  ASSERT_TRUE(rows.has_value()) << rows.error().text();
  ASSERT_EQ(rows->size(), 1U);
  EXPECT_EQ(rows->front().dump(), row.to_json().dump());
  EXPECT_EQ(rows->front()["begun"].string_or(""), "2026-11-20T12:00:00.000Z");
  EXPECT_EQ(rows->front()["begun_unix"].number_or(0), 1'795'176'000.0);
  EXPECT_EQ(rows->front()["duration_seconds"].number_or(0), 1.5);
  EXPECT_EQ(rows->front()["phases"]["switch"].number_or(0), 0.00025);
  EXPECT_EQ(history.trouble(), "");
}

TEST_F(HistoryTest, WhatWasWrittenIsThereAfterARestart) {
  { History(path).add(operation("op-1", OperationStatus::succeeded)); }

  History history(path);

  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-1"));
}

TEST_F(HistoryTest, EachRowIsWrittenOnceHoweverOftenItComes) {
  History history(path);
  Decision decision;
  decision.id = "d-1";
  decision.service = {"shop-api", "prod"};
  decision.at = kNoon;
  for (int i = 0; i < 3; ++i) {
    history.add(operation("op-1", OperationStatus::running));
    history.add(decision);
    history.add(deployment(7, "v2"));
    history.add(step("op-1", 1));
  }

  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-1"));
  EXPECT_EQ(decisions(history)->size(), 1U);
  EXPECT_EQ(deployments(history)->size(), 1U);
  EXPECT_EQ((*one_operation(history, "op-1"))["steps"].elements().size(), 1U);
}

TEST_F(HistoryTest, AnEndedOperationIsNeverOpenAgain) {
  History history(path);
  history.add(operation("op-1", OperationStatus::verifying));
  history.add(operation("op-1", OperationStatus::failed));
  history.add(operation("op-1", OperationStatus::running));

  EXPECT_THAT(texts(operations(history), "status"), ElementsAre("failed"));
}

TEST_F(HistoryTest, ReadsAreNewestFirstAndFiltered) {
  History history(path);
  history.add(operation("op-1", OperationStatus::succeeded, 1));
  OperationRow other = operation("op-2", OperationStatus::failed, 3);
  other.request.service = {"cart", "staging"};
  other.request.kind = OperationKind::deploy;
  history.add(other);
  history.add(operation("op-3", OperationStatus::failed, 2));

  HistoryFilter by_service, by_environment, by_status, by_kind, two, both;
  by_service.service = "shop-api";
  by_environment.environment = "staging";
  by_status.status = "failed";
  by_kind.kind = "deploy";
  two.limit = 2;
  both.service = "shop-api";
  both.status = "failed";
  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-2", "op-3", "op-1"));
  EXPECT_THAT(texts(operations(history, by_service), "operation"), ElementsAre("op-3", "op-1"));
  EXPECT_THAT(texts(operations(history, by_environment), "operation"), ElementsAre("op-2"));
  EXPECT_THAT(texts(operations(history, by_status), "operation"), ElementsAre("op-2", "op-3"));
  EXPECT_THAT(texts(operations(history, by_kind), "operation"), ElementsAre("op-2"));
  EXPECT_THAT(texts(operations(history, two), "operation"), ElementsAre("op-2", "op-3"));
  EXPECT_THAT(texts(operations(history, both), "operation"), ElementsAre("op-3"));
}

TEST_F(HistoryTest, DecisionsAreFilteredByTheirWord) {
  History history(path);
  for (const DecisionKind kind : {DecisionKind::hold, DecisionKind::rollback, DecisionKind::hold}) {
    Decision decision;
    decision.id = "d-" + std::to_string(texts(decisions(history), "id").size());
    decision.service = {"shop-api", "prod"};
    decision.at = kNoon;
    decision.kind = kind;
    history.add(decision);
  }
  HistoryFilter held;
  held.kind = "hold";

  EXPECT_THAT(texts(decisions(history, held), "id"), ElementsAre("d-2", "d-0"));
}

TEST_F(HistoryTest, OneOperationComesWithItsStepsAndTheDecisionThatStartedIt) {
  History history(path);
  history.add(operation("op-1", OperationStatus::succeeded));
  history.add(step("op-1", 2));
  history.add(step("op-1", 1));
  history.add(step("op-1", 1, 2));
  history.add(step("op-2", 1));
  StepRow failed = step("op-1", 2, 2);
  failed.outcome.status = Outcome::Status::timed_out;
  failed.outcome.error = Error(Errc::timed_out, "the service did not start").because("30s passed");
  history.add(failed);
  Decision decision;
  decision.id = "d-1";
  decision.service = {"shop-api", "prod"};
  decision.at = kNoon;
  decision.kind = DecisionKind::rollback;
  decision.operation = "op-1";
  decision.evidence = {"ProcessCrashed firing"};
  history.add(decision);

  const Result<Json> found = one_operation(history, "op-1");

  ASSERT_TRUE(found.has_value()) << found.error().text();
  const Json::Array& steps = (*found)["steps"].elements();
  ASSERT_EQ(steps.size(), 4U);
  EXPECT_EQ(steps[0]["number"].int_or(0), 1);
  EXPECT_EQ(steps[0].dump(), step("op-1", 1).to_json().dump());
  EXPECT_EQ(steps[0]["took_seconds"].number_or(0), 0.0015);
  EXPECT_EQ(steps[3].dump(), failed.to_json().dump());
  EXPECT_EQ(steps[3]["error"]["code"].string_or(""), "timed_out");
  EXPECT_EQ((*found)["decision"]["decision"].string_or(""), "rollback");
  EXPECT_EQ((*found)["decision"]["at_unix"].number_or(0), kNoon.seconds());
  EXPECT_EQ(one_operation(history, "op-9").error().code, Errc::not_found);
}

TEST_F(HistoryTest, WhatAStepsProgramPrintedIsCutRatherThanLoseItsFacts) {
  History history(path);
  history.add(operation("op-1", OperationStatus::succeeded));
  StepRow row;
  row.step.operation = "op-1";
  row.step.number = 1;
  row.outcome.facts.set("exit_code", 3).set("output", std::string(200'000, '\x01'));
  history.add(row);
  ASSERT_TRUE(history.flush(10s));

  std::promise<Result<Json>> answer;
  history.operation("op-1", [&](Result<Json> got) { answer.set_value(std::move(got)); });
  const Json facts = answer.get_future().get().value()["steps"].elements().at(0)["facts"];

  EXPECT_EQ(facts["exit_code"].int_or(0), 3);
  EXPECT_TRUE(facts["output_cut"].bool_or(false));
  EXPECT_LT(facts["output"].string_or("").size(), 9U << 10);
}

TEST_F(HistoryTest, TotalsCountEndedOperationsAcrossRestarts) {
  {
    History history(path);
    history.add(operation("op-1", OperationStatus::succeeded));
    history.add(operation("op-2", OperationStatus::succeeded));
    history.add(operation("op-3", OperationStatus::failed));
    history.add(operation("op-4", OperationStatus::running));
  }
  History history(path);

  const std::vector<OperationTotal> totals = history.totals();

  ASSERT_EQ(totals.size(), 2U);
  EXPECT_EQ(totals[0].status, OperationStatus::failed);
  EXPECT_EQ(totals[0].count, 1);
  EXPECT_EQ(totals[1].status, OperationStatus::succeeded);
  EXPECT_EQ(totals[1].count, 2);
}

TEST_F(HistoryTest, OnlyTheNewestRowsAreKeptTheOpenOnesAllAndTheTotalsStay) {
  HistoryLimits limits;
  limits.rows_max = 4;
  {
    History history(path, limits);
    history.add(operation("op-0", OperationStatus::running, 0));
    for (int i = 1; i <= 6; ++i) history.add(operation("op-" + std::to_string(i), OperationStatus::succeeded, i));
    for (std::uint64_t i = 1; i <= 6; ++i) history.add(deployment(i, "v" + std::to_string(i)));
  }
  History history(path, limits);

  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-6", "op-5", "op-4", "op-0"));
  EXPECT_THAT(texts(deployments(history), "release"), ElementsAre("v6", "v5", "v4", "v3"));
  ASSERT_EQ(history.totals().size(), 1U);
  EXPECT_EQ(history.totals()[0].count, 6);
}

TEST_F(HistoryTest, AFullQueueDropsTheOldestAndCountsThem) {
  HistoryLimits limits;
  limits.queued_max = 3;
  History history(path, limits);
  ASSERT_TRUE(history.flush(kPatience));
  auto entered = std::make_shared<std::promise<void>>();
  auto release = std::make_shared<std::promise<void>>();
  history.operations({}, [entered, release](const Rows&) {  // Holds the history's thread while the queue fills.
    entered->set_value();
    release->get_future().wait_for(kPatience);
  });
  entered->get_future().wait_for(kPatience);

  for (int i = 1; i <= 5; ++i) history.add(operation("op-" + std::to_string(i), OperationStatus::running, i));
  release->set_value();

  EXPECT_TRUE(history.flush(kPatience));
  EXPECT_EQ(history.dropped(), 2U);
  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-5", "op-4", "op-3"));
}

TEST_F(HistoryTest, ADamagedFileIsSetAsideAndMadeAnew) {
  {
    History history(path);
    for (int i = 0; i < 500; ++i) history.add(operation("op-" + std::to_string(i), OperationStatus::succeeded, i));
    ASSERT_TRUE(history.flush(kPatience));
  }
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(fs::file_size(path) / 2 / 4096 * 4096));
    file << std::string(8192, '\xa5');
  }
  const std::string damaged = bytes_of(path);

  History history(path);
  history.add(operation("op-new", OperationStatus::succeeded));

  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-new"));
  EXPECT_EQ(history.trouble(), "");
  EXPECT_EQ(bytes_of(path.string() + ".corrupt-1"), damaged);
}

TEST_F(HistoryTest, AnIndexThatDoesNotMatchItsTableIsDamageToo) {
  {
    History history(path);
    for (int i = 0; i < 3; ++i) history.add(operation("op-" + std::to_string(i), OperationStatus::succeeded, i));
    ASSERT_TRUE(history.flush(kPatience));
  }
  {
    auto database = io::Database::open(path, {});
    ASSERT_TRUE(database);
    ASSERT_TRUE(
        database->script("PRAGMA writable_schema = ON;"
                         "UPDATE sqlite_schema SET sql = replace(sql, 'begun_ns', 'ended_ns') WHERE name = 'operations_by_time'"));
  }

  History history(path);
  history.add(operation("op-new", OperationStatus::succeeded));

  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-new"));
  EXPECT_TRUE(fs::exists(path.string() + ".corrupt-1"));
}

TEST_F(HistoryTest, AFileThatIsNoDatabaseGetsTheNextFreeNumber) {
  std::ofstream(path) << std::string(5000, 'x');
  std::ofstream(path.string() + ".corrupt-1") << "an earlier one";

  History history(path);
  history.add(deployment(1, "v1"));

  EXPECT_TRUE(history.flush(kPatience));
  EXPECT_EQ(bytes_of(path.string() + ".corrupt-1"), "an earlier one");
  EXPECT_EQ(fs::file_size(path.string() + ".corrupt-2"), 5000U);
}

TEST_F(HistoryTest, AFileThatBreaksWhileItIsOpenIsSetAsideAndNoWriteIsLost) {
  History history(path);
  history.add(operation("op-1", OperationStatus::succeeded));
  ASSERT_TRUE(history.flush(kPatience));
  {
    Result<io::Database> other = io::Database::open(path);
    ASSERT_TRUE(other.has_value());
    ASSERT_TRUE(other->script("DROP TABLE operations").has_value());
  }

  history.add(operation("op-2", OperationStatus::succeeded));

  EXPECT_TRUE(history.flush(kPatience));
  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-2"));
  EXPECT_TRUE(fs::exists(path.string() + ".corrupt-1"));
}

TEST_F(HistoryTest, ADirectoryInItsPlaceLeavesItInMemoryAndItSaysSo) {
  fs::create_directory(path);
  History history(path);

  history.add(operation("op-1", OperationStatus::succeeded));

  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-1"));
  EXPECT_THAT(history.trouble(), HasSubstr("in memory only"));
  EXPECT_TRUE(fs::is_directory(path));
}

TEST_F(HistoryTest, AnUnwritablePathLeavesItInMemoryAndItSaysSo) {
  History history("/proc/no-such-place/history.sqlite");

  history.add(deployment(1, "v1"));

  EXPECT_EQ(deployments(history)->size(), 1U);
  EXPECT_THAT(history.trouble(), HasSubstr("/proc/no-such-place/history.sqlite"));
}

TEST_F(HistoryTest, WhileTheFileIsLockedRowsWaitAndReadersAreAnswered) {
  HistoryLimits limits;
  limits.retry_first = 10ms;
  limits.busy_timeout = 10ms;
  History history(path, limits);
  history.add(operation("op-1", OperationStatus::succeeded, 1));
  ASSERT_TRUE(history.flush(kPatience));
  Result<io::Database> other = io::Database::open(path);
  ASSERT_TRUE(other.has_value());
  ASSERT_TRUE(other->script("BEGIN IMMEDIATE").has_value());
  history.add(operation("op-2", OperationStatus::succeeded, 2));
  EXPECT_FALSE(history.flush(10ms));

  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-1"));  // Answered once it is known to be behind.
  EXPECT_THAT(history.trouble(), HasSubstr("behind"));
  ASSERT_TRUE(other->script("COMMIT").has_value());

  EXPECT_TRUE(history.flush(kPatience));
  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-2", "op-1"));
  EXPECT_EQ(history.trouble(), "");
}

TEST_F(HistoryTest, AFileOfTheFirstVersionIsBroughtToTheNewest) {
  {
    io::KeptOptions old;
    old.path = path;
    old.migrations = {history_migrations().front()};
    Result<io::Kept> file = io::open_kept_file(old);
    ASSERT_TRUE(file.has_value()) << file.error().text();
    ASSERT_TRUE(
        file->database
            .script(R"(INSERT INTO operations VALUES ('op-old','shop-api','prod','rollback','previous','automatic','crash','standard',
                      'succeeded',1,'v2','v1','','','','[]','',1,1795176000000000000,NULL,1795176001000000000,'done'))")
            .has_value());
  }

  History history(path);
  history.add(operation("op-new", OperationStatus::failed, 5));

  const Rows rows = operations(history);
  EXPECT_THAT(texts(rows, "operation"), ElementsAre("op-new", "op-old"));
  EXPECT_EQ((*rows)[1]["duration_seconds"].number_or(0), 1.0);
  EXPECT_EQ((*rows)[1]["detail"].string_or(""), "done");
  EXPECT_THAT((*rows)[1]["phases"].members(), IsEmpty());
  EXPECT_EQ(history.totals().size(), 2U);
}

TEST_F(HistoryTest, AFileOfTheSecondVersionGetsItsIndexesAndTheyAreUsed) {
  {
    io::KeptOptions old;
    old.path = path;
    old.migrations = {history_migrations()[0], history_migrations()[1]};
    Result<io::Kept> file = io::open_kept_file(old);
    ASSERT_TRUE(file.has_value()) << file.error().text();
    ASSERT_TRUE(
        file->database
            .script(R"(INSERT INTO operations VALUES ('op-old','shop-api','prod','rollback','previous','automatic','crash','standard',
                      'succeeded',1,'v2','v1','','','','[]','',1,1795176000000000000,NULL,1795176001000000000,'done','','{}'))")
            .has_value());
  }
  {
    History history(path);
    EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-old"));
    EXPECT_EQ(history.trouble(), "");
  }

  Result<io::Database> file = io::Database::open(path);
  ASSERT_TRUE(file.has_value());
  std::string plan;
  const Result<> asked = file->query(
      "EXPLAIN QUERY PLAN SELECT * FROM operations WHERE service='a' AND environment='b' AND begun_ns>=1 ORDER BY begun_ns DESC", {},
      [&](const io::SqlRow& row) { plan += row.text(3); });

  EXPECT_TRUE(asked.has_value());
  EXPECT_EQ(file->number("PRAGMA user_version").value(), 4);
  EXPECT_THAT(plan, HasSubstr("USING INDEX operations_by_service"));
}

TEST_F(HistoryTest, OperationsAreFilteredByEverythingAPersonAsksFor) {
  History history(path);
  OperationRow by_hand = operation("op-1", OperationStatus::succeeded, 0);
  by_hand.request.trigger = Trigger::manual;
  by_hand.request.cause = Cause::operator_;
  by_hand.request.principal = "token:ci";
  OperationRow crash = operation("op-2", OperationStatus::failed, 10);
  crash.request.cause = Cause::crash;
  crash.request.principal = "rollbackd";
  OperationRow other = operation("op-3", OperationStatus::succeeded, 20);
  other.request.service = {"billing", "prod"};
  other.request.from = "v9";
  other.request.to = "v8";
  for (const OperationRow& row : {by_hand, crash, other}) history.add(row);
  const auto found = [&](auto set) {
    HistoryFilter filter;
    set(filter);
    return texts(operations(history, filter), "operation");
  };

  EXPECT_THAT(found([](auto& f) { f.trigger = "manual"; }), ElementsAre("op-1"));
  EXPECT_THAT(found([](auto& f) { f.cause = "crash"; }), ElementsAre("op-2"));
  EXPECT_THAT(found([](auto& f) { f.principal = "token:ci"; }), ElementsAre("op-1"));
  EXPECT_THAT(found([](auto& f) { f.release = "v8"; }), ElementsAre("op-3"));
  EXPECT_THAT(found([](auto& f) { f.release = "v2"; }), ElementsAre("op-2", "op-1"));
  EXPECT_THAT(found([](auto& f) { f.since = kNoon + 10s; }), ElementsAre("op-3", "op-2"));
  EXPECT_THAT(found([](auto& f) { f.until = kNoon + 10s; }), ElementsAre("op-2", "op-1"));
  EXPECT_THAT(found([](auto& f) {
                f.since = kNoon;
                f.service = "shop-api";
                f.status = "failed";
              }),
              ElementsAre("op-2"));
  EXPECT_THAT(found([](auto& f) { f.service = "x' OR '1'='1"; }), IsEmpty());
}

TEST_F(HistoryTest, DecisionsAndDeploymentsAreFilteredByReleaseAndTime) {
  History history(path);
  for (int i = 1; i <= 3; ++i) {
    Decision decision;
    decision.id = "d" + std::to_string(i);
    decision.service = {"shop-api", "prod"};
    decision.at = kNoon + std::chrono::seconds(i);
    decision.release = "v" + std::to_string(i);
    decision.target = "v" + std::to_string(i - 1);
    history.add(decision);
    history.add(deployment(static_cast<std::uint64_t>(i), "v" + std::to_string(i)));
  }
  HistoryFilter of_v2, late;
  of_v2.release = "v2";
  late.since = kNoon + 3s;

  EXPECT_THAT(texts(decisions(history, of_v2), "id"), ElementsAre("d3", "d2"));
  EXPECT_THAT(texts(decisions(history, late), "id"), ElementsAre("d3"));
  EXPECT_THAT(texts(deployments(history, of_v2), "release"), ElementsAre("v2"));
  EXPECT_THAT(texts(deployments(history, late), "release"), ElementsAre("v3"));
}

TEST_F(HistoryTest, StatisticsAreOfTheRowsTheFilterLeaves) {
  History history(path);
  const auto ended = [](OperationRow row, Duration took) {
    row.ended = row.begun + took;
    return row;
  };
  history.add(ended(operation("op-1", OperationStatus::succeeded, 0), 2s));
  history.add(ended(operation("op-2", OperationStatus::failed, 10), 4s));
  OperationRow other = ended(operation("op-3", OperationStatus::succeeded, 20), 100s);
  other.request.service.name = "billing";
  history.add(other);
  Decision hold;
  hold.id = "d1";
  hold.service = {"shop-api", "prod"};
  hold.at = kNoon;
  hold.kind = DecisionKind::hold;
  GuardAnswer no, over, yes;
  no.guard = "budget";
  over.guard = "cooldown";
  over.passed_over = true;
  yes.guard = "reversible";
  yes.yes = true;
  hold.guards = {no, over, yes};
  history.add(hold);
  Decision without_guards = hold;
  without_guards.id = "d2";
  without_guards.guards.clear();
  history.add(without_guards);
  const auto stats = [&](const HistoryFilter& filter) {
    auto promise = std::make_shared<std::promise<Result<Json>>>();
    history.stats(filter, [promise](Result<Json> answer) { promise->set_value(std::move(answer)); });
    return wait_for(promise->get_future()).value();
  };
  HistoryFilter shop;
  shop.service = "shop-api";

  const Json all = stats({}), of_shop = stats(shop);

  EXPECT_EQ(all["operations"].int_or(0), 3);
  EXPECT_EQ(of_shop["operations"].int_or(0), 2);
  EXPECT_EQ(of_shop["success_rate"].number_or(0), 0.5);
  EXPECT_EQ(of_shop["durations"]["total"]["mean_seconds"].number_or(0), 3);
  EXPECT_EQ(of_shop["holds"].int_or(0), 2);
  EXPECT_EQ(of_shop["holds_by_guard"].dump(), R"([{"guard":"budget","count":1}])");
}

TEST_F(HistoryTest, TheLastEndedOperationOfEachServiceAndKindIsKnown) {
  History history(path);
  for (int i = 1; i <= 3; ++i) {
    OperationRow row = operation("op-" + std::to_string(i), i == 2 ? OperationStatus::failed : OperationStatus::succeeded, i);
    row.ended = row.begun + 1s;
    if (i == 3) row.request.kind = OperationKind::deploy;
    history.add(row);
  }
  history.add(operation("op-open", OperationStatus::running, 9));

  std::vector<std::string> ids;
  for (const OperationRow& row : history.last_operations()) ids.push_back(row.request.operation + " " + to_string(row.status));

  EXPECT_THAT(ids, testing::UnorderedElementsAre("op-2 failed", "op-3 succeeded"));
}

TEST_F(HistoryTest, AFileOfANewerProgramIsLeftAlone) {
  {
    Result<io::Database> newer = io::Database::open(path);
    ASSERT_TRUE(newer.has_value());
    ASSERT_TRUE(newer->script("CREATE TABLE future (x); INSERT INTO future VALUES (42); PRAGMA user_version = 99").has_value());
  }
  const std::string before = bytes_of(path);
  {
    History history(path);
    history.add(operation("op-1", OperationStatus::succeeded));
    EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-1"));
    EXPECT_THAT(history.trouble(), HasSubstr("newer version"));
  }

  EXPECT_EQ(bytes_of(path), before);
  EXPECT_FALSE(fs::exists(path.string() + ".corrupt-1"));
}

TEST_F(HistoryTest, AVersionThatNoProgramHasIsDamageAndSetAside) {
  {
    Result<io::Database> damaged = io::Database::open(path);
    ASSERT_TRUE(damaged.has_value());
    ASSERT_TRUE(damaged->script("PRAGMA user_version = 1835012").has_value());
  }
  History history(path);
  history.add(operation("op-1", OperationStatus::succeeded));
  EXPECT_THAT(texts(operations(history), "operation"), ElementsAre("op-1"));
  EXPECT_THAT(history.trouble(), testing::IsEmpty());
  EXPECT_TRUE(fs::exists(path.string() + ".corrupt-1"));
}

TEST_F(HistoryTest, EveryReaderIsAnsweredEvenAtTheEnd) {
  int answers = 0;
  {
    History history(path);
    for (int i = 0; i < 100; ++i) history.operations({}, [&](const Rows&) { ++answers; });
  }

  EXPECT_EQ(answers, 100);
}

}  // namespace
}  // namespace rollbackd::record
