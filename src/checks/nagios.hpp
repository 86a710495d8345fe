// What a monitoring plugin prints, in Nagios's convention: a line for people, more lines, and performance data after '|'. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rollbackd::checks {

/// One measured value. All numbers are finite and in the base unit: s, B, %, c (a counter); other units stay as they are written.
struct PerfData {
  std::string label;  ///< printable, 1 to 128 bytes
  std::string unit;   ///< "" for a plain number; at most 16 bytes, no digits
  double value = 0;
  /// Upper ends of the ranges that the plugin alerts outside of. Nothing for a range without one ("10:") and for one that alerts inside
  /// ("@").
  std::optional<double> warning, critical;
  std::optional<double> min, max;
  bool operator==(const PerfData&) const = default;
};

struct PluginOutput {
  std::string text;            ///< the first line before '|', trimmed; as the plugin wrote it
  std::vector<PerfData> data;  ///< at most 256, each label once
  std::size_t dropped = 0;     ///< entries that cannot be read, are not known ("U"), come twice or are too many
};

/// Reads all that a plugin printed. Never fails: what is no performance data is dropped and counted.
PluginOutput parse_plugin_output(std::string_view output);

}  // namespace rollbackd::checks
