// The service managers that driver.cpp chooses from.
#pragma once

#include <memory>

#include "drivers/driver.hpp"

namespace rollbackd::drivers {

/// `supervised`: under a keeper of ours.
Result<std::unique_ptr<Manager>> make_supervised_manager(DriverContext context);
/// `command`: somebody else's start, stop, restart and status.
Result<std::unique_ptr<Manager>> make_command_manager(DriverContext context);
/// `systemd`: a unit of the system's, over D-Bus.
Result<std::unique_ptr<Manager>> make_systemd_manager(DriverContext context);
/// `supervised` as a transient unit, where systemd runs.
Result<std::unique_ptr<Manager>> make_transient_manager(DriverContext context);

/// The unit of a supervised service: "rollbackd-NAME-ENV.service", escaped.
std::string transient_unit(const ServiceKey& service);
/// Whether a keeper of ours parents this service now, or left it running.
bool has_keeper(const DriverContext& context);

/// The token of a restart step: the same operation, number and attempt are the same restart.
std::string restart_token(const Step& step);

}  // namespace rollbackd::drivers
