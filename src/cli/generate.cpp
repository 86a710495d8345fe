// Writes completion and manual from the command line's definition and the settings' schema. Pure: a tree in, a text out.
// Flow: `rollbackctl --generate KIND`, called by the build (deploy/packaging) and by nobody else.
#include "cli/generate.hpp"

#include <CLI/CLI.hpp>
#include <functional>
#include <vector>

#include "base/json.hpp"
#include "config/load.hpp"

namespace rollbackd::cli {

namespace {

/// One option or one positional argument.
struct Argument {
  std::vector<std::string> names;  ///< "--env", "-e"; empty for a positional one
  std::string word;                ///< of a positional one
  std::string description;
  std::vector<std::string> choices;  ///< the only values it takes; empty: any
  bool takes_value = false, required = false, many = false;
};

struct Command {
  std::string path;  ///< "check config"
  std::string description;
  std::vector<Argument> options, positionals;
};

/// CLI11 keeps the values of IsMember only as text: "TEXT:{table,json}".
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const auto open = type.find('{'), close = type.rfind('}');
  std::vector<std::string> out;
  if (open == type.npos || close == type.npos || close < open) return out;
  std::string word;
  for (std::size_t i = open + 1; i <= close; ++i) {
    if (type[i] != ',' && i != close) {
      word += type[i];
      continue;
    }
    out.push_back(word);
    word.clear();
  }
  return out;
}

Argument argument_of(const CLI::Option& option) {
  Argument out;
  for (const auto& name : option.get_lnames()) out.names.push_back("--" + name);
  for (const auto& name : option.get_snames()) out.names.push_back("-" + name);
  if (out.names.empty()) out.word = option.get_name(true);
  out.description = option.get_description();
  out.choices = choices_of(option);
  out.takes_value = option.get_items_expected_max() > 0;
  out.required = option.get_required();
  out.many = option.get_items_expected_max() > 1;
  return out;
}

bool shown(const CLI::App* app) { return !app->get_group().empty(); }

std::vector<Argument> arguments_of(const CLI::App& app, bool positional) {
  std::vector<Argument> out;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty() || option == app.get_help_ptr()) continue;
    Argument argument = argument_of(*option);
    if (argument.names.empty() == positional) out.push_back(std::move(argument));
  }
  return out;
}

/// Every command that can be given, in the order of --help; a command with subcommands is none itself.
void collect(const CLI::App& app, const std::string& path, std::vector<Command>& out) {
  const auto children = app.get_subcommands(shown);
  for (const CLI::App* child : children) collect(*child, path.empty() ? child->get_name() : path + " " + child->get_name(), out);
  if (children.empty() && !path.empty()) out.push_back({path, app.get_description(), arguments_of(app, false), arguments_of(app, true)});
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

bool names_a_file(const Argument& argument) {
  const std::string& name = argument.names.empty() ? argument.word : argument.names.front();
  for (const char* part : {"file", "config", "directory", "output"})
    if (name.find(part) != name.npos) return true;
  return false;
}

// ---- bash ----

std::string bash_values(const Argument& argument) {
  if (!argument.choices.empty()) return "_rollbackctl_from '" + joined(argument.choices, " ") + "'";
  if (argument.word == "service") return "_rollbackctl_from \"$(_rollbackctl_words services)\"";
  if (!argument.names.empty() && argument.names.front() == "--env") return "_rollbackctl_from \"$(_rollbackctl_words environments)\"";
  if (names_a_file(argument)) return "COMPREPLY=($(compgen -f -- \"$cur\"))";
  return ":";
}

/// The release of a command is one of the service that stands before it.
std::string bash_positional(const Command& command, std::size_t i) {
  if (command.positionals[i].word != "release") return bash_values(command.positionals[i]);
  for (std::size_t service = 0; service < i; ++service)
    if (command.positionals[service].word == "service")
      return "_rollbackctl_from \"$(_rollbackctl_words releases \"${given[" + std::to_string(service) + "]}\")\"";
  return ":";
}

std::string bash(const std::vector<Command>& commands, const std::vector<Argument>& common) {
  std::string with_value, paths, values, positionals, options;
  std::string first_words;
  std::vector<std::string> known, firsts;
  const auto note = [&](const Argument& argument) {
    if (!argument.takes_value) return;
    for (const auto& name : argument.names) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      known.push_back(name);
      values += "    " + name + ") " + bash_values(argument) + "; return ;;\n";
    }
  };
  std::string common_words;
  for (const auto& argument : common) {
    note(argument);
    common_words += " " + joined(argument.names, " ");
  }
  std::vector<std::string> prefixes;
  for (const auto& command : commands) {
    const auto space = command.path.find(' ');
    const std::string first = command.path.substr(0, space);
    if (std::find(firsts.begin(), firsts.end(), first) == firsts.end()) firsts.push_back(first);
    paths += (paths.empty() ? "'" : " | '") + command.path + "'";
    if (space != command.path.npos && std::find(prefixes.begin(), prefixes.end(), first) == prefixes.end()) {
      prefixes.push_back(first);
      paths += " | '" + first + "'";
    }
    std::string words;
    for (const auto& argument : command.options) {
      note(argument);
      words += " " + joined(argument.names, " ");
    }
    options += "      '" + command.path + "') _rollbackctl_from '--help" + common_words + words + "' ;;\n";
    for (std::size_t i = 0; i < command.positionals.size(); ++i)
      positionals += "    '" + command.path + "':" + (command.positionals[i].many ? "*" : std::to_string(i)) + ") " +
                     bash_positional(command, i) + " ;;\n";
  }
  for (const auto& prefix : prefixes) {
    std::vector<std::string> next;
    for (const auto& command : commands)
      if (command.path.starts_with(prefix + " ")) next.push_back(command.path.substr(prefix.size() + 1));
    positionals += "    '" + prefix + "':0) _rollbackctl_from '" + joined(next, " ") + "' ;;\n";
  }
  return R"(# bash completion of rollbackctl; generated by rollbackctl --generate bash
# What only the daemon knows is asked with a second's patience; without one there is nothing to offer.
_rollbackctl_words() { timeout 1 rollbackctl words "$@" 2> /dev/null; }
_rollbackctl_from() { COMPREPLY=($(compgen -W "$1" -- "$cur")); }

_rollbackctl() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} path='' word skip='' i
  local -a given=()
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [ -n "$skip" ]; then
      skip=''
      continue
    fi
    case "$word" in
      )" +
         joined(known, " | ") +
         R"() skip=1 ;;
      -*) ;;
      *)
        case "${path:+$path }$word" in
          )" +
         paths +
         R"() path="${path:+$path }$word" ;;
          *) given+=("$word") ;;
        esac
        ;;
    esac
  done
  if [ -n "$skip" ]; then
    case "$prev" in
)" + values +
         R"(    esac
  fi
  if [[ $cur == -* ]]; then
    case "$path" in
)" + options +
         "      *) _rollbackctl_from '--help" + common_words + R"(' ;;
    esac
    return
  fi
  case "$path:${#given[@]}" in
    :0) _rollbackctl_from ')" +
         joined(firsts, " ") + R"(' ;;
)" + positionals +
         R"(  esac
}
complete -F _rollbackctl rollbackctl
)";
}

// ---- zsh ----

/// For a text inside single quotes and between the brackets of _arguments.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out;
}

std::string zsh_action(const Argument& argument, const std::string& service) {
  if (!argument.choices.empty()) return "(" + joined(argument.choices, " ") + ")";
  if (argument.word == "service") return "_rollbackctl_words services";
  if (argument.word == "release") return service.empty() ? "" : "_rollbackctl_words releases \"$line[" + service + "]\"";
  if (!argument.names.empty() && argument.names.front() == "--env") return "_rollbackctl_words environments";
  return names_a_file(argument) ? "_files" : "";
}

void zsh_arguments(const std::vector<Argument>& options, const std::vector<Argument>& positionals, std::string& out) {
  for (const auto& argument : options)
    for (const auto& name : argument.names)
      out += " \\\n    '" + name + "[" + zsh_text(argument.description) + "]" +
             (argument.takes_value ? ":value:" + zsh_action(argument, "") : "") + "'";
  std::string service;
  for (std::size_t i = 0; i < positionals.size(); ++i) {
    const std::string place = positionals[i].many ? "*" : std::to_string(i + 1);
    if (positionals[i].word == "service") service = place;
    out += " \\\n    '" + place + ":" + positionals[i].word + ":" + zsh_action(positionals[i], service) + "'";
  }
}

/// One function a command; one with subcommands offers them and hands over to theirs.
void zsh_function(const CLI::App& app, const std::string& name, const std::vector<Argument>& common, std::string& out) {
  const auto children = app.get_subcommands(shown);
  for (const CLI::App* child : children) zsh_function(*child, name + "_" + child->get_name(), common, out);
  std::string arguments;
  zsh_arguments(common, {}, arguments);
  if (children.empty()) {
    zsh_arguments(arguments_of(app, false), arguments_of(app, true), arguments);
    out += name + "() {\n  local line\n  _arguments '--help[Help]'" + arguments + "\n}\n";
    return;
  }
  std::string list, hand_over;
  for (const CLI::App* child : children) {
    list += " \\\n        '" + child->get_name() + ":" + zsh_text(child->get_description()) + "'";
    hand_over += "        " + child->get_name() + ") " + name + "_" + child->get_name() + " ;;\n";
  }
  out +=
      name + "() {\n  local curcontext=$curcontext state line\n  typeset -A opt_args\n  _arguments -C '--help[Help]'" + arguments +
      " \\\n    '1:command:->command' '*::argument:->argument'\n  case $state in\n    command)\n      local -a commands\n      commands=(" +
      list + ")\n      _describe command commands\n      ;;\n    argument)\n      case $line[1] in\n" + hand_over +
      "      esac\n      ;;\n  esac\n}\n";
}

std::string zsh(const CLI::App& app, const std::vector<Argument>& common) {
  std::string out = R"sh(#compdef rollbackctl
# zsh completion of rollbackctl; generated by rollbackctl --generate zsh
_rollbackctl_words() {
  local -a found
  found=(${(f)"$(timeout 1 rollbackctl words "$@" 2> /dev/null)"})
  compadd -a found
}
)sh";
  zsh_function(app, "_rollbackctl", common, out);
  return out + "_rollbackctl \"$@\"\n";
}

// ---- mdoc ----

/// A line of text: nothing in it may be taken for a request or an escape.
std::string mdoc_text(const std::string& text) {
  std::string out = text.starts_with('.') || text.starts_with('\'') ? "\\&" : "";
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else {
      out += c == '\n' ? ' ' : c;
    }
  }
  if (!out.empty() && out.back() != '.' && out.back() != '?' && out.back() != '!') out += '.';
  return out;
}

/// "--env" as the argument of Fl, which writes one dash itself.
std::string mdoc_flags(const Argument& argument) {
  std::string out;
  for (const auto& name : argument.names)
    out += (out.empty() ? "Fl " : " , Fl ") + (name.starts_with("--") ? "\\-" : std::string()) + name.substr(name.find_first_not_of('-'));
  return argument.takes_value ? out + " Ar " + (argument.choices.empty() ? "value" : joined(argument.choices, " | ")) : out;
}

std::string mdoc_options(const std::vector<Argument>& options) {
  std::string out = ".Bl -tag -width 4n -compact\n";
  for (const auto& argument : options) out += ".It " + mdoc_flags(argument) + "\n" + mdoc_text(argument.description) + "\n";
  return options.empty() ? "" : out + ".El\n";
}

std::string mdoc_commands(const std::vector<Command>& commands, const std::vector<Argument>& common) {
  std::string out = "These options go with every command:\n.Pp\n" + mdoc_options(common) + ".Pp\nThe commands:\n.Bl -tag -width 4n\n";
  for (const auto& command : commands) {
    out += ".It Ic " + command.path;
    for (const auto& argument : command.positionals) {
      const std::string word = argument.choices.empty() ? argument.word : joined(argument.choices, " | ");
      out += (argument.required ? " Ar " : " Op Ar ") + word + (argument.many ? " ..." : "");
    }
    out += "\n" + mdoc_text(command.description) + "\n" + mdoc_options(command.options);
  }
  return out + ".El\n";
}

void mdoc_settings(const Json& object, const std::string& path, std::string& out) {
  for (const auto& [key, value] : object["properties"].members()) {
    const std::string whole = path + key;
    out += ".It Cm " + whole;
    std::vector<std::string> choices;
    for (const Json& choice : value["enum"].elements()) choices.push_back(choice.string_or(""));
    if (value.has("default"))
      out += " Pq default: Li " + (value["default"].is_string() ? value["default"].string_or("") : value["default"].dump());
    out += "\n" + mdoc_text(value["description"].string_or("")) + "\n";
    if (!choices.empty()) out += "One of " + joined(choices, ", ") + ".\n";
    if (key == "environments") {  // A service's policy, listed there.
      out += "Its keys are those of services[].policy.\n";
      continue;
    }
    mdoc_settings(value, whole + ".", out);
    mdoc_settings(value["items"], whole + "[].", out);
    mdoc_settings(value["additionalProperties"], whole + ".NAME.", out);
  }
}

}  // namespace

Result<std::string> generate(const CLI::App& app, std::string_view kind) {
  std::vector<Command> commands;
  collect(app, "", commands);
  const std::vector<Argument> common = arguments_of(app, false);
  if (kind == "bash") return bash(commands, common);
  if (kind == "zsh") return zsh(app, common);
  if (kind == "commands") return mdoc_commands(commands, common);
  if (kind == "settings") {
    std::string out = ".Bl -tag -width 4n\n";
    mdoc_settings(config::schema(), "", out);
    return out + ".El\n";
  }
  return Error(Errc::invalid_argument, "nothing of the kind is generated").try_next("bash, zsh, commands or settings");
}

}  // namespace rollbackd::cli
