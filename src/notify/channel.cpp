#include "notify/channel.hpp"

namespace rollbackd::notify {

Json message_json(const Notification& notification) {
  Json json = Json::object();
  json.set("key", notification.key).set("service", notification.service.name).set("environment", notification.service.environment);
  json.set("severity", to_string(notification.severity)).set("title", notification.title).set("text", notification.text);
  if (!notification.details.is_object()) {
    json.set("details", notification.details);
    return json;
  }
  Json details = Json::object();
  for (const auto& [name, value] : notification.details.members()) {
    if (name == "at") {
      json.set("at", value);
    } else {
      details.set(name, value);
    }
  }
  json.set("details", std::move(details));
  return json;
}

Result<std::unique_ptr<Channel>> make_channel(const config::ChannelSettings& settings, boost::asio::any_io_executor executor) {
  switch (settings.type) {
    case config::ChannelSettings::Type::webhook: return make_webhook(settings, std::move(executor));
    case config::ChannelSettings::Type::exec: return make_exec(settings);
  }
  return Error(Errc::invalid_config, "channel " + settings.name + " is of no known type").try_next("use webhook or exec");
}

}  // namespace rollbackd::notify
