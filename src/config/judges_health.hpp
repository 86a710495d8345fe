// Which checks judge the service's own health: what warming up, the second opinion's canary and `checks_healthy` go by.
#pragma once

#include "config/settings.hpp"

namespace rollbackd::config {

/// True for a check that asks the service itself on an interval and says whether it is well. Not for one that looks at a dependency, and
/// not for those that wait for events: the process is judged by its manager, and logs, scrapes and files of configuration by rules.
inline bool judges_health(const CheckSettings& check) {
  if (!check.dependency.empty()) return false;
  switch (check.type) {
    case CheckType::http:
    case CheckType::tcp:
    case CheckType::exec:
    case CheckType::file: return true;
    case CheckType::process:
    case CheckType::log:
    case CheckType::systemd:
    case CheckType::scrape:
    case CheckType::promql:
    case CheckType::config: return false;
  }
  return false;
}

}  // namespace rollbackd::config
