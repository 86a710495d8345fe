// Alerts over a restart of the whole engine: no `for` starts over or ends early, and nothing is done twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/engine/daemon.hpp"

namespace rollbackd::engine {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

const ServiceSelector kShop{"shop", "prod"};

class KeptAlertsTest : public testing::Test {
 protected:
  KeptAlertsTest() {
    for (const char* id : {"v1", "v2"}) place_.release(id);
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
  /// Without the label instance: the web server has another port after each start.
  static std::string rules(const std::string& wait, const std::string& action = "rollback") {
    return R"({"groups": [{"name": "shop", "rules": [{"alert": "Down", "expr": "max by (service, environment) (probe_success) == 0", "for": ")" +
           wait + R"(", "labels": {"rollbackd_action": ")" + action + R"("}}]}]})";
  }
  void start(const std::string& rules) {
    daemon_.emplace(settings_, groups_of(rules), place_, broken_);
    const Result<> started = daemon_->start();
    ASSERT_TRUE(started) << started.error().text();
  }
  Daemon& daemon() { return *daemon_; }
  Instant now() { return daemon().engine().now(); }
  std::optional<rules::ActiveAlert> alert() {
    const auto all = daemon().engine().judge().alerts();
    return all.empty() ? std::nullopt : std::optional(all.front());
  }
  bool in_phase(AlertPhase phase) {
    const auto is = alert();
    return is && is->alert.phase == phase && !is->blind;
  }
  /// v2 goes live and fails; the alert is pending, or firing, and has been for `length`.
  void break_v2(AlertPhase phase, Duration length) {
    broken_ = {"v2"};
    place_.link("v2");
    ASSERT_TRUE(daemon().until([&] { return in_phase(phase) && now() - alert()->active_at >= length; })) << daemon().shop().dump();
  }
  std::string file() const { return directory_ / "state/alerts"; }

  TempDir directory_;
  Place place_{directory_ / "shop"};
  std::set<std::string> broken_;
  config::Settings settings_;
  std::optional<Daemon> daemon_;
};

TEST_F(KeptAlertsTest, ARestartInAForNeitherFiresEarlyNorStartsOver) {
  start(rules("2s", "notify"));
  break_v2(AlertPhase::pending, 1s);
  daemon_.reset();
  std::this_thread::sleep_for(1500ms);  // Longer than what was left: time in which nobody looked proves nothing.

  start(rules("2s", "notify"));
  ASSERT_TRUE(alert());
  EXPECT_TRUE(alert()->blind || alert()->alert.phase == AlertPhase::pending);
  const Instant back = now();
  ASSERT_TRUE(daemon().until([&] { return in_phase(AlertPhase::pending); }));
  const Instant began = alert()->active_at;
  EXPECT_LE(began, back - 900ms) << "what had passed counts";
  ASSERT_TRUE(daemon().until([&] { return in_phase(AlertPhase::firing); }));
  EXPECT_GE(alert()->alert.since - began, 2s);
  EXPECT_GE(alert()->alert.since - back, 0s) << "not before anybody looked";
}

TEST_F(KeptAlertsTest, AKilledDaemonLeavesWhatWasPending) {
  start(rules("1h", "notify"));
  break_v2(AlertPhase::pending, 500ms);
  ASSERT_TRUE(daemon().until([&] { return fs::exists(file()); })) << "written while it runs";
  fs::copy_file(file(), directory_ / "as_killed");
  daemon_.reset();
  fs::copy_file(directory_ / "as_killed", file(), fs::copy_options::overwrite_existing);

  start(rules("1h", "notify"));

  ASSERT_TRUE(alert());
  EXPECT_EQ(alert()->alert.phase, AlertPhase::pending);
}

TEST_F(KeptAlertsTest, AFiringAlertThatIsHeldActsOnceOverARestart) {
  start(rules("500ms"));
  ASSERT_TRUE(daemon().engine().suspend(kShop, 1h, "maintenance", "uid:0"));
  break_v2(AlertPhase::firing, 0s);
  ASSERT_TRUE(daemon().until([&] { return daemon().held(); })) << daemon().shop().dump();
  const std::string incident = daemon().shop()["incident"]["id"].string_or("");
  daemon_.reset();

  start(rules("500ms"));
  ASSERT_TRUE(daemon().until([&] { return in_phase(AlertPhase::firing); }));
  ASSERT_TRUE(daemon().until([&] { return daemon().held(); })) << daemon().shop().dump();
  EXPECT_EQ(daemon().shop()["incident"]["id"].string_or(""), incident) << "it is not opened twice";
  ASSERT_TRUE(daemon().engine().unsuspend(kShop, "uid:0"));
  ASSERT_TRUE(daemon().until([&] { return !daemon().ended.empty(); })) << daemon().shop().dump();
  EXPECT_EQ(place_.live(), "v1");
  daemon_.reset();

  start(rules("500ms"));
  ASSERT_TRUE(daemon().until([&] { return daemon().requests() > 20; }));
  EXPECT_FALSE(alert()) << "it was about the release that was left";
  EXPECT_THAT(daemon().ended, IsEmpty());
  EXPECT_THAT(daemon().run(daemon().engine().operations({})).value().elements(), SizeIs(1));
}

TEST_F(KeptAlertsTest, AFiringAlertThatIsOverMeanwhileActsNever) {
  start(rules("0s"));
  ASSERT_TRUE(daemon().engine().suspend(kShop, 1h, "maintenance", "uid:0"));
  break_v2(AlertPhase::firing, 0s);
  daemon_.reset();
  broken_.clear();

  start(rules("0s"));
  ASSERT_TRUE(daemon().engine().unsuspend(kShop, "uid:0"));

  ASSERT_TRUE(daemon().until([&] { return daemon().requests() > 20; }));
  EXPECT_FALSE(alert());
  EXPECT_EQ(place_.live(), "v2");
  EXPECT_THAT(daemon().ended, IsEmpty());
}

TEST_F(KeptAlertsTest, AnotherReleaseAtTheStartHasNoneOfThem) {
  start(rules("1h", "notify"));
  break_v2(AlertPhase::pending, 0s);
  daemon_.reset();
  place_.link("v1");

  start(rules("1h", "notify"));

  EXPECT_FALSE(alert());
}

TEST_F(KeptAlertsTest, ADamagedFileIsNoTrouble) {
  start(rules("0s", "notify"));
  break_v2(AlertPhase::firing, 0s);
  daemon_.reset();
  std::ofstream(file(), std::ios::trunc) << "rollbackd-alerts 1 deadbeef 3\n{}}";

  start(rules("0s", "notify"));

  EXPECT_TRUE(daemon().until([&] { return in_phase(AlertPhase::firing); })) << "it is found anew";
}

}  // namespace
}  // namespace rollbackd::engine
