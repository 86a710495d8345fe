// Who may change what over HTTP, what a request may hold, and what is answered. The engine behind it is a real one, with one service.
#include "api/api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/digest.hpp"
#include "io/clock.hpp"
#include "record/state_file.hpp"
#include "tests/support/run_for.hpp"

namespace rollbackd::api {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using io::ServerRequest;
using io::ServerResponse;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

asio::awaitable<bool> stopped(engine::Engine* engine) {
  co_await engine->stop();
  co_return true;
}

class ApiTest : public testing::Test {
 protected:
  ApiTest() {
    for (const char* id : {"v1", "v2"}) {
      fs::create_directories(releases() + "/" + id);
      std::ofstream(releases() + "/" + id + "/app") << id;
    }
    fs::create_symlink("releases/v1", directory_ / "current");
    settings_.state_directory = directory_ / "state";
    settings_.token_file = tokens_file();
    config::ServiceSettings service;
    service.key = {"shop", "prod"};
    service.automation = config::Automation::automatic;
    service.policy.trust_live = true;
    config::ComponentSettings component;
    component.releases = releases();
    component.current = directory_ / "current";
    service.components.push_back(component);
    settings_.services.push_back(service);
    make();
  }
  void make() {
    api_.reset();
    engine_ =
        std::make_unique<engine::Engine>(context_.get_executor(), settings_, rules::Groups{}, engine::EngineOptions{"", "test", false});
    const Reload reload = [this]() -> asio::awaitable<Result<>> {
      ++reloads_;
      co_return reload_answer_;
    };
    api_.emplace(*engine_, exporter_, reload, Tokens{{sha256_hex("the secret"), Token{"ci", Role::admin, ""}}});
  }
  ~ApiTest() override {
    if (engine_->started()) test::run_for(context_, stopped(engine_.get()));
    engine_.reset();
  }
  void SetUp() override { start(); }
  void start() {
    const Result<> started = test::run_for(context_, engine_->start());
    ASSERT_TRUE(started) << started.error().text();
  }
  std::string releases() const { return directory_ / "releases"; }
  std::string live() const { return fs::read_symlink(directory_ / "current").filename().string(); }

  ServerResponse handle(ServerRequest request) { return test::run_for(context_, api_->handle(std::move(request))); }
  ServerResponse get(const std::string& path, std::map<std::string, std::string> query = {}) {
    ServerRequest request;
    request.method = "GET";
    request.path = path;
    request.query = std::move(query);
    return handle(std::move(request));
  }
  static ServerRequest post_request(const std::string& path, const std::string& body) {
    ServerRequest request;
    request.method = "POST";
    request.path = path;
    request.body = body;
    return request;
  }
  /// As root over the unix socket.
  ServerResponse post(const std::string& path, const std::string& body) {
    ServerRequest request = post_request(path, body);
    request.peer = ServerRequest::Peer{0, 0, 1};
    return handle(std::move(request));
  }
  ServerResponse post_with_token(const std::string& header) {
    ServerRequest request = post_request("/-/reload", "");
    if (!header.empty()) request.headers["authorization"] = header;
    return handle(std::move(request));
  }
  ServerResponse post_as(const std::string& secret, const std::string& path, const std::string& body) {
    ServerRequest request = post_request(path, body);
    request.headers["authorization"] = "Bearer " + secret;
    return handle(std::move(request));
  }
  std::string tokens_file() const { return directory_ / "tokens"; }
  static Json error_of(const ServerResponse& response) { return Json::parse(response.body).value()["error"]; }

  asio::io_context context_{1};
  config::Settings settings_;
  test::TempDir directory_;
  metrics::Exporter exporter_;
  std::unique_ptr<engine::Engine> engine_;
  Result<> reload_answer_;
  int reloads_ = 0;
  std::optional<Api> api_;
};

class ApiBeforeStart : public ApiTest {
  void SetUp() override {}
};

// ---- Who may change things ----

TEST_F(ApiTest, AChangeOverTcpNeedsAToken) {
  const ServerResponse response = post_with_token("");

  EXPECT_EQ(response.status, 401);
  EXPECT_EQ(error_of(response)["code"].string_or(""), "unauthorized");
  EXPECT_NE(error_of(response)["next_step"].string_or(""), "");
  EXPECT_EQ(reloads_, 0);
}

TEST_F(ApiTest, AWrongTokenIsRefused) {
  for (const char* header : {"Bearer wrong", "Bearer ", "Bearer the secret ", "bearer the secret", "Basic the secret", "the secret"}) {
    EXPECT_EQ(post_with_token(header).status, 401) << header;
  }
  EXPECT_EQ(post_with_token("Bearer " + sha256_hex("the secret")).status, 401) << "the hash is not the secret";
  EXPECT_EQ(reloads_, 0);
}

TEST_F(ApiTest, TheRightTokenIsTakenUntilTheTokensChange) {
  const int before = post_with_token("Bearer the secret").status;
  api_->set_tokens({});
  const int after = post_with_token("Bearer the secret").status;

  EXPECT_EQ(before, 200);
  EXPECT_EQ(after, 401);
  EXPECT_EQ(reloads_, 1);
}

TEST_F(ApiTest, RootAndTheDaemonsOwnUserMayChangeThingsOverTheSocket) {
  for (const int uid : {0, static_cast<int>(::geteuid())}) {
    ServerRequest request = post_request("/-/reload", "");
    request.peer = ServerRequest::Peer{uid, 0, 1};
    EXPECT_EQ(handle(request).status, 200) << uid;
  }
}

TEST_F(ApiTest, AnotherUserMayNotEvenWithAToken) {
  ServerRequest request = post_request("/-/reload", "");
  request.peer = ServerRequest::Peer{static_cast<int>(::geteuid()) + 12345, 0, 1};
  request.headers["authorization"] = "Bearer the secret";

  const ServerResponse response = handle(request);

  EXPECT_EQ(response.status, 401);
  EXPECT_THAT(error_of(response)["why"].string_or(""), HasSubstr("neither root nor"));
  EXPECT_EQ(reloads_, 0);
}

TEST_F(ApiTest, WhoActedIsOnRecord) {
  ServerRequest request = post_request("/api/v1/suspend", R"({"service": "shop", "reason": "maintenance"})");
  request.headers["authorization"] = "Bearer the secret";

  const ServerResponse response = handle(request);

  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(engine_->service({"shop", ""}).value()["suspended"]["principal"].string_or(""), "token:ci");
}

TEST_F(ApiTest, ReadsNeedNoToken) {
  for (const char* path : {"/api/v1/status", "/api/v1/services", "/api/v1/ready", "/api/v1/alerts", "/api/v1/operations",
                           "/api/v1/decisions", "/api/v1/deployments", "/metrics", "/-/healthy", "/-/ready"})
    EXPECT_EQ(get(path).status, 200) << path;
}

TEST_F(ApiTest, OtherMethodsAreNotAllowed) {
  ServerRequest request = post_request("/api/v1/rollback", "");
  request.method = "DELETE";

  const ServerResponse response = handle(request);

  EXPECT_EQ(response.status, 405);
  EXPECT_NE(error_of(response)["what"].string_or(""), "") << "an error has one form: " << response.body;
}

// ---- What a request may hold ----

TEST_F(ApiTest, AnUnknownFieldIsAnErrorWithTheNearestOne) {
  const ServerResponse response = post("/api/v1/suspend", R"({"servise": "shop", "reason": "x"})");

  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(error_of(response)["what"].string_or(""), HasSubstr("\"servise\""));
  EXPECT_THAT(error_of(response)["next_step"].string_or(""), HasSubstr("\"service\""));
}

TEST_F(ApiTest, AFieldThatStandsTwiceIsAnErrorAndNeitherValueCounts) {
  const ServerResponse response = post("/api/v1/suspend", R"({"service": "shop", "reason": "x", "reason": "y"})");

  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(error_of(response)["what"].string_or(""), HasSubstr("the key \"reason\" twice"));
  EXPECT_THAT(error_of(response)["next_step"].string_or(""), HasSubstr("keep one"));
  EXPECT_FALSE(engine_->service({"shop", ""}).value().has("suspended"));
  EXPECT_EQ(post("/api/v1/services/shop/lock", R"({"reason": "x", "reason": "y"})").status, 400);
}

TEST_F(ApiTest, AFieldOfAnotherCommandIsAnErrorRatherThanIgnored) {
  EXPECT_EQ(post("/api/v1/rollback", R"({"service": "shop", "reason": "x", "release": "v2"})").status, 400)
      << "a rollback takes \"to\"; without it it would go to another release than the one named";
  EXPECT_EQ(post("/api/v1/suspend", R"({"service": "shop", "reason": "x", "dry_run": true})").status, 400);
  EXPECT_EQ(post("/api/v1/deploy", R"({"service": "shop", "release": "v2", "dry_run": true})").status, 400);
  EXPECT_FALSE(engine_->service({"shop", ""}).value().has("suspended"));
  EXPECT_EQ(live(), "v1");
}

TEST_F(ApiTest, AFieldOfTheWrongTypeIsAnErrorRatherThanItsDefault) {
  const ServerResponse dry_run =
      post("/api/v1/rollback", R"({"service": "shop", "reason": "x", "to": "v2", "force": true, "dry_run": "true"})");
  const ServerResponse duration = post("/api/v1/suspend", R"({"service": "shop", "reason": "x", "duration": 3600})");
  const ServerResponse to = post("/api/v1/rollback", R"({"service": "shop", "reason": "x", "to": 2})");

  EXPECT_EQ(dry_run.status, 400) << "or a rehearsal becomes the real thing";
  EXPECT_THAT(error_of(dry_run)["what"].string_or(""), HasSubstr("dry_run"));
  EXPECT_EQ(duration.status, 400);
  EXPECT_EQ(to.status, 400);
  EXPECT_EQ(live(), "v1");
}

TEST_F(ApiTest, ABodyThatIsNoJsonObjectIsRefused) {
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  for (const std::string& body : {std::string("{"), std::string("[]"), std::string("1"), std::string("{\"reason\": \"\xff\"}"), deep})
    EXPECT_EQ(post("/api/v1/suspend", body).status, 400) << body;
}

TEST_F(ApiTest, AnEmptyBodyIsMissingItsFields) {
  const ServerResponse response = post("/api/v1/suspend", "  ");

  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(error_of(response)["what"].string_or(""), HasSubstr("reason"));
}

TEST_F(ApiTest, AReleaseIdThatIsAPathOrAnOptionIsRefusedAndSaysWhy) {
  const std::string service = R"({"service": "shop", "reason": "x", )";
  for (const std::string id : {"../v1", "v1/../../etc", "..", "-v2", "--force", "a..b", "/etc", "v 2", "release:../v1"}) {
    for (const ServerResponse& response :
         {post("/api/v1/deploy", service + "\"release\": \"" + id + "\"}"), post("/api/v1/rollback", service + "\"to\": \"" + id + "\"}"),
          post("/api/v1/mark", service + R"("standing": "good", "release": ")" + id + "\"}")}) {
      EXPECT_EQ(response.status, 400) << id << ": " << response.body;
      EXPECT_THAT(error_of(response)["what"].string_or(""), HasSubstr("is not a release id")) << id;
      EXPECT_THAT(error_of(response)["why"].string_or(""), HasSubstr("must begin with a letter or digit")) << id;
    }
  }
  EXPECT_EQ(live(), "v1");
}

TEST_F(ApiTest, WhatIsAnsweredIsInTheStateFile) {
  const ServerResponse response = post("/api/v1/suspend", R"({"service": "shop", "reason": "kept in mind"})");

  std::ifstream file(directory_ / "state/shop.prod.state", std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_THAT(content, HasSubstr("kept in mind"));
}

TEST_F(ApiTest, EveryServiceIsSuspendedAndResumedByAStar) {
  const ServerResponse suspended = post("/api/v1/suspend", R"({"service": "*", "reason": "storm"})");
  const bool was = engine_->service({"shop", ""}).value().has("suspended");
  const ServerResponse resumed = post("/api/v1/resume", R"({"service": "*"})");

  EXPECT_EQ(suspended.status, 200) << suspended.body;
  EXPECT_TRUE(was);
  EXPECT_EQ(resumed.status, 200) << resumed.body;
  EXPECT_FALSE(engine_->service({"shop", ""}).value().has("suspended"));
}

TEST_F(ApiTest, ADurationThatIsNoneIsRefused) {
  for (const char* duration : {"soon", "-1h", "", "0s", "3y"}) {
    const std::string body = std::string(R"({"service": "shop", "reason": "x", "duration": ")") + duration + "\"}";
    EXPECT_EQ(post("/api/v1/suspend", body).status, 400) << duration;
  }
  EXPECT_FALSE(engine_->service({"shop", ""}).value().has("suspended"));
}

TEST_F(ApiTest, AStandingIsOneOfTheKnown) {
  const ServerResponse response = post("/api/v1/mark", R"({"service": "shop", "release": "v1", "standing": "great", "reason": "x"})");

  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(error_of(response)["what"].string_or(""), HasSubstr("candidate, good, bad"));
}

TEST_F(ApiTest, ALimitIsFrom1To1000) {
  for (const char* limit : {"0", "-1", "1001", "99999999999999999999", "ten", "", "1e3", " 5"})
    EXPECT_EQ(get("/api/v1/operations", {{"limit", limit}}).status, 400) << limit;
  for (const char* limit : {"1", "1000"}) EXPECT_EQ(get("/api/v1/operations", {{"limit", limit}}).status, 200) << limit;
}

// ---- What is answered ----

TEST_F(ApiTest, AnUnknownPathIsNotFound) {
  const ServerResponse read = get("/api/v2/status"), changed = post("/api/v1/explode", R"({"any": 1})");

  EXPECT_EQ(read.status, 404);
  EXPECT_THAT(error_of(read)["next_step"].string_or(""), HasSubstr("/api/v1/status"));
  EXPECT_EQ(changed.status, 404);
  EXPECT_EQ(get("/api/v1/rollback").status, 404) << "a GET changes nothing";
  EXPECT_EQ(get("/api/v1/operations/none").status, 404);
}

TEST_F(ApiTest, AnUnknownPathIsRepeatedSafelyAndNotAtLength) {
  const ServerResponse response = get("/\x1b[31m" + std::string(5000, 'x'));

  EXPECT_EQ(response.status, 404);
  EXPECT_THAT(response.body, Not(HasSubstr("\x1b")));
  EXPECT_LT(response.body.size(), 1000U);
}

TEST_F(ApiTest, MetricsAreExpositionText) {
  const ServerResponse response = get("/metrics");

  EXPECT_THAT(response.content_type, StartsWith("text/plain; version=0.0.4"));
  EXPECT_THAT(response.body, HasSubstr("rollbackd_build_info{version=\""));
  EXPECT_THAT(response.body,
              HasSubstr(R"(rollbackd_release_info{service="shop",environment="prod",release="v1",standing="good",live="1"} 1)"));
}

TEST_F(ApiBeforeStart, ItIsHealthyButNotReady) {
  const int healthy = get("/-/healthy").status, ready_before = get("/-/ready").status;
  start();

  EXPECT_EQ(healthy, 200);
  EXPECT_EQ(ready_before, 503);
  EXPECT_EQ(get("/-/ready").status, 200);
}

TEST_F(ApiTest, AnAnswerToACommandHasItsExitCode) {
  const ServerResponse same = post("/api/v1/deploy", R"({"service": "shop", "release": "v1"})");
  const ServerResponse absent = post("/api/v1/deploy", R"({"service": "shop", "release": "v9"})");
  const ServerResponse refused = post("/api/v1/rollback", R"({"service": "shop", "to": "v2", "reason": "x"})");
  const ServerResponse unknown = post("/api/v1/rollback", R"({"service": "shopp", "reason": "x"})");

  const auto code = [](const ServerResponse& response) { return Json::parse(response.body).value()["exit_code"].int_or(-1); };
  EXPECT_EQ(std::pair(same.status, code(same)), std::pair(200, std::int64_t{46}));
  EXPECT_EQ(std::pair(absent.status, code(absent)), std::pair(404, std::int64_t{40}));
  EXPECT_EQ(std::pair(refused.status, code(refused)), std::pair(409, std::int64_t{41}));
  EXPECT_EQ(unknown.status, 404);
  EXPECT_THAT(error_of(unknown)["next_step"].string_or(""), HasSubstr("shop"));
}

TEST_F(ApiTest, AnAcceptedOperationIsAnswered202WithItsId) {
  const ServerResponse response = post("/api/v1/deploy", R"({"service": "shop", "release": "v2", "reason": "new"})");

  EXPECT_EQ(response.status, 202) << response.body;
  const std::string id = Json::parse(response.body).value()["operation"].string_or("");
  EXPECT_EQ(id.size(), 36U);
  EXPECT_TRUE(test::run_until(context_, [&] { return live() == "v2"; }));
}

TEST_F(ApiTest, ADryRunIsAnswered200AndChangesNothing) {
  const ServerResponse response =
      post("/api/v1/rollback", R"({"service": "shop", "to": "v2", "reason": "x", "force": true, "dry_run": true})");

  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(live(), "v1");
}

TEST_F(ApiTest, ARefusedReloadSaysWhy) {
  reload_answer_ = Error(Errc::invalid_config, "the configuration was not taken").because("line 3");

  const ServerResponse response = post("/-/reload", "");

  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(error_of(response)["why"].string_or(""), "line 3");
}

TEST_F(ApiTest, TheServicesOneByOne) {
  const Json all = Json::parse(get("/api/v1/services").body).value();
  const Json one = Json::parse(get("/api/v1/services", {{"service", "shop"}, {"environment", "prod"}}).body).value();

  ASSERT_EQ(all.elements().size(), 1U);
  EXPECT_EQ(one["release"].string_or(""), "v1");
  EXPECT_EQ(get("/api/v1/services", {{"service", "none"}}).status, 404);
  EXPECT_EQ(get("/api/v1/releases", {{"service", "shop"}}).status, 200);
  EXPECT_EQ(get("/api/v1/explain", {{"service", "shop"}}).status, 200);
}

// ---- Alerts from outside ----

class PushedTest : public ApiTest {
 protected:
  void SetUp() override {}
  void begin(AlertAction action = AlertAction::rollback) {
    config::RouteSettings route;
    route.match = {R"(severity="critical")"};
    route.action = action;
    settings_.routes = {route};
    make();
    start();
  }
  static std::string alert(const std::string& fingerprint, const std::string& status = "firing", const std::string& service = "shop",
                           const std::string& severity = "critical") {
    return R"({"status": ")" + status + R"(", "labels": {"alertname": "Errors", "severity": ")" + severity + R"(", "service": ")" +
           service + R"("}, "annotations": {"summary": "they fail"}, "startsAt": ")" + format_rfc3339(io::Clock::wall_now()) +
           R"(", "fingerprint": ")" + fingerprint + R"("})";
  }
  ServerResponse push(const std::string& alerts) {
    return post("/api/v1/alertmanager", R"({"version": "4", "groupKey": "g", "truncatedAlerts": 0, "alerts": [)" + alerts + "]}");
  }
  static std::vector<std::string> results(const ServerResponse& response) {
    std::vector<std::string> out;
    const Json body = Json::parse(response.body).value();  // Named: a temporary would not live as long as the loop.
    for (const Json& row : body["alerts"].elements()) out.push_back(row["result"].string_or(""));
    return out;
  }
  /// What is in the state file now.
  std::vector<PushedAlert> on_disk() {
    record::StateRead read;
    auto file = record::StateFile::open(directory_ / "state", {"shop", "prod"}, io::Clock().read(), read);
    return read.state ? read.state->pushed : std::vector<PushedAlert>{};
  }
};

TEST_F(PushedTest, WhatWasAnsweredIsInTheStateFile) {
  begin();
  const ServerResponse response = push(alert("a") + "," + alert("b"));

  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(results(response), (std::vector<std::string>{"accepted", "accepted"}));
  ASSERT_EQ(on_disk().size(), 2U);
  EXPECT_EQ(on_disk().front().rule, "Errors");
  EXPECT_EQ(on_disk().front().summary, "they fail");
  EXPECT_EQ(on_disk().front().action, AlertAction::rollback);
}

TEST_F(PushedTest, EachAlertSaysWhatBecameOfIt) {
  begin(AlertAction::notify);
  const std::string first = alert("a");
  push(first);
  const ServerResponse response = push(first + "," + alert("b", "resolved") + "," + alert("c", "firing", "shopp") + "," +
                                       alert("d", "firing", "shop", "info") + "," + alert("e"));

  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(results(response), (std::vector<std::string>{"duplicate", "resolved", "unknown_service", "unrouted", "accepted"}));
  const std::string metrics = get("/metrics").body;
  for (const char* result : {"accepted\"} 2", "duplicate\"} 1", "resolved\"} 1", "unknown_service\"} 1", "unrouted\"} 1", "refused\"} 0"})
    EXPECT_THAT(metrics, HasSubstr(std::string("rollbackd_alerts_received_total{result=\"") + result));
  const Json data = Json::parse(get("/api/v1/alerts").body).value()["data"];
  EXPECT_EQ(data["pushed"].elements().size(), 3U);
  EXPECT_EQ(data["passed_by"].elements().size(), 2U);
}

TEST_F(PushedTest, MoreThanCanBeRememberedIsAskedForAgainRatherThanLost) {
  begin();
  std::string alerts = alert("0");
  for (std::size_t i = 1; i < ServiceState::kPushedMax; ++i) alerts += "," + alert(std::to_string(i));
  const ServerResponse full = push(alerts);
  const ServerResponse over = push(alert("one more"));

  EXPECT_EQ(full.status, 200) << full.body;
  EXPECT_EQ(over.status, 503);
  EXPECT_EQ(results(over), (std::vector<std::string>{"refused"}));
  EXPECT_THAT(error_of(over)["next_step"].string_or(""), HasSubstr("again"));
}

TEST_F(PushedTest, AnAlertThatCannotBeWrittenIsAskedForAgain) {
  begin();
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit nothing = before;
  nothing.rlim_cur = 1;
  ::setrlimit(RLIMIT_FSIZE, &nothing);
  const ServerResponse response = push(alert("a"));
  ::setrlimit(RLIMIT_FSIZE, &before);
  const ServerResponse again = push(alert("b"));

  EXPECT_EQ(response.status, 503) << response.body;
  EXPECT_EQ(results(response), (std::vector<std::string>{"refused"}));
  EXPECT_EQ(again.status, 503) << "a state file that failed once is not trusted before a restart";
  EXPECT_TRUE(on_disk().empty());
}

TEST_F(PushedTest, ManyRequestsAtOnceAreFewWritesAndAllDurable) {
  begin(AlertAction::notify);
  std::vector<ServerResponse> responses;
  std::vector<std::unique_ptr<test::Background>> asking;
  for (std::size_t i = 0; i < ServiceState::kPushedMax; ++i) {
    ServerRequest request =
        post_request("/api/v1/alertmanager", R"({"version": "4", "groupKey": "g", "alerts": [)" + alert(std::to_string(i)) + "]}");
    request.peer = ServerRequest::Peer{0, 0, 1};
    auto one = [](Api* api, ServerRequest r, std::vector<ServerResponse>* out) -> asio::awaitable<void> {
      ServerResponse response = co_await api->handle(std::move(r));
      out->push_back(std::move(response));
    };
    asking.push_back(std::make_unique<test::Background>(context_, one(&*api_, std::move(request), &responses)));
  }
  ASSERT_TRUE(test::run_until(context_, [&] { return responses.size() == ServiceState::kPushedMax; }));

  for (const ServerResponse& response : responses) EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(on_disk().size(), ServiceState::kPushedMax);
}

TEST_F(PushedTest, AnotherVersionIsRefusedOnce) {
  begin();
  EXPECT_EQ(post("/api/v1/alertmanager", R"({"version": "3", "groupKey": "g", "alerts": []})").status, 400);
  EXPECT_EQ(post("/api/v1/alertmanager", "not JSON").status, 400);
  EXPECT_EQ(post("/api/v1/alertmanager", R"({"version": "4", "groupKey": "g", "alerts": []})").status, 200);
}

// ---- Roles ----

TEST_F(ApiTest, AViewerMayNotChangeAnythingAndIsToldWhichRoleItTakes) {
  api_->set_tokens(Tokens{{sha256_hex("the secret"), Token{"wall", Role::viewer, ""}}});
  for (const char* path : {"/api/v1/rollback", "/api/v1/deploy", "/api/v1/suspend", "/api/v1/resume", "/api/v1/acknowledge", "/api/v1/mark",
                           "/api/v1/alertmanager", "/api/v1/tokens", "/api/v1/tokens/revoke", "/-/reload"}) {
    const ServerResponse response = post_as("the secret", path, "{}");

    EXPECT_EQ(response.status, 403) << path;
    EXPECT_THAT(error_of(response)["what"].string_or(""), HasSubstr("token:wall"));
    EXPECT_THAT(error_of(response)["why"].string_or(""), HasSubstr("needs the role"));
  }
  EXPECT_EQ(reloads_, 0);
}

TEST_F(ApiTest, AnOperatorActsOnServicesButNotOnTokensOrTheConfiguration) {
  api_->set_tokens(Tokens{{sha256_hex("the secret"), Token{"ci", Role::operator_, ""}}});

  EXPECT_EQ(post_as("the secret", "/api/v1/suspend", R"({"service": "shop", "reason": "x"})").status, 200);
  EXPECT_EQ(post_as("the secret", "/api/v1/tokens", R"({"name": "other", "role": "admin"})").status, 403);
  EXPECT_EQ(post_as("the secret", "/-/reload", "").status, 403);
  EXPECT_FALSE(fs::exists(tokens_file()));
}

TEST_F(ApiTest, ACreatedTokenIsInForceAtOnceAndItsSecretStandsNowhereOnDisk) {
  const ServerResponse created = post("/api/v1/tokens", R"({"name": "am", "role": "operator"})");
  const Json body = Json::parse(created.body).value();
  const std::string secret = body["token"].string_or("");
  std::ifstream in(tokens_file());
  const std::string file((std::istreambuf_iterator<char>(in)), {});

  EXPECT_EQ(created.status, 200) << created.body;
  EXPECT_THAT(secret, StartsWith("rbk_"));
  EXPECT_EQ(secret.size(), 4U + 43U) << "32 bytes in base64url without padding";
  EXPECT_THAT(file, Not(HasSubstr(secret)));
  EXPECT_THAT(file, StartsWith("am:" + sha256_hex(secret) + ":operator:20"));
  EXPECT_EQ(fs::status(tokens_file()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(post_as(secret, "/api/v1/suspend", R"({"service": "shop", "reason": "x"})").status, 200);
}

TEST_F(ApiTest, ARevokedTokenIsOutOfForceAtOnceAndTheOthersStay) {
  std::ofstream(tokens_file()) << "# by hand\nold:" << sha256_hex("old secret") << "\n";
  const std::string secret =
      Json::parse(post("/api/v1/tokens", R"({"name": "am", "role": "operator"})").body).value()["token"].string_or("");
  const ServerResponse revoked = post("/api/v1/tokens/revoke", R"({"name": "am"})");
  std::ifstream in(tokens_file());
  const std::string file((std::istreambuf_iterator<char>(in)), {});

  EXPECT_EQ(revoked.status, 200) << revoked.body;
  EXPECT_EQ(post_as(secret, "/api/v1/resume", R"({"service": "shop"})").status, 401);
  EXPECT_EQ(post_as("old secret", "/api/v1/resume", R"({"service": "shop"})").status, 200);
  EXPECT_EQ(file, "# by hand\nold:" + sha256_hex("old secret") + "\n");
  EXPECT_EQ(post("/api/v1/tokens/revoke", R"({"name": "am"})").status, 404);
}

TEST_F(ApiTest, ATokenIsRefusedRatherThanAnotherLostOrReplaced) {
  post("/api/v1/tokens", R"({"name": "am", "role": "operator"})");

  EXPECT_EQ(post("/api/v1/tokens", R"({"name": "am", "role": "admin"})").status, 409);
  EXPECT_EQ(post("/api/v1/tokens", R"({"name": "a b", "role": "admin"})").status, 400);
  EXPECT_EQ(post("/api/v1/tokens", R"({"name": "b", "role": "root"})").status, 400);
  std::ofstream(tokens_file()) << "no token at all\n";
  EXPECT_EQ(post("/api/v1/tokens", R"({"name": "b", "role": "admin"})").status, 400);
  std::ifstream in(tokens_file());
  EXPECT_EQ(std::string((std::istreambuf_iterator<char>(in)), {}), "no token at all\n") << "a file that is not understood is left alone";
}

TEST_F(ApiTest, OnlyAnAdminSeesTheTokensAndNeverTheirHashes) {
  post("/api/v1/tokens", R"({"name": "am", "role": "viewer"})");
  ServerRequest request;
  request.method = "GET";
  request.path = "/api/v1/tokens";
  const ServerResponse stranger = handle(request);
  request.peer = ServerRequest::Peer{0, 0, 1};
  const ServerResponse root = handle(request);

  EXPECT_EQ(stranger.status, 401);
  const Json row = Json::parse(root.body).value()["tokens"].elements().at(0);
  EXPECT_EQ(row["name"].string_or(""), "am");
  EXPECT_EQ(row["role"].string_or(""), "viewer");
  EXPECT_NE(row["created"].string_or(""), "");
  EXPECT_THAT(root.body, Not(HasSubstr("rbk_")));
  EXPECT_EQ(row.members().size(), 3U);
}

}  // namespace
}  // namespace rollbackd::api
