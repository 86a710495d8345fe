// The command: files in, every problem of all of them out, and in the last line how much was looked at.
#include "cli/check_rules.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/text.hpp"
#include "cli/check_rules_review.hpp"
#include "cli/load.hpp"

namespace rollbackd::cli {
namespace {

struct Options {
  std::vector<std::string> files;
  std::string config, rules_directory;
  bool strict = false, local = false, explain = false;
};

/// Everything that was found in all files.
struct Checked {
  std::size_t files = 0, groups = 0, rules = 0, errors = 0, warnings = 0;
  std::vector<config::Problem> problems;
  rules::Groups read;
  bool failed(bool strict) const { return errors > 0 || (strict && warnings > 0); }
};

config::Problem unreadable(const std::string& file, const Error& error) {
  return {file, {1, 1}, error.why.empty() ? error.what : error.what + ": " + error.why, error.next_step, false};
}

void read_rules(const Options& options, const std::string& file, Checked& checked) {
  ++checked.files;
  auto text = read_file(file);
  if (!text) {
    checked.problems.push_back(unreadable(file, text.error()));
    return;
  }
  // As a service's own file its rules see that service alone, whatever its name.
  const std::optional<ServiceKey> only = options.local ? std::optional(ServiceKey{"service", "environment"}) : std::nullopt;
  rules::Groups groups = rules::parse_groups(*text, file, only, checked.problems);
  checked.groups += groups.size();
  for (const auto& group : groups) checked.rules += group.rules.size();
  std::move(groups.begin(), groups.end(), std::back_inserter(checked.read));
}

/// What the configuration's checks deliver. Its errors are told too; its warnings are `check config`'s to tell.
std::optional<Feeds> read_feeds(const Options& options, Checked& checked) {
  if (options.config.empty()) return std::nullopt;
  const Configuration configuration =
      load_configuration(options.config, options.rules_directory.empty() ? default_rules_directory() : options.rules_directory);
  if (!configuration.ok()) {
    std::copy_if(configuration.problems.begin(), configuration.problems.end(), std::back_inserter(checked.problems),
                 [](const config::Problem& problem) { return !problem.warning; });
    return std::nullopt;
  }
  Feeds feeds = feeds_of(configuration.loaded.settings);
  for (const auto& group : configuration.groups)
    for (const auto& rule : group.rules)
      if (!rule.alerting) feeds.metrics.insert(rule.name);
  return feeds;
}

Json json_of(const config::Problem& problem) {
  Json p;
  p.set("file", problem.file).set("line", problem.position.line).set("column", problem.position.column).set("what", problem.what);
  p.set("remedy", problem.remedy).set("warning", problem.warning);
  return p;
}

Json json_of(const Explained& rule) {
  Json out;
  out.set("file", rule.file).set("line", rule.line).set("group", rule.group).set("rule", rule.rule);
  out.set("expr", rule.expr)
      .set("type", rule.alerting ? "alerting" : "recording")
      .set("runs", rule.per_batch ? "per_batch" : "on_interval");
  out.set("why", rule.why).set("interval", format_duration(rule.interval)).set("belongs_to_a_service", rule.belongs);
  return out;
}

void print_explained(const Explained& rule) {
  std::string text = rule.file + ":" + std::to_string(rule.line) + ": " + rule.group + ", " + rule.rule + ": ";
  text +=
      rule.per_batch ? "runs after each batch, for that batch's service" : "runs every " + format_duration(rule.interval) + ": " + rule.why;
  if (!rule.belongs) text += "; what it finds belongs to no service";
  std::printf("%s\n", printable(text).c_str());
}

void print_json(const Options& options, const Checked& checked) {
  Json problems = Json::array();
  for (const auto& problem : checked.problems) problems.push(json_of(problem));
  Json out;
  out.set("ok", !checked.failed(options.strict)).set("files", checked.files).set("groups", checked.groups).set("rules", checked.rules);
  out.set("errors", checked.errors).set("warnings", checked.warnings).set("problems", std::move(problems));
  Json explained = Json::array();
  for (const auto& group : checked.read)
    for (const auto& rule : group.rules) explained.push(json_of(explain_rule(group, rule)));
  out.set("explained", std::move(explained));
  std::printf("%s\n", out.pretty().c_str());
}

void print_text(const Options& options, const Checked& checked) {
  for (const auto& problem : checked.problems)
    std::fprintf(stderr, "%s%s\n", problem.warning ? "warning: " : "", printable(problem.text()).c_str());
  if (options.explain)
    for (const auto& group : checked.read)
      for (const auto& rule : group.rules) print_explained(explain_rule(group, rule));
  std::printf("%s: %zu files, %zu groups, %zu rules, %zu errors, %zu warnings\n", checked.failed(options.strict) ? "refused" : "ok",
              checked.files, checked.groups, checked.rules, checked.errors, checked.warnings);
}

int check_rules(const Options& options, const InsightCommands& commands) {
  Checked checked;
  for (const auto& pattern : options.files) {
    const auto files = expand_glob(pattern);
    if (files.empty())
      checked.problems.push_back({pattern, {1, 1}, "there is no file " + pattern, "name a file or a pattern that finds one", false});
    for (const auto& file : files) read_rules(options, file, checked);
  }
  const std::optional<Feeds> feeds = read_feeds(options, checked);
  auto warnings = review(checked.read, feeds);
  std::move(warnings.begin(), warnings.end(), std::back_inserter(checked.problems));
  std::stable_sort(checked.problems.begin(), checked.problems.end(), [](const auto& a, const auto& b) {
    return std::tie(a.file, a.position.line, a.position.column) < std::tie(b.file, b.position.line, b.position.column);
  });
  for (const auto& problem : checked.problems) ++(problem.warning ? checked.warnings : checked.errors);
  commands.json() ? print_json(options, checked) : print_text(options, checked);
  return checked.failed(options.strict) ? 1 : 0;
}

}  // namespace

int print_problems(const std::vector<config::Problem>& problems, std::size_t services, std::size_t rules, bool as_json) {
  int errors = 0, warnings = 0;
  Json list = Json::array();
  for (const auto& problem : problems) {
    (problem.warning ? warnings : errors) += 1;
    list.push(json_of(problem));
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
  auto* command = check.add_subcommand("rules", "Rule files in Prometheus's form: every error at once, and what would surprise here");
  command->add_option("files", options->files, "Files or glob patterns")->required();
  command->add_flag("--strict", options->strict, "Warnings fail too");
  command->add_flag("--local", options->local, "As a service's own rule file: its rules see that service alone");
  command->add_flag("--explain", options->explain, "Say of each rule when it runs, and why");
  command->add_option("--config", options->config, "A configuration, whose checks tell what rules can read");
  command->add_option("--rules-directory", options->rules_directory, "Where the shipped packs are; with --config");
  command->callback([options, &commands, &result] { result = check_rules(*options, commands); });
}

}  // namespace rollbackd::cli
