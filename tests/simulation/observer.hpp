// Holds a run to the promises of DESIGN.md. It sees the simulated world and disk, what people were told and what the daemon heard: never
// the core's own bookkeeping.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/simulation/disk.hpp"
#include "tests/simulation/shell.hpp"
#include "tests/simulation/site.hpp"

namespace rollbackd::simulation {

class Observer : public Watcher, public Onlooker {
 public:
  Observer(const Scenario& scenario, Clockwork& clock, Trace& trace);
  void set_site(const Site& site) { site_ = &site; }
  DiskWatcher disk_watcher();

  struct Counts {
    std::uint64_t incidents = 0, automatic = 0, manual = 0, pages = 0, bad_epochs = 0, rolled_back = 0, held = 0;
  };
  const std::vector<std::string>& violations() const { return violations_; }
  const Counts& counts() const { return counts_; }

  // ---- told by the simulation ----
  void daemon_began();
  void rebooted() { booted_ = clock_.now(); }
  void wall_set() { wall_set_.push_back(clock_.now()); }
  void kill_switch(bool on);
  /// What a lock asked for now is to last, if ever it is taken.
  void lock_lasts(const std::string& lock, Duration length) { lock_ends_[lock] = clock_.now() + length; }
  /// Everything has come to rest: nothing may be half done, and nothing bad may be unnoticed.
  void at_rest();
  bool anything_under_way() const;

  // ---- Watcher ----
  void link_changed(std::size_t service, const std::string& from, const std::string& to, const std::string& operation,
                    Duration called) override;
  void misbehaved(std::size_t service, const std::string& release, bool by_itself) override;
  void false_signal(std::size_t service) override { services_[service].excused = true; }
  /// An alert from outside: it is remembered over gaps and restarts.
  void pushed(std::size_t service) override;
  // ---- Onlooker ----
  void notified(std::size_t service, const Notification& notification) override;
  void heard(std::size_t service, bool bad, Duration began) override;
  void gap() override;
  void asked(std::size_t service, const event::Settled& answers) override;
  void began(std::size_t service, const OperationRequest& request, bool recovered) override;
  void told(std::size_t service, const Event& command) override { permit(service, command); }
  void promised(std::size_t service, const Event& command) override;
  void closed(std::size_t, const OpenIncident&) override {}

 private:
  struct Act {
    Duration at{};
    std::string operation, incident, from, to;
  };
  /// What an operation was decided on.
  struct Basis {
    bool evidence = false, pushed = false, outage = false, intact = true;
  };
  struct Service {
    // The present stay of a release on the link.
    Duration since{};
    bool excused = false;  ///< it misbehaved, or something false was said of it
    std::optional<Duration> misbehaves_since, paged;
    std::optional<Duration> paged_last;  ///< of the whole run
    bool acknowledged = false, pushed = false;
    /// As the state on disk counted the epochs when an alert was pushed. A release that is deployed anew while the daemon is down or frozen
    /// looks to it as if it had stayed, and the alert still counts.
    std::optional<std::uint64_t> pushed_in_epoch;
    bool ours = false;  ///< an operation of ours put it there
    std::string switched_by;
    std::optional<Duration> approved;
    Duration stayed_before{};
    // What is known of the whole run.
    std::optional<Duration> bad_heard, gap;
    Basis asked;                            ///< as things stood at the last second opinion
    std::map<std::string, Basis> basis;     ///< by operation
    std::map<std::string, Standing> marks;  ///< by people, on disk
    std::map<std::string, Duration> marked_at;
    std::set<std::string> left;  ///< by verified automatic rollbacks
    std::vector<Act> acts;
    std::map<std::string, OperationRecord> records;
    std::map<std::string, Duration> began;
    std::map<std::string, Duration> ended;  ///< when its outcome came to be on disk
    std::optional<ServiceState> state;
    std::set<std::string> incidents;
    std::optional<Duration> suspended, suspended_until, locked, locked_until;
    Duration written{};                  ///< when the clocks were read that the state on disk tells its times by
    std::optional<Duration> times_lost;  ///< how long ago anything before was, the daemon cannot know
  };

  void violated(std::size_t service, const std::string& what);
  void permit(std::size_t n, const Event& command);
  void check_act(std::size_t n, const OperationRecord& record, const std::string& from, const std::string& to, Duration called);
  void check_limits(std::size_t n, const OperationRequest& request);
  void check_leave(std::size_t n, const OperationRequest& request, Duration called);
  void check_evidence(std::size_t n, const OperationRequest& request);
  bool lied_to(const Service& service) const;
  void end_stay(std::size_t n, bool by_us);
  void check_calm(std::size_t n);
  void on_state(std::size_t n, const ServiceState& state, Duration asked);
  void on_record(std::size_t n, const OperationRecord& record);
  const config::PolicySettings& policy(std::size_t n) const { return scenario_.services[n].settings.policy; }

  const Scenario& scenario_;
  Clockwork& clock_;
  Trace& trace_;
  const Site* site_ = nullptr;
  std::vector<Service> services_;
  std::vector<std::string> violations_;
  Counts counts_;
  Duration life_began_{};
  Duration booted_{};
  std::vector<Duration> wall_set_;
  std::map<std::string, Duration> lock_ends_;
  std::optional<Duration> killed_;
};

}  // namespace rollbackd::simulation
