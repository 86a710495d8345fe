// Carries out the verification tests: attempts, waits and deadlines. What the results mean is rollback/verdict.hpp's.
#include "checks/verify.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <charconv>

#include "base/json.hpp"
#include "base/text.hpp"
#include "checks/expect.hpp"
#include "checks/parts.hpp"
#include "io/http_client.hpp"
#include "io/process.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;
using config::TestSettings;
using config::TestType;
using rollback::TestResult;
using Kind = TestResult::Kind;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
constexpr Duration kBetweenAttempts = 200ms;
constexpr Duration kPoll = 50ms;    ///< of what the engine knows
constexpr Duration kKillTime = 1s;  ///< between TERM and KILL of a command that takes too long
constexpr std::size_t kIdentityBytesMax = 128;

/// How one attempt ended.
struct Attempt {
  Kind kind = Kind::unknown;
  std::string detail;
};

/// What an error of ours says about the service: nothing, if it was we who could not look.
Attempt of_error(const Error& error) {
  if (error.code == Errc::timed_out) return {Kind::timed_out, error.text()};
  const bool other_side = error.code == Errc::unavailable || error.code == Errc::corrupt || error.code == Errc::too_large;
  return {other_side ? Kind::failed : Kind::unknown, error.text()};
}

/// RFC 6901. An index into an array is decimal. @return null (the value) where nothing is
const Json& at_pointer(const Json& document, std::string_view pointer) {
  static const Json kNothing;
  const Json* here = &document;
  if (pointer.empty()) return *here;
  for (std::string& token : split(pointer.substr(1), '/')) {
    for (std::size_t at = 0; (at = token.find("~1", at)) != token.npos; ++at) token.replace(at, 2, "/");
    for (std::size_t at = 0; (at = token.find("~0", at)) != token.npos; ++at) token.replace(at, 2, "~");
    if (here->is_array()) {
      std::size_t index = 0;
      const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), index);
      if (error != std::errc() || end != token.data() + token.size() || index >= here->elements().size()) return kNothing;
      here = &here->elements()[index];
    } else {
      here = &(*here)[token];
    }
  }
  return *here;
}

asio::awaitable<Attempt> try_http(VerifyContext context, TestSettings test, Duration timeout) {
  const auto url = io::HttpUrl::parse(test.url);
  if (url.has_error()) co_return Attempt{Kind::unknown, url.error().text()};
  const auto expectation = Expectation::make(test.status, test.body_matches, "");
  if (expectation.has_error()) co_return Attempt{Kind::unknown, expectation.error().text()};
  io::HttpClient client(context.executor, *url);
  io::HttpRequest request;
  request.keep_alive = false;
  const Instant began = context.clock->now();
  const auto answer = co_await client.request(std::move(request), timeout);
  if (answer.has_error()) co_return of_error(answer.error());
  const std::string failure = expectation->failure(*answer);
  const std::string line = status_line(*answer, context.clock->now() - began);
  if (failure.empty()) co_return Attempt{Kind::passed, line};
  co_return Attempt{Kind::failed, line + ": " + failure};
}

asio::awaitable<Attempt> try_exec(VerifyContext context, TestSettings test, Duration timeout) {
  io::CommandOptions options;
  options.argv = test.command;
  options.working_directory = context.release_path;
  options.environment = {{"ROLLBACKD_SERVICE", context.settings.key.name},
                         {"ROLLBACKD_ENVIRONMENT", context.settings.key.environment},
                         {"ROLLBACKD_RELEASE", context.release},
                         {"ROLLBACKD_RELEASE_PATH", context.release_path}};
  const auto result = co_await io::run_command(std::move(options), timeout);
  if (result.has_error()) co_return of_error(result.error());
  if (result->exit_code == 0) co_return Attempt{Kind::passed, "exit 0"};
  std::string how = result->signal != 0 ? "signal " + std::to_string(result->signal) : "exit " + std::to_string(result->exit_code);
  if (const std::string_view said = trim(result->output); !said.empty()) how += ": " + std::string(said);
  co_return Attempt{Kind::failed, std::move(how)};
}

Attempt look_for_file(const VerifyContext& context, const TestSettings& test) {
  const std::string path = test.path.starts_with("/") ? test.path : context.release_path + "/" + test.path;
  struct stat there {};
  if (::stat(path.c_str(), &there) == 0) return {Kind::passed, path + " is there"};
  const int saved = errno;
  const Kind kind = saved == ENOENT || saved == ENOTDIR ? Kind::failed : Kind::unknown;
  return {kind, Error::from_errno(path, saved).text()};
}

asio::awaitable<Attempt> try_identity(VerifyContext context, TestSettings test, Duration timeout) {
  config::IdentitySettings identity = context.settings.identity;
  if (!test.url.empty()) identity = {test.url, test.json_pointer};
  const auto reported = co_await fetch_identity(context.executor, std::move(identity), timeout);
  if (reported.has_error()) co_return Attempt{Kind::unknown, reported.error().text()};  // No answer is no wrong answer.
  if (*reported == context.release) co_return Attempt{Kind::passed, "it reports " + printable(*reported)};
  co_return Attempt{Kind::failed, "it reports \"" + printable(*reported) + "\" instead of " + context.release};
}

Attempt look_at_process(const VerifyContext& context) {
  const auto process = context.process ? context.process() : std::nullopt;
  if (!process) return {Kind::unknown, "no service manager tells whether it runs"};
  if (!process->running) {
    return {Kind::failed, "not running" + (process->last_exit.empty() ? "" : ": " + process->last_exit)};
  }
  const std::string which = "process " + std::to_string(process->pid) + " runs";
  constexpr Duration kClockTick = 10ms;  // /proc rounds start times down to it.
  if (context.switched != Instant() && process->started + kClockTick < context.switched) {
    return {Kind::failed, which + ", but since " + format_rfc3339(process->started) + ", before the switch"};
  }
  return {Kind::passed, which};
}

Attempt look_at_health(const VerifyContext& context, const TestSettings& test) {
  const auto since = context.healthy_since ? context.healthy_since() : std::nullopt;
  if (!since) return {Kind::failed, "the checks are not all healthy"};
  const Duration length = context.clock->now() - *since;
  if (length >= test.for_) return {Kind::passed, "healthy for " + format_duration(length)};
  return {Kind::failed, "healthy for only " + format_duration(length) + " of " + format_duration(test.for_)};
}

asio::awaitable<Attempt> attempt(VerifyContext context, TestSettings test, Duration timeout) {
  switch (test.type) {
    case TestType::http: co_return co_await try_http(std::move(context), std::move(test), timeout);
    case TestType::exec: co_return co_await try_exec(std::move(context), std::move(test), timeout);
    case TestType::identity: co_return co_await try_identity(std::move(context), std::move(test), timeout);
    case TestType::file_exists: co_return look_for_file(context, test);
    case TestType::service_status: co_return look_at_process(context);
    case TestType::checks_healthy: co_return look_at_health(context, test);
  }
  co_return Attempt{Kind::unknown, "this version does not have such a test"};
}

bool only_looks(TestType type) { return type == TestType::checks_healthy || type == TestType::service_status; }

}  // namespace

asio::awaitable<Result<std::string>> fetch_identity(asio::any_io_executor executor, config::IdentitySettings identity, Duration timeout) {
  const auto url = io::HttpUrl::parse(identity.url);
  if (url.has_error()) co_return url.error();
  io::HttpClient client(executor, *url);
  io::HttpRequest request;
  request.keep_alive = false;
  const auto answer = co_await client.request(std::move(request), timeout);
  if (answer.has_error()) co_return answer.error();
  const std::string what = "the running release is not known";
  if (answer->status / 100 != 2)
    co_return Error(Errc::unavailable, what).because(identity.url + " answered HTTP " + std::to_string(answer->status));
  if (answer->cut) co_return Error(Errc::too_large, what).because("the answer of " + identity.url + " is over 64 KiB");

  std::string text = answer->body;
  if (!identity.json_pointer.empty()) {
    const auto document = Json::parse(answer->body);
    if (document.has_error()) co_return Error(Errc::corrupt, what).because(document.error().text());
    const Json& value = at_pointer(*document, identity.json_pointer);
    if (!value.is_string() && !value.is_number()) {
      co_return Error(Errc::corrupt, what).because("the answer of " + identity.url + " has no text at " + identity.json_pointer);
    }
    text = value.is_string() ? value.string_or("") : value.dump();
  }
  text = std::string(trim(text));
  if (text.empty()) co_return Error(Errc::corrupt, what).because(identity.url + " answered nothing");
  if (text.size() > kIdentityBytesMax)
    co_return Error(Errc::too_large, what).because("what " + identity.url + " answered is over 128 bytes");
  co_return text;
}

asio::awaitable<TestResult> run_test(VerifyContext context, TestSettings test) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const Instant began = context.clock->now();
  const Instant end = began + test.within;
  const Duration pause = only_looks(test.type) ? kPoll : kBetweenAttempts;
  asio::steady_timer timer(context.executor);
  Attempt last{Kind::timed_out, "there was no time for an attempt"};
  while (true) {  // Ends by `end`: at most within / pause attempts.
    Duration timeout = std::min(test.timeout, end - context.clock->now());
    if (test.type == TestType::exec && timeout > 2 * kKillTime) timeout = std::min(timeout, end - context.clock->now() - kKillTime);
    if (timeout <= Duration::zero()) break;
    last = co_await attempt(context, test, timeout);
    if (last.kind == Kind::passed || end - context.clock->now() <= pause) break;
    const bool cancelled = co_await is_cancelled();
    if (cancelled) break;
    timer.expires_after(pause);
    const auto [stopped] = co_await timer.async_wait(kToken);
    if (stopped) break;
  }
  co_return TestResult{test.name, last.kind, evidence(last.detail), context.clock->now() - began};
}

asio::awaitable<std::vector<TestResult>> run_tests(VerifyContext context, Duration deadline) {
  co_await asio::this_coro::throw_if_cancelled(false);
  std::vector<TestSettings> tests = context.settings.verify;
  const bool has_identity = std::any_of(tests.begin(), tests.end(), [](const TestSettings& t) { return t.type == TestType::identity; });
  if (!context.settings.identity.url.empty() && !has_identity) {
    TestSettings identity;
    identity.name = "identity";
    identity.type = TestType::identity;
    tests.push_back(std::move(identity));
  }

  struct Shared {
    explicit Shared(asio::any_io_executor executor) : ended(executor) {}
    std::vector<std::optional<TestResult>> results;
    std::vector<std::unique_ptr<asio::cancellation_signal>> stops;
    std::size_t left = 0;
    asio::steady_timer ended;  ///< cancelled when the last test has ended
  };
  const auto shared = std::make_shared<Shared>(context.executor);
  shared->results.resize(tests.size());
  shared->left = tests.size();
  for (std::size_t i = 0; i < tests.size(); ++i) {
    TestSettings& test = tests[i];
    if (test.name.empty()) test.name = "test " + std::to_string(i + 1);
    test.within = std::min(test.within, deadline);
    shared->stops.push_back(std::make_unique<asio::cancellation_signal>());
    asio::co_spawn(context.executor, run_test(context, test),
                   asio::bind_cancellation_slot(shared->stops.back()->slot(), [shared, i](std::exception_ptr thrown, TestResult result) {
                     if (!thrown) shared->results[i] = std::move(result);
                     if (--shared->left == 0) shared->ended.cancel();
                   }));
  }
  const Instant began = context.clock->now();
  if (shared->left > 0) {
    shared->ended.expires_after(deadline);
    co_await shared->ended.async_wait(kToken);
    for (const auto& stop : shared->stops) stop->emit(asio::cancellation_type::terminal);
  }

  std::vector<TestResult> out;
  for (std::size_t i = 0; i < tests.size(); ++i) {
    out.push_back(shared->results[i].value_or(
        TestResult{tests[i].name, Kind::timed_out, "it did not end within " + format_duration(deadline), context.clock->now() - began}));
  }
  co_return out;
}

}  // namespace rollbackd::checks
