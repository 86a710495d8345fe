// The driver `symlink`: a release is a directory in `releases`, live is the one that the link `current` leads to.
#pragma once

#include <memory>

#include "drivers/driver.hpp"
#include "drivers/link_switch.hpp"

namespace rollbackd::drivers {

/// @param exchange  renameat2(RENAME_EXCHANGE); tests put a file system without it in its place, or somebody who deploys at that very
/// moment
Result<std::unique_ptr<Driver>> make_symlink_driver(DriverContext context, Exchange exchange = exchange_names);

}  // namespace rollbackd::drivers
