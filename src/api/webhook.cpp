// POST /api/v1/alertmanager: alerts from outside, routed, handed to the engine, and answered once they are on disk.
#include <algorithm>

#include "api/alertmanager.hpp"
#include "api/answers.hpp"
#include "api/api.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace rollbackd::api {

namespace asio = boost::asio;
using engine::PushedAnswer;
using engine::PushedResult;
using io::ServerRequest;
using io::ServerResponse;

namespace {

constexpr std::size_t kParsedAtOnceMax = 32 << 10;
constexpr std::size_t kWarnedMax = 256;   ///< different warnings; beyond it they are only counted
constexpr std::size_t kPassedByMax = 64;  ///< shown
constexpr std::size_t kSummaryBytesMax = 160, kRuleBytesMax = 64;

/// What tells two sets of routes apart.
std::string signature_of(const std::vector<config::RouteSettings>& routes) {
  std::string out;
  for (const auto& route : routes) {
    for (const std::string& text : route.match) out += text + "\n";
    out += std::to_string(static_cast<int>(route.action)) + "\n" + route.service + "\n" + route.service_label + "\n" +
           route.environment_label + "\n" + std::to_string(route.stale_after.count()) + "\n\n";
  }
  return out;
}

std::string summary_of(const IncomingAlert& alert) {
  for (const char* annotation : {"summary", "description"})
    if (alert.annotations.has(annotation))
      return cut(printable(cut(alert.annotations.get(annotation), kSummaryBytesMax)), kSummaryBytesMax);
  return cut(printable(cut(alert.labels.to_string(), kSummaryBytesMax)), kSummaryBytesMax);
}

engine::PushedCommand command_for(const IncomingAlert& alert, const Routing& routing) {
  engine::PushedCommand command;
  command.service = routing.service;
  command.key = key_of(alert);
  const std::string name = printable(cut(alert.labels.get("alertname"), kRuleBytesMax));
  command.rule = name.empty() ? "alert" : cut(name, kRuleBytesMax);
  command.summary = summary_of(alert);
  command.action = routing.action;
  command.starts_at = alert.starts_at;
  command.stale_after = routing.stale_after;
  command.resolved = !alert.firing;
  return command;
}

}  // namespace

Result<const Routes*> Api::routes() {
  const auto& settings = engine_.settings().routes;
  std::string signature = signature_of(settings);
  if (!routes_ || signature != routes_signature_) {  // They were reloaded.
    auto made = Routes::make(settings);
    if (!made) return made.error();
    routes_ = std::make_unique<Routes>(std::move(*made));
    routes_signature_ = std::move(signature);
    warned_.clear();
  }
  return routes_.get();
}

/// What causes nothing is shown to people, and warned of once where it looks like a mistake of the configuration.
void Api::passed_by(const IncomingAlert& alert, const Routing& routing, const PushedAnswer& answer) {
  const std::string name = printable(cut(alert.labels.get("alertname"), kRuleBytesMax));
  Json row;
  row.set("alertname", name).set("summary", summary_of(alert)).set("activeAt", format_rfc3339(alert.starts_at));
  row.set("service", routing.service.name).set("environment", routing.service.environment);
  row.set("result", engine::to_string(answer.result)).set("why", answer.why);
  passed_by_.push_back(std::move(row));
  if (passed_by_.size() > kPassedByMax) passed_by_.pop_front();
  const bool worth_it = answer.result == PushedResult::unknown_service || answer.result == PushedResult::refused;
  if (worth_it && warned_.size() < kWarnedMax && warned_.insert(answer.why).second)
    log::warning("an alert from outside causes nothing", {{"alert", name}, {"why", answer.why}});
}

asio::awaitable<ServerResponse> Api::take_alerts(ServerRequest request, std::string principal) {
  Result<AlertGroup> group = AlertGroup{};
  if (request.body.size() <= kParsedAtOnceMax) {
    group = parse_webhook(request.body);
  } else {  // That would hold up the reactor.
    auto parse = [body = request.body] { return parse_webhook(body); };
    group = co_await files_.run(std::move(parse));
  }
  if (!group) co_return failure(group.error());
  auto ready = routes();
  if (!ready) co_return failure(ready.error());
  std::vector<ServiceKey> services;
  for (const auto& service : engine_.settings().services) services.push_back(service.key);
  if (group->truncated > 0)
    log::warning("Alertmanager cut off alerts of a group: raise max_alerts of its webhook_config",
                 {{"cut", std::to_string(group->truncated)}, {"group", cut(group->group_key, 256)}, {"from", principal}});

  std::vector<Routing> routings;
  std::vector<PushedAnswer> answers(group->alerts.size());
  std::vector<engine::PushedCommand> commands;
  std::vector<std::size_t> of_command;
  for (const IncomingAlert& alert : group->alerts) {
    const Routing routing = (*ready)->route(alert, services);
    if (routing.is == Routing::Is::routed) {
      of_command.push_back(routings.size());
      commands.push_back(command_for(alert, routing));
    } else {
      const bool unrouted = routing.is == Routing::Is::unrouted;
      answers[routings.size()] = PushedAnswer{unrouted ? PushedResult::unrouted : PushedResult::unknown_service, routing.why, false};
    }
    routings.push_back(routing);
  }
  std::vector<PushedAnswer> pushed = co_await engine_.push(std::move(commands));
  for (std::size_t i = 0; i < pushed.size(); ++i) answers[of_command[i]] = std::move(pushed[i]);

  bool again = false;
  Json rows = Json::array();
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const PushedAnswer& one = answers[i];
    const IncomingAlert& alert = group->alerts[i];
    ++received_[static_cast<std::size_t>(one.result)];
    again = again || one.again;
    if (!one.why.empty()) passed_by(alert, routings[i], one);
    if (one.result == PushedResult::accepted && routings[i].action > AlertAction::notify)
      engine_.audit(audit_entry_of_alert(request, principal, routings[i].service, std::string(alert.labels.get("alertname")),
                                         summary_of(alert), rollbackd::to_string(routings[i].action)));
    Json row;
    row.set("fingerprint", printable(alert.fingerprint)).set("alertname", printable(alert.labels.get("alertname")));
    row.set("result", engine::to_string(one.result));
    if (routings[i].is == Routing::Is::routed)
      row.set("service", routings[i].service.text()).set("action", rollbackd::to_string(routings[i].action));
    if (!one.why.empty()) row.set("why", one.why);
    rows.push(std::move(row));
  }
  Json body = Json::object().set("alerts", std::move(rows)).set("truncated", group->truncated);
  if (!again) co_return json(body);
  // Alertmanager sends the whole group again: what was taken this time is a duplicate then.
  Json error;
  error.set("code", rollbackd::to_string(Errc::unavailable)).set("what", "not every alert could be taken");
  error.set("next_step", "send the group again");
  co_return json(body.set("error", std::move(error)), 503);
}

}  // namespace rollbackd::api
