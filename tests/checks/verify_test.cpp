#include "checks/verify.hpp"

#include <gmock/gmock.h>

#include "tests/checks/helpers.hpp"

namespace rollbackd::checks {
namespace {

using config::TestSettings;
using config::TestType;
using rollback::TestResult;
using testing::HasSubstr;
using Kind = TestResult::Kind;

class VerifyTest : public testing::Test {
 protected:
  asio::io_context context_;
  io::Clock clock_;
  test::TempDir dir_;
  WebServer server_{context_};

  VerifyContext verify_context() {
    VerifyContext out;
    out.executor = context_.get_executor();
    out.clock = &clock_;
    out.settings.key = {"shop-api", "prod"};
    out.release = "v7";
    out.release_path = dir_.path();
    return out;
  }
  static TestSettings test_of(TestType type, Duration within = 10s) {
    TestSettings out;
    out.name = "the-test";
    out.type = type;
    out.within = within;
    return out;
  }
  TestResult run(VerifyContext context, TestSettings test) { return run_for(context_, run_test(std::move(context), std::move(test))); }
};

TEST_F(VerifyTest, AnHttpTestPassesOnTheStatusAndBodyItWants) {
  server_.say("200 OK", "version v7");
  TestSettings test = test_of(TestType::http);
  test.url = server_.url();
  test.body_matches = "v7$";

  const TestResult result = run(verify_context(), test);

  EXPECT_EQ(result.kind, Kind::passed);
  EXPECT_EQ(result.test, "the-test");
  EXPECT_THAT(result.detail, HasSubstr("HTTP 200"));
}

TEST_F(VerifyTest, AnHttpTestIsTriedAgainUntilItPasses) {
  server_.say("503 Service Unavailable");
  TestSettings test = test_of(TestType::http);
  test.url = server_.url();
  asio::co_spawn(
      context_,
      [&]() -> asio::awaitable<void> {
        while (server_.requests == 0) co_await asio::post(context_, asio::use_awaitable);
        server_.say("200 OK");
      },
      [](std::exception_ptr) {});

  const TestResult result = run(verify_context(), test);

  EXPECT_EQ(result.kind, Kind::passed);
  EXPECT_EQ(server_.requests, 2);
}

TEST_F(VerifyTest, AnHttpTestThatNeverPassesFailsWithTheLastAnswer) {
  server_.say("500 Internal Server Error");
  TestSettings test = test_of(TestType::http, 500ms);
  test.url = server_.url();

  const TestResult result = run(verify_context(), test);

  EXPECT_EQ(result.kind, Kind::failed);
  EXPECT_THAT(result.detail, HasSubstr("HTTP 500"));
}

TEST_F(VerifyTest, NoAnswerInTimeIsTimedOutAndANameThatDoesNotResolveUnknown) {
  server_.answer = "";
  TestSettings test = test_of(TestType::http, 50ms);
  test.url = server_.url();
  EXPECT_EQ(run(verify_context(), test).kind, Kind::timed_out);

  test.url = "http://no-such-host.invalid/";
  test.within = 1s;
  test.timeout = 1s;
  EXPECT_EQ(run(verify_context(), test).kind, Kind::unknown);
}

TEST_F(VerifyTest, ACommandPassesWithExitZeroAndKnowsTheRelease) {
  TestSettings test = test_of(TestType::exec);
  test.command = {"/bin/sh", "-c", "test \"$ROLLBACKD_RELEASE\" = v7 && test \"$PWD\" = \"$ROLLBACKD_RELEASE_PATH\""};

  EXPECT_EQ(run(verify_context(), test).kind, Kind::passed);
}

TEST_F(VerifyTest, ACommandThatFailsTellsItsOutputAndOneThatIsMissingIsUnknown) {
  TestSettings test = test_of(TestType::exec, 1s);
  test.command = {"/bin/sh", "-c", "echo no database; exit 3"};
  const TestResult failed = run(verify_context(), test);
  EXPECT_EQ(failed.kind, Kind::failed);
  EXPECT_EQ(failed.detail, "exit 3: no database");

  test.command = {"/no/such/program"};
  EXPECT_EQ(run(verify_context(), test).kind, Kind::unknown);
}

TEST_F(VerifyTest, AFileIsLookedForInTheReleaseUnlessItsPathIsAbsolute) {
  append(dir_ / "ready", "");
  TestSettings test = test_of(TestType::file_exists, 50ms);

  test.path = "ready";
  EXPECT_EQ(run(verify_context(), test).kind, Kind::passed);
  test.path = dir_ / "ready";
  EXPECT_EQ(run(verify_context(), test).kind, Kind::passed);
  test.path = "missing";
  EXPECT_EQ(run(verify_context(), test).kind, Kind::failed);
}

TEST_F(VerifyTest, TheReportedReleaseMustBeTheOneWanted) {
  TestSettings test = test_of(TestType::identity, 50ms);
  test.url = server_.url();
  test.json_pointer = "/build/0/a~1b";

  server_.say("200 OK", R"({"build": [{"a/b": "v7"}]})");
  EXPECT_EQ(run(verify_context(), test).kind, Kind::passed);
  server_.say("200 OK", R"({"build": [{"a/b": "v6"}]})");
  EXPECT_EQ(run(verify_context(), test).kind, Kind::failed);
  server_.say("503 Service Unavailable");
  EXPECT_EQ(run(verify_context(), test).kind, Kind::unknown);
}

TEST_F(VerifyTest, AnIdentityIsTheTrimmedBodyOrAValueOfADocument) {
  const auto fetch = [&](const std::string& pointer) {
    return run_for(context_, fetch_identity(context_.get_executor(), {server_.url(), pointer}, 5s));
  };

  server_.say("200 OK", " v7\n");
  EXPECT_EQ(fetch("").value(), "v7");
  server_.say("200 OK", "{\"build\": 12}");
  EXPECT_EQ(fetch("/build").value(), "12");
  EXPECT_EQ(fetch("/other").error().code, Errc::corrupt);
  server_.say("200 OK", std::string(129, 'x'));
  EXPECT_EQ(fetch("").error().code, Errc::too_large);
  server_.say("200 OK", "  ");
  EXPECT_EQ(fetch("").error().code, Errc::corrupt);
}

TEST_F(VerifyTest, TheServiceMustRunAndBeYoungerThanTheSwitch) {
  VerifyContext context = verify_context();
  context.switched = clock_.now();
  World::Process process;
  context.process = [&] { return std::optional(process); };
  const TestSettings test = test_of(TestType::service_status, 60ms);

  process.last_exit = "exit 1";
  EXPECT_THAT(run(context, test).detail, HasSubstr("exit 1"));
  process.running = true;
  process.started = context.switched - 1s;
  EXPECT_EQ(run(context, test).kind, Kind::failed);
  process.started = context.switched - 5ms;  // Rounded down to a clock tick.
  EXPECT_EQ(run(context, test).kind, Kind::passed);
  context.process = nullptr;
  EXPECT_EQ(run(context, test).kind, Kind::unknown);
}

TEST_F(VerifyTest, ChecksMustBeHealthyForAWhileWithoutABreak) {
  VerifyContext context = verify_context();
  std::optional<Instant> since;
  context.healthy_since = [&] { return since; };
  TestSettings test = test_of(TestType::checks_healthy, 100ms);
  test.for_ = 5s;

  EXPECT_EQ(run(context, test).kind, Kind::failed);
  since = clock_.now() - 1s;
  EXPECT_THAT(run(context, test).detail, HasSubstr("healthy for only 1s"));
  since = clock_.now() - 5s;
  EXPECT_EQ(run(context, test).kind, Kind::passed);
}

TEST_F(VerifyTest, AllTestsRunSideBySideAndTheIdentityIsOneOfThem) {
  server_.say("200 OK", "v7");
  VerifyContext context = verify_context();
  TestSettings http = test_of(TestType::http), file = test_of(TestType::file_exists, 50ms);
  http.name = "http";
  http.url = server_.url();
  file.name = "file";
  file.path = "missing";
  context.settings.verify = {file, http};
  context.settings.identity.url = server_.url("/version");

  const auto results = run_for(context_, run_tests(context, 10s));

  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].test, "file");
  EXPECT_EQ(results[0].kind, Kind::failed);
  EXPECT_EQ(results[1].kind, Kind::passed);
  EXPECT_EQ(results[2].test, "identity");
  EXPECT_EQ(results[2].kind, Kind::passed);
}

TEST_F(VerifyTest, NoTestRunsLongerThanTheDeadlineOfAll) {
  server_.answer = "";
  VerifyContext context = verify_context();
  TestSettings http = test_of(TestType::http, 60s);
  http.timeout = 60s;
  http.url = server_.url();
  context.settings.verify = {http};
  const Instant began = clock_.now();

  const auto results = run_for(context_, run_tests(context, 60ms));

  EXPECT_LT(clock_.now() - began, Duration(30s));
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].kind, Kind::timed_out);
}

TEST_F(VerifyTest, WithoutTestsThereAreNoResults) { EXPECT_TRUE(run_for(context_, run_tests(verify_context(), 1s)).empty()); }

}  // namespace
}  // namespace rollbackd::checks
