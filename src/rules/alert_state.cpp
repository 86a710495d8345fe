#include "rules/alert_state.hpp"

namespace rollbackd::rules {
namespace {

AlertState inactive(Instant now) {
  AlertState next;
  next.since = now;
  return next;
}

/// Takes the blind time out of the clock that was running.
void see_again(AlertState& alert, Instant now) {
  if (!alert.blind_since) return;
  const Duration unknown = now - *alert.blind_since;
  if (alert.phase == AlertPhase::pending) alert.active_at = alert.active_at + unknown;
  if (alert.absent_since) alert.absent_since = *alert.absent_since + unknown;
  alert.blind_since.reset();
}

}  // namespace

AlertState advance(const AlertTiming& timing, const AlertState& alert, Evidence evidence, Instant now) {
  AlertState next = alert;
  if (evidence == Evidence::blind) {
    if (next.phase != AlertPhase::inactive && !next.blind_since) next.blind_since = now;
    return next;
  }
  see_again(next, now);

  if (evidence == Evidence::absent) {
    if (next.phase == AlertPhase::inactive) return next;
    if (next.phase == AlertPhase::pending || timing.keep_firing_for <= Duration{0}) return inactive(now);
    if (!next.absent_since) next.absent_since = now;
    return now - *next.absent_since < timing.keep_firing_for ? next : inactive(now);
  }

  next.absent_since.reset();
  if (next.phase == AlertPhase::inactive) {
    next.phase = AlertPhase::pending;
    next.since = next.active_at = now;
  }
  if (next.phase == AlertPhase::pending && now - next.active_at >= timing.pending_for) {
    next.phase = AlertPhase::firing;
    next.since = now;
  }
  return next;
}

std::optional<Instant> next_change(const AlertTiming& timing, const AlertState& alert) {
  if (alert.blind_since) return std::nullopt;
  if (alert.phase == AlertPhase::pending) return alert.active_at + timing.pending_for;
  if (alert.phase == AlertPhase::firing && alert.absent_since) return *alert.absent_since + timing.keep_firing_for;
  return std::nullopt;
}

}  // namespace rollbackd::rules
