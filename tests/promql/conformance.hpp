// Runs Prometheus's PromQL test scripts (`load`, `clear`, `eval instant|range`, `expect ...`) against our store and evaluator.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace rollbackd::promql::conformance {

/// How the evals of one script ended.
struct Report {
  struct Failure {
    int line = 0;
    std::string expression, why;
  };
  int passed = 0;
  std::map<std::string, int> skipped;  ///< by reason
  std::vector<Failure> failed;
  int skipped_total() const;
  /// "NAME: 3 passed, 1 skipped, 0 failed", then a line for each reason and two for each failure.
  std::string text(std::string_view name) const;
};

/// Runs one script. Skipped and counted apart: evals over native histograms, and what upstream marks experimental.
/// A line that nobody can read is a failure; nothing is left out in silence.
Report run(std::string_view script);

}  // namespace rollbackd::promql::conformance
