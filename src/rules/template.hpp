// Prometheus's templates in labels and annotations, as far as an alert needs them: values, labels and number formats.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"
#include "model/labels.hpp"

namespace rollbackd::rules {

/// Whether `text` is a template that `expand_template` can expand.
/// @return `invalid_argument` where Prometheus too would refuse it; `unsupported` for what only Prometheus knows (`query`, `if`, `range`,
/// ...):
///         such a text is kept as written
Result<> check_template(std::string_view text);

/// `v` as Go prints a float64 with %v: "0.5", "1e+06", "+Inf", "NaN".
std::string format_go(double v);

}  // namespace rollbackd::rules
