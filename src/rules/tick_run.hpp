// Rule groups evaluated on a clock, exactly as Prometheus's rules manager does it: what unit tests of rules run on.
// Flow: samples of a test -> [tick_run: series -> promql -> alerts] -> what the test compares. Pure: no I/O, no clock.
// The judge is event-driven, cuts series into epochs and knows blindness; this has none of that, over a store of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/alert.hpp"
#include "promql/evaluate.hpp"
#include "rules/groups.hpp"
#include "series/store.hpp"

namespace rollbackd::rules {

/// Room for whole tests: nothing is dropped before `append` refuses.
inline constexpr series::Limits kTickLimits{1'000'000, 100'000'000, Duration::max(), 1, 1 << 20};

struct TickSetup {
  Labels external_labels;
  std::string external_url;
  Duration subquery_step = 1min;  ///< of a subquery that names none: Prometheus takes its global evaluation interval
  series::Limits limits = kTickLimits;
  std::uint64_t samples_max = 20'000'000;  ///< over all series, recorded ones among them; beyond it `append` and rules fail
  std::uint64_t work_max = 100'000'000;    ///< of one evaluation
};

/// A pending or firing alert.
struct TickAlert {
  Labels labels;
  std::vector<Labels::Pair> annotations;  ///< sorted; one whose template gives nothing stays, with an empty text
  AlertPhase phase = AlertPhase::inactive;
  Instant active_at;
  double value = 0;
};

/// What Prometheus would show as a rule's `lastError`.
struct TickFailure {
  std::string group, rule, why;
};

/// One world: groups, their alerts, and every sample.
class TickRun {
 public:
  /// Groups run in the given order, each one's rules in theirs. Their expressions must have parsed.
  explicit TickRun(Groups groups, TickSetup setup = {});
  ~TickRun();
  TickRun(const TickRun&) = delete;
  TickRun& operator=(const TickRun&) = delete;

  /// Appends one sample as Prometheus's storage does: the same instant again is fine with the same value.
  /// @return `conflict` for an older instant, or the same one with another value; `too_large` over a bound
  Result<> append(const Labels& series, series::Point point);

  /// Evaluates every rule once at `now`. Instants must grow from call to call.
  /// A rule that fails keeps its alerts and its series as they were.
  std::vector<TickFailure> tick(Instant now);

  /// The pending and firing alerts of all alerting rules of that name, rules in order. Annotations are those of the alert's last
  /// evaluation.
  std::vector<TickAlert> alerts(std::string_view alertname) const;

  /// Evaluates `expr` over all samples.
  Result<promql::Value> query(const promql::ExprPtr& expr, Instant at) const;

  const series::Store& store() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rollbackd::rules
