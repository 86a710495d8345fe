// What checks that succeed or fail (http, tcp, exec) say of their probes: one family of series, one row of failures. Internal to checks/.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checks/check.hpp"

namespace rollbackd::checks {

/// How one probe that could look ended.
struct Probed {
  Instant slot;  ///< it was planned for; of a second opinion the instant it really began
  bool success = false;
  bool timed_out = false;
  Duration took{};
};

/// Keeps the row of failures and writes the series.
class ProbeRecord {
 public:
  /// @param counters  outlive this
  /// @param instance  the label of that name
  ProbeRecord(const CheckContext& context, CheckCounters* counters, const std::string& instance);

  /// Counts the probe and adds its series and `healthy` to `batch`.
  void judged(Batch& batch, const Probed& probed);
  /// Counts a probe that could not look: says so in `batch`, which then has no samples of ours.
  void unobserved(Batch& batch, std::string_view why);
  /// The failures so far are the release before's.
  void begin_epoch();
  /// Names of the series that judged() adds.
  static std::vector<std::string> metrics();

 private:
  CheckCounters* counters_;
  std::vector<Labels> labels_;            ///< in the order of judged()
  std::uint64_t failures_ = 0;            ///< in a row
  std::optional<Instant> first_failure_;  ///< the slot of the row's first
};

}  // namespace rollbackd::checks
