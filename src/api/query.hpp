// What may be asked of the history, the statistics and the audit log, read from a request's query.
#pragma once

#include "io/http_server.hpp"
#include "record/audit.hpp"
#include "record/history.hpp"

namespace rollbackd::api {

enum class Rows { operations, decisions, deployments, stats };

/// @param now  wall time: what "24h" is counted back from
/// @return `invalid_argument` for an unknown parameter, a word that does not exist (with those that do), a bad time or a bad limit
Result<record::HistoryFilter> history_filter_of(const io::ServerRequest& request, Rows rows, Instant now);
Result<record::AuditFilter> audit_filter_of(const io::ServerRequest& request, Instant now);

}  // namespace rollbackd::api
