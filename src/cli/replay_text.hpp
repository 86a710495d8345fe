// Reads recorded samples from text: Prometheus's text format, OpenMetrics, `promtool tsdb dump`, and rollbackd's own recording.
// Flow: file -> [text] -> recording -> replay.
#pragma once

#include <optional>
#include <string>

#include "base/error.hpp"
#include "cli/replay_recording.hpp"

namespace rollbackd::cli {

/// In which unit the timestamps are. rollbackd's own recording is OpenMetrics with comments of its own.
enum class RecordedForm { text, openmetrics };

/// Reads one file into `recording`; "-" is the standard input. Without `form` the last line tells: OpenMetrics ends with `# EOF`.
/// @return `corrupt` with line and column, `io`, or `too_large` over the recording's bounds; what was read before stays in the recording
Result<> read_recording(const std::string& path, std::optional<RecordedForm> form, Recording& recording);

/// A point of time written as unix seconds with at most 9 decimals, exactly (a double has only 240 ns here).
/// @return nothing for anything else, and outside 1970 to 2200
std::optional<Instant> parse_unix_seconds(std::string_view text);

}  // namespace rollbackd::cli
