// The engine in small: delivers events to the core, performs its actions against the simulated world, and recovers at start. What it does
// and in which order is engine/{service,actions,operate,recover,commands}.cpp's; it decides nothing.
// Flow: site -> [shell: eyes -> incident -> operation] -> site, disk.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "decision/incident.hpp"
#include "rollback/operation.hpp"
#include "rollback/recovery.hpp"
#include "tests/simulation/disk.hpp"
#include "tests/simulation/eyes.hpp"
#include "tests/simulation/site.hpp"

namespace rollbackd::simulation {

/// All clocks of the machine.
struct Clocks {
  int boot = 1;
  Duration boot_began{};   ///< true time
  Duration wall_offset{};  ///< what somebody set it forward
};

/// What of the daemon's doings can be seen from outside of it.
class Onlooker {
 public:
  virtual ~Onlooker() = default;
  virtual void notified(std::size_t service, const Notification& notification) = 0;
  virtual void heard(std::size_t service, bool bad, Duration began) = 0;
  virtual void gap() = 0;
  virtual void pushed(std::size_t service) = 0;
  virtual void asked(std::size_t service, const event::Settled& answers) = 0;
  virtual void began(std::size_t service, const OperationRequest& request, bool recovered) = 0;
  /// The daemon hears what a person asks for; whether it will be on disk is not known yet.
  virtual void told(std::size_t service, const Event& command) = 0;
  /// A person was told that it is done and on disk.
  virtual void promised(std::size_t service, const Event& command) = 0;
  virtual void closed(std::size_t service, const OpenIncident& incident) = 0;
};

struct Surroundings {
  const Scenario& scenario;
  Clockwork& clock;
  Clocks& clocks;
  Site& site;
  std::vector<std::unique_ptr<Disk>>& disks;
  Trace& trace;
  Onlooker& onlooker;
  std::uint64_t& ids;           ///< counted over all lives
  std::set<std::string>& sent;  ///< keys of the messages that the outbox has
  const bool& kill_switch;      ///< the file is there
  std::string broken;           ///< the promise that this shell breaks on purpose, to see that it is noticed; empty: none
  int* break_at_event;          ///< counts down the daemon's events once an operation has begun
};

class Shell {
 public:
  explicit Shell(Surroundings& around);
  ~Shell();
  void start();

  // ---- what people ask for ----
  void command(std::size_t service, Event event);  ///< suspend, mark, acknowledge, approve, lock
  void rollback(std::size_t service, std::optional<std::size_t> to, bool force);
  void deploy(std::size_t service, std::size_t release, bool force);
  void kill_switch_changed();
  void push(std::size_t service, const PushedAlert& alert);
  Instant now() const { return instant(around_.clock.now()); }
  const decision::Incident* incident(std::size_t service) const;

 private:
  struct Queued {
    Action action;
    std::shared_ptr<const ServiceState> state;
    std::uint64_t number = 0;
  };
  struct Waiting {
    std::uint64_t number;
    std::function<void()> then;
  };
  struct Watched {
    const ServicePlan* plan = nullptr;
    config::ServiceSettings settings;  ///< as the core gets them
    std::unique_ptr<decision::Incident> incident;
    std::deque<Event> events;
    bool delivering = false;
    std::deque<Queued> actions;
    bool performing = false;
    std::uint64_t asked = 0, performed = 0;
    std::vector<Waiting> waiting;
    std::string operating;
    std::optional<rollback::Operation> operation;
    Duration stood_still{};    ///< as of its latest answer
    bool was_stopped = false;  ///< a step of it was not begun
    OperationRequest request;
    std::optional<World::Process> process;
    std::map<std::size_t, int> hashed;  ///< release -> content that was hashed in this life
    std::optional<Instant> due;
    std::uint64_t verifying = 0;  ///< epoch that is verified
    bool has_dependency = false;
    int lines_read = 0;  ///< critical ones in its log
  };

  // shell.cpp
  Instant instant(Duration t) const;
  ClockReading reading() const;
  void deliver(std::size_t n, Event event);
  void deliver(const Judgement& judgement);
  void queue(std::size_t n, std::vector<Action> actions);
  void perform_next(std::size_t n);
  bool perform(std::size_t n, Queued& queued);  ///< false: it waits for the disk
  void performed(std::size_t n, std::uint64_t number);
  void when_performed(std::size_t n, std::function<void()> then);
  void arm_due(std::size_t n);
  void heartbeat();
  void turn();
  // shell_world.cpp
  void on_sense(const Sense& sense);
  void on_process(std::size_t n, const ProcessSeen& seen);
  void on_link(std::size_t n);
  void second_opinion(std::size_t n, const action::Reprobe& wanted);
  void answer(std::size_t n, const action::Reprobe& wanted, const std::vector<bool>& silent);
  TargetFacts look(std::size_t n, const std::string& release) const;
  void arm(std::size_t n, const std::string& release);
  enum class Tests { unknown, failed, passed };
  void verify_epoch(std::size_t n, std::uint64_t epoch, Duration until, Tests tests);
  FleetFacts fleet(std::size_t n) const;
  // shell_operate.cpp
  void operate(std::size_t n, OperationRequest request);
  Result<Plan> plan_of(std::size_t n, const OperationRequest& request, const World& world) const;
  rollback::OperationOptions options_of(std::size_t n, const OperationRequest& request) const;
  void drive(std::size_t n, rollback::Ask ask);
  struct Verifying {
    Duration length{}, until{};
    std::optional<Duration> healthy_since{};
    Duration stood_still{};  ///< as of its beginning
    int turn = 1;            ///< begun anew after each standstill
  };
  void verify(std::size_t n, Verifying tests);
  void conclude_verification(std::size_t n, bool healthy, bool smoke);
  void answered(std::size_t n, const rollback::Answer& answer);
  void finished(std::size_t n, const rollback::Finish& finish);
  void never_begun(std::size_t n, const OperationRequest& request, const std::string& why, bool judged_again = false);
  void tell_ended(std::size_t n, const OperationRequest& request, OperationStatus status, std::string how, std::string detail,
                  bool interrupted, std::optional<Instant> at = std::nullopt);
  std::string why_stopped(std::size_t n) const;
  // shell_recover.cpp
  void start_service(std::size_t n);
  void recover(std::size_t n, const Disk::Read& read);
  void resume(std::size_t n, OperationRecord last, const rollback::Recovery& found);
  void hold_and_page(std::size_t n, const Disk::Read& read, rollback::LinkIs link, const World& world, const rollback::Recovery& found);
  void close_unfinished(std::size_t n, OperationRecord last, OperationStatus status, const std::string& note, std::function<void()> then);
  bool broken(const char* promise) const { return around_.broken == promise; }
  std::string new_id();
  void trace(std::size_t n, std::string_view what, std::string_view more = {});

  Surroundings& around_;
  std::unique_ptr<Eyes> eyes_;
  std::vector<Watched> services_;
  Duration began_{};  ///< true time of this life's start
  Instant base_;      ///< engine time then
  Duration last_turn_{}, last_gap_end_{-1h}, stood_still_{};
};

}  // namespace rollbackd::simulation
