// The bake clock: known evidence makes a candidate good. It runs only while the release runs and every fed rule can see.
#include <algorithm>

#include "decision/incident.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::decision {
namespace {

constexpr Duration kBakePersistEvery = 30s;
/// Beyond this many bake times without becoming good a release is `unknown`.
constexpr int kBakeTimesMax = 10;

Duration bake_time_limit(const config::PolicySettings& policy) { return std::min<Duration>(policy.bake_time, 3650 * 24h) * kBakeTimesMax; }

bool judges(const VerdictChange& verdict) { return verdict.alerting && verdict.fed; }

}  // namespace

bool Incident::baking() const {
  const LedgerEntry* live = ledger::find(state_, state_.epoch.release);
  return live != nullptr && live->standing == Standing::candidate && state_.epoch.started.has_value();
}

bool Incident::bake_runs() const {
  if (!baking() || stopped_ || !operation_.empty() || nothing_heard_since_gap_ || verdicts_overflowed_) return false;
  if (state_.incident || any_rollback_alert_fires()) return false;
  bool known = false;
  for (const auto& [key, verdict] : verdicts_) {
    if (!judges(verdict)) continue;
    if (verdict.verdict == Verdict::blind && !verdict.ignore_no_data) return false;
    known = known || verdict.verdict != Verdict::blind;
  }
  return known;
}

/// The conditions of bake_runs(), each with its name.
std::vector<std::string> Incident::keeps_from_good() const {
  constexpr std::size_t kRulesMax = 10;
  std::vector<std::string> out;
  if (!baking()) return out;
  if (stopped_) out.emplace_back("it does not run");
  if (!operation_.empty()) out.emplace_back("an operation runs");
  if (state_.incident) out.emplace_back("an incident is open");
  if (nothing_heard_since_gap_) out.emplace_back("nothing has been observed since a gap");
  if (verdicts_overflowed_) out.emplace_back("there are more rules than can be watched");
  bool known = false, any_ok = state_.epoch.baked_ok;
  std::size_t rules = 0;
  for (const auto& [key, alert] : alerts_) {
    if (alert.change.action >= AlertAction::rollback && !alert.acknowledged && ++rules <= kRulesMax)
      out.push_back(alert.change.rule + " fires");
  }
  for (const auto& [key, verdict] : verdicts_) {
    if (!judges(verdict)) continue;
    known = known || verdict.verdict != Verdict::blind;
    any_ok = any_ok || verdict.verdict == Verdict::ok;
    if (verdict.verdict == Verdict::blind && !verdict.ignore_no_data && ++rules <= kRulesMax) out.push_back(verdict.rule + " is blind");
  }
  if (rules > kRulesMax) out.push_back("and " + std::to_string(rules - kRulesMax) + " more");
  if (!known) out.emplace_back("no rule has judged live data yet");
  if (known && !any_ok) out.emplace_back("no rule says ok");
  return out;
}

/// Counts the time up to `until`, over which the conditions of the event before held.
void Incident::accrue_bake(Instant until) {
  if (!baking_since_ || until <= *baking_since_) return;
  state_.epoch.baked = std::min(state_.epoch.baked + (until - *baking_since_), settings_.policy.bake_time);
  baking_since_ = until;
}

void Incident::bake(Turn& turn) {
  const bool runs = bake_runs();
  if (!runs) baking_since_.reset();
  if (runs && !baking_since_) baking_since_ = turn.now;
  if (runs) {
    state_.epoch.baked_ok = state_.epoch.baked_ok || std::any_of(verdicts_.begin(), verdicts_.end(), [](const auto& entry) {
                              return judges(entry.second) && entry.second.verdict == Verdict::ok;
                            });
  }
  const Duration bake_time = settings_.policy.bake_time;
  const std::string& release = state_.epoch.release;
  if (runs && state_.epoch.baked >= bake_time && state_.epoch.baked_ok) {
    ledger::set_standing(state_, release, Standing::good, "baked " + format_duration(bake_time) + " until " + format_rfc3339(turn.now));
    turn.add(action::MarkBadOnDisk{release, ""});  // It was perhaps bad once, and would be refused as a target for ever.
    baking_since_.reset();
    turn.add(action::Persist{});
    arm(turn);
    notify(turn, Notification::Severity::info, release + " is good on " + state_.service.text(),
           "it baked for " + format_duration(bake_time));
  } else if (const auto given_up = given_up_at(); given_up && turn.now >= *given_up) {
    ledger::set_standing(state_, release, Standing::unknown, "not enough was known of it in 10 bake times");
    baking_since_.reset();
    turn.add(action::Persist{});
    notify(turn, Notification::Severity::warning, release + " could not be judged on " + state_.service.text(),
           "in " + format_duration(bake_time_limit(settings_.policy)) +
               " there was no bake time of known evidence; rollbackctl mark can say it is good");
  } else if (runs && state_.epoch.baked - baked_on_disk_ >= kBakePersistEvery) {
    turn.add(action::Persist{});
  }
}

/// When a candidate counts as one that cannot be judged. Not while an incident is open: then enough is known, and what it waits for (a
/// window's end, a person) may last as long as it likes. Once that is over it has the whole time again.
std::optional<Instant> Incident::given_up_at() const {
  if (!baking() || state_.incident) return std::nullopt;
  return std::max(*state_.epoch.started, incident_closed_.value_or(Instant())) + bake_time_limit(settings_.policy);
}

std::optional<Instant> Incident::bake_due() const {
  if (!baking()) return std::nullopt;
  std::optional<Instant> due = given_up_at();
  const Duration left = settings_.policy.bake_time - state_.epoch.baked;
  if (baking_since_ && left > 0s) {
    const Duration to_persist = kBakePersistEvery - (state_.epoch.baked - baked_on_disk_);
    const Instant next = *baking_since_ + std::min(left, to_persist);
    due = std::min(due.value_or(next), next);
  }
  return due;
}

}  // namespace rollbackd::decision
