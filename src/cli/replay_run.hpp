// Drives the judge and one incident machine a service through a recording, in virtual time.
// Flow: recording -> [replay: judge -> incident] -> report. The core is the daemon's own; only the world around it is the recording.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cli/replay_recording.hpp"
#include "cli/replay_report.hpp"
#include "decision/incident.hpp"
#include "rules/judge.hpp"

namespace rollbackd::cli {

/// What the incident machines get beside the recording.
struct ReplayWorld {
  std::map<ServiceKey, config::ServiceSettings> services;  ///< of --config; a service without settings gets the defaults, automatic
  bool act = false;                                        ///< a rollback that is decided succeeds at once; else the recorded truth goes on
};

class Replay {
 public:
  /// All must outlive it; the groups are those that the report was made with.
  Replay(Recording& recording, rules::Groups groups, const ReplayWorld& world, ReplayReport& report);
  ~Replay();
  /// Goes through the whole recording; once.
  void run();

 private:
  struct Watched;

  void begin();
  void pass_time(Instant until);
  void tick(Watched& service);
  void deliver(const Judgement& judgement);
  void deliver(Watched& service, Event event);
  void perform(Watched& service, Action action);
  void epoch(const RecordedEpoch& epoch);
  void batch(std::size_t first, std::size_t last);
  void tell_facts(Watched& service);
  void end();

  // replay_world.cpp: what the daemon's shell would have answered
  void ask_again(Watched& service, const action::Reprobe& wanted);
  ReprobeAnswer answer_of(const RecordedSource& source) const;
  const RecordedSource* source_of(const ServiceKey& service, const std::string& check) const;
  const RecordedSource* canary_of(const ServiceKey& service) const;
  void operate(Watched& service, const OperationRequest& request);
  void conclude(Watched& service, const std::string& why);
  void watch_decided(Watched& service);
  config::ServiceSettings settings_of(const ServiceKey& service) const;
  ServiceState state_of(const ServiceKey& service, const std::string& first_release, bool alone) const;

  Recording& recording_;
  rules::Groups groups_;
  const ReplayWorld& world_;
  ReplayReport& report_;
  rules::Judge judge_;
  std::map<ServiceKey, std::unique_ptr<Watched>> services_;
  std::set<std::pair<Instant, ServiceKey>> due_;  ///< of the incident machines
  std::vector<Batch> batches_;                    ///< by source: made once, and only its values change
  std::vector<std::vector<std::uint32_t>> batch_series_;
  std::optional<Instant> facts_at_;  ///< when the next `release_switched_timestamp_seconds` is said
  Instant now_;
  Instant last_due_;
  std::uint64_t ids_ = 0;
};

}  // namespace rollbackd::cli
