// Checks a request against the world and stamps the drivers' steps. Pure.
// Flow: decision or person -> [plan] -> operation; a dry run stops after it.
#include "rollback/plan.hpp"

#include <algorithm>
#include <utility>

#include "base/ids.hpp"
#include "base/text.hpp"

namespace rollbackd::rollback {
namespace {

/// The place of an action in a plan; 0 for one that no plan has.
int rank(const std::string& action) {
  if (action == "traffic_away") return 1;
  if (action == "switch") return 2;
  if (action == "restart") return 3;
  if (action == "traffic_back") return 4;
  return 0;
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

/// A plan has one switch and its steps in the one order that the operation carries out.
Result<> check_steps(const OperationRequest& request, const std::vector<Step>& steps) {
  const auto bad = [&](std::string why) { return Error(Errc::invalid_argument, title(request)).because(std::move(why)); };
  int last = 0;
  for (const Step& step : steps) {
    const int place = rank(step.action);
    if (place == 0) return bad("the driver " + step.driver + " wants a step \"" + printable(step.action) + "\" that no plan has");
    if (place < last) return bad("the step \"" + step.action + "\" comes too late");
    last = place;
  }
  const std::ptrdiff_t switches = count(steps, "switch");
  if (switches < 1) return bad("there is no switch among the driver's steps");
  if (switches > 1) return bad("there are " + std::to_string(switches) + " switches; a plan has one");
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
