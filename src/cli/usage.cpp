#include "cli/usage.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "base/text.hpp"

namespace rollbackd::cli {
namespace {

/// Names of the commands below `app`, those for people only.
std::vector<std::string> commands_of(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::App* each :
       app.get_subcommands([](const CLI::App* sub) { return !sub->get_name().empty() && !sub->get_group().empty(); }))
    out.push_back(each->get_name());
  return out;
}

std::vector<std::string> options_of(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::Option* each : app.get_options([](const CLI::Option* option) { return !option->get_group().empty(); }))
    for (const std::string& name : each->get_lnames()) out.push_back("--" + name);
  return out;
}

std::string quoted(const std::string& word) { return "\"" + printable(cut(word, 64)) + "\""; }

}  // namespace

int end_of_parse(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  const CLI::App* deepest = &app;
  std::string command = app.get_name();
  for (auto below = deepest->get_subcommands(); !below.empty(); below = deepest->get_subcommands()) {
    deepest = below.front();
    command += " " + deepest->get_name();
  }
  std::string what = error.what(), next = command + " --help", near;
  const std::vector<std::string> rest = app.remaining(true);
  const std::vector<std::string> commands = commands_of(*deepest);
  if (!rest.empty() && rest.front().starts_with("-")) {
    what = command + " has no option " + quoted(rest.front());
    near = nearest(rest.front(), options_of(*deepest));
  } else if (!rest.empty() && !commands.empty()) {
    what = command + " has no command " + quoted(rest.front());
    near = nearest(rest.front(), commands);
  } else if (!rest.empty()) {
    what = quoted(rest.front()) + " is one word too many for " + command;
  } else if (error.get_name() == "RequiredError" && !commands.empty() && deepest->get_subcommands().empty()) {
    what = command + " needs a command";
    if (commands.size() <= 4) next = "one of " + join(commands, ", ");
  }
  if (!near.empty()) next = "did you mean \"" + near + "\"? Else: " + next;
  if (what.find("\n  next: ") == std::string::npos) what += "\n  next: " + next;
  std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), what.c_str());
  return 1;
}

}  // namespace rollbackd::cli
