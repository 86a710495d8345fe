// One function a guard, in a table whose order is the design's. Pure: everything they look at is in the GuardInput.
#include "decision/guards.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::decision {
namespace {

struct Says {
  bool yes = false;
  std::string evidence;
};

/// Others that failed with it are well again, and this one has not had the time to recover too.
bool too_early(const GuardInput& in, const char* guard) { return !in.too_early.empty() && in.failed_with_others.contains(guard); }

Says target_intact(const GuardInput& in) {
  if (in.to.empty()) return {false, "there is no release to go back to"};
  if (in.target.release != in.to) return {false, in.to + " was not looked at" + (in.target.why.empty() ? "" : ": " + in.target.why)};
  if (!in.target.present) return {false, in.to + " is not on disk" + (in.target.why.empty() ? "" : ": " + in.target.why)};
  if (in.kind == OperationKind::deploy) return {true, in.to + " is on disk"};
  if (!in.target.intact) return {false, in.to + " is not intact" + (in.target.why.empty() ? "" : ": " + in.target.why)};
  return {true, in.to + " is unchanged since it was hashed in full"};
}

Says target_not_revoked(const GuardInput& in) {
  const LedgerEntry* entry = ledger::find(*in.state, in.to);
  if (entry != nullptr && entry->standing == Standing::revoked) return {false, in.to + " is revoked: " + entry->reason};
  return {true, in.to.empty() ? "no target" : in.to + " is not revoked"};
}

Says no_operation_in_progress(const GuardInput& in) {
  if (in.operation_running) return {false, "an operation runs on this service"};
  return {true, "no operation runs on this service"};
}

Says not_suspended(const GuardInput& in) {
  if (!in.state_trusted) return {false, "the state file failed; nothing may act before a restart"};
  if (in.daemon_suspended) return {false, "the daemon is suspended" + (in.suspended_why.empty() ? "" : ": " + in.suspended_why)};
  const auto& suspension = in.state->suspension;
  if (suspension && in.now < suspension->until)
    return {false, "suspended until " + format_rfc3339(suspension->until) + " by " + suspension->principal + ": " + suspension->reason};
  return {true, "not suspended"};
}

Says reversible(const GuardInput& in) {
  const LedgerEntry* live = ledger::find(*in.state, in.from);
  if (live != nullptr && live->release.irreversible) return {false, in.from + " says of itself that it cannot be taken back"};
  if (const std::string why = ledger::why_incompatible(*in.state, in.to); !why.empty()) return {false, why};
  return {true, in.from + " does not say that it is irreversible"};
}

Says target_known_good(const GuardInput& in) {
  const LedgerEntry* entry = ledger::find(*in.state, in.to);
  if (in.to.empty()) return {false, "the ledger has no other good release"};
  if (entry == nullptr) return {false, in.to + " is not in the ledger"};
  if (entry->standing != Standing::good) return {false, in.to + " is " + to_string(entry->standing)};
  if (const std::string why = ledger::why_insecure(*in.state, in.to); !why.empty()) return {false, why};
  return {true, in.to + " is good" + (entry->reason.empty() ? "" : ": " + entry->reason)};
}

Says target_not_bad(const GuardInput& in) {
  const LedgerEntry* entry = ledger::find(*in.state, in.to);
  if (entry != nullptr && entry->standing == Standing::bad) return {false, in.to + " is bad: " + entry->reason};
  return {true, in.to.empty() ? "no target" : in.to + " is not bad"};
}

Says budget(const GuardInput& in) {
  const auto& policy = in.settings->policy;
  const auto& incident = in.state->incident;
  if (in.automatic && incident && incident->acted && !in.further_step)
    return {false, "this incident's one automatic rollback has been made"};
  const auto used = std::count_if(in.state->past.begin(), in.state->past.end(),
                                  [&](const PastOperation& p) { return p.automatic && in.now - p.at < policy.budget_per; });
  return {used < policy.budget_rollbacks, std::to_string(used) + " automatic rollbacks in the last " + format_duration(policy.budget_per) +
                                              ", budget " + std::to_string(policy.budget_rollbacks)};
}

Says cooldown(const GuardInput& in) {
  const auto& past = in.state->past;
  const auto last = std::find_if(past.rbegin(), past.rend(), [](const PastOperation& p) { return p.automatic; });
  if (last == past.rend()) return {true, "no automatic rollback yet"};
  const Duration ago = in.now - last->at;
  const std::string text =
      "last automatic rollback " + format_duration(ago) + " ago, cooldown " + format_duration(in.settings->policy.cooldown);
  const auto& incident = in.state->incident;
  if (in.further_step && incident && last->at >= incident->opened) return {true, text + "; this is a further step of the same incident"};
  // Of this incident, that is, and what it was to leave is still live: one that ends in the turn in which this incident opens was
  // another's.
  if (incident && !incident->acted && last->at >= incident->opened && last->from == in.from)
    return {true, text + "; it was cut off before it had done anything"};
  return {ago >= in.settings->policy.cooldown, text};
}

Says not_same_pair(const GuardInput& in) {
  if (in.state->past.empty()) return {true, "no rollback before"};
  const PastOperation& last = in.state->past.back();
  const std::string text = "last rollback went from " + last.from + " to " + last.to;
  return {!(last.from == in.to && last.to == in.from), text};
}

Says live_is_suspect(const GuardInput& in) {
  const LedgerEntry* live = ledger::find(*in.state, in.from);
  if (live != nullptr && live->standing == Standing::good) return {false, in.from + " is good"};
  return {true, in.from + " is " + (live == nullptr ? "not in the ledger" : to_string(live->standing))};
}

Says window_open(const GuardInput& in) {
  if (in.fleet.window.empty()) return {true, "no freeze and no maintenance now"};
  return {false, in.fleet.window};
}

Says deploy_lock_free(const GuardInput& in) {
  const auto& lock = in.state->lock;
  if (!lock || in.now >= lock->until) return {true, "no deployment lock is held"};
  if (in.lock_held_by_caller == lock->id) return {true, "the caller holds the deployment lock"};
  return {false, "locked until " + format_rfc3339(lock->until) + " by " + lock->principal + ": " + lock->reason};
}

Says dependency_healthy(const GuardInput& in) {
  if (too_early(in, "dependency_healthy")) return {false, in.too_early};
  if (in.dependencies_failing.empty()) return {true, "no dependency is known to fail"};
  return {false, "failing: " + join(in.dependencies_failing, ", ")};
}

Says recent_release(const GuardInput& in) {
  if (in.further_step) return {true, in.from + " was put there by this incident's rollback and failed its verification"};
  const LedgerEntry* live = ledger::find(*in.state, in.from);
  if (live == nullptr || in.state->epoch.release != in.from) return {false, in.from + " is not the live release of the ledger"};
  if (live->standing == Standing::candidate)
    return {true,
            in.from + " is baking: " + format_duration(in.state->epoch.baked) + " of " + format_duration(in.settings->policy.bake_time)};
  if (in.settings->policy.late_automatic && live->standing != Standing::bad)
    return {true, in.from + " is " + to_string(live->standing) + ", and the policy says late: automatic"};
  return {false, in.from + " is not baking any more: it is " + to_string(live->standing)};
}

Says not_shared_failure(const GuardInput& in) {
  std::size_t answered = 0;
  std::vector<std::string> failing;
  for (const ReprobeAnswer& other : in.others) {
    if (!other.answered) continue;
    ++answered;
    if (!other.healthy) failing.push_back(other.service.text());
  }
  std::string text = std::to_string(failing.size()) + " of " + std::to_string(answered) + " other services fail";
  if (!failing.empty()) text += ": " + join(failing, ", ");
  if (too_early(in, "not_shared_failure")) return {false, cut(text + "; " + in.too_early, 500)};
  const bool many = failing.size() >= 2 && failing.size() * 2 >= answered;
  const bool all_with_dependencies = answered >= 1 && failing.size() == answered && !in.settings->depends_on.empty();
  return {!many && !all_with_dependencies, cut(text, 500)};
}

Says cause_first(const GuardInput& in) {
  const std::string& cause = in.fleet.cause_elsewhere;
  if (cause.empty()) return {true, "no service that it depends on fails with a younger release"};
  return {false, cause + " fails too and has the younger release: the cause is rolled back before the symptom"};
}

/// What changed since the live release was put there may be the cause as well: going back would not help, and hide it.
Says no_other_change(const GuardInput& in) {
  std::vector<std::string> since;
  for (const OtherChange& change : in.state->changes)
    if (change.at >= in.state->epoch.switched)
      since.push_back(std::string(to_string(change.kind)) + " " + change.what + " at " + format_rfc3339(change.at));
  if (since.empty()) return {true, "nothing else is known to have changed since " + in.from + " went live"};
  return {!in.settings->changes.hold, cut("changed since " + in.from + " went live: " + join(since, "; "), 500)};
}

Says fleet_breaker(const GuardInput& in) {
  if (!in.fleet.breaker_free) return {false, in.fleet.why.empty() ? "too much is done to the fleet at a time" : in.fleet.why};
  return {true, std::to_string(in.fleet.automatic_running) + " automatic operations run, " + std::to_string(in.fleet.rolled_back) + " of " +
                    std::to_string(in.fleet.services) + " other services were rolled back lately"};
}

Says observer_healthy(const GuardInput& in) {
  return {in.observer.healthy, in.observer.healthy ? "our own eyes work" : "our own eyes do not work: " + in.observer.why};
}

Says evidence_fresh(const GuardInput& in) {
  return {in.evidence_fresh, !in.evidence_detail.empty() ? in.evidence_detail : in.evidence_fresh ? "fresh" : "the evidence is not fresh"};
}

Says approved(const GuardInput& in) {
  if (in.settings->automation != config::Automation::approve) return {true, "nobody needs to be asked"};
  return {in.approved, in.approved ? "a person approved it" : "a person must approve it"};
}

Says automation_allows(const GuardInput& in) {
  const config::Automation automation = in.settings->automation;
  const bool may = automation == config::Automation::automatic || automation == config::Automation::approve;
  return {may, "automation: " + std::string(to_string(automation))};
}

enum class AskedOf { everybody, person, automatic };
enum class PassedBy { nothing, data_loss, force, lenient };
/// Kinds of operations beside going back that a guard is asked of.
enum Also : unsigned { kNoOther = 0, kDeploy = 1, kDrill = 2, kBoth = 3 };

struct Guard {
  const char* name;
  Says (*ask)(const GuardInput&);
  AskedOf asked_of;
  PassedBy passed_by;
  unsigned also;
  bool skipped_by_emergency = false;  ///< an automatic emergency passes over it
};

// A drill is a person's, of a release that is well: what is about failing, and about rolling back too often, is not asked of it.
// clang-format off
constexpr std::array<Guard, 23> kGuards{{
    {"target_intact",            target_intact,            AskedOf::everybody, PassedBy::nothing,   kBoth},
    {"target_not_revoked",       target_not_revoked,       AskedOf::everybody, PassedBy::nothing,   kBoth},
    {"no_operation_in_progress", no_operation_in_progress, AskedOf::everybody, PassedBy::nothing,   kBoth},
    {"not_suspended",            not_suspended,            AskedOf::everybody, PassedBy::nothing,   kBoth},
    {"reversible",               reversible,               AskedOf::everybody, PassedBy::data_loss, kDrill},
    {"target_known_good",        target_known_good,        AskedOf::everybody, PassedBy::force,     kDrill},
    {"target_not_bad",           target_not_bad,           AskedOf::everybody, PassedBy::force,     kBoth},
    {"budget",                   budget,                   AskedOf::everybody, PassedBy::force,     kNoOther},
    {"cooldown",                 cooldown,                 AskedOf::everybody, PassedBy::force,     kNoOther},
    {"not_same_pair",            not_same_pair,            AskedOf::everybody, PassedBy::force,     kNoOther},
    {"live_is_suspect",          live_is_suspect,          AskedOf::person,    PassedBy::force,     kNoOther},
    {"window_open",              window_open,              AskedOf::everybody, PassedBy::lenient,   kBoth, true},
    {"deploy_lock_free",         deploy_lock_free,         AskedOf::everybody, PassedBy::lenient,   kBoth},
    {"dependency_healthy",       dependency_healthy,       AskedOf::everybody, PassedBy::lenient,   kBoth},
    {"recent_release",           recent_release,           AskedOf::automatic, PassedBy::nothing,   kNoOther},
    {"not_shared_failure",       not_shared_failure,       AskedOf::automatic, PassedBy::nothing,   kNoOther},
    {"cause_first",              cause_first,              AskedOf::automatic, PassedBy::nothing,   kNoOther},
    {"no_other_change",          no_other_change,          AskedOf::automatic, PassedBy::nothing,   kNoOther},
    {"observer_healthy",         observer_healthy,         AskedOf::automatic, PassedBy::nothing,   kNoOther},
    {"evidence_fresh",           evidence_fresh,           AskedOf::automatic, PassedBy::nothing,   kNoOther},
    {"fleet_breaker",            fleet_breaker,            AskedOf::automatic, PassedBy::nothing,   kNoOther},
    {"approved",                 approved,                 AskedOf::automatic, PassedBy::nothing,   kNoOther, true},
    {"automation_allows",        automation_allows,        AskedOf::automatic, PassedBy::nothing,   kNoOther},
}};
// clang-format on

bool is_asked(const Guard& guard, const GuardInput& in) {
  if (in.kind == OperationKind::deploy && (guard.also & kDeploy) == 0) return false;
  if (in.kind == OperationKind::drill && (guard.also & kDrill) == 0) return false;
  switch (guard.asked_of) {
    case AskedOf::everybody: return true;
    case AskedOf::person: return !in.automatic;
    case AskedOf::automatic: return in.automatic;
  }
  return true;
}

bool may_pass_over(const Guard& guard, const GuardInput& in, const Overrides& overrides) {
  if (guard.skipped_by_emergency && in.automatic && in.mode == Mode::emergency) return true;
  switch (guard.passed_by) {
    case PassedBy::nothing: return false;
    case PassedBy::data_loss: return !in.automatic && in.accept_data_loss;
    case PassedBy::force: return !in.automatic && overrides.force;
    case PassedBy::lenient: return (!in.automatic && overrides.lenient) || in.settings->enforcement == config::Enforcement::lenient;
  }
  return false;
}

}  // namespace

std::vector<GuardAnswer> ask_guards(const GuardInput& input, const Overrides& overrides) {
  std::vector<GuardAnswer> answers;
  for (const Guard& guard : kGuards) {
    GuardAnswer answer;
    answer.guard = guard.name;
    answer.asked = is_asked(guard, input);
    if (answer.asked) {
      Says says = guard.ask(input);
      answer.yes = says.yes;
      answer.evidence = std::move(says.evidence);
      answer.passed_over = !answer.yes && may_pass_over(guard, input, overrides);
    } else {
      answer.evidence = input.automatic ? "asked only of people" : "not asked of this operation";
    }
    answers.push_back(std::move(answer));
  }
  return answers;
}

bool all_yes(const std::vector<GuardAnswer>& answers) { return refusing(answers).empty(); }

std::vector<std::string> refusing(const std::vector<GuardAnswer>& answers) {
  std::vector<std::string> names;
  for (const GuardAnswer& answer : answers)
    if (answer.asked && !answer.yes && !answer.passed_over) names.push_back(answer.guard);
  return names;
}

}  // namespace rollbackd::decision
