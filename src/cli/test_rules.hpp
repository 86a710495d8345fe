// `rollbackctl test rules`: promtool's unit tests for rules, with the same verdicts; JUnit output too.
#pragma once

#include <string>
#include <vector>

#include "cli/insight.hpp"
#include "cli/test_rules_run.hpp"

namespace rollbackd::cli {

/// What one test file gave.
struct FileOutcome {
  std::string file;
  std::string error;  ///< why none of its tests ran; may be several lines
  std::vector<std::string> warnings;
  std::vector<TestOutcome> tests;
  bool ok() const;
};

/// JUnit XML in promtool's form; what was skipped is marked.
/// @param when  UTC, "2026-01-02T03:04:05"
std::string junit_xml(const std::vector<FileOutcome>& files, const std::string& when);

/// Adds the command. @param result  gets the exit code
void add_test_command(CLI::App& app, const InsightCommands& commands, int& result);

}  // namespace rollbackd::cli
