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
  EXPECT_EQ(s.components[0].process.manager, ManagerType::command);
  EXPECT_THAT(s.components[0].process.restart, ElementsAre("systemctl", "restart", "shop-api.service"));
  EXPECT_THAT(s.components[0].process.start, ElementsAre("systemctl", "start", "shop-api.service"));
  EXPECT_THAT(s.components[0].process.stop, ElementsAre("systemctl", "stop", "shop-api.service"));
  EXPECT_THAT(s.components[0].process.status, ElementsAre("systemctl", "is-active", "--quiet", "shop-api.service"));
  ASSERT_EQ(s.checks.size(), 1U) << "systemctl tells of no exits, so there is no process check";
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

  for (const char* type : {"tcp", "exec", "systemd", "scrape", "promql", "config"})
    EXPECT_THAT(first(R"("checks": [{"name": "x", "type": ")" + std::string(type) + "\"}]"),
                ElementsAre(HasSubstr("/etc/r/r.json:2:34: \"type\": \"" + std::string(type) + "\" is not available in this version")));
  EXPECT_THAT(first(R"("url": "https://a/")"), ElementsAre(HasSubstr("an https address is not available in this version")));
  EXPECT_THAT(problems(load_text(R"({"routes": []})")),
              ElementsAre(HasSubstr("/etc/r/r.json:1:12: \"routes\" is not available in this version (remove it")));
  EXPECT_THAT(problems(load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "approve", "current": "/c"}]})")),
              ElementsAre(HasSubstr("\"automation\": \"approve\" is not available in this version")));
  EXPECT_THAT(
      problems(load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "off",
 "components": [{"current": "/c", "process": {"manager": "systemd", "unit": "a.service"}}]}]})")),
      ElementsAre("/etc/r/r.json:2:58: \"manager\": \"systemd\" is not available in this version (for now write \"manager\": \"command\", "
                  "\"restart\": [\"systemctl\", \"restart\", \"a.service\"])"));
  EXPECT_THAT(problems(load_text(R"({"services": [{"name": "a", "environment": "p", "automation": "off",
 "components": [{"current": "/c"}, {"name": "b", "current": "/d"}]}]})")),
              ElementsAre(HasSubstr("/etc/r/r.json:2:36: more than one component is not available in this version")));
}

TEST(Load, OfTheDesignsLongServiceOnlyWhatThisVersionLacksIsRefused) {
  const Loaded loaded = load_text(R"({ "services": [ {
    "name": "shop-api", "environment": "prod", "automation": "automatic", "enforcement": "strict",
    "components": [ { "name": "app", "driver": "symlink", "releases": "/srv/shop-api/releases", "current": "/srv/shop-api/current",
                      "process": { "manager": "systemd", "unit": "shop-api.service" } } ],
    "checks": [ { "name": "health", "type": "http", "url": "http://127.0.0.1:8080/health", "interval": "1s", "timeout": "500ms" },
                { "name": "app", "type": "scrape", "url": "http://127.0.0.1:8080/metrics", "interval": "5s" } ],
    "identity": { "url": "http://127.0.0.1:8080/version", "json_pointer": "/release" },
    "policy": { "bake_time": "10m", "deadline": { "standard": "60s", "emergency": "30s", "step": "30s" } },
    "verify": [ { "type": "checks_healthy", "for": "5s", "within": "30s" } ] } ] })");

  EXPECT_THAT(problems(loaded), ElementsAre(HasSubstr("/etc/r/r.json:4:47: \"manager\": \"systemd\" is not available"),
                                            HasSubstr("/etc/r/r.json:6:42: \"type\": \"scrape\" is not available")));
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
