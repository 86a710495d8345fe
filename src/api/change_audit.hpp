// What a change over HTTP, or an attempt at one, leaves in the audit log.
#pragma once

#include <optional>
#include <string>

#include "io/http_server.hpp"
#include "record/audit.hpp"

namespace rollbackd::api {

/// Stands where a change needs a reason and its caller gave none: a reason of last resort.
inline constexpr std::string_view kNoReason = "no reason given by the caller";

/// @param principal  who asked; empty when nobody knows: "anonymous"
/// @return nothing for what is no change: a dry run, and alerts, which note themselves where they are acted upon
std::optional<record::AuditEntry> audit_entry_of(const io::ServerRequest& request, const io::ServerResponse& response,
                                                 const std::string& principal);

/// An alert from outside that was taken and may make rollbackd act.
record::AuditEntry audit_entry_of_alert(const io::ServerRequest& request, const std::string& principal, const ServiceKey& service,
                                        const std::string& alert, const std::string& summary, const std::string& may_cause);

/// Keeps attempts that were refused at the door from filling the disk: 20 at once, then one every 10 s. What is left out is counted, and
/// the next one that is noted says how many there were.
class RefusalBudget {
 public:
  /// @param now  engine or wall time, never going back
  /// @return true when this attempt is to be noted; then `entry` tells of those that were not
  bool take(record::AuditEntry& entry, Instant now);

 private:
  static constexpr double kAtOnce = 20, kPerSecond = 0.1;
  double left_ = kAtOnce;
  Instant at_;
  std::uint64_t left_out_ = 0;
};

}  // namespace rollbackd::api
