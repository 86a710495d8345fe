#include "api/change_audit.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace rollbackd::api {
namespace {

/// "rollback", "token.create"; for a path that is no change of ours the path itself.
std::string action_of(const std::string& path) {
  constexpr std::string_view kApi = "/api/v1/";
  if (path == "/-/reload") return "reload";
  if (path == "/api/v1/tokens") return "token.create";
  if (path == "/api/v1/tokens/revoke") return "token.revoke";
  if (path == "/api/v1/kill/off") return "kill.off";
  return path.starts_with(kApi) ? path.substr(kApi.size()) : path;
}

std::string outcome_of(const io::ServerResponse& response, const Json& answer) {
  if (response.status == 202) return "accepted";
  if (response.status < 300) return "done";
  const Json& error = answer["error"];
  std::string why = error.is_object() ? error["what"].string_or("") : answer["message"].string_or("");
  if (error.is_object() && !error["why"].string_or("").empty()) why += ": " + error["why"].string_or("");
  const bool refused = response.status == 401 || response.status == 403 || response.status == 409;
  return (refused ? "refused" : "failed") + (why.empty() ? "" : ": " + why);
}

std::string peer_of(const io::ServerRequest& request) {
  if (!request.peer) return request.remote;
  return "unix, uid " + std::to_string(request.peer->uid) + ", pid " + std::to_string(request.peer->pid);
}

}  // namespace

record::AuditEntry audit_entry_of_alert(const io::ServerRequest& request, const std::string& principal, const ServiceKey& service,
                                        const std::string& alert, const std::string& summary, const std::string& may_cause) {
  record::AuditEntry entry;
  entry.principal = principal;
  entry.action = "alert";
  entry.service = service;
  entry.target = alert;
  entry.reason = summary;
  entry.outcome = "accepted: may cause " + may_cause;
  entry.from = peer_of(request);
  return entry;
}

std::optional<record::AuditEntry> audit_entry_of(const io::ServerRequest& request, const io::ServerResponse& response,
                                                 const std::string& principal) {
  const bool at_the_door = response.status == 401 || response.status == 403;
  if (request.path == "/api/v1/alertmanager" && !at_the_door) return std::nullopt;
  constexpr int kDepthMax = 16;
  const auto parsed = Json::parse(request.body, kDepthMax);
  const Json body = parsed && parsed->is_object() ? *parsed : Json::object();
  if (body["dry_run"].bool_or(false) && !at_the_door) return std::nullopt;
  const auto answer = Json::parse(response.body, kDepthMax);

  record::AuditEntry entry;
  entry.principal = principal.empty() ? "anonymous" : principal;
  entry.action = action_of(request.path);
  entry.service = {body["service"].string_or(""), body["environment"].string_or("")};
  for (const char* name : {"release", "to", "name", "group"})
    if (entry.target.empty()) entry.target = body[name].string_or("");
  if (entry.action == "mark") entry.target += " " + body["standing"].string_or("");
  entry.reason = std::string(trim(body["reason"].string_or("")));
  if (entry.reason.empty()) entry.reason = kNoReason;
  entry.outcome = outcome_of(response, answer ? *answer : Json());
  if (answer) entry.operation = (*answer)["operation"].string_or("");
  entry.from = peer_of(request);
  return entry;
}

bool RefusalBudget::take(record::AuditEntry& entry, Instant now) {
  left_ = std::min(kAtOnce, left_ + std::max(0.0, std::chrono::duration<double>(now - at_).count()) * kPerSecond);
  at_ = now;
  if (left_ < 1) {
    ++left_out_;
    return false;
  }
  left_ -= 1;
  if (left_out_ > 0) entry.outcome += "; " + std::to_string(left_out_) + " refused attempts before it were not noted";
  left_out_ = 0;
  return true;
}

}  // namespace rollbackd::api
