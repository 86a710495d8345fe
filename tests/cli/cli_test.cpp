// The command line: what is read from disk, what people are shown, and which exit code tells what.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "base/text.hpp"
#include "cli/load.hpp"
#include "cli/offline.hpp"
#include "cli/render.hpp"
#include "io/http_server.hpp"
#include "record/state_file.hpp"
#include "tests/cli/run_ctl.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::cli {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using test::TempDir;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

const std::string kPacks = std::string(ROLLBACKD_SOURCE_DIR) + "/rules";

void write(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << text;
}

std::string service(const std::string& name, const std::string& more = "") {
  return R"({"name": ")" + name + R"(", "environment": "prod", "automation": "observe", "current": "/srv/)" + name +
         R"(/current", "url": "http://127.0.0.1:8080/health")" + more + "}";
}

std::vector<std::string> errors(const Configuration& configuration) {
  std::vector<std::string> out;
  for (const auto& problem : configuration.problems)
    if (!problem.warning) out.push_back(problem.text());
  return out;
}

std::vector<std::string> names(const Configuration& configuration) {
  std::vector<std::string> out;
  for (const auto& s : configuration.loaded.settings.services) out.push_back(s.key.name);
  return out;
}

Json json(const std::string& text) { return Json::parse(text).value(); }

// ---- load ----

TEST(LoadConfiguration, AMissingFileIsAProblemThatSaysWhatToDo) {
  const Configuration loaded = load_configuration("/nonexistent/rollbackd.json", kPacks);

  EXPECT_FALSE(loaded.ok());
  EXPECT_THAT(errors(loaded), ElementsAre(AllOf(StartsWith("/nonexistent/rollbackd.json:1:1:"), HasSubstr("--config"))));
}

TEST(LoadConfiguration, ServicesDIsReadInNameOrderWhateverTheEnding) {
  TempDir directory;
  write(directory / "rollbackd.json", "{\"services\": [" + service("first") + "]}");
  write(directory / "services.d/30-c.json", service("third"));
  write(directory / "services.d/10-a.yaml", "services:\n- " + service("a") + "\n");
  write(directory / "services.d/20-b.json", "{\"services\": [" + service("b1") + ", " + service("b2") + "]}");
  write(directory / "services.d/README", "not configuration");

  const Configuration loaded = load_configuration(directory / "rollbackd.json", kPacks);

  EXPECT_THAT(errors(loaded), IsEmpty());
  EXPECT_THAT(names(loaded), ElementsAre("first", "a", "b1", "b2", "third"));
}

TEST(LoadConfiguration, AServicesFileThatCannotBeReadIsAProblemAndTheOthersAreStillLookedAt) {
  TempDir directory;
  write(directory / "rollbackd.json", "{}");
  fs::create_directories(directory / "services.d/a-directory.json");
  write(directory / "services.d/wrong.json", service("shop", R"(, "colour": "red")"));

  const Configuration loaded = load_configuration(directory / "rollbackd.json", kPacks);

  EXPECT_FALSE(loaded.ok());
  EXPECT_THAT(errors(loaded), Contains(HasSubstr("a-directory.json")));
  EXPECT_THAT(errors(loaded), Contains(AllOf(HasSubstr("wrong.json:1:"), HasSubstr("colour"))));
}

TEST(LoadConfiguration, TheShippedPacksAreFoundAndJudgeByDefault) {
  TempDir directory;
  write(directory / "rollbackd.json", "{\"services\": [" + service("shop") + "]}");

  const Configuration loaded = load_configuration(directory / "rollbackd.json", kPacks);

  std::vector<std::string> groups;
  for (const auto& group : loaded.groups) groups.push_back(group.name);
  EXPECT_TRUE(loaded.ok());
  EXPECT_THAT(groups, AllOf(Contains("health"), Contains("crash"), Contains("log"), Contains("verification")));
}

TEST(LoadConfiguration, WithoutThePacksItDoesNotPassForWatching) {
  TempDir directory;
  write(directory / "with.json", "{\"services\": [" + service("shop") + "]}");
  write(directory / "without.json", "{\"default_rules\": false, \"services\": [" + service("shop") + "]}");

  const Configuration with = load_configuration(directory / "with.json", directory / "no-packs");
  const Configuration without = load_configuration(directory / "without.json", directory / "no-packs");

  EXPECT_THAT(errors(with), ElementsAre(AllOf(HasSubstr("no-packs"), HasSubstr("ROLLBACKD_RULES_DIRECTORY"))));
  EXPECT_THAT(errors(without), IsEmpty());
  EXPECT_THAT(without.groups, IsEmpty());
}

TEST(LoadConfiguration, AnErrorInARuleFileHasItsPlace) {
  TempDir directory;
  write(directory / "rules/bad.json", "{\"groups\": [{\"name\": \"g\", \"rules\": [\n  {\"alert\": \"A\",\n   \"expr\": \"up ==\"}]}]}");
  write(directory / "rollbackd.json", "{\"rule_files\": [\"rules/*.json\"], \"services\": [" + service("shop") + "]}");

  const Configuration loaded = load_configuration(directory / "rollbackd.json", kPacks);

  EXPECT_THAT(errors(loaded), Contains(HasSubstr("rules/bad.json:3:")));
}

TEST(LoadConfiguration, AServicesOwnRulesSeeThatServiceAlone) {
  TempDir directory;
  write(directory / "shop-rules.json", R"({"groups": [{"name": "own", "rules": [{"alert": "A", "expr": "up == 0"}]}]})");
  write(directory / "rollbackd.json", "{\"services\": [" + service("shop", R"(, "rule_files": ["shop-rules.json"])") + "]}");

  const Configuration loaded = load_configuration(directory / "rollbackd.json", kPacks);

  ASSERT_TRUE(loaded.ok()) << errors(loaded).front();
  ASSERT_FALSE(loaded.groups.empty());
  EXPECT_EQ(loaded.groups.back().name, "own");
  EXPECT_EQ(loaded.groups.back().only, (ServiceKey{"shop", "prod"}));
}

TEST(LoadConfiguration, TheRulesDirectoryMayBeNamedInTheEnvironment) {
  ::setenv("ROLLBACKD_RULES_DIRECTORY", kPacks.c_str(), 1);
  const std::string named = default_rules_directory();
  ::unsetenv("ROLLBACKD_RULES_DIRECTORY");

  EXPECT_EQ(named, kPacks);
  EXPECT_NE(default_rules_directory(), "");
}

TEST(ReadFile, OverItsBoundIsTooLargeAndSaysTheBound) {
  TempDir directory;
  write(directory / "five", "12345");

  const auto whole = read_file(directory / "five", 5), cut = read_file(directory / "five", 4);

  ASSERT_TRUE(whole);
  EXPECT_EQ(*whole, "12345");
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, Errc::too_large);
  EXPECT_THAT(cut.error().text(), HasSubstr("larger than 4 bytes"));
}

TEST(ReadFile, ADirectoryOrAMissingFileIsAnErrorWithItsReason) {
  TempDir directory;

  EXPECT_THAT(read_file(directory.path().string()).error().text(), HasSubstr("directory"));
  EXPECT_THAT(read_file(directory / "none").error().text(), HasSubstr("No such file"));
}

TEST(ExpandGlob, IsSortedAbsoluteAndEmptyWithoutAMatch) {
  TempDir directory;
  for (const char* name : {"b.json", "a.json", "c.txt"}) write(directory / name, "");

  EXPECT_THAT(expand_glob(directory / "*.json"), ElementsAre(directory / "a.json", directory / "b.json"));
  EXPECT_THAT(expand_glob(directory / "c.txt"), ElementsAre(directory / "c.txt"));
  EXPECT_THAT(expand_glob(directory / "*.yaml"), IsEmpty());
  EXPECT_EQ(absolute(directory / "x/../y"), directory / "y");
}

// ---- render ----

TEST(TableText, ColumnsAreAsWideAsTheirWidestCellCountedInCharacters) {
  Table table({"NAME", "STATE"});
  table.row({"käse", "ok"});
  table.row({"a-longer-name", "bad"});

  EXPECT_EQ(table.text(),
            "NAME           STATE\n"
            "käse           ok\n"
            "a-longer-name  bad\n");
}

TEST(TableText, CellsArePrintableAndMissingOnesEmpty) {
  Table table({"A", "B"});
  table.row({"\x1b[31mred\n"});
  table.row({"1", "2", "3"});

  EXPECT_EQ(table.text(),
            "A                B\n"
            "\\x1b[31mred\\x0a  \n"
            "1                2\n");
}

TEST(Render, StatusSaysFirstWhetherAServiceIsProtected) {
  const Json status = json(R"({"services": [
    {"service": "shop", "environment": "prod", "protected": true, "release": "v2", "standing": "candidate", "phase": "watching",
     "baked_seconds": 30, "bake_time_seconds": 60, "automation": "automatic", "since": "2026-11-20T03:00:00.000Z", "blind": true, "firing": ["Down"]},
    {"service": "db", "environment": "prod", "protected": false, "protected_why": "suspended: maintenance", "release": "v1", "standing": "good",
     "phase": "held", "decision": {"kind": "hold", "reason": "v1 fails", "next_step": "rollbackctl rollback db"}}],
    "history": "it is in memory", "last_reload_error": "line 3"})");

  const auto lines = split(render_status(status), '\n');

  ASSERT_GE(lines.size(), 3U);
  EXPECT_THAT(lines[0], StartsWith("PROTECTED"));
  EXPECT_THAT(lines[1],
              AllOf(StartsWith("yes "), HasSubstr("shop/prod"), HasSubstr("candidate (50% baked)"), HasSubstr("watching, blind, Down")));
  EXPECT_THAT(lines[2], StartsWith("no: suspended: maintenance"));
  EXPECT_THAT(lines, Contains("db/prod is held: v1 fails"));
  EXPECT_THAT(lines, Contains("  to act now: rollbackctl rollback db"));
  EXPECT_THAT(lines, Contains("history: it is in memory"));
  EXPECT_THAT(lines, Contains("the last reload was refused: line 3"));
}

TEST(Render, ReleasesEndWithWhereARollbackWouldGo) {
  const std::string rows = R"("releases": [{"release": "v2", "standing": "candidate", "live": true, "digest": "0123456789abcdef"}])";

  const std::string with = render_releases(json("{" + rows + R"(, "target": "v1", "why_not": ["v0: bad"]})"));
  const std::string without = render_releases(json("{" + rows + R"(, "target": null})"));

  EXPECT_THAT(with, AllOf(HasSubstr("0123456789ab "), HasSubstr("a rollback would go to v1\n"), EndsWith("  not v0: bad\n")));
  EXPECT_THAT(with, Not(HasSubstr("0123456789abc")));
  EXPECT_THAT(without, HasSubstr("a rollback would find no target"));
}

TEST(Render, OperationsShowHowLongTheyTook) {
  const Json rows = json(R"([
    {"begun": "2026-11-20T03:00:00.000Z", "service": "shop", "environment": "prod", "kind": "rollback", "from": "v2", "to": "v1",
     "status": "succeeded", "trigger": "automatic", "cause": "health", "duration_seconds": 0.412, "operation": "id"},
    {"status": "failed", "duration_seconds": 1.93}, {"status": "running"}])");

  const auto lines = split(render_operations(rows), '\n');

  ASSERT_GE(lines.size(), 4U);
  EXPECT_THAT(lines[1], AllOf(HasSubstr("v2    v1"), HasSubstr("412 ms")));
  EXPECT_THAT(lines[2], HasSubstr("1.93 s"));
  EXPECT_THAT(lines[3], HasSubstr(" -  "));
}

TEST(Render, ReadyIsYesOrNoWithTheReason) {
  const std::string text =
      render_ready(json(R"([{"service": "shop", "environment": "prod", "ready": false, "why": "automation is off"}])"));

  EXPECT_EQ(text, "READY  SERVICE    WHY\nno     shop/prod  automation is off\n");
}

TEST(Render, ACommandShowsStepsAndOnlyTheGuardsThatWereAsked) {
  const std::string text = render_command(json(R"({"message": "would roll back v2 -> v1", "operation": "",
    "plan": {"steps": [{"number": 1, "driver": "symlink", "action": "switch", "arguments": {"to_value": "releases/v1"}}]},
    "guards": [{"guard": "budget", "asked": true, "yes": false, "evidence": "2 of 2"},
               {"guard": "cooldown", "asked": true, "yes": false, "passed_over": true},
               {"guard": "target_intact", "asked": true, "yes": true}, {"guard": "approved", "asked": false}]})"));

  EXPECT_THAT(text, StartsWith("would roll back v2 -> v1\n  step 1: symlink switch {\"to_value\":\"releases/v1\"}\n"));
  EXPECT_THAT(text, AllOf(HasSubstr("  NO   budget: 2 of 2\n"), HasSubstr("  over cooldown\n"), HasSubstr("  yes  target_intact\n")));
  EXPECT_THAT(text, Not(HasSubstr("approved")));
}

TEST(Render, ExplainShowsEachDecisionWithItsEvidence) {
  const Json explained =
      json(R"({"service": "shop", "environment": "prod", "release": "v2", "standing": "bad", "since": "S", "phase": "held",
    "protected": false, "protected_why": "no target",
    "decisions": [{"at": "T", "decision": "hold", "release": "v2", "target": "v1", "reason": "v2 fails", "evidence": ["Down fires"],
                   "guards": [{"guard": "budget", "yes": false, "evidence": "2 of 2"}], "why_not": ["v0: bad"], "next_step": "rollbackctl ..."}],
    "rules": [{"verdict": "blind", "rule": "Down", "fed": false, "detail": "no check"}]})");

  const std::string text = render_explain(explained);

  for (const char* line : {"shop/prod runs v2 (bad) since S; held\n", "a rollback could not act now: no target\n",
                           "T  decision hold about v2 -> v1\n", "  seen: Down fires\n", "  NO   budget: 2 of 2\n",
                           "  not chosen: v0: bad\n", "  to act now: rollbackctl ...\n", "blind (no source)", "  no check\n"})
    EXPECT_THAT(text, HasSubstr(line));
}

TEST(Render, AnErrorSaysWhatWhyAndTheNextStepAndOnlyWhatThereIs) {
  EXPECT_EQ(render_error(json(R"({"error": {"what": "no", "why": "because", "next_step": "wait"}})")),
            "rollbackctl: no\n  why: because\n  next: wait\n");
  EXPECT_EQ(render_error(json(R"({"error": "method not allowed"})")), "rollbackctl: method not allowed\n");
  EXPECT_EQ(render_error(json("{}")), "rollbackctl: the daemon refused\n");
}

TEST(Render, AnAnswerWithoutAnyFieldIsRenderedEmptyRatherThanNotAtAll) {
  const Json nothing = json("{}");

  for (const auto render : {render_status, render_releases, render_operations, render_decisions, render_deployments, render_stats,
                            render_audit, render_audit_verdict, render_ready, render_explain, render_command})
    EXPECT_NE(render(nothing), "");
}

// ---- rollbackctl ----

TEST(Rollbackctl, UsageErrorsAre1) {
  const std::vector<std::vector<std::string>> wrong{{},
                                                    {"explode"},
                                                    {"rollback"},
                                                    {"releases"},
                                                    {"status", "--format", "xml"},
                                                    {"history", "--limit", "0"},
                                                    {"history", "--limit", "1001"},
                                                    {"mark", "great", "shop", "v1", "--reason", "x"},
                                                    {"check"},
                                                    {"status", "--no-such-option"}};
  for (const auto& arguments : wrong) {
    const Ran ran = ctl(arguments);
    EXPECT_EQ(ran.code, 1) << join(arguments, " ");
    EXPECT_NE(ran.out + ran.err, "") << join(arguments, " ");
  }
}

TEST(Rollbackctl, HelpAndVersionAre0) {
  const Ran help = ctl({"--help"}), of_command = ctl({"rollback", "--help"}), version = ctl({"--version"});

  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("Exit codes"), HasSubstr("rollback"), HasSubstr("explain")));
  EXPECT_EQ(of_command.code, 0);
  EXPECT_THAT(of_command.out, HasSubstr("--dry-run"));
  EXPECT_EQ(version.code, 0);
  EXPECT_THAT(version.out, StartsWith("rollbackctl "));
}

TEST(Rollbackctl, AnUnreachableDaemonIs3) {
  TempDir directory;
  const std::string url = "unix:" + directory / "none.sock";

  for (const auto& arguments : std::vector<std::vector<std::string>>{{"status"},
                                                                     {"explain", "shop"},
                                                                     {"rollback", "shop", "--reason", "x"},
                                                                     {"deploy", "shop", "v2"},
                                                                     {"suspend", "shop", "--reason", "x"}}) {
    std::vector<std::string> whole{"--url", url};
    whole.insert(whole.end(), arguments.begin(), arguments.end());
    const Ran ran = ctl(whole);
    EXPECT_EQ(ran.code, 3) << join(arguments, " ");
    EXPECT_THAT(ran.err, HasSubstr("is rollbackd running?"));
  }
}

TEST(Rollbackctl, AChangeWithoutAReasonIs1AndAsksNobody) {
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"rollback", "shop"}, {"suspend", "shop", "--reason", " "}, {"mark", "bad", "shop", "v1"}}) {
    const Ran ran = ctl(arguments);
    EXPECT_EQ(ran.code, 1);
    EXPECT_THAT(ran.err, HasSubstr("a reason is needed"));
  }
}

TEST(Rollbackctl, AnAddressThatIsNoneIs1) { EXPECT_EQ(ctl({"--url", "ftp://x", "status"}).code, 1); }

TEST(Rollbackctl, ATokenFileThatCannotBeUsedIsSaidBeforeAnythingIsSent) {
  TempDir directory;
  write(directory / "large", std::string(5000, 'x'));

  EXPECT_THAT(ctl({"--token-file", directory / "none", "status"}).err, HasSubstr("No such file"));
  EXPECT_THAT(ctl({"--token-file", directory / "large", "status"}).err, HasSubstr("larger than 4096 bytes"));
}

TEST(Rollbackctl, CheckConfigIs0ForAGoodOneAnd1ForABadOne) {
  TempDir directory;
  write(directory / "good.json", "{\"services\": [" + service("shop") + "]}");
  write(directory / "bad.json", "{\"services\": [" + service("shop", ",\n\"colour\": \"red\"") + "]}");

  const Ran good = ctl({"check", "config", directory / "good.json", "--rules-directory", kPacks});
  const Ran bad = ctl({"check", "config", directory / "bad.json", "--rules-directory", kPacks});
  const Ran absent = ctl({"check", "config", directory / "none.json", "--rules-directory", kPacks});

  EXPECT_EQ(good.code, 0) << good.err;
  EXPECT_THAT(good.out, StartsWith("ok: 1 services, "));
  EXPECT_EQ(bad.code, 1);
  EXPECT_THAT(bad.err, AllOf(HasSubstr("bad.json:2:"), HasSubstr("colour")));
  EXPECT_EQ(absent.code, 1);
}

TEST(Rollbackctl, CheckConfigAsJsonIsJsonWhateverItFinds) {
  TempDir directory;
  write(directory / "bad.json", "{\"colour\": \"red\", \"services\": [" + service("shop") + "]}");

  const Ran ran = ctl({"check", "config", directory / "bad.json", "--rules-directory", kPacks, "--format", "json"});

  EXPECT_EQ(ran.code, 1);
  const auto parsed = Json::parse(ran.out);
  ASSERT_TRUE(parsed) << ran.out;
  EXPECT_FALSE((*parsed)["ok"].bool_or(true));
  EXPECT_EQ((*parsed)["problems"].elements().at(0)["line"].int_or(0), 1);
}

TEST(Rollbackctl, CheckRulesTakesPatternsAndCountsRules) {
  TempDir directory;
  write(directory / "bad.json", R"({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up =="}]}]})");

  const Ran good = ctl({"check", "rules", kPacks + "/*.json"});
  const Ran bad = ctl({"check", "rules", directory / "*.json"});
  const Ran none = ctl({"check", "rules", directory / "*.yaml"});

  EXPECT_EQ(good.code, 0) << good.err;
  EXPECT_THAT(good.out, Not(HasSubstr(" 0 rules")));
  EXPECT_EQ(bad.code, 1);
  EXPECT_THAT(bad.err, HasSubstr("bad.json:1:"));
  EXPECT_EQ(none.code, 1);
  EXPECT_THAT(none.err, HasSubstr("there is no file"));
}

TEST(Rollbackctl, ConfigShowNamesTheOriginOfEverySetting) {
  TempDir directory;
  write(directory / "rollbackd.json", "{\"services\": [\n" + service("shop") + "]}");

  const Ran ran = ctl({"config", "show", "--config", directory / "rollbackd.json", "--rules-directory", kPacks});

  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, AllOf(HasSubstr("rollbackd.json:2"), HasSubstr("default"), HasSubstr("services[0].policy.cooldown")));
}

/// A daemon's answers over a unix socket, served by a thread of its own because rollbackctl waits.
class AnsweringDaemon : public testing::Test {
 protected:
  AnsweringDaemon()
      : server_(context_.get_executor(), [this](io::ServerRequest request) -> asio::awaitable<io::ServerResponse> {
          const std::scoped_lock lock(mutex_);
          requests_.push_back(request);
          io::ServerResponse response;
          const auto at = answers_.find(request.path);
          response.status = at == answers_.end() ? 404 : at->second.first;
          response.body = at == answers_.end() ? R"({"error": {"what": "there is nothing"}})" : at->second.second;
          co_return response;
        }) {
    const auto listening = server_.listen_unix(socket());
    EXPECT_TRUE(listening);
    asio::co_spawn(context_, server_.run(), asio::detached);
    thread_ = std::thread([this] { context_.run(); });
  }
  ~AnsweringDaemon() override {
    context_.stop();
    thread_.join();
  }
  std::string socket() const { return directory_ / "d.sock"; }
  void answer(const std::string& path, int status, const std::string& body) {
    const std::scoped_lock lock(mutex_);
    answers_[path] = {status, body};
  }
  Ran ask(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--url", "unix:" + socket()});
    return ctl(std::move(arguments));
  }
  io::ServerRequest last() {
    const std::scoped_lock lock(mutex_);
    return requests_.empty() ? io::ServerRequest{} : requests_.back();
  }

 private:
  TempDir directory_;
  std::mutex mutex_;
  std::map<std::string, std::pair<int, std::string>> answers_;
  std::vector<io::ServerRequest> requests_;
  asio::io_context context_{1};
  io::HttpServer server_;
  std::thread thread_;
};

TEST_F(AnsweringDaemon, ItsExitCodeIsOurs) {
  for (const auto& [status, code] : {std::pair(404, 40), std::pair(409, 41), std::pair(200, 46), std::pair(409, 47)}) {
    answer("/api/v1/rollback", status, R"({"message": "said", "operation": "", "exit_code": )" + std::to_string(code) + "}");

    const Ran ran = ask({"rollback", "shop", "--reason", "x"});

    EXPECT_EQ(ran.code, code);
    EXPECT_THAT(ran.out, StartsWith("said\n"));
  }
}

TEST_F(AnsweringDaemon, WhatIsAskedIsWhatWasTyped) {
  answer("/api/v1/rollback", 200, R"({"message": "said", "exit_code": 0})");

  ask({"rollback", "shop", "--env", "prod", "--to", "v1", "--reason", "a b", "--dry-run", "--force"});

  const Json body = json(last().body);
  EXPECT_EQ(body["service"].string_or(""), "shop");
  EXPECT_EQ(body["environment"].string_or(""), "prod");
  EXPECT_EQ(body["to"].string_or(""), "v1");
  EXPECT_EQ(body["reason"].string_or(""), "a b");
  EXPECT_TRUE(body["dry_run"].bool_or(false));
  EXPECT_TRUE(body["force"].bool_or(false));
  EXPECT_FALSE(body["lenient"].bool_or(true));
}

TEST_F(AnsweringDaemon, WaitingEndsWithHowTheOperationEnded) {
  answer("/api/v1/rollback", 202, R"({"message": "rolling back", "operation": "id", "exit_code": 0})");
  for (const auto& [status, code] : {std::pair("succeeded", 0), std::pair("failed", 2), std::pair("undone", 43), std::pair("unknown", 5)}) {
    answer("/api/v1/operations/id", 200, std::string(R"({"operation": "id", "status": ")") + status + "\"}");

    EXPECT_EQ(ask({"rollback", "shop", "--reason", "x", "--wait"}).code, code) << status;
  }
}

TEST_F(AnsweringDaemon, WaitingForADeploymentEndsWithItsVerdict) {
  answer("/api/v1/deploy", 202, R"({"message": "deploying", "operation": "id", "exit_code": 0})");
  answer("/api/v1/operations/id", 200, R"({"operation": "id", "status": "succeeded"})");
  const auto verdict = [&](const std::string& live, const std::string& phase, const std::string& standing, const std::string& timeout) {
    answer("/api/v1/services", 200, R"({"release": ")" + live + R"(", "phase": ")" + phase + "\"}");
    answer("/api/v1/releases", 200, R"({"releases": [{"release": "v2", "standing": ")" + standing + "\"}]}");
    return ask({"deploy", "shop", "v2", "--wait", "--timeout", timeout}).code;
  };

  EXPECT_EQ(verdict("v2", "watching", "good", "10s"), 0);
  EXPECT_EQ(verdict("v1", "watching", "bad", "10s"), 50);
  EXPECT_EQ(verdict("v2", "held", "candidate", "10s"), 51);
  EXPECT_EQ(verdict("v2", "watching", "candidate", "300ms"), 52);
}

TEST_F(AnsweringDaemon, AnErrorIsShownWholeAndIs1) {
  answer("/api/v1/explain", 404, R"({"error": {"what": "there is no service shopp", "next_step": "did you mean shop?"}})");

  const Ran table = ask({"explain", "shopp"}), as_json = ask({"explain", "shopp", "--format", "json"});

  EXPECT_EQ(table.code, 1);
  EXPECT_EQ(table.err, "rollbackctl: there is no service shopp\n  next: did you mean shop?\n");
  EXPECT_EQ(as_json.code, 1);
  EXPECT_TRUE(Json::parse(as_json.out)) << as_json.out;
}

TEST_F(AnsweringDaemon, QuestionsArePercentEncoded) {
  ask({"history", "shop & co", "--limit", "7"});

  EXPECT_EQ(last().path, "/api/v1/operations");
  EXPECT_EQ(last().query, (std::map<std::string, std::string>{{"service", "shop & co"}, {"limit", "7"}}));
}

TEST_F(AnsweringDaemon, ATokenIsSentAsABearer) {
  TempDir secrets;
  write(secrets / "token", "the secret\n");

  ask({"--token-file", secrets / "token", "status"});

  EXPECT_EQ(last().headers["authorization"], "Bearer the secret");
}

// ---- rollbackd rollback --offline ----

class Offline : public testing::Test {
 protected:
  Offline() {
    for (const char* id : {"v1", "v2"}) write(directory_ / ("releases/" + std::string(id) + "/app"), id);
    fs::create_symlink("releases/v2", directory_ / "current");
    write(directory_ / "rollbackd.json",
          R"({"state_directory": "state", "services": [{"name": "shop", "environment": "prod", "automation": "automatic",
              "components": [{"name": "app", "driver": "symlink", "releases": "releases", "current": "current"}],
              "verify": [{"type": "file_exists", "path": "app"}]}]})");
    options_.config = directory_ / "rollbackd.json";
    options_.rules_directory = kPacks;
    options_.service = "shop";
    options_.reason = "the daemon is gone";
    options_.to = "v1";
    options_.force = true;  // v1 was never seen good: there was no daemon.
  }
  int roll_back() {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int code = rollback_offline(options_);
    std::fflush(stdout);
    output_ = testing::internal::GetCapturedStdout() + testing::internal::GetCapturedStderr();
    return code;
  }
  std::string live() const { return fs::read_symlink(directory_ / "current").filename().string(); }

  TempDir directory_;
  OfflineOptions options_;
  std::string output_;
};

TEST_F(Offline, PutsTheReleaseBackWithoutADaemon) {
  EXPECT_EQ(roll_back(), 0) << output_;
  EXPECT_EQ(live(), "v1");
}

TEST_F(Offline, ADryRunChangesNothing) {
  options_.dry_run = true;

  EXPECT_EQ(roll_back(), 0) << output_;
  EXPECT_EQ(live(), "v2");
}

TEST_F(Offline, IsRefusedWhileADaemonHoldsTheState) {
  const auto daemon = record::DirectoryLock::take(directory_ / "state");
  ASSERT_TRUE(daemon);

  EXPECT_EQ(roll_back(), 41) << output_;
  EXPECT_EQ(live(), "v2");
}

TEST_F(Offline, TellsWhatItCannotDoByItsExitCode) {
  options_.force = false;
  EXPECT_EQ(roll_back(), 41) << "v1 is not known to be good: " << output_;
  options_.to = "v9";
  EXPECT_EQ(roll_back(), 40) << output_;
  options_.to = "v2";
  EXPECT_EQ(roll_back(), 46) << output_;
  options_.service = "none";
  EXPECT_EQ(roll_back(), 1) << output_;
  options_.config = directory_ / "none.json";
  EXPECT_EQ(roll_back(), 1) << output_;
  EXPECT_EQ(live(), "v2");
}

}  // namespace
}  // namespace rollbackd::cli
