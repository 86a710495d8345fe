// The notation of series in tests: `name{label="value"} 1 2+3x4 _ stale`.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "model/labels.hpp"

namespace rollbackd::cli {

/// A metric as written. The notation alone keeps labels with an empty value, which make it unlike every real series.
struct Metric {
  std::vector<Labels::Pair> pairs;  ///< sorted by name
  bool repeats = false;             ///< names a label twice
};

/// Reads `name{label="value", ...}`; "" is the metric without labels.
/// @return `invalid_argument` with what is wrong
Result<Metric> parse_metric(std::string_view text);

/// The values of a series, one for each interval.
struct SeriesDescription {
  Metric metric;
  std::vector<std::optional<double>> values;  ///< nothing: no sample; the staleness marker ends the series
  bool histogram = false;                     ///< holds native histograms: no values then
};

/// Values that one test file may have at most in one series.
inline constexpr std::size_t kValuesMax = 5'000'000;

/// Reads one line: a metric, blanks, values `1`, `-1`, `1x3` (four values), `1+2x3`, `1-2x3`, `_`, `_x3` (three), `stale`, `{{...}}`.
/// @return `invalid_argument` with what is wrong, `too_large` over kValuesMax
Result<SeriesDescription> parse_series(std::string_view line);

}  // namespace rollbackd::cli
