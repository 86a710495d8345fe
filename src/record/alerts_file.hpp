// The pending and firing alerts, one small file for all services, so that a restart starts no `for` over. A comfort and no truth: what is
// not in it, or cannot be read, is found anew by the rules.
#pragma once

#include <string>

#include "base/error.hpp"
#include "model/kept_alert.hpp"

namespace rollbackd::record {

/// Alerts beyond it are left out of the file; so are those of services that would make it larger than 4 MiB.
inline constexpr std::size_t kKeptAlertsMax = 2000;

/// Replaces DIRECTORY/alerts whole or not at all: under another name, synced, renamed. Blocking; belongs to the writer's thread.
/// @param clock  turns the instants into what a later run understands
Result<> write_alerts(const std::string& directory, const KeptAlerts& alerts, const ClockReading& clock);

/// Reads it into this run's engine time. Never waits for what is no regular file.
/// @return `not_found` where there is none, `corrupt` where it is not whole, of a later format, or not ours
Result<KeptAlerts> read_alerts(const std::string& directory, const ClockReading& clock);

}  // namespace rollbackd::record
