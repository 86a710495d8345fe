// What a service needs: seen by the judge, asked before anything is done, and no part of its own health.
#include <gmock/gmock.h>

#include "engine/service.hpp"
#include "tests/engine/daemon.hpp"

namespace rollbackd::engine {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const ServiceKey kShop{"shop", "prod"};

Sample probe_success(double value) {
  return Sample{Labels{{"__name__", "probe_success"}, {"service", "shop"}, {"environment", "prod"}, {"check", "db"}, {"instance", "db:1"}},
                value, false};
}

TEST(DependencyBatches, SayDependencyUpAloneWithTheProbesInstance) {
  config::CheckSettings settings;
  settings.name = "db";
  settings.dependency = "orders-db";
  Batch batch;
  batch.service = kShop;
  batch.check = "db";
  batch.healthy = false;
  batch.samples = {probe_success(0)};

  speak_of_dependency(settings, batch);

  ASSERT_EQ(batch.samples.size(), 1u);
  EXPECT_EQ(batch.samples[0].labels.name(), "dependency_up");
  EXPECT_EQ(batch.samples[0].labels.get("dependency"), "orders-db");
  EXPECT_EQ(batch.samples[0].labels.get("instance"), "db:1");
  EXPECT_EQ(batch.samples[0].value, 0);
}

TEST(DependencyBatches, SayNothingWhereTheCheckCouldNotLookAndLeaveOtherChecksAlone) {
  config::CheckSettings settings;
  settings.name = "db";
  Batch own;
  own.healthy = true;
  own.samples = {probe_success(1)};
  speak_of_dependency(settings, own);
  EXPECT_EQ(own.samples[0].labels.name(), "probe_success");

  settings.dependency = "orders-db";
  Batch blind;
  blind.unobserved = "the name is not resolved";
  speak_of_dependency(settings, blind);
  EXPECT_THAT(blind.samples, IsEmpty());
}

/// shop and pay on disk; the web server of both answers 500 while shop's live release is broken.
class DependenciesTest : public testing::Test {
 protected:
  DependenciesTest() {
    settings_.state_directory = directory_ / "state";
    for (const Place* place : {&shop_, &pay_}) {
      for (const char* release : {"v1", "v2"}) place->release(release);
      place->link("v1");
    }
    settings_.services.push_back(service_on(shop_, kShop));
    settings_.services.push_back(service_on(pay_, {"pay", "prod"}));
    for (auto& service : settings_.services) service.checks.push_back(check("health"));
    settings_.services[1].automation = config::Automation::off;
  }
  static config::CheckSettings check(const std::string& name, const std::string& dependency = "") {
    config::CheckSettings out;
    out.name = name;
    out.interval = 20ms;
    out.timeout = 2s;
    out.dependency = dependency;
    return out;
  }
  void start(const std::string& rules = kRules) {
    daemon_.emplace(settings_, groups_of(rules), shop_, broken_);
    const Result<> started = daemon_->start();
    ASSERT_TRUE(started) << started.error().text();
  }
  Engine& engine() { return daemon_->engine(); }
  /// The last hold's evidence of the guard dependency_healthy; empty while there is none.
  std::string held_by_dependency() {
    for (const Decision& decision : daemon_->decided)
      for (const GuardAnswer& guard : decision.guards)
        if (decision.kind == DecisionKind::hold && guard.guard == "dependency_healthy" && guard.asked && !guard.yes) return guard.evidence;
    return "";
  }

  TempDir directory_;
  Place shop_{directory_ / "shop"}, pay_{directory_ / "pay"};
  std::set<std::string> broken_;
  config::Settings settings_;
  std::optional<Daemon> daemon_;
};

TEST_F(DependenciesTest, ARollbackIsHeldWhileACheckOfADependencyFails) {
  settings_.services[0].checks.push_back(check("db", "orders-db"));
  start();
  broken_ = {"v2"};

  shop_.link("v2");

  ASSERT_TRUE(daemon_->until([&] { return daemon_->held() && !held_by_dependency().empty(); })) << daemon_->shop().dump();
  EXPECT_THAT(held_by_dependency(), HasSubstr("orders-db"));
  EXPECT_EQ(shop_.live(), "v2");
  EXPECT_THAT(daemon_->ended, IsEmpty());
}

TEST_F(DependenciesTest, ARollbackIsHeldWhileAServiceThatItDependsOnIsNotWell) {
  settings_.services[0].depends_on = {"pay/prod"};
  start();
  broken_ = {"v2"};

  shop_.link("v2");

  ASSERT_TRUE(daemon_->until([&] { return daemon_->held() && !held_by_dependency().empty(); })) << daemon_->shop().dump();
  EXPECT_THAT(held_by_dependency(), HasSubstr("pay/prod"));
}

TEST_F(DependenciesTest, APersonIsRefusedUnlessLenient) {
  settings_.services[0].checks.push_back(check("db", "orders-db"));
  settings_.services[0].automation = config::Automation::observe;
  start();
  broken_ = {"v2"};
  shop_.link("v2");
  ASSERT_TRUE(daemon_->until([&] { return daemon_->held(); }));
  RollbackCommand command;
  command.service = {"shop", "prod"};
  command.reason = "a person wants it";
  command.principal = "uid:0";

  const auto refused = daemon_->run(engine().rollback(command));
  command.lenient = true;
  const auto taken = daemon_->run(engine().rollback(command));

  EXPECT_THAT(refused.value().body["message"].string_or(""), HasSubstr("dependency_healthy"));
  EXPECT_EQ(taken.value().code, ExitCode::success) << taken.value().body.dump();
  ASSERT_TRUE(daemon_->until([&] { return !daemon_->ended.empty(); }));
}

TEST_F(DependenciesTest, ItsChecksAreNoPartOfTheServicesOwnHealth) {
  settings_.services[0].checks.push_back(check("db", "orders-db"));
  start(R"({"groups": [{"name": "shop", "rules": [
    {"alert": "Down", "expr": "probe_success{check=\"db\"} == 0", "labels": {"rollbackd_action": "rollback"}},
    {"alert": "NeedsDown", "expr": "dependency_up == 0", "labels": {"rollbackd_action": "hold"}}]}]})");
  broken_ = {"v2"};

  shop_.link("v2");

  ASSERT_TRUE(daemon_->until([&] { return !daemon_->decided.empty(); }));
  EXPECT_EQ(daemon_->decided.front().kind, DecisionKind::hold);
  EXPECT_THAT(daemon_->decided.front().evidence.at(0), HasSubstr("NeedsDown"));
  EXPECT_THAT(daemon_->shop()["phase"].string_or(""), "watching") << "a page, and no incident";
}

TEST_F(DependenciesTest, TheHealthOfAServiceReachesThoseThatDependOnItWhenItChanges) {
  settings_.services[0].depends_on = {"pay/prod", "nobody/prod"};
  settings_.services[0].automation = config::Automation::observe;
  start(R"({"groups": [{"name": "shop", "rules": [
    {"alert": "Pay", "expr": "dependency_up{dependency=\"pay/prod\"} == 0", "labels": {"rollbackd_action": "hold"}},
    {"alert": "Nobody", "expr": "dependency_up{dependency=\"nobody/prod\"}", "labels": {"rollbackd_action": "hold"}}]}]})");

  const auto value = [&]() -> std::optional<double> {
    std::vector<series::Matcher> matchers{series::Matcher::make("__name__", series::Matcher::Op::equal, "dependency_up").value()};
    const auto found = engine().judge().store().select_latest(matchers, Instant::from_seconds(4e9), Duration(3'000'000'000s), &kShop);
    return found.empty() ? std::nullopt : std::optional(found.front().points.front().value);
  };
  ASSERT_TRUE(daemon_->until([&] { return value() == 1.0; }));
  broken_ = {"v1"};
  ASSERT_TRUE(daemon_->until([&] { return value() == 0.0; }));
  ASSERT_TRUE(daemon_->until([&] { return !daemon_->decided.empty(); }));
  EXPECT_THAT(daemon_->decided.front().evidence.at(0), HasSubstr("Pay"));
  EXPECT_EQ(daemon_->decided.size(), 1u);

  broken_.clear();
  EXPECT_TRUE(daemon_->until([&] { return value() == 1.0; }));
}

}  // namespace
}  // namespace rollbackd::engine
