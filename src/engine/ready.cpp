// The pre-flight's answers, one function a condition, in a table whose order is the order in which people should mend things.
// Pure; the look at the world is preflight.cpp's.
#include "engine/ready.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace rollbackd::engine {
namespace {

using Answer = ReadyCheck::Answer;
struct Says {
  Answer answer = Answer::no;
  std::string evidence;
};

constexpr std::int64_t kBytesFreeMin = 1 << 20;  ///< the state file is preallocated and the link armed: this is for what stands around it
constexpr std::int64_t kInodesFreeMin = 16;
constexpr Duration kWallAheadMax = 1min;
constexpr Duration kLookAgeMax = 3min;  ///< three looks missed
constexpr Duration kDrillAgeMax = 30 * 24h;
const Instant kWallMin = Instant::from_seconds(1'704'067'200);  ///< 2024: no clock that was set shows less

Says yes(std::string evidence) { return {Answer::yes, std::move(evidence)}; }
Says warning(std::string evidence) { return {Answer::warning, std::move(evidence)}; }
Says no(std::string evidence) { return {Answer::no, std::move(evidence)}; }
Says not_looked() { return warning("not looked at yet"); }

std::string days(Duration age) { return std::to_string(std::chrono::duration_cast<std::chrono::hours>(age).count() / 24) + " days"; }

/// "config: " where there are several components.
std::string of_component(const LinkLook& link) { return link.component.empty() ? "" : link.component + ": "; }

Says watched(const ReadyInput& in) {
  if (in.state == nullptr) return no(in.trouble.empty() ? "not started" : in.trouble);
  if (!in.trouble.empty()) return no(in.trouble);
  if (!in.link_trouble.empty()) return no(in.link_trouble);
  return yes("runs " + in.state->epoch.release);
}

Says state_file(const ReadyInput& in) {
  if (!in.state_trusted) return no("the state file cannot be written or read; restart rollbackd once the disk is well");
  const DirectoryFacts& d = in.world.state;
  if (!in.world.looked) return not_looked();
  // A file of its own that is open and preallocated: a full disk does not hinder it.
  if (!d.there || !d.writable) return no(d.path + ": " + d.why);
  return yes("preallocated in " + d.path);
}

Says automation(const ReadyInput& in) {
  if (in.settings->automation == config::Automation::off) return no("automation is off");
  if (in.settings->automation == config::Automation::observe) return no("automation is observe: it would only tell");
  if (in.settings->automation == config::Automation::approve) return yes("approve: a person says yes first");
  return yes("automatic");
}

Says target(const ReadyInput& in) {
  if (in.target.empty()) return no(in.no_target_why.empty() ? "no good release to go back to" : in.no_target_why);
  return yes(in.target);
}

Says armed(const ReadyInput& in) {
  if (in.target.empty()) return no("there is no target to arm");
  if (!in.armed || in.armed->release != in.target) return no("release " + in.target + " is not armed yet");
  if (!in.armed->intact) return no("release " + in.target + ": " + in.armed->why);
  bool made = false;
  for (const LinkLook& link : in.world.links) {
    if (in.world.looked && link.armed_wanted && link.armed_link.empty())
      return warning(of_component(link) + "intact, but the link to it beside current is not there: a full disk would hinder the switch");
    made = made || !link.armed_link.empty();
  }
  return yes(in.target + " is intact" +
             (!made                       ? ""
              : in.world.links.size() > 1 ? ", the links to it are made"
                                          : ", the link to it is made"));
}

Says link_directory(const ReadyInput& in) {
  if (!in.world.looked) return not_looked();
  std::vector<std::string> well;
  for (const LinkLook& link : in.world.links) {
    const DirectoryFacts& d = link.directory;
    if (d.path.empty()) continue;
    if (!d.there || (in.world.actor.empty() && !d.writable)) return no(of_component(link) + d.path + ": " + d.why);
    if (std::find(well.begin(), well.end(), d.path) == well.end()) well.push_back(d.path);
  }
  if (well.empty()) return yes("no link to switch");
  if (!in.world.actor.empty()) return yes(in.world.actor + " switches");
  if (!in.world.exchange)
    return warning(join(well, ", ") + ": the file system cannot exchange two names: a deployment in the same instant may be lost");
  return yes(join(well, ", ") + " can be written");
}

Says actor(const ReadyInput& in) {
  if (in.world.actor.empty()) return yes("this process acts itself");
  if (!in.world.actor_trouble.empty()) return no(in.world.actor + ": " + in.world.actor_trouble);
  return yes(in.world.actor);
}

Says manager(const ReadyInput& in) {
  if (!in.has_manager) return warning("no service manager: nothing is restarted after a switch");
  if (!in.world.manager_trouble.empty()) return no(in.world.manager_trouble);
  if (!in.world.manager_answered) return not_looked();
  if (const Duration age = in.now - *in.world.manager_answered; age > kLookAgeMax)
    return no("it has not answered for " + format_duration(std::chrono::duration_cast<std::chrono::seconds>(age)));
  return yes(in.world.manager_says.empty() ? "it answers" : in.world.manager_says);
}

Says incident(const ReadyInput& in) {
  if (in.incident_spent) return no("held: this incident has had its rollback; `rollbackctl acknowledge` closes it");
  if (in.state != nullptr && in.state->incident) return yes("incident " + in.state->incident->id + " is open and has not acted");
  return yes("none is open");
}

Says of_guard(const ReadyInput& in, const char* name, Answer refused) {
  for (const GuardAnswer& answer : in.guards)
    if (answer.guard == name) return {answer.yes || answer.passed_over || !answer.asked ? Answer::yes : refused, answer.evidence};
  return in.state == nullptr ? warning("not watched") : yes("not asked");
}
Says suspended(const ReadyInput& in) { return of_guard(in, "not_suspended", Answer::no); }
Says lock(const ReadyInput& in) { return of_guard(in, "deploy_lock_free", Answer::no); }
Says window(const ReadyInput& in) { return of_guard(in, "window_open", Answer::no); }
Says budget(const ReadyInput& in) { return of_guard(in, "budget", Answer::no); }
Says reversible(const ReadyInput& in) { return of_guard(in, "reversible", Answer::no); }
Says changes(const ReadyInput& in) { return of_guard(in, "no_other_change", Answer::no); }
Says fleet(const ReadyInput& in) { return of_guard(in, "fleet_breaker", Answer::no); }
Says cooldown(const ReadyInput& in) { return of_guard(in, "cooldown", Answer::warning); }
Says dependencies(const ReadyInput& in) { return of_guard(in, "dependency_healthy", Answer::warning); }

Says verification(const ReadyInput& in) {
  const auto& tests = in.settings->verify;
  if (tests.empty() && in.settings->identity.url.empty()) return warning("no test is configured: a rollback ends unverified");
  return yes(std::to_string(tests.size()) + (tests.size() == 1 ? " test" : " tests") +
             (in.settings->identity.url.empty() ? "" : " and identity"));
}

Says observers(const ReadyInput& in) {
  if (in.observers.empty()) return warning("no check watches it: nothing would ever be noticed");
  std::vector<std::string> silent;
  for (const ObserverState& one : in.observers)
    if (!one.live) silent.push_back(one.check);
  if (!silent.empty()) return warning("silent: " + cut(join(silent, ", "), 300));
  if (!in.blind_rules.empty()) return warning("blind: " + cut(join(in.blind_rules, ", "), 300));
  return yes(std::to_string(in.observers.size()) + (in.observers.size() == 1 ? " check delivers" : " checks deliver"));
}

Says notifications(const ReadyInput& in) {
  if (in.channels == 0) return warning("no channel takes pages: nobody would be told");
  if (!in.outbox_trouble.empty()) return warning("outbox: " + in.outbox_trouble);
  return yes(std::to_string(in.channels) + (in.channels == 1 ? " channel" : " channels"));
}

Says history(const ReadyInput& in) {
  if (!in.history_trouble.empty()) return warning(in.history_trouble + " (acting goes on without it)");
  return yes("on disk");
}

Says disk(const ReadyInput& in) {
  if (!in.world.looked) return not_looked();
  const auto full = [](const DirectoryFacts& d) -> std::string {
    if (d.path.empty()) return "";
    if (d.bytes_free >= 0 && d.bytes_free < kBytesFreeMin)
      return d.path + ": " + std::to_string(d.bytes_free >> 10) + " KiB free (what is armed needs none; history and audit log do)";
    if (d.inodes_free >= 0 && d.inodes_free < kInodesFreeMin) return d.path + ": " + std::to_string(d.inodes_free) + " inodes free";
    return "";
  };
  if (const std::string why = full(in.world.state); !why.empty()) return warning(why);
  for (const LinkLook& link : in.world.links)
    if (const std::string why = full(link.directory); !why.empty()) return warning(of_component(link) + why);
  return yes(in.world.state.bytes_free < 0 ? "not known"
                                           : std::to_string(in.world.state.bytes_free >> 20) + " MiB free in " + in.world.state.path);
}

Says clock(const ReadyInput& in) {
  if (!in.world.looked) return not_looked();
  if (in.world.wall < kWallMin) return warning("the wall clock says " + format_rfc3339(in.world.wall) + ": it was never set");
  if (in.world.wall_ahead > kWallAheadMax || in.world.wall_ahead < -kWallAheadMax)
    return warning("the wall clock was set by " +
                   format_duration(in.world.wall_ahead < Duration{} ? -in.world.wall_ahead : in.world.wall_ahead) +
                   (in.world.wall_ahead < Duration{} ? " back" : " ahead") + " since the start: windows and freezes go by it");
  return yes("wall clock and engine time agree");
}

Says drill(const ReadyInput& in) {
  if (in.state == nullptr || !in.state->drilled)
    return warning("never drilled: rollbackctl drill " + in.settings->key.name + " --reason ...");
  const Duration age = in.now - *in.state->drilled;
  if (age > kDrillAgeMax) return warning("the last one that went through is " + days(age) + " old");
  return yes("went through at " + format_rfc3339(*in.state->drilled));
}

Says looked(const ReadyInput& in) {
  if (!in.world.looked) return not_looked();
  const Duration age = in.now - *in.world.looked;
  if (age > kLookAgeMax)
    return warning("the last look at disk and manager was " + format_duration(std::chrono::duration_cast<std::chrono::seconds>(age)) +
                   " ago");
  return yes(format_rfc3339(*in.world.looked));
}

Says warm(const ReadyInput& in) {
  if (!in.settings->warm.enabled) return yes("not asked for");
  if (in.warm.empty()) return not_looked();
  return in.warm_well ? yes(in.warm) : warning(in.warm);
}

struct Row {
  const char* name;
  Says (*ask)(const ReadyInput&);
};

// clang-format off
constexpr std::array<Row, 27> kRows{{
    {"watched",        watched},
    {"state_file",     state_file},
    {"automation",     automation},
    {"suspended",      suspended},
    {"target",         target},
    {"armed",          armed},
    {"link_directory", link_directory},
    {"actor",          actor},
    {"manager",        manager},
    {"incident",       incident},
    {"deploy_lock",    lock},
    {"window",         window},
    {"budget",         budget},
    {"reversible",     reversible},
    {"changes",        changes},
    {"fleet",          fleet},
    {"cooldown",       cooldown},
    {"dependencies",   dependencies},
    {"verification",   verification},
    {"observers",      observers},
    {"notifications",  notifications},
    {"history",        history},
    {"disk",           disk},
    {"clock",          clock},
    {"drill",          drill},
    {"warm",           warm},
    {"looked",         looked},
}};
// clang-format on

}  // namespace

const char* to_string(ReadyCheck::Answer answer) {
  switch (answer) {
    case Answer::no: return "no";
    case Answer::warning: return "warning";
    case Answer::yes: return "yes";
  }
  return "no";
}

const std::vector<std::string>& ready_check_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const Row& row : kRows) out.emplace_back(row.name);
    return out;
  }();
  return names;
}

std::vector<ReadyCheck> ready_checks(const ReadyInput& input) {
  std::vector<ReadyCheck> checks;
  const auto ask = [&](const Row& row) {
    Says says = row.ask(input);
    checks.push_back({row.name, says.answer, std::move(says.evidence)});
  };
  for (const Row& row : kRows) ask(row);
  return checks;
}

const ReadyCheck* first_no(const std::vector<ReadyCheck>& checks) {
  const auto at = std::find_if(checks.begin(), checks.end(), [](const ReadyCheck& c) { return c.answer == Answer::no; });
  return at == checks.end() ? nullptr : &*at;
}

Json to_json(const std::vector<ReadyCheck>& checks) {
  Json out = Json::array();
  for (const ReadyCheck& check : checks)
    out.push(Json::object().set("check", check.name).set("answer", to_string(check.answer)).set("evidence", check.evidence));
  return out;
}

}  // namespace rollbackd::engine
