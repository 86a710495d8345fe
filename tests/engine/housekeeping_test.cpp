// What the engine does for releases while nothing else happens, with real directories.
#include "engine/housekeeping.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.hpp"
#include "tests/engine/daemon.hpp"

namespace rollbackd::engine {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

class HousekeepingTest : public testing::Test {
 protected:
  HousekeepingTest() {
    for (const char* id : {"v1", "v2", "v3", "v4", "v5"}) place_.release(id);
    place_.link("v1");
    settings_.state_directory = directory_ / "state";
    settings_.services.push_back(service_on(place_, {"shop", "prod"}));
    config::CheckSettings health;
    health.name = "health";
    health.interval = 20ms;
    health.timeout = 2s;
    service().checks.push_back(health);
    service().policy.bake_time = 100ms;
  }
  config::ServiceSettings& service() { return settings_.services.front(); }
  void start() {
    daemon_.reset();
    daemon_.emplace(settings_, groups_of(kRules), place_, broken_);
    const Result<> started = daemon_->start();
    ASSERT_TRUE(started) << started.error().text();
  }
  Daemon& daemon() { return *daemon_; }
  Json row(const std::string& release) {
    const Json ledger = daemon_->engine().releases({"shop", "prod"}).value();
    for (const Json& one : ledger["releases"].elements())
      if (one["release"].string_or("") == release) return one;
    return {};
  }
  /// Waits, with housekeeping asked to look all the time, as it does by itself every 15 s.
  template <class Done>
  bool until(Done done) {
    return daemon().until([&] {
      daemon().engine().housekeeping().look_soon();
      return done();
    });
  }
  void deploy(const std::string& release) {
    place_.link(release);
    ASSERT_TRUE(until([&] { return daemon().standing(release) == "good"; })) << daemon().shop().dump();
  }
  bool on_disk(const std::string& release) const { return fs::exists(place_.releases() + "/" + release); }

  TempDir directory_;
  Place place_{directory_ / "shop"};
  std::set<std::string> broken_;
  config::Settings settings_;
  std::optional<Daemon> daemon_;
};

TEST_F(HousekeepingTest, TheReleaseThatWentLiveIsReadAndItsManifestKeptForPeople) {
  start();
  ASSERT_TRUE(until([&] { return !row("v1")["digest"].string_or("").empty(); }));
  std::ifstream file(directory_ / "state/services/shop.prod/manifests/app/v1");
  const std::string manifest{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(manifest, HasSubstr(sha256_hex("the program of v1\n") + "\tapp\n"));
  EXPECT_EQ(sha256_hex(manifest), row("v1")["digest"].string_or(""));
}

TEST_F(HousekeepingTest, OtherContentUnderTheSameIdIsAnotherReleaseAndNoTarget) {
  service().policy.scrub_interval = 50ms;
  start();
  deploy("v2");
  ASSERT_TRUE(until([&] { return daemon().ready(); })) << daemon().engine().readiness().dump();

  std::ofstream(place_.releases() + "/v1/app") << "something else\n";

  ASSERT_TRUE(until([&] { return daemon().standing("v1") == "unknown"; })) << row("v1").dump();
  EXPECT_THAT(row("v1")["intact_why"].string_or(""), HasSubstr("app has other content"));
  EXPECT_FALSE(daemon().ready());
}

TEST_F(HousekeepingTest, ATargetThatSomebodyRemovesIsSeenAtOnceAndTakenAgainWhenItIsBack) {
  start();
  deploy("v2");
  ASSERT_TRUE(until([&] { return daemon().ready(); }));

  fs::rename(place_.releases() + "/v1", place_.releases() + "/.gone");

  ASSERT_TRUE(daemon().until([&] { return !daemon().ready(); }));
  EXPECT_THAT(daemon().engine().readiness().dump(), HasSubstr("\"ready\":false,\"why\":\"release v1: "));
  EXPECT_EQ(daemon().standing("v1"), "good") << "gone, not changed";
  fs::rename(place_.releases() + "/.gone", place_.releases() + "/v1");
  EXPECT_TRUE(until([&] { return daemon().ready(); })) << daemon().engine().readiness().dump();
}

TEST_F(HousekeepingTest, RetentionKeepsWhatARollbackNeedsAndRemovesTheRest) {
  service().policy.keep_releases = 1;
  service().automation = config::Automation::observe;
  start();
  for (const char* id : {"v2", "v3", "v4", "v5"}) deploy(id);
  place_.release("being-written");
  EXPECT_TRUE(on_disk("v1")) << "observe changes nothing";
  service().automation = config::Automation::automatic;
  start();

  ASSERT_TRUE(until([&] { return !on_disk("v2") && !on_disk("v1"); })) << daemon().shop().dump();

  EXPECT_TRUE(on_disk("v3")) << "keep_releases";
  EXPECT_TRUE(on_disk("v4")) << "to go back to";
  EXPECT_TRUE(on_disk("v5")) << "live";
  EXPECT_TRUE(on_disk("being-written"));
  ASSERT_TRUE(daemon().until([&] { return row("v2")["intact_why"].string_or("").find("removed") != std::string::npos; }));
  const Json audit = daemon().run(daemon().engine().audit_entries({})).value();
  EXPECT_THAT(audit.dump(), HasSubstr("prune"));
}

TEST_F(HousekeepingTest, NothingIsRemovedWhileADeployLockIsHeldOrARemovalWouldMeetALink) {
  service().policy.keep_releases = 1;
  start();
  fs::create_directories(directory_ / "shop/.dep");
  std::ofstream(directory_ / "shop/.dep/deploy.lock") << "ops\n";
  for (const char* id : {"v2", "v3", "v4", "v5"}) deploy(id);
  ASSERT_TRUE(until([&] { return daemon().ready(); }));
  ASSERT_TRUE(daemon().until(
      [&] { return daemon().run(daemon().engine().audit_entries({})).value().dump().find("somebody deploys") != std::string::npos; }));
  EXPECT_TRUE(on_disk("v1"));
  fs::create_symlink("releases/v1", directory_ / "shop/stable");
  fs::remove(directory_ / "shop/.dep/deploy.lock");
  ASSERT_TRUE(until([&] { return !on_disk("v2"); }));
  EXPECT_TRUE(on_disk("v1")) << "a link of somebody's leads to it";
}

/// The same with a configuration beside the code, behind a link of its own.
class HousekeepingOfSeveralTest : public HousekeepingTest {
 protected:
  HousekeepingOfSeveralTest() {
    for (const char* id : {"v1", "c2", "c3", "c4", "c5"}) configs_.release(id);
    configs_.link("v1");
    config::ComponentSettings config;
    config.name = "config";
    config.releases = configs_.releases();
    config.current = configs_.current();
    service().components.push_back(config);
  }
  void deploy(const std::string& app, const std::string& config) {
    place_.link(app);
    configs_.link(config);
    const std::string id = name_of({{"app", app}, {"config", config}});
    ASSERT_TRUE(until([&] { return daemon().standing(id) == "good"; })) << daemon().shop().dump();
  }
  bool config_on_disk(const std::string& id) const { return fs::exists(configs_.releases() + "/" + id); }

  Place configs_{directory_ / "shop/etc"};
};

TEST_F(HousekeepingOfSeveralTest, ADamagedComponentMakesTheReleaseNotIntact) {
  service().policy.scrub_interval = 50ms;
  start();
  deploy("v2", "c2");
  ASSERT_TRUE(until([&] { return daemon().ready(); })) << daemon().engine().readiness().dump();

  std::ofstream(configs_.releases() + "/v1/app") << "something else\n";

  ASSERT_TRUE(until([&] { return daemon().standing("v1") == "unknown"; })) << row("v1").dump();
  // Whichever looks first: at its files, or at what they hash to.
  EXPECT_THAT(row("v1")["intact_why"].string_or(""),
              AnyOf(HasSubstr("config: app has other content"), HasSubstr("its content differs from what was hashed before")));
  EXPECT_FALSE(daemon().ready());
  EXPECT_TRUE(fs::exists(directory_ / "state/services/shop.prod/manifests/config/v1"));
}

TEST_F(HousekeepingOfSeveralTest, AComponentThatSomebodyRemovesIsSeenAtOnce) {
  start();
  deploy("v2", "c2");
  ASSERT_TRUE(until([&] { return daemon().ready(); }));

  fs::rename(configs_.releases() + "/v1", configs_.releases() + "/.gone");

  ASSERT_TRUE(daemon().until([&] { return !daemon().ready(); }));
  EXPECT_THAT(daemon().engine().readiness().dump(), HasSubstr(configs_.releases()));
  fs::rename(configs_.releases() + "/.gone", configs_.releases() + "/v1");
  EXPECT_TRUE(until([&] { return daemon().ready(); })) << daemon().engine().readiness().dump();
}

TEST_F(HousekeepingOfSeveralTest, RetentionKeepsWhatAnyReleaseThatStaysIsMadeOf) {
  service().policy.keep_releases = 1;
  service().automation = config::Automation::observe;
  start();
  deploy("v2", "c2");
  deploy("v3", "c3");
  deploy("v4", "v1");
  deploy("v5", "c5");
  configs_.release("being-written");
  service().automation = config::Automation::automatic;
  start();

  ASSERT_TRUE(until([&] { return !on_disk("v1") && !on_disk("v2") && !config_on_disk("c2"); })) << daemon().shop().dump();

  EXPECT_TRUE(on_disk("v3") && config_on_disk("c3")) << "keep_releases";
  EXPECT_TRUE(on_disk("v4") && config_on_disk("v1")) << "to go back to";
  EXPECT_TRUE(on_disk("v5") && config_on_disk("c5")) << "live";
  EXPECT_TRUE(config_on_disk("c4") && config_on_disk("being-written")) << "nobody knows of them";
  ASSERT_TRUE(daemon().until([&] { return row("v2+c2")["intact_why"].string_or("").find("removed") != std::string::npos; }));
  EXPECT_TRUE(daemon().ready());
  for (const char* target : {"\"app/v1\"", "\"app/v2\"", "\"config/c2\""})
    EXPECT_TRUE(daemon().until([&] {
      const std::string audit = daemon().run(daemon().engine().audit_entries({})).value().dump();
      return audit.find(target) != std::string::npos;
    })) << target;
}

}  // namespace
}  // namespace rollbackd::engine
