#include "checks/kinds.hpp"

namespace rollbackd::checks {

Result<std::unique_ptr<Check>> make_exec_check(CheckContext context) {
  return Error(Errc::unsupported, "the check " + context.settings.name + " is of type exec, which this version does not have");
}

}  // namespace rollbackd::checks
