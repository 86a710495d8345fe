// rollbackctl init: what is found in a unit's facts, and what is written; and that completion and manual know every command.
#include "cli/init.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "config/load.hpp"
#include "tests/cli/run_ctl.hpp"

namespace rollbackd::cli {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::string kShown = R"(Id=shop-api.service
LoadState=loaded
FragmentPath=/etc/systemd/system/shop-api.service
ExecStart={ path=/usr/bin/env ; argv[]=/usr/bin/env ruby /srv/shop-api/current/bin/server --config=/etc/shop/x.yml ; ignore_errors=no ; pid=42 }
WorkingDirectory=!/srv/shop-api/current
RootDirectory=
MainPID=42
User=shop
)";

/// A disk that is links alone.
ReadLink disk(std::map<std::string, std::string> links) {
  return [links = std::move(links)](const std::string& path) -> std::optional<std::string> {
    const auto at = links.find(path);
    return at == links.end() ? std::nullopt : std::optional(at->second);
  };
}

std::string current_of(const std::vector<std::string>& paths, std::map<std::string, std::string> links) {
  const auto found = find_link(paths, disk(std::move(links)));
  return found ? found->current + " in " + found->releases + " is " + found->release : "none";
}

std::vector<std::string> problems_of(const std::string& text) {
  const config::Loaded loaded = config::load({"/etc/rollbackd/rollbackd.json", "{}"}, {{"/etc/rollbackd/services.d/x.json", text}},
                                             [](const std::string&) { return std::vector<std::string>(); });
  std::vector<std::string> out;
  for (const auto& problem : loaded.problems)
    if (!problem.warning) out.push_back(problem.text());
  return out;
}

Found shop() {
  return {"shop-api.service",
          "shop-api",
          "prod",
          {"/srv/shop-api/current", "/srv/shop-api/releases", "42"},
          "http://127.0.0.1:8080/health",
          "/var/log/shop-api/app.log",
          8080};
}

TEST(InitUnit, ReadsWhatSystemctlShows) {
  const UnitFacts unit = parse_unit(kShown + "Nonsense\nExtra=1\n");

  EXPECT_EQ(unit.id, "shop-api.service");
  EXPECT_EQ(unit.load_state, "loaded");
  EXPECT_EQ(unit.working_directory, "/srv/shop-api/current");
  EXPECT_EQ(unit.main_pid, 42);
  EXPECT_EQ(unit.user, "shop");
}

TEST(InitUnit, TakesEveryAbsolutePathOfTheCommandLineOnce) {
  const UnitFacts unit = parse_unit(kShown);

  const auto paths = paths_of(unit);

  EXPECT_THAT(paths, ElementsAre("/srv/shop-api/current", "/usr/bin/env", "/srv/shop-api/current/bin/server", "/etc/shop/x.yml"));
}

TEST(InitUnit, PathsInsideAShellCommandAreFoundToo) {
  UnitFacts unit;
  unit.exec_start = R"(path=/bin/sh ; argv[]=/bin/sh -c 'cd "/srv/x/current"&&exec ./run' ; ignore)";

  const auto paths = paths_of(unit);

  EXPECT_THAT(paths, ElementsAre("/bin/sh", "/srv/x/current"));
}

TEST(InitUnit, ADirectoryOfPathsIsBounded) {
  UnitFacts unit;
  for (int i = 0; i < 1000; ++i) unit.exec_start += " /p" + std::to_string(i);

  const auto paths = paths_of(unit);

  EXPECT_EQ(paths.size(), 64U);
}

TEST(InitLink, CapistranosLayoutIsFound) {
  const auto found = current_of({"/srv/shop/current/bin/server"}, {{"/srv/shop/current", "/srv/shop/releases/20261120"}});

  EXPECT_EQ(found, "/srv/shop/current in /srv/shop/releases is 20261120");
}

TEST(InitLink, DeployersLinkToWhatItWritesIsNotTheLiveOne) {
  const std::map<std::string, std::string> links = {{"/srv/shop/current", "/srv/shop/releases/2"},
                                                    {"/srv/shop/release", "/srv/shop/releases/3"}};
  EXPECT_EQ(current_of({"/srv/shop/release/artisan"}, links), "/srv/shop/current in /srv/shop/releases is 2");
}

TEST(InitLink, TheToolIsKnownByWhatLiesBesideTheLink) {
  const auto tool = [](const std::string& release, std::vector<std::string> there) {
    const ReleaseLink link{"/srv/shop/current", "/srv/shop/releases", release};
    return deployment_tool(link, [&](const std::string& path) { return std::find(there.begin(), there.end(), path) != there.end(); }).name;
  };
  EXPECT_EQ(tool("20261120080000", {"/srv/shop/revisions.log", "/srv/shop/repo", "/srv/shop/shared"}), "Capistrano");
  EXPECT_EQ(tool("42", {"/srv/shop/.dep", "/srv/shop/shared"}), "Deployer");
  EXPECT_EQ(tool("20261120080000Z", {"/srv/shop/shared"}), "Ansistrano");
  EXPECT_EQ(tool("v1", {"/srv/shop/shared"}), "");
}

TEST(InitLink, ReleasesBesideTheLinkAreFoundWhenTheLinkIsCalledSo) {
  const auto current = current_of({"/opt/app/current/app"}, {{"/opt/app/current", "/opt/app/app-1.2"}});
  const auto other = current_of({"/opt/app/config/x"}, {{"/opt/app/config", "/opt/app/config-1.2"}});

  EXPECT_EQ(current, "/opt/app/current in /opt/app is app-1.2");
  EXPECT_EQ(other, "none");
}

TEST(InitLink, TheSystemsOwnLinksAreNone) {
  const auto found = current_of(
      {"/bin/sh", "/var/run/shop.sock", "/usr/bin/java", "/usr/lib/jvm/current/bin/java"},
      {{"/bin", "/usr/bin"}, {"/var/run", "/run"}, {"/usr/bin/java", "/etc/alternatives/java"}, {"/usr/lib/jvm/current", "/opt/jvm/17"}});

  EXPECT_EQ(found, "none");
}

TEST(InitLink, AProcessInsideAReleaseLeadsToTheLinkBesideTheReleases) {
  const auto found = current_of({"/srv/shop/releases/7/bin"}, {{"/srv/shop/current", "/srv/shop/releases/7"}});
  const auto unlinked = current_of({"/srv/shop/releases/7/bin"}, {});

  EXPECT_EQ(found, "/srv/shop/current in /srv/shop/releases is 7");
  EXPECT_EQ(unlinked, "none");
}

TEST(InitPorts, TheListeningSocketsOfTheProcessAreFound) {
  const std::string table =
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0\n"
      "   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 112 1 0 100 0 0 10 0\n"
      "   2: 00000000:0051 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 999 1 0 100 0 0 10 0\n"
      "   3: 0100007F:0052 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0\n"
      "   4: 0100007F:XXXX 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0\n";

  const auto found = listeners(table, {"111", "112"});

  EXPECT_THAT(found, ElementsAre(Listener{"127.0.0.1", 80}, Listener{"127.0.0.1", 8080}));
}

TEST(InitPorts, IPv6IsAskedWhereItListens) {
  const auto line = [](const std::string& address) {
    return " 0: " + address + " 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 5 1\n";
  };

  const auto any = listeners(line("00000000000000000000000000000000:1F90"), {"5"});
  const auto loopback = listeners(line("00000000000000000000000001000000:1F90"), {"5"});
  const auto mapped = listeners(line("0000000000000000FFFF00000200000A:1F90"), {"5"});
  const auto other = listeners(line("000080FE00000000FF005450ABCDEF01:1F90"), {"5"});

  EXPECT_THAT(any, ElementsAre(Listener{"127.0.0.1", 8080}));
  EXPECT_THAT(loopback, ElementsAre(Listener{"[::1]", 8080}));
  EXPECT_THAT(mapped, ElementsAre(Listener{"10.0.0.2", 8080}));
  EXPECT_THAT(other, ElementsAre(Listener{"[fe80:0:0:0:5054:ff:1ef:cdab]", 8080}));
}

TEST(InitName, IsTheUnitsNameAsAServiceMayBeCalled) {
  EXPECT_EQ(name_of("shop-api.service"), "shop-api");
  EXPECT_EQ(name_of("app@blue.service"), "app-blue");
  EXPECT_EQ(name_of("app@.service"), "app");
  EXPECT_EQ(name_of("com.example.shop.service"), "com.example.shop");
}

TEST(InitFile, IsAcceptedByTheLoaderAndObserves) {
  const std::string text = render_init(shop());

  EXPECT_THAT(problems_of(text), IsEmpty());
  EXPECT_THAT(text, AllOf(HasSubstr(R"("automation": "observe")"), HasSubstr(R"("unit": "shop-api.service")"),
                          HasSubstr(R"("current": "/srv/shop-api/current")"), HasSubstr(R"("url": "http://127.0.0.1:8080/health")"),
                          Not(HasSubstr("\"releases\""))));
}

TEST(InitFile, WhatWasNotFoundIsALineToFillIn) {
  Found found = shop();
  found.url = found.log = "";
  found.link.releases = "/srv/shop-api/builds";

  const std::string text = render_init(found);

  EXPECT_THAT(problems_of(text), IsEmpty());
  EXPECT_THAT(text, AllOf(HasSubstr(R"(// "url": "http://127.0.0.1:8080/health")"), HasSubstr(R"("releases": "/srv/shop-api/builds")"),
                          HasSubstr("/var/log/shop-api/*.log")));
}

TEST(InitFile, ItsSuggestionsAreValidOnceTheCommentSignsAreGone) {
  Found found = shop();
  found.url = "";
  std::string text = render_init(found);
  for (const char* suggestion : {"// \"url\"", "// \"checks\""}) text.replace(text.find(suggestion), 3, "");

  const auto problems = problems_of(text);

  EXPECT_THAT(problems, IsEmpty());
}

std::string generated(const char* kind) {
  const Ran ran = ctl({"--generate", kind});
  return ran.code == 0 ? ran.out : "exit code " + std::to_string(ran.code);
}

TEST(Generate, CompletionAndManualKnowTheCommandsAndTheirOptions) {
  const std::string bash = generated("bash"), zsh = generated("zsh"), commands = generated("commands"), settings = generated("settings");

  EXPECT_THAT(bash, AllOf(HasSubstr("'check config':*"), HasSubstr("--emergency"), HasSubstr("_rollbackctl_words releases"),
                          HasSubstr("good bad revoked"), Not(HasSubstr("words)"))));
  EXPECT_THAT(zsh, AllOf(HasSubstr("#compdef rollbackctl"), HasSubstr("_rollbackctl_check_config()"),
                         HasSubstr("--emergency[The short deadline]")));
  EXPECT_THAT(commands,
              AllOf(HasSubstr(".It Ic rollback Op Ar service\n"), HasSubstr(".It Fl \\-emergency\n"), Not(HasSubstr("generate"))));
  EXPECT_THAT(settings, AllOf(HasSubstr(".It Cm services[].policy.bake_time Pq default: Li 10m\n"), HasSubstr(".It Cm state_directory")));
}

TEST(Options, ALineThatCannotBeTakenIsAnsweredWithTheNextStep) {
  const auto said = [](const std::vector<std::string>& line) {
    const Ran ran = ctl(line);
    EXPECT_EQ(ran.code, 1);
    EXPECT_EQ(ran.out, "");
    return ran.err;
  };
  EXPECT_EQ(said({}), "rollbackctl: rollbackctl needs a command\n  next: rollbackctl --help\n");
  EXPECT_EQ(said({"rolback", "shop"}),
            "rollbackctl: rollbackctl has no command \"rolback\"\n  next: did you mean \"rollback\"? Else: rollbackctl --help\n");
  EXPECT_EQ(said({"rollback", "shop", "--emergancy"}),
            "rollbackctl: rollbackctl rollback has no option \"--emergancy\"\n  next: did you mean \"--emergency\"? Else: rollbackctl "
            "rollback --help\n");
  EXPECT_EQ(said({"rollback", "shop", "demo"}),
            "rollbackctl: \"demo\" is one word too many for rollbackctl rollback\n  next: rollbackctl rollback --help\n");
  EXPECT_EQ(said({"check"}), "rollbackctl: rollbackctl check needs a command\n  next: one of config, rules\n");
  EXPECT_EQ(said({"approve"}), "rollbackctl: service is required\n  next: rollbackctl approve --help\n");
  EXPECT_EQ(said({"rollback", "--reason", "r"}),
            "rollbackctl: name a service, or --group\n  next: rollbackctl status lists the services\n");
}

TEST(Options, AWrongWordIsToldWhichThereAre) {
  const Ran format = ctl({"--format", "xml", "status"}), drill = ctl({"drill", "shop", "--inject", "boom"});

  EXPECT_EQ(format.code, 1);
  EXPECT_EQ(format.err, "rollbackctl: --format: there is no \"xml\"\n  next: write one of table, json\n");
  EXPECT_EQ(drill.code, 1);
  EXPECT_THAT(drill.err, HasSubstr("--inject: there is no \"boom\"\n  next: write one of crash, 500, log\n"));
  EXPECT_THAT(ctl({"explain", "--help"}).out, HasSubstr("{table,json,markdown}"));
}

TEST(Generate, AnotherKindIsAUsageError) {
  const Ran ran = ctl({"--generate", "fish"});

  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out, "");
  EXPECT_THAT(ran.err, HasSubstr("bash, zsh, commands or settings"));
}

}  // namespace
}  // namespace rollbackd::cli
