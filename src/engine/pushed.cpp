// Alerts from outside: handed to their service's incident machine, and answered once what they changed is in its state file.
#include "engine/pushed.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/service.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {
constexpr std::size_t kAlertsPerTurn = 16;  ///< of a large group: others get their turn of the reactor in between
}  // namespace

const char* to_string(PushedResult result) {
  switch (result) {
    case PushedResult::accepted: return "accepted";
    case PushedResult::duplicate: return "duplicate";
    case PushedResult::resolved: return "resolved";
    case PushedResult::stale: return "stale";
    case PushedResult::unrouted: return "unrouted";
    case PushedResult::unknown_service: return "unknown_service";
    case PushedResult::refused: return "refused";
  }
  return "refused";
}

/// Takes one alert, without waiting. The answer holds once what was asked for is on disk.
PushedAnswer Service::push(const PushedCommand& command) {
  if (!incident_) return {PushedResult::refused, "the service is not watched: " + trouble_, true};
  if (!incident_->state_trusted()) return {PushedResult::refused, "the state file is not trusted, so nothing can be remembered", true};
  const ClockReading clock = engine_.clock_.read();
  const Duration ahead(command.starts_at.ns() - clock.stamp.wall_ns);
  if (ahead > engine_.settings_.max_skew)
    return {PushedResult::refused, "it began " + format_duration(ahead) + " in the future, more than max_skew allows", false};
  PushedAlert alert;
  alert.key = command.key;
  alert.rule = command.rule;
  alert.summary = command.summary;
  alert.action = command.action;
  alert.since = clock.instant - std::max(Duration(0), -ahead);  // Its sender's clock may be ahead of ours by so much.
  alert.received = clock.instant;
  alert.resolved = command.resolved;

  decision::PushedFate fate = incident_->fate_of(alert, clock.instant);
  const bool too_old = -ahead >= command.stale_after;
  if (fate == decision::PushedFate::accepted && too_old) fate = decision::PushedFate::stale;
  switch (fate) {
    case decision::PushedFate::stale:
      return {PushedResult::stale, too_old ? "it began " + format_duration(-ahead) + " ago" : "it began before the live release did",
              false};
    case decision::PushedFate::over: return {PushedResult::resolved, "", false};
    case decision::PushedFate::no_room:
      return {PushedResult::refused, "as many alerts are remembered as may be", command.action > AlertAction::notify};
    case decision::PushedFate::accepted:
    case decision::PushedFate::duplicate:
    case decision::PushedFate::resolves:
    case decision::PushedFate::resolved_first: break;
  }
  if (fate == decision::PushedFate::accepted && command.action >= AlertAction::rollback && !timing_.reaction) timing_.seen = clock.instant;
  engine_.fleet().note_maintenance(*this, alert.since);
  deliver(event::Pushed{std::move(alert)});
  if (fate == decision::PushedFate::duplicate) return {PushedResult::duplicate, "", false};
  return {fate == decision::PushedFate::accepted ? PushedResult::accepted : PushedResult::resolved, "", false};
}

void Service::set_pushed_stale_after() {
  std::array<Duration, 4> longest{};
  for (const config::RouteSettings& route : engine_.settings_.routes) {
    Duration& of_action = longest[static_cast<std::size_t>(route.action)];
    if (route.service.empty() || route.service == key().text() || route.service == key().name)
      of_action = std::max(of_action, route.stale_after);
  }
  incident_->set_pushed_stale_after(longest);
}

asio::awaitable<std::vector<PushedAnswer>> Engine::push(std::vector<PushedCommand> alerts) {
  std::vector<PushedAnswer> answers;
  std::map<ServiceKey, std::shared_ptr<Service>> touched;
  for (const PushedCommand& alert : alerts) {
    if (answers.size() % kAlertsPerTurn == kAlertsPerTurn - 1) co_await asio::post(executor_, asio::use_awaitable);
    const auto at = services_.find(alert.service);
    if (stopping_ || at == services_.end()) {
      answers.push_back({PushedResult::refused, stopping_ ? "rollbackd is stopping" : "the service is gone", true});
      continue;
    }
    answers.push_back(at->second->push(alert));
    // A duplicate too: the first one may still be on its way to the disk.
    const PushedResult result = answers.back().result;
    if (result == PushedResult::accepted || result == PushedResult::resolved || result == PushedResult::duplicate) touched.insert(*at);
  }
  for (const auto& [key, service] : touched) co_await service->performed();
  for (std::size_t i = 0; i < alerts.size(); ++i) {
    const auto at = touched.find(alerts[i].service);
    if (at == touched.end() || at->second->incident().state_trusted()) continue;
    answers[i] = {PushedResult::refused, "the state file of " + at->first.text() + " cannot be written", true};
  }
  co_return answers;
}

Json Engine::pushed() const {
  Json out = Json::array();
  for (const auto& [key, service] : services_) {
    if (!service->running()) continue;
    for (const PushedAlert& alert : service->incident().state().pushed) {
      Json row;
      row.set("service", key.name).set("environment", key.environment).set("alertname", alert.rule).set("summary", alert.summary);
      row.set("action", rollbackd::to_string(alert.action)).set("state", alert.resolved ? "resolved" : "firing");
      row.set("activeAt", format_rfc3339(alert.since)).set("received", format_rfc3339(alert.received)).set("key", alert.key);
      out.push(std::move(row));
    }
  }
  return out;
}

}  // namespace rollbackd::engine
