// What anybody with a token may send to /api/v1/alertmanager: a body, and an alert on its way through routes of every kind.
#include <cstdint>
#include <string>
#include <vector>

#include "api/alertmanager.hpp"
#include "property.hpp"

using namespace rollbackd;

namespace {

const std::vector<ServiceKey> kServices{{"shop-api", "prod"}, {"shop-api", "staging"}, {"db", "prod"}};

const api::Routes& routes() {
  static const api::Routes all = [] {
    std::vector<config::RouteSettings> settings(4);
    settings[0].match = {"severity=\"critical\"", "service=~\"shop.*\""};
    settings[0].action = AlertAction::rollback;
    settings[1].match = {"team!=\"x\"", "alertname!~\"Watch.*\""};
    settings[1].service = "db/prod";
    settings[2].match = {"job=\"a\""};
    settings[2].service = "shop-api";
    settings[3].service_label = "job";
    auto made = api::Routes::make(settings);
    fuzz::property(made.has_value(), "the routes of this target are well", made ? "" : made.error().text());
    return std::move(*made);
  }();
  return all;
}

void check_alert(const api::IncomingAlert& alert) {
  const std::string key = api::key_of(alert);
  fuzz::property(key.size() == 32 && key.find_first_not_of("0123456789abcdef") == key.npos, "a key has 32 hex digits", key);
  fuzz::property(key == api::key_of(alert), "the same alert has the same key", key);
  api::IncomingAlert ended = alert;
  ended.firing = !alert.firing;
  fuzz::property(key == api::key_of(ended), "its end has the key of its begin", key);
  fuzz::property(!alert.labels.empty(), "an alert has labels");
  const api::Routing routing = routes().route(alert, kServices);
  const bool routed = routing.is == api::Routing::Is::routed;
  fuzz::property(routed == routing.why.empty(), "what is not routed says why", routing.why);
  bool known = false;
  for (const ServiceKey& service : kServices) known = known || service == routing.service;
  fuzz::property(!routed || known, "an alert is routed to a service of ours", routing.service.text());
  fuzz::property(!routes().route(alert, {}).why.empty(), "without services nothing is routed");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 64 << 10) return 0;
  const std::string text(data, data + size);
  if (const auto time = api::parse_rfc3339(text)) {
    const auto again = api::parse_rfc3339(format_rfc3339(*time));
    fuzz::property(again && again->millis() == time->millis(), "a time that is read is written as the same", text);
  }
  const auto group = api::parse_webhook(text);
  if (!group) {
    fuzz::property(!group.error().what.empty(), "an error says what", group.error().text());
    return 0;
  }
  fuzz::property(group->alerts.size() <= api::kWebhookAlertsMax && group->truncated >= 0, "its bounds hold");
  for (const api::IncomingAlert& alert : group->alerts) check_alert(alert);
  return 0;
}
