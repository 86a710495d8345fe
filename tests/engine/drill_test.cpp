// Drills over a real engine: what proves the chain, what is refused, and that a drill hurts nothing that it does not say.
#include "engine/drill.hpp"

#include <gmock/gmock.h>

#include "engine/insight.hpp"
#include "tests/engine/daemon.hpp"

namespace rollbackd::engine {
namespace {

using testing::HasSubstr;

TEST(Drill, ALineIsMadeOfThePatternsOwnWords) {
  for (const char* pattern : {"FATAL|panic", "^\\s*panic:", "OutOfMemoryError", "ERROR .* drill", "level=(fatal|critical)|FATAL"})
    EXPECT_NE(line_matching(pattern, "op-1"), "") << pattern;
  for (const char* pattern : {"", "(", "^\\d{4}-\\d\\d-\\d\\d$"}) EXPECT_EQ(line_matching(pattern, "op-1"), "") << pattern;
}

TEST(Drill, OnlyAMarkedServiceIsBrokenAndOnlyInAWayItAllows) {
  config::ServiceSettings service;
  EXPECT_THAT(why_not_inject(service, "fire"), HasSubstr("none of crash, 500, log"));
  EXPECT_THAT(why_not_inject(service, "crash"), HasSubstr("not marked"));
  service.drill.marked = true;
  EXPECT_THAT(why_not_inject(service, "crash"), HasSubstr("drill.inject"));
  service.drill.inject = {"crash", "500", "log"};
  EXPECT_EQ(why_not_inject(service, "crash"), "");
  EXPECT_THAT(why_not_inject(service, "500"), HasSubstr("fault_url"));
  EXPECT_THAT(why_not_inject(service, "log"), HasSubstr("drill.log"));
  service.drill.log = "/var/log/app.log";
  EXPECT_THAT(why_not_inject(service, "log"), HasSubstr("no line"));
}

class DrillTest : public testing::Test {
 protected:
  DrillTest() : place_(directory_ / "shop") {
    place_.release("v1");
    place_.release("v2");
    place_.link("v1");
    settings_.state_directory = directory_ / "state";
    settings_.services.push_back(service_on(place_, {"shop", "prod"}));
    config::CheckSettings health;
    health.name = "health";
    health.interval = 20ms;
    health.timeout = 2s;
    settings_.services[0].checks.push_back(health);
    config::ChannelSettings channel;
    channel.name = "oncall";
    channel.type = config::ChannelSettings::Type::exec;
    channel.command = {"/bin/sh", "-c", "cat >> " + (directory_ / "pages")};
    settings_.notify.push_back(channel);
  }
  void start() {
    daemon_.emplace(settings_, groups_of(kRules), place_, broken_);
    ASSERT_TRUE(daemon_->start());
    ASSERT_TRUE(daemon_->until([&] { return daemon_->standing("v1") == "good"; }));
    place_.link("v2");
    ASSERT_TRUE(daemon_->until([&] { return daemon_->ready(); })) << daemon_->engine().readiness().dump();
  }
  Result<CommandAnswer> drill(const std::string& inject = "", const std::string& reason = "monthly") {
    DrillCommand command;
    command.service = {"shop", "prod"};
    command.reason = reason;
    command.principal = "uid:0";
    command.inject = inject;
    return daemon_->run(daemon_->engine().insight().drill(command));
  }
  Json links(const std::string& operation) {
    const auto evidence = daemon_->run(daemon_->engine().insight().evidence({"shop", "prod"}, operation, ""));
    return evidence ? (*evidence)["bundle"]["drill"] : Json();
  }
  std::string pages() const {
    std::ifstream file(directory_ / "pages");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempDir directory_;
  Place place_;
  config::Settings settings_;
  std::set<std::string> broken_;
  std::optional<Daemon> daemon_;
};

TEST_F(DrillTest, WithoutInjectionEveryLinkHoldsAPageArrivesAndNothingIsSwitched) {
  start();

  const auto answer = drill();
  ASSERT_TRUE(answer);
  ASSERT_EQ(answer->code, ExitCode::success) << answer->body.dump();
  ASSERT_TRUE(daemon_->until([&] { return !daemon_->ended.empty(); }));

  const record::OperationRow& row = daemon_->ended[0];
  EXPECT_EQ(row.request.kind, OperationKind::drill);
  EXPECT_EQ(row.status, OperationStatus::succeeded) << row.detail;
  EXPECT_EQ(place_.live(), "v2");
  EXPECT_EQ(daemon_->standing("v2"), "candidate");
  EXPECT_THAT(pages(), HasSubstr("DRILL"));
  const Json chain = links(answer->operation);
  EXPECT_EQ(chain.elements().size(), 6U) << chain.dump();
  for (const Json& link : chain.elements()) EXPECT_EQ(link["state"].string_or(""), "passed") << link.dump();
  EXPECT_TRUE(daemon_->until([&] { return daemon_->engine().numbers().at(0).drilled.has_value(); }));
  EXPECT_EQ(daemon_->shop()["phase"].string_or(""), "watching") << "what comes next is judged as ever";
}

TEST_F(DrillTest, APageThatDoesNotArriveIsWhereTheChainBroke) {
  settings_.notify[0].command = {"/bin/false"};
  start();

  const auto answer = drill();
  ASSERT_TRUE(answer);
  ASSERT_TRUE(daemon_->until([&] { return !daemon_->ended.empty(); }));

  EXPECT_EQ(daemon_->ended[0].status, OperationStatus::failed);
  EXPECT_THAT(daemon_->ended[0].detail, HasSubstr("broke at page"));
  EXPECT_FALSE(daemon_->engine().numbers().at(0).drilled.has_value());
}

TEST_F(DrillTest, WhatMayNotBeDrilledIsRefusedWithTheReason) {
  start();

  EXPECT_FALSE(drill("", " ")) << "a reason is needed";
  const auto not_marked = drill("crash");
  ASSERT_TRUE(not_marked);
  EXPECT_EQ(not_marked->code, ExitCode::refused);
  EXPECT_THAT(not_marked->body["message"].string_or(""), HasSubstr("not marked"));
  EXPECT_TRUE(daemon_->ended.empty());
}

TEST_F(DrillTest, WithoutATargetTheDrillSaysSoAndGoesNoFurther) {
  daemon_.emplace(settings_, groups_of(kRules), place_, broken_);
  ASSERT_TRUE(daemon_->start());
  ASSERT_TRUE(daemon_->until([&] { return daemon_->standing("v1") == "good"; }));

  const auto answer = drill();
  ASSERT_TRUE(answer);
  ASSERT_TRUE(daemon_->until([&] { return !daemon_->ended.empty(); }));

  EXPECT_THAT(daemon_->ended[0].detail, HasSubstr("broke at pre_flight: target"));
  EXPECT_EQ(pages(), "");
}

}  // namespace
}  // namespace rollbackd::engine
