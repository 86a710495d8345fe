// One run from a seed to its result.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/simulation/observer.hpp"
#include "tests/simulation/scenario.hpp"

namespace rollbackd::simulation {

struct RunResult {
  std::uint64_t hash = 0;  ///< of the trace: equal runs have equal ones
  std::uint64_t events = 0;
  std::vector<std::string> violations;
  Observer::Counts counts;
  Duration simulated{};
};

/// @param broken  a promise that is broken on purpose (see broken_promises()); empty: none
RunResult simulate(const Scenario& scenario, const std::string& broken = "", bool verbose = false);
/// Fewer deeds, services and noise with which it still fails.
Scenario shrink(Scenario scenario, const std::string& broken = "");
/// What can be broken on purpose, to see that the observer would notice.
const std::vector<std::string>& broken_promises();

}  // namespace rollbackd::simulation
