// Alertmanager's webhook, version 4: what its JSON says, and what our routes let each alert cause. Pure: no clock, no network.
// Flow: Alertmanager -> http_server -> api -> [alertmanager] -> engine.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "config/settings.hpp"

namespace rollbackd::api {

/// One alert as it was sent.
struct IncomingAlert {
  bool firing = false;
  Labels labels, annotations;
  Instant starts_at;  ///< by its sender's wall clock
  std::string fingerprint;
};

/// One request of Alertmanager: the alerts of one of its groups.
struct AlertGroup {
  std::string group_key;
  std::string receiver;
  std::int64_t truncated = 0;  ///< alerts that it cut off (its max_alerts)
  std::vector<IncomingAlert> alerts;
};

inline constexpr std::size_t kWebhookBytesMax = 1 << 20;
inline constexpr std::size_t kWebhookAlertsMax = 1000;

/// Reads a request's body: at most kWebhookBytesMax bytes and kWebhookAlertsMax alerts, each with at most 128 labels and 128 annotations,
/// label names of at most 256 bytes, values of at most 4096. Fields that it does not know are left alone.
/// @return `invalid_argument` naming the place for what is missing or of another form, `too_large` beyond a bound
Result<AlertGroup> parse_webhook(std::string_view text);

/// RFC 3339 as Go writes it: any offset, up to nanoseconds. @return nothing for anything else, and for years before 1970 or after 2261
std::optional<Instant> parse_rfc3339(std::string_view text);

/// Names the alert: 32 hex digits over fingerprint (or, where none was sent, its labels) and startsAt. The group's key is left out: with it
/// the same alert through two routes of an Alertmanager, or through two that are configured differently, would be two.
std::string key_of(const IncomingAlert& alert);

/// What our routes say of one alert.
struct Routing {
  enum class Is {
    routed,
    unrouted,        ///< no route matches
    unknown_service  ///< a route does, but no single service of ours is meant
  } is = Is::unrouted;
  ServiceKey service;
  AlertAction action = AlertAction::notify;
  Duration stale_after{};
  std::string why;  ///< when it is not routed
};

/// The routes of a configuration, ready to match.
class Routes {
 public:
  /// @return the error of a matcher that cannot be read; a loaded configuration has none
  static Result<Routes> make(const std::vector<config::RouteSettings>& settings);
  /// The first route that matches counts.
  Routing route(const IncomingAlert& alert, std::span<const ServiceKey> services) const;

 private:
  struct Route;
  std::vector<std::shared_ptr<const Route>> routes_;
};

}  // namespace rollbackd::api
