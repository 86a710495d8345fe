// `rollbackctl check rules`: every problem of rule files at once, and warnings about rules that cannot do here what they seem to.
#pragma once

#include <cstddef>
#include <vector>

#include "cli/insight.hpp"
#include "config/document.hpp"

namespace rollbackd::cli {

/// Adds the command to `check`. @param result  gets the exit code
void add_check_rules_command(CLI::App& check, const InsightCommands& commands, int& result);

/// Shows what was found, as lines on standard error or as one JSON document. @return 0 without an error among them, else 1
int print_problems(const std::vector<config::Problem>& problems, std::size_t services, std::size_t rules, bool as_json);

}  // namespace rollbackd::cli
