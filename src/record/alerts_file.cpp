// DIRECTORY/alerts, a whole_file. All instants are distances to the one at which the alerts were known, and that one carries boot id, boot
// time and wall time.
#include "record/alerts_file.hpp"

#include <cstdio>
#include <cstdlib>

#include "base/json.hpp"
#include "record/whole_file.hpp"

namespace rollbackd::record {
namespace {

WholeFile file_in(const std::string& directory) {
  return {directory, "alerts", "rollbackd-alerts", 1, "nothing: alerts are found anew, and it is replaced"};
}

Json labels_json(const Labels& labels) {
  Json out = Json::object();
  for (const auto& [name, value] : labels.pairs()) out.set(name, value);
  return out;
}

Labels labels_from(const Json& json) {
  std::vector<Labels::Pair> pairs;
  for (const auto& [name, value] : json.members()) pairs.emplace_back(name, value.string_or(""));
  return Labels(std::move(pairs));
}

/// As text, because JSON knows neither NaN nor infinities.
std::string number_text(double v) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", v);
  return text;
}

/// Nanoseconds before `at`; null for nothing.
Json before(Instant at, const std::optional<Instant>& t) { return t ? Json((at - *t).count()) : Json(); }
std::optional<Instant> instant_from(Instant at, const Json& ago) {
  if (!ago.is_number()) return std::nullopt;
  return at - Duration(ago.int_or(0));
}

Json alert_json(const KeptAlert& alert, Instant at) {
  Json out;
  out.set("rule", alert.rule).set("labels", labels_json(alert.labels)).set("element", labels_json(alert.element));
  out.set("value", number_text(alert.value)).set("phase", static_cast<int>(alert.phase));
  out.set("since", before(at, alert.since)).set("active", before(at, alert.active_at));
  out.set("absent", before(at, alert.absent_since)).set("blind", before(at, alert.blind_since));
  return out;
}

KeptAlert alert_from(const Json& json, const ServiceKey& service, Instant at) {
  KeptAlert out;
  out.rule = json["rule"].string_or("");
  out.service = service;
  out.labels = labels_from(json["labels"]);
  out.element = labels_from(json["element"]);
  out.value = std::strtod(json["value"].string_or("0").c_str(), nullptr);
  out.phase = json["phase"].int_or(0) == static_cast<int>(AlertPhase::firing) ? AlertPhase::firing : AlertPhase::pending;
  out.since = instant_from(at, json["since"]).value_or(at);
  out.active_at = instant_from(at, json["active"]).value_or(at);
  out.absent_since = instant_from(at, json["absent"]);
  out.blind_since = instant_from(at, json["blind"]);
  return out;
}

Json json_of(const KeptAlerts& alerts, const ClockReading& clock) {
  const Stamp stamp = clock.to_stamp(alerts.at);
  Json services = Json::array();
  std::size_t bytes = 0, count = 0;
  for (const KeptService& service : alerts.services) {
    Json list = Json::array();
    for (const KeptAlert& alert : service.alerts) {
      Json one = alert_json(alert, alerts.at);
      bytes += one.dump().size() + 1;
      if (++count > kKeptAlertsMax || bytes > kWholeFileBytesMax - 4096) break;
      list.push(std::move(one));
    }
    Json one;
    one.set("service", service.service.name).set("environment", service.service.environment);
    one.set("epoch", static_cast<std::int64_t>(service.epoch)).set("release", service.release);
    one.set("switched", before(alerts.at, service.switched)).set("alerts", std::move(list));
    bytes += 256;
    services.push(std::move(one));
  }
  Json out;
  out.set("boot", stamp.boot_id).set("boot_ns", stamp.boot_ns).set("wall_ns", stamp.wall_ns).set("services", std::move(services));
  return out;
}

}  // namespace

Result<> write_alerts(const std::string& directory, const KeptAlerts& alerts, const ClockReading& clock) {
  return write_whole(file_in(directory), json_of(alerts, clock));
}

Result<KeptAlerts> read_alerts(const std::string& directory, const ClockReading& clock) {
  const WholeFile file = file_in(directory);
  auto json = read_whole(file);
  if (!json) return json.error();
  KeptAlerts out;
  out.at = clock.to_instant({(*json)["boot"].string_or(""), (*json)["boot_ns"].int_or(0), (*json)["wall_ns"].int_or(0)});
  std::size_t count = 0;
  for (const Json& one : (*json)["services"].elements()) {
    KeptService service;
    service.service = {one["service"].string_or(""), one["environment"].string_or("")};
    service.epoch = static_cast<std::uint64_t>(one["epoch"].int_or(0));
    service.release = one["release"].string_or("");
    service.switched = instant_from(out.at, one["switched"]).value_or(out.at);
    for (const Json& alert : one["alerts"].elements()) {
      if (++count > kKeptAlertsMax)
        return Error(Errc::corrupt, "cannot use " + directory + "/alerts").because("it holds more alerts than it may");
      service.alerts.push_back(alert_from(alert, service.service, out.at));
    }
    out.services.push_back(std::move(service));
  }
  return out;
}

}  // namespace rollbackd::record
