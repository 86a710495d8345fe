// From a request, the world as it is and the drivers' steps to the plan that carries it out. Pure; a dry run prints what this returns.
#pragma once

#include <vector>

#include "base/error.hpp"
#include "model/operation.hpp"

namespace rollbackd::rollback {

/// Makes the plan for `request`: `steps` (the driver's switch, then the manager's restart) numbered and stamped with the operation's id.
/// @return `refused` (already on the target), `conflict` (the live release is not `request.from`), `not_found` (target not on disk),
///         `invalid_argument` (an id that is no release id, no switch among the steps)
/// Steps come in the order `traffic_away`..., `switch`, `restart`..., `traffic_back`...; who takes traffic away must say how it comes back.
Result<Plan> make_plan(const OperationRequest& request, const World& world, std::vector<Step> steps);

}  // namespace rollbackd::rollback
