// The standing of each release of a service, and which one to go back to. Pure functions on ServiceState.
// Flow: incident -> [ledger] -> decision.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/release.hpp"

namespace rollbackd::ledger {

const LedgerEntry* find(const ServiceState& state, std::string_view release);
LedgerEntry* find(ServiceState& state, std::string_view release);

/// Notes that `release` is live since `now`: a new row (candidate) or `last_live` moved; keeps the ledger within ServiceState::kLedgerMax
/// by dropping the row longest not live that is neither live, nor the newest good one, nor bad within the last rows.
LedgerEntry& note_live(ServiceState& state, const Release& release, Instant now);

/// Gives `release` a standing with its reason. Returns false (and changes nothing) when it is not in the ledger.
bool set_standing(ServiceState& state, std::string_view release, Standing standing, const std::string& reason);

/// The release to go back to, and why the others were not chosen.
struct Choice {
  std::optional<Release> target;
  std::vector<std::string> why_not;  ///< "v3: bad: rolled back at ...", one line a release that was passed by
};
/// The newest (by last_live) good release other than the live one and those in `never`. Intactness is not asked here: it is a guard.
Choice choose_target(const ServiceState& state, const std::vector<std::string>& never);

}  // namespace rollbackd::ledger
