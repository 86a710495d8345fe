// Runs the tests of one file: series in, rules on the clock, what came against what was expected.
#pragma once

#include <string>
#include <vector>

#include "cli/test_rules_file.hpp"
#include "rules/groups.hpp"

namespace rollbackd::cli {

/// How the tests are run, beside what the file says.
struct TestOptions {
  bool fuzzy_compare = false;  ///< one unit in the last place is no difference
  bool diff = false;           ///< alerts that differ are shown line by line
  bool debug = false;          ///< `TestOutcome::dump`
};

/// What one test group gave.
struct TestOutcome {
  std::string name;                   ///< "unnamed#2" where the file gives none
  std::vector<std::string> failures;  ///< as promtool words them, indented
  std::vector<std::string> skipped;   ///< what could not be tried here, and why
  std::string dump;                   ///< every series at the end
  double seconds = 0;                 ///< it took; set by who holds a clock
};

/// Runs one group of tests over `groups`, which are in the order in which they are to be evaluated.
TestOutcome run_test_group(const TestGroup& test, const rules::Groups& groups, Duration evaluation_interval, const TestOptions& options);

}  // namespace rollbackd::cli
