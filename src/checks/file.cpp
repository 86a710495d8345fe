#include "checks/kinds.hpp"

namespace rollbackd::checks {

Result<std::unique_ptr<Check>> make_file_check(CheckContext context) {
  return Error(Errc::unsupported, "the check " + context.settings.name + " is of type file, which this version does not have");
}

}  // namespace rollbackd::checks
