// Functions over one series' window. Each takes at least one point and gives a value, or nothing to leave the series out.
#pragma once

#include <optional>

#include "promql/functions.hpp"

namespace rollbackd::promql::range_functions {

std::optional<double> rate(const Window& w);
std::optional<double> increase(const Window& w);
std::optional<double> delta(const Window& w);
std::optional<double> irate(const Window& w);
std::optional<double> idelta(const Window& w);
std::optional<double> deriv(const Window& w);
std::optional<double> predict_linear(const Window& w);
std::optional<double> changes(const Window& w);
std::optional<double> resets(const Window& w);
std::optional<double> avg(const Window& w);
std::optional<double> min(const Window& w);
std::optional<double> max(const Window& w);
std::optional<double> sum(const Window& w);
std::optional<double> count(const Window& w);
std::optional<double> last(const Window& w);
std::optional<double> present(const Window& w);
std::optional<double> stddev(const Window& w);
std::optional<double> stdvar(const Window& w);
std::optional<double> quantile(const Window& w);

}  // namespace rollbackd::promql::range_functions
