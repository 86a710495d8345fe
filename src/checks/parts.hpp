// Small parts that every check is made of. Internal to checks/.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <string_view>

#include "base/text.hpp"
#include "checks/check.hpp"
#include "io/cancelled.hpp"

namespace rollbackd::checks {

/// Checks that wait for events say again what is known this often, so that silence means a broken watcher.
inline constexpr Duration kRepeat = 15s;
/// A source that repeats every `kRepeat` is blind after this.
inline constexpr Duration kRepeatStaleness = 2 * kRepeat + 5s;

/// `text` as evidence for people: printable, at most 1 KiB.
inline std::string evidence(std::string_view text) {
  constexpr std::size_t kBytesMax = 1024 - 3;  // cut() appends three bytes.
  return cut(printable(text.substr(0, kBytesMax)), kBytesMax);
}

/// The labels of one series of a check.
inline Labels labels_of(const CheckContext& context, std::string_view metric, const std::string& instance) {
  return Labels{{std::string(kNameLabel), std::string(metric)},
                {"service", context.service.name},
                {"environment", context.service.environment},
                {"check", context.settings.name},
                {"instance", instance}};
}

/// A batch of this check without samples yet.
inline Batch batch_of(const CheckContext& context, Instant began) {
  Batch batch;
  batch.service = context.service;
  batch.check = context.settings.name;
  batch.began = began;
  return batch;
}

/// Whether a source's own timestamp is of now. Engine time goes on from the wall clock of our start, and the wall clock may have been set
/// since: either may be the one that agrees with the source's.
inline bool is_of_now(double unix_seconds, const ClockReading& now, Duration max_skew) {
  const double most = std::chrono::duration<double>(max_skew).count();
  return std::abs(unix_seconds - now.instant.seconds()) <= most || std::abs(unix_seconds - Instant(now.stamp.wall_ns).seconds()) <= most;
}

using io::is_cancelled;

/// This machine's name: the `instance` of what is watched without a network address.
std::string host_name();

}  // namespace rollbackd::checks
