// The shell around the pure core: delivers events, performs actions, recovers at start. Everything here runs on the reactor's thread.
// Flow: checks -> [engine] -> judge -> incident -> [engine] -> drivers, record, notify.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "config/settings.hpp"
#include "decision/incident.hpp"
#include "engine/commands.hpp"
#include "engine/pushed.hpp"
#include "engine/spawn.hpp"
#include "io/clock.hpp"
#include "io/worker.hpp"
#include "notify/outbox.hpp"
#include "record/audit.hpp"
#include "record/history.hpp"
#include "record/state_file.hpp"
#include "rules/judge.hpp"

namespace rollbackd::engine {

class Insight;
class Fleet;
class Service;
class Warmer;
class Housekeeping;

struct EngineOptions {
  std::string program;   ///< path of the rollbackd binary, for keepers
  std::string node;      ///< host name, written into records
  bool offline = false;  ///< no rules judge, nothing acts by itself: for `rollbackd rollback --offline`
};

/// What ended, for the metrics room. Called on the reactor.
struct Hooks {
  std::function<void(const record::OperationRow&)> operation_ended;
  std::function<void(const Decision&)> decided;
  std::function<void(const ServiceKey&, Duration)> detected;  ///< from the failing batch's commit to the second opinion's begin
  std::function<void(const ServiceKey&, const std::string& test, bool passed)> tested;
  std::function<void(const ServiceKey&, const std::string& at, Outcome::Status, Duration)> hook_ended;
  /// A release was scrubbed at `wall`: its files were read, and are those that were hashed, or not.
  std::function<void(const ServiceKey&, std::int64_t files, std::int64_t bytes, bool intact, Instant wall)> scrubbed;
};

class Engine {
 public:
  Engine(boost::asio::any_io_executor executor, config::Settings settings, rules::Groups groups, EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  void set_hooks(Hooks hooks) { hooks_ = std::move(hooks); }

  /// Opens the state files, recovers what was under way, attaches to the services and starts to watch.
  /// @return `conflict` when another daemon holds the state directory; other trouble is that of one service, is shown and holds it alone
  boost::asio::awaitable<Result<>> start();
  /// Runs until cancelled. In-flight operations are left to the recovery of the next start, at a record boundary where that is possible.
  boost::asio::awaitable<void> run();
  /// Stops checks and watchers and writes what is queued; begins nothing new. After it the engine may be destroyed, and its context must
  /// not run any more.
  boost::asio::awaitable<void> stop();

  /// Takes a new configuration whole or not at all.
  /// @return `refused` when it changes what only a restart can change (state directory, addresses, a service's driver or manager)
  boost::asio::awaitable<Result<>> reload(config::Settings settings, rules::Groups groups);

  // ---- Commands: see commands.hpp. All check their arguments; errors carry the exit code's meaning in their code. ----
  boost::asio::awaitable<Result<CommandAnswer>> rollback(RollbackCommand command);
  boost::asio::awaitable<Result<CommandAnswer>> deploy(DeployCommand command);
  Result<Json> suspend(const ServiceSelector& selector, Duration length, std::string reason, std::string principal);
  Result<Json> unsuspend(const ServiceSelector& selector, std::string principal);
  Result<Json> mark(const ServiceSelector& selector, std::string release, Standing standing, std::string reason, std::string principal);
  Result<Json> acknowledge(const ServiceSelector& selector, std::string principal);
  /// Takes alerts from outside; the answers, in their order, come when what they changed is in the state files.
  boost::asio::awaitable<std::vector<PushedAnswer>> push(std::vector<PushedCommand> alerts);
  /// Waits until what these changed is in the state file. @return `io` when it cannot be: it is in force, but a restart forgets it
  boost::asio::awaitable<Result<>> on_disk(ServiceSelector selector);

  // ---- Views, as JSON for the API ----
  Json status() const;                                  ///< the daemon and one row a service
  Result<Json> service(const ServiceSelector&) const;   ///< everything about one
  Result<Json> releases(const ServiceSelector&) const;  ///< its ledger, with the choice that would be made
  Result<Json> explain(const ServiceSelector&) const;   ///< why, or why not
  Json alerts() const;
  Json pushed() const;     ///< those from outside that are remembered
  Json readiness() const;  ///< `ready` a service, with the reason
  boost::asio::awaitable<Result<Json>> operations(record::HistoryFilter filter);
  boost::asio::awaitable<Result<Json>> decisions(record::HistoryFilter filter);
  boost::asio::awaitable<Result<Json>> deployments(record::HistoryFilter filter);
  boost::asio::awaitable<Result<Json>> operation(std::string id);
  boost::asio::awaitable<Result<Json>> stats(record::HistoryFilter filter);
  boost::asio::awaitable<Result<Json>> audit_entries(record::AuditFilter filter);
  /// Notes a change, or an attempt at one, in the audit log; what rollbackd does by itself is noted by the engine. Never blocks.
  void audit(record::AuditEntry entry);

  // ---- Plain numbers for the metrics room ----
  struct ServiceNumbers {
    ServiceKey service;
    bool ready = false;
    std::string ready_reason, ready_word;  ///< for people; for a label: empty when ready, else one of a few fixed words
    Duration deadline_standard{}, deadline_emergency{};
    bool incident_open = false, held = false, suspended = false;
    std::vector<std::pair<std::string, double>> ready_checks;   ///< that do not say yes: 0 no, 0.5 a warning
    std::optional<double> drilled;                              ///< Unix time of the last drill that went through
    std::vector<std::string> hook_points;                       ///< at which it has hooks
    std::vector<std::pair<std::string, std::string>> releases;  ///< id, standing
    std::string live;
    struct Check {
      std::string name, type;
      std::uint64_t ok = 0, failed = 0, unobserved = 0, late = 0;
      std::optional<bool> healthy{};  ///< nothing when it has no opinion or is blind
    };
    std::vector<Check> checks;
    int blind_rules = 0;
    std::vector<std::string> blind_rule_names;  ///< the first 20 of them
  };
  std::vector<ServiceNumbers> numbers() const;
  const rules::Judge& judge() const { return judge_; }
  /// Engine time: what every instant in the store and the rules is of.
  Instant now() const { return clock_.now(); }
  /// The release of each epoch begun since the start, by its beginning; of each service the newest 16.
  const std::map<ServiceKey, std::map<Instant, std::string>>& epoch_releases() const { return epoch_releases_; }
  const notify::OutboxCounters& outbox_counters() const { return outbox_->counters(); }
  const record::History& history() const { return *history_; }
  record::History& history() { return *history_; }
  record::AuditCounters audit_counters() const { return audit_ ? audit_->counters() : record::AuditCounters{}; }
  const config::Settings& settings() const { return settings_; }
  /// Pre-flight, evidence and drills: what people are told beyond the moment.
  Insight& insight() { return *insight_; }
  const Insight& insight() const { return *insight_; }
  Housekeeping& housekeeping() { return *housekeeping_; }
  /// What looks beyond one service: kill switch, windows, breaker, groups, locks, approvals.
  Fleet& fleet() { return *fleet_; }
  const Fleet& fleet() const { return *fleet_; }
  /// What is kept in memory for services with `warm`.
  const Warmer& warmer() const { return *warmer_; }
  double reactor_lag_seconds() const { return reactor_lag_seconds_; }
  bool started() const { return started_; }
  std::uint64_t reloads_failed = 0, reloads_ok = 0;
  std::string last_reload_error;

 private:
  friend class Insight;
  friend class Fleet;
  friend class Service;
  friend class Warmer;
  friend class Housekeeping;
  void on_batch(Batch batch);                // from every check
  void deliver(const Judgement& judgement);  // to the incidents concerned
  void note_epoch(const ServiceKey& service, Instant at, const std::string& release);
  void on_due();
  void arm_due();
  /// @return how long this process stood still in all, now that the time since the last turn is counted
  Duration notice_gap(Instant now);
  boost::asio::awaitable<void> heartbeat();
  // kept.cpp
  boost::asio::awaitable<void> read_kept();
  void give_back(const ServiceKey& key, const Epoch& epoch);
  void give_back_nobodys();
  KeptAlerts kept_now() const;
  boost::asio::awaitable<void> write_kept();
  void keep_soon();
  boost::asio::awaitable<void> keep_alerts();
  // dependencies.cpp
  void tell_dependents(const Service& needed);
  void know_dependents();
  boost::asio::awaitable<void> second_opinion(std::shared_ptr<Service> asker, action::Reprobe wanted);
  ObserverFacts observer(Instant now) const;
  void notify(Notification notification);
  Result<std::shared_ptr<Service>> find(const ServiceSelector& selector) const;
  boost::asio::awaitable<Result<>> add_service(config::ServiceSettings settings);

  boost::asio::any_io_executor executor_;
  config::Settings settings_;
  EngineOptions options_;
  Hooks hooks_;
  io::Clock clock_;
  // The workers outlive everything that hands them work, so they stand first and are destroyed last.
  io::Worker writer_{1}, steps_{1}, bulk_{1};
  std::optional<record::DirectoryLock> lock_;
  std::unique_ptr<record::History> history_;
  std::unique_ptr<record::AuditLog> audit_;  ///< from start() on
  std::unique_ptr<notify::Outbox> outbox_;
  rules::Judge judge_;
  std::unique_ptr<Insight> insight_;
  std::unique_ptr<Fleet> fleet_;
  rules::Groups groups_;
  std::map<ServiceKey, std::map<Instant, std::string>> epoch_releases_;
  std::map<ServiceKey, std::shared_ptr<Service>> services_;
  std::unique_ptr<Warmer> warmer_;
  std::unique_ptr<Housekeeping> housekeeping_;
  std::map<std::string, std::vector<ServiceKey>> dependents_;  ///< by "name/environment" of what they depend on
  boost::asio::steady_timer due_timer_, keep_timer_;
  Task keep_task_;
  std::map<ServiceKey, KeptService> kept_;  ///< of the run before, until the service's epoch is known
  Instant kept_until_;                      ///< up to when they were known
  bool keep_asked_ = false, clocks_run_ = false, kept_is_empty_ = true, kept_failed_ = false;
  std::optional<Instant> due_at_;
  Instant last_commit_, last_turn_, last_gap_end_;
  std::string last_gap_why_;
  Duration stood_still_{};  ///< all gaps together
  double reactor_lag_seconds_ = 0;
  bool started_ = false, stopping_ = false, beats_ = false;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  ///< late completions ask whether we are still here
};

}  // namespace rollbackd::engine
