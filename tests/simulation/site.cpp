// Time passes in the world: processes start, misbehave, crash and are restarted; checks look and their signals travel badly.
#include "tests/simulation/site.hpp"

#include <algorithm>

namespace rollbackd::simulation {
namespace {
constexpr Duration kTick = 5s;
}  // namespace

Site::Site(const Scenario& scenario, Clockwork& clock, Trace& trace, Watcher& watcher)
    : noise_(scenario.noise), clock_(clock), trace_(trace), watcher_(watcher), random_(scenario.seed, 1) {
  for (const ServicePlan& plan : scenario.services) {
    Service service;
    service.plan = &plan;
    service.on_disk.assign(plan.releases.size(), true);
    service.content.assign(plan.releases.size(), 0);
    services_.push_back(std::move(service));
  }
}

void Site::begin() {
  for (std::size_t n = 0; n < services_.size(); ++n) {
    start_process(n);
    clock_.in(random_.between(0s, kTick), [this, n] { tick(n); });
  }
}

std::optional<std::size_t> Site::find(std::size_t service, const std::string& id) const {
  const auto& releases = services_[service].plan->releases;
  for (std::size_t i = 0; i < releases.size(); ++i)
    if (releases[i].id == id) return i;
  return std::nullopt;
}

std::string Site::digest(std::size_t service, std::size_t release) const {
  return "sha-" + id(service, release) + "-" + std::to_string(services_[service].content[release]);
}

bool Site::is_blind(std::size_t service) const { return clock_.now() < blind_all_until_ || clock_.now() < services_[service].blind_until; }

bool Site::dependency_answers(std::size_t service) const { return clock_.now() >= services_[service].dependency_down_until; }

bool Site::answers(std::size_t n) const {
  const Service& service = services_[n];
  if (!service.process.running || age(service) < behaviour(service).start_takes) return false;
  return !shows(service, behaviour(service).errors_after) && !shows(service, behaviour(service).hangs_after) && !outage_now() &&
         dependency_answers(n);
}

bool Site::verification_passes(std::size_t n) const {
  const Service& service = services_[n];
  return answers(n) && !behaviour(service).fails_verification;
}

bool Site::symptomatic(std::size_t n) const {
  const Service& service = services_[n];
  if (service.held_down) return false;
  const Behaviour& b = behaviour(service);
  const bool crashed = b.crashes_after && service.process.crashes_in_a_row > 0;  // Before its first crash it does well.
  return crashed || b.fails_verification || shows(service, b.errors_after) || shows(service, b.hangs_after) ||
         shows(service, b.logs_after) || shows(service, b.slow_after);
}

Sense Site::probe(std::size_t n) const {
  const Service& service = services_[n];
  Sense sense;
  sense.service = n;
  sense.began = clock_.now();
  sense.looked = !is_blind(n);
  sense.healthy = answers(n);
  sense.timed_out = shows(service, behaviour(service).hangs_after);
  sense.running = service.process.running;
  sense.exits = service.exits;
  sense.log_critical = service.log_critical;
  sense.requests = service.requests;
  sense.errors = service.errors;
  sense.seconds = service.seconds;
  sense.slow = shows(service, behaviour(service).slow_after);
  return sense;
}

/// One service's checks have their turn: health each time, the others every third time.
void Site::tick(std::size_t n) {
  Service& service = services_[n];
  const Behaviour& b = behaviour(service);
  const bool up = service.process.running && age(service) >= b.start_takes;
  service.requests += up ? 200 : 0;
  service.seconds += up ? 200 * (shows(service, b.slow_after) ? 0.5 : 0.02) : 0;
  if (up && (shows(service, b.errors_after) || outage_now() || !dependency_answers(n))) service.errors += 150;
  if (service.process.running && !service.held_down) {
    if (symptomatic(n)) watcher_.misbehaved(n, id(n, service.process.release), true);
    const bool slow_start = age(service) >= service.plan->settings.policy.start_grace;
    if ((up || slow_start) && !answers(n)) watcher_.misbehaved(n, id(n, service.process.release), false);
  }
  Sense sense = probe(n);
  if (random_.chance(noise_.contradicted)) {
    sense.healthy = !sense.healthy;
    if (!sense.healthy) watcher_.false_signal(n);
  }
  send(sense);
  if (++service.tick % 3 == 0) {
    if (shows(service, b.logs_after)) {
      ++service.log_critical;
      service.logged_at.push_back(clock_.now());
    }
    ++service.log_lines;
    for (const Sense::What what : {Sense::What::process, Sense::What::log, Sense::What::app}) {
      Sense other = probe(n);
      other.what = what;
      other.looked = what == Sense::What::process || other.looked;  // The process is watched by its manager, not over the network.
      send(other);
    }
  }
  clock_.in(kTick, [this, n] { tick(n); });
}

void Site::send(Sense sense) {
  if (random_.chance(noise_.lost)) return;
  const auto arrive = [this](const Sense& s, Duration delay) {
    clock_.in_daemon(delay, [this, s] {
      if (ears_.sense) ears_.sense(s);
    });
  };
  Duration delay = random_.between(1ms, 30ms);
  if (random_.chance(noise_.late)) delay = random_.between(30ms, std::max<Duration>(noise_.late_max, 31ms));
  arrive(sense, delay);
  if (random_.chance(noise_.duplicated)) arrive(sense, delay + random_.between(1ms, 5s));
}

/// A manager tells of one process after the other, never of the second one's start before the first one's end.
void Site::tell_process(std::size_t n, ProcessSeen seen) {
  Duration& told = services_[n].process_told;
  told = std::max(told, clock_.now() + random_.between(1ms, 5ms));
  clock_.in_daemon(told - clock_.now(), [this, n, seen] {
    if (ears_.process) ears_.process(n, seen);
  });
}

void Site::start_process(std::size_t n) {
  Service& service = services_[n];
  const int in_a_row = service.process.crashes_in_a_row;
  service.held_down = false;
  if (!service.on_disk[service.link]) {  // Nothing to execute.
    service.process.running = false;
    tell_process(n, {ProcessEvent::Kind::start_failed, false, false, {}, clock_.now()});
    ++service.exits;
    return;
  }
  const std::uint64_t generation = service.process.generation + 1;
  service.process = {true, service.link, clock_.now(), generation, false, in_a_row};
  service.tick = 0;
  trace_.note(clock_.now(), "world", "starts", service.plan->settings.key.name + " " + id(n, service.link));
  tell_process(n, {ProcessEvent::Kind::running, false, false, clock_.now(), clock_.now()});
  if (const auto& after = behaviour(service).crashes_after) {
    clock_.in(*after, [this, n, generation] {
      if (services_[n].process.generation != generation || !services_[n].process.running) return;
      watcher_.misbehaved(n, id(n, services_[n].process.release), true);
      end_process(n, false, false);
    });
  }
}

/// The manager starts a crashed process again, later and later.
void Site::end_process(std::size_t n, bool requested, bool clean) {
  Service& service = services_[n];
  if (!service.process.running) return;
  service.process.running = false;
  service.process.stopped_cleanly = requested;
  Sense last = probe(n);  // Its last lines are read as it writes them, not at the next look.
  last.what = Sense::What::log;
  send(last);
  tell_process(n, {ProcessEvent::Kind::exited, requested, clean, service.process.started, clock_.now()});
  if (requested || clean) return;
  ++service.exits;
  Sense sense = probe(n);
  sense.what = Sense::What::process;
  sense.began = service.process.started;
  sense.looked = true;
  clock_.in_daemon(random_.between(6ms, 9ms), [this, sense] {
    if (ears_.sense) ears_.sense(sense);
  });
  const std::uint64_t generation = service.process.generation;
  const Duration delay = std::min<Duration>(30s, Duration(1s) * (1 << std::min(service.process.crashes_in_a_row, 5)));
  ++service.process.crashes_in_a_row;
  clock_.in(delay, [this, n, generation] {
    if (services_[n].process.generation == generation && !services_[n].process.running && !services_[n].held_down) start_process(n);
  });
}

void Site::set_link(std::size_t n, std::size_t release, const std::string& operation, Duration called) {
  Service& service = services_[n];
  const std::string from = id(n, service.link);
  service.link = release;
  service.link_changed = clock_.now();
  trace_.note(clock_.now(), "world", "link", service.plan->settings.key.name + " " + from + " -> " + id(n, release) + " " + operation);
  watcher_.link_changed(n, from, id(n, release), operation, called);
  clock_.in_daemon(random_.between(1ms, 60ms), [this, n] {
    if (ears_.link) ears_.link(n);
  });
}

void Site::deploy(std::size_t n, std::size_t release, std::optional<Duration> restart_after) {
  Service& service = services_[n];
  service.on_disk[release] = true;
  if (service.link != release) set_link(n, release, "", clock_.now());
  if (!restart_after) return;
  clock_.in(*restart_after, [this, n, release] {
    if (services_[n].link != release || services_[n].held_down) return;  // Somebody else was quicker.
    end_process(n, true, true);
    services_[n].process.crashes_in_a_row = 0;
    start_process(n);
  });
}

void Site::remove(std::size_t n, std::size_t release) {
  if (services_[n].link != release) services_[n].on_disk[release] = false;
}

void Site::dependency_down(std::size_t n, Duration length) {
  services_[n].dependency_down_until = std::max(services_[n].dependency_down_until, clock_.now() + length);
}

void Site::blind(std::optional<std::size_t> n, Duration length) {
  Duration& until = n ? services_[*n].blind_until : blind_all_until_;
  until = std::max(until, clock_.now() + length);
}

void Site::stop_cleanly(std::size_t n, Duration length) {
  services_[n].held_down = true;
  end_process(n, true, true);
  const std::uint64_t generation = services_[n].process.generation;
  clock_.in(length, [this, n, generation] {
    if (services_[n].process.generation == generation && !services_[n].process.running) start_process(n);
  });
}

void Site::kill_process(std::size_t n) {
  if (!services_[n].process.running) return;
  watcher_.false_signal(n);
  end_process(n, false, false);
}

/// Every process ends with the machine and is started again by it.
void Site::reboot() {
  for (std::size_t n = 0; n < services_.size(); ++n) {
    services_[n].process.running = false;
    services_[n].process.stopped_cleanly = true;  // Its unit is inactive until the boot comes to it.
    ++services_[n].process.generation;
    services_[n].process.crashes_in_a_row = 0;
    services_[n].tokens.clear();
    clock_.in(random_.between(2s, 20s), [this, n] {
      if (!services_[n].process.running) start_process(n);
    });
  }
}

void Site::end_faults() {
  noise_ = Noise{};
  outage_until_ = blind_all_until_ = Duration(0);
  for (std::size_t n = 0; n < services_.size(); ++n) {
    services_[n].dependency_down_until = services_[n].blind_until = Duration(0);
    if (services_[n].held_down) start_process(n);
  }
}

World Site::world(std::size_t n, const std::function<Instant(Duration)>& instant) const {
  const Service& service = services_[n];
  World world;
  world.link = World::Link::present;
  world.live = id(n, service.link);
  world.link_value = "releases/" + world.live;
  world.link_inode = 100 + static_cast<std::uint64_t>(service.link);
  for (std::size_t i = 0; i < service.on_disk.size(); ++i)
    if (service.on_disk[i]) world.releases.push_back(id(n, i));
  World::Process process;
  process.running = service.process.running;
  process.pid = process.running ? static_cast<int>(service.process.generation) : 0;
  process.started = instant(service.process.started);
  process.stopped_cleanly = service.process.stopped_cleanly;
  world.process = process;
  return world;
}

}  // namespace rollbackd::simulation
