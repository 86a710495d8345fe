// Alerts as they outlive the daemon, so that a `for` that has run for most of its time does not start over.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "model/alert.hpp"

namespace rollbackd {

/// One pending or firing alert. Its instants are engine time of the run that it was read or made in.
struct KeptAlert {
  std::string rule;  ///< which: a digest of what makes a rule the same after a reload
  ServiceKey service;
  Labels labels, element;  ///< its key; what its templates see
  double value = 0;
  AlertPhase phase = AlertPhase::pending;
  Instant since, active_at;
  std::optional<Instant> absent_since{}, blind_since{};
};

/// All of one service, with the epoch that they are about.
struct KeptService {
  ServiceKey service;
  std::uint64_t epoch = 0;  ///< its number; 0 for what belongs to no declared service
  std::string release;
  Instant switched;
  std::vector<KeptAlert> alerts;
};

struct KeptAlerts {
  Instant at;  ///< up to when they are known
  std::vector<KeptService> services;
};

}  // namespace rollbackd
