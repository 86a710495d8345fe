// The pre-flight: what stands in the way of a rollback is named while nothing has failed yet.
#include "engine/ready.hpp"

#include <gmock/gmock.h>

#include <set>

#include "engine/insight.hpp"
#include "tests/engine/daemon.hpp"

namespace rollbackd::engine {
namespace {

using testing::HasSubstr;
using Answer = ReadyCheck::Answer;

const Instant kNow = Instant::from_seconds(1'795'176'000);

/// A service that nothing is wrong with.
struct Well {
  config::ServiceSettings settings;
  ServiceState state;
  ReadyInput input;
  Well() {
    settings.key = {"shop", "prod"};
    settings.automation = config::Automation::automatic;
    settings.verify.emplace_back();
    state.epoch.release = "v2";
    state.drilled = kNow - 24h;
    input.settings = &settings;
    input.state = &state;
    input.now = kNow;
    input.has_manager = true;
    input.target = "v1";
    input.armed = TargetFacts{"v1", true, true, ""};
    input.observers = {{"health", true}};
    input.channels = 1;
    input.world.looked = input.world.manager_answered = kNow - 10s;
    input.world.wall = kNow;
    input.world.state = DirectoryFacts{"/state", true, true, "", 1 << 30, 1000};
    input.world.links.push_back(LinkLook{"", input.world.state, "releases/v1", true});
    for (const char* guard : {"not_suspended", "budget", "cooldown", "reversible", "deploy_lock_free", "window_open", "dependency_healthy",
                              "no_other_change", "fleet_breaker"})
      input.guards.push_back(GuardAnswer{guard, true, true, false, "well"});
  }
  LinkLook& links() { return input.world.links.back(); }
  GuardAnswer& guard(const std::string& name) {
    return *std::find_if(input.guards.begin(), input.guards.end(), [&](const GuardAnswer& g) { return g.guard == name; });
  }
  ReadyCheck check(const std::string& name) const {
    for (const ReadyCheck& one : ready_checks(input))
      if (one.name == name) return one;
    ADD_FAILURE() << "there is no check " << name;
    return {};
  }
};

TEST(Ready, AWellServiceSaysYesToEverything) {
  const Well well;

  const auto checks = ready_checks(well.input);

  for (const ReadyCheck& check : checks) EXPECT_EQ(check.answer, Answer::yes) << check.name << ": " << check.evidence;
  EXPECT_EQ(first_no(checks), nullptr);
  ASSERT_EQ(checks.size(), ready_check_names().size());
  EXPECT_EQ(std::set<std::string>(ready_check_names().begin(), ready_check_names().end()).size(), checks.size());
}

TEST(Ready, EachThingThatIsWrongIsToldByItsOwnCheckAndNoOther) {
  struct Case {
    const char* check;
    Answer answer;
    std::function<void(Well&)> harm;
    const char* says;
  };
  const std::vector<Case> cases{
      {"watched", Answer::no, [](Well& w) { w.input.link_trouble = "current is missing"; }, "current is missing"},
      {"state_file", Answer::no, [](Well& w) { w.input.state_trusted = false; }, "restart rollbackd"},
      {"state_file", Answer::no,
       [](Well& w) {
         w.input.world.state.writable = false;
         w.input.world.state.why = "the file system is read-only";
       },
       "read-only"},
      {"automation", Answer::no, [](Well& w) { w.settings.automation = config::Automation::observe; }, "observe"},
      {"suspended", Answer::no, [](Well& w) { w.guard("not_suspended").yes = false; }, "well"},
      {"deploy_lock", Answer::no, [](Well& w) { w.guard("deploy_lock_free").yes = false; }, "well"},
      {"window", Answer::no, [](Well& w) { w.guard("window_open").yes = false; }, "well"},
      {"budget", Answer::no, [](Well& w) { w.guard("budget").yes = false; }, "well"},
      {"reversible", Answer::no, [](Well& w) { w.guard("reversible").yes = false; }, "well"},
      {"changes", Answer::no, [](Well& w) { w.guard("no_other_change").yes = false; }, "well"},
      {"fleet", Answer::no, [](Well& w) { w.guard("fleet_breaker").yes = false; }, "well"},
      {"cooldown", Answer::warning, [](Well& w) { w.guard("cooldown").yes = false; }, "well"},
      {"dependencies", Answer::warning, [](Well& w) { w.guard("dependency_healthy").yes = false; }, "well"},
      {"armed", Answer::no, [](Well& w) { w.input.armed->release = "v0"; }, "not armed yet"},
      {"armed", Answer::no,
       [](Well& w) {
         w.input.armed = TargetFacts{"v1", true, false, "app differs"};
       },
       "app differs"},
      {"armed", Answer::warning, [](Well& w) { w.links().armed_link.clear(); }, "full disk"},
      {"link_directory", Answer::no, [](Well& w) { w.links().directory = DirectoryFacts{"/srv", true, false, "denied", 1 << 30, 99}; },
       "denied"},
      {"link_directory", Answer::warning, [](Well& w) { w.input.world.exchange = false; }, "cannot exchange"},
      {"actor", Answer::no,
       [](Well& w) {
         w.input.world.actor = "the actor";
         w.input.world.actor_trouble = "refused";
       },
       "refused"},
      {"manager", Answer::no, [](Well& w) { w.input.world.manager_trouble = "no bus"; }, "no bus"},
      {"manager", Answer::no, [](Well& w) { w.input.world.manager_answered = kNow - 10min; }, "10m"},
      {"manager", Answer::warning, [](Well& w) { w.input.has_manager = false; }, "no service manager"},
      {"incident", Answer::no, [](Well& w) { w.input.incident_spent = true; }, "acknowledge"},
      {"verification", Answer::warning, [](Well& w) { w.settings.verify.clear(); }, "unverified"},
      {"observers", Answer::warning, [](Well& w) { w.input.observers[0].live = false; }, "health"},
      {"observers", Answer::warning, [](Well& w) { w.input.blind_rules = {"Slow"}; }, "Slow"},
      {"notifications", Answer::warning, [](Well& w) { w.input.channels = 0; }, "nobody"},
      {"history", Answer::warning, [](Well& w) { w.input.history_trouble = "disk full"; }, "disk full"},
      {"disk", Answer::warning, [](Well& w) { w.links().directory.bytes_free = 4096; }, "4 KiB"},
      {"disk", Answer::warning, [](Well& w) { w.links().directory.inodes_free = 0; }, "0 inodes"},
      {"clock", Answer::warning, [](Well& w) { w.input.world.wall_ahead = -1h; }, "1h back"},
      {"clock", Answer::warning, [](Well& w) { w.input.world.wall = Instant::from_seconds(0); }, "1970"},
      {"drill", Answer::warning, [](Well& w) { w.state.drilled.reset(); }, "never"},
      {"drill", Answer::warning, [](Well& w) { w.state.drilled = kNow - 40 * 24h; }, "40 days"},
      {"warm", Answer::warning, [](Well& w) { w.settings.warm.enabled = true; }, "not looked at yet"},
      {"warm", Answer::warning,
       [](Well& w) {
         w.settings.warm.enabled = true;
         w.input.warm = "v1: 3 MiB of 12 MiB are in memory";
       },
       "3 MiB of 12"},
      {"looked", Answer::warning, [](Well& w) { w.input.world.looked = kNow - 1h; }, "1h"},
  };
  for (const Case& one : cases) {
    Well well;
    one.harm(well);
    const ReadyCheck check = well.check(one.check);
    EXPECT_EQ(check.answer, one.answer) << one.check << ": " << check.evidence;
    EXPECT_THAT(check.evidence, HasSubstr(one.says)) << one.check;
    for (const ReadyCheck& other : ready_checks(well.input)) {
      const bool its_own = other.name == one.check;
      EXPECT_TRUE(its_own || other.answer == Answer::yes) << one.check << " is told by " << other.name << " too";
    }
  }
}

TEST(Ready, OfSeveralComponentsEachLinkIsLookedAtAndNamed) {
  const auto of_two = [](const std::function<void(LinkLook&)>& harm) {
    Well well;
    well.links().component = "app";
    well.input.world.links.push_back(LinkLook{"config", {"/etc/shop", true, true, "", 1 << 30, 1000}, "configs/c1", true});
    harm(well.links());
    return well;
  };
  const Well well = of_two([](LinkLook&) {});
  EXPECT_EQ(first_no(ready_checks(well.input)), nullptr);
  EXPECT_EQ(well.check("link_directory").evidence, "/state, /etc/shop can be written");
  EXPECT_EQ(well.check("armed").evidence, "v1 is intact, the links to it are made");

  const auto says = [](const Well& w, const char* check, Answer answer, const char* evidence) {
    EXPECT_EQ(w.check(check).answer, answer) << check;
    EXPECT_THAT(w.check(check).evidence, HasSubstr(evidence)) << check;
  };
  says(of_two([](LinkLook& link) { link.directory.there = false; }), "link_directory", Answer::no, "config: /etc/shop");
  says(of_two([](LinkLook& link) { link.directory.writable = false; }), "link_directory", Answer::no, "config: /etc/shop");
  says(of_two([](LinkLook& link) { link.armed_link.clear(); }), "armed", Answer::warning, "config: ");
  says(of_two([](LinkLook& link) { link.directory.bytes_free = 0; }), "disk", Answer::warning, "config: /etc/shop");
}

TEST(Ready, WithoutATargetThereIsNothingToArm) {
  Well well;
  well.input.target.clear();

  EXPECT_EQ(first_no(ready_checks(well.input))->name, "target");
  EXPECT_EQ(well.check("armed").answer, Answer::no);
}

TEST(Ready, AServiceThatIsNotWatchedIsNotReadyAndTheOtherChecksStillAnswer) {
  Well well;
  well.input.state = nullptr;
  well.input.guards.clear();
  well.input.trouble = "the state directory is gone";

  const auto checks = ready_checks(well.input);

  EXPECT_EQ(first_no(checks)->name, "watched");
  EXPECT_EQ(checks.size(), ready_check_names().size());
}

/// The real engine over a real link.
TEST(Preflight, ALinkDirectoryThatIsGoneIsNoticedAndToldInEveryView) {
  TempDir directory;
  Place place(directory / "shop");
  place.release("v1");
  place.link("v1");
  config::Settings settings;
  settings.state_directory = directory / "state";
  settings.services.push_back(service_on(place, {"shop", "prod"}));
  config::CheckSettings health;
  health.name = "health";
  health.interval = 50ms;
  health.timeout = 2s;
  settings.services[0].checks.push_back(health);
  const std::set<std::string> broken;
  Daemon daemon(settings, groups_of(kRules), place, broken);
  ASSERT_TRUE(daemon.start());
  const auto check = [&](const std::string& name) -> Json {
    const Json rows = daemon.engine().readiness();
    for (const Json& one : rows.elements().at(0)["checks"].elements())
      if (one["check"].string_or("") == name) return one;
    return {};
  };
  ASSERT_TRUE(daemon.until([&] { return check("link_directory")["answer"].string_or("") == "yes"; })) << daemon.engine().readiness().dump();
  ASSERT_EQ(check("state_file")["answer"].string_or(""), "yes");
  place.release("v2");
  place.link("v2");
  ASSERT_TRUE(daemon.until([&] { return daemon.ready(); })) << daemon.engine().readiness().dump();
  EXPECT_EQ(check("target")["evidence"].string_or(""), "v1");

  fs::rename(directory / "state", directory / "gone");
  daemon.engine().insight().look_soon();

  ASSERT_TRUE(daemon.until([&] { return !daemon.ready(); }));
  EXPECT_EQ(daemon.engine().numbers().at(0).ready_word, "state_file") << "the metric's reason is the check's name";
  EXPECT_FALSE(daemon.engine().status()["services"].elements().at(0)["protected"].bool_or(true));
  fs::rename(directory / "gone", directory / "state");
  daemon.engine().insight().look_soon();
  EXPECT_TRUE(daemon.until([&] { return daemon.ready(); })) << daemon.engine().readiness().dump();
}

}  // namespace
}  // namespace rollbackd::engine
