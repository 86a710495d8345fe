#include <algorithm>
#include <array>
#include <cstdio>

#include "base/text.hpp"
#include "decision/evidence.hpp"

namespace rollbackd::decision {

std::string key_of(const AlertChange& change) { return change.group + "\n" + change.rule + "\n" + change.labels.to_string(); }

bool reads(const AlertChange& change, std::string_view metric) {
  return std::find(change.reads.begin(), change.reads.end(), metric) != change.reads.end();
}

bool reads_only_probes(const AlertChange& change) {
  return !change.reads.empty() &&
         std::all_of(change.reads.begin(), change.reads.end(), [](const std::string& name) { return name.starts_with("probe_"); });
}

std::vector<std::string> checks_of(const AlertChange& change) {
  const std::string named(change.labels.get("check"));
  if (std::find(change.checks.begin(), change.checks.end(), named) != change.checks.end()) return {named};
  return change.checks;
}

SecondOpinion second_opinion(const AlertChange& change, const std::vector<ReprobeAnswer>& own) {
  if (!reads_only_probes(change)) return SecondOpinion::stands;
  bool all_healthy = true, any_answered = false;
  for (const std::string& check : checks_of(change)) {
    const auto it = std::find_if(own.begin(), own.end(), [&](const ReprobeAnswer& a) { return a.check == check && a.answered; });
    any_answered = any_answered || it != own.end();
    all_healthy = all_healthy && it != own.end() && it->healthy;
  }
  if (!any_answered) return SecondOpinion::unconfirmed;
  return all_healthy ? SecondOpinion::refuted : SecondOpinion::stands;
}

std::string failure_type_of(const AlertChange& change) {
  if (change.labels.has("rollbackd_failure_type")) return cut(change.labels.get("rollbackd_failure_type"), 64);
  if (reads(change, "verification_success")) return "test_failure";
  if (reads(change, "process_exits_total")) return change.labels.get("reason") == "oom" ? "resource_exhaustion" : "unknown";
  if (reads(change, "log_matches_total") || reads(change, "config_valid")) return "quality_gate";
  if (reads(change, "probe_timed_out") || reads(change, "probe_duration_seconds")) return "timeout";
  if (reads_only_probes(change)) return "network_error";
  return "unknown";
}

Cause cause_of(const AlertChange& change) {
  if (reads(change, "verification_success")) return Cause::verification;
  if (reads(change, "process_exits_total")) return Cause::crash;
  if (reads(change, "log_matches_total")) return Cause::log;
  if (reads(change, "config_valid")) return Cause::config;
  if (reads_only_probes(change)) return Cause::health;
  return change.reads.empty() ? Cause::alert : Cause::metric;
}

std::set<std::string> ways_of(Cause cause) {
  switch (cause) {
    case Cause::crash: return {"process_younger", "service_status"};
    case Cause::health: return {"checks_healthy", "http"};
    case Cause::verification:
    case Cause::log:
    case Cause::config:
    case Cause::metric:
    case Cause::alert:
    case Cause::operator_: return {};
  }
  return {};
}

std::set<std::string> ways_of(const AlertChange& change) {
  std::set<std::string> ways = ways_of(cause_of(change));
  if (change.labels.has("test")) ways.insert(std::string(change.labels.get("test")));
  return ways;
}

std::string text_of(const AlertChange& change) {
  std::string summary(change.annotations.get("summary"));
  if (summary.empty()) summary = change.labels.to_string();
  if (change.group == kPushedGroup)
    return cut(change.rule + " pushed, firing since " + format_rfc3339(change.since) + ": " + summary, 1024);
  std::array<char, 32> value{};
  std::snprintf(value.data(), value.size(), "%g", change.value);
  return cut(change.rule + " firing since " + format_rfc3339(change.since) + ": " + summary + " (value " + value.data() + ")", 1024);
}

}  // namespace rollbackd::decision
