// Makes scenarios from seeds. Everything random about a run that is not noise is here.
#include "tests/simulation/scenario.hpp"

#include <algorithm>

#include "tests/simulation/random.hpp"

namespace rollbackd::simulation {
namespace {

using Kind = Deed::Kind;

Behaviour bad_behaviour(Random& random) {
  Behaviour out;
  out.start_takes = random.between(200ms, 8s);
  const Duration after = random.chance(0.5) ? Duration(0) : random.between(1s, 150s);
  switch (random.below(8)) {
    case 0: out.crashes_after = random.between(50ms, 900ms); break;
    case 1: out.crashes_after = random.between(5s, 120s); break;
    case 2: out.errors_after = after; break;
    case 3: out.hangs_after = after; break;
    case 4: out.logs_after = after; break;
    case 5: out.slow_after = after; break;
    case 6: out.fails_verification = true; break;
    default: out.errors_after = after; out.logs_after = after;
  }
  return out;
}

config::ServiceSettings settings_of(Random& random, std::size_t index) {
  config::ServiceSettings settings;
  settings.key = {"s" + std::to_string(index), "prod"};
  const std::size_t automation = random.below(12);
  settings.automation = automation == 0   ? config::Automation::observe
                        : automation == 1 ? config::Automation::approve
                                          : config::Automation::automatic;
  config::ComponentSettings component;
  component.releases = "/srv/releases";
  component.current = "/srv/current";
  component.process.manager = config::ManagerType::supervised;
  settings.components.push_back(component);
  const auto add = [&](const char* name, config::CheckType type, Duration interval) {
    config::CheckSettings check;
    check.name = name;
    check.type = type;
    check.interval = interval;
    settings.checks.push_back(check);
  };
  add("health", config::CheckType::http, 5s);
  add("process", config::CheckType::process, 15s);
  add("app-log", config::CheckType::log, 15s);
  add("app", config::CheckType::scrape, 15s);
  config::PolicySettings& policy = settings.policy;
  policy.bake_time = random.between(60s, 300s);
  policy.start_grace = random.between(5s, 30s);
  policy.cooldown = random.chance(0.3) ? Duration(0) : random.between(30s, 600s);
  policy.budget_rollbacks = random.from_to(1, 4);
  policy.budget_per = random.between(10min, 60min);
  policy.max_steps_back = random.from_to(1, 3);
  policy.late_automatic = random.chance(0.1);
  policy.approve_timeout = random.between(60s, 600s);
  return settings;
}

ServicePlan service_of(Random& random, std::size_t index, bool calm) {
  ServicePlan plan;
  plan.settings = settings_of(random, index);
  const int releases = random.from_to(4, 9);
  for (int i = 0; i < releases; ++i) {
    ReleasePlan release;
    release.id = "r" + std::to_string(i);
    release.behaviour.start_takes = random.between(200ms, 3s);
    // Good ones answer within half of the grace: a slow start is a fault of its own.
    if (i > 0 && random.chance(calm ? 0.4 : 0.55)) release.behaviour = bad_behaviour(random);
    if (i == 0 && !calm && random.chance(0.04)) release.behaviour = bad_behaviour(random);  // The target is bad too.
    release.irreversible = i > 0 && !calm && random.chance(0.04);
    plan.releases.push_back(release);
  }
  if (calm) plan.settings.automation = config::Automation::automatic;
  plan.trusted = calm || random.chance(0.85);
  return plan;
}

struct Weighted {
  Kind kind;
  int weight;
};

/// How often each thing happens beside deployments.
const std::vector<Weighted>& faults() {
  static const std::vector<Weighted> kFaults{
      {Kind::deploy_link, 2},     {Kind::rollback, 3},  {Kind::rollback_forced, 1}, {Kind::suspend, 3},         {Kind::unsuspend, 3},
      {Kind::kill_switch, 2},     {Kind::mark_good, 4}, {Kind::mark_bad, 2},        {Kind::mark_revoked, 2},    {Kind::acknowledge, 5},
      {Kind::answer_approval, 5}, {Kind::crash, 8},     {Kind::crash_at_event, 12}, {Kind::reboot, 2},          {Kind::freeze, 4},
      {Kind::wall_jump, 3},       {Kind::corrupt, 3},   {Kind::remove, 2},          {Kind::dependency_down, 3}, {Kind::outage, 2},
      {Kind::blind, 4},           {Kind::blind_all, 2}, {Kind::disk_fails, 3},      {Kind::stop_cleanly, 3},    {Kind::kill_process, 3},
      {Kind::push_alert, 2},      {Kind::lock, 2}};
  return kFaults;
}

Kind pick_fault(Random& random) {
  int total = 0;
  for (const Weighted& fault : faults()) total += fault.weight;
  int left = static_cast<int>(random.below(static_cast<std::size_t>(total)));
  for (const Weighted& fault : faults())
    if ((left -= fault.weight) < 0) return fault.kind;
  return Kind::crash;
}

Duration length_of(Random& random, Kind kind) {
  switch (kind) {
    case Kind::freeze: return random.chance(0.5) ? random.between(500ms, 4s) : random.between(5s, 300s);
    case Kind::suspend:
    case Kind::kill_switch:
    case Kind::lock: return random.between(10s, 600s);
    default: return random.between(5s, 180s);
  }
}

int number_of(Random& random, Kind kind) {
  switch (kind) {
    case Kind::crash_at_event: return random.from_to(1, 24);
    case Kind::reboot:
    case Kind::wall_jump: {
      const std::vector<int> jumps{0, 1, -1, 3600, -3600, 86400, -86400};
      return random.pick(jumps);
    }
    case Kind::disk_fails: return random.from_to(1, 4);
    default: return random.from_to(0, 9);
  }
}

void add_deployments(Random& random, Scenario& scenario, std::size_t service) {
  const ServicePlan& plan = scenario.services[service];
  Duration at = random.between(5s, 300s);
  while (at < scenario.length) {
    Deed deed;
    deed.at = at;
    deed.kind = random.chance(0.3) ? Kind::deploy_command : Kind::deploy;
    deed.service = service;
    deed.release = random.below(plan.releases.size());
    scenario.deeds.push_back(deed);
    at += scenario.calm ? random.between(400s, 900s) : random.chance(0.1) ? random.between(10ms, 10s) : random.between(60s, 420s);
  }
}

Noise noise_of(Random& random) {
  Noise noise;
  if (random.chance(0.5)) {
    noise.lost = 0.1 * random.unit();
    noise.duplicated = 0.1 * random.unit();
    noise.late = 0.2 * random.unit();
    noise.late_max = random.between(100ms, 20s);
  }
  if (random.chance(0.3)) noise.contradicted = 0.1 * random.unit();
  if (random.chance(0.4)) {
    noise.step_fails = 0.2 * random.unit();
    noise.step_hangs = 0.1 * random.unit();
    noise.step_lies = 0.1 * random.unit();
  }
  if (random.chance(0.3)) noise.second_opinion_silent = 0.3 * random.unit();
  return noise;
}

}  // namespace

const char* to_string(Deed::Kind kind) {
  switch (kind) {
    case Kind::deploy: return "deploy";
    case Kind::deploy_link: return "deploy_link";
    case Kind::deploy_command: return "deploy_command";
    case Kind::rollback: return "rollback";
    case Kind::rollback_forced: return "rollback_forced";
    case Kind::suspend: return "suspend";
    case Kind::unsuspend: return "unsuspend";
    case Kind::kill_switch: return "kill_switch";
    case Kind::mark_good: return "mark_good";
    case Kind::mark_bad: return "mark_bad";
    case Kind::mark_revoked: return "mark_revoked";
    case Kind::acknowledge: return "acknowledge";
    case Kind::answer_approval: return "answer_approval";
    case Kind::crash: return "crash";
    case Kind::crash_at_event: return "crash_at_event";
    case Kind::reboot: return "reboot";
    case Kind::freeze: return "freeze";
    case Kind::wall_jump: return "wall_jump";
    case Kind::corrupt: return "corrupt";
    case Kind::remove: return "remove";
    case Kind::dependency_down: return "dependency_down";
    case Kind::outage: return "outage";
    case Kind::blind: return "blind";
    case Kind::blind_all: return "blind_all";
    case Kind::disk_fails: return "disk_fails";
    case Kind::stop_cleanly: return "stop_cleanly";
    case Kind::kill_process: return "kill_process";
    case Kind::push_alert: return "push_alert";
    case Kind::lock: return "lock";
  }
  return "?";
}

Scenario make_scenario(std::uint64_t seed) {
  Random random(seed);
  Scenario scenario;
  scenario.seed = seed;
  scenario.calm = random.chance(0.15);
  scenario.judge = random.chance(0.1);
  scenario.length = random.between(20min, 45min);
  const std::size_t services = random.chance(0.5) ? 1 + random.below(3) : 1 + random.below(8);
  for (std::size_t i = 0; i < services; ++i) {
    scenario.services.push_back(service_of(random, i, scenario.calm));
    if (i > 0 && !scenario.calm && random.chance(0.2))
      scenario.services.back().settings.depends_on.push_back("s" + std::to_string(random.below(i)) + "/prod");
    add_deployments(random, scenario, i);
  }
  if (!scenario.calm) {
    scenario.noise = noise_of(random);
    const std::size_t faults_wanted = random.below(6 + 8 * services);
    for (std::size_t i = 0; i < faults_wanted; ++i) {
      Deed deed;
      deed.at = random.between(2s, scenario.length);
      deed.kind = pick_fault(random);
      deed.service = random.below(services);
      deed.release = random.below(scenario.services[deed.service].releases.size());
      // People and faults come close to deployments: that is where the windows are.
      if (random.chance(0.6)) {
        const Duration near = random.pick(scenario.deeds).at;
        deed.at = std::clamp<Duration>(near + random.between(0s, 60s), 1s, scenario.length);  // Faults end then.
      }
      deed.length = length_of(random, deed.kind);
      deed.number = number_of(random, deed.kind);
      scenario.deeds.push_back(deed);
    }
  }
  std::stable_sort(scenario.deeds.begin(), scenario.deeds.end(), [](const Deed& a, const Deed& b) { return a.at < b.at; });
  return scenario;
}

}  // namespace rollbackd::simulation
