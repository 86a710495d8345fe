// The evidence bundle: captured at the decision, complete, bounded, without secrets, and there after a restart.
#include <gmock/gmock.h>

#include "engine/insight.hpp"
#include "engine/watched.hpp"
#include "tests/engine/daemon.hpp"

namespace rollbackd::engine {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

config::Settings shop_settings(const TempDir& directory, const Place& place) {
  config::Settings settings;
  settings.state_directory = directory / "state";
  settings.services.push_back(service_on(place, {"shop", "prod"}));
  config::CheckSettings health;
  health.name = "health";
  health.interval = 20ms;
  health.timeout = 2s;
  settings.services[0].checks.push_back(health);
  config::ChannelSettings channel;
  channel.name = "oncall";
  channel.type = config::ChannelSettings::Type::exec;
  channel.command = {"/bin/true"};
  channel.severity_min = 1;
  settings.notify.push_back(channel);
  return settings;
}

Json evidence_of(Daemon& daemon, const std::string& operation, const std::string& incident = "") {
  const auto found = daemon.run(daemon.engine().insight().evidence({"shop", "prod"}, operation, incident));
  EXPECT_TRUE(found) << found.error().text();
  return found ? *found : Json();
}

TEST(Evidence, ARollbackLeavesABundleWithAllThatWasSeenAlsoAfterARestart) {
  TempDir directory;
  Place place(directory / "shop");
  place.release("v1");
  place.release("v2");
  place.link("v1");
  const config::Settings settings = shop_settings(directory, place);
  std::set<std::string> broken{"v2"};
  std::string operation, incident;
  {
    Daemon daemon(settings, groups_of(kRules), place, broken);
    daemon.engine().insight().set_configuration("sha256:cafe");
    ASSERT_TRUE(daemon.start());
    ASSERT_TRUE(daemon.until([&] { return daemon.standing("v1") == "good"; }));
    place.link("v2");
    ASSERT_TRUE(daemon.until([&] { return !daemon.ended.empty(); }));
    operation = daemon.ended[0].request.operation;
    incident = daemon.ended[0].request.incident;
    ASSERT_TRUE(daemon.until([&] {  // The page goes out a moment later.
      const Json told = evidence_of(daemon, operation)["told"];
      return !told.elements().empty() && told.elements().front()["channels"].elements().at(0)["state"].string_or("") == "sent";
    }));

    const Json evidence = evidence_of(daemon, operation);
    const Json& bundle = evidence["bundle"];
    EXPECT_EQ(bundle["configuration"].string_or(""), "sha256:cafe");
    EXPECT_EQ(bundle["release"].string_or(""), "v2");
    EXPECT_EQ(bundle["decision"]["decision"].string_or(""), "rollback");
    EXPECT_GT(bundle["decision"]["guards"].elements().size(), 15U);
    ASSERT_EQ(bundle["alerts"].elements().size(), 1U) << bundle.dump();
    EXPECT_EQ(bundle["alerts"].elements()[0]["expr"].string_or(""), "probe_success == 0");
    ASSERT_EQ(bundle["samples"].elements().size(), 1U);
    EXPECT_THAT(bundle["samples"].elements()[0]["series"].string_or(""), HasSubstr("probe_success"));
    EXPECT_EQ(bundle["samples"].elements()[0]["points"].elements().back().elements().at(1).number_or(-1), 0) << "the failing sample itself";
    EXPECT_THAT(bundle["checks"].dump(), HasSubstr("failing"));
    EXPECT_EQ(evidence["operation"]["status"].string_or(""), "succeeded");
    EXPECT_FALSE(evidence["operation"]["steps"].elements().empty());
    EXPECT_THAT(bundle["tests"].dump(), HasSubstr("release_on_disk"));
    EXPECT_EQ(evidence["missing"].elements().size(), 0U) << evidence["missing"].dump();
    EXPECT_LT(bundle.dump().size(), 32U << 10) << "an ordinary bundle is small";
  }

  broken.clear();
  Daemon again(settings, groups_of(kRules), place, broken);
  ASSERT_TRUE(again.start());
  const Json after = evidence_of(again, "", incident);
  EXPECT_EQ(after["bundle"]["operation"].string_or(""), operation);
  EXPECT_FALSE(after["bundle"]["samples"].elements().empty());
  EXPECT_EQ(after["told"].elements().front()["channels"].elements().at(0)["state"].string_or(""), "sent");
}

TEST(Evidence, APersonsRollbackHasItsGuardsAndWhatIsMissingIsSaid) {
  TempDir directory;
  Place place(directory / "shop");
  place.release("v1");
  place.release("v2");
  place.link("v1");
  const std::set<std::string> broken;
  Daemon daemon(shop_settings(directory, place), groups_of(kRules), place, broken);
  ASSERT_TRUE(daemon.start());
  ASSERT_TRUE(daemon.until([&] { return daemon.standing("v1") == "good"; }));
  place.link("v2");
  ASSERT_TRUE(daemon.until([&] { return daemon.ready(); }));
  RollbackCommand command;
  command.service = {"shop", "prod"};
  command.reason = "checkout is broken";
  command.principal = "uid:0";
  const auto answer = daemon.run(daemon.engine().rollback(command));
  ASSERT_TRUE(answer);
  ASSERT_TRUE(daemon.until([&] { return !daemon.ended.empty(); }));

  const Json evidence = evidence_of(daemon, answer->operation);

  EXPECT_EQ(evidence["bundle"]["asked_by"].string_or(""), "uid:0");
  EXPECT_GT(evidence["bundle"]["guards"].elements().size(), 10U) << evidence.dump();
  EXPECT_THAT(evidence["missing"].dump(), HasSubstr("samples"));
  const auto nothing = daemon.run(daemon.engine().insight().evidence({"shop", "prod"}, "no-such-operation", ""));
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, Errc::not_found);
}

TEST(Watched, OfAFailingCheckTheLastWordsAreKeptOfAHealthyOneTheLastAlone) {
  Watched watched;
  Batch batch;
  batch.service = {"shop", "prod"};
  batch.check = "health";
  const auto say = [&](bool healthy, const std::string& detail) {
    batch.at = batch.at + 1s;
    batch.healthy = healthy;
    batch.detail = detail;
    watched.note(batch);
  };
  for (int i = 0; i < 100; ++i) say(true, "200 in " + std::to_string(i) + " ms");
  say(false, "500");
  say(false, "500");
  say(false, "timeout");

  const Json words = watched.details_json();

  ASSERT_EQ(words.elements().size(), 3U) << words.dump();
  EXPECT_EQ(words.elements()[0]["times"].int_or(0), 100);
  EXPECT_EQ(words.elements()[0]["detail"].string_or(""), "200 in 99 ms");
  EXPECT_EQ(words.elements()[1]["times"].int_or(0), 2);
  for (int i = 0; i < 1000; ++i) say(false, "error " + std::to_string(i));
  EXPECT_EQ(watched.details_json().elements().size(), Watched::kWordsMax);
}

TEST(Watched, AlertsThatStandAreBoundedAndThoseThatMayActComeFirst) {
  Watched watched;
  AlertChange change;
  change.service = {"shop", "prod"};
  for (int i = 0; i < 1000; ++i) {
    change.rule = "R" + std::to_string(i);
    change.phase = i == 7 ? AlertPhase::firing : AlertPhase::pending;
    watched.note(change);
  }
  ASSERT_EQ(watched.alerts().size(), Watched::kAlertsMax);
  EXPECT_EQ(watched.alerts().front().rule, "R7");
  change.rule = "R7";
  change.phase = AlertPhase::inactive;
  watched.note(change);
  EXPECT_EQ(watched.alerts().size(), Watched::kAlertsMax - 1);
}

}  // namespace
}  // namespace rollbackd::engine
