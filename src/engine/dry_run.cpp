// What a rollback would change, for a dry run: links, files, processes, hooks and deadlines. Changes nothing.
// Flow: rollback --dry-run -> [dry run] -> rollbackctl.
#include "base/text.hpp"
#include "drivers/tree_diff.hpp"
#include "engine/engine.hpp"
#include "engine/service.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

std::string release_in(const std::string& link_value) { return link_value.substr(link_value.rfind('/') + 1); }

}  // namespace

asio::awaitable<Json> Service::changes_of(Plan plan) {
  const auto self = shared_from_this();
  Json components = Json::array(), restarts = Json::array(), hooks = Json::array();
  for (const Step& step : plan.steps) {
    if (step.action == "restart") {
      Json row = Json::object();
      row.set("component", step.component).set("driver", step.driver);
      if (!step.arguments["unit"].string_or("").empty()) row.set("unit", step.arguments["unit"]);
      restarts.push(std::move(row));
    }
    if (step.action == "hook") {
      Json row = Json::object();
      row.set("name", step.arguments["name"]).set("at", step.arguments["at"]).set("required", step.arguments["required"]);
      for (const config::HookSettings& hook : settings_.hooks)
        if (hook.name == step.arguments["name"].string_or(""))
          row.set("timeout", format_duration(hook.timeout)).set("command", join(hook.command, " "));
      hooks.push(std::move(row));
    }
    if (step.action != "switch") continue;
    const std::string from = step.arguments["from_value"].string_or(""), to = step.arguments["to_value"].string_or("");
    Json row = Json::object();
    row.set("component", step.component).set("current", step.arguments["current"]);
    row.set("from", release_in(from)).set("to", release_in(to)).set("link_from", from).set("link_to", to);
    for (const config::ComponentSettings& settings : settings_.components) {
      if (settings.name != step.component || from == to) continue;
      auto work = [left = settings.releases + "/" + release_in(from), right = settings.releases + "/" + release_in(to)] {
        return drivers::diff_trees(left, right);
      };
      const Result<drivers::TreeDiff> diff = co_await engine_.bulk_.run(std::move(work));
      if (diff.has_value()) row.set("difference", diff.value().to_json());
      if (diff.has_error()) row.set("why_no_difference", diff.error().text());
    }
    components.push(std::move(row));
  }
  Json deadlines = Json::object();
  const rollback::OperationOptions options = options_of(plan.request);
  deadlines.set("operation", format_duration(options.deadline)).set("step", format_duration(options.deadline_step));
  Json changes = Json::object();
  changes.set("components", std::move(components)).set("restarts", std::move(restarts)).set("hooks", std::move(hooks));
  changes.set("deadlines", std::move(deadlines));
  co_return changes;
}

}  // namespace rollbackd::engine
