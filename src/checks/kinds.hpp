// One maker a kind of check. Internal to checks/: everybody else calls make_check().
#pragma once

#include "checks/check.hpp"

namespace rollbackd::checks {

Result<std::unique_ptr<Check>> make_http_check(CheckContext context);
Result<std::unique_ptr<Check>> make_process_check(CheckContext context);
Result<std::unique_ptr<Check>> make_log_check(CheckContext context);
Result<std::unique_ptr<Check>> make_tcp_check(CheckContext context);
Result<std::unique_ptr<Check>> make_exec_check(CheckContext context);
Result<std::unique_ptr<Check>> make_systemd_check(CheckContext context);
Result<std::unique_ptr<Check>> make_scrape_check(CheckContext context);
Result<std::unique_ptr<Check>> make_promql_check(CheckContext context);
Result<std::unique_ptr<Check>> make_config_check(CheckContext context);
Result<std::unique_ptr<Check>> make_file_check(CheckContext context);

}  // namespace rollbackd::checks
