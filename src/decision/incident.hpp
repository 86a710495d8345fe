// The incident machine of one service: events in, actions out. The part of rollbackd that decides.
// Flow: judge, commands, outcomes -> [incident] -> engine. Pure: no I/O, no clock; a simulator can run it from a seed.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/settings.hpp"
#include "decision/guards.hpp"
#include "model/decision.hpp"

namespace rollbackd::decision {

/// Brings ids: UUIDv7s that the shell makes (or the simulator counts).
using NewId = std::function<std::string()>;

/// How the machine stands, for status and explain.
struct IncidentView {
  std::string phase;  ///< "watching", "settling", "deciding", "operating", "held"
  bool warming = false;      ///< inside start_grace before the first success
  bool stopped_cleanly = false;
  bool started = false;
  bool blind = false;
  std::vector<std::string> blind_rules;  ///< that keep the release from becoming good
  std::vector<std::string> firing;       ///< rollback alerts firing now, whether or not they count
  std::optional<Decision> last_decision;
};

class Incident {
 public:
  /// @param state  as the state file had it; a fresh one for a service never seen
  Incident(config::ServiceSettings settings, ServiceState state, NewId new_id);

  /// Takes one event; returns what is to be done, in this order.
  std::vector<Action> on(const Event& event, Instant now);
  /// When `event::Tick` next has work (bake end, grace end, settle timeout, suspension end); nothing when never.
  std::optional<Instant> next_due() const;

  const ServiceState& state() const { return state_; }
  const config::ServiceSettings& settings() const { return settings_; }
  /// Takes new settings at a reload; state and open incident stay.
  void set_settings(config::ServiceSettings settings) { settings_ = std::move(settings); }
  IncidentView view(Instant now) const;
  bool operation_running() const { return !operation_.empty(); }
  bool state_trusted() const { return state_trusted_; }
  /// The input to the guards as things stand, for a person's operation: the engine adds the target facts and its own.
  GuardInput guard_input(Instant now) const;
  /// Ledger rows found on disk at start are entered through this (candidates); returns true when something is new.
  bool enter_release(const Release& release, Instant now);

 private:
  config::ServiceSettings settings_;
  ServiceState state_;
  NewId new_id_;
  std::string operation_;  ///< running one's id
  bool state_trusted_ = true;
  // The implementer adds its members here.
};

}  // namespace rollbackd::decision
