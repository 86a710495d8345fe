// What people are told of rules: explain's and status's view of a service.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/daemon.hpp"

namespace rollbackd::engine {
namespace {

using testing::HasSubstr;

constexpr const char* kMany = R"json({"groups": [{"name": "shop", "interval": "1s", "rules": [
  {"alert": "Down", "expr": "probe_success == 0"}, {"alert": "Slow", "expr": "probe_duration_seconds > 100"},
  {"alert": "Share", "expr": "probe_success / on () group_left () sum(probe_success) > 2"},
  {"record": "up:sum", "expr": "sum by (service, environment) (probe_success)"},
  {"alert": "Unknown", "expr": "verification_success == 0"}]}]})json";

TEST(Explain, EachRuleSaysWhenItRunsWhatItSaysAndWhatItLooksAt) {
  TempDir directory;
  Place place(directory / "shop");
  place.release("v1");
  place.link("v1");
  config::Settings settings;
  settings.state_directory = directory / "state";
  settings.services.push_back(service_on(place, {"shop", "prod"}));
  settings.services[0].policy.trust_live = false;
  config::CheckSettings health;
  health.name = "health";
  health.interval = 20ms;
  health.timeout = 2s;
  settings.services[0].checks.push_back(health);
  const std::set<std::string> broken;
  Daemon daemon(settings, groups_of(kMany), place, broken);
  ASSERT_TRUE(daemon.start());
  const auto rule = [&](const std::string& name) -> Json {
    const Json all = daemon.engine().explain({"shop", "prod"}).value();
    for (const Json& one : all["rules"].elements())
      if (one["rule"].string_or("") == name) return one;
    return {};
  };
  ASSERT_TRUE(daemon.until([&] { return rule("Share")["verdict"].string_or("") == "ok"; })) << daemon.shop().dump();

  EXPECT_EQ(rule("Down")["runs"].string_or(""), "after each batch");
  EXPECT_EQ(rule("Down")["verdict"].string_or(""), "ok");
  EXPECT_FALSE(rule("Down")["since"].string_or("").empty());
  ASSERT_EQ(rule("Down")["values"].elements().size(), 1U) << "what is compared, although nothing breaches";
  EXPECT_EQ(rule("Down")["values"].elements()[0]["value"].string_or(""), "1");
  EXPECT_EQ(rule("Share")["runs"].string_or(""), "every 1s: on(...) matches without service and environment");
  EXPECT_EQ(rule("up:sum")["values"].elements().at(0)["value"].string_or(""), "1");
  EXPECT_FALSE(rule("up:sum")["alerting"].bool_or(true));

  const auto reports = daemon.engine().judge().report();
  ASSERT_EQ(reports.size(), 5U);
  EXPECT_EQ(reports[0].health, "ok");
  EXPECT_TRUE(reports[0].last_evaluation);
  EXPECT_THAT(reports[2].why_on_interval, HasSubstr("on(...)"));
}

}  // namespace
}  // namespace rollbackd::engine
