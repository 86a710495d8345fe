// What people are told beyond the moment: the pre-flight that runs all the time, the evidence kept of each decision, and drills.
// Flow: engine, service -> [insight] -> api, metrics, record. It only listens: nothing here stands between a decision and its operation.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "engine/drill.hpp"
#include "engine/ready.hpp"
#include "io/worker.hpp"
#include "model/decision.hpp"
#include "record/history.hpp"
#include "rollback/verdict.hpp"

namespace rollbackd::engine {

class Engine;
class Service;
struct Watched;

class Insight {
 public:
  explicit Insight(Engine& engine);
  ~Insight();
  Insight(const Insight&) = delete;
  Insight& operator=(const Insight&) = delete;

  /// Looks at disks and managers at least once a minute, and at once after `look_soon`. Until cancelled.
  boost::asio::awaitable<void> run();
  void look_soon();

  // ---- pre-flight: preflight.cpp ----
  std::vector<ReadyCheck> checks(const Service& service) const;
  /// [{"service", "environment", "ready", "why", "checks": [{"check", "answer", "evidence"}]}], of one service or (no name) of all.
  Result<Json> ready(const ServiceSelector& selector) const;

  // ---- evidence: evidence.cpp. Each is told what happened, at once returns, and never fails. ----
  /// A digest of the whole configuration and of the rules, for the bundles.
  void set_configuration(std::string digest) { configuration_ = std::move(digest); }
  void on_batch(const Batch& batch);
  void on_alert(const AlertChange& change);
  void on_decision(const Service& service, const Decision& decision);
  void on_notification(const Notification& notification);
  /// A person's operation: there is no decision, so its guards' answers are told here, before it begins.
  void on_command(const std::string& operation, const std::vector<GuardAnswer>& guards, const std::vector<std::string>& why_not);
  void on_operation_begins(const Service& service, const OperationRequest& request);
  void on_verified(const Service& service, const std::vector<rollback::TestResult>& results);
  void on_operation_ended(const Service& service, const record::OperationRow& row);
  void forget(const ServiceKey& service);

  /// The evidence of one operation, of one incident (its newest bundle), or the newest of the service.
  /// {"service", "environment", "bundle": {...} or null, "operation": {...} or null, "told": [...], "earlier": [...], "missing": [...]}
  boost::asio::awaitable<Result<Json>> evidence(ServiceSelector selector, std::string operation, std::string incident);

  // ---- drills: drill.cpp ----
  /// Begins one; the answer has its operation. @return `refused` in the answer where the service may not be drilled now
  boost::asio::awaitable<Result<CommandAnswer>> drill(DrillCommand command);

 private:
  struct Drill;
  boost::asio::awaitable<void> run_drill(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill);
  boost::asio::awaitable<bool> prove(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill);
  boost::asio::awaitable<Result<>> write_drill_records(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill);
  boost::asio::awaitable<void> page_everybody(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill);
  boost::asio::awaitable<void> await_delivery(std::shared_ptr<Drill> drill, std::string key, bool everybody);
  boost::asio::awaitable<Result<>> inject(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill);
  boost::asio::awaitable<void> break_it(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill);
  boost::asio::awaitable<void> watch_rollback(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill, std::string operation);
  boost::asio::awaitable<void> put_in_order(std::shared_ptr<Service> service, std::shared_ptr<Drill> drill, Decision taken);
  boost::asio::awaitable<void> capture(std::shared_ptr<const Service> service, Json about, std::string id);
  void store(const ServiceKey& service, const std::string& id);
  Json told_of(const Json& bundle) const;
  boost::asio::awaitable<void> look_at(std::shared_ptr<Service> service);
  boost::asio::awaitable<void> ask_manager(std::shared_ptr<Service> service);

  Engine& engine_;
  std::string configuration_;
  std::set<ServiceKey> drilling_;
  std::map<std::string, Json> commands_;                    ///< by operation: what a person's command was told by the guards
  std::map<ServiceKey, std::unique_ptr<Watched>> watched_;  ///< what evidence is made of: bounded, of each service
  /// Its own: a file system that hangs must not stand in the way of hashing, and less so of a rollback.
  io::Worker looks_{1};
  boost::asio::steady_timer wake_;
  bool soon_ = false;
  std::map<std::string, PreflightFacts> world_;  ///< by service; of those that are configured
  std::map<std::string, bool> asking_;           ///< its manager has not answered yet
};

}  // namespace rollbackd::engine
