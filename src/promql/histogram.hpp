// Quantiles of classic histograms: series with an `le` label, one for each bucket.
#pragma once

#include <vector>

#include "promql/evaluator.hpp"

namespace rollbackd::promql {

/// histogram_quantile(φ, buckets): NaN without a +Inf bucket, with fewer than two buckets or without observations.
Operand histogram_quantile(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args);

/// histogram_fraction(lower, upper, buckets): the share of observations between the two, NaN where a quantile would be.
Operand histogram_fraction(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args);

}  // namespace rollbackd::promql
