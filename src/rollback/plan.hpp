// From a request, the world as it is and the drivers' steps to the plan that carries it out. Pure; a dry run prints what this returns.
#pragma once

#include <vector>

#include "base/error.hpp"
#include "model/operation.hpp"

namespace rollbackd::rollback {

/// Makes the plan for `request`: `steps` (the drivers' switches, then the managers' restarts) numbered and stamped with the operation's id.
/// @param world  of the whole service: with several components `live` is their composite id, `link` is `present` when all are, and
///               `releases` holds the composite ids whose parts are all on disk
/// @return `refused` (already on the target), `conflict` (the live release is not `request.from`), `not_found` (target not on disk),
///         `invalid_argument` (an id that is no release id, no switch among the steps)
/// Steps come in the order `traffic_away`..., hooks at before_switch, `switch` (one a component), hooks at after_switch, `restart`...,
/// hooks at after_restart, `traffic_back`..., hooks at after_verify, hooks at on_failure; who takes traffic away must say how it comes
/// back.
Result<Plan> make_plan(const OperationRequest& request, const World& world, std::vector<Step> steps);

/// The steps of drivers, managers and hooks in that order; of one place they keep theirs.
std::vector<Step> in_order(std::vector<Step> steps);

}  // namespace rollbackd::rollback
