// One watched service in the shell: its incident machine, state file, driver, manager and checks, and the queue of actions between them.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checks/check.hpp"
#include "checks/verify.hpp"
#include "config/settings.hpp"
#include "decision/incident.hpp"
#include "drivers/driver.hpp"
#include "engine/commands.hpp"
#include "engine/health.hpp"
#include "engine/parts.hpp"
#include "engine/pushed.hpp"
#include "engine/spawn.hpp"
#include "record/history.hpp"
#include "record/state_file.hpp"
#include "rollback/operation.hpp"
#include "rollback/recovery.hpp"

namespace rollbackd::engine {

class Engine;

/// Makes `dependency_up` of what a check of a dependency found; leaves other batches as they are.
void speak_of_dependency(const config::CheckSettings& settings, Batch& batch);

/// The instants of the latest incident's way, for people and for the bench.
struct Timing {
  std::optional<Instant> seen;      ///< the batch that made the alert fire was committed
  std::optional<Instant> reaction;  ///< the second opinion was begun
  std::optional<Instant> settled;   ///< it was in
  std::optional<Instant> decided;
  Json to_json() const;
};

/// When the link `current` was last changed, as far as the file system tells; never later than now.
Instant link_changed_at(const std::string& current, const ClockReading& now);

class Service : public std::enable_shared_from_this<Service> {
 public:
  Service(Engine& engine, config::ServiceSettings settings);
  ~Service();

  const ServiceKey& key() const { return settings_.key; }
  const config::ServiceSettings& settings() const { return settings_; }
  const config::ComponentSettings& component() const { return settings_.components.front(); }

  /// Opens the state file, looks at the world, recovers what was under way, and begins to watch.
  boost::asio::awaitable<Result<>> start();
  /// Ends checks and watchers. The manager's process goes on: it is not ours to stop.
  void stop();
  /// Takes new settings at a reload (same driver and manager) and starts its checks anew.
  void reconfigure(config::ServiceSettings settings);

  /// Hands one event to the incident machine and queues what it asks for. Never suspends in between.
  void deliver(Event event);
  /// Waits until all that the machine asked for so far has been performed; what is on disk by then survives. What it asks for meanwhile is
  /// not waited for.
  boost::asio::awaitable<void> performed();
  void on_batch_health(const Batch& batch);
  void on_alert(const AlertChange& change);
  PushedAnswer push(const PushedCommand& command);

  boost::asio::awaitable<Result<CommandAnswer>> rollback(RollbackCommand command);
  boost::asio::awaitable<Result<CommandAnswer>> deploy(DeployCommand command);

  // ---- What the engine and the views read ----
  decision::Incident& incident() { return *incident_; }
  const decision::Incident& incident() const { return *incident_; }
  bool running() const { return incident_ != nullptr; }
  const std::deque<Decision>& recent_decisions() const { return recent_; }
  const std::vector<std::shared_ptr<checks::Check>>& checks() const { return checks_; }
  std::optional<World::Process> process() const { return process_; }
  const Timing& timing() const { return timing_; }
  Health& health() { return health_; }
  std::size_t health_checks() const;
  /// Whether a rollback could act now, and why not.
  struct Ready {
    bool ready = false;
    std::string word, why;  ///< for a label: empty when ready, else one of a few fixed words; for people
  };
  Ready readiness() const;
  std::pair<bool, std::string> ready() const {
    Ready r = readiness();
    return {r.ready, std::move(r.why)};
  }
  /// What the check last said of the service's health, if it has an opinion and still speaks.
  std::optional<bool> opinion(const checks::Check& check) const;
  /// The check asked on behalf of others' second opinions: the first http check of its own, else another that judges health, else the
  /// process.
  std::shared_ptr<checks::Check> canary() const;
  std::shared_ptr<checks::Check> check(const std::string& name) const;
  std::vector<Source> sources() const;
  std::vector<std::shared_ptr<Service>> dependencies() const;
  std::optional<bool> well() const;
  /// Names of what it needs and is known to fail now.
  std::vector<std::string> failing_dependencies() const;
  std::string trouble() const { return trouble_; }
  /// Probes one check at once; `answered` is false when it could not look.
  boost::asio::awaitable<ReprobeAnswer> reprobe(std::string check_name);
  boost::asio::awaitable<TargetFacts> look(std::string release);

 private:
  friend class Engine;
  friend class Warmer;
  friend class Fleet;
  friend class Housekeeping;
  friend class Insight;
  void set_pushed_stale_after();
  // service.cpp
  void start_checks();
  void stop_checks();
  void watch();
  boost::asio::awaitable<void> verify_epoch(std::uint64_t epoch);
  boost::asio::awaitable<void> watch_identity(std::uint64_t epoch);
  void on_link(drivers::LinkSeen seen);
  boost::asio::awaitable<void> look_at_links();
  void on_process(ProcessEvent event);
  void report_tests(const std::vector<rollback::TestResult>& results, Instant began);
  // dependencies.cpp
  void tell_release();
  void tell_dependencies(bool all);
  boost::asio::awaitable<void> repeat_facts();
  void tell_facts_soon();
  // actions.cpp
  void queue(std::vector<Action> actions);
  boost::asio::awaitable<void> perform_queue();
  boost::asio::awaitable<void> perform(Action action, std::shared_ptr<const ServiceState> state);
  std::string why_not_begin() const;
  void never_begun(const OperationRequest& request, const std::string& why, bool judged_again = false);
  boost::asio::awaitable<void> persist(std::shared_ptr<const ServiceState> state);
  boost::asio::awaitable<void> arm(std::string release);
  // audit.cpp: note it, and tell the hook
  void operation_begins(const OperationRequest& request, bool recovered);
  void operation_ended(const record::OperationRow& row);
  // operate.cpp
  boost::asio::awaitable<void> operate(OperationRequest request);
  enum class Recovered { no, resumed, undoing };
  boost::asio::awaitable<void> drive(rollback::Operation operation, rollback::Ask ask, Recovered recovered);
  boost::asio::awaitable<Outcome> run_step(rollback::RunStep run, std::shared_ptr<drivers::HookRunner> hooks, Json facts);
  std::string why_stopped() const;
  rollback::OperationOptions options_of(const OperationRequest& request) const;
  boost::asio::awaitable<Result<Plan>> plan_of(OperationRequest request, World& world);
  Result<Plan> plan_from(const OperationRequest& request, const World& world) const;
  void enter(const std::string& release, Instant at);
  void enter_parts(const OperationRecord& record);
  std::string half_way(const World& world) const;
  boost::asio::awaitable<void> ask_ahead(Duration longest);
  boost::asio::awaitable<rollback::VerificationVerdict> verify(std::string release, Duration deadline, Instant switched);
  // dry_run.cpp
  boost::asio::awaitable<Json> changes_of(Plan plan);
  // recover.cpp
  drivers::DriverContext driver_context() const;
  Result<> make_parts();
  void cannot_continue(const OperationRecord& last, const Error& why);
  std::vector<ComponentRelease> parts_of(const std::string& release) const;
  boost::asio::awaitable<std::vector<rollback::ManagedComponent>> managed_now();
  Instant links_changed_at() const;
  boost::asio::awaitable<void> recover(record::StateRead read, Result<World> world);
  boost::asio::awaitable<void> close_unfinished(OperationRecord last, OperationStatus status, std::string note);
  std::string named_by_service(const std::string& release) const;
  checks::VerifyContext verify_context(const std::string& release) const;

  Engine& engine_;
  config::ServiceSettings settings_;
  std::string directory_;  ///< STATE/services/NAME.ENV
  std::unique_ptr<decision::Incident> incident_;
  std::optional<record::StateFile> state_file_;
  std::unique_ptr<drivers::Driver> driver_;    ///< of the only component, or a PartsDriver of all
  std::unique_ptr<drivers::Manager> manager_;  ///< of the only component that has one, or a PartsManager of all that have
  PartsDriver* many_ = nullptr;                ///< `driver_`, when there are several
  PartsManager* many_managed_ = nullptr;       ///< `manager_`, when there are several components
  std::shared_ptr<drivers::HookRunner> hooks_;
  std::uint64_t operations_ended_ = 0;       ///< in this life of the daemon
  std::optional<OperationRecord> half_way_;  ///< the latest operation, when it ended with components on different releases
  std::vector<std::shared_ptr<checks::Check>> checks_;
  std::vector<Task> check_tasks_, watch_tasks_;
  Task verify_task_, identity_task_;

  struct Queued {
    Action action;
    std::shared_ptr<const ServiceState> state;  ///< of a Persist: as it stood when it was asked for
    std::uint64_t number = 0;                   ///< in the order of asking
  };
  std::deque<Queued> actions_;
  std::uint64_t asked_ = 0, performed_ = 0;   ///< numbers of the action asked for last and performed last
  boost::asio::steady_timer performed_more_;  ///< cancelled when more has been performed
  bool performing_ = false;
  std::deque<Event> events_;
  bool delivering_ = false;
  std::map<std::string, std::optional<bool>> told_;  ///< by service that it depends on: what the judge heard last

  std::optional<World::Process> process_;
  bool process_heard_ = false;  ///< its manager has told of it since we began
  std::string link_trouble_;
  std::string half_way_now_;  ///< how the components stand after an operation that ended half way, as of the last look
  Health health_;
  std::map<std::string, bool> opinions_;  ///< of each check that has one, from its last batch
  Timing timing_;
  std::deque<Decision> recent_;  ///< at most kRecentMax
  static constexpr std::size_t kRecentMax = 20;
  std::vector<rollback::TestResult> last_tests_;
  std::optional<TargetFacts> armed_;  ///< what arming the target found
  std::string operating_;             ///< id of the operation that runs
  std::string trouble_;               ///< why this service cannot act, beside the machine's own reasons
};

}  // namespace rollbackd::engine
