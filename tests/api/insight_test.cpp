// What may be asked of the history, the statistics and the audit log, and what each change leaves in the last.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "api/api.hpp"
#include "api/change_audit.hpp"
#include "api/query.hpp"
#include "base/digest.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::api {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using io::ServerRequest;
using io::ServerResponse;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

const Instant kNow = Instant::from_seconds(1'795'176'000);  // 2026-11-20T12:00:00Z

ServerRequest asking(std::map<std::string, std::string> query) {
  ServerRequest request;
  request.query = std::move(query);
  return request;
}

// ---- Queries ----

TEST(HistoryQuery, EveryFilterIsRead) {
  const auto filter = history_filter_of(asking({{"service", "shop"},
                                                {"environment", "prod"},
                                                {"kind", "rollback"},
                                                {"status", "failed"},
                                                {"trigger", "automatic"},
                                                {"cause", "operator"},
                                                {"release", "v1.2+3"},
                                                {"principal", "token:ci"},
                                                {"since", "24h"},
                                                {"until", "2026-11-20T11:00:00Z"},
                                                {"limit", "7"}}),
                                        Rows::operations, kNow);

  ASSERT_TRUE(filter) << filter.error().text();
  EXPECT_EQ(filter->service + filter->environment + filter->kind + filter->status, "shopprodrollbackfailed");
  EXPECT_EQ(filter->trigger + filter->cause + filter->release + filter->principal, "automaticoperatorv1.2+3token:ci");
  EXPECT_EQ(filter->since, kNow - 24h);
  EXPECT_EQ(filter->until, kNow - 1h);
  EXPECT_EQ(filter->limit, 7);
}

TEST(HistoryQuery, ABadValueIsRefusedAndTheErrorNamesWhatIsAllowed) {
  const std::vector<std::pair<std::pair<std::string, std::string>, std::string>> cases{{{"kind", "rolback"}, "rollback, withdraw"},
                                                                                       {{"status", "ok"}, "succeeded, unverified"},
                                                                                       {{"trigger", "me"}, "automatic, manual, alert"},
                                                                                       {{"cause", "moon"}, "verification, crash, health"},
                                                                                       {{"since", "yesterday"}, "RFC 3339"},
                                                                                       {{"until", "-1h"}, "RFC 3339"},
                                                                                       {{"release", "../v1"}, "A-Za-z0-9"},
                                                                                       {{"service", "a b"}, "A-Za-z0-9"},
                                                                                       {{"staus", "failed"}, "service, environment"}};

  for (const auto& [parameter, expected] : cases) {
    const auto filter = history_filter_of(asking({parameter}), Rows::operations, kNow);
    ASSERT_FALSE(filter) << parameter.first;
    EXPECT_EQ(filter.error().code, Errc::invalid_argument);
    EXPECT_THAT(filter.error().why, HasSubstr(expected)) << filter.error().text();
  }
  EXPECT_THAT(history_filter_of(asking({{"staus", "x"}}), Rows::operations, kNow).error().next_step, HasSubstr("\"status\""));
}

TEST(HistoryQuery, WhatARowDoesNotHaveCannotBeAskedOfIt) {
  EXPECT_TRUE(history_filter_of(asking({{"kind", "hold"}}), Rows::decisions, kNow));
  EXPECT_FALSE(history_filter_of(asking({{"kind", "hold"}}), Rows::operations, kNow));
  EXPECT_FALSE(history_filter_of(asking({{"status", "failed"}}), Rows::decisions, kNow));
  EXPECT_FALSE(history_filter_of(asking({{"cause", "crash"}}), Rows::deployments, kNow));
  EXPECT_TRUE(history_filter_of(asking({{"service", "shop"}, {"since", "30d"}}), Rows::stats, kNow));
  EXPECT_FALSE(history_filter_of(asking({{"limit", "5"}}), Rows::stats, kNow)) << "statistics are of everything";
}

// ---- What a change leaves ----

ServerRequest change(const std::string& path, const std::string& body) {
  ServerRequest request;
  request.method = "POST";
  request.path = path;
  request.body = body;
  request.remote = "127.0.0.1:4711";
  return request;
}
ServerResponse answered(int status, const std::string& body = "{}") {
  ServerResponse response;
  response.status = status;
  response.body = body;
  return response;
}

TEST(ChangeAudit, SaysWhoDidWhatToWhatAndWhyAndWhatBecameOfIt) {
  const auto entry =
      audit_entry_of(change("/api/v1/mark", R"({"service":"shop","environment":"prod","release":"v2","standing":"bad","reason":"leaks"})"),
                     answered(200), "token:ci");

  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->principal, "token:ci");
  EXPECT_EQ(entry->action, "mark");
  EXPECT_EQ(entry->service, (ServiceKey{"shop", "prod"}));
  EXPECT_EQ(entry->target, "v2 bad");
  EXPECT_EQ(entry->reason, "leaks");
  EXPECT_EQ(entry->outcome, "done");
  EXPECT_EQ(entry->from, "127.0.0.1:4711");
}

TEST(ChangeAudit, AStartedOperationIsAcceptedWithItsIdAndARefusalSaysWhy) {
  const auto accepted =
      audit_entry_of(change("/api/v1/deploy", R"({"service":"shop","release":"v2"})"), answered(202, R"({"operation":"op-1"})"), "uid:0");
  const auto held = audit_entry_of(change("/api/v1/rollback", R"({"service":"shop","reason":"x"})"),
                                   answered(409, R"({"message":"a guard said no"})"), "uid:0");
  const auto unknown = audit_entry_of(change("/api/v1/suspend", R"({"service":"none"})"),
                                      answered(404, R"({"error":{"what":"there is no service none","why":"there is shop"}})"), "uid:0");

  EXPECT_EQ(accepted->outcome, "accepted");
  EXPECT_EQ(accepted->operation, "op-1");
  EXPECT_EQ(held->outcome, "refused: a guard said no");
  EXPECT_EQ(unknown->outcome, "failed: there is no service none: there is shop");
}

TEST(ChangeAudit, WithoutAReasonItSaysSoRatherThanNothing) {
  EXPECT_EQ(audit_entry_of(change("/-/reload", ""), answered(200), "uid:0")->reason, kNoReason);
  EXPECT_EQ(audit_entry_of(change("/-/reload", R"({"reason":" "})"), answered(200), "uid:0")->reason, kNoReason);
  EXPECT_EQ(audit_entry_of(change("/-/reload", R"({"reason":"new port"})"), answered(200), "uid:0")->reason, "new port");
}

TEST(ChangeAudit, ARehearsalIsNoChangeButARefusedOneAtTheDoorIsAnAttempt) {
  const ServerRequest rehearsal = change("/api/v1/rollback", R"({"service":"shop","dry_run":true})");

  EXPECT_FALSE(audit_entry_of(rehearsal, answered(200), "uid:0"));
  EXPECT_TRUE(audit_entry_of(rehearsal, answered(401), ""));
  EXPECT_EQ(audit_entry_of(rehearsal, answered(401), "")->principal, "anonymous");
}

TEST(ChangeAudit, TheSecretOfANewTokenIsNotInIt) {
  const auto entry =
      audit_entry_of(change("/api/v1/tokens", R"({"name":"ci","role":"operator"})"), answered(200, R"({"token":"rbk_secret"})"), "uid:0");
  std::string line = record::audit_line(*entry, 1, kNow, record::kAuditGenesis, nullptr);

  EXPECT_EQ(entry->action, "token.create");
  EXPECT_EQ(entry->target, "ci");
  EXPECT_EQ(line.find("rbk_secret"), line.npos);
}

TEST(ChangeAudit, AFloodAtTheDoorIsBoundedAndCounted) {
  RefusalBudget budget;
  int noted = 0;
  record::AuditEntry entry;
  for (int i = 0; i < 1000; ++i) noted += budget.take(entry, kNow) ? 1 : 0;
  const bool later = budget.take(entry, kNow + 1min);

  EXPECT_EQ(noted, 20);
  EXPECT_TRUE(later);
  EXPECT_THAT(entry.outcome, HasSubstr("980 refused attempts before it were not noted"));
}

// ---- Through the API, to the file and back ----

asio::awaitable<bool> stopped(engine::Engine* engine) {
  co_await engine->stop();
  co_return true;
}

class InsightTest : public testing::Test {
 protected:
  InsightTest() {
    for (const char* id : {"v1", "v2"}) {
      fs::create_directories(directory_ / ("releases/" + std::string(id)));
      std::ofstream(directory_ / ("releases/" + std::string(id) + "/app")) << id;
    }
    fs::create_symlink("releases/v1", directory_ / "current");
    config::Settings settings;
    settings.state_directory = directory_ / "state";
    config::ServiceSettings service;
    service.key = {"shop", "prod"};
    service.automation = config::Automation::automatic;
    service.policy.trust_live = true;
    config::ComponentSettings component;
    component.releases = directory_ / "releases";
    component.current = directory_ / "current";
    service.components.push_back(component);
    settings.services.push_back(service);
    config::RouteSettings route;
    route.match = {"severity=\"critical\""};
    route.action = AlertAction::rollback;
    settings.routes.push_back(route);
    engine_ =
        std::make_unique<engine::Engine>(context_.get_executor(), settings, rules::Groups{}, engine::EngineOptions{"", "test", false});
    const Reload reload = []() -> asio::awaitable<Result<>> { co_return Result<>{}; };
    api_.emplace(*engine_, exporter_, reload, Tokens{{sha256_hex("the secret"), Token{"ci", Role::viewer, ""}}});
    const Result<> started = test::run_for(context_, engine_->start());
    if (!started) throw std::runtime_error(started.error().text());
  }
  ~InsightTest() override {
    test::run_for(context_, stopped(engine_.get()));
    engine_.reset();
  }
  ServerResponse handle(ServerRequest request) { return test::run_for(context_, api_->handle(std::move(request))); }
  Json get(const std::string& path, std::map<std::string, std::string> query = {}) {
    ServerRequest request = asking(std::move(query));
    request.method = "GET";
    request.path = path;
    return Json::parse(handle(std::move(request)).body).value();
  }
  ServerResponse post(const std::string& path, const std::string& body) {
    ServerRequest request = change(path, body);
    request.peer = ServerRequest::Peer{0, 0, 42};
    return handle(std::move(request));
  }
  /// "principal action outcome" of every entry, oldest first, once there are so many. Each look waits for the engine's worker.
  std::vector<std::string> entries(std::size_t at_least) {
    const auto until = std::chrono::steady_clock::now() + test::kPatience;
    std::vector<std::string> out;
    while (out.size() < at_least && std::chrono::steady_clock::now() < until) {
      out.clear();
      const Json rows = get("/api/v1/audit");
      for (const Json& row : rows.elements())
        out.insert(out.begin(), row["principal"].string_or("") + " " + row["action"].string_or("") + " " + row["outcome"].string_or(""));
    }
    return out;
  }

  asio::io_context context_{1};
  test::TempDir directory_;
  metrics::Exporter exporter_;
  std::unique_ptr<engine::Engine> engine_;
  std::optional<Api> api_;
};

TEST_F(InsightTest, EveryChangeAndEveryRefusedAttemptIsInTheChain) {
  ServerRequest stranger = change("/api/v1/suspend", R"({"service": "shop", "reason": "x"})");
  ServerRequest viewer = stranger;
  viewer.headers["authorization"] = "Bearer the secret";
  post("/api/v1/suspend", R"({"service": "shop", "reason": "maintenance"})");
  post("/api/v1/resume", R"({"service": "shop"})");
  post("/-/reload", "");
  handle(stranger);
  handle(viewer);

  EXPECT_THAT(entries(5), ElementsAre("uid:0 suspend done", "uid:0 resume done", "uid:0 reload done",
                                      StartsWith("anonymous suspend refused: "), StartsWith("token:ci suspend refused: ")));
  const auto verdict = record::verify_audit_files(*record::audit_files(directory_ / "state"), true, "");
  EXPECT_TRUE(verdict->ok) << verdict->problem;
}

TEST_F(InsightTest, AnOperationIsNotedWhenItIsAskedForBeginsAndEnds) {
  post("/api/v1/deploy", R"({"service": "shop", "release": "v2", "reason": "the new cart"})");

  const auto all = entries(3);
  ASSERT_EQ(all.size(), 3U);
  EXPECT_THAT(all, testing::UnorderedElementsAre("uid:0 deploy accepted", "uid:0 deploy begun", StartsWith("uid:0 deploy succeeded")));
  const Json rows = get("/api/v1/audit", {{"action", "deploy"}, {"limit", "1"}});
  EXPECT_EQ(rows.elements().at(0)["operation"].string_or("").size(), 36U);
  EXPECT_EQ(rows.elements().at(0)["reason"].string_or(""), "the new cart");
}

TEST_F(InsightTest, AnAlertThatMayCauseSomethingIsNotedOnceAndOneThatMayNotIsNot) {
  const std::string at = format_rfc3339(io::Clock::wall_now());
  const auto alert = [&](const std::string& severity) {
    return R"({"version": "4", "groupKey": "{}", "status": "firing", "receiver": "rollbackd", "alerts": [{"status": "firing",
      "labels": {"alertname": "TooSlow", "service": "shop", "severity": ")" +
           severity + R"("}, "annotations": {"summary": "checkout is slow"}, "startsAt": ")" + at +
           R"(", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "f-)" + severity + R"("}]})";
  };
  for (const char* severity : {"critical", "critical", "info"}) ASSERT_EQ(post("/api/v1/alertmanager", alert(severity)).status, 200);
  post("/-/reload", "");

  EXPECT_THAT(entries(2), ElementsAre("uid:0 alert accepted: may cause rollback", "uid:0 reload done"));
  const Json row = get("/api/v1/audit", {{"action", "alert"}}).elements().at(0);
  EXPECT_EQ(row["target"].string_or(""), "TooSlow");
  EXPECT_EQ(row["reason"].string_or(""), "checkout is slow");
}

TEST_F(InsightTest, StatisticsOfAFreshDaemonSayThatThereWasNoOperation) {
  const Json stats = get("/api/v1/stats");

  EXPECT_EQ(stats["operations"].int_or(-1), 0);
  EXPECT_TRUE(stats["success_rate"].is_null());
}

TEST_F(InsightTest, ABadQueryIsRefused) {
  EXPECT_THAT(get("/api/v1/operations", {{"status", "great"}})["error"]["why"].string_or(""), HasSubstr("succeeded"));
  EXPECT_EQ(get("/api/v1/audit", {{"since", "soon"}})["error"]["code"].string_or(""), "invalid_argument");
}

}  // namespace
}  // namespace rollbackd::api
