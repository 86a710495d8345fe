// Moves one alert between inactive, pending and firing. Pure: no I/O, no clock, no globals.
// Flow: series -> promql -> [rules] -> incident. Called by the judge once per alert and evaluation.
#pragma once

#include <optional>

#include "base/time.hpp"
#include "model/alert.hpp"

namespace rollbackd::rules {

/// What one evaluation says about one alert.
enum class Evidence {
  present,  ///< the result holds its element
  absent,   ///< the result is known and does not hold it
  blind,    ///< a source did not deliver: with or without an element nothing is known
};

/// How long a rule waits: its `for` and `keep_firing_for`.
struct AlertTiming {
  Duration pending_for{};
  Duration keep_firing_for{};
};

/// One alert. A plain value; `advance` gives the next one.
struct AlertState {
  AlertPhase phase = AlertPhase::inactive;
  Instant since;                        ///< of this phase
  Instant active_at;                    ///< pending, firing: when the breach began; later by the time that was blind while pending
  std::optional<Instant> absent_since;  ///< firing under keep_firing_for: when the breach ended; later by the time that was blind since
  std::optional<Instant> blind_since;   ///< set while blind: shown, and no evidence
  bool operator==(const AlertState&) const = default;
};

/// The state after an evaluation at `now`. Prometheus's machine (rules/alerting.go), and a third answer:
/// @return on `blind` the same phase, marked blind. Both clocks stand still meanwhile: time in which nothing was known neither proves
///         that a breach lasted for its `for` nor that it stayed away for `keep_firing_for`
AlertState advance(const AlertTiming& timing, const AlertState& alert, Evidence evidence, Instant now);

/// When `advance` next has something to do without any new sample: the end of `for` or of `keep_firing_for`.
/// Nothing while inactive, blind, or firing with its breach present.
std::optional<Instant> next_change(const AlertTiming& timing, const AlertState& alert);

}  // namespace rollbackd::rules
