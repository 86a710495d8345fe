// Runs the verification tests of a service after a switch. What they say is judged in rollback/verdict.hpp.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/settings.hpp"
#include "io/clock.hpp"
#include "model/operation.hpp"
#include "rollback/verdict.hpp"

namespace rollbackd::checks {

/// What the tests look at beside the world itself. The callbacks run on the executor and answer at once.
struct VerifyContext {
  boost::asio::any_io_executor executor;
  const io::Clock* clock = nullptr;
  config::ServiceSettings settings;
  std::string release;       ///< that should be running
  std::string release_path;  ///< its directory
  /// Since when every health-judging check has been healthy without a break, all of it after this switch, and the process (if managed) ran;
  /// nothing when that is not so now.
  std::function<std::optional<Instant>()> healthy_since;
  /// Of the switch: `service_status` passes only for a process that started after it. Zero: not looked at.
  Instant switched{};
  /// The managed process as the engine knows it now; nothing without a manager.
  std::function<std::optional<World::Process>()> process;
};

/// The release that the running service reports at `identity.url`, trimmed, at most 128 bytes.
boost::asio::awaitable<Result<std::string>> fetch_identity(boost::asio::any_io_executor executor, config::IdentitySettings identity,
                                                           Duration timeout);

/// Runs one test: tries again until it passes or `within` has passed (exec, http: one attempt at a time, 200 ms apart).
boost::asio::awaitable<rollback::TestResult> run_test(VerifyContext context, config::TestSettings test);

/// Runs all tests side by side (and `identity` as a test where it is configured); never longer than `deadline`. In the settings' order.
boost::asio::awaitable<std::vector<rollback::TestResult>> run_tests(VerifyContext context, Duration deadline);

}  // namespace rollbackd::checks
