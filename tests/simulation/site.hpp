// The simulated world: links, processes, releases on disk, what users would see, and the faults. It knows nothing of the core.
// Flow: scenario -> [site] -senses-> shell -steps-> [site]. The observer is told of every change.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/decision.hpp"
#include "model/operation.hpp"
#include "model/process_event.hpp"
#include "tests/simulation/clockwork.hpp"
#include "tests/simulation/random.hpp"
#include "tests/simulation/scenario.hpp"
#include "tests/simulation/trace.hpp"

namespace rollbackd::simulation {

/// What one run of a check saw; counts are since the process check began to count.
struct Sense {
  enum class What { health, process, log, app };
  std::size_t service = 0;
  What what = What::health;
  Duration began{};    ///< true time
  bool looked = true;  ///< false: it could not look, nothing is known
  bool healthy = false, timed_out = false;
  bool running = false;
  int exits = 0;         ///< unwanted ones
  int log_critical = 0;  ///< lines
  double requests = 0, errors = 0, seconds = 0;
  bool slow = false;
};

/// A process as it was seen to change.
struct ProcessSeen {
  ProcessEvent::Kind kind = ProcessEvent::Kind::lost;
  bool requested = false, clean = false;
  Duration started{}, at{};
};

/// Who looks on from outside the daemon.
class Watcher {
 public:
  virtual ~Watcher() = default;
  /// @param called  when the system call began: it may have hung in the kernel, where nothing can recall it
  virtual void link_changed(std::size_t service, const std::string& from, const std::string& to, const std::string& operation,
                            Duration called) = 0;
  virtual void misbehaved(std::size_t service, const std::string& release, bool by_itself) = 0;
  virtual void false_signal(std::size_t service) = 0;
};

class Site {
 public:
  struct Process {
    bool running = false;
    std::size_t release = 0;
    Duration started{};
    std::uint64_t generation = 0;
    bool stopped_cleanly = false;
    int crashes_in_a_row = 0;
  };
  struct Service {
    const ServicePlan* plan = nullptr;
    std::vector<bool> on_disk;
    std::vector<int> content;  ///< counts changes of a release's files
    std::size_t link = 0;
    bool restart_forgotten = false;
    Duration link_changed{};
    Process process;
    bool held_down = false;  ///< a person stopped it
    Duration dependency_down_until{}, blind_until{};
    Duration process_told{};  ///< when its manager's latest word arrives
    int exits = 0, log_lines = 0, log_critical = 0;
    std::vector<Duration> logged_at{};  ///< of each critical line
    double requests = 0, errors = 0, seconds = 0;
    std::map<std::string, Outcome> tokens;
    int tick = 0;
  };
  /// What the daemon hears; empty functions while none runs.
  struct Ears {
    std::function<void(const Sense&)> sense;
    std::function<void(std::size_t, const ProcessSeen&)> process;
    std::function<void(std::size_t)> link;
  };

  Site(const Scenario& scenario, Clockwork& clock, Trace& trace, Watcher& watcher);
  void begin();
  void set_ears(Ears ears) { ears_ = std::move(ears); }

  // ---- people and faults ----
  void deploy(std::size_t service, std::size_t release, std::optional<Duration> restart_after);
  void corrupt(std::size_t service, std::size_t release) { ++services_[service].content[release]; }
  void remove(std::size_t service, std::size_t release);
  void dependency_down(std::size_t service, Duration length);
  void outage(Duration length) { outage_until_ = std::max(outage_until_, clock_.now() + length); }
  void blind(std::optional<std::size_t> service, Duration length);
  void stop_cleanly(std::size_t service, Duration length);
  void kill_process(std::size_t service);
  void reboot();
  void end_faults();

  // ---- what the daemon can look at and do ----
  const Service& service(std::size_t n) const { return services_[n]; }
  std::size_t size() const { return services_.size(); }
  const std::string& id(std::size_t service, std::size_t release) const { return services_[service].plan->releases[release].id; }
  std::optional<std::size_t> find(std::size_t service, const std::string& id) const;
  World world(std::size_t service, const std::function<Instant(Duration)>& instant) const;
  bool is_blind(std::size_t service) const;
  bool answers(std::size_t service) const;  ///< healthy now, over the real path
  bool dependency_answers(std::size_t service) const;
  bool outage_now() const { return clock_.now() < outage_until_; }
  bool verification_passes(std::size_t service) const;
  bool symptomatic(std::size_t service) const;  ///< the live process's release shows its fault
  std::string digest(std::size_t service, std::size_t release) const;
  /// Carries out one step of a plan; the answer comes within the daemon's life.
  void run(std::size_t service, const Step& step, const OperationRequest& request, Duration deadline, std::function<void(Outcome)> answer);
  Sense probe(std::size_t service) const;

 private:
  void tick(std::size_t service);
  void send(Sense sense);
  void start_process(std::size_t service);
  void end_process(std::size_t service, bool requested, bool clean);
  void tell_process(std::size_t service, ProcessSeen seen);
  void set_link(std::size_t service, std::size_t release, const std::string& operation, Duration called);
  Outcome switch_now(std::size_t service, const OperationRequest& request, Duration called);
  Duration age(const Service& service) const { return clock_.now() - service.process.started; }
  bool shows(const Service& service, const std::optional<Duration>& fault) const {
    return service.process.running && fault && age(service) >= *fault;
  }
  const Behaviour& behaviour(const Service& service) const { return service.plan->releases[service.process.release].behaviour; }
  void run_switch(std::size_t service, const OperationRequest& request, Duration deadline, std::function<void(Outcome)> answer);
  void run_restart(std::size_t service, const Step& step, Duration deadline, std::function<void(Outcome)> answer);

  Noise noise_;
  Clockwork& clock_;
  Trace& trace_;
  Watcher& watcher_;
  Random random_;
  std::vector<Service> services_;
  Ears ears_;
  Duration outage_until_{}, blind_all_until_{};
};

}  // namespace rollbackd::simulation
