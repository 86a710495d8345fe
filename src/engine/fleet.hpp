// What looks beyond one service: kill switch, windows, the breaker over all services, causes before symptoms, groups, locks, approvals.
// Flow: engine, API -> [fleet] -> guards of every operation. Everything runs on the reactor's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "config/windows.hpp"
#include "engine/commands.hpp"
#include "engine/group_run.hpp"
#include "engine/kill_switch.hpp"
#include "model/decision.hpp"

namespace rollbackd::record {
struct OperationRow;
}

namespace rollbackd::engine {

class Engine;
class Service;

class Fleet {
 public:
  explicit Fleet(Engine& engine);
  ~Fleet();
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  /// Goes on with the groups that a restart has cut off, and watches the kill switch until cancelled: an event of its directory, or half a
  /// second, whichever is first.
  boost::asio::awaitable<void> run();
  /// At the start, before any service's: which groups were being rolled back.
  boost::asio::awaitable<void> read_runs();
  /// A service's incident machine is there, or its settings are new: it learns of the kill switch, and its windows' zones are read.
  void introduce(Service& service);

  // ---- Facts for the guards ----
  FleetFacts facts(const Service& asker) const;
  /// The same for a second opinion; pages once when the breaker trips.
  FleetFacts ask(const Service& asker);
  /// Asked right before an operation begins; empty when it may.
  std::string why_not_begin(const Service& service, const OperationRequest& request);
  /// Looks at the kill switch at once. True: nothing may be begun, and what is before its commit point ends.
  bool stopped();
  bool kill_switch_on() const { return kill_switch_.on(); }
  /// The last second opinion found that too many services were rolled back at once.
  bool breaker_open() const { return breaker_tripped_; }
  const KillSwitch& kill_switch() const { return kill_switch_; }
  /// An alert that began at `since` fires: the maintenance it fell into, if any, is noted.
  void note_maintenance(Service& service, Instant since);
  /// Why nothing would be done by itself right now: a word for a label, and a text; both empty when nothing stands in the way.
  std::pair<std::string, std::string> why_not_now(const Service& service) const;
  void operation_ended(const record::OperationRow& row);
  /// The state file has this operation's end, of before the start.
  void know_ended(const record::OperationRow& row);

  // ---- Commands ----
  boost::asio::awaitable<Result<Json>> kill(bool on, std::string reason, std::string principal);
  Result<Json> approve(const ServiceSelector& selector, bool yes, std::string reason, std::string principal);
  Result<CommandAnswer> lock(const LockCommand& command);
  Result<CommandAnswer> unlock(const UnlockCommand& command);
  boost::asio::awaitable<Result<CommandAnswer>> rollback_group(GroupCommand command);

  // ---- Views ----
  /// Adds what stands about the service here: "lock", "approval", "window".
  void describe(const Service& service, Json& row) const;
  Json kill_switch_json() const;
  Json groups() const;
  Result<Json> group_run(const std::string& id) const;

 private:
  struct Ended {
    std::string operation, status, detail;
  };
  struct Zone {
    config::TimeZone zone;
    std::string trouble;
  };

  void tell_all();
  void look();
  void look_again_at(std::shared_ptr<Service> service, Duration later);
  const Zone& zone(const std::string& name) const;
  std::vector<std::pair<std::string, Instant>> open_windows(const Service& service) const;
  std::string cause_elsewhere(const Service& asker) const;
  bool ask_breaker(const Service& asker, FleetFacts& facts) const;
  bool depends_on(const Service& service, const std::string& name) const;
  // group.cpp
  boost::asio::awaitable<Result<std::vector<GroupRun::Member>>> preflight(GroupCommand command, std::vector<std::string> services,
                                                                          Json& rows, bool& allowed);
  void go_on_with_runs();
  boost::asio::awaitable<void> note_runs();
  boost::asio::awaitable<void> end_of_before(std::shared_ptr<GroupRun> run, std::size_t index);
  boost::asio::awaitable<void> begin_member(std::shared_ptr<GroupRun> run, std::size_t index);
  boost::asio::awaitable<void> run_group(std::shared_ptr<GroupRun> run, std::string stopped_by);
  bool known(const GroupRun::Member& member) const;
  boost::asio::awaitable<Ended> wait_for(std::string operation);

  Engine& engine_;
  KillSwitch kill_switch_;
  bool looked_ = false, breaker_tripped_ = false;
  mutable std::map<std::string, Zone> zones_;   ///< by name; read once, and again at a reload
  std::deque<Ended> ended_;                     ///< the last ones; at most kEndedMax
  boost::asio::steady_timer ended_more_;        ///< cancelled when another ended
  std::deque<std::shared_ptr<GroupRun>> runs_;  ///< oldest first; at most kRunsMax
  bool runs_untold_ = false;                    ///< they could not be written last time
};

}  // namespace rollbackd::engine
