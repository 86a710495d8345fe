// How well the shipped packs tell bad releases from good ones: false and missed rollbacks, and how long it takes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rollbackd::simulation {

struct PackResult {
  std::string pack;
  double noise = 0;  ///< share of samples that are not as they should be
  std::uint64_t bad = 0, missed = 0, good = 0, false_rollbacks = 0;
  double median_seconds = 0, p95_seconds = 0;  ///< from the first symptom to the alert
};

/// `deployments` of a bad and as many of a good release for each pack and noise level, each judged by the whole Judge.
std::vector<PackResult> judge_packs(std::uint64_t deployments, const std::vector<double>& noises);
/// Prints the table. @return the program's exit code
int report_packs(std::uint64_t deployments);

}  // namespace rollbackd::simulation
