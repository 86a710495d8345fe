// The words of the settings' enums.
#include "config/settings.hpp"

namespace rollbackd::config {

const char* to_string(Automation v) {
  switch (v) {
    case Automation::off: return "off";
    case Automation::observe: return "observe";
    case Automation::approve: return "approve";
    case Automation::automatic: return "automatic";
  }
  return "unknown";
}

const char* to_string(Enforcement v) {
  switch (v) {
    case Enforcement::strict: return "strict";
    case Enforcement::lenient: return "lenient";
  }
  return "unknown";
}

const char* to_string(ManagerType v) {
  switch (v) {
    case ManagerType::none: return "none";
    case ManagerType::supervised: return "supervised";
    case ManagerType::command: return "command";
    case ManagerType::systemd: return "systemd";
  }
  return "unknown";
}

const char* to_string(CheckType v) {
  switch (v) {
    case CheckType::http: return "http";
    case CheckType::process: return "process";
    case CheckType::log: return "log";
    case CheckType::tcp: return "tcp";
    case CheckType::exec: return "exec";
    case CheckType::systemd: return "systemd";
    case CheckType::scrape: return "scrape";
    case CheckType::promql: return "promql";
    case CheckType::config: return "config";
    case CheckType::file: return "file";
  }
  return "unknown";
}

const char* to_string(TestType v) {
  switch (v) {
    case TestType::checks_healthy: return "checks_healthy";
    case TestType::http: return "http";
    case TestType::exec: return "exec";
    case TestType::file_exists: return "file_exists";
    case TestType::service_status: return "service_status";
    case TestType::identity: return "identity";
  }
  return "unknown";
}

const char* to_string(HookPoint v) {
  switch (v) {
    case HookPoint::before_switch: return "before_switch";
    case HookPoint::after_switch: return "after_switch";
    case HookPoint::after_restart: return "after_restart";
    case HookPoint::after_verify: return "after_verify";
    case HookPoint::on_failure: return "on_failure";
  }
  return "unknown";
}

}  // namespace rollbackd::config
