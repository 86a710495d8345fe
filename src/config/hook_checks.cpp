// Flow: load -> cross checks -> [hooks].
#include "config/hook_checks.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace rollbackd::config {
namespace {

void check_hook(const HookSettings& hook, const PolicySettings& policy, const std::string& path, Reader& reader) {
  if (!hook.command.empty() && reader.sound(path + ".command") && !hook.command.front().starts_with('/'))
    reader.problem_at(path + ".command",
                      "the program \"" + printable(cut(hook.command.front(), 200)) +
                          "\" is no absolute path: a hook runs with the daemon's rights, so nothing is looked up",
                      "write the absolute path");
  for (const auto& [name, value] : hook.environment) {
    const std::string shown = "\"" + printable(cut(name, 100)) + "\"";
    if (name.empty() || name.find('=') != name.npos || name.find('\0') != name.npos)
      reader.problem_at(path + ".environment", shown + " is no name of a variable", "remove it");
    else if (name.starts_with("ROLLBACKD_"))
      reader.problem_at(path + ".environment", shown + " is rollbackd's own: it would be overwritten", "choose another name");
  }
  if (hook.timeout > policy.deadline_step && reader.sound(path + ".timeout"))
    reader.problem_at(path + (reader.given(path + ".timeout") ? ".timeout" : ".at"),
                      "\"timeout\" (" + format_duration(hook.timeout) + ") is longer than \"policy.deadline.step\" (" +
                          format_duration(policy.deadline_step) + "), which ends the hook first",
                      "raise \"policy.deadline.step\"", true);
}

}  // namespace

void check_hooks(const ServiceSettings& service, const std::string& path, Reader& reader) {
  Duration all{};
  for (std::size_t i = 0; i < service.hooks.size(); ++i) {
    const std::string at = path + ".hooks[" + std::to_string(i) + "]";
    if (!reader.sound(at)) continue;
    check_hook(service.hooks[i], service.policy, at, reader);
    if (service.hooks[i].at != HookPoint::on_failure) all += std::min(service.hooks[i].timeout, service.policy.deadline_step);
  }
  if (all > service.policy.deadline_standard && reader.sound(path + ".hooks"))
    reader.problem_at(path + ".hooks",
                      "the hooks together may take " + format_duration(all) + ", longer than \"policy.deadline.standard\" (" +
                          format_duration(service.policy.deadline_standard) + ")",
                      "shorten their \"timeout\", or raise \"policy.deadline.standard\"", true);
}

}  // namespace rollbackd::config
