// What an alert says about a failure. Pure functions on one AlertChange; internal to decision/.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/alert.hpp"
#include "model/decision.hpp"

namespace rollbackd::decision {

/// The group of alerts from outside: no rule file has it, and nothing can ask again what they say.
inline constexpr std::string_view kPushedGroup = "pushed";

/// How long a rule may still see what the process before did, after the start and after it was heard: the window of the shipped rules. Only
/// what one probe can refute counts at once where its word is from before the start.
inline constexpr Duration kSeesTheProcessBefore = 61s;
/// A start time is rounded down to it: a word from within may be the last one of the process before.
inline constexpr Duration kStartTick = 10ms;

/// Names the alert among a service's: group, rule and labels.
std::string key_of(const AlertChange& change);
bool reads(const AlertChange& change, std::string_view metric);
/// True when it reads `probe_*` metrics and nothing else: one probe on a new connection can refute it.
bool reads_only_probes(const AlertChange& change);
/// The checks a second opinion on this alert asks: the one its `check` label names, else all that can feed it.
std::vector<std::string> checks_of(const AlertChange& change);

/// `refuted`: all its checks answered and are healthy. `unconfirmed`: none could be asked. Anything that reads more than probes stands.
enum class SecondOpinion { stands, refuted, unconfirmed };
SecondOpinion second_opinion(const AlertChange& change, const std::vector<ReprobeAnswer>& own);

/// The incident's failure_type; the label `rollbackd_failure_type` wins.
std::string failure_type_of(const AlertChange& change);
Cause cause_of(const AlertChange& change);
/// Names of the verification tests that would fail in the way this alert does: what "the same way" is compared with.
std::set<std::string> ways_of(const AlertChange& change);
/// The same for an incident read back from disk, whose alerts are gone.
std::set<std::string> ways_of(Cause cause);
/// "ProcessCrashed firing since ...: summary (value 1)".
std::string text_of(const AlertChange& change);

/// What people have been told of a decision: another one with the same signature is no news.
std::string signature_of(const Decision& decision);

}  // namespace rollbackd::decision
