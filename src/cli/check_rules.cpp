#include "cli/check_rules.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "base/text.hpp"
#include "cli/load.hpp"

namespace rollbackd::cli {
namespace {

struct Options {
  std::vector<std::string> files;
};

int check_rules(const Options& options, const InsightCommands& commands) {
  std::vector<config::Problem> problems;
  std::size_t rules = 0;
  for (const auto& pattern : options.files) {
    const auto files = expand_glob(pattern);
    if (files.empty()) return commands.fail(Error(Errc::not_found, "there is no file " + pattern));
    for (const auto& file : files) {
      auto text = read_file(file);
      if (!text) return commands.fail(text.error());
      for (const auto& group : rules::parse_groups(*text, file, std::nullopt, problems)) rules += group.rules.size();
    }
  }
  return print_problems(problems, 0, rules, commands.json());
}

}  // namespace

int print_problems(const std::vector<config::Problem>& problems, std::size_t services, std::size_t rules, bool as_json) {
  int errors = 0, warnings = 0;
  Json list = Json::array();
  for (const auto& problem : problems) {
    (problem.warning ? warnings : errors) += 1;
    Json p;
    p.set("file", problem.file).set("line", problem.position.line).set("column", problem.position.column).set("what", problem.what);
    p.set("remedy", problem.remedy).set("warning", problem.warning);
    list.push(std::move(p));
    if (!as_json) std::fprintf(stderr, "%s%s\n", problem.warning ? "warning: " : "", printable(problem.text()).c_str());
  }
  if (as_json) {
    Json out;
    out.set("ok", errors == 0).set("rules", rules).set("services", services).set("problems", std::move(list));
    std::printf("%s\n", out.pretty().c_str());
  } else if (errors == 0) {
    std::printf("%s: %zu services, %zu rules, %d warnings\n", "ok", services, rules, warnings);
  }
  return errors == 0 ? 0 : 1;
}

void add_check_rules_command(CLI::App& check, const InsightCommands& commands, int& result) {
  auto options = std::make_shared<Options>();
  auto* command = check.add_subcommand("rules", "Rule files in Prometheus's form");
  command->add_option("files", options->files, "Files or glob patterns")->required();
  command->callback([options, &commands, &result] { result = check_rules(*options, commands); });
}

}  // namespace rollbackd::cli
