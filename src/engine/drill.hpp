// Drills: the chain from a check to the page, proved on purpose while nothing is wrong. See drill.cpp for what each proves.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"
#include "config/settings.hpp"
#include "engine/commands.hpp"

namespace rollbackd::engine {

struct DrillCommand {
  ServiceSelector service;
  std::string reason, principal;
  std::string inject;    ///< empty: nothing is broken; else "crash", "500", "log"
  bool restore = false;  ///< after a drilled rollback the release that was left is deployed again
};

/// One link of the chain: passed, broke, or was not reached.
struct DrillLink {
  std::string name;
  enum class State : int { not_reached = 0, passed = 1, broke = 2 } state = State::not_reached;
  std::string detail;
  Duration after{};  ///< since the drill began
};
const char* to_string(DrillLink::State state);
Json to_json(const std::vector<DrillLink>& links);
/// Empty when every link passed; else "broke at NAME: detail".
std::string where_it_broke(const std::vector<DrillLink>& links);

/// Why this service may not be broken in this way on purpose; empty when it may.
std::string why_not_inject(const config::ServiceSettings& settings, const std::string& inject);
/// A line that `pattern` matches, made of the pattern's own literal alternatives and some usual words. Nothing when none does.
std::string line_matching(const std::string& pattern, const std::string& id);

}  // namespace rollbackd::engine
