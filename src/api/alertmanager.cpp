// Pure half of the webhook: a body becomes alerts, an alert finds its route. What follows is in webhook.cpp.
#include "api/alertmanager.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "base/digest.hpp"
#include "base/json.hpp"
#include "base/json_request.hpp"
#include "base/text.hpp"
#include "config/matchers.hpp"

namespace rollbackd::api {
namespace {

constexpr std::size_t kLabelsMax = 128, kLabelNameBytesMax = 256, kLabelValueBytesMax = 4096;
constexpr std::size_t kFingerprintBytesMax = 128, kGroupKeyBytesMax = 64 << 10;
constexpr int kDepthMax = 16;

Error odd(const std::string& place, std::string why) {
  return Error(Errc::invalid_argument, "this is no alert of Alertmanager's webhook version 4").because(place + " " + std::move(why));
}

/// Texts by name, at most `kLabelsMax`.
Result<Labels> labels_from(const Json& json, const std::string& place, std::size_t value_bytes_max) {
  if (json.is_null()) return Labels{};
  if (!json.is_object()) return odd(place, "is not an object");
  if (json.members().size() > kLabelsMax) return odd(place, "has more than " + std::to_string(kLabelsMax) + " entries");
  std::vector<Labels::Pair> pairs;
  for (const auto& [name, value] : json.members()) {
    if (name.empty() || name.size() > kLabelNameBytesMax) return odd(place, "has a name without or with too many letters");
    if (!value.is_string()) return odd(place + "." + printable(name), "is not a text");
    std::string text = value.string_or("");
    if (text.size() > value_bytes_max)
      return odd(place + "." + printable(name), "is longer than " + std::to_string(value_bytes_max) + " bytes");
    pairs.emplace_back(name, std::move(text));
  }
  return Labels(std::move(pairs));
}

Result<IncomingAlert> alert_from(const Json& json, const std::string& place) {
  if (!json.is_object()) return odd(place, "is not an object");
  IncomingAlert alert;
  const std::string status = json["status"].string_or("");
  if (status != "firing" && status != "resolved") return odd(place + ".status", "is neither \"firing\" nor \"resolved\"");
  alert.firing = status == "firing";
  auto labels = labels_from(json["labels"], place + ".labels", kLabelValueBytesMax);
  if (!labels) return labels.error();
  alert.labels = std::move(*labels);
  if (alert.labels.empty()) return odd(place + ".labels", "is missing or empty");
  auto annotations = labels_from(json["annotations"], place + ".annotations", kWebhookBytesMax);
  if (!annotations) return annotations.error();
  alert.annotations = std::move(*annotations);
  const auto starts_at = parse_rfc3339(json["startsAt"].string_or(""));
  if (!starts_at) return odd(place + ".startsAt", "is not a time like 2026-11-20T03:00:00Z");
  alert.starts_at = *starts_at;
  const Json& fingerprint = json["fingerprint"];
  if (!fingerprint.is_null() && !fingerprint.is_string()) return odd(place + ".fingerprint", "is not a text");
  alert.fingerprint = fingerprint.string_or("");
  if (alert.fingerprint.size() > kFingerprintBytesMax) return odd(place + ".fingerprint", "is too long");
  return alert;
}

/// `digits` digits as a number within [least, most]; nothing else. Moves on behind them.
std::optional<int> number(std::string_view& text, std::size_t digits, int least, int most) {
  int value = 0;
  if (text.size() < digits) return std::nullopt;
  const auto [end, bad] = std::from_chars(text.data(), text.data() + digits, value);
  if (bad != std::errc() || end != text.data() + digits || text[0] == '-' || value < least || value > most) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text[0]) == any_of.npos) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::optional<Instant> parse_rfc3339(std::string_view text) {
  const auto year = number(text, 4, 1970, 2261);
  if (!year || !take(text, "-")) return std::nullopt;
  const auto month = number(text, 2, 1, 12);
  if (!month || !take(text, "-")) return std::nullopt;
  const auto day = number(text, 2, 1, 31);
  if (!day || !take(text, "Tt")) return std::nullopt;
  const auto hour = number(text, 2, 0, 23);
  if (!hour || !take(text, ":")) return std::nullopt;
  const auto minute = number(text, 2, 0, 59);
  if (!minute || !take(text, ":")) return std::nullopt;
  const auto second = number(text, 2, 0, 60);
  if (!second) return std::nullopt;
  std::int64_t nanoseconds = 0;
  if (take(text, ".")) {
    std::size_t digits = 0;
    for (std::int64_t unit = 100'000'000; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits, unit /= 10)
      nanoseconds += unit * (text[digits] - '0');  // Beyond nanoseconds the unit is 0.
    if (digits == 0) return std::nullopt;
    text.remove_prefix(digits);
  }
  int offset_minutes = 0;
  if (!take(text, "Zz")) {
    const bool west = !text.empty() && text[0] == '-';
    if (!take(text, "+-")) return std::nullopt;
    const auto hours = number(text, 2, 0, 23);
    if (!hours || !take(text, ":")) return std::nullopt;
    const auto minutes = number(text, 2, 0, 59);
    if (!minutes) return std::nullopt;
    offset_minutes = (*hours * 60 + *minutes) * (west ? -1 : 1);
  }
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!text.empty() || !date.ok()) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const std::int64_t of_day = ((std::int64_t{*hour} * 60) + *minute - offset_minutes) * 60 + *second;
  const std::int64_t seconds = days * 86'400 + of_day;
  if (seconds < 0) return std::nullopt;
  return Instant(seconds * 1'000'000'000 + nanoseconds);
}

Result<AlertGroup> parse_webhook(std::string_view text) {
  if (text.size() > kWebhookBytesMax) return Error(Errc::too_large, "a webhook may have 1 MiB");
  const auto json = parse_request_json(text, kDepthMax);
  if (!json) return json.error();
  if (!json->is_object()) return odd("the body", "is not an object");
  if ((*json)["version"].string_or("") != "4")
    return odd("version", "is not \"4\"").try_next("send what Alertmanager's webhook_config sends; no other version is known here");
  AlertGroup group;
  const Json& key = (*json)["groupKey"];
  if (!key.is_string()) return odd("groupKey", "is missing or not a text");
  group.group_key = key.string_or("");
  if (group.group_key.size() > kGroupKeyBytesMax) return odd("groupKey", "is longer than 64 KiB");
  group.receiver = (*json)["receiver"].string_or("");
  const Json& truncated = (*json)["truncatedAlerts"];
  group.truncated = truncated.int_or(0);
  if ((!truncated.is_null() && !truncated.is_number()) || group.truncated < 0) return odd("truncatedAlerts", "is no number from 0");
  const Json& alerts = (*json)["alerts"];
  if (!alerts.is_array()) return odd("alerts", "is missing or not a list");
  if (alerts.elements().size() > kWebhookAlertsMax)
    return Error(Errc::too_large, "a webhook may have " + std::to_string(kWebhookAlertsMax) + " alerts")
        .try_next("set max_alerts of Alertmanager's webhook_config, or group by more labels");
  for (std::size_t i = 0; i < alerts.elements().size(); ++i) {
    auto alert = alert_from(alerts.elements()[i], "alerts[" + std::to_string(i) + "]");
    if (!alert) return alert.error();
    group.alerts.push_back(std::move(*alert));
  }
  return group;
}

std::string key_of(const IncomingAlert& alert) {
  const std::string who = alert.fingerprint.empty() ? "labels " + alert.labels.to_string() : "fingerprint " + alert.fingerprint;
  return sha256_hex(who + "\n" + std::to_string(alert.starts_at.ns())).substr(0, 32);
}

/// One route with its expressions compiled.
struct Routes::Route {
  config::RouteSettings settings;
  struct Condition {
    config::AlertMatcher matcher;
    std::unique_ptr<RE2> expression;  ///< of =~ and !~
    bool holds(const Labels& labels) const {
      const std::string_view value = labels.get(matcher.label);
      switch (matcher.op) {
        case config::AlertMatcher::Op::equal: return value == matcher.value;
        case config::AlertMatcher::Op::not_equal: return value != matcher.value;
        case config::AlertMatcher::Op::matches: return RE2::FullMatch(re2::StringPiece(value.data(), value.size()), *expression);
        case config::AlertMatcher::Op::not_matches: return !RE2::FullMatch(re2::StringPiece(value.data(), value.size()), *expression);
      }
      return false;
    }
  };
  std::vector<Condition> conditions;
  bool matches(const Labels& labels) const {
    return std::all_of(conditions.begin(), conditions.end(), [&](const Condition& c) { return c.holds(labels); });
  }
};

Result<Routes> Routes::make(const std::vector<config::RouteSettings>& settings) {
  Routes out;
  for (const config::RouteSettings& one : settings) {
    auto matchers = config::parse_alert_matchers(std::span<const std::string>(one.match));
    if (!matchers) return matchers.error();
    auto route = std::make_shared<Route>();
    route->settings = one;
    for (config::AlertMatcher& matcher : *matchers) {
      Route::Condition condition{std::move(matcher), nullptr};
      if (condition.matcher.op == config::AlertMatcher::Op::matches || condition.matcher.op == config::AlertMatcher::Op::not_matches) {
        RE2::Options quiet;
        quiet.set_log_errors(false);
        condition.expression = std::make_unique<RE2>(condition.matcher.value, quiet);
        if (!condition.expression->ok())
          return Error(Errc::invalid_config, "a route's expression cannot be read").because(condition.expression->error());
      }
      route->conditions.push_back(std::move(condition));
    }
    out.routes_.push_back(std::move(route));
  }
  return out;
}

Routing Routes::route(const IncomingAlert& alert, std::span<const ServiceKey> services) const {
  Routing out;
  const auto found = std::find_if(routes_.begin(), routes_.end(), [&](const auto& route) { return route->matches(alert.labels); });
  if (found == routes_.end()) {
    out.why = "no route matches it";
    return out;
  }
  const config::RouteSettings& settings = (*found)->settings;
  out.action = settings.action;
  out.stale_after = settings.stale_after;
  std::string name(alert.labels.get(settings.service_label)), environment(alert.labels.get(settings.environment_label));
  if (!settings.service.empty()) {
    const std::size_t slash = settings.service.find('/');
    name = settings.service.substr(0, slash);
    environment = slash == std::string::npos ? "" : settings.service.substr(slash + 1);
  }
  std::vector<std::string> environments;
  for (const ServiceKey& service : services) {
    if (service.name != name || (!environment.empty() && service.environment != environment)) continue;
    environments.push_back(service.environment);
    out.service = service;
  }
  out.is = environments.size() == 1 ? Routing::Is::routed : Routing::Is::unknown_service;
  if (out.is == Routing::Is::routed) return out;
  const std::string asked = printable(cut(name, 64)) + (environment.empty() ? "" : "/" + printable(cut(environment, 64)));
  if (name.empty()) {
    out.why = "it has no label \"" + settings.service_label + "\"";
  } else if (environments.empty()) {
    out.why = "there is no service " + asked;
  } else {
    out.why = asked + " runs in several environments (" + join(environments, ", ") + ") and it has no label \"" +
              settings.environment_label + "\"";
  }
  return out;
}

}  // namespace rollbackd::api
