// Alerts from outside as the engine takes them: read and routed already, not yet known or durable.
#pragma once

#include <cstdint>
#include <string>

#include "model/alert.hpp"
#include "model/batch.hpp"

namespace rollbackd::engine {

struct PushedCommand {
  ServiceKey service;
  std::string key;  ///< names the alert
  std::string rule, summary;
  AlertAction action = AlertAction::notify;
  Instant starts_at;       ///< by its sender's wall clock
  Duration stale_after{};  ///< of its route
  bool resolved = false;
};

/// What became of one alert. The names are those of the metric's label `result`.
enum class PushedResult : int { accepted = 0, duplicate = 1, resolved = 2, stale = 3, unrouted = 4, unknown_service = 5, refused = 6 };
const char* to_string(PushedResult result);

struct PushedAnswer {
  PushedResult result = PushedResult::refused;
  std::string why;     ///< when it causes nothing
  bool again = false;  ///< its sender should send it again: it is not on disk, or found no room
};

}  // namespace rollbackd::engine
