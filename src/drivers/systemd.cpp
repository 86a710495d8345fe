#include "drivers/managers.hpp"

namespace rollbackd::drivers {

Result<std::unique_ptr<Manager>> make_systemd_manager(DriverContext) {
  return Error(Errc::unsupported, "the service manager systemd is not available in this version")
      .try_next("use \"command\" with systemctl, or \"supervised\"");
}

Result<std::unique_ptr<Manager>> make_transient_manager(DriverContext) {
  return Error(Errc::unsupported, "transient units are not available in this version");
}

}  // namespace rollbackd::drivers
