#include "model/decision.hpp"

namespace rollbackd {
namespace {

Json list_of(const std::vector<std::string>& texts) {
  Json list = Json::array();
  for (const std::string& text : texts) list.push(text);
  return list;
}

}  // namespace

const char* to_string(DecisionKind v) {
  switch (v) {
    case DecisionKind::none: return "none";
    case DecisionKind::notify: return "notify";
    case DecisionKind::hold: return "hold";
    case DecisionKind::retry: return "retry";
    case DecisionKind::resume: return "resume";
    case DecisionKind::skip: return "skip";
    case DecisionKind::rollback: return "rollback";
    case DecisionKind::manual: return "manual";
  }
  return "none";
}

std::optional<DecisionKind> decision_kind_from(std::string_view text) {
  for (int number = 0; number <= static_cast<int>(DecisionKind::manual); ++number)
    if (text == to_string(static_cast<DecisionKind>(number))) return static_cast<DecisionKind>(number);
  return std::nullopt;
}

const char* to_string(Notification::Severity v) {
  switch (v) {
    case Notification::Severity::info: return "info";
    case Notification::Severity::warning: return "warning";
    case Notification::Severity::page: return "page";
  }
  return "info";
}

Json Decision::to_json() const {
  Json json = Json::object();
  json.set("id", id).set("service", service.name).set("environment", service.environment);
  json.set("at", format_rfc3339(at)).set("decision", to_string(kind));
  json.set("release", release).set("target", target).set("incident", incident);
  json.set("evidence", list_of(evidence));
  Json answers = Json::array();
  for (const GuardAnswer& answer : guards) {
    Json one = Json::object();
    one.set("guard", answer.guard).set("yes", answer.yes).set("asked", answer.asked);
    one.set("passed_over", answer.passed_over).set("evidence", answer.evidence);
    answers.push(std::move(one));
  }
  json.set("guards", std::move(answers));
  json.set("why_not", list_of(why_not));
  json.set("reason", reason).set("next_step", next_step).set("operation", operation);
  if (!timing.is_null()) json.set("timing", timing);
  return json;
}

}  // namespace rollbackd
