#include "rules/window.hpp"

#include "promql/evaluate.hpp"
#include "rules/schedule.hpp"

namespace rollbackd::rules {

std::optional<Instant> windows_run_out(const CompiledRule& rule, const series::Store& store, Instant now, const ServiceKey* scope) {
  std::optional<Instant> next;
  if (rule.subquery) next = now + rule.group->interval;
  const Duration lookback = promql::EvalOptions{}.lookback;
  for (const promql::Expr* selector : rule.selectors) {
    if (selector->at_kind != promql::Expr::At::none) continue;
    if (selector->extend != promql::Expr::Extend::none) {  // Its values move with time between samples, too.
      next = earlier(next, now + rule.group->interval);
      continue;
    }
    const Instant reference = now - selector->offset();
    const bool ranged = selector->kind == promql::Expr::Kind::range_selector;
    const Duration reach = ranged ? selector->range : lookback;
    const auto found = ranged ? store.select(selector->matchers, reference - reach, reference, scope)
                              : store.select_latest(selector->matchers, reference, reach, scope);
    for (const series::Selected& series : found) {
      const Instant leaves = series.points.front().at + reach + selector->offset();
      if (leaves > now) next = earlier(next, leaves);
    }
  }
  return next;
}

}  // namespace rollbackd::rules
