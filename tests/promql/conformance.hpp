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
};

/// Runs one script. Skipped and counted apart: evals over native histograms, and functions that upstream marks experimental.
/// Annotations (`expect warn|info|no_warn|no_info`) are not checked: the engine has none.
Report run(std::string_view script);

}  // namespace rollbackd::promql::conformance
