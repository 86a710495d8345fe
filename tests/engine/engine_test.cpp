// A real Engine over a service on disk: what a switch, a failure, a command and a restart lead to.
#include "engine/engine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <thread>

#include "tests/engine/daemon.hpp"

namespace rollbackd::engine {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const ServiceSelector kShop{"shop", "prod"};

class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    for (const char* id : {"v1", "v2", "v3"}) place_.release(id);
    place_.link("v1");
    settings_.state_directory = directory_ / "state";
    settings_.services.push_back(service_on(place_, {"shop", "prod"}));
    config::CheckSettings health;
    health.name = "health";
    health.interval = 20ms;
    health.timeout = 2s;
    service().checks.push_back(health);
  }
  config::ServiceSettings& service() { return settings_.services.front(); }

  void start() {
    daemon_.reset();
    daemon_.emplace(settings_, groups_of(kRules), place_, broken_);
    const Result<> started = daemon_->start();
    ASSERT_TRUE(started) << started.error().text();
  }
  Daemon& daemon() { return *daemon_; }
  Engine& engine() { return daemon_->engine(); }

  /// v2 is live, deployed from outside, and v1 is armed.
  void deploy_v2_from_outside() {
    place_.link("v2");
    ASSERT_TRUE(daemon().until([&] { return daemon().shop()["release"].string_or("") == "v2"; }));
    const bool acts = service().automation == config::Automation::automatic;
    if (!acts || !broken_.empty()) return;
    ASSERT_TRUE(daemon().until([&] { return daemon().ready(); })) << engine().readiness().dump();
  }
  Result<CommandAnswer> roll_back(const std::string& to = "", bool dry_run = false, bool force = false) {
    RollbackCommand command;
    command.service = kShop;
    command.to = to;
    command.reason = "a person wants it";
    command.principal = "uid:0";
    command.dry_run = dry_run;
    command.force = force;
    return daemon().run(engine().rollback(command));
  }
  Result<CommandAnswer> deploy(const std::string& release, bool force = false) {
    DeployCommand command;
    command.service = kShop;
    command.release = release;
    command.principal = "uid:0";
    command.force = force;
    return daemon().run(engine().deploy(command));
  }
  Json history() { return daemon().run(engine().operations({})).value(); }

  TempDir directory_;
  Place place_{directory_ / "shop"};
  std::set<std::string> broken_;
  config::Settings settings_;
  std::optional<Daemon> daemon_;
};

// ---- What it sees ----

TEST_F(EngineTest, TheReleaseFoundLiveIsACandidate) {
  service().policy.trust_live = false;

  start();

  EXPECT_EQ(daemon().shop()["release"].string_or(""), "v1");
  EXPECT_EQ(daemon().standing("v1"), "candidate");
  EXPECT_EQ(daemon().standing("v2"), "candidate");
}

TEST_F(EngineTest, TheReleaseFoundLiveIsGoodWhereThePolicyTrustsIt) {
  start();

  EXPECT_EQ(daemon().standing("v1"), "good");
  EXPECT_EQ(daemon().standing("v2"), "candidate") << "what was never live earns no trust";
}

TEST_F(EngineTest, ALinkMovedFromOutsideBeginsANewEpoch) {
  start();
  const auto before = daemon().shop()["epoch"].int_or(0);

  deploy_v2_from_outside();

  EXPECT_EQ(daemon().shop()["epoch"].int_or(0), before + 1);
  EXPECT_EQ(daemon().standing("v2"), "candidate");
  EXPECT_TRUE(daemon().ready()) << "v1 is armed, so that a rollback needs no more than the switch";
}

TEST_F(EngineTest, ABakedReleaseIsGood) {
  service().policy.bake_time = 150ms;
  start();

  deploy_v2_from_outside();

  EXPECT_TRUE(daemon().until([&] { return daemon().standing("v2") == "good"; })) << daemon().shop().dump();
}

TEST_F(EngineTest, AMissingLinkIsSaidAndNothingIsRolledBack) {
  start();

  fs::remove(place_.current());

  ASSERT_TRUE(daemon().until([&] { return !daemon().ready() && daemon().shop()["protected_why"].string_or("").ends_with("is missing"); }))
      << daemon().shop().dump();
  EXPECT_THAT(daemon().ended, IsEmpty());
}

// ---- What it does by itself ----

TEST_F(EngineTest, AFailingReleaseIsRolledBack) {
  start();
  broken_ = {"v2"};

  deploy_v2_from_outside();

  ASSERT_TRUE(daemon().until([&] { return !daemon().ended.empty(); })) << daemon().shop().dump();
  const record::OperationRow& row = daemon().ended.front();
  EXPECT_EQ(row.status, OperationStatus::succeeded) << row.detail;
  EXPECT_EQ(row.request.trigger, Trigger::automatic);
  EXPECT_EQ(row.request.from + " -> " + row.request.to, "v2 -> v1");
  EXPECT_EQ(place_.live(), "v1");
  EXPECT_EQ(daemon().standing("v2"), "bad");
  EXPECT_EQ(daemon().standing("v1"), "good");
}

TEST_F(EngineTest, ARollbackLeavesItsTraces) {
  start();
  broken_ = {"v2"};

  deploy_v2_from_outside();
  ASSERT_TRUE(daemon().until([&] { return !daemon().ended.empty(); }));

  const Json rows = history();
  ASSERT_THAT(rows.elements(), SizeIs(1));
  EXPECT_EQ(rows.elements()[0]["status"].string_or(""), "succeeded");
  const Json whole = daemon().run(engine().operation(daemon().ended.front().request.operation)).value();
  EXPECT_FALSE(whole["steps"].elements().empty());
  const std::string marker = place_.releases() + "/.v2.BAD_RELEASE";
  EXPECT_TRUE(daemon().until([&] { return fs::exists(marker); }));
  EXPECT_FALSE(daemon().detected.empty());
  EXPECT_THAT(daemon().tested, Contains(std::pair<std::string, bool>("checks_healthy", true)));
  EXPECT_EQ(engine().explain(kShop).value()["decisions"].elements()[0]["decision"].string_or(""), "rollback");
}

TEST_F(EngineTest, ObserveOnlyTells) {
  service().automation = config::Automation::observe;
  start();
  broken_ = {"v2"};

  deploy_v2_from_outside();

  ASSERT_TRUE(daemon().until([&] { return daemon().held(); })) << daemon().shop().dump();
  EXPECT_THAT(daemon().shop()["decision"]["reason"].string_or(""), HasSubstr("automation_allows"));
  EXPECT_THAT(daemon().shop()["decision"]["next_step"].string_or(""), HasSubstr("rollbackctl rollback"));
  EXPECT_EQ(place_.live(), "v2");
  EXPECT_THAT(history().elements(), IsEmpty());
}

TEST_F(EngineTest, ASuspendedServiceHoldsAndActsOnceItIsResumed) {
  start();
  ASSERT_TRUE(engine().suspend(kShop, 1h, "maintenance", "uid:0"));
  broken_ = {"v2"};

  place_.link("v2");
  ASSERT_TRUE(daemon().until([&] { return daemon().held(); })) << daemon().shop().dump();
  const std::string why = daemon().shop()["decision"]["reason"].string_or("");
  const std::string live_while_suspended = place_.live();
  ASSERT_TRUE(engine().unsuspend(kShop, "uid:0"));

  EXPECT_THAT(why, HasSubstr("not_suspended"));
  EXPECT_EQ(live_while_suspended, "v2");
  ASSERT_TRUE(daemon().until([&] { return !daemon().ended.empty(); })) << daemon().shop().dump();
  EXPECT_EQ(place_.live(), "v1");
}

TEST_F(EngineTest, ARollbackWhoseTargetFailsTooIsNotCalledASuccess) {
  service().verify.front().within = 300ms;
  start();
  deploy_v2_from_outside();
  broken_ = {"v1"};

  const auto answer = roll_back();

  ASSERT_TRUE(answer) << answer.error().text();
  ASSERT_TRUE(daemon().until([&] { return !daemon().ended.empty(); }));
  EXPECT_EQ(daemon().ended.front().status, OperationStatus::failed) << daemon().ended.front().detail;
  EXPECT_THAT(daemon().ended.front().failed_how, HasSubstr("checks_healthy"));
  EXPECT_EQ(exit_code_of(OperationKind::rollback, daemon().ended.front().status), ExitCode::verification_failed);
}

TEST_F(EngineTest, WithoutAHistoryItStillRollsBack) {
  fs::create_directories(settings_.state_directory + "/history.sqlite");
  start();
  const std::string trouble = engine().status()["history"].string_or("");
  broken_ = {"v2"};

  deploy_v2_from_outside();

  ASSERT_TRUE(daemon().until([&] { return !daemon().ended.empty(); })) << daemon().shop().dump();
  EXPECT_NE(trouble, "");
  EXPECT_EQ(daemon().ended.front().status, OperationStatus::succeeded);
  EXPECT_EQ(place_.live(), "v1");
  EXPECT_THAT(history().elements(), SizeIs(1)) << "memory stands in";
}

// ---- What people ask for ----

TEST_F(EngineTest, ADryRunShowsThePlanAndEveryGuardAndChangesNothing) {
  start();
  deploy_v2_from_outside();

  const auto answer = roll_back("", true);

  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(answer->code, ExitCode::success) << answer->body.dump();
  EXPECT_EQ(answer->operation, "");
  EXPECT_FALSE(answer->body["plan"]["steps"].elements().empty());
  EXPECT_GT(answer->body["guards"].elements().size(), 5U);
  EXPECT_EQ(place_.live(), "v2");
  EXPECT_THAT(history().elements(), IsEmpty());
}

TEST_F(EngineTest, APersonsRollbackIsAnOperationWithTheirNameAndReason) {
  start();
  deploy_v2_from_outside();

  const auto answer = roll_back("release:v1");

  ASSERT_TRUE(answer) << answer.error().text();
  ASSERT_EQ(answer->code, ExitCode::success) << answer->body.dump();
  ASSERT_TRUE(daemon().until([&] { return !daemon().ended.empty(); }));
  const record::OperationRow& row = daemon().ended.front();
  EXPECT_EQ(row.request.operation, answer->operation);
  EXPECT_EQ(row.status, OperationStatus::succeeded) << row.detail;
  EXPECT_EQ(row.request.trigger, Trigger::manual);
  EXPECT_EQ(row.request.principal, "uid:0");
  EXPECT_EQ(row.request.reason, "a person wants it");
  EXPECT_EQ(place_.live(), "v1");
}

TEST_F(EngineTest, ASecondRollbackIsRefusedWhileOneRuns) {
  start();
  deploy_v2_from_outside();

  const auto first = roll_back();
  const auto second = roll_back("v3", false, true);

  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->code, ExitCode::success);
  EXPECT_EQ(second->code, ExitCode::refused) << second->body.dump();
  EXPECT_THAT(second->body["message"].string_or(""), HasSubstr("no_operation_in_progress"));
}

TEST_F(EngineTest, RollbacksThatCannotBeAreToldApart) {
  start();
  deploy_v2_from_outside();

  EXPECT_EQ(roll_back("v2")->code, ExitCode::already_on_target);
  EXPECT_EQ(roll_back("v9")->code, ExitCode::version_not_found);
  EXPECT_EQ(roll_back("v3")->code, ExitCode::refused) << "v3 is not known to be good";
  EXPECT_EQ(roll_back("../etc").error().code, Errc::invalid_argument);
  EXPECT_EQ(roll_back("snapshot:x").error().code, Errc::unsupported);
  EXPECT_THAT(daemon().ended, IsEmpty());
}

TEST_F(EngineTest, WithoutAGoodReleaseThereIsNoTargetAndItSaysWhyNot) {
  service().policy.trust_live = false;
  start();

  const auto answer = roll_back();

  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(answer->code, ExitCode::refused);
  EXPECT_FALSE(answer->body["why_not"].elements().empty()) << answer->body.dump();
}

TEST_F(EngineTest, WhatPeopleDoNeedsAReason) {
  start();
  RollbackCommand command;
  command.service = kShop;
  command.reason = "  ";

  EXPECT_EQ(daemon().run(engine().rollback(command)).error().code, Errc::invalid_argument);
  EXPECT_EQ(engine().suspend(kShop, 1h, "", "uid:0").error().code, Errc::invalid_argument);
  EXPECT_EQ(engine().mark(kShop, "v1", Standing::bad, "", "uid:0").error().code, Errc::invalid_argument);
}

TEST_F(EngineTest, ADeploymentSwitchesAndBeginsToBake) {
  start();

  const auto answer = deploy("v2");

  ASSERT_TRUE(answer) << answer.error().text();
  ASSERT_TRUE(daemon().until([&] { return !daemon().ended.empty(); }));
  EXPECT_EQ(daemon().ended.front().status, OperationStatus::succeeded) << daemon().ended.front().detail;
  EXPECT_EQ(daemon().ended.front().request.kind, OperationKind::deploy);
  EXPECT_EQ(place_.live(), "v2");
  EXPECT_EQ(daemon().standing("v2"), "candidate");
}

TEST_F(EngineTest, ABadReleaseIsDeployedByForceAloneAndARevokedOneNever) {
  start();
  ASSERT_TRUE(engine().mark(kShop, "v2", Standing::bad, "it leaks", "uid:0"));
  ASSERT_TRUE(engine().mark(kShop, "v3", Standing::revoked, "stolen key", "uid:0"));

  const auto bad = deploy("v2"), revoked = deploy("v3", true), forced = deploy("v2", true);

  EXPECT_EQ(bad->code, ExitCode::refused);
  EXPECT_THAT(bad->body["message"].string_or(""), HasSubstr("it leaks"));
  EXPECT_EQ(revoked->code, ExitCode::refused);
  EXPECT_EQ(forced->code, ExitCode::success) << forced->body.dump();
}

TEST_F(EngineTest, AnUnknownServiceIsToldTheNearestName) {
  start();

  const Error error = engine().service({"shopp", ""}).error();

  EXPECT_EQ(error.code, Errc::not_found);
  EXPECT_THAT(error.next_step, HasSubstr("shop"));
}

TEST_F(EngineTest, ANameInSeveralEnvironmentsNeedsOne) {
  const Place staging(directory_ / "staging");
  staging.release("v1");
  staging.link("v1");
  settings_.services.push_back(service_on(staging, {"shop", "staging"}));
  start();

  const auto ambiguous = engine().service({"shop", ""});
  const auto elsewhere = engine().service({"shop", "test"});

  EXPECT_EQ(ambiguous.error().code, Errc::invalid_argument);
  EXPECT_EQ(ambiguous.error().why, "prod, staging");
  EXPECT_EQ(elsewhere.error().code, Errc::not_found);
  EXPECT_THAT(elsewhere.error().why, HasSubstr("prod, staging"));
  EXPECT_TRUE(engine().service({"shop", "staging"}));
}

TEST_F(EngineTest, AMarkForWhatIsNotInTheLedgerIsRefused) {
  start();

  EXPECT_EQ(engine().mark(kShop, "v9", Standing::good, "why", "uid:0").error().code, Errc::not_found);
  EXPECT_EQ(engine().mark(kShop, "-v1", Standing::good, "why", "uid:0").error().code, Errc::invalid_argument);
}

TEST_F(EngineTest, ASuspensionHasALength) {
  start();

  EXPECT_EQ(engine().suspend(kShop, 0s, "why", "uid:0").error().code, Errc::invalid_argument);
  EXPECT_EQ(engine().suspend(kShop, 24h * 31, "why", "uid:0").error().code, Errc::invalid_argument);
  EXPECT_FALSE(daemon().shop().has("suspended"));
}

TEST_F(EngineTest, TheManagersCommandIsRunWithADeployment) {
  const std::string log = directory_ / "restarts";
  config::ProcessSettings& process = service().components.front().process;
  process.manager = config::ManagerType::command;
  process.restart = {"/bin/sh", "-c", "readlink " + place_.current() + " >> " + log};
  process.status = {"/bin/true"};
  start();

  const auto answer = deploy("v2");

  ASSERT_TRUE(answer) << answer.error().text();
  ASSERT_TRUE(daemon().until([&] { return !daemon().ended.empty(); }));
  EXPECT_EQ(daemon().ended.front().status, OperationStatus::succeeded) << daemon().ended.front().detail;
  std::ifstream in(log);
  const std::string lines{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(lines, "releases/v2\n") << "once, and after the switch";
}

TEST_F(EngineTest, ARestartThatFailsIsNoSuccess) {
  config::ProcessSettings& process = service().components.front().process;
  process.manager = config::ManagerType::command;
  process.restart = {"/bin/false"};
  process.status = {"/bin/true"};
  start();

  const auto answer = deploy("v2");

  ASSERT_TRUE(answer) << answer.error().text();
  ASSERT_TRUE(daemon().until([&] { return !daemon().ended.empty(); }));
  EXPECT_NE(daemon().ended.front().status, OperationStatus::succeeded);
  EXPECT_NE(daemon().ended.front().detail, "");
}

TEST_F(EngineTest, WhatTheTestsSawBeforeAGapIsAskedAgain) {
  config::TestSettings ready;
  ready.name = "ready";
  ready.type = config::TestType::file_exists;
  ready.path = "ready";
  ready.within = 1s;
  service().verify = {ready};
  start();
  daemon().tested.clear();
  place_.link("v2");
  ASSERT_TRUE(daemon().until([&] { return daemon().shop()["release"].string_or("") == "v2"; }));
  const int asked = daemon().requests();
  ASSERT_TRUE(daemon().until([&] { return daemon().requests() > asked + 2; })) << "the tests have begun";

  std::ofstream(place_.releases() + "/v2/ready") << "yes\n";
  std::this_thread::sleep_for(2100ms);  // The daemon is stopped, and goes on.

  ASSERT_TRUE(daemon().until([&] { return !daemon().tested.empty(); }));
  EXPECT_EQ(daemon().tested.front(), std::make_pair(std::string("ready"), true));
}

// ---- Restarts and reloads ----

TEST_F(EngineTest, ADeploymentThatFailedIsToldAtAStartUnlessItWasToldBefore) {
  const std::string pages = directory_ / "pages";
  config::ChannelSettings channel;
  channel.name = "oncall";
  channel.type = config::ChannelSettings::Type::exec;
  channel.command = {"/bin/sh", "-c", "grep -c 'ended failed' >> " + pages};
  channel.severity_min = 3;
  settings_.notify.push_back(channel);
  config::ProcessSettings& process = service().components.front().process;
  process.manager = config::ManagerType::command;
  process.restart = {"/bin/false"};
  process.status = {"/bin/true"};
  const auto told = [&] {
    std::ifstream in(pages);
    return std::count(std::istreambuf_iterator<char>(in), {}, '1');
  };
  start();
  ASSERT_TRUE(deploy("v2"));
  ASSERT_TRUE(daemon().until([&] { return told() == 1; }));

  start();  // The outbox knows that it was sent.
  ASSERT_TRUE(daemon().until([&] { return !daemon().shop().is_null() && daemon().requests() > 3; }));
  daemon_.reset();
  for (const char* file : {"outbox.sqlite", "outbox.sqlite-wal", "outbox.sqlite-shm"})
    fs::remove(fs::path(settings_.state_directory) / file);  // As if the daemon had ended before it told.
  start();

  EXPECT_TRUE(daemon().until([&] { return told() >= 2; }));
  EXPECT_EQ(told(), 2) << "once by each outbox";
}

/// A process that only waits; it ends with the test.
class Sleeper {
 public:
  Sleeper() : pid_(::fork()) {
    if (pid_ == 0) {
      ::execl("/bin/sleep", "sleep", "1000", nullptr);
      ::_exit(127);
    }
  }
  ~Sleeper() { end(); }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  pid_t pid() const { return pid_; }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_;
};

TEST_F(EngineTest, ALinkSeenLateSaysAfterARestartTooWhichProcessIsTheNewOne) {
  config::ProcessSettings& process = service().components.front().process;
  process.manager = config::ManagerType::command;
  process.restart = {"/bin/true"};
  process.pid_file = directory_ / "pid";
  start();
  place_.link("v2");
  Sleeper sleeper;
  std::ofstream(process.pid_file) << sleeper.pid() << "\n";
  std::this_thread::sleep_for(100ms);  // The daemon is busy.
  const auto started = [&] { return daemon().shop()["release"].string_or("") == "v2" && daemon().shop()["started"].bool_or(false); };
  ASSERT_TRUE(daemon().until(started));

  start();
  ASSERT_TRUE(daemon().until(started));
  fs::remove(process.pid_file);
  sleeper.end();

  EXPECT_TRUE(daemon().until([&] { return daemon().shop()["stopped_cleanly"].bool_or(false); })) << daemon().shop().dump();
}

TEST_F(EngineTest, WhatWasDecidedAndSaidSurvivesARestart) {
  start();
  deploy_v2_from_outside();
  ASSERT_TRUE(engine().mark(kShop, "v3", Standing::bad, "it leaks", "uid:0"));
  ASSERT_TRUE(engine().suspend(kShop, 1h, "maintenance", "uid:0"));
  const auto epoch = daemon().shop()["epoch"].int_or(0);

  start();

  EXPECT_EQ(daemon().shop()["epoch"].int_or(0), epoch) << "the same stay of the same release";
  EXPECT_EQ(daemon().standing("v1"), "good");
  EXPECT_EQ(daemon().standing("v2"), "candidate");
  EXPECT_EQ(daemon().standing("v3"), "bad");
  EXPECT_EQ(daemon().shop()["suspended"]["reason"].string_or(""), "maintenance");
}

TEST_F(EngineTest, StoppingWritesAllThatWasAnsweredBefore) {
  start();
  for (int i = 0; i < 20; ++i)
    ASSERT_TRUE(engine().mark(kShop, "v3", i % 2 == 0 ? Standing::good : Standing::bad, "changed my mind", "uid:0"));
  ASSERT_TRUE(engine().suspend(kShop, 1h, "maintenance", "uid:0"));

  start();

  EXPECT_EQ(daemon().standing("v3"), "bad");
  EXPECT_EQ(daemon().shop()["suspended"]["reason"].string_or(""), "maintenance");
}

TEST_F(EngineTest, ADeploymentMadeWhileItWasDownIsSeenAtTheNextStart) {
  start();
  const auto epoch = daemon().shop()["epoch"].int_or(0);
  daemon_.reset();
  place_.link("v2");

  start();

  EXPECT_EQ(daemon().shop()["release"].string_or(""), "v2");
  EXPECT_EQ(daemon().shop()["epoch"].int_or(0), epoch + 1);
  EXPECT_EQ(daemon().standing("v2"), "candidate") << "trust is for first sight alone";
}

TEST_F(EngineTest, TheStateDirectoryBelongsToOneDaemon) {
  start();

  Daemon second(settings_, groups_of(kRules), place_, broken_);
  const Result<> started = second.start();

  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Errc::conflict);
  EXPECT_THAT(started.error().text(), HasSubstr(std::to_string(::getpid())));
}

TEST_F(EngineTest, AServiceThatCannotBeWatchedHoldsItselfAlone) {
  const Place other(directory_ / "other");
  settings_.services.push_back(service_on(other, {"other", "prod"}));
  settings_.services.back().components.front().driver = "teleport";

  start();

  EXPECT_EQ(engine().service({"other", "prod"}).value()["phase"].string_or(""), "not watched");
  EXPECT_EQ(engine().suspend({"other", "prod"}, 1h, "why", "uid:0").error().code, Errc::unavailable);
  EXPECT_EQ(daemon().shop()["phase"].string_or(""), "watching");
}

TEST_F(EngineTest, AReloadThatNeedsARestartIsRefusedWhole) {
  start();
  config::Settings moved = settings_, elsewhere = settings_, rebuilt = settings_;
  moved.state_directory += "2";
  elsewhere.listen = "127.0.0.1:1";
  rebuilt.services.front().components.front().current += "2";
  rebuilt.services.front().automation = config::Automation::observe;

  for (const config::Settings& settings : {moved, elsewhere, rebuilt}) {
    const auto taken = daemon().run(engine().reload(settings, groups_of(kRules)));
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, Errc::refused);
  }

  EXPECT_EQ(daemon().shop()["automation"].string_or(""), "automatic");
}

TEST_F(EngineTest, AReloadAddsChangesAndDropsServices) {
  const Place old(directory_ / "old"), fresh(directory_ / "fresh");
  for (const Place* place : {&old, &fresh}) {
    place->release("v1");
    place->link("v1");
  }
  settings_.services.push_back(service_on(old, {"old", "prod"}));
  start();
  config::Settings next = settings_;
  next.services.pop_back();
  next.services.push_back(service_on(fresh, {"fresh", "prod"}));
  next.services.front().automation = config::Automation::observe;
  next.services.front().checks = engine().settings().services.front().checks;

  const auto taken = daemon().run(engine().reload(next, groups_of(kRules)));

  ASSERT_TRUE(taken) << taken.error().text();
  EXPECT_EQ(engine().service({"old", ""}).error().code, Errc::not_found);
  EXPECT_EQ(engine().service({"fresh", ""}).value()["release"].string_or(""), "v1");
  EXPECT_EQ(daemon().shop()["automation"].string_or(""), "observe");
  const int before = daemon().requests();
  EXPECT_TRUE(daemon().until([&] { return daemon().requests() > before + 2; })) << "its checks go on";
}

TEST_F(EngineTest, ItsNumbersSayWhatItsViewsSay) {
  start();
  deploy_v2_from_outside();
  ASSERT_TRUE(daemon().until([&] { return engine().numbers().at(0).checks.at(0).ok > 2; }));

  const auto numbers = engine().numbers();

  ASSERT_THAT(numbers, SizeIs(1));
  EXPECT_EQ(numbers[0].live, "v2");
  EXPECT_TRUE(numbers[0].ready);
  EXPECT_THAT(numbers[0].releases, Contains(std::pair<std::string, std::string>("v1", "good")));
  EXPECT_EQ(numbers[0].checks[0].type, "http");
}

TEST(ExitCodes, TellHowAnOperationEnded) {
  EXPECT_EQ(exit_code_of(OperationKind::rollback, OperationStatus::succeeded), ExitCode::success);
  EXPECT_EQ(exit_code_of(OperationKind::rollback, OperationStatus::unverified), ExitCode::verification_failed);
  EXPECT_EQ(exit_code_of(OperationKind::rollback, OperationStatus::failed), ExitCode::verification_failed);
  EXPECT_EQ(exit_code_of(OperationKind::deploy, OperationStatus::failed), ExitCode::step_failed);
  EXPECT_EQ(exit_code_of(OperationKind::rollback, OperationStatus::undone), ExitCode::step_failed);
  EXPECT_EQ(exit_code_of(OperationKind::rollback, OperationStatus::abandoned), ExitCode::step_failed);
  EXPECT_EQ(exit_code_of(OperationKind::rollback, OperationStatus::unknown), ExitCode::outcome_unknown);
}

}  // namespace
}  // namespace rollbackd::engine
