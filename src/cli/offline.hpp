// `rollbackd rollback SERVICE --offline`: the same guards, plan and verification without a daemon, under the state directory's lock.
#pragma once

#include <string>

namespace rollbackd::cli {

struct OfflineOptions {
  std::string config, rules_directory, program, node;
  std::string service, environment, to, reason;
  bool offline = false, dry_run = false, force = false, emergency = false;
};

/// @return the exit code (DESIGN.md section 8); 41 while a daemon holds the state directory
int rollback_offline(const OfflineOptions& options);

}  // namespace rollbackd::cli
