// What must agree about a service's hooks, beyond what each setting says by itself.
#pragma once

#include <string>

#include "config/reader.hpp"
#include "config/settings.hpp"

namespace rollbackd::config {

/// Reports relative programs, variables that the hook cannot be given, and times that do not fit into the operation's deadlines (warnings).
void check_hooks(const ServiceSettings& service, const std::string& path, Reader& reader);

}  // namespace rollbackd::config
