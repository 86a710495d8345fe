// `rollbackd rollback SERVICE --offline`: the same guards, plan and verification without a daemon, under the state directory's lock.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <string>

#include "base/error.hpp"
#include "config/settings.hpp"

namespace rollbackd::cli {

struct OfflineOptions {
  std::string config, rules_directory, program, node;
  std::string service, environment, to, reason;
  bool offline = false, dry_run = false, force = false, emergency = false;
  /// Sets who carries out the steps, as the daemon would: where there is an actor its keepers are found only by it. Empty: this process.
  std::function<Result<>(const boost::asio::any_io_executor&, const config::Settings&)> choose_actor;
};

/// What root writes into a state directory of somebody else's is given to that one afterwards.
/// @return the exit code (DESIGN.md section 8); 41 while a daemon holds the state directory
int rollback_offline(const OfflineOptions& options);

}  // namespace rollbackd::cli
