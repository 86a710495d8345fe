// What the managers over systemd share: a unit is inspected, watched, and its jobs are waited for.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "drivers/managers.hpp"
#include "drivers/restart_step.hpp"
#include "io/unit_watch.hpp"

namespace rollbackd::drivers {

class UnitManager : public Manager {
 public:
  /// @param memory_name  file of the restarts in the service's directory
  UnitManager(DriverContext context, std::string unit, const std::string& memory_name);
  boost::asio::awaitable<Result<World::Process>> inspect() override;
  /// Follows the unit over the bus. An end that came by a stop job, a shutdown of the host, or a restart of ours is `requested`.
  boost::asio::awaitable<void> watch(std::function<void(ProcessEvent)> sink) override;

 protected:
  using Steady = std::chrono::steady_clock;

  boost::asio::awaitable<Result<io::UnitFacts>> ask(Steady::time_point until);
  /// Calls a method of systemd's that makes a job, and waits for the end of that very job. @return "done", "failed", "canceled", ...
  /// `outcome_unknown` when the bus goes away after the call, `timed_out` when the job is still there `until`.
  boost::asio::awaitable<Result<std::string>> run_job(std::string method, std::string signature, Json arguments, Steady::time_point until);
  /// Waits until a process of the unit's runs that is younger than `since`, and the unit is active.
  boost::asio::awaitable<Outcome> wait_for_young(Instant since, Steady::time_point until);
  /// Forgets failures and the count of starts, so that no limit refuses ours. Best effort.
  boost::asio::awaitable<void> reset_failed();
  /// The outcome of a job that did not end as "done".
  Outcome job_failed(const std::string& what, const std::string& result) const;
  /// A restart that is safe to repeat: answered from memory, or found to have happened, or carried out by restart().
  boost::asio::awaitable<Outcome> run_once(Step step, Duration deadline);
  virtual boost::asio::awaitable<Outcome> restart(io::UnitFacts facts, Instant since, Steady::time_point until) = 0;
  /// Whether it may be tried at all: a masked unit may not. Nothing: yes.
  virtual std::optional<Error> refuse(const io::UnitFacts& facts) const = 0;
  /// Called on every state of the unit while watched.
  virtual void seen(const io::UnitFacts&) {}

  DriverContext context_;
  std::string unit_;
  std::shared_ptr<io::SystemBus> bus_;
  int restarting_ = 0;  ///< restarts of ours under way

 private:
  boost::asio::awaitable<void> save_memory();
  RestartMemory memory_;
};

}  // namespace rollbackd::drivers
