// What no single value shows: settings that contradict each other, and settings that are allowed but seldom meant (warnings).
#pragma once

#include <string>

#include "config/reader.hpp"
#include "config/settings.hpp"

namespace rollbackd::config {

/// @param path  of the service, "services[0]"
void check_service(const ServiceSettings& service, const std::string& path, Reader& reader);
/// Between services, channels and files.
void check_whole(const Settings& settings, Reader& reader);

}  // namespace rollbackd::config
