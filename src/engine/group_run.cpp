#include "engine/group_run.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace rollbackd::engine {

namespace {

bool changed_nothing(const GroupRun::Member& member) {
  return member.status == "undone" || member.status == "abandoned" || member.status == "cancelled" || member.status == "refused" ||
         member.status == "planned";
}

Json member_json(const GroupRun::Member& m) {
  return Json::object()
      .set("service", m.service.name)
      .set("environment", m.service.environment)
      .set("from", m.from)
      .set("to", m.to)
      .set("operation", m.operation)
      .set("status", m.status)
      .set("detail", m.detail);
}

}  // namespace

std::string GroupRun::why_not_go_on(Duration away) const {
  if (away > kGroupGoesOnWithin)
    return "rollbackd was away for " + format_duration(away) + ", and after more than " + format_duration(kGroupGoesOnWithin) +
           " nobody's word of before counts";
  if (restarts >= kGroupRestartsMax) return "rollbackd was restarted " + std::to_string(restarts) + " times in the middle of it";
  return {};
}

void GroupRun::end(const std::string& stopped_by) {
  std::vector<std::string> done, left;
  const Member* stopped = nullptr;
  for (Member& member : members) {
    if (member.status == "succeeded") {
      done.push_back(member.service.text());
    } else if (stopped == nullptr && member.status != "planned") {
      stopped = &member;
    } else {
      member.status = "cancelled";
      member.detail = "left alone: " + (stopped != nullptr ? stopped->service.text() + " ended " + stopped->status : stopped_by);
      left.push_back(member.service.text());
    }
  }
  if (done.size() == members.size()) {
    status = "succeeded";
    detail = "all " + std::to_string(done.size()) + " services are rolled back: " + join(done, ", ");
    return;
  }
  const bool nothing_done = done.empty() && (stopped == nullptr || changed_nothing(*stopped));
  const bool refused = stopped == nullptr || stopped->status == "refused";
  status = nothing_done ? "failed" : "partial";
  code = !nothing_done ? ExitCode::rollback_error : refused ? ExitCode::refused : ExitCode::step_failed;
  detail = std::to_string(done.size()) + " of " + std::to_string(members.size()) + " services are rolled back" +
           (done.empty() ? "" : " (" + join(done, ", ") + ", and stay so)");
  if (stopped != nullptr)
    detail += "; " + stopped->service.text() + " ended " + stopped->status + (stopped->detail.empty() ? "" : ": " + stopped->detail);
  if (!stopped_by.empty()) detail += "; " + stopped_by;
  if (!left.empty()) detail += "; left alone: " + join(left, ", ");
}

std::vector<std::string> GroupRun::commands_left() const {
  std::vector<std::string> out;
  if (running()) return out;
  for (const Member& m : members)
    if (changed_nothing(m))
      out.push_back("rollbackctl rollback " + m.service.name + " --env " + m.service.environment + " --to " + m.to + " --reason \"...\"");
  return out;
}

Json GroupRun::to_json() const {
  Json rows = Json::array(), next = Json::array();
  for (const Member& m : members) rows.push(member_json(m));
  for (const std::string& line : commands_left()) next.push(line);
  return Json::object()
      .set("id", id)
      .set("group", command.group)
      .set("status", status)
      .set("detail", detail)
      .set("reason", command.reason)
      .set("principal", command.principal)
      .set("begun", format_rfc3339(begun))
      .set("restarts", restarts)
      .set("exit_code", static_cast<int>(code))
      .set("members", std::move(rows))
      .set("next_steps", std::move(next));
}

Json GroupRun::kept() const {
  Json out = to_json();
  out.set("begun_ns", begun.ns());
  out.set("boot", noted.boot_id).set("boot_ns", noted.boot_ns).set("wall_ns", noted.wall_ns);
  out.set("emergency", command.emergency).set("force", command.force).set("lenient", command.lenient);
  out.set("accept_data_loss", command.accept_data_loss);
  return out;
}

std::optional<GroupRun> GroupRun::from_kept(const Json& json) {
  GroupRun out;
  out.id = json["id"].string_or("");
  out.status = json["status"].string_or("");
  out.detail = json["detail"].string_or("");
  out.code = static_cast<ExitCode>(json["exit_code"].int_or(0));
  out.restarts = static_cast<int>(json["restarts"].int_or(0));
  out.begun = Instant(json["begun_ns"].int_or(0));
  out.noted = {json["boot"].string_or(""), json["boot_ns"].int_or(0), json["wall_ns"].int_or(0)};
  out.command.group = json["group"].string_or("");
  out.command.reason = json["reason"].string_or("");
  out.command.principal = json["principal"].string_or("");
  out.command.emergency = json["emergency"].bool_or(false);
  out.command.force = json["force"].bool_or(false);
  out.command.lenient = json["lenient"].bool_or(false);
  out.command.accept_data_loss = json["accept_data_loss"].bool_or(false);
  for (const Json& row : json["members"].elements()) {
    Member m;
    m.service = {row["service"].string_or(""), row["environment"].string_or("")};
    m.from = row["from"].string_or("");
    m.to = row["to"].string_or("");
    m.operation = row["operation"].string_or("");
    m.status = row["status"].string_or("");
    m.detail = row["detail"].string_or("");
    out.members.push_back(std::move(m));
  }
  if (out.id.empty() || out.members.empty()) return std::nullopt;
  return out;
}

}  // namespace rollbackd::engine
