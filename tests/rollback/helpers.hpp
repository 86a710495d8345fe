// What the tests of this room share: one rollback of shop-api/prod from v2 to v1, and its steps.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/operation.hpp"
#include "rollback/operation.hpp"

namespace rollbackd::rollback::testing {

inline const Instant t0 = Instant::from_millis(1'700'000'000'000);

inline OperationRequest a_rollback() {
  OperationRequest request;
  request.operation = "018bcfe5-6800-7000-8000-000000000001";
  request.service = {"shop-api", "prod"};
  request.from = "v2";
  request.to = "v1";
  request.reason = "health check failing";
  return request;
}

inline Step a_step(const char* action) {
  Step step;
  step.component = "app";
  step.driver = std::string(action) == "restart" ? "supervised" : "symlink";
  step.action = action;
  if (step.action == "switch") step.arguments.set("from_value", "releases/v2").set("to_value", "releases/v1");
  return step;
}

inline Plan stamped(OperationRequest request, std::vector<Step> steps) {
  Plan plan{std::move(request), std::move(steps)};
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    plan.steps[i].operation = plan.request.operation;
    plan.steps[i].number = static_cast<int>(i) + 1;
  }
  return plan;
}

inline Step a_hook(const char* at, bool required = true, const char* name = nullptr) {
  Step step;
  step.driver = step.action = "hook";
  step.arguments.set("name", name ? name : at).set("at", at).set("required", required);
  return step;
}

/// The switch or restart of one of several components.
inline Step a_step_of(const std::string& component, const char* action) {
  Step step = a_step(action);
  step.component = component;
  return step;
}

/// A stamped plan with these actions.
inline Plan a_plan(const std::vector<const char*>& actions, OperationRequest request = a_rollback()) {
  Plan plan;
  plan.request = std::move(request);
  for (const char* action : actions) {
    plan.steps.push_back(a_step(action));
    plan.steps.back().operation = plan.request.operation;
    plan.steps.back().number = static_cast<int>(plan.steps.size());
  }
  return plan;
}

inline Outcome ended(Outcome::Status status, std::string why = "") {
  Outcome outcome;
  outcome.status = status;
  if (!outcome.ok()) outcome.error = Error(Errc::io, std::move(why));
  return outcome;
}

inline VerificationVerdict verdict(VerificationVerdict::Kind kind, std::string failed_how = "") {
  VerificationVerdict out;
  out.kind = kind;
  out.failed_how = std::move(failed_how);
  return out;
}

/// "write switching 1", "run switch", "verify v1", "finish succeeded": an ask in a few words (a write with its attempt).
inline std::string text(const Ask& ask) {
  if (const auto* write = std::get_if<WriteRecord>(&ask)) {
    const OperationRecord& record = write->record;
    std::string out = std::string("write ") + to_string(record.phase);
    if (record.phase == OperationPhase::outcome) out += std::string(" ") + to_string(record.status);
    return out + " " + std::to_string(record.attempt);
  }
  if (const auto* run = std::get_if<RunStep>(&ask)) {
    const Step& step = run->step;
    if (step.action == "hook") return "call " + step.arguments["name"].string_or("");
    return (run->undo ? "undo " : "run ") + step.action + (step.component == "app" || step.component.empty() ? "" : " " + step.component);
  }
  if (const auto* verify = std::get_if<Verify>(&ask)) return "verify " + verify->release;
  return std::string("finish ") + to_string(std::get<Finish>(ask).status);
}

}  // namespace rollbackd::rollback::testing
