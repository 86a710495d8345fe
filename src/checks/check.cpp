#include "checks/check.hpp"

#include <unistd.h>

#include <array>

#include "checks/kinds.hpp"
#include "checks/parts.hpp"

namespace rollbackd::checks {

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  return name.data();
}

Result<std::unique_ptr<Check>> make_check(CheckContext context) {
  switch (context.settings.type) {
    case config::CheckType::http: return make_http_check(std::move(context));
    case config::CheckType::process: return make_process_check(std::move(context));
    case config::CheckType::log: return make_log_check(std::move(context));
    case config::CheckType::tcp: return make_tcp_check(std::move(context));
    case config::CheckType::exec: return make_exec_check(std::move(context));
    case config::CheckType::systemd: return make_systemd_check(std::move(context));
    case config::CheckType::scrape: return make_scrape_check(std::move(context));
    case config::CheckType::promql: return make_promql_check(std::move(context));
    case config::CheckType::config: return make_config_check(std::move(context));
    case config::CheckType::file: return make_file_check(std::move(context));
  }
  return Error(Errc::unsupported, "the check " + context.settings.name + " is of a type that this version does not have");
}

}  // namespace rollbackd::checks
