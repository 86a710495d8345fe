// What a Prometheus-compatible server answers to an instant query: its JSON, read without building a tree of it. Pure. Internal to checks/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "model/labels.hpp"

namespace rollbackd::checks {

/// One element of an instant vector, or a scalar (without labels).
struct PromqlElement {
  std::vector<Labels::Pair> labels;  ///< with `__name__` where the server kept it; none twice
  double value = 0;
  double at_seconds = 0;  ///< of the Unix epoch, as the server says
};

struct PromqlAnswer {
  std::vector<PromqlElement> elements;
  std::size_t warnings = 0;
};

/// Reads the body of an answer of /api/v1/query.
/// @return `refused` with the server's own words for a "status": "error", `unsupported` for anything but a vector or scalar of floats,
///   `too_large` for more than `elements_max` elements or 64 labels on one, `corrupt` for what is no such JSON
Result<PromqlAnswer> read_promql_answer(std::string_view body, std::size_t elements_max);

}  // namespace rollbackd::checks
