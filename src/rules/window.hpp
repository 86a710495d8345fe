// When the sample that a result rests on leaves its window: a rule that is breached by it must be asked again then, although nothing new
// came.
#pragma once

#include <optional>

#include "base/time.hpp"
#include "rules/rule_set.hpp"
#include "series/store.hpp"

namespace rollbackd::rules {

/// The earliest instant after `now` at which a sample that `rule` looks at leaves its range (or an instant selector's lookback).
/// With a subquery, `anchored` or `smoothed`: one interval of the group from now. Nothing when no selector moves with time.
std::optional<Instant> windows_run_out(const CompiledRule& rule, const series::Store& store, Instant now, const ServiceKey* scope);

}  // namespace rollbackd::rules
