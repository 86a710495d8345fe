#include "config/cross_checks.hpp"

#include <algorithm>
#include <map>

#include "base/text.hpp"
#include "config/hook_checks.hpp"
#include "config/paths.hpp"

namespace rollbackd::config {
namespace {

constexpr std::size_t kSocketPathMax = 107;  ///< sun_path without its zero

std::string at(const std::string& path, const char* list, std::size_t i) { return path + "." + list + "[" + std::to_string(i) + "]"; }

std::string place_text(const Origin& origin) { return origin.file + ", line " + std::to_string(origin.line); }

/// Reports each name that an earlier entry of the list has.
template <class T>
void unique_names(const std::vector<T>& entries, const std::string& list, Reader& reader) {
  std::map<std::string, std::size_t> seen;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].name.empty()) continue;
    const auto [first, fresh] = seen.emplace(entries[i].name, i);
    if (fresh) continue;
    reader.problem_at(list + "[" + std::to_string(i) + "].name",
                      "the name \"" + entries[i].name + "\" stands twice in \"" + list.substr(list.rfind('.') + 1) + "\"",
                      "give each its own name");
  }
}

bool watched(const ProcessSettings& process) {
  return process.manager == ManagerType::supervised || process.manager == ManagerType::systemd ||
         (process.manager == ManagerType::command && !process.pid_file.empty());
}

void check_component(const ComponentSettings& component, const std::string& path, Reader& reader) {
  if (!component.current.empty() && component.current == component.releases)
    reader.problem_at(path + ".releases", "\"releases\" and \"current\" are the same path",
                      "\"current\" is a link to one directory inside \"releases\"");
  const std::string process = path + ".process";
  const auto lacks = [&](const char* key, const auto& argv) { return argv.empty() && reader.sound(process + "." + key); };
  if (component.process.manager == ManagerType::command && lacks("restart", component.process.restart) &&
      (lacks("start", component.process.start) || lacks("stop", component.process.stop)))
    reader.problem_at(process, "the manager \"command\" has no command that restarts the process",
                      "write \"restart\": [\"...\"], or both \"start\" and \"stop\"");
}

/// Whether checks of the type say healthy or not, so that a probe that times out can be a failure.
bool fails_by_timeout(CheckType type) { return type == CheckType::http || type == CheckType::tcp; }

bool about_the_service(const CheckSettings& check) { return check.dependency.empty(); }

/// A program is absolute, or a bare name that PATH finds when it runs: what a relative path means would depend on the daemon's directory.
void check_program(const CheckSettings& check, const std::string& path, Reader& reader) {
  if (check.command.empty() || !reader.sound(path + ".command")) return;
  const std::string& program = check.command.front();
  if (program.starts_with('/') || program.find('/') == program.npos) return;
  reader.problem_at(path + ".command",
                    "the program \"" + printable(cut(program, 200)) + "\" is a relative path, and a check has no directory",
                    "write the absolute path, or a bare name that PATH finds");
}

void check_credentials(const std::string& path, Reader& reader) {
  const bool user = reader.given(path + ".username"), password = reader.given(path + ".password_file");
  const bool bearer = reader.given(path + ".bearer_token_file");
  if (bearer && (user || password))
    reader.problem_at(path + ".bearer_token_file", "\"bearer_token_file\" and a user name or password exclude each other",
                      "keep what the server asks for");
  else if (user && !password)
    reader.problem_at(path + ".username", "\"username\" without \"password_file\"",
                      "write \"password_file\": \"/etc/rollbackd/secrets/NAME\"");
  else if (password && !user)
    reader.problem_at(path + ".password_file", "\"password_file\" without \"username\"", "write \"username\": \"...\"");
}

void check_check(const CheckSettings& check, const std::string& path, const ProcessSettings* process, Reader& reader) {
  if (reader.sound(path + ".timeout") && reader.sound(path + ".interval") && check.timeout > check.interval * 10)
    reader.problem_at(path + (reader.given(path + ".timeout") ? ".timeout" : ".interval"),
                      "\"timeout\" (" + format_duration(check.timeout) + ") is more than ten times \"interval\" (" +
                          format_duration(check.interval) + ")",
                      "set \"timeout\" to " + format_duration(check.interval * 10) + " or less");
  if (!reader.sound(path + ".type")) return;
  switch (check.type) {
    case CheckType::http:
      if (check.method == "HEAD" && (!check.body_matches.empty() || !check.body_not_matches.empty()))
        reader.problem_at(path + ".method", "the answer to HEAD has no body to search", "use \"GET\"");
      break;
    case CheckType::process:
      if (check.pid_file.empty() && (!process || !watched(*process)) && reader.sound(path + ".pid_file"))
        reader.problem_at(path, "this process check does not know its process",
                          "write \"pid_file\": \"/run/NAME.pid\", or let a component's process be supervised");
      break;
    case CheckType::log:
      if (has_wildcard(directory_of(check.path)))
        reader.problem_at(path + ".path", "only the last part of a log's path may be a pattern",
                          "name the directory, or make one check for each");
      break;
    case CheckType::tcp: break;
    case CheckType::exec:
    case CheckType::config: check_program(check, path, reader); break;
    case CheckType::systemd:
      if (check.unit.empty() && reader.sound(path + ".unit") && (!process || process->manager != ManagerType::systemd))
        reader.problem_at(path, "this systemd check does not know its unit",
                          "write \"unit\": \"NAME.service\", or let a component's process be managed by systemd");
      break;
    case CheckType::scrape: check_credentials(path, reader); break;
    case CheckType::promql:
      check_credentials(path, reader);
      if (check.url.find('?') != check.url.npos)
        reader.problem_at(path + ".url", "the address of a Prometheus server has no query", "write it like http://127.0.0.1:9090");
      break;
    case CheckType::file:
      if (has_wildcard(check.path))
        reader.problem_at(path + ".path", "this check looks at one file, not at a pattern", "name the file, or make one check for each");
      break;
  }
}

void check_test(const TestSettings& test, const std::string& path, const ServiceSettings& service, Reader& reader) {
  if (!reader.sound(path + ".type")) return;
  const bool managed = !service.components.empty() && service.components[0].process.manager != ManagerType::none;
  switch (test.type) {
    case TestType::checks_healthy:
      if (test.for_ > test.within && reader.sound(path + ".for") && reader.sound(path + ".within"))
        reader.problem_at(path + (reader.given(path + ".for") ? ".for" : ".within"),
                          "\"for\" (" + format_duration(test.for_) + ") is longer than \"within\" (" + format_duration(test.within) +
                              "), so the test can never pass",
                          "set \"within\" to more than " + format_duration(test.for_));
      if (std::none_of(service.checks.begin(), service.checks.end(), about_the_service) && reader.given(path + ".type"))
        reader.problem_at(path, "there is no check whose health this test could wait for", "add a check, or another test", true);
      break;
    case TestType::service_status:
      if (!managed) reader.problem_at(path, "no manager knows whether the process runs", "give the component a \"process\"");
      break;
    case TestType::identity:
      if (service.identity.url.empty() && reader.sound(path))
        reader.problem_at(path, "this test needs the service's \"identity\"", "write \"identity\": {\"url\": \"http://...\"}");
      break;
    case TestType::http:
    case TestType::exec:
    case TestType::file_exists: break;
  }
  if (test.within > service.policy.deadline_standard && reader.given(path + ".within"))
    reader.problem_at(path + ".within",
                      "\"within\" (" + format_duration(test.within) + ") is longer than the operation's deadline (" +
                          format_duration(service.policy.deadline_standard) + ")",
                      "raise \"policy.deadline.standard\"", true);
}

void check_policy(const ServiceSettings& service, const std::string& path, Reader& reader) {
  const PolicySettings& policy = service.policy;
  const auto warn = [&](const char* key, std::string what, std::string remedy) {
    if (reader.sound(path + ".policy." + key)) reader.problem_at(path + ".policy." + key, std::move(what), std::move(remedy), true);
  };
  if (policy.cooldown < policy.bake_time)
    warn(reader.given(path + ".policy.cooldown") ? "cooldown" : "bake_time",
         "\"cooldown\" (" + format_duration(policy.cooldown) + ") is shorter than \"bake_time\" (" + format_duration(policy.bake_time) +
             "): a second rollback may come before the first release was judged",
         "set \"cooldown\" to " + format_duration(policy.bake_time) + " or more");
  if (policy.deadline_emergency > policy.deadline_standard)
    warn("deadline.emergency", "an emergency has more time than a standard operation",
         "set it to " + format_duration(policy.deadline_standard) + " or less");
  if (policy.deadline_step > policy.deadline_standard)
    warn("deadline.step", "one step has more time than the whole operation",
         "set it to " + format_duration(policy.deadline_standard) + " or less");
  if (policy.start_grace > policy.bake_time)
    warn("start_grace", "\"start_grace\" is longer than \"bake_time\": a release that never succeeds is not noticed in time",
         "set it to " + format_duration(policy.bake_time) + " or less");
}

void check_automatic(const ServiceSettings& service, const std::string& path, Reader& reader) {
  const bool acts = service.automation == Automation::automatic || service.automation == Automation::approve;
  if (!acts || !reader.sound(path + ".automation")) return;
  const std::string where = path + ".automation";
  if (std::none_of(service.checks.begin(), service.checks.end(), about_the_service) && reader.sound(path + ".checks"))
    reader.problem_at(where, std::string(to_string(service.automation)) + " without any check: nothing can ever cause a rollback",
                      "add \"url\" or \"checks\"", true);
  if (!service.components.empty() && service.components[0].process.manager == ManagerType::none &&
      reader.sound(path + ".components[0].process.manager"))
    reader.problem_at(
        where, std::string(to_string(service.automation)) + " without a process manager: nothing restarts the service after a switch",
        "add \"unit\", \"command\" or \"process\"", true);
  if (service.policy.budget_rollbacks == 0 && reader.sound(path + ".policy.budget.rollbacks"))
    reader.problem_at(path + ".policy.budget.rollbacks",
                      std::string(to_string(service.automation)) + " with a budget of 0 never rolls back",
                      "use \"automation\": \"observe\" to say so", true);
}

/// Acting waits for second opinions as long as `settle`: a probe that may take longer is decided without.
void check_settle(const ServiceSettings& service, const std::string& path, Reader& reader) {
  const bool acts = service.automation == Automation::automatic || service.automation == Automation::approve;
  if (!acts || !reader.sound(path + ".policy.settle")) return;
  for (std::size_t i = 0; i < service.checks.size(); ++i) {
    const CheckSettings& check = service.checks[i];
    const std::string timeout = at(path, "checks", i) + ".timeout";
    if (!fails_by_timeout(check.type) || check.timeout <= service.policy.settle || !reader.sound(timeout)) continue;
    reader.problem_at(reader.given(timeout) ? timeout : path + ".policy.settle",
                      "\"timeout\" (" + format_duration(check.timeout) + ") of the check \"" + check.name +
                          "\" is longer than \"settle\" (" + format_duration(service.policy.settle) +
                          "): when it times out, its second opinion comes too late",
                      "set \"policy.settle\" to more than " + format_duration(check.timeout) + ", or shorten \"timeout\"", true);
  }
}

/// A service's name, its directory under the state and its link must each be its own.
void check_alone(const Settings& settings, Reader& reader) {
  std::map<ServiceKey, std::size_t> keys;
  std::map<std::string, std::size_t> directories, links;
  for (std::size_t i = 0; i < settings.services.size(); ++i) {
    const ServiceSettings& service = settings.services[i];
    const std::string path = "services[" + std::to_string(i) + "]";
    const auto first_at = [&](std::size_t n) { return place_text(settings.services[n].origin); };
    if (!service.key.name.empty() && !service.key.environment.empty()) {
      const auto [same, fresh] = keys.emplace(service.key, i);
      const auto [directory, fresh_directory] = directories.emplace(service.key.name + "." + service.key.environment, i);
      if (!fresh) {
        reader.problem_at(path, "the service " + service.key.text() + " stands here for the second time",
                          "keep one; the first is in " + first_at(same->second));
        continue;  // Its link is the same for the same reason.
      }
      if (!fresh_directory)
        reader.problem_at(path,
                          service.key.text() + " and " + settings.services[directory->second].key.text() + " would share the state file " +
                              directory->first,
                          "rename one of them");
    }
    for (const ComponentSettings& component : service.components) {
      if (component.current.empty()) continue;
      const auto [link, fresh] = links.emplace(component.current, i);
      if (!fresh && link->second != i)
        reader.problem_at(path + ".components[0].current",
                          "the link " + component.current + " belongs to " + settings.services[link->second].key.text() + " too",
                          "each service needs its own link");
    }
  }
  for (std::size_t i = 0; i < settings.services.size(); ++i) {
    const ServiceSettings& service = settings.services[i];
    for (const std::string& name : service.depends_on) {
      const std::string path = "services[" + std::to_string(i) + "].depends_on";
      const auto pieces = split(name, '/');
      if (name == service.key.text()) {
        reader.problem_at(path, "a service cannot depend on itself", "remove \"" + name + "\"");
      } else if (pieces.size() == 2 && !keys.contains(ServiceKey{pieces[0], pieces[1]})) {
        reader.problem_at(path, "no service " + name + " is configured, so nothing is known of its health",
                          "add it, with \"automation\": \"off\" if it is only watched", true);
      }
    }
  }
}

void check_groups(const Settings& settings, Reader& reader) {
  for (std::size_t i = 0; i < settings.groups.size(); ++i) {
    const std::string path = "groups[" + std::to_string(i) + "].services";
    if (!reader.sound(path) || !reader.sound("services")) continue;
    std::map<std::string, int> seen;
    for (const std::string& name : settings.groups[i].services) {
      const auto named = [&](const ServiceSettings& service) { return service.key.text() == name; };
      if (std::none_of(settings.services.begin(), settings.services.end(), named))
        reader.problem_at(path, "no service " + name + " is configured", "correct its name, or add the service");
      if (++seen[name] == 2) reader.problem_at(path, name + " stands twice in one group", "keep one");
    }
  }
}

/// Who waits for another waits for ever where that one waits for it: the cause could never come first.
void check_cycles(const Settings& settings, Reader& reader) {
  std::map<std::string, const ServiceSettings*> by_name;
  for (const ServiceSettings& service : settings.services) by_name.emplace(service.key.text(), &service);
  for (std::size_t i = 0; i < settings.services.size(); ++i) {
    const std::string self = settings.services[i].key.text();
    std::map<std::string, bool> seen;
    std::vector<std::string> ahead = settings.services[i].depends_on;
    std::erase(ahead, self);  // Told of already.
    bool cycle = false;
    while (!ahead.empty() && !cycle) {
      const std::string name = ahead.back();
      ahead.pop_back();
      if (!seen.emplace(name, true).second) continue;
      cycle = name == self;
      if (const auto at = by_name.find(name); at != by_name.end())
        ahead.insert(ahead.end(), at->second->depends_on.begin(), at->second->depends_on.end());
    }
    if (cycle)
      reader.problem_at("services[" + std::to_string(i) + "].depends_on", self + " depends on itself by way of others",
                        "remove one of the dependencies: which of them is the cause cannot be told", true);
  }
}

void check_routes(const Settings& settings, Reader& reader) {
  for (std::size_t i = 0; i < settings.routes.size(); ++i) {
    const RouteSettings& route = settings.routes[i];
    const std::string path = "routes[" + std::to_string(i) + "]";
    if (!reader.sound(path)) continue;
    if (!route.service.empty())
      for (const char* key : {"service_label", "environment_label"})
        if (reader.given(path + "." + key))
          reader.problem_at(path + "." + key, std::string("\"") + key + "\" means nothing beside \"service\"", "keep one of them");
    const auto named = [&](const ServiceSettings& service) { return service.key.text() == route.service; };
    if (!route.service.empty() && reader.sound("services") && reader.sound(path + ".service") &&
        std::none_of(settings.services.begin(), settings.services.end(), named))
      reader.problem_at(path + ".service", "no service " + route.service + " is configured, so the route causes nothing",
                        "correct its name, or add the service", true);
  }
}

constexpr std::size_t kComponentsMax = 8;  // An operation's record holds where each of them was and is to be, in 4 KiB.

/// Components that move together: each its own link, and the first one the process that the checks look at.
void check_components(const ServiceSettings& service, const std::string& path, Reader& reader) {
  const auto& all = service.components;
  if (all.size() > kComponentsMax)
    reader.problem_at(at(path, "components", kComponentsMax), "a service has at most " + std::to_string(kComponentsMax) + " components",
                      "make some of them a service of their own");
  std::map<std::string, std::size_t> links, outputs;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (const std::string& output = all[i].process.output; !output.empty()) {
      const auto [first, fresh] = outputs.emplace(output, i);
      if (!fresh)
        reader.problem_at(at(path, "components", i) + ".process.output",
                          "the process of the component \"" + all[first->second].name + "\" writes to " + output + " too",
                          "each process needs its own file: one would rotate what the other one writes");
    }
    if (all[i].current.empty()) continue;
    const auto [first, fresh] = links.emplace(all[i].current, i);
    if (!fresh)
      reader.problem_at(at(path, "components", i) + ".current",
                        "the link " + all[i].current + " belongs to the component \"" + all[first->second].name + "\" too",
                        "each component needs its own link");
  }
  const bool first_has_none = !all.empty() && all.front().process.manager == ManagerType::none;
  for (std::size_t i = 1; first_has_none && i < all.size(); ++i) {
    if (all[i].process.manager == ManagerType::none || !reader.sound(at(path, "components", i) + ".process")) continue;
    reader.problem_at(at(path, "components", i), "the first component has no process, and this one has",
                      "put \"" + all[i].name + "\" first: the first component names the release that the service reports");
    break;
  }
}

/// What a drill is to do needs the means for it: told here, and not when the drill is wanted.
void check_drill(const DrillSettings& drill, const std::string& path, Reader& reader) {
  if (!reader.sound(path + ".inject")) return;
  const auto does = [&](const char* word) { return std::find(drill.inject.begin(), drill.inject.end(), word) != drill.inject.end(); };
  if (does("500") && drill.fault_url.empty() && reader.sound(path + ".fault_url"))
    reader.problem_at(path + ".inject", "\"500\" has no address to POST to", "write \"fault_url\": \"http://127.0.0.1:8080/fault\"");
  if (does("log") && drill.log.empty() && reader.sound(path + ".log"))
    reader.problem_at(path + ".inject", "\"log\" has no file to append to",
                      "write \"log\": \"/var/log/NAME.log\", which a log check reads");
}

/// The output of a supervised process is in the state directory by default. An actor keeps it in its own, which only root may enter.
void check_outputs(const Settings& settings, Reader& reader) {
  if (settings.actor == "inline" || !reader.sound("actor") || !reader.sound("services")) return;
  for (std::size_t i = 0; i < settings.services.size(); ++i)
    for (std::size_t k = 0; k < settings.services[i].checks.size(); ++k) {
      const CheckSettings& check = settings.services[i].checks[k];
      const std::string path = at("services[" + std::to_string(i) + "]", "checks", k) + ".path";
      if (check.type != CheckType::log || !check.path.starts_with(settings.state_directory + "/services/") || !reader.given(path)) continue;
      reader.problem_at(path, "with an actor a service's output is not in the state directory, but where only root may read it",
                        "give the process \"output\": \"/var/log/" + settings.services[i].key.name +
                            "/output.log\", in a directory for the daemon's group (chgrp adm, chmod 2750), and read that",
                        settings.actor == "auto");
    }
}

}  // namespace

void check_service(const ServiceSettings& service, const std::string& path, Reader& reader) {
  for (std::size_t i = 0; i < service.components.size(); ++i) check_component(service.components[i], at(path, "components", i), reader);
  check_components(service, path, reader);
  const ProcessSettings* process = service.components.empty() ? nullptr : &service.components[0].process;
  for (std::size_t i = 0; i < service.checks.size(); ++i)
    if (reader.sound(at(path, "checks", i))) check_check(service.checks[i], at(path, "checks", i), process, reader);
  for (std::size_t i = 0; i < service.verify.size(); ++i)
    if (reader.sound(at(path, "verify", i))) check_test(service.verify[i], at(path, "verify", i), service, reader);
  unique_names(service.components, path + ".components", reader);
  unique_names(service.checks, path + ".checks", reader);
  unique_names(service.verify, path + ".verify", reader);
  unique_names(service.hooks, path + ".hooks", reader);
  check_hooks(service, path, reader);
  check_policy(service, path, reader);
  check_automatic(service, path, reader);
  check_settle(service, path, reader);
  check_drill(service.drill, path + ".drill", reader);
}

void check_whole(const Settings& settings, Reader& reader) {
  check_alone(settings, reader);
  check_routes(settings, reader);
  check_groups(settings, reader);
  check_cycles(settings, reader);
  check_outputs(settings, reader);
  unique_names(settings.groups, "groups", reader);
  unique_names(settings.notify, "notify", reader);
  for (std::size_t i = 0; i < settings.notify.size(); ++i) {
    const ChannelSettings& channel = settings.notify[i];
    const std::string path = "notify[" + std::to_string(i) + "]";
    if (channel.type != ChannelSettings::Type::webhook || !reader.sound(path) || !reader.sound(path + ".type") ||
        !reader.given(path + ".type"))
      continue;
    const bool url = reader.given(path + ".url"), file = reader.given(path + ".url_file");
    if (!url && !file)
      reader.problem_at(path, "this webhook has no address", "write \"url_file\": \"/etc/rollbackd/secrets/NAME-url\" or \"url\"");
    if (url && file) reader.problem_at(path + ".url", "\"url\" and \"url_file\" both give the address", "keep \"url_file\"");
  }
  if (settings.socket.size() > kSocketPathMax)
    reader.problem_at(reader.given("socket") ? "socket" : "state_directory",
                      "the unix socket's path has " + std::to_string(settings.socket.size()) + " bytes, more than the most, 107",
                      "set \"socket\" to a shorter path");
  if (settings.services.empty() && reader.sound("services"))
    reader.problem_at("", "no service is configured", "add one to \"services\", or a file to services.d", true);
  for (std::size_t i = 0; i < settings.services.size() && settings.notify.empty() && reader.sound("notify"); ++i) {
    const Automation automation = settings.services[i].automation;
    if (automation != Automation::automatic && automation != Automation::approve) continue;
    reader.problem_at("services[" + std::to_string(i) + "].automation",
                      std::string(to_string(automation)) + ", and \"notify\" has no channel: nobody is told", "add a channel to \"notify\"",
                      true);
    break;
  }
}

}  // namespace rollbackd::config
