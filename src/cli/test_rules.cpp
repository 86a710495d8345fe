// The command: files in, each one's rules loaded once, its tests run one after another, and what came told in one of three forms.
#include "cli/test_rules.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>

#include "base/text.hpp"
#include "cli/load.hpp"
#include "series/store.hpp"

namespace rollbackd::cli {
namespace {

struct Options {
  std::vector<std::string> files, run;
  std::string junit;
  bool diff = false, debug = false, ignore_unknown_fields = false;
};

/// The rules of one test file, read once and shared by its tests.
struct Rules {
  rules::Groups groups;
  std::vector<std::string> problems;
};

void add_rule_file(const std::string& file, bool ignore_unknown_fields, Rules& out) {
  const auto text = read_file(file);
  if (!text) {
    out.problems.push_back(text.error().text());
    return;
  }
  std::vector<config::Problem> problems;
  rules::Groups groups =
      rules::parse_groups(file.ends_with(".json") ? std::string_view(*text) : first_document(*text), file, std::nullopt, problems);
  for (const config::Problem& problem : problems) {
    const bool forgiven = ignore_unknown_fields && problem.what.starts_with("unknown field");
    if (!problem.warning && !forgiven) out.problems.push_back(problem.text());
  }
  std::move(groups.begin(), groups.end(), std::back_inserter(out.groups));
}

/// Groups that `order` names come in its order, each with the number of its place; all others have number 0, as promtool has it. Beyond
/// that they keep the files' order, where promtool's is random.
void order_groups(rules::Groups& groups, const std::vector<std::string>& order) {
  const auto place = [&order](const rules::Group& group) {
    const auto at = std::find(order.begin(), order.end(), group.name);
    return at == order.end() ? 0 : at - order.begin();
  };
  std::stable_sort(groups.begin(), groups.end(), [&](const auto& a, const auto& b) { return place(a) < place(b); });
}

Rules load_rules(const TestFile& test, const std::string& beside, bool ignore_unknown_fields, FileOutcome& outcome) {
  Rules out;
  std::set<std::string> seen;
  for (const std::string& pattern : test.rule_files) {
    const std::string whole =
        pattern.empty() ? pattern : (std::filesystem::path(beside).parent_path() / pattern).lexically_normal().string();
    const std::size_t bracket = pattern.rfind('[');
    if (bracket != pattern.npos && pattern.find(']', bracket) == pattern.npos) outcome.error = "syntax error in pattern " + whole;
    const auto files = expand_glob(whole);
    if (files.empty()) outcome.warnings.push_back("no file match pattern " + whole);
    for (const std::string& file : files)
      if (seen.insert(file).second) add_rule_file(file, ignore_unknown_fields, out);
  }
  order_groups(out.groups, test.group_eval_order);
  return out;
}

/// Whether a test of that name is asked for.
using Wanted = std::optional<series::Matcher>;

FileOutcome run_file(const std::string& file, const Options& options, const Wanted& wanted) {
  FileOutcome out;
  out.file = file;
  const auto text = read_file(file);
  if (!text) {
    out.error = text.error().text();
    return out;
  }
  std::vector<config::Problem> problems;
  const TestFile test = parse_test_file(*text, file, problems);
  for (const config::Problem& problem : problems) out.error += (out.error.empty() ? "" : "\n") + problem.text();
  if (!out.error.empty()) return out;

  const Rules rules = load_rules(test, file, options.ignore_unknown_fields, out);
  if (!out.error.empty()) return out;
  TestOptions how;
  how.fuzzy_compare = test.fuzzy_compare;
  how.diff = options.diff;
  how.debug = options.debug;
  for (std::size_t i = 0; i < test.tests.size(); ++i) {
    const TestGroup& group = test.tests[i];
    if (wanted && !wanted->matches(group.name)) continue;
    const auto began = std::chrono::steady_clock::now();
    TestOutcome outcome;
    if (rules.problems.empty()) {
      outcome = run_test_group(group, rules.groups, test.evaluation_interval, how);
    } else {
      outcome.failures = rules.problems;
    }
    outcome.name = group.name.empty() ? "unnamed#" + std::to_string(i) : group.name;
    outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    out.tests.push_back(std::move(outcome));
  }
  return out;
}

/// As `printable`, but lines stay lines.
std::string printable_lines(const std::string& text) {
  std::string out;
  for (const std::string& line : split(text, '\n')) out += (out.empty() ? "" : "\n") + printable(line);
  return out;
}

void say(const FileOutcome& file, bool debug) {
  std::printf("Unit Testing:  %s\n", printable(file.file).c_str());
  std::fflush(stdout);
  for (const std::string& warning : file.warnings) std::fprintf(stderr, "  WARNING: %s\n", printable(warning).c_str());
  for (const TestOutcome& test : file.tests) {
    if (debug) {
      std::fprintf(stderr, "DEBUG: Test %s took %.3f s\nDEBUG: Dump of all data (input_series and rules):\n%s",
                   printable(test.name).c_str(), test.seconds, printable_lines(test.dump).c_str());
    }
    for (const std::string& skipped : test.skipped)
      std::fprintf(stderr, "  SKIPPED: %s: %s\n", printable(test.name).c_str(), printable(skipped).c_str());
  }
  if (file.ok()) {
    std::printf("  SUCCESS\n\n");
    return;
  }
  std::fprintf(stderr, "  FAILED:\n");
  if (!file.error.empty()) std::fprintf(stderr, "%s\n\n", printable_lines(file.error).c_str());
  for (const TestOutcome& test : file.tests)
    for (const std::string& failure : test.failures) std::fprintf(stderr, "%s\n\n", printable_lines(failure).c_str());
}

Json to_json(const std::vector<std::string>& texts) {
  Json out = Json::array();
  for (const std::string& text : texts) out.push(text);
  return out;
}

Json to_json(const FileOutcome& file) {
  Json tests = Json::array();
  for (const TestOutcome& test : file.tests) {
    Json one;
    one.set("name", test.name).set("ok", test.failures.empty()).set("seconds", test.seconds);
    one.set("failures", to_json(test.failures)).set("skipped", to_json(test.skipped));
    tests.push(std::move(one));
  }
  Json out;
  out.set("file", file.file).set("ok", file.ok()).set("error", file.error);
  out.set("warnings", to_json(file.warnings)).set("tests", std::move(tests));
  return out;
}

Result<Wanted> wanted_names(const std::vector<std::string>& patterns) {
  if (patterns.empty()) return Wanted();
  auto matcher = series::Matcher::make("name", series::Matcher::Op::regex, "(?s:.*)(?:" + join(patterns, "|") + ")(?s:.*)");
  if (!matcher) return matcher.error();
  return Wanted(std::move(*matcher));
}

/// UTC now as JUnit wants it, to the second.
std::string now_text() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return format_rfc3339(Instant(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count())).substr(0, 19);
}

int test_rules(const Options& options, const InsightCommands& commands) {
  const auto wanted = wanted_names(options.run);
  if (!wanted) return commands.fail(wanted.error());
  std::vector<FileOutcome> files;
  bool ok = true;
  for (const std::string& file : options.files) {
    files.push_back(run_file(file, options, *wanted));
    ok = ok && files.back().ok();
    if (!commands.json()) say(files.back(), options.debug);
  }
  if (commands.json()) {
    Json list = Json::array();
    for (const FileOutcome& file : files) list.push(to_json(file));
    Json out;
    out.set("ok", ok).set("files", std::move(list));
    std::printf("%s\n", out.pretty().c_str());
  }
  if (!options.junit.empty()) {
    std::ofstream out(options.junit, std::ios::binary | std::ios::trunc);
    out << junit_xml(files, now_text());
    out.close();
    if (!out) return commands.fail(Error(Errc::io, "cannot write " + options.junit));
  }
  return ok ? 0 : 1;
}

}  // namespace

bool FileOutcome::ok() const {
  return error.empty() && std::all_of(tests.begin(), tests.end(), [](const TestOutcome& t) { return t.failures.empty(); });
}

void add_test_command(CLI::App& app, const InsightCommands& commands, int& result) {
  auto options = std::make_shared<Options>();
  auto* test = app.add_subcommand("test", "Runs tests; needs no daemon");
  test->require_subcommand(1);
  auto* command = test->add_subcommand("rules", "Unit tests for rules, in promtool's form");
  command->add_option("files", options->files, "Test files")->required();
  command->add_option("--run", options->run, "Only tests whose name matches this regular expression; may be given again")
      ->allow_extra_args(false);
  command->add_option("--junit", options->junit, "Write the outcome as JUnit XML to this file");
  command->add_flag("--diff", options->diff, "Show alerts that differ line by line");
  command->add_flag("--debug", options->debug, "Show how long each test took, and all its series at the end");
  command->add_flag("--ignore-unknown-fields", options->ignore_unknown_fields, "Unknown fields in rule files are no error");
  command->callback([options, &commands, &result] { result = test_rules(*options, commands); });
}

}  // namespace rollbackd::cli
