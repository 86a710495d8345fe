// Makes a state smaller where a slot of the state file cannot hold it whole.
#pragma once

#include "model/release.hpp"

namespace rollbackd::ledger {

/// Takes away what is missed least: texts for people and what the disk tells again first, then old rows that nobody goes back to, then old
/// operations. What acting depends on stays to the last: the live release, the one to go back to, the incident, the suspension, and the
/// keys of pushed alerts.
/// @return false when there is nothing left to take
bool trim(ServiceState& state);

}  // namespace rollbackd::ledger
