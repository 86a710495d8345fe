// One maker a kind of check. Internal to checks/: everybody else calls make_check().
#pragma once

#include "checks/check.hpp"

namespace rollbackd::checks {

Result<std::unique_ptr<Check>> make_http_check(CheckContext context);
Result<std::unique_ptr<Check>> make_process_check(CheckContext context);
Result<std::unique_ptr<Check>> make_log_check(CheckContext context);

}  // namespace rollbackd::checks
