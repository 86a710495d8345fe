// What Alertmanager's webhook may say, and where our routes lead its alerts.
#include "api/alertmanager.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.hpp"

namespace rollbackd::api {
namespace {

using testing::HasSubstr;

const std::vector<ServiceKey> kServices{{"shop", "prod"}, {"shop", "staging"}, {"db", "prod"}};

Json alert_json() {
  Json labels = Json::object().set("alertname", "ErrorsHigh").set("severity", "critical").set("service", "shop").set("environment", "prod");
  return Json::object()
      .set("status", "firing")
      .set("labels", std::move(labels))
      .set("annotations", Json::object().set("summary", "5 % fail"))
      .set("startsAt", "2026-11-20T03:00:00Z")
      .set("endsAt", "0001-01-01T00:00:00Z")
      .set("generatorURL", "http://p/graph")
      .set("fingerprint", "c6eadffa33fcdf37");
}
Json group_json(Json alert = alert_json()) {
  return Json::object()
      .set("version", "4")
      .set("groupKey", "{}:{alertname=\"ErrorsHigh\"}")
      .set("truncatedAlerts", 3)
      .set("receiver", "rollbackd")
      .set("somethingNew", Json::array())
      .set("alerts", Json(Json::Array{std::move(alert)}));
}
IncomingAlert alert_with(std::initializer_list<Labels::Pair> labels) {
  IncomingAlert alert;
  alert.firing = true;
  alert.labels = Labels(labels);
  return alert;
}

TEST(Webhook, IsReadWithWhatItDoesNotKnowLeftAlone) {
  const auto group = parse_webhook(group_json().dump());

  ASSERT_TRUE(group) << group.error().text();
  EXPECT_EQ(group->truncated, 3);
  ASSERT_EQ(group->alerts.size(), 1U);
  const IncomingAlert& alert = group->alerts.front();
  EXPECT_TRUE(alert.firing);
  EXPECT_EQ(alert.labels.get("service"), "shop");
  EXPECT_EQ(alert.annotations.get("summary"), "5 % fail");
  EXPECT_EQ(format_rfc3339(alert.starts_at), "2026-11-20T03:00:00.000Z");
  EXPECT_EQ(alert.fingerprint, "c6eadffa33fcdf37");
}

TEST(Webhook, AnotherVersionIsRefused) {
  for (const Json& version : {Json("3"), Json("5"), Json(4), Json()}) {
    const auto group = parse_webhook(group_json().set("version", version).dump());

    ASSERT_FALSE(group) << version.dump();
    EXPECT_EQ(group.error().code, Errc::invalid_argument);
    EXPECT_THAT(group.error().why, HasSubstr("version"));
  }
}

TEST(Webhook, WhatIsOddIsAnErrorThatNamesThePlace) {
  Json labels_of_numbers = alert_json(), no_labels = alert_json(), no_start = alert_json(), no_status = alert_json(),
       odd_print = alert_json();
  labels_of_numbers.set("labels", Json::object().set("a", 1));
  no_labels.set("labels", Json::object());
  no_start.set("startsAt", "yesterday");
  no_status.set("status", "suppressed");
  odd_print.set("fingerprint", 7);
  const std::vector<std::pair<Json, std::string>> odd{
      {group_json(labels_of_numbers), "alerts[0].labels.a"},
      {group_json(no_labels), "alerts[0].labels"},
      {group_json(no_start), "alerts[0].startsAt"},
      {group_json(no_status), "alerts[0].status"},
      {group_json(odd_print), "alerts[0].fingerprint"},
      {group_json(Json("x")), "alerts[0]"},
      {group_json().set("alerts", Json::object()), "alerts"},
      {group_json().set("groupKey", Json()), "groupKey"},
      {group_json().set("truncatedAlerts", -1), "truncatedAlerts"},
      {Json::array(), "the body"},
  };
  for (const auto& [json, place] : odd) {
    const auto group = parse_webhook(json.dump());

    ASSERT_FALSE(group) << json.dump();
    EXPECT_THAT(group.error().why, HasSubstr(place)) << json.dump();
  }
  EXPECT_FALSE(parse_webhook("{"));
}

TEST(Webhook, HasBounds) {
  Json::Array many(kWebhookAlertsMax, alert_json());
  Json long_value = alert_json();
  long_value.set("labels", Json::object().set("a", std::string(4097, 'x')));
  Json labels = Json::object();
  for (int i = 0; i < 129; ++i) labels.set("l" + std::to_string(i), "x");

  EXPECT_TRUE(parse_webhook(group_json().set("alerts", Json(many)).dump()));
  many.push_back(alert_json());
  EXPECT_EQ(parse_webhook(group_json().set("alerts", Json(many)).dump()).error().code, Errc::too_large);
  EXPECT_FALSE(parse_webhook(group_json(long_value).dump()));
  EXPECT_FALSE(parse_webhook(group_json(alert_json().set("labels", labels)).dump()));
  EXPECT_EQ(parse_webhook(std::string(kWebhookBytesMax + 1, ' ')).error().code, Errc::too_large);
}

TEST(Webhook, TimesAreReadAsGoWritesThem) {
  const Instant expected = Instant::from_seconds(1'795'143'600);
  for (const char* text :
       {"2026-11-20T03:00:00Z", "2026-11-20T04:00:00+01:00", "2026-11-19T14:30:00-12:30", "2026-11-20T03:00:00.000000000Z"}) {
    const auto time = parse_rfc3339(text);
    ASSERT_TRUE(time) << text;
    EXPECT_EQ(*time, expected) << text;
  }
  EXPECT_EQ(parse_rfc3339("2026-11-20T03:00:00.123456789Z")->ns() % 1'000'000'000, 123456789);
  for (const char* text :
       {"", "2026-11-20", "2026-11-20T03:00:00", "2026-02-30T03:00:00Z", "0001-01-01T00:00:00Z", "2026-11-20T24:00:00Z",
        "2026-11-20T03:00:00.Z", "2026-11-20T03:00:00Zx", "2026-11-20T03:00:00+0100", "9999-11-20T03:00:00Z", "-026-11-20T03:00:00Z"})
    EXPECT_FALSE(parse_rfc3339(text)) << text;
}

TEST(Webhook, TheKeyIsThatOfTheAlertWhateverItsGroupAndOffset) {
  const auto key = [](Json alert, const std::string& group_key = "a") {
    return key_of(parse_webhook(group_json(std::move(alert)).set("groupKey", group_key).dump())->alerts.front());
  };
  Json no_print = alert_json(), other_labels = alert_json();
  no_print.set("fingerprint", "");
  other_labels.set("fingerprint", "").set("labels", Json::object().set("alertname", "Other"));

  EXPECT_EQ(key(alert_json()).size(), 32U);
  EXPECT_EQ(key(alert_json()), key(alert_json(), "b"));
  EXPECT_EQ(key(alert_json()), key(alert_json().set("startsAt", "2026-11-20T05:00:00+02:00").set("status", "resolved")));
  EXPECT_NE(key(alert_json()), key(alert_json().set("startsAt", "2026-11-20T03:00:00.001Z")));
  EXPECT_NE(key(alert_json()), key(alert_json().set("fingerprint", "other")));
  EXPECT_NE(key(no_print), key(other_labels));
}

TEST(Route, TheFirstThatMatchesCounts) {
  std::vector<config::RouteSettings> settings(3);
  settings[0].match = {R"(severity="critical")", R"(service=~"sho")"};
  settings[1].match = {R"(severity="critical")"};
  settings[1].action = AlertAction::rollback;
  settings[1].stale_after = 5min;
  settings[2].action = AlertAction::hold;
  const Routes routes = Routes::make(settings).value();

  const Routing routing = routes.route(alert_with({{"severity", "critical"}, {"service", "shop"}, {"environment", "prod"}}), kServices);
  const Routing other = routes.route(alert_with({{"severity", "info"}, {"service", "db"}}), kServices);

  EXPECT_EQ(routing.is, Routing::Is::routed) << "an expression matches the whole value: the first route does not";
  EXPECT_EQ(routing.action, AlertAction::rollback);
  EXPECT_EQ(routing.stale_after, Duration(5min));
  EXPECT_EQ(routing.service, (ServiceKey{"shop", "prod"}));
  EXPECT_EQ(other.action, AlertAction::hold);
  EXPECT_EQ(other.service, (ServiceKey{"db", "prod"})) << "the only one of this name";
}

TEST(Route, WithoutOneNothingIsCaused) {
  std::vector<config::RouteSettings> settings(1);
  settings[0].match = {R"(team!="")"};
  const Routing routing = Routes::make(settings)->route(alert_with({{"service", "db"}}), kServices);

  EXPECT_EQ(routing.is, Routing::Is::unrouted);
  EXPECT_FALSE(routing.why.empty());
}

TEST(Route, TheServiceMayStandInTheRouteOrInLabelsOfOtherNames) {
  std::vector<config::RouteSettings> settings(2);
  settings[0].match = {R"(job="a")"};
  settings[0].service = "shop/staging";
  settings[1].service_label = "app";
  settings[1].environment_label = "env";
  const Routes routes = Routes::make(settings).value();

  EXPECT_EQ(routes.route(alert_with({{"job", "a"}, {"service", "db"}}), kServices).service, (ServiceKey{"shop", "staging"}));
  EXPECT_EQ(routes.route(alert_with({{"app", "shop"}, {"env", "prod"}}), kServices).service, (ServiceKey{"shop", "prod"}));
}

TEST(Route, AServiceThatIsNotOneOfOursOrNotOneAloneIsUnknown) {
  const Routes routes = Routes::make(std::vector<config::RouteSettings>(1)).value();
  const auto why = [&](std::initializer_list<Labels::Pair> labels) {
    const Routing routing = routes.route(alert_with(labels), kServices);
    EXPECT_EQ(routing.is, Routing::Is::unknown_service);
    return routing.why;
  };

  EXPECT_THAT(why({{"service", "shop"}}), HasSubstr("several environments (prod, staging)"));
  EXPECT_THAT(why({{"service", "sho"}}), HasSubstr("no service sho"));
  EXPECT_THAT(why({{"service", "db"}, {"environment", "staging"}}), HasSubstr("db/staging"));
  EXPECT_THAT(why({{"a", "b"}}), HasSubstr("label \"service\""));
}

}  // namespace
}  // namespace rollbackd::api
