// Documents to settings: the short form and the long one, defaults with their origin, and what wrong input is told.
#include "config/load.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace rollbackd::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

Loaded load_text(const std::string& text, const std::string& path = "/etc/r/r.json", const std::vector<SourceFile>& more = {}) {
  return load(SourceFile{path, text}, more, [](const std::string& pattern) {
    if (pattern.find("none") != pattern.npos) return std::vector<std::string>{};
    if (pattern == "/etc/r/rules/*") return std::vector<std::string>{"/etc/r/rules/a.json", "/etc/r/rules/b.json"};
    return std::vector<std::string>{pattern};
  });
}

std::vector<std::string> problems(const Loaded& loaded, bool warnings = false) {
  std::vector<std::string> out;
  for (const Problem& p : loaded.problems)
    if (p.warning == warnings) out.push_back(p.text());
  return out;
}

std::string shown(const Loaded& loaded, const std::string& path) {
  for (const Shown& s : loaded.shown)
    if (s.path == path) return s.value + " " + (s.origin.file.empty() ? "default" : s.origin.file + ":" + std::to_string(s.origin.line));
  return "nothing";
}

const char* const kShort = R"({ "services": [ { "name": "shop-api", "environment": "prod", "automation": "observe",
  "unit": "shop-api.service", "current": "/srv/shop-api/current", "url": "http://127.0.0.1:8080/health" } ] })";

/// One service on line 2 onward, with `more` as its last members.
std::string with(const std::string& more) {
  return "{\"services\": [{\"name\": \"a\", \"environment\": \"prod\", \"automation\": \"off\", \"current\": \"/srv/a/current\",\n" + more +
         "}]}";
}
Loaded load_with(const std::string& more) { return load_text(with(more)); }

TEST(Load, TheSixLineExampleLoadsWithoutAProblem) {
  const Loaded loaded = load_text(kShort);

  EXPECT_THAT(problems(loaded), IsEmpty());
  EXPECT_THAT(problems(loaded, true), IsEmpty());
  ASSERT_EQ(loaded.settings.services.size(), 1U);
  const ServiceSettings& s = loaded.settings.services[0];
  EXPECT_EQ(s.key.text(), "shop-api/prod");
  EXPECT_EQ(s.automation, Automation::observe);
  ASSERT_EQ(s.components.size(), 1U);
  EXPECT_EQ(s.components[0].current, "/srv/shop-api/current");
  EXPECT_EQ(s.components[0].releases, "/srv/shop-api/releases");
  EXPECT_EQ(s.components[0].process.manager, ManagerType::systemd);
  EXPECT_EQ(s.components[0].process.unit, "shop-api.service");
  ASSERT_EQ(s.checks.size(), 2U) << "systemd tells how processes end, so there is a process check";
  EXPECT_EQ(s.checks[1].type, CheckType::process);
  EXPECT_EQ(s.checks[0].name, "health");
  EXPECT_EQ(s.checks[0].url, "http://127.0.0.1:8080/health");
  ASSERT_EQ(s.verify.size(), 1U);
  EXPECT_EQ(s.verify[0].type, TestType::checks_healthy);
  EXPECT_EQ(s.verify[0].name, "checks_healthy");
}

TEST(Load, TheShortCommandRunsUnderAKeeperAndIsWatched) {
  const Loaded loaded = load_with(R"("command": ["/srv/a/current/bin/server", "--port", "80"])");

  EXPECT_THAT(problems(loaded), IsEmpty());
  const ServiceSettings& s = loaded.settings.services[0];
  const ProcessSettings& process = s.components[0].process;
  EXPECT_EQ(process.manager, ManagerType::supervised);
  EXPECT_THAT(process.command, ElementsAre("/srv/a/current/bin/server", "--port", "80"));
  EXPECT_EQ(process.working_directory, "/srv/a/current");
  EXPECT_EQ(process.output, "/var/lib/rollbackd/services/a.prod/output.log");
  ASSERT_EQ(s.checks.size(), 1U);
  EXPECT_EQ(s.checks[0].name, "process");
  EXPECT_EQ(s.checks[0].type, CheckType::process);
  EXPECT_EQ(s.checks[0].interval, 15s);
}

TEST(Load, AConfiguredProcessCheckReplacesTheAddedOne) {
  const Loaded loaded = load_with(R"("command": ["x"], "checks": [{"name": "alive", "type": "process", "interval": "5s"}])");

  EXPECT_THAT(problems(loaded), IsEmpty());
  ASSERT_EQ(loaded.settings.services[0].checks.size(), 1U);
  EXPECT_EQ(loaded.settings.services[0].checks[0].name, "alive");
  EXPECT_EQ(loaded.settings.services[0].checks[0].interval, 5s);
}

TEST(Load, TheLongFormReadsEverySetting) {
  const Loaded loaded = load_text(R"({
  "state_directory": "/s", "listen": "[::1]:1", "token_file": "tokens", "rule_files": ["rules/*"], "default_rules": false, "max_skew": "1s",
  "log_level": "debug", // a comment
  "environments": { "prod": { "bake_time": "5m", "budget": { "rollbacks": 3 } } },
  "notify": [ { "name": "oncall", "type": "webhook", "url_file": "secrets/url", "severity_min": "page" },
              { "name": "sms", "type": "exec", "command": ["sms"] } ],
  "services": [ { "name": "a", "environment": "prod", "automation": "automatic", "enforcement": "lenient",
    "components": [ { "name": "web", "driver": "symlink", "current": "/srv/a/live", "releases": "/srv/a/all",
      "process": { "manager": "supervised", "command": ["live/run"], "environment": {"PORT": "80"}, "user": "www-data", "stop_timeout": "3s",
                   "restart_delay": "0", "output": "/var/log/a.log", "output_bytes_max": 100000, "working_directory": "/srv/a" } } ],
    "checks": [ { "name": "health", "type": "http", "url": "http://localhost/h", "interval": "2s", "timeout": "1s", "method": "HEAD",
                  "headers": {"Host": "a"}, "status": [204, "300-302"], "body_bytes_max": 10, "keep_alive": false },
                { "name": "log", "type": "log", "path": "/var/log/a/*.log", "patterns": {"critical": "FATAL|panic"}, "from_beginning": true } ],
    "identity": { "url": "http://127.0.0.1:8080/version", "json_pointer": "/release" },
    "policy": { "budget": { "per": "12h" }, "cooldown": "20m", "deadline": { "step": "10s" }, "late": "automatic", "trust_existing": "live", },
    "verify": [ { "type": "exec", "command": ["true"] }, { "type": "exec", "command": ["false"] }, { "type": "identity" },
                { "type": "file_exists", "path": "bin/run" } ],
    "rule_files": ["a.json"] } ] })");

  EXPECT_THAT(problems(loaded), IsEmpty());
  EXPECT_THAT(problems(loaded, true), IsEmpty());
  const Settings& s = loaded.settings;
  EXPECT_EQ(s.socket, "/s/rollbackd.sock");
  EXPECT_EQ(s.token_file, "/etc/r/tokens");
  EXPECT_THAT(s.rule_files, ElementsAre("/etc/r/rules/a.json", "/etc/r/rules/b.json"));
  EXPECT_FALSE(s.default_rules);
  EXPECT_EQ(s.log_level, "debug");
  ASSERT_EQ(s.notify.size(), 2U);
  EXPECT_EQ(s.notify[0].url_file, "/etc/r/secrets/url");
  EXPECT_EQ(s.notify[0].severity_min, 3);
  EXPECT_EQ(s.notify[1].type, ChannelSettings::Type::exec);
  const ServiceSettings& a = s.services.at(0);
  EXPECT_EQ(a.enforcement, Enforcement::lenient);
  EXPECT_EQ(a.components[0].name, "web");
  EXPECT_EQ(a.components[0].process.restart_delay, 0s);
  EXPECT_EQ(a.components[0].process.output_bytes_max, 100000);
  EXPECT_THAT(a.components[0].process.environment, ElementsAre(Pair("PORT", "80")));
  ASSERT_EQ(a.checks.size(), 3U) << "health, log and the process";
  EXPECT_THAT(a.checks[0].status, ElementsAre("204", "300-302"));
  EXPECT_FALSE(a.checks[0].keep_alive);
  EXPECT_EQ(a.checks[1].type, CheckType::log);
  EXPECT_EQ(a.checks[1].interval, 15s);
  EXPECT_TRUE(a.checks[1].from_beginning);
  EXPECT_EQ(a.identity.json_pointer, "/release");
  EXPECT_EQ(a.policy.bake_time, 5min) << "from the environment";
  EXPECT_EQ(a.policy.budget_rollbacks, 3) << "from the environment, beside the service's own per";
  EXPECT_EQ(a.policy.budget_per, 12h);
  EXPECT_EQ(a.policy.deadline_step, 10s);
  EXPECT_EQ(a.policy.deadline_standard, 60s);
  EXPECT_TRUE(a.policy.late_automatic);
  EXPECT_TRUE(a.policy.trust_live);
  std::vector<std::string> names;
  for (const TestSettings& t : a.verify) names.push_back(t.name);
  EXPECT_THAT(names, ElementsAre("exec", "exec_2", "identity", "file_exists"));
  EXPECT_THAT(a.rule_files, ElementsAre("/etc/r/a.json"));
}

TEST(Load, TheTablesDefaultsAreTheStructsDefaults) {
  const Loaded loaded = load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "off", "current": "/a/current",
    "checks": [{"name": "h", "type": "http", "url": "http://a"}]}]})");

  const Settings plain;
  const Settings& s = loaded.settings;
  EXPECT_EQ(s.state_directory, plain.state_directory);
  EXPECT_EQ(s.listen, plain.listen);
  EXPECT_EQ(s.default_rules, plain.default_rules);
  EXPECT_EQ(s.max_skew, plain.max_skew);
  EXPECT_EQ(s.log_level, plain.log_level);
  const PolicySettings policy;
  const PolicySettings& p = s.services.at(0).policy;
  EXPECT_EQ(p.bake_time, policy.bake_time);
  EXPECT_EQ(p.start_grace, policy.start_grace);
  EXPECT_EQ(p.settle, policy.settle);
  EXPECT_EQ(p.cooldown, policy.cooldown);
  EXPECT_EQ(p.budget_rollbacks, policy.budget_rollbacks);
  EXPECT_EQ(p.budget_per, policy.budget_per);
  EXPECT_EQ(p.max_steps_back, policy.max_steps_back);
  EXPECT_EQ(p.deadline_standard, policy.deadline_standard);
  EXPECT_EQ(p.deadline_emergency, policy.deadline_emergency);
  EXPECT_EQ(p.deadline_step, policy.deadline_step);
  EXPECT_EQ(p.late_automatic, policy.late_automatic);
  EXPECT_EQ(p.trust_live, policy.trust_live);
  const CheckSettings check;
  const CheckSettings& c = s.services[0].checks.at(0);
  EXPECT_EQ(c.interval, check.interval);
  EXPECT_EQ(c.timeout, check.timeout);
  EXPECT_EQ(c.method, check.method);
  EXPECT_EQ(c.status, check.status);
  EXPECT_EQ(c.body_bytes_max, check.body_bytes_max);
  EXPECT_EQ(c.keep_alive, check.keep_alive);
  const TestSettings test;
  EXPECT_EQ(s.services[0].verify.at(0).for_, test.for_);
  EXPECT_EQ(s.services[0].verify[0].within, test.within);
  EXPECT_EQ(s.services[0].components.at(0).process.manager, ManagerType::none);
}

TEST(Load, YamlGivesTheSameSettingsAsJson) {
  const Loaded json = load_text(kShort);
  const Loaded yaml = load_text(
      "services:\n- name: shop-api\n  environment: prod\n  automation: observe\n  unit: shop-api.service\n  current: "
      "/srv/shop-api/current\n"
      "  url: http://127.0.0.1:8080/health\n",
      "/etc/r/r.yaml");

  EXPECT_THAT(problems(yaml), IsEmpty());
  std::vector<std::string> a, b;
  for (const Shown& s : json.shown) a.push_back(s.path + "=" + s.value);
  for (const Shown& s : yaml.shown) b.push_back(s.path + "=" + s.value);
  EXPECT_EQ(a, b);
}

TEST(Load, EverySettingIsShownWithItsOrigin) {
  const Loaded loaded = load_text(R"({ "environments": {"prod": {"bake_time": "5m"}},
 "services": [{"name": "a", "environment": "prod", "automation": "off", "current": "/srv/a/current",
   "policy": {"cooldown": "20m"}, "url": "http://localhost",
   "checks": [{"name": "b", "type": "http", "url": "http://localhost", "headers": {"Authorization": "Bearer x"}}]}]})");

  EXPECT_THAT(problems(loaded), IsEmpty());
  EXPECT_EQ(shown(loaded, "listen"), "\"127.0.0.1:9474\" default");
  EXPECT_EQ(shown(loaded, "socket"), "\"/var/lib/rollbackd/rollbackd.sock\" default");
  EXPECT_EQ(shown(loaded, "services[0].policy.bake_time"), "\"5m\" /etc/r/r.json:1");
  EXPECT_EQ(shown(loaded, "services[0].policy.cooldown"), "\"20m\" /etc/r/r.json:3");
  EXPECT_EQ(shown(loaded, "services[0].policy.budget.rollbacks"), "2 default");
  EXPECT_EQ(shown(loaded, "services[0].components[0].current"), "\"/srv/a/current\" /etc/r/r.json:2");
  EXPECT_EQ(shown(loaded, "services[0].components[0].releases"), "\"/srv/a/releases\" default");
  EXPECT_EQ(shown(loaded, "services[0].checks[0].url"), "\"http://localhost\" /etc/r/r.json:3");
  EXPECT_EQ(shown(loaded, "services[0].checks[1].headers"), R"-({"Authorization":"(hidden)"} /etc/r/r.json:4)-");
  EXPECT_EQ(shown(loaded, "services[0].verify[0].type"), "\"checks_healthy\" default");
}

TEST(Load, EveryErrorIsToldAtOnceWithItsPlaceAndRemedy) {
  const Loaded loaded = load_text(R"({
  "listen": "0.0.0.0:80",
  "max_skew": 5,
  "services": [
    { "name": "a b", "environment": "prod",
      "current": "/srv/a/current",
      "polcy": {},
      "policy": { "cooldown": "5 minutes", "settle": "2m", "budget": { "rollbacks": -1 } },
      "checks": [ { "name": "h", "type": "http" }, { "name": "l", "type": "log", "path": "/l", "patterns": {"p": "a("}, "url": "x" } ] }
  ]
})");

  EXPECT_FALSE(loaded.ok());
  EXPECT_THAT(problems(loaded),
              ElementsAre(HasSubstr("/etc/r/r.json:2:13: \"0.0.0.0:80\" is not a loopback address"),
                          "/etc/r/r.json:3:15: \"max_skew\" must be a duration, found the number 5 (write it in quotes with a unit, like "
                          "\"500ms\", \"30s\" or \"5m\")",
                          HasSubstr("/etc/r/r.json:5:5: this service has no \"automation\" (write \"automation\": \"observe\""),
                          HasSubstr("/etc/r/r.json:5:15: \"a b\" is not a valid name"),
                          "/etc/r/r.json:7:7: unknown key \"polcy\" in this service (did you mean \"policy\"?)",
                          HasSubstr("/etc/r/r.json:8:31: \"5 minutes\" is not a duration"),
                          HasSubstr("/etc/r/r.json:8:54: \"settle\" is 2m, which is more than the most, 1m"),
                          HasSubstr("/etc/r/r.json:8:85: \"rollbacks\" is -1, which is less than the least, 0"),
                          HasSubstr("/etc/r/r.json:9:19: this check has no \"url\" (write \"url\": "),
                          HasSubstr("/etc/r/r.json:9:114: \"a(\" is not a regular expression"),
                          "/etc/r/r.json:9:121: \"url\" means nothing where \"type\" is \"log\" (remove it)"));
}

TEST(Load, WhatTheDesignNamesButThisVersionLacksIsAClearError) {
  const auto first = [](const std::string& more) { return problems(load_with(more)); };

  EXPECT_THAT(first(R"("url": "https://a/")"), ElementsAre(HasSubstr("an https address is not available in this version")));
  EXPECT_THAT(problems(load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "off",
 "components": [{"current": "/c", "driver": "git"}]}]})")),
              ElementsAre(HasSubstr("/etc/r/r.json:2:45: \"driver\": \"git\" is not available in this version (use \"symlink\"")));
}

TEST(Load, ComponentsThatMoveTogetherHaveTheirOwnNamesAndLinksAndTheFirstHasTheProcess) {
  const auto with = [](const std::string& components) {
    return load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "off",
 "components": [)" + components +
                     "]}]}");
  };
  const Loaded two = with(R"({"name": "app", "current": "/c", "process": {"manager": "systemd", "unit": "a.service"}},
 {"name": "config", "current": "/d/current"})");
  EXPECT_THAT(problems(two), ::testing::IsEmpty());
  ASSERT_EQ(two.settings.services[0].components.size(), 2U);
  EXPECT_EQ(two.settings.services[0].components[1].releases, "/d/releases");

  EXPECT_THAT(problems(with(R"({"current": "/c"}, {"name": "b", "current": "/c"})")),
              ElementsAre(HasSubstr("the link /c belongs to the component \"app\" too")));

  const auto process = [](const std::string& more) {
    return R"("process": {"manager": "supervised", "command": ["/bin/a"])" + more + "}}";
  };
  const Loaded own = with(R"({"current": "/c", )" + process("") + R"(, {"name": "worker", "current": "/d", )" + process(""));
  EXPECT_THAT(problems(own), ::testing::IsEmpty());
  ASSERT_EQ(own.settings.services[0].components.size(), 2U);
  EXPECT_EQ(own.settings.services[0].components[0].process.output, "/var/lib/rollbackd/services/a.p/output.log");
  EXPECT_EQ(own.settings.services[0].components[1].process.output, "/var/lib/rollbackd/services/a.p/worker/output.log");
  EXPECT_THAT(problems(with(R"({"current": "/c", )" + process(R"(, "output": "/o")") + R"(, {"name": "worker", "current": "/d", )" +
                            process(R"(, "output": "/o")"))),
              ElementsAre(HasSubstr("the process of the component \"app\" writes to /o too")));
  EXPECT_THAT(problems(with(R"({"current": "/c"}, {"current": "/d"})")), ElementsAre(HasSubstr("app")));
  EXPECT_THAT(problems(with(R"({"name": "config", "current": "/c"},
 {"name": "app", "current": "/d", "process": {"manager": "systemd", "unit": "a.service"}})")),
              ::testing::Contains(HasSubstr("the first component has no process, and this one has (put \"app\" first")));
  std::string nine;
  for (int i = 0; i < 9; ++i)
    nine += std::string(i ? ", " : "") + R"({"name": "c)" + std::to_string(i) + R"(", "current": "/c)" + std::to_string(i) + "\"}";
  EXPECT_THAT(problems(with(nine)), ElementsAre(HasSubstr("a service has at most 8 components")));
}

TEST(Load, AnEnvironmentsWindowsStandBesideAServicesOwnAndItsEnforcementIsADefault) {
  const Loaded loaded = load_text(R"({ "environments": { "prod": { "enforcement": "lenient", "bake_time": "7m",
  "windows": [ { "name": "Black Friday", "begins": "Thu *-11-22..28", "length": "5d", "time_zone": "Europe/Berlin" } ] } },
 "services": [
  {"name": "a", "environment": "prod", "automation": "off", "current": "/a",
   "policy": {"windows": [{"kind": "maintenance", "begins": "Sun 02:00", "length": "1h"}]}},
  {"name": "b", "environment": "prod", "automation": "off", "current": "/b", "enforcement": "strict"},
  {"name": "c", "environment": "test", "automation": "off", "current": "/c"}]})");

  EXPECT_THAT(problems(loaded), IsEmpty());
  const auto& services = loaded.settings.services;
  ASSERT_EQ(services.at(0).policy.windows.size(), 2u);
  EXPECT_EQ(services[0].policy.windows[0].kind, WindowSettings::Kind::maintenance);
  EXPECT_EQ(services[0].policy.windows[1].name, "Black Friday");
  EXPECT_EQ(services[0].policy.windows[1].length, 5 * 24h);
  EXPECT_EQ(services[0].policy.bake_time, 7min);
  EXPECT_EQ(services[0].enforcement, Enforcement::lenient);
  EXPECT_EQ(services[1].enforcement, Enforcement::strict);
  EXPECT_EQ(services[1].policy.windows.size(), 1u);
  EXPECT_EQ(services[2].policy.windows.size(), 0u);
  EXPECT_EQ(services[2].enforcement, Enforcement::strict);
  const auto line_of = [&](const std::string& path) {
    for (const Shown& shown : loaded.shown)
      if (shown.path == path) return shown.origin.line;
    return -1;
  };
  EXPECT_EQ(line_of("services[0].policy.windows[0].begins"), 5);
  EXPECT_EQ(line_of("services[0].policy.windows[1].begins"), 2);
  EXPECT_EQ(line_of("services[1].policy.windows[0].begins"), 2);
  EXPECT_EQ(line_of("services[0].enforcement"), 1);
  EXPECT_EQ(line_of("services[1].policy.windows[0].kind"), 0) << "a default";
}

TEST(Load, AWindowThatCannotBeReadIsAnErrorWhereItIsWritten) {
  const auto first = [](const std::string& window) {
    return problems(load_text(R"({ "environments": { "p": { "windows": [ {)" + window + R"(} ] } },
 "services": [{"name": "a", "environment": "p", "automation": "off", "current": "/c"}]})"));
  };
  EXPECT_THAT(first(R"("begins": "Fry 17:00", "length": "1h")"),
              ElementsAre(AllOf(HasSubstr("/etc/r/r.json:1:"), HasSubstr("\"Fry\" is no calendar expression"), HasSubstr("Fri 17:00"))));
  EXPECT_THAT(first(R"("begins": "*-02-30", "length": "1h")"), ElementsAre(HasSubstr("never comes")));
  EXPECT_THAT(first(R"("begins": "daily")"), ElementsAre(HasSubstr("has no \"length\"")));
  EXPECT_THAT(first(R"("begins": "daily", "length": "1h", "time_zone": "../x")"), ElementsAre(HasSubstr("no name of a time zone")));
}

TEST(Load, GroupsAndDependenciesThatCannotBeMeantAreTold) {
  const auto told = [](const std::string& more, const std::string& of_a, const std::string& of_b) {
    return problems(load_text("{" + more + R"("services": [
 {"name": "a", "environment": "p", "automation": "off", "current": "/c")" +
                              of_a + R"(},
 {"name": "b", "environment": "p", "automation": "off", "current": "/d")" +
                              of_b + R"(}]})"));
  };
  EXPECT_THAT(told(R"("groups": [{"name": "g", "services": ["a/p", "b/p"]}],)", "", ""), IsEmpty());
  EXPECT_THAT(told(R"("groups": [{"name": "g", "services": ["a/p", "x/p"]}],)", "", ""), ElementsAre(HasSubstr("no service x/p")));
  EXPECT_THAT(told(R"("groups": [{"name": "g", "services": ["a/p", "a/p"]}],)", "", ""), ElementsAre(HasSubstr("stands twice")));
  EXPECT_THAT(told("", R"(, "depends_on": ["b/p"])", ""), IsEmpty());
  const Loaded cycle = load_text(R"({"services": [
 {"name": "a", "environment": "p", "automation": "off", "current": "/c", "depends_on": ["b/p"]},
 {"name": "b", "environment": "p", "automation": "off", "current": "/d", "depends_on": ["a/p"]}]})");
  EXPECT_THAT(problems(cycle, true), ElementsAre(HasSubstr("a/p depends on itself by way of others"), HasSubstr("b/p depends on itself")));
}

TEST(Load, TheDesignsLongServiceLoadsWithoutAnError) {
  const Loaded loaded = load_text(R"({ "services": [ {
    "name": "shop-api", "environment": "prod", "automation": "automatic", "enforcement": "strict",
    "components": [ { "name": "app", "driver": "symlink", "releases": "/srv/shop-api/releases", "current": "/srv/shop-api/current",
                      "process": { "manager": "systemd", "unit": "shop-api.service" } } ],
    "checks": [ { "name": "health", "type": "http", "url": "http://127.0.0.1:8080/health", "interval": "1s", "timeout": "500ms" },
                { "name": "app", "type": "scrape", "url": "http://127.0.0.1:8080/metrics", "interval": "5s" } ],
    "identity": { "url": "http://127.0.0.1:8080/version", "json_pointer": "/release" },
    "policy": { "bake_time": "10m", "deadline": { "standard": "60s", "emergency": "30s", "step": "30s" } },
    "verify": [ { "type": "checks_healthy", "for": "5s", "within": "30s" } ] } ] })");

  EXPECT_THAT(problems(loaded), IsEmpty());
  const ServiceSettings& s = loaded.settings.services.at(0);
  EXPECT_EQ(s.components.at(0).process.manager, ManagerType::systemd);
  EXPECT_EQ(s.components[0].process.unit, "shop-api.service");
  EXPECT_EQ(s.checks.at(1).type, CheckType::scrape);
}

/// The settings of the one check whose members are `members`.
CheckSettings check_of(const std::string& members) {
  const Loaded loaded = load_with("\"checks\": [{\"name\": \"x\", " + members + "}]");
  EXPECT_THAT(problems(loaded), IsEmpty()) << members;
  return loaded.settings.services.at(0).checks.at(0);
}

TEST(Load, EachTypeOfCheckHasItsOwnDefaults) {
  struct Wanted {
    const char* members;
    CheckType type;
    Duration interval, timeout;
  };
  const Wanted all[] = {
      {R"("type": "http", "url": "http://a")", CheckType::http, 1s, 500ms},
      {R"("type": "tcp", "address": "localhost:80")", CheckType::tcp, 1s, 500ms},
      {R"("type": "exec", "command": ["check_dummy"])", CheckType::exec, 30s, 10s},
      {R"("type": "systemd", "unit": "a.service")", CheckType::systemd, 15s, 5s},
      {R"("type": "scrape", "url": "http://a/metrics")", CheckType::scrape, 15s, 10s},
      {R"("type": "promql", "url": "http://a", "queries": {"a:b": "up"})", CheckType::promql, 15s, 10s},
      {R"("type": "config", "paths": ["/etc/a.conf"], "command": ["nginx", "-t"])", CheckType::config, 15s, 10s},
      {R"("type": "file", "path": "/var/a")", CheckType::file, 15s, 5s},
  };
  for (const Wanted& wanted : all) {
    const CheckSettings check = check_of(wanted.members);
    EXPECT_EQ(check.type, wanted.type) << wanted.members;
    EXPECT_EQ(check.interval, wanted.interval) << wanted.members;
    EXPECT_EQ(check.timeout, wanted.timeout) << wanted.members;
  }
}

TEST(Load, EverySettingOfTheNewChecksIsRead) {
  const CheckSettings tcp = check_of(
      R"("type": "tcp", "address": "[::1]:6379", "send": "PING\r\n", "expect": "^\\+PONG", "dependency": "redis", "interval": "5s")");
  EXPECT_EQ(tcp.address, "[::1]:6379");
  EXPECT_EQ(tcp.send, "PING\r\n");
  EXPECT_EQ(tcp.expect, "^\\+PONG");
  EXPECT_EQ(tcp.dependency, "redis");

  const CheckSettings exec =
      check_of(R"("type": "exec", "command": ["/p/check_x", "-w", "1"], "environment": {"A": "b"}, "output_bytes_max": 1024)");
  EXPECT_THAT(exec.command, ElementsAre("/p/check_x", "-w", "1"));
  EXPECT_THAT(exec.environment, ElementsAre(Pair("A", "b")));
  EXPECT_EQ(exec.output_bytes_max, 1024);

  const CheckSettings scrape = check_of(R"("type": "scrape", "url": "http://a/metrics", "keep": ["http_.*"], "drop": ["go_.*"],
    "sample_limit": 7, "username": "u", "password_file": "secrets/p")");
  EXPECT_EQ(scrape.job, "a") << "the service's name";
  EXPECT_EQ(scrape.body_bytes_max, 16 << 20);
  EXPECT_THAT(scrape.keep, ElementsAre("http_.*"));
  EXPECT_THAT(scrape.drop, ElementsAre("go_.*"));
  EXPECT_EQ(scrape.sample_limit, 7);
  EXPECT_EQ(scrape.username, "u");
  EXPECT_EQ(scrape.password_file, "/etc/r/secrets/p");

  const CheckSettings promql = check_of(R"("type": "promql", "url": "http://a:9090/prom", "bearer_token_file": "/t", "body_bytes_max": 1000,
    "queries": {"shop:errors:ratio5m": "sum(rate(x[5m])) > 0"})");
  EXPECT_THAT(promql.queries, ElementsAre(Pair("shop:errors:ratio5m", "sum(rate(x[5m])) > 0")));
  EXPECT_EQ(promql.bearer_token_file, "/t");
  EXPECT_EQ(promql.body_bytes_max, 1000);

  const CheckSettings config = check_of(R"("type": "config", "paths": ["conf.d/*.conf", "/srv/a/current/a.conf"], "command": ["nginx"])");
  EXPECT_THAT(config.paths, ElementsAre("/etc/r/conf.d/*.conf", "/srv/a/current/a.conf"));

  const CheckSettings file = check_of(R"("type": "file", "path": "dump.sql", "age_max": "26h", "bytes_min": 100, "dependency": "backup")");
  EXPECT_EQ(file.path, "/etc/r/dump.sql");
  EXPECT_EQ(file.age_max, 26h);
  EXPECT_EQ(file.bytes_min, 100);
}

TEST(Load, ASystemdCheckLooksAtTheManagersUnitUnlessItNamesOne) {
  const auto unit = [](const char* check) {
    const Loaded loaded = load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "off", "components": [
      {"current": "/c", "process": {"manager": "systemd", "unit": "a.service"}}], "checks": [)" +
                                    std::string(check) + "]}]}");
    EXPECT_THAT(problems(loaded), IsEmpty());
    return loaded.settings.services.at(0).checks.at(0).unit;
  };

  EXPECT_EQ(unit(R"({"name": "u", "type": "systemd"})"), "a.service");
  EXPECT_EQ(unit(R"({"name": "u", "type": "systemd", "unit": "db.service"})"), "db.service");
}

TEST(Load, AProcessSaysWhoseChildItIs) {
  const auto process = [](const char* more) {
    return load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "off",
 "components": [{"current": "/c", "process": {)" +
                     std::string(more) + "}}]}]}");
  };
  using Parent = ProcessSettings::Parent;

  const auto parent = [](const Loaded& loaded) { return loaded.settings.services.at(0).components.at(0).process.parent; };
  EXPECT_EQ(parent(process(R"("manager": "supervised", "command": ["x"])")), Parent::auto_);
  EXPECT_EQ(parent(process(R"("manager": "supervised", "command": ["x"], "parent": "keeper")")), Parent::keeper);
  EXPECT_EQ(parent(process(R"("manager": "supervised", "command": ["x"], "parent": "systemd")")), Parent::systemd);
  EXPECT_THAT(problems(process(R"("manager": "command", "restart": ["x"], "parent": "keeper")")),
              ElementsAre(HasSubstr("\"parent\" means nothing where \"manager\" is \"command\"")));
  EXPECT_THAT(problems(process(R"("manager": "systemd")")), ElementsAre(HasSubstr("this process has no \"unit\"")));
}

TEST(Load, RoutesSayWhatAPushedAlertMayCause) {
  const Loaded loaded = load_text(R"({"state_directory": "/s", "routes": [
    {"match": ["severity=\"critical\"", "team!=x"], "action": "rollback", "service": "a/prod", "stale_after": "10m"},
    {"match": ["alertname=~\".+\""], "service_label": "app", "environment_label": "stage"}],
  "services": [{"name": "a", "environment": "prod", "automation": "off", "current": "/a"}]})");

  EXPECT_THAT(problems(loaded), IsEmpty());
  EXPECT_THAT(problems(loaded, true), IsEmpty());
  EXPECT_EQ(loaded.settings.token_file, "/s/tokens");
  ASSERT_EQ(loaded.settings.routes.size(), 2U);
  const RouteSettings& first = loaded.settings.routes[0];
  EXPECT_THAT(first.match, ElementsAre("severity=\"critical\"", "team!=x"));
  EXPECT_EQ(first.action, AlertAction::rollback);
  EXPECT_EQ(first.service, "a/prod");
  EXPECT_EQ(first.service_label, "service");
  EXPECT_EQ(first.stale_after, 10min);
  EXPECT_EQ(first.origin.line, 2);
  const RouteSettings& second = loaded.settings.routes[1];
  EXPECT_EQ(second.action, AlertAction::notify);
  EXPECT_EQ(second.service_label, "app");
  EXPECT_EQ(second.environment_label, "stage");
  EXPECT_EQ(second.stale_after, 1h);
  EXPECT_EQ(shown(loaded, "routes[0].action"), "\"rollback\" /etc/r/r.json:2");
  EXPECT_EQ(shown(loaded, "routes[1].stale_after"), "\"1h\" default");
}

TEST(Load, EveryErrorOfARouteIsTold) {
  const Loaded loaded = load_text(R"({"routes": [
 {"match": ["severity", "a=~\"(\""], "action": "rolback"},
 {"action": "hold", "service": "a", "service_label": "1x", "stale_after": "0"},
 {"match": ["a=b"], "service": "no/where", "environment_label": "e"},
 {"match": [], "sevice": "x"}]})");

  EXPECT_THAT(
      problems(loaded),
      ElementsAre(HasSubstr("/etc/r/r.json:2:13: \"severity\" is not a matcher, column 9: an operator is missing (use one of"),
                  HasSubstr("/etc/r/r.json:2:25: \"a=~\"(\"\" is not a matcher"),
                  HasSubstr("\"action\" must be one of \"notify\", \"hold\", \"rollback\", \"emergency\", found the text \"rolback\" "
                            "(did you mean \"rollback\"?)"),
                  HasSubstr("/etc/r/r.json:3:2: this route has no \"match\" (write \"match\": [\"severity=\\\"critical\\\"\"])"),
                  HasSubstr("\"a\" does not name a service"), HasSubstr("\"1x\" is not a label's name"),
                  HasSubstr("\"stale_after\" is 0s, which is less than the least, 1s"),
                  HasSubstr("/etc/r/r.json:4:65: \"environment_label\" means nothing beside \"service\""),
                  HasSubstr("\"match\" has 0 entries"), HasSubstr("unknown key \"sevice\" in this route (did you mean \"service\"?)")));
  EXPECT_THAT(problems(loaded, true), Contains(HasSubstr("/etc/r/r.json:4:32: no service no/where is configured")));
}

TEST(Load, EveryErrorOfTheNewChecksIsTold) {
  const auto told = [](const char* members) {
    return problems(load_with("\"checks\": [{\"name\": \"x\", " + std::string(members) + "}]"));
  };
  const auto one = [](const char* text) { return ElementsAre(HasSubstr(text)); };

  for (const char* address : {"", "a", "a:0", ":80", "::1:80", "[::1]", "a:65536", "http://a:80"})
    EXPECT_EQ(told((R"("type": "tcp", "address": ")" + std::string(address) + "\"").c_str()).size(), 1U) << address;
  EXPECT_THAT(told(R"("type": "tcp")"), one("this check has no \"address\" (write \"address\": \"127.0.0.1:PORT\")"));
  EXPECT_THAT(told(R"("type": "tcp", "address": "a:1", "expect": "(")"), one("is not a regular expression"));
  EXPECT_THAT(told(R"("type": "exec")"), one("this check has no \"command\""));
  EXPECT_THAT(told(R"("type": "exec", "command": ["./check_x"])"), one("the program \"./check_x\" is a relative path"));
  EXPECT_THAT(told(R"("type": "exec", "command": [""])"), one("names no program"));
  EXPECT_THAT(told(R"("type": "exec", "command": ["a"], "environment": {"A=": "b"})"), one("is not an environment variable's name"));
  EXPECT_THAT(told(R"("type": "systemd")"), one("this systemd check does not know its unit"));
  EXPECT_THAT(told(R"("type": "scrape")"), one("this check has no \"url\""));
  EXPECT_THAT(told(R"("type": "scrape", "url": "http://a", "keep": ["a("], "drop": ["*"])"),
              ElementsAre(HasSubstr("\"a(\" is not a regular"), HasSubstr("\"*\" is not a regular")));
  EXPECT_THAT(told(R"("type": "scrape", "url": "http://a", "username": "u")"), one("\"username\" without \"password_file\""));
  EXPECT_THAT(told(R"("type": "scrape", "url": "http://a", "username": "u:v", "password_file": "/p")"), one("\"u:v\" is not a user name"));
  EXPECT_THAT(told(R"("type": "promql", "url": "http://a", "queries": {"b": "c"}, "password_file": "/p")"),
              one("\"password_file\" without \"username\""));
  EXPECT_THAT(told(R"("type": "scrape", "url": "http://a", "username": "u", "password_file": "/p", "bearer_token_file": "/b")"),
              one("exclude each other"));
  EXPECT_THAT(told(R"("type": "promql", "url": "http://a")"), one("this check has no \"queries\""));
  EXPECT_THAT(told(R"("type": "promql", "url": "http://a?b", "queries": {"1x": "up", "y": "\n "})"),
              ElementsAre(HasSubstr("the address of a Prometheus server has no query"), HasSubstr("\"1x\" is not a metric's name"),
                          HasSubstr("this text is empty")));
  EXPECT_THAT(told(R"("type": "config", "command": ["a"])"), one("this check has no \"paths\""));
  EXPECT_THAT(told(R"("type": "config", "command": ["a"], "paths": ["/a", ""])"), one("this text is empty"));
  EXPECT_THAT(told(R"("type": "file", "path": "/var/*.sql")"), one("this check looks at one file, not at a pattern"));
  EXPECT_THAT(told(R"("type": "file", "path": "/var/a", "interval": "1s", "timeout": "11s")"), one("is more than ten times"));
  EXPECT_THAT(told(R"("type": "file", "path": "/var/a", "agemax": "1s")"), one("did you mean \"age_max\"?"));
  EXPECT_THAT(told(R"("type": "scrap", "url": "http://a")"), one("did you mean \"scrape\"?"));
}

TEST(Load, OnlyAnOpinionCanBeAboutADependency) {
  const auto told = [](const char* members) {
    return problems(load_with("\"checks\": [{\"name\": \"x\", \"dependency\": \"db\", " + std::string(members) + "}]"));
  };

  EXPECT_THAT(told(R"("type": "http", "url": "http://a")"), IsEmpty());
  EXPECT_THAT(told(R"("type": "exec", "command": ["a"])"), IsEmpty());
  EXPECT_THAT(told(R"("type": "systemd", "unit": "a")"), IsEmpty());
  EXPECT_THAT(told(R"("type": "scrape", "url": "http://a")"),
              ElementsAre(HasSubstr("\"dependency\" means nothing where \"type\" is \"scrape\"")));
  EXPECT_THAT(told(R"("type": "log", "path": "/l", "patterns": {"a": "b"})"), ElementsAre(HasSubstr("means nothing")));
}

TEST(Load, AProbeThatMayOutlastSettleIsAWarning) {
  const auto warned = [](const char* automation, const char* more) {
    std::vector<std::string> out;
    const Loaded loaded = load_text(R"({"services": [{"name": "a", "environment": "p", "current": "/a", "automation": ")" +
                                    std::string(automation) + "\",\n" + more + "}]}");
    EXPECT_THAT(problems(loaded), IsEmpty());
    for (const std::string& text : problems(loaded, true))
      if (text.find("settle") != text.npos) out.push_back(text);
    return out;
  };
  const char* const slow = R"("checks": [{"name": "h", "type": "tcp", "address": "a:1", "timeout": "2s"}])";

  EXPECT_THAT(warned("automatic", slow), ElementsAre(HasSubstr("/etc/r/r.json:2:70: \"timeout\" (2s) of the check \"h\" is longer than "
                                                               "\"settle\" (1s)")));
  EXPECT_THAT(warned("observe", slow), IsEmpty());
  EXPECT_THAT(warned("automatic", R"("policy": {"settle": "100ms"}, "url": "http://a")"),
              ElementsAre(HasSubstr("/etc/r/r.json:2:22: \"timeout\" (500ms) of the check \"health\"")));
  EXPECT_THAT(warned("automatic", R"("checks": [{"name": "e", "type": "exec", "command": ["a"]}])"), IsEmpty())
      << "a plugin that hangs is no evidence";
}

TEST(Load, AServiceOfDependenciesAloneHasNoHealth) {
  const Loaded loaded = load_text(R"({"services": [{"name": "a", "environment": "p", "current": "/a", "automation": "automatic",
    "checks": [{"name": "db", "type": "tcp", "address": "a:1", "dependency": "db"}], "verify": [{"type": "checks_healthy"}]}]})");

  EXPECT_THAT(problems(loaded, true), testing::IsSupersetOf({HasSubstr("automatic without any check"),
                                                             HasSubstr("there is no check whose health this test could wait for")}));
}

TEST(Load, TheShortFormCannotStandBesideTheLongOne) {
  EXPECT_THAT(problems(load_with(R"("components": [{"current": "/c"}])")),
              ElementsAre(HasSubstr("/etc/r/r.json:1:73: \"current\" is the short form and cannot stand beside \"components\"")));
  EXPECT_THAT(problems(load_with(R"("unit": "a", "command": ["a"])")), ElementsAre(HasSubstr("both start the process")));
  EXPECT_THAT(problems(load_with(R"("url": "http://a", "checks": [{"name": "health", "type": "http", "url": "http://b"}])")),
              ElementsAre(HasSubstr("\"url\" makes a check named \"health\"")));
}

TEST(Load, AServiceWithoutALinkIsAskedForOne) {
  EXPECT_THAT(problems(load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "off"}]})")),
              ElementsAre(HasSubstr("this service has no \"components\" (write \"current\":")));
  EXPECT_THAT(problems(load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "off", "unit": "a"}]})")),
              ElementsAre(HasSubstr("this component has no \"current\" (write \"current\":")));
}

TEST(Load, RelativePathsStartAtTheFileThatNamesThem) {
  const SourceFile own{"/etc/r/services.d/b.json",
                       R"({"name": "b", "environment": "p", "automation": "off", "current": "../b/./current/", "rule_files": ["b.json"]})"};

  const Loaded loaded = load_text(R"({"state_directory": "state"})", "/etc/r/r.json", {own});

  EXPECT_THAT(problems(loaded), IsEmpty());
  EXPECT_EQ(loaded.settings.state_directory, "/etc/r/state");
  EXPECT_EQ(loaded.settings.socket, "/etc/r/state/rollbackd.sock");
  EXPECT_EQ(loaded.settings.services.at(0).components[0].current, "/etc/r/services.d/../b/current");
  EXPECT_EQ(loaded.settings.services[0].components[0].releases, "/etc/r/services.d/../b/releases");
  EXPECT_THAT(loaded.settings.services[0].rule_files, ElementsAre("/etc/r/services.d/b.json"));
}

TEST(Load, AServicesFileHoldsOneServiceOrAListOfThem) {
  const SourceFile one{"/etc/r/services.d/b.json", R"({"name": "b", "environment": "p", "automation": "off", "current": "/b"})"};
  const SourceFile two{
      "/etc/r/services.d/c.yaml",
      "services:\n- {name: c, environment: p, automation: off, current: /c}\n- {name: b, environment: p, automation: off, current: /d}\n"};
  const SourceFile bad{"/etc/r/services.d/d.json", R"({"listen": "x", "services": [4]})"};

  const Loaded loaded = load_text("{}", "/etc/r/r.json", {one, two, bad});

  EXPECT_EQ(loaded.settings.services.size(), 4U);
  EXPECT_THAT(problems(loaded), ElementsAre("/etc/r/services.d/c.yaml:3:3: the service b/p stands here for the second time (keep one; the "
                                            "first is in /etc/r/services.d/b.json, line 1)",
                                            HasSubstr("/etc/r/services.d/d.json:1:2: a file of services.d holds \"services\" alone"),
                                            HasSubstr("/etc/r/services.d/d.json:1:30: expected an object, found the number 4")));
}

TEST(Load, ASyntaxErrorInOneFileHidesNothingInTheOthers) {
  const SourceFile broken{"/etc/r/services.d/b.json", "{\"name\": }"};
  const SourceFile wrong{"/etc/r/services.d/c.json", R"({"name": "c"})"};

  const Loaded loaded = load_text(R"({"lisen": "x"})", "/etc/r/r.json", {broken, wrong});

  EXPECT_THAT(problems(loaded),
              ElementsAre(HasSubstr("/etc/r/r.json:1:2: unknown key \"lisen\""), HasSubstr("b.json:1:10: expected a value"),
                          HasSubstr("c.json:1:1: this service has no \"environment\""), HasSubstr("no \"automation\""),
                          HasSubstr("no \"components\"")));
}

TEST(Load, RuleFilesWithoutAMatchAreErrorsUnlessTheyArePatterns) {
  const Loaded loaded = load_text(R"({"rule_files": ["none.json", "none/*.json", "rules/*", "rules/a.json", "rules/*"]})");

  EXPECT_THAT(problems(loaded), ElementsAre(HasSubstr("/etc/r/r.json:1:17: the file /etc/r/none.json is not there")));
  EXPECT_THAT(problems(loaded, true), Contains(HasSubstr("/etc/r/r.json:1:30: no file matches /etc/r/none/*.json")));
}

TEST(Load, AKeyTwiceIsAnError) {
  EXPECT_THAT(problems(load_with(R"("enforcement": "strict", "enforcement": "lenient")")),
              ElementsAre(HasSubstr("/etc/r/r.json:2:26: the key \"enforcement\"")));
}

TEST(Load, ServicesMayShareNeitherLinkNorStateFile) {
  const Loaded loaded = load_text(R"({"services": [
 {"name": "a.b", "environment": "c", "automation": "off", "current": "/x"},
 {"name": "a", "environment": "b.c", "automation": "off", "current": "/x"}]})");

  EXPECT_THAT(problems(loaded), ElementsAre(HasSubstr("/etc/r/r.json:3:2: a/b.c and a.b/c would share the state file a.b.c"),
                                            HasSubstr("/etc/r/r.json:3:70: the link /x belongs to a.b/c too")));
}

TEST(Load, AddressesAreJudged) {
  const auto url = [](const std::string& text) { return problems(load_with("\"url\": \"" + text + "\"")); };

  for (const char* good : {"http://a", "http://127.0.0.1:80/x?y=z", "http://[::1]:9/", "http://a-b.c_d:65535"})
    EXPECT_THAT(url(good), IsEmpty()) << good;
  for (const char* bad : {"", "a", "ftp://a", "http://", "http://a:0", "http://a:65536", "http://a:x", "http://u@a/", "http://a/ b",
                          "http://a/#b", "http://[::1", "http://a:80b/"})
    EXPECT_EQ(url(bad).size(), 1U) << bad;
  for (const char* good : {"127.0.0.1:0", "127.9.9.9:1", "localhost:9474", "[::1]:9474"})
    EXPECT_THAT(problems(load_text(R"({"listen": ")" + std::string(good) + "\"}")), IsEmpty()) << good;
  for (const char* bad : {"127.0.0.1", "9474", ":9474", "10.0.0.1:80", "127.evil.example:80", "[::]:80", "127.0.0.1:99999"})
    EXPECT_EQ(problems(load_text(R"({"listen": ")" + std::string(bad) + "\"}")).size(), 1U) << bad;
}

TEST(Load, ATimeoutMayBeTenIntervalsAndNoMore) {
  const auto check = [](const char* times) {
    return problems(load_with(R"("checks": [{"name": "h", "type": "http", "url": "http://a", )" + std::string(times) + "}]"));
  };

  EXPECT_THAT(check(R"("interval": "100ms", "timeout": "1s")"), IsEmpty());
  EXPECT_THAT(check(R"("interval": "100ms", "timeout": "1001ms")"), ElementsAre(HasSubstr("is more than ten times")));
  EXPECT_THAT(check(R"("interval": "99ms")"), ElementsAre(HasSubstr("\"interval\" is 99ms, which is less than the least, 100ms")));
  EXPECT_THAT(check(R"("timeout": "0")"), ElementsAre(HasSubstr("\"timeout\" is 0s, which is less than the least, 1ms")));
}

TEST(Load, ListsHaveTheirBounds) {
  std::string checks = R"("checks": [)", patterns, services = R"({"services": [)";
  for (int i = 0; i < 65; ++i) {
    const std::string n = std::to_string(i);
    checks += R"({"name": "c)" + n + R"(", "type": "http", "url": "http://a"},)";
    patterns += "\"p" + n + "\": \"x\",";
  }
  for (int i = 0; i < 1002; ++i) {
    const std::string n = std::to_string(i);
    services += R"({"name": "s)" + n + R"(", "environment": "p", "automation": "off", "current": "/)" + n + "\"},";
  }

  EXPECT_THAT(problems(load_with(checks + "]")), ElementsAre(HasSubstr("\"checks\" has 65 entries, which is more than the most, 64")));
  EXPECT_THAT(problems(load_with(R"("checks": [{"name": "l", "type": "log", "path": "/l", "patterns": {)" + patterns + "}}]")),
              ElementsAre(HasSubstr("\"patterns\" has 65 entries")));
  const Loaded many = load_text(services + "]}");
  EXPECT_EQ(many.settings.services.size(), 1000U);
  EXPECT_FALSE(many.ok());
}

TEST(Load, ContradictionsAreErrors) {
  const auto verify = [](const char* test) { return problems(load_with(R"("verify": [)" + std::string(test) + "]")); };

  EXPECT_THAT(verify(R"({"type": "checks_healthy", "for": "40s"})"),
              ElementsAre(HasSubstr("/etc/r/r.json:2:46: \"for\" (40s) is longer than \"within\" (30s)")));
  EXPECT_THAT(verify(R"({"type": "identity"})"), ElementsAre(HasSubstr("this test needs the service's \"identity\"")));
  EXPECT_THAT(verify(R"({"type": "service_status"})"), ElementsAre(HasSubstr("no manager knows")));
  EXPECT_THAT(verify(R"({"type": "exec", "command": ["a"], "name": "x"}, {"type": "exec", "command": ["b"], "name": "x"})"),
              ElementsAre(HasSubstr("the name \"x\" stands twice in \"verify\"")));
  EXPECT_THAT(problems(load_with(R"("checks": [{"name": "p", "type": "process"}])")),
              ElementsAre(HasSubstr("this process check does not know its process")));
  EXPECT_THAT(problems(load_with(R"("checks": [{"name": "l", "type": "log", "path": "/var/*/x.log", "patterns": {"a": "b"}}])")),
              ElementsAre(HasSubstr("only the last part of a log's path may be a pattern")));
  EXPECT_THAT(problems(load_text(R"({"notify": [{"name": "a", "type": "webhook"}]})")),
              ElementsAre(HasSubstr("this webhook has no address")));
  EXPECT_THAT(problems(load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "off",
 "components": [{"current": "/c", "process": {"manager": "command", "start": ["x"]}}]}]})")),
              ElementsAre(HasSubstr("no command that restarts the process")));
}

TEST(Load, PackagesAreSwitchedOffWithAnEmptyText) {
  const Loaded off = load_with(R"("changes": {"packages": ""})");
  EXPECT_THAT(problems(off), IsEmpty());
  ASSERT_EQ(off.settings.services.size(), 1U);
  EXPECT_EQ(off.settings.services[0].changes.packages, "");
  EXPECT_EQ(shown(off, "services[0].changes.packages"), "\"\" /etc/r/r.json:2");

  EXPECT_THAT(problems(load_with(R"("drill": {"log": ""})")), ElementsAre(HasSubstr("/etc/r/r.json:2:18: ")));  // No other path may be.
}

TEST(Load, WhatADrillMayDoIsJudgedBeforeTheDrill) {
  const auto drill = [](const std::string& more) { return problems(load_with("\"drill\": {\"marked\": true, " + more + "}")); };

  EXPECT_THAT(drill(R"("inject": ["crash", "crsh"])"),
              ElementsAre("/etc/r/r.json:2:47: an entry of \"inject\" must be one of \"crash\", \"500\", \"log\", found the text \"crsh\" "
                          "(did you mean \"crash\"?)"));
  EXPECT_THAT(drill(R"("inject": ["explode"])"), ElementsAre(HasSubstr("found the text \"explode\" (choose one of them)")));
  EXPECT_THAT(drill(R"("inject": [500])"), ElementsAre(HasSubstr("must be a text, found the number 500 (put it in quotes)")));
  EXPECT_THAT(drill(R"("inject": ["500"])"), ElementsAre("/etc/r/r.json:2:37: \"500\" has no address to POST to (write \"fault_url\": "
                                                         "\"http://127.0.0.1:8080/fault\")"));
  EXPECT_THAT(drill(R"("inject": ["log"])"), ElementsAre(HasSubstr("\"log\" has no file to append to (write \"log\": ")));
  EXPECT_THAT(drill(R"("inject": ["crash", "500", "log"], "fault_url": "http://localhost/fault", "log": "/var/log/a.log")"), IsEmpty());
}

TEST(Load, TheActorIsAWordOrThePathOfASocket) {
  const auto actor = [](const std::string& word) { return problems(load_text(R"({"actor": ")" + word + "\"}")); };

  for (const char* good : {"auto", "inline", "fork", "/run/rollbackd/actor.sock"}) EXPECT_THAT(actor(good), IsEmpty()) << good;
  EXPECT_THAT(actor("inlin"), ElementsAre("/etc/r/r.json:1:11: \"inlin\" is none of auto, inline, fork, and no absolute path (did you mean "
                                          "\"inline\"?)"));
  EXPECT_THAT(actor("actor.sock"), ElementsAre(HasSubstr("(choose one of them, or write the absolute path of the actor's socket)")));
}

TEST(Load, ALogCheckOnAnOutputThatAnActorKeepsIsTold) {
  const auto load_log = [](const char* actor, const char* path) {
    return load_text("{\"state_directory\": \"/var/lib/r\", \"actor\": \"" + std::string(actor) +
                     R"(", "services": [{"name": "a", "environment": "prod", "automation": "off", "current": "/srv/a/current",
 "command": ["/srv/a/current/a"], "checks": [{"name": "out", "type": "log", "patterns": {"p": "FATAL"}, "path": ")" +
                     path + "\"}]}]}");
  };
  const char* const output = "/var/lib/r/services/a.prod/output.log";
  const auto told = HasSubstr(
      "/etc/r/r.json:2:113: with an actor a service's output is not in the state directory, but where only root may read "
      "it (give the process \"output\": \"/var/log/a/output.log\", in a directory for the daemon's group");

  EXPECT_THAT(problems(load_log("fork", output)), ElementsAre(told));
  EXPECT_THAT(problems(load_log("auto", output)), IsEmpty());
  EXPECT_THAT(problems(load_log("auto", output), true), Contains(told));
  for (const char* actor : {"inline", "fork"}) {
    const Loaded well = load_log(actor, actor == std::string("fork") ? "/var/log/a/output.log" : output);
    EXPECT_THAT(problems(well), IsEmpty());
    EXPECT_THAT(problems(well, true), testing::Not(Contains(HasSubstr("actor"))));
  }
}

TEST(Load, WhatIsAllowedButSeldomMeantIsAWarning) {
  const Loaded loaded = load_text(R"({"environments": {"prd": {}}, "services": [
 {"name": "a", "environment": "prod", "automation": "automatic", "current": "/a", "policy": {"cooldown": "1m"}, "depends_on": ["db/prod"]}]})");

  EXPECT_TRUE(loaded.ok());
  EXPECT_THAT(problems(loaded, true),
              testing::IsSupersetOf({HasSubstr("/etc/r/r.json:1:19: no service is in the environment \"prd\""),
                                     HasSubstr("automatic without any check"), HasSubstr("automatic without a process manager"),
                                     HasSubstr("nobody is told"),
                                     HasSubstr("/etc/r/r.json:2:106: \"cooldown\" (1m) is shorter than \"bake_time\" (10m)"),
                                     HasSubstr("no service db/prod is configured")}));
}

TEST(Load, HooksAreNamedAfterTheirPointAndMustFitTheOperation) {
  const Loaded well = load_with(R"("hooks": [{"at": "after_switch", "command": ["/bin/a"]}, {"at": "after_switch", "command": ["/bin/b"]},
    {"at": "before_switch", "command": ["/bin/c"], "name": "drain", "environment": {"X": "1"}}])");
  EXPECT_THAT(problems(well), IsEmpty());
  EXPECT_THAT(problems(well, true), testing::Not(Contains(HasSubstr("hook"))));
  ASSERT_EQ(well.settings.services[0].hooks.size(), 3U);
  EXPECT_EQ(well.settings.services[0].hooks[0].name, "after_switch");
  EXPECT_EQ(well.settings.services[0].hooks[1].name, "after_switch_2");
  EXPECT_EQ(well.settings.services[0].hooks[2].name, "drain");

  const Loaded wrong = load_with(R"("hooks": [{"at": "after_switch", "command": ["drain"]}, {"at": "after_verify", "command": ["bin/x"]},
    {"at": "on_failure", "command": ["/bin/a"], "name": "after_switch", "environment": {"ROLLBACKD_TO": "x", "A=B": "y"}}])");
  EXPECT_THAT(problems(wrong), ElementsAre(HasSubstr("\"drain\" is no absolute path"), HasSubstr("\"bin/x\" is no absolute path"),
                                           HasSubstr("\"after_switch\" stands twice in \"hooks\""), HasSubstr("is no name of a variable"),
                                           HasSubstr("\"ROLLBACKD_TO\" is rollbackd's own")));

  const Loaded slow = load_with(R"("hooks": [{"at": "after_switch", "command": ["/bin/a"], "timeout": "40s"},
    {"at": "after_restart", "command": ["/bin/b"], "timeout": "29s"}, {"at": "after_verify", "command": ["/bin/b"], "timeout": "29s"}])");
  EXPECT_THAT(problems(slow), IsEmpty());
  EXPECT_THAT(problems(slow, true), Contains(HasSubstr("\"timeout\" (40s) is longer than \"policy.deadline.step\" (30s)")));
  EXPECT_THAT(problems(slow, true),
              ::testing::Contains(HasSubstr("the hooks together may take 1m28s, longer than \"policy.deadline.standard\" (1m)")));
}

TEST(Load, AWrongEnvironmentDefaultIsToldOnce) {
  const Loaded loaded = load_text(R"({"environments": {"p": {"bake_time": 5, "bake": "1s", "budget": 1}}, "services": [
 {"name": "a", "environment": "p", "automation": "off", "current": "/a"}, {"name": "b", "environment": "p", "automation": "off", "current": "/b", "policy": {"settle": "2s"}}]})");

  EXPECT_THAT(problems(loaded), ElementsAre(HasSubstr("/etc/r/r.json:1:38: \"bake_time\" must be a duration"),
                                            HasSubstr("unknown key \"bake\" in this policy"), HasSubstr("\"budget\" must be an object")));
}

TEST(Load, ADocumentThatIsNoObjectIsAnError) {
  EXPECT_THAT(problems(load_text("[]")), ElementsAre(HasSubstr("/etc/r/r.json:1:1: expected an object, found a list")));
  EXPECT_THAT(problems(load_text(R"({"services": {}, "notify": [3], "environments": [], "listen": null})")),
              ElementsAre(HasSubstr("\"services\" must be a list of objects"), HasSubstr("expected an object, found the number 3"),
                          HasSubstr("\"environments\" must be an object"), HasSubstr("remove the key to get the default")));
  EXPECT_TRUE(load_text("", "/etc/r/r.yaml").ok());
}

TEST(Load, AnyPrefixOfADocumentIsReadWithoutACrash) {
  const std::string text = kShort;
  for (std::size_t n = 0; n < text.size(); ++n) EXPECT_FALSE(load_text(text.substr(0, n)).ok()) << n;
  for (std::size_t n = 0; n < text.size(); ++n) load_text(text.substr(0, n), "/etc/r/r.yaml");
}

TEST(Schema, TheFileAgreesWithTheTables) {
  const std::string path = std::string(ROLLBACKD_SOURCE_DIR) + "/rules/schema/rollbackd.schema.json";
  const std::string generated = schema().pretty() + "\n";
  if (std::getenv("ROLLBACKD_WRITE_SCHEMA")) std::ofstream(path) << generated;
  std::ifstream file(path);
  std::stringstream written;
  written << file.rdbuf();

  EXPECT_TRUE(written.str() == generated) << path << " is out of date. Write it anew with\n  ROLLBACKD_WRITE_SCHEMA=1 "
                                          << ROLLBACKD_BINARY_DIR << "/tests/config_test --gtest_filter=Schema.*";
}

TEST(Schema, EverySettingHasADescription) {
  const std::function<void(const Json&, const std::string&)> walk = [&](const Json& json, const std::string& path) {
    for (const auto& [key, property] : json["properties"].members()) {
      EXPECT_THAT(property["description"].string_or(""), HasSubstr(".")) << path << "." << key;
      walk(property, path + "." + key);
      walk(property["items"], path + "." + key + "[]");
      walk(property["additionalProperties"], path + "." + key + ".*");
    }
  };
  walk(schema(), "");
}

}  // namespace
}  // namespace rollbackd::config
