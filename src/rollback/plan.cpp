// Checks a request against the world and stamps the drivers' steps. Pure.
// Flow: decision or person -> [plan] -> operation; a dry run stops after it.
#include "rollback/plan.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "base/ids.hpp"
#include "base/text.hpp"

namespace rollbackd::rollback {
namespace {

constexpr std::size_t kStepsMax = 64;

/// The place of a step in a plan; 0 for one that no plan has.
int rank(const Step& step) {
  static constexpr std::string_view kOrder[] = {"traffic_away",  "before_switch", "switch",       "after_switch", "restart",
                                                "after_restart", "traffic_back",  "after_verify", "on_failure"};
  const std::string at = step.arguments["at"].string_or("");
  const std::string_view place = step.action == "hook" ? std::string_view(at) : std::string_view(step.action);
  const auto* const found = std::find(std::begin(kOrder), std::end(kOrder), place);
  if (found == std::end(kOrder)) return 0;
  const int number = static_cast<int>(found - std::begin(kOrder)) + 1;
  const bool is_point = number == 2 || number == 4 || number == 6 || number >= 8;
  return is_point == (step.action == "hook") ? number : 0;
}

std::ptrdiff_t count(const std::vector<Step>& steps, const char* action) {
  return std::count_if(steps.begin(), steps.end(), [&](const Step& step) { return step.action == action; });
}

std::string title(const OperationRequest& request) {
  return "cannot plan the " + std::string(to_string(request.kind)) + " of " + request.service.text() + " to " + printable(request.to);
}

Result<> check_ids(const OperationRequest& request) {
  if (request.operation.empty()) return Error(Errc::invalid_argument, title(request)).because("the request has no operation id");
  for (const std::string* id : {&request.from, &request.to}) {
    if (auto ok = check_release_id(*id); ok.has_error()) return ok.error();
  }
  return {};
}

/// A plan has one switch a component and its steps in the one order that the operation carries out.
Result<> check_steps(const OperationRequest& request, const std::vector<Step>& steps) {
  const auto bad = [&](std::string why) { return Error(Errc::invalid_argument, title(request)).because(std::move(why)); };
  if (steps.size() > kStepsMax) return bad("there are " + std::to_string(steps.size()) + " steps; a plan has at most 64");
  int last = 0;
  std::set<std::string> switched;
  for (const Step& step : steps) {
    const int place = rank(step);
    if (place == 0) return bad("the driver " + step.driver + " wants a step \"" + printable(step.action) + "\" that no plan has");
    if (step.action == "switch" && !switched.insert(step.component).second)
      return bad("there are two switches of " + printable(step.component) + "; a plan has one a component");
    if (place < last) return bad("the step \"" + step.action + "\" comes too late");
    last = place;
  }
  if (switched.empty()) return bad("there is no switch among the driver's steps");
  if (count(steps, "traffic_away") > 0 && count(steps, "traffic_back") == 0)
    return bad("a step takes traffic away and none brings it back");
  return {};
}

Result<> check_world(const OperationRequest& request, const World& world) {
  if (world.live == request.to && world.link == World::Link::present) {
    return Error(Errc::refused, request.service.text() + " is already on " + request.to);
  }
  if (world.link != World::Link::present || world.live != request.from) {
    std::string why = "the live release is " + world.live + ", not " + request.from;
    if (world.live.empty()) why = "`current` leads outside the releases directory, to " + printable(world.link_value);
    if (world.link == World::Link::missing) why = "`current` is missing";
    if (world.link == World::Link::not_a_link) why = "`current` is no symbolic link";
    return Error(Errc::conflict, title(request)).because(std::move(why)).try_next("look at the service, then ask again");
  }
  if (std::find(world.releases.begin(), world.releases.end(), request.to) == world.releases.end()) {
    return Error(Errc::not_found, "release " + request.to + " of " + request.service.text() + " is not on disk")
        .try_next("rollbackctl releases " + request.service.name + " --env " + request.service.environment);
  }
  return {};
}

}  // namespace

std::vector<Step> in_order(std::vector<Step> steps) {
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return rank(a) < rank(b); });
  return steps;
}

Result<Plan> make_plan(const OperationRequest& request, const World& world, std::vector<Step> steps) {
  if (auto ok = check_ids(request); ok.has_error()) return ok.error();
  if (auto ok = check_world(request, world); ok.has_error()) return ok.error();
  if (auto ok = check_steps(request, steps); ok.has_error()) return ok.error();

  int number = 0;
  for (Step& step : steps) {
    step.operation = request.operation;
    step.number = ++number;
  }
  return Plan{request, std::move(steps)};
}

}  // namespace rollbackd::rollback
