// `rollbackctl explain`: why a service was rolled back, or why not; of one operation or incident the whole evidence.
#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"
#include "cli/insight.hpp"

namespace rollbackd::cli {

/// One chapter of a report: sentences, then a table (may be empty), then a block that is shown as it is (may be empty).
struct Chapter {
  std::string title;
  std::vector<std::string> lines;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::string block;
};

/// What /api/v1/evidence answered, in the order in which people read it. Pure.
std::vector<Chapter> chapters_of(const Json& evidence);
/// For a terminal: every text printable.
std::string as_text(const std::vector<Chapter>& chapters);
/// For a post-mortem: GitHub's Markdown. Whatever comes from outside is escaped: it can make no heading, link, table or HTML.
std::string as_markdown(const std::vector<Chapter>& chapters);

/// Adds the command. @param result  gets the exit code
void add_explain_command(CLI::App& app, const InsightCommands& commands, int& result);

}  // namespace rollbackd::cli
