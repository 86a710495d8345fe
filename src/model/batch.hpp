// What checks deliver: samples, committed whole at one instant of the engine's clock.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "model/labels.hpp"

namespace rollbackd {

/// Names a service: what every series, alert, decision and operation belongs to.
struct ServiceKey {
  std::string name;
  std::string environment;
  /// "shop-api/prod", for people and for state file names.
  std::string text() const { return name + "/" + environment; }
  auto operator<=>(const ServiceKey&) const = default;
};

/// One value of one series. The time is the batch's.
struct Sample {
  Labels labels;  ///< with `__name__`, `service`, `environment`, `check`, `instance`
  double value = 0;
  bool counter = false;  ///< one of our own counters: a new one gets a 0 at its epoch's start, and each epoch begins with its present value
};

/// One run of one check.
struct Batch {
  ServiceKey service;
  std::string check;  ///< the check's name in the configuration
  /// When the probe began, the process whose exit this is, or the time that it tells of: decides which epoch the samples belong to.
  Instant began;
  Instant at;  ///< set by the engine on commit; what the samples are stamped with
  std::vector<Sample> samples;
  /// Empty when the check could look. Else why it could not (no file handles, host name not resolvable, directory gone):
  /// nothing is known then, and every rule that needs this check becomes blind. Samples that come with it are those that the check
  /// knows all the same (`up` of a failed scrape): they must be among its source's `always`, and those metrics stay live.
  std::string unobserved;
  /// What the check thinks of the service's health, for start_grace, settle and verification; nothing for checks that have no opinion.
  std::optional<bool> healthy;
  /// A short piece of evidence for people: a status line, a matched log line, an exit status. At most 1 KiB, printable.
  std::string detail;
};

/// A check as the judge sees it: which series it can feed, and when its silence means blind.
struct Source {
  ServiceKey service;
  std::string check;
  std::vector<std::string> metrics;   ///< names it can deliver; empty means any (a scrape)
  Duration staleness{};               ///< 2 intervals + timeout
  std::vector<std::string> always{};  ///< names that come even when it cannot look at the rest: `up`, `scrape_duration_seconds`
};

}  // namespace rollbackd
