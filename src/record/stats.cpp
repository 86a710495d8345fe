#include "record/stats.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/text.hpp"

namespace rollbackd::record {
namespace {

constexpr std::size_t kReasonsMax = 5;
constexpr std::size_t kReasonBytesMax = 160;

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

/// Counts by word, in the order in which people want them.
class Tally {
 public:
  void add(const std::string& word) { ++counts_[word]; }
  Stats::Counts sorted(std::size_t most = 1000) const {
    Stats::Counts out(counts_.begin(), counts_.end());
    std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    if (out.size() > most) out.resize(most);
    return out;
  }

 private:
  std::map<std::string, std::uint64_t> counts_;
};

/// What makes two reasons the same: a person's words as they are; of our own evidence ("RULE firing since TIME: ...; RULE firing ...") the
/// rules, because times and values differ each time.
std::string reason_of(const OperationRow& row) {
  constexpr std::string_view kFiring = " firing since ";
  const std::string_view text = trim(row.request.reason);
  if (row.request.trigger == Trigger::manual) return cut(text, kReasonBytesMax);
  std::vector<std::string> rules;
  for (std::size_t at = text.find(kFiring); at != text.npos; at = text.find(kFiring, at + 1)) {
    const std::size_t before = at == 0 ? text.npos : text.find_last_of(" ;", at - 1);
    std::string rule(text.substr(before == text.npos ? 0 : before + 1, at - (before == text.npos ? 0 : before + 1)));
    if (!rule.empty() && std::find(rules.begin(), rules.end(), rule) == rules.end()) rules.push_back(std::move(rule));
  }
  std::sort(rules.begin(), rules.end());
  return cut(rules.empty() ? std::string(text) : join(rules, ", ") + " firing", kReasonBytesMax);
}

Json counts_json(const Stats::Counts& counts, const char* word) {
  Json out = Json::array();
  for (const auto& [text, n] : counts) out.push(Json::object().set(word, text).set("count", n));
  return out;
}

}  // namespace

Spread spread_of(std::vector<double> seconds) {
  Spread out;
  out.count = seconds.size();
  if (seconds.empty()) return out;
  std::sort(seconds.begin(), seconds.end());
  const std::size_t n = seconds.size();
  out.mean = std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(n);
  out.median = n % 2 == 1 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
  constexpr std::size_t kPercent = 95;
  out.p95 = seconds[(kPercent * n + 99) / 100 - 1];  // In whole numbers: 0.95 * 20 must be the 19th, not the 20th.
  out.max = seconds.back();
  return out;
}

Json Spread::to_json() const {
  const auto number = [this](double v) { return count == 0 ? Json() : Json(v); };
  Json out;
  out.set("count", count).set("mean_seconds", number(mean)).set("median_seconds", number(median));
  return out.set("p95_seconds", number(p95)).set("max_seconds", number(max));
}

Stats compute_stats(const std::vector<OperationRow>& operations, const std::vector<DecisionFacts>& decisions,
                    std::optional<Instant> since) {
  Stats out;
  out.since = since;
  Tally kinds, environments, causes, triggers, statuses, reasons, guards;
  std::vector<double> total, to_switched, to_verified;
  std::vector<std::pair<std::string, std::vector<double>>> phases;
  for (const OperationRow& row : operations) {
    if (since && row.begun < *since) continue;
    ++out.operations;
    if (!out.first || row.begun < *out.first) out.first = row.begun;
    kinds.add(to_string(row.request.kind));
    environments.add(row.request.service.environment);
    causes.add(to_string(row.request.cause));
    triggers.add(to_string(row.request.trigger));
    statuses.add(to_string(row.status));
    if (!is_terminal(row.status)) ++out.unfinished;
    if (row.request.kind != OperationKind::rollback) continue;
    if (std::string reason = reason_of(row); !reason.empty()) reasons.add(reason);
    if (!is_terminal(row.status)) continue;
    ++out.rollbacks;
    const bool succeeded = row.status == OperationStatus::succeeded;
    out.succeeded += succeeded ? 1 : 0;
    if (row.ended) total.push_back(seconds(*row.ended - row.begun));
    if (row.switched) to_switched.push_back(seconds(*row.switched - row.begun));
    if (row.switched && row.ended && succeeded) to_verified.push_back(seconds(*row.ended - *row.switched));
    for (const auto& phase : row.phases) {
      auto at = std::find_if(phases.begin(), phases.end(), [&](const auto& p) { return p.first == phase.first; });
      if (at == phases.end()) at = phases.insert(phases.end(), {phase.first, {}});
      at->second.push_back(seconds(phase.second));
    }
  }
  for (const DecisionFacts& decision : decisions) {
    if ((since && decision.at < *since) || decision.kind != DecisionKind::hold) continue;
    ++out.holds;
    for (const std::string& guard : decision.refused_by) guards.add(guard);
  }
  if (out.rollbacks > 0) out.success_rate = static_cast<double>(out.succeeded) / static_cast<double>(out.rollbacks);
  out.total = spread_of(std::move(total));
  out.to_switched = spread_of(std::move(to_switched));
  out.to_verified = spread_of(std::move(to_verified));
  for (auto& [name, took] : phases) out.phases.emplace_back(name, spread_of(std::move(took)));
  out.by_kind = kinds.sorted();
  out.by_environment = environments.sorted();
  out.by_cause = causes.sorted();
  out.by_trigger = triggers.sorted();
  out.by_status = statuses.sorted();
  out.reasons = reasons.sorted(kReasonsMax);
  out.holds_by_guard = guards.sorted();
  return out;
}

Json Stats::to_json() const {
  const auto time = [](const std::optional<Instant>& t) { return t ? Json(format_rfc3339(*t)) : Json(); };
  Json out;
  out.set("since", time(since)).set("first", time(first)).set("operations", operations).set("unfinished", unfinished);
  out.set("rollbacks", rollbacks).set("succeeded", succeeded).set("success_rate", success_rate ? Json(*success_rate) : Json());
  Json durations;
  durations.set("total", total.to_json()).set("decision_to_switched", to_switched.to_json());
  durations.set("switched_to_verified", to_verified.to_json());
  out.set("durations", std::move(durations));
  Json by_phase = Json::object();
  for (const auto& [name, spread] : phases) by_phase.set(name, spread.to_json());
  out.set("phases", std::move(by_phase));
  out.set("by_kind", counts_json(by_kind, "kind")).set("by_environment", counts_json(by_environment, "environment"));
  out.set("by_cause", counts_json(by_cause, "cause")).set("by_trigger", counts_json(by_trigger, "trigger"));
  out.set("by_status", counts_json(by_status, "status")).set("reasons", counts_json(reasons, "reason"));
  out.set("holds", holds).set("holds_by_guard", counts_json(holds_by_guard, "guard")).set("truncated", truncated);
  return out;
}

}  // namespace rollbackd::record
