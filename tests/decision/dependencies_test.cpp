// What a service needs and its checks of it: failing they hold, and they never count as its own health.
#include "tests/decision/machine.hpp"

namespace rollbackd::decision {
namespace {

using Guards = std::vector<std::string>;

/// The shop with a check of its database and a service that it depends on.
config::ServiceSettings settings_with_dependencies() {
  config::ServiceSettings settings = test_settings();
  config::CheckSettings database;
  database.name = "db-port";
  database.type = config::CheckType::tcp;
  database.dependency = "orders-db";
  settings.checks.push_back(database);
  settings.depends_on = {"pay/prod"};
  return settings;
}

ReprobeAnswer pay(bool answered, bool healthy) { return {{"pay", "prod"}, "health", answered, healthy, healthy ? "" : "503"}; }
ReprobeAnswer database(bool healthy) { return {{"shop", "prod"}, "db-port", true, healthy, healthy ? "" : "connection refused"}; }

TEST(Dependencies, OneThatFailsHoldsWithAPageThatNamesIt) {
  Machine m(settings_with_dependencies());
  m.v2_bakes().crashed();
  auto answers = m.answers("v1");
  answers.dependencies = {pay(true, true), database(false)};

  m.send(answers);

  EXPECT_EQ(m.refused(), Guards{"dependency_healthy"});
  EXPECT_EQ(m.pages(), 1);
  ASSERT_NE(m.find<action::Notify>(), nullptr);
  EXPECT_NE(m.find<action::Notify>()->notification.text.find("orders-db (connection refused)"), std::string::npos)
      << m.find<action::Notify>()->notification.text;
}

TEST(Dependencies, AFailingServiceThatItDependsOnHoldsByItsName) {
  Machine m(settings_with_dependencies());
  m.v2_bakes().crashed();
  auto answers = m.answers("v1");
  answers.dependencies = {pay(true, false), database(true)};

  m.send(answers);

  EXPECT_EQ(m.refused(), Guards{"dependency_healthy"});
  EXPECT_NE(m.find<action::Notify>()->notification.text.find("pay/prod (503)"), std::string::npos);
}

TEST(Dependencies, ThatAreWellOrDidNotAnswerHoldNothing) {
  Machine m(settings_with_dependencies());
  m.v2_bakes().crashed();
  auto answers = m.answers("v1");
  answers.dependencies = {pay(false, false), database(true)};

  m.send(answers);

  EXPECT_EQ(m.count<action::Operate>(), 1);
}

TEST(Dependencies, TheirChecksDoNotKeepTheServiceWarming) {
  Machine m(settings_with_dependencies());
  m.v2_bakes();

  EXPECT_FALSE(m.incident->view(m.now).warming) << "health was well once; db-port never spoke";
}

TEST(Dependencies, TcpExecAndFileChecksOfTheServiceItselfWarmAsHttpDoes) {
  for (const auto type : {config::CheckType::tcp, config::CheckType::exec, config::CheckType::file}) {
    auto settings = test_settings();
    settings.checks[0].type = type;
    Machine m(settings);
    m.switched("v1").started();
    EXPECT_TRUE(m.incident->view(m.now).warming);

    m.health(true);

    EXPECT_FALSE(m.incident->view(m.now).warming);
  }
}

TEST(Configuration, ARefusedOneCountsBeforeTheStartAndWhileWarming) {
  Machine before;
  before.v2_bakes().switched("v3");
  before.fires("ConfigurationInvalid", {"config_valid"});
  EXPECT_EQ(before.count<action::Reprobe>(), 1);

  Machine warming;
  warming.v2_bakes().switched("v3").started();
  warming.fires("ConfigurationInvalid", {"config_valid"});
  EXPECT_EQ(warming.count<action::Reprobe>(), 1);

  Machine mixed;
  mixed.v2_bakes().switched("v3");
  mixed.fires("Mixed", {"config_valid", "log_matches_total"});
  EXPECT_EQ(mixed.count<action::Reprobe>(), 0) << "what else it reads may be the release before's";
}

}  // namespace
}  // namespace rollbackd::decision
