// What the judge says: alert states and verdicts, as plain data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/batch.hpp"

namespace rollbackd {

/// What an alert may cause: the label `rollbackd_action`. Ordered: a later one includes the earlier.
enum class AlertAction : int { notify = 0, hold = 1, rollback = 2, emergency = 3 };
const char* to_string(AlertAction action);

enum class AlertPhase : int { inactive = 0, pending = 1, firing = 2 };
const char* to_string(AlertPhase phase);

/// What a rule says about a service. `blind`: a source it needs did not deliver; that is never `ok` and never `breached`.
enum class Verdict : int { ok = 0, breached = 1, blind = 2 };
const char* to_string(Verdict verdict);

/// One change of one alert (a rule with one label set) of one service.
struct AlertChange {
  ServiceKey service;
  std::string group;
  std::string rule;  ///< the alert's name
  Labels labels;     ///< with `alertname` and the rule's own labels, expanded
  Labels annotations;
  AlertPhase phase = AlertPhase::inactive;
  Instant since;  ///< of this phase
  /// When the probe began whose word made it fire: earlier than `since` where that word came late, or told of a time in which it could not
  /// look. Nothing where time alone made it fire.
  std::optional<Instant> began{};
  double value = 0;
  AlertAction action = AlertAction::notify;
  /// Metric names that the rule's expression reads. `process_exits_total` among them makes the alert evidence even inside start_grace.
  std::vector<std::string> reads;
  /// Checks of this service that can feed those metrics: what a second opinion asks again.
  std::vector<std::string> checks;
};

/// One change of one rule's verdict on one service.
struct VerdictChange {
  ServiceKey service;
  std::string group;
  std::string rule;
  Verdict verdict = Verdict::blind;
  bool fed = false;  ///< at least one check of the service can feed it; a rule about logs is `ok` but not fed where no log is watched
  bool ignore_no_data = false;  ///< the label `rollbackd_no_data: ignore`: its blindness stops no bake clock
  bool alerting = true;         ///< false for a recording rule
};

struct Judgement {
  std::vector<AlertChange> alerts;
  std::vector<VerdictChange> verdicts;
};

}  // namespace rollbackd
