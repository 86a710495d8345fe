// Which alerts are evidence against the live release, and which are only shown.
#include "decision/evidence.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "config/judges_health.hpp"
#include "decision/incident.hpp"

namespace rollbackd::decision {
namespace {

constexpr std::size_t kAlertsMax = 1000;
constexpr std::size_t kVerdictsMax = 10'000;

/// True for what is wrong with the release's files whether or not a process runs with them: a validator that refuses a configuration says
/// so before the first start, and a reload that was refused for it never becomes one.
bool about_files(const AlertChange& change) {
  return !change.reads.empty() &&
         std::all_of(change.reads.begin(), change.reads.end(), [](const std::string& m) { return m == "config_valid"; });
}

}  // namespace

bool Incident::warming(Instant now) const {
  if (!warming_since_ || now >= *warming_since_ + settings_.policy.start_grace) return false;
  return std::any_of(settings_.checks.begin(), settings_.checks.end(), [&](const config::CheckSettings& check) {
    return config::judges_health(check) && !healthy_once_.contains(check.name);
  });
}

bool Incident::counts(const Remembered& alert, Instant now) const {
  const AlertChange& change = alert.change;
  if (change.action < AlertAction::rollback || !alert.fresh || alert.acknowledged) return false;
  if (change.since < state_.epoch.switched) return false;  // It fired about the release before.
  if (std::any_of(maintenance_.begin(), maintenance_.end(),
                  [&](const auto& m) { return change.since >= m.first && change.since < m.second; }))
    return false;  // Somebody was working on it.
  if (stopped_ && stopped_cleanly_) return false;
  if (about_files(change)) return true;
  const bool exits = reads(change, "process_exits_total");
  if (!state_.epoch.started) return exits;
  if (warming(now)) return exits || reads(change, "verification_success");
  const auto from = counts_from(change);
  return !from || (now >= *from && !is_blind(change));  // Blind, it is not known whether it still fires.
}

bool Incident::is_blind(const AlertChange& change) const {
  const auto verdict = verdicts_.find(change.group + "\n" + change.rule);
  return verdict != verdicts_.end() && verdict->second.verdict == Verdict::blind;
}

/// The process before may have said it, as it was stopped, even if it was heard later; or what is measured over a window holds what was
/// measured of it between the switch and the start, where there was time for two looks. If it still fires when that is out of sight, this
/// one says it too. @return when that is; nothing where the process before has no part in it
std::optional<Instant> Incident::counts_from(const AlertChange& change) const {
  const bool about_this_one = reads(change, "process_exits_total") || reads(change, "verification_success") || reads_only_probes(change);
  if (!state_.epoch.started || about_this_one) return std::nullopt;
  const Instant started = *state_.epoch.started;
  const bool said_since = change.began ? *change.began >= started + kStartTick : change.since >= started;
  const bool measured_before = cause_of(change) == Cause::metric &&
                               std::any_of(settings_.checks.begin(), settings_.checks.end(), [&](const config::CheckSettings& check) {
                                 const bool feeds =
                                     std::find(change.checks.begin(), change.checks.end(), check.name) != change.checks.end();
                                 return feeds && started - state_.epoch.switched > check.interval;
                               });
  if (said_since && !measured_before) return std::nullopt;
  Instant seen = said_since ? started : std::max(started, change.since);
  for (const std::string& check : change.checks)
    if (const auto late = heard_late_.find(check); late != heard_late_.end()) seen = std::max(seen, late->second);
  return seen + kSeesTheProcessBefore;
}

std::vector<const Incident::Remembered*> Incident::evidence(Instant now) const {
  std::vector<const Remembered*> out;
  if (!operation_.empty()) return out;
  for (const auto& [key, alert] : alerts_)
    if (counts(alert, now)) out.push_back(&alert);
  std::stable_sort(out.begin(), out.end(), [](const Remembered* a, const Remembered* b) { return a->change.since < b->change.since; });
  return out;
}

bool Incident::any_rollback_alert_fires() const {
  return std::any_of(alerts_.begin(), alerts_.end(),
                     [](const auto& entry) { return entry.second.change.action >= AlertAction::rollback && !entry.second.acknowledged; });
}

/// At the bound an alert that may act takes the place of one that may not; otherwise it is left out: a thousand others say the same.
bool Incident::make_room_for(const AlertChange& change) {
  if (alerts_.size() < kAlertsMax) return true;
  if (change.action < AlertAction::rollback) return false;
  const auto lesser =
      std::find_if(alerts_.begin(), alerts_.end(), [](const auto& entry) { return entry.second.change.action < AlertAction::rollback; });
  if (lesser == alerts_.end()) return false;
  alerts_.erase(lesser);
  return true;
}

void Incident::alert_fires(Turn& turn, const std::string& key, const AlertChange& change) {
  const auto known = alerts_.find(key);
  const bool same_firing = known != alerts_.end() && known->second.change.since == change.since;
  if (known == alerts_.end() && !make_room_for(change)) return;
  Remembered alert;
  alert.change = change;
  const bool failed_start = !state_.epoch.started && reads(change, "process_exits_total");
  alert.fresh = !(stopped_ && stopped_cleanly_) || failed_start;  // The sample may be judged before the stop is reported as unclean.
  alert.acknowledged = same_firing && known->second.acknowledged;
  alerts_[key] = std::move(alert);
  if (!same_firing) tell_of(turn, change);
}

/// What an alert causes that may not roll back: a warning or a hold for people, once a firing.
void Incident::tell_of(Turn& turn, const AlertChange& change) {
  if (settings_.automation == config::Automation::off || change.action >= AlertAction::rollback) return;
  if (stopped_ && stopped_cleanly_) return;
  const bool holds = change.action == AlertAction::hold;
  Decision decision = make_decision(turn.now, holds ? DecisionKind::hold : DecisionKind::notify,
                                    change.rule + " fires; its action is " + to_string(change.action));
  decision.evidence = {text_of(change)};
  if (holds) decision.next_step = command_that_acts(turn.now, decision.target);
  record(turn, decision);
  notify(turn, holds ? Notification::Severity::page : Notification::Severity::warning, change.rule + " on " + state_.service.text(),
         text_of(change), &decision);
}

void Incident::handle(Turn& turn, const event::HeardLate& e) {
  const bool known =
      std::any_of(settings_.checks.begin(), settings_.checks.end(), [&](const auto& check) { return check.name == e.check; });
  if (known && state_.epoch.started) heard_late_[e.check] = turn.now;
}

void Incident::handle(Turn& turn, const event::Alert& e) {
  nothing_heard_since_gap_ = false;
  const std::string key = key_of(e.change);
  if (e.change.phase == AlertPhase::firing) return alert_fires(turn, key, e.change);
  alerts_.erase(key);
  held_keys_.erase(key);
}

void Incident::handle(Turn&, const event::RuleVerdict& e) {
  nothing_heard_since_gap_ = false;
  if (!e.change.alerting) return;
  const std::string key = e.change.group + "\n" + e.change.rule;
  if (!verdicts_.contains(key) && verdicts_.size() >= kVerdictsMax) {
    verdicts_overflowed_ = true;
    return;
  }
  verdicts_[key] = e.change;
}

void Incident::handle(Turn&, const event::CheckHealth& e) {
  nothing_heard_since_gap_ = false;
  if (!e.healthy || !state_.epoch.started || stopped_) return;  // Before the start it is the release before that answers.
  const bool judges = std::any_of(settings_.checks.begin(), settings_.checks.end(), [&](const config::CheckSettings& check) {
    return config::judges_health(check) && check.name == e.check;
  });
  if (judges) healthy_once_.insert(e.check);
}

}  // namespace rollbackd::decision
