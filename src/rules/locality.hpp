// When a rule runs, and whose alerts it can make: both read off the rule before it ever runs.
#pragma once

#include <string>

#include "rules/groups.hpp"

namespace rollbackd::rules {

/// Why the rule runs on its group's interval over all services; empty when it runs after each batch, for that batch's service alone.
std::string why_on_interval(const Group& group, const Rule& rule);

/// Whether an alert or series of the rule can carry both labels, `service` and `environment`. One that cannot belongs to nobody: no
/// service has a verdict of it. True where the expression alone does not tell.
bool may_belong_to_a_service(const Group& group, const Rule& rule);

}  // namespace rollbackd::rules
