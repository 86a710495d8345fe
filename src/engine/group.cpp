// Services rolled back together: every member's guards first, then one after the other in the group's order, until one does not end well.
#include <algorithm>

#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/service.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kRunsMax = 32;

RollbackCommand member_command(const GroupCommand& group, const ServiceKey& service) {
  RollbackCommand out;
  out.service = {service.name, service.environment};
  out.reason = group.reason;
  out.principal = group.principal;
  out.emergency = group.emergency;
  out.force = group.force;
  out.lenient = group.lenient;
  out.accept_data_loss = group.accept_data_loss;
  return out;
}

std::optional<ServiceKey> key_of(const std::string& name) {
  const auto pieces = split(name, '/');
  if (pieces.size() != 2) return std::nullopt;
  return ServiceKey{pieces[0], pieces[1]};
}

CommandAnswer say(ExitCode code, std::string message, Json body) {
  CommandAnswer answer;
  answer.code = code;
  answer.body = std::move(body.set("message", std::move(message)));
  return answer;
}

}  // namespace

Json Fleet::GroupRun::to_json() const {
  Json rows = Json::array();
  for (const Member& m : members)
    rows.push(Json::object()
                  .set("service", m.service.name)
                  .set("environment", m.service.environment)
                  .set("from", m.from)
                  .set("to", m.to)
                  .set("operation", m.operation)
                  .set("status", m.status)
                  .set("detail", m.detail));
  return Json::object()
      .set("id", id)
      .set("group", group)
      .set("status", status)
      .set("detail", detail)
      .set("reason", reason)
      .set("principal", principal)
      .set("begun", format_rfc3339(begun))
      .set("exit_code", static_cast<int>(code))
      .set("members", std::move(rows));
}

/// Asks every member what a dry run of it says. `rows` gets each one's answer; `allowed` is false when one says no.
asio::awaitable<Result<std::vector<Fleet::GroupRun::Member>>> Fleet::preflight(GroupCommand command, std::vector<std::string> services,
                                                                               Json& rows, bool& allowed) {
  std::vector<GroupRun::Member> members;
  allowed = true;
  for (const std::string& name : services) {
    const auto key = key_of(name);
    if (!key) co_return Error(Errc::invalid_config, name + " is no service");
    RollbackCommand one = member_command(command, *key);
    one.dry_run = true;
    auto answer = co_await engine_.rollback(std::move(one));
    Json row = answer ? answer->body : Json::object().set("message", answer.error().text());
    const bool yes = answer && answer->code == ExitCode::success;
    row.set("service", key->name).set("environment", key->environment).set("allowed", yes);
    allowed = allowed && yes;
    GroupRun::Member member;
    member.service = *key;
    member.from = row["from"].string_or("");
    member.to = row["to"].string_or("");
    member.status = "planned";
    members.push_back(std::move(member));
    rows.push(std::move(row));
  }
  co_return members;
}

asio::awaitable<Result<CommandAnswer>> Fleet::rollback_group(GroupCommand command) {
  if (trim(command.reason).empty()) co_return Error(Errc::invalid_argument, "a rollback needs a reason").try_next("add --reason \"...\"");
  const auto& all = engine_.settings().groups;
  const auto group = std::find_if(all.begin(), all.end(), [&](const config::GroupSettings& g) { return g.name == command.group; });
  if (group == all.end()) {
    std::vector<std::string> names;
    for (const auto& g : all) names.push_back(g.name);
    co_return Error(Errc::not_found, "there is no group " + printable(cut(command.group, 64)))
        .because(names.empty() ? "none is configured" : "there are: " + join(names, ", "));
  }
  const std::vector<std::string> services = group->services;
  Json body = Json::object().set("group", command.group);
  Json rows = Json::array();
  bool allowed = true;
  auto members = co_await preflight(command, services, rows, allowed);
  if (!members) co_return members.error();
  std::vector<std::string> no;
  for (const Json& row : rows.elements())
    if (!row["allowed"].bool_or(false)) no.push_back(row["service"].string_or("") + ": " + row["message"].string_or(""));
  body.set("members", std::move(rows));
  if (!allowed)
    co_return say(command.dry_run ? ExitCode::dry_run_problem : ExitCode::refused, "nothing is done: " + join(no, "; "), std::move(body));
  if (command.dry_run)
    co_return say(ExitCode::success, "would roll back " + std::to_string(members->size()) + " services in this order", std::move(body));
  const bool busy =
      std::any_of(runs_.begin(), runs_.end(), [&](const auto& run) { return run->group == command.group && run->status == "running"; });
  if (busy) co_return say(ExitCode::refused, "the group " + command.group + " is being rolled back already", std::move(body));

  auto run = std::make_shared<GroupRun>();
  run->id = io::new_id();
  run->group = command.group;
  run->reason = command.reason;
  run->principal = command.principal;
  run->begun = io::Clock::wall_now();
  run->members = std::move(*members);
  runs_.push_back(run);
  if (runs_.size() > kRunsMax) runs_.pop_front();
  spawn(engine_.executor_, nullptr, run_group(run, std::move(command)));
  body.set("group_run", run->id);
  co_return say(ExitCode::success, "rolling back the group " + run->group + ", one service after the other", std::move(body));
}

asio::awaitable<Fleet::Ended> Fleet::wait_for(std::string operation) {
  boost::system::error_code woken;
  while (true) {
    for (const Ended& ended : ended_)
      if (ended.operation == operation) co_return ended;
    co_await ended_more_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
}

/// The targets are those of the pre-flight; each member's guards are asked once more when its turn comes.
asio::awaitable<void> Fleet::run_group(std::shared_ptr<GroupRun> run, GroupCommand command) {
  std::size_t done = 0;
  for (GroupRun::Member& member : run->members) {
    RollbackCommand one = member_command(command, member.service);
    one.to = member.to;
    one.reason = "group " + run->group + " (" + run->id + "), " + std::to_string(done + 1) + " of " + std::to_string(run->members.size()) +
                 ": " + command.reason;
    auto answer = co_await engine_.rollback(std::move(one));
    const bool begun = answer && answer->code == ExitCode::success && !answer->operation.empty();
    if (!begun) {
      member.status = "refused";
      member.detail = answer ? answer->body["message"].string_or("") : answer.error().text();
      break;
    }
    member.operation = answer->operation;
    member.status = "running";
    const Ended ended = co_await wait_for(member.operation);
    member.status = ended.status;
    member.detail = ended.detail;
    if (!ended.succeeded) break;
    ++done;
  }
  const auto stopped = std::find_if(run->members.begin(), run->members.end(), [](const auto& m) { return m.status != "succeeded"; });
  if (stopped == run->members.end()) {
    run->status = "succeeded";
    run->detail = "all " + std::to_string(done) + " services are rolled back";
    log::info("a group is rolled back", {{"group", run->group}, {"run", run->id}});
    co_return;
  }
  const bool undone =
      stopped->status == "undone" || stopped->status == "abandoned" || stopped->status == "cancelled" || stopped->status == "refused";
  run->status = done > 0 || !undone ? "partial" : "failed";
  run->code = done > 0 || !undone ? ExitCode::rollback_error : ExitCode::step_failed;
  run->detail = std::to_string(done) + " of " + std::to_string(run->members.size()) + " services are rolled back; " +
                stopped->service.text() + " ended " + stopped->status + (stopped->detail.empty() ? "" : ": " + stopped->detail) +
                ", and those after it were left alone";
  Notification page;
  page.key = run->id;
  page.service = stopped->service;
  page.severity = Notification::Severity::page;
  page.title = "the rollback of the group " + run->group + " stopped at " + stopped->service.text();
  page.text = run->detail;
  engine_.notify(std::move(page));
}

Json Fleet::groups() const {
  Json groups = Json::array(), runs = Json::array();
  for (const auto& group : engine_.settings().groups) {
    Json services = Json::array();
    for (const std::string& name : group.services) services.push(name);
    groups.push(Json::object().set("name", group.name).set("services", std::move(services)));
  }
  for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) runs.push((*run)->to_json());
  return Json::object().set("groups", std::move(groups)).set("runs", std::move(runs));
}

Result<Json> Fleet::group_run(const std::string& id) const {
  for (const auto& run : runs_)
    if (run->id == id) return run->to_json();
  return Error(Errc::not_found, "there is no run " + printable(cut(id, 64)) + " of a group")
      .because("only the last ones since the start are remembered")
      .try_next("`rollbackctl history` shows what each operation became");
}

asio::awaitable<Result<Json>> Fleet::kill(bool on, std::string reason, std::string principal) {
  if (trim(reason).empty()) co_return Error(Errc::invalid_argument, "the kill switch needs a reason").try_next("add --reason \"...\"");
  const std::string path = kill_switch_.path();
  if (on) {
    const std::string text = cut(printable(reason), 256) + " (" + principal + ", " + format_rfc3339(io::Clock::wall_now()) + ")";
    if (!kill_switch_.on()) {
      kill_switch_.force(text);  // At once: the disk may take its time.
      tell_all();
    }
    auto work = [path, text] { return KillSwitch::put(path, text + "\n"); };
    const Result<> written = co_await engine_.writer_.run(std::move(work));
    if (!written)
      co_return Error(Errc::io, "it is in force, but a restart will forget it").because(written.error().text()).try_next("create " + path);
    kill_switch_.release();
    kill_switch_.look();
    co_return Json::object().set("message", "the kill switch is on: nothing acts until `rollbackctl kill --off`").set("path", path);
  }
  auto work = [path] { return KillSwitch::take_away(path); };
  const Result<> removed = co_await engine_.writer_.run(std::move(work));
  if (!removed) co_return removed.error();
  const bool was = kill_switch_.on();
  kill_switch_.release();
  kill_switch_.look();
  if (kill_switch_.on()) co_return Error(Errc::io, "the kill switch is still on").because(kill_switch_.why()).try_next("look at " + path);
  if (was) tell_all();
  co_return Json::object().set("message", was ? "the kill switch is off" : "the kill switch was not on").set("path", path);
}

}  // namespace rollbackd::engine
