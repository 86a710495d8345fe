// `explain` of an operation or an incident: the bundle that was kept of it, joined with what the history knows of the operation and what
// the outbox knows of who was told. What is not there is said, never guessed.
#include "base/text.hpp"
#include "engine/engine.hpp"
#include "engine/from_history.hpp"
#include "engine/insight.hpp"
#include "engine/secrets.hpp"
#include "engine/service.hpp"
#include "engine/watched.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

/// Who was told, and whether each channel took it. The outbox remembers keys for 30 days.
Json Insight::told_of(const Json& bundle) const {
  Json out = Json::array();
  for (const Json& told : bundle["told"].elements()) {
    Json channels = Json::array();
    for (const notify::Delivery& delivery : engine_.outbox_->deliveries(told["key"].string_or(""))) {
      Json row = Json::object().set("channel", delivery.channel).set("state", delivery.state);
      if (delivery.attempts > 0) row.set("attempts", delivery.attempts).set("why", masked_text(cut(delivery.why, 300)));
      channels.push(std::move(row));
    }
    Json row = told;
    out.push(row.set("channels", std::move(channels)));
  }
  return out;
}

asio::awaitable<Result<Json>> Insight::evidence(ServiceSelector selector, std::string operation, std::string incident) {
  auto found = engine_.find(selector);
  if (!found) co_return found.error();
  const ServiceKey key = (*found)->key();
  record::BundleFilter filter;
  filter.service = key.name;
  filter.environment = key.environment;
  filter.operation = operation;
  filter.incident = incident;
  Engine& engine = engine_;
  auto read = [&engine, filter](auto done) { engine.history_->bundles(filter, std::move(done)); };
  auto bundles = co_await from_history<std::vector<Json>>(engine.executor_, read);
  Json missing = Json::array();
  Json bundle, earlier = Json::array();
  if (!bundles) {
    missing.push("the history cannot be read: " + bundles.error().text());
  } else if (bundles->empty()) {
    missing.push("no evidence is kept of it: it was before this version, is older than the history goes back, or the history was lost");
  } else {
    bundle = bundles->front();
    for (std::size_t i = 1; i < bundles->size(); ++i) {
      const Json& other = (*bundles)[i];
      earlier.push(Json::object()
                       .set("id", other["id"])
                       .set("captured", other["captured"])
                       .set("incident", other["incident"])
                       .set("operation", other["operation"])
                       .set("decision", other["decision"]["decision"])
                       .set("reason", other["decision"]["reason"]));
    }
  }
  const std::string id = operation.empty() ? bundle["operation"].string_or("") : operation;
  Json row;
  if (!id.empty()) {
    auto ask = [&engine, id](auto done) { engine.history_->operation(id, std::move(done)); };
    auto known = co_await from_history<Json>(engine.executor_, ask);
    if (known && (*known)["service"].string_or("") == key.name && (*known)["environment"].string_or("") == key.environment) {
      row = masked(*known);
    } else if (!operation.empty() && bundle.is_null()) {
      co_return Error(Errc::not_found, "there is no operation " + printable(cut(operation, 64)) + " of " + key.text())
          .try_next("`rollbackctl history " + key.name + "` lists them");
    } else {
      missing.push("the operation's row: the history does not have it");
    }
  }
  if (!incident.empty() && bundle.is_null() && bundles)
    co_return Error(Errc::not_found, "no evidence is kept of incident " + printable(cut(incident, 64)) + " of " + key.text())
        .try_next("`rollbackctl history " + key.name + " --decisions` lists what was decided");
  if (!bundle.is_null() && !bundle.has("drill")) {
    if (bundle["alerts"].elements().empty() && bundle["decision"].is_object())
      missing.push("rules: none fired in the daemon (an alert from outside, or a failed verification)");
    if (bundle["samples"].elements().empty()) missing.push("samples: none were read, or they had gone");
    for (const Json& part : bundle["left_out"].elements()) missing.push("left out for room: " + part.string_or(""));
    if (bundle["configuration"].string_or("").empty()) missing.push("the configuration's digest is not known");
  }
  if (!row.is_null() && row["steps"].elements().empty() && !bundle.has("drill")) missing.push("steps: none is recorded");
  Json out = Json::object().set("service", key.name).set("environment", key.environment);
  Json told = told_of(bundle);
  out.set("bundle", std::move(bundle)).set("operation", std::move(row)).set("told", std::move(told));
  co_return out.set("earlier", std::move(earlier)).set("missing", std::move(missing));
}

}  // namespace rollbackd::engine
