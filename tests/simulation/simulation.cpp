// Puts world, disk, shell and observer together and lets the scenario happen to them.
#include "tests/simulation/simulation.hpp"

#include <algorithm>
#include <memory>
#include <set>

namespace rollbackd::simulation {
namespace {

constexpr Duration kDrain = 12min;

class Run {
 public:
  Run(const Scenario& scenario, const std::string& broken, bool verbose)
      : scenario_(scenario),
        trace_(verbose),
        observer_(scenario, clock_, trace_),
        site_(scenario, clock_, trace_, observer_),
        random_(scenario.seed, 3),
        watcher_(observer_.disk_watcher()) {
    observer_.set_site(site_);
    for (std::size_t n = 0; n < scenario.services.size(); ++n) disks_.push_back(std::make_unique<Disk>(n, clock_, scenario.seed, watcher_));
    around_ = std::make_unique<Surroundings>(
        Surroundings{scenario_, clock_, clocks_, site_, disks_, trace_, observer_, ids_, sent_, kill_switch_, broken, &break_at_event_});
  }

  RunResult run() {
    site_.begin();
    clock_.in(500ms, [this] { begin_daemon(); });
    for (std::size_t n = 0; n < scenario_.services.size(); ++n)
      if (scenario_.services[n].trusted) clock_.in(2s, [this, n] { mark(n, 0, Standing::good); });
    for (const Deed& deed : scenario_.deeds) clock_.in(deed.at, [this, &deed] { happen(deed); });
    pass(scenario_.length);
    end_faults();
    pass(scenario_.length + kDrain);
    for (int i = 0; i < 5 && observer_.anything_under_way(); ++i) pass(clock_.now() + 2min);
    observer_.at_rest();
    RunResult result;
    result.hash = trace_.hash();
    result.events = clock_.events();
    result.violations = observer_.violations();
    result.counts = observer_.counts();
    result.simulated = clock_.now();
    return result;
  }

 private:
  void pass(Duration until) {
    clock_.run(
        until, [this] { return before_event(); }, [] { return false; });
  }
  /// The daemon dies before the event that was chosen.
  bool before_event() {
    if (break_at_event_ <= 0 || --break_at_event_ > 0) return true;
    end_daemon("crash in an operation");
    return false;
  }
  void begin_daemon() {
    if (shell_ || clock_.daemon_lives()) return;
    trace_.note(clock_.now(), "daemon", "begins");
    clock_.daemon_begins();
    observer_.daemon_began();
    shell_ = std::make_unique<Shell>(*around_);
    shell_->start();
  }
  void end_daemon(const char* how) {
    if (!shell_) return;
    trace_.note(clock_.now(), "daemon", how);
    clock_.daemon_ends();
    site_.set_ears({});
    for (const auto& disk : disks_) disk->cut();
    shell_.reset();
    break_at_event_ = std::min(break_at_event_, 0);
    clock_.in(random_.between(100ms, random_.chance(0.2) ? 120s : 5s), [this] { begin_daemon(); });
  }
  void end_faults() {
    trace_.note(clock_.now(), "world", "faults end");
    site_.end_faults();
    break_at_event_ = 0;
    set_kill_switch(false);
    for (const auto& disk : disks_) disk->fail_next(0);
    end_daemon("is restarted");
  }
  void set_kill_switch(bool on) {
    kill_switch_ = on;
    observer_.kill_switch(on);
    if (shell_) shell_->kill_switch_changed();
  }
  void say(std::size_t service, Event event) {
    if (!shell_) return;
    clock_.in_daemon(0ms, [this, service, event = std::move(event)] { shell_->command(service, event); });
  }
  void mark(std::size_t service, std::size_t release, Standing standing) {
    say(service, event::Mark{site_.id(service, release), standing, "simulated", "person"});
  }

  void happen(const Deed& deed) {
    trace_.note(clock_.now(), "deed", to_string(deed.kind),
                scenario_.services[deed.service].settings.key.name + " " + site_.id(deed.service, deed.release));
    const std::size_t n = deed.service, r = deed.release;
    using Kind = Deed::Kind;
    switch (deed.kind) {
      case Kind::deploy: return site_.deploy(n, r, random_.between(10ms, 3s));
      case Kind::deploy_link: return site_.deploy(n, r, deed.length);
      case Kind::deploy_command:
        if (shell_) clock_.in_daemon(0ms, [this, n, r] { shell_->deploy(n, r, false); });
        return;
      case Kind::rollback:
        if (shell_) clock_.in_daemon(0ms, [this, n] { shell_->rollback(n, std::nullopt, false); });
        return;
      case Kind::rollback_forced:
        if (shell_) clock_.in_daemon(0ms, [this, n, r] { shell_->rollback(n, r, true); });
        return;
      case Kind::suspend: return say(n, event::Suspend{deed.length, "simulated", "person"});
      case Kind::unsuspend: return say(n, event::Unsuspend{"person"});
      case Kind::kill_switch:
        set_kill_switch(true);
        clock_.in(deed.length, [this] { set_kill_switch(false); });
        return;
      case Kind::mark_good: return mark(n, r, Standing::good);
      case Kind::mark_bad: return mark(n, r, Standing::bad);
      case Kind::mark_revoked: return mark(n, r, Standing::revoked);
      case Kind::acknowledge: return say(n, event::Acknowledge{"person"});
      case Kind::answer_approval: return say(n, event::Approve{"person", "simulated", deed.number % 2 == 0});
      case Kind::crash: return end_daemon("crash");
      case Kind::crash_at_event: break_at_event_ = -deed.number; return;
      case Kind::reboot: return reboot(deed.number);
      case Kind::freeze: return clock_.freeze_daemon(deed.length);
      case Kind::wall_jump: return set_wall(deed.number);
      case Kind::corrupt: return site_.corrupt(n, r);
      case Kind::remove: return site_.remove(n, r);
      case Kind::dependency_down: return site_.dependency_down(n, deed.length);
      case Kind::outage: return site_.outage(deed.length);
      case Kind::blind: return site_.blind(n, deed.length);
      case Kind::blind_all: return site_.blind(std::nullopt, deed.length);
      case Kind::disk_fails: disks_[n]->fail_next(deed.number); return;
      case Kind::stop_cleanly: return site_.stop_cleanly(n, deed.length);
      case Kind::kill_process: return site_.kill_process(n);
      case Kind::push_alert: return push(n);
      case Kind::lock: return lock(n, deed.length);
    }
  }
  void reboot(int wall_seconds) {
    end_daemon("reboot");
    ++clocks_.boot;
    clocks_.boot_began = clock_.now();
    observer_.rebooted();
    set_wall(wall_seconds);
    site_.reboot();
  }
  void set_wall(int forward_seconds) {
    if (forward_seconds == 0) return;
    clocks_.wall_offset += Duration(1s) * forward_seconds;
    observer_.wall_set();
  }
  void push(std::size_t n) {
    observer_.false_signal(n);
    if (!shell_) return;
    clock_.in_daemon(0ms, [this, n] {
      PushedAlert alert;
      alert.key = "pushed-" + std::to_string(++ids_);
      alert.rule = "Pushed";
      alert.action = AlertAction::rollback;
      alert.since = alert.received = shell_->now();
      shell_->push(n, alert);
    });
  }
  void lock(std::size_t n, Duration length) {
    if (!shell_) return;
    DeployLock held;
    held.id = "lock-" + std::to_string(++ids_);
    held.until = shell_->now() + length;
    held.reason = "simulated";
    say(n, event::Locked{held});
    observer_.lock_lasts(held.id, length);
  }

  const Scenario& scenario_;
  Clockwork clock_;
  Clocks clocks_;
  Trace trace_;
  Observer observer_;
  Site site_;
  Random random_;
  DiskWatcher watcher_;
  std::vector<std::unique_ptr<Disk>> disks_;
  std::uint64_t ids_ = 0;
  std::set<std::string> sent_;
  bool kill_switch_ = false;
  int break_at_event_ = 0;
  std::unique_ptr<Surroundings> around_;
  std::unique_ptr<Shell> shell_;
};

}  // namespace

RunResult simulate(const Scenario& scenario, const std::string& broken, bool verbose) { return Run(scenario, broken, verbose).run(); }

Scenario shrink(Scenario scenario, const std::string& broken) {
  const auto fails = [&](const Scenario& candidate) { return !simulate(candidate, broken).violations.empty(); };
  const auto keep_if_fails = [&](Scenario candidate) {
    if (fails(candidate)) scenario = std::move(candidate);
  };
  for (double Noise::*part : {&Noise::lost, &Noise::duplicated, &Noise::late, &Noise::contradicted, &Noise::step_fails, &Noise::step_hangs,
                              &Noise::step_lies, &Noise::second_opinion_silent}) {
    Scenario candidate = scenario;
    candidate.noise.*part = 0;
    keep_if_fails(std::move(candidate));
  }
  // Without its deeds a service just runs.
  for (std::size_t n = 0; n < scenario.services.size(); ++n) {
    Scenario candidate = scenario;
    std::erase_if(candidate.deeds, [&](const Deed& deed) { return deed.service == n; });
    keep_if_fails(std::move(candidate));
  }
  for (std::size_t piece = std::max<std::size_t>(scenario.deeds.size() / 2, 1); piece > 0; piece /= 2) {
    for (std::size_t at = 0; at < scenario.deeds.size();) {
      Scenario candidate = scenario;
      const auto from = candidate.deeds.begin() + static_cast<std::ptrdiff_t>(at);
      candidate.deeds.erase(from, from + static_cast<std::ptrdiff_t>(std::min(piece, candidate.deeds.size() - at)));
      const std::size_t before = scenario.deeds.size();
      keep_if_fails(std::move(candidate));
      if (scenario.deeds.size() == before) at += piece;
    }
  }
  while (scenario.services.size() > 1) {
    Scenario candidate = scenario;
    const std::size_t last = candidate.services.size() - 1;
    candidate.services.pop_back();
    std::erase_if(candidate.deeds, [&](const Deed& deed) { return deed.service == last; });
    if (!fails(candidate)) break;
    scenario = std::move(candidate);
  }
  return scenario;
}

const std::vector<std::string>& broken_promises() {
  static const std::vector<std::string> kPromises{"budget", "cooldown", "intent_first", "gap",     "suspension", "kill_switch", "intact",
                                                  "shared", "recovery", "memory",       "silence", "observe",    "lock"};
  return kPromises;
}

}  // namespace rollbackd::simulation
