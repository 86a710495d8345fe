// Services rolled back together, over real Engines: what a member that fails and a restart in the middle leave behind, and who is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/fleet.hpp"
#include "engine/group_run.hpp"
#include "tests/engine/daemon.hpp"

namespace rollbackd::engine {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

GroupRun run_of(std::vector<std::string> statuses) {
  GroupRun run;
  run.id = "r1";
  run.command.group = "shop";
  run.command.reason = "the release was wrong";
  run.begun = Instant(1);
  const char* names[] = {"a", "b", "c"};
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    GroupRun::Member member;
    member.service = {names[i], "prod"};
    member.from = "v2";
    member.to = "v1";
    member.status = statuses[i];
    run.members.push_back(member);
  }
  return run;
}

std::vector<std::string> statuses_of(const Json& run) {
  std::vector<std::string> out;
  for (const Json& row : run["members"].elements()) out.push_back(row["status"].string_or(""));
  return out;
}

TEST(GroupRun, WhoseMembersAreAllBackHasSucceeded) {
  GroupRun run = run_of({"succeeded", "succeeded"});

  run.end("");

  EXPECT_EQ(run.status, "succeeded");
  EXPECT_EQ(run.code, ExitCode::success);
  EXPECT_EQ(run.detail, "all 2 services are rolled back: a/prod, b/prod");
  EXPECT_THAT(run.commands_left(), ElementsAre());
}

TEST(GroupRun, ThatStoppedHalfWayNamesWhoIsBackWhoFailedAndWhoWasLeftAlone) {
  GroupRun run = run_of({"succeeded", "failed", "planned"});
  run.members[1].detail = "http failed (status 500)";

  run.end("");

  EXPECT_EQ(run.status, "partial");
  EXPECT_EQ(run.code, ExitCode::rollback_error);
  EXPECT_EQ(run.detail,
            "1 of 3 services are rolled back (a/prod, and stay so); b/prod ended failed: http failed (status 500); left alone: c/prod");
  EXPECT_EQ(run.members[2].status, "cancelled");
  EXPECT_THAT(run.members[2].detail, HasSubstr("b/prod ended failed"));
  EXPECT_THAT(run.commands_left(), ElementsAre("rollbackctl rollback c --env prod --to v1 --reason \"...\""));
}

TEST(GroupRun, InWhichNothingWasChangedHasFailedAndTellsARefusalFromAStep) {
  GroupRun refused = run_of({"refused", "planned"}), undone = run_of({"undone", "planned"});

  refused.end("");
  undone.end("");

  EXPECT_EQ(refused.status, "failed");
  EXPECT_EQ(refused.code, ExitCode::refused);
  EXPECT_EQ(undone.status, "failed");
  EXPECT_EQ(undone.code, ExitCode::step_failed);
  EXPECT_EQ(undone.commands_left().size(), 2U);
}

TEST(GroupRun, ThatIsOldOrEndsTheDaemonAgainAndAgainIsNotGoneOnWith) {
  GroupRun run = run_of({"succeeded", "planned"});

  EXPECT_EQ(run.why_not_go_on(kGroupGoesOnWithin), "");
  EXPECT_THAT(run.why_not_go_on(kGroupGoesOnWithin + 1s), HasSubstr("away for 10m1s"));
  run.restarts = kGroupRestartsMax;
  EXPECT_THAT(run.why_not_go_on(1s), HasSubstr("3 times"));
}

TEST(GroupRun, IsReadAsItWasKept) {
  GroupRun run = run_of({"succeeded", "running", "planned"});
  run.command.force = run.command.accept_data_loss = true;
  run.command.principal = "uid:0";
  run.members[1].operation = "op";
  run.noted = {"boot", 5, 7};
  run.restarts = 2;

  const auto read = GroupRun::from_kept(run.kept());

  ASSERT_TRUE(read);
  EXPECT_EQ(read->kept().dump(), run.kept().dump());
  EXPECT_EQ(read->noted, run.noted);
  EXPECT_TRUE(read->command.force && read->command.accept_data_loss);
  EXPECT_FALSE(read->command.lenient || read->command.emergency);
  EXPECT_FALSE(GroupRun::from_kept(Json::object()));
}

/// Three services; the verification of each waits while "wait-NAME" is there and fails while "bad-NAME" is.
class GroupTest : public testing::Test {
 protected:
  GroupTest() {
    settings_.state_directory = directory_ / "state";
    config::GroupSettings group;
    group.name = "shop";
    for (const char* name : {"a", "b", "c"}) {
      Place& place = places_.emplace_back(directory_ / name);
      for (const char* id : {"v1", "v2", "v3"}) place.release(id);
      place.link("v1");
      auto service = service_on(place, {name, "prod"});
      config::TestSettings test;
      test.name = "looks";
      test.type = config::TestType::exec;
      test.within = 10s;
      test.timeout = 10s;
      test.command = {"/bin/sh", "-c", "while test -e " + file("wait", name) + "; do sleep 0.02; done; test ! -e " + file("bad", name)};
      service.verify = {test};
      settings_.services.push_back(service);
      group.services.push_back(std::string(name) + "/prod");
    }
    settings_.groups.push_back(group);
  }
  std::string file(const std::string& what, const std::string& name) const { return directory_ / (what + "-" + name); }
  void put(const std::string& path) const { std::ofstream(path) << "."; }

  void start() {
    daemon_.reset();
    daemon_.emplace(settings_, groups_of(kRules), places_.front(), broken_);
    const Result<> started = daemon_->start();
    ASSERT_TRUE(started) << started.error().text();
  }
  Fleet& fleet() { return daemon_->engine().fleet(); }
  void all_run_v2() {
    start();
    for (const Place& place : places_) place.link("v2");
    for (const auto& service : settings_.services)
      ASSERT_TRUE(daemon_->until([&] {
        return daemon_->engine().service({service.key.name, "prod"}).value()["release"].string_or("") == "v2";
      }));
  }
  /// @return the run's id
  std::string begin() {
    GroupCommand command;
    command.group = "shop";
    command.reason = "the release was wrong";
    command.principal = "uid:0";
    const auto answer = daemon_->run(fleet().rollback_group(command));
    EXPECT_TRUE(answer) << answer.error().text();
    EXPECT_EQ(answer->code, ExitCode::success) << answer->body.dump();
    return answer->body["group_run"].string_or("");
  }
  Json run(const std::string& id) {
    auto found = fleet().group_run(id);
    EXPECT_TRUE(found) << found.error().text();
    return found ? *found : Json::object();
  }
  Json ended(const std::string& id) {
    EXPECT_TRUE(daemon_->until([&] { return run(id)["status"].string_or("") != "running"; })) << run(id).dump();
    return run(id);
  }
  bool is(const std::string& id, std::size_t member, const std::string& status) { return statuses_of(run(id)).at(member) == status; }
  std::vector<std::string> live() const {
    std::vector<std::string> out;
    for (const Place& place : places_) out.push_back(place.live());
    return out;
  }
  std::size_t rollbacks() { return daemon_->run(daemon_->engine().operations({})).value().elements().size(); }

  TempDir directory_;
  std::deque<Place> places_;
  std::set<std::string> broken_;
  config::Settings settings_;
  std::optional<Daemon> daemon_;
};

TEST_F(GroupTest, AMemberThatFailsStopsItAndThoseBeforeItStayRolledBack) {
  for (auto& service : settings_.services) service.verify.front().within = 500ms;
  all_run_v2();
  put(file("bad", "b"));

  const Json run = ended(begin());

  EXPECT_THAT(live(), ElementsAre("v1", "v1", "v2")) << "the failing one is switched: its verification came after the commit point";
  EXPECT_EQ(run["status"].string_or(""), "partial");
  EXPECT_EQ(run["exit_code"].int_or(0), static_cast<int>(ExitCode::rollback_error));
  EXPECT_THAT(statuses_of(run), ElementsAre("succeeded", "failed", "cancelled"));
  EXPECT_THAT(run["detail"].string_or(""),
              AllOf(HasSubstr("(a/prod, and stay so)"), HasSubstr("b/prod ended failed"), HasSubstr("left alone: c/prod")));
  EXPECT_THAT(run["next_steps"].dump(), AllOf(HasSubstr("rollback c --env prod --to v1"), Not(HasSubstr("rollback b "))));
}

TEST_F(GroupTest, ARestartInTheMiddleGoesOnWithThoseLeftAndDoesNothingTwice) {
  all_run_v2();
  put(file("wait", "b"));
  const std::string id = begin();
  ASSERT_TRUE(daemon_->until([&] { return places_[1].live() == "v1"; }));
  ASSERT_TRUE(is(id, 1, "running"));

  daemon_.reset();
  fs::remove(file("wait", "b"));
  start();
  const Json run = ended(id);

  EXPECT_EQ(run["status"].string_or(""), "succeeded") << run.dump();
  EXPECT_EQ(run["restarts"].int_or(0), 1);
  EXPECT_THAT(live(), ElementsAre("v1", "v1", "v1"));
  EXPECT_EQ(rollbacks(), 3U);
}

TEST_F(GroupTest, AfterARestartAMemberThatSomebodyDeployedMeanwhileIsNotTouched) {
  all_run_v2();
  put(file("wait", "a"));
  const std::string id = begin();
  ASSERT_TRUE(daemon_->until([&] { return places_[0].live() == "v1"; }));
  daemon_.reset();
  fs::remove(file("wait", "a"));
  places_[1].link("v3");

  start();
  const Json run = ended(id);

  EXPECT_THAT(statuses_of(run), ElementsAre("succeeded", "refused", "cancelled"));
  EXPECT_THAT(run["detail"].string_or(""), HasSubstr("b/prod runs v3 and not v2: somebody deployed it"));
  EXPECT_THAT(live(), ElementsAre("v1", "v3", "v2"));
}

TEST_F(GroupTest, AfterARestartEveryGuardIsAskedAnew) {
  all_run_v2();
  put(file("wait", "a"));
  const std::string id = begin();
  ASSERT_TRUE(daemon_->until([&] { return places_[0].live() == "v1"; }));
  ASSERT_TRUE(daemon_->engine().suspend({"b", "prod"}, 1h, "hands off", "uid:0"));
  daemon_.reset();
  fs::remove(file("wait", "a"));

  start();
  const Json run = ended(id);

  EXPECT_THAT(statuses_of(run), ElementsAre("succeeded", "refused", "cancelled"));
  EXPECT_THAT(run["detail"].string_or(""), HasSubstr("not_suspended"));
  EXPECT_THAT(live(), ElementsAre("v1", "v2", "v2"));
}

TEST_F(GroupTest, ARunThatHasEndedIsKnownAfterARestartAndStaysEnded) {
  all_run_v2();
  const std::string id = begin();
  ASSERT_EQ(ended(id)["status"].string_or(""), "succeeded");
  for (const Place& place : places_) place.link("v3");

  start();

  EXPECT_EQ(run(id)["status"].string_or(""), "succeeded");
  EXPECT_THAT(live(), ElementsAre("v3", "v3", "v3"));
}

TEST_F(GroupTest, AFileOfRunsThatIsDamagedIsNoReasonNotToStart) {
  all_run_v2();
  const std::string id = begin();
  ASSERT_EQ(ended(id)["status"].string_or(""), "succeeded");
  daemon_.reset();
  put(settings_.state_directory + "/group-runs");

  start();

  EXPECT_FALSE(fleet().group_run(id)) << "nothing is guessed";
}

}  // namespace
}  // namespace rollbackd::engine
