#include "config/expand.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "base/ids.hpp"
#include "config/paths.hpp"

namespace rollbackd::config {
namespace {

Node text_node(std::string text, Position position = {}) {
  Node node;
  node.kind = Node::Kind::string;
  node.text = std::move(text);
  node.quoted = true;
  node.position = position;
  return node;
}

Node empty_node(Node::Kind kind, Position position = {}) {
  Node node;
  node.kind = kind;
  node.position = position;
  return node;
}

void add(Node& object, std::string key, Node value) {
  const Position position = value.position;
  object.members.push_back(Node::Member{std::move(key), position, std::move(value)});
}

void add_default(Node& object, std::string_view key, std::string text) {
  if (!object.find(key)) add(object, std::string(key), text_node(std::move(text)));
}

void add_default_number(Node& object, std::string_view key, std::int64_t number) {
  Node node = empty_node(Node::Kind::number);
  node.text = std::to_string(number);
  if (!object.find(key)) add(object, std::string(key), std::move(node));
}

Node* find(Node& object, std::string_view key, Node::Kind kind) {
  for (Node::Member& member : object.members)
    if (member.key == key && member.value.kind == kind) return &member.value;
  return nullptr;
}

std::string text_of(const Node& object, std::string_view key) {
  const Node* node = object.find(key);
  return node && node->kind == Node::Kind::string ? node->text : "";
}

/// Takes the member out of the object. Of whatever type it is: the long form's table complains about a wrong one.
std::optional<Node::Member> take(Node& object, std::string_view key) {
  const auto at = std::find_if(object.members.begin(), object.members.end(), [&](const Node::Member& m) { return m.key == key; });
  if (at == object.members.end()) return {};
  Node::Member out = std::move(*at);
  object.members.erase(at);
  return out;
}

Node unit_process(const Node& unit) {
  Node process = empty_node(Node::Kind::object, unit.position);
  add(process, "manager", text_node("systemd", unit.position));
  add(process, "unit", text_node(unit.text, unit.position));
  return process;
}

void expand_component(Node& service, const Source& source, Reader& reader) {
  if (service.find("components")) {
    for (const Node::Member& member : service.members)
      for (const char* key : {"unit", "command", "current", "releases"})
        if (member.key == key)
          reader.problem(source, member.position, "\"" + member.key + "\" is the short form and cannot stand beside \"components\"",
                         "move it into the component");
    return;
  }
  auto current = take(service, "current");
  auto releases = take(service, "releases");
  auto command = take(service, "command");
  std::optional<Node::Member> unit;
  if (const Node* name = find(service, "unit", Node::Kind::string); name && !check_unit(name->text)) unit = take(service, "unit");
  if (unit && command)
    reader.problem(source, command->position, "\"command\" and \"unit\" both start the process",
                   "keep \"unit\" for a service that systemd runs");
  if (!current && !releases && !unit && !command) return;

  Node component = empty_node(Node::Kind::object, current ? current->position : service.position);
  if (current) component.members.push_back(std::move(*current));
  if (releases) component.members.push_back(std::move(*releases));
  if (unit) {
    add(component, "process", unit_process(unit->value));
  } else if (command) {
    const Position p = command->position;
    Node process = empty_node(Node::Kind::object, p);
    add(process, "manager", text_node("supervised", p));
    process.members.push_back(std::move(*command));
    add(component, "process", std::move(process));
  }
  Node components = empty_node(Node::Kind::array, component.position);
  components.elements.push_back(std::move(component));
  add(service, "components", std::move(components));
}

/// `first`: of its service. Each further process has a directory of its own below the service's, as the engine makes it.
void complete_component(Node& component, const Node& service, const std::string& state_directory, bool first) {
  const std::string current = text_of(component, "current");
  if (!current.empty()) add_default(component, "releases", directory_of(current) + "/releases");
  Node* process = find(component, "process", Node::Kind::object);
  if (!process || text_of(*process, "manager") != "supervised") return;
  if (!current.empty()) add_default(*process, "working_directory", current);
  const std::string name = text_of(service, "name"), environment = text_of(service, "environment"), own = text_of(component, "name");
  if (is_name(name) && is_name(environment) && (first || is_name(own)))
    add_default(*process, "output", state_directory + "/services/" + name + "." + environment + (first ? "" : "/" + own) + "/output.log");
}

/// Whether a manager of ours notices the process's exits by itself.
bool watches_process(const Node& service) {
  const Node* components = service.find("components");
  if (!components) return false;
  return std::any_of(components->elements.begin(), components->elements.end(), [](const Node& component) {
    const Node* process = component.find("process");
    if (!process) return false;
    const std::string manager = text_of(*process, "manager");
    return manager == "supervised" || manager == "systemd" || (manager == "command" && process->find("pid_file"));
  });
}

constexpr std::int64_t kAnswerBytesMax = 16 << 20;  ///< of a scrape or an answer to PromQL, unless given

/// What a type of check has unless given, where that is not what the table says.
struct CheckDefaults {
  std::string_view type;
  const char* interval;
  const char* timeout;  ///< null: the table's
};
constexpr CheckDefaults kCheckDefaults[] = {{"process", "15s", nullptr}, {"log", "15s", nullptr},  {"systemd", "15s", "5s"},
                                            {"exec", "30s", "10s"},      {"scrape", "15s", "10s"}, {"promql", "15s", "10s"},
                                            {"config", "15s", "10s"},    {"file", "15s", "5s"}};

/// The unit of the component's systemd manager; empty: there is none.
std::string unit_of(const Node& service) {
  const Node* components = service.find("components");
  if (!components) return {};
  for (const Node& component : components->elements)
    if (const Node* process = component.find("process"); process && text_of(*process, "manager") == "systemd")
      return text_of(*process, "unit");
  return {};
}

void complete_check(Node& check, const Node& service) {
  const std::string type = text_of(check, "type");
  for (const CheckDefaults& defaults : kCheckDefaults) {
    if (type != defaults.type) continue;
    add_default(check, "interval", defaults.interval);
    if (defaults.timeout) add_default(check, "timeout", defaults.timeout);
  }
  if (type == "scrape" || type == "promql") add_default_number(check, "body_bytes_max", kAnswerBytesMax);
  if (const std::string name = text_of(service, "name"); type == "scrape" && is_name(name)) add_default(check, "job", name);
  if (const std::string unit = unit_of(service); type == "systemd" && !unit.empty()) add_default(check, "unit", unit);
}

void expand_checks(Node& service, const Source& source, Reader& reader) {
  auto url = take(service, "url");
  const bool process = watches_process(service);
  if (!service.find("checks")) {
    if (!url && !process) return;
    add(service, "checks", empty_node(Node::Kind::array, url ? url->position : Position{}));
  }
  Node* checks = find(service, "checks", Node::Kind::array);
  if (!checks) return;
  const auto is_there = [&](std::string_view key, std::string_view word) {
    return std::any_of(checks->elements.begin(), checks->elements.end(), [&](const Node& check) { return text_of(check, key) == word; });
  };
  if (url && is_there("name", "health")) {
    reader.problem(source, url->position, "\"url\" makes a check named \"health\", and \"checks\" has one too", "keep one of them");
  } else if (url) {
    Node health = empty_node(Node::Kind::object, url->position);
    add(health, "name", text_node("health", url->position));
    add(health, "type", text_node("http", url->position));
    health.members.push_back(std::move(*url));
    checks->elements.insert(checks->elements.begin(), std::move(health));
  }
  if (process && !is_there("type", "process")) {
    Node check = empty_node(Node::Kind::object);
    add(check, "name", text_node("process"));
    add(check, "type", text_node("process"));
    checks->elements.push_back(std::move(check));
  }
  for (Node& check : checks->elements)
    if (check.kind == Node::Kind::object) complete_check(check, service);
}

/// Each entry of `list` is named after its `key` unless it has a name, with a number where there are several.
void name_by(Node& service, const char* list, const char* key) {
  Node* entries = find(service, list, Node::Kind::array);
  if (!entries) return;
  std::map<std::string, int> seen;
  for (Node& entry : entries->elements) {
    const std::string word = text_of(entry, key);
    if (word.empty()) continue;
    const int number = ++seen[word];
    add_default(entry, "name", number == 1 ? word : word + "_" + std::to_string(number));
  }
}

void expand_verify(Node& service) {
  if (!service.find("verify")) {
    Node test = empty_node(Node::Kind::object);
    add(test, "type", text_node("checks_healthy"));
    Node verify = empty_node(Node::Kind::array);
    verify.elements.push_back(std::move(test));
    add(service, "verify", std::move(verify));
  }
  name_by(service, "verify", "type");
}

}  // namespace

void expand_main(Node& root) {
  const std::string state_directory = text_of(root, "state_directory");
  const std::string state = state_directory.empty() ? settings_table().find("state_directory")->fallback : state_directory;
  add_default(root, "socket", state + "/rollbackd.sock");
  add_default(root, "token_file", state + "/tokens");
  add_default(root, "kill_switch", state + "/kill-switch");
}

void expand_service(Node& service, const std::string& state_directory, const Source& source, Reader& reader) {
  expand_component(service, source, reader);
  if (Node* components = find(service, "components", Node::Kind::array))
    for (Node& component : components->elements)
      if (component.kind == Node::Kind::object)
        complete_component(component, service, state_directory, &component == &components->elements.front());
  expand_checks(service, source, reader);
  expand_verify(service);
  name_by(service, "hooks", "at");
}

}  // namespace rollbackd::config
