// From a request and the world as it is to the steps that carry it out. Pure; a dry run prints what this returns.
#pragma once

#include "base/error.hpp"
#include "config/settings.hpp"
#include "model/operation.hpp"
#include "model/release.hpp"

namespace rollbackd::rollback {

/// Makes the plan for `request` on `world`: switch, then restart where a service manager is configured.
/// @return `refused` (already on the target), `conflict` (the live release is not `request.from`), `not_found` (target not on disk)
Result<Plan> make_plan(const OperationRequest& request, const config::ServiceSettings& settings, const World& world, const std::string& target_path);

/// The link value to write for `release`: relative when the present one is relative, else absolute.
std::string link_value_for(const std::string& present_value, const std::string& current_path, const std::string& releases_path, const std::string& release);

}  // namespace rollbackd::rollback
