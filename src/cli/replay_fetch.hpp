// Asks a Prometheus-compatible server for what the rules read, over a range of time.
// Flow: query_range -> [fetch] -> recording -> replay.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "cli/replay_recording.hpp"
#include "rules/groups.hpp"

namespace rollbackd::cli {

struct FetchOptions {
  std::string url;    ///< "http://127.0.0.1:9090", or "unix:/path/to/socket" of rollbackd; a path in it goes before /api/v1
  std::string token;  ///< sent as a bearer token; may be empty
  Instant start, end;
  Duration step = 15s;
};

/// The selectors that the rules read and no rule records, each once, as text; and `up`, which tells a silent target from one without such
/// series.
std::vector<std::string> selectors_to_fetch(const rules::Groups& groups);

/// Asks for each selector in slices of at most 10,000 steps (Prometheus refuses more than 11,000), smaller ones where an answer is too
/// long. Of `up` only targets stay that another selector found.
/// @return `unavailable` when nobody answers, `refused` with the server's words, `corrupt`, or `too_large` over the recording's bounds
Result<> fetch_recording(const FetchOptions& options, const std::vector<std::string>& selectors, Recording& recording);

}  // namespace rollbackd::cli
