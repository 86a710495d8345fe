// Services rolled back together: every member's guards first, then one after the other in the group's order, until one does not end well.
// How far a run is stands in STATE/group-runs before a member's operation begins, so that a restart of the daemon goes on with it.
#include <algorithm>

#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/group_run.hpp"
#include "engine/service.hpp"
#include "io/failpoint.hpp"
#include "record/whole_file.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kRunsMax = 32;

record::WholeFile runs_file(const std::string& directory) {
  return {directory, "group-runs", "rollbackd-group-runs", 1, "nothing: it is replaced when a group is rolled back again"};
}

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

/// Asks every member what a dry run of it says. `rows` gets each one's answer; `allowed` is false when one says no.
asio::awaitable<Result<std::vector<GroupRun::Member>>> Fleet::preflight(GroupCommand command, std::vector<std::string> services, Json& rows,
                                                                        bool& allowed) {
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
      std::any_of(runs_.begin(), runs_.end(), [&](const auto& run) { return run->command.group == command.group && run->running(); });
  if (busy) co_return say(ExitCode::refused, "the group " + command.group + " is being rolled back already", std::move(body));

  auto run = std::make_shared<GroupRun>();
  run->id = io::new_id();
  run->command = std::move(command);
  run->begun = io::Clock::wall_now();
  run->members = std::move(*members);
  runs_.push_back(run);
  if (runs_.size() > kRunsMax) runs_.pop_front();
  co_await note_runs();
  spawn(engine_.executor_, nullptr, run_group(run, ""));
  body.set("group_run", run->id);
  std::string message = "rolling back the group " + run->command.group + ", one service after the other";
  if (runs_untold_) message += "; the disk does not take it: a restart of rollbackd would leave the later ones alone and tell nobody";
  co_return say(ExitCode::success, std::move(message), std::move(body));
}

asio::awaitable<Fleet::Ended> Fleet::wait_for(std::string operation) {
  boost::system::error_code woken;
  while (true) {
    for (const Ended& ended : ended_)
      if (ended.operation == operation) co_return ended;
    co_await ended_more_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
}

/// Its operation runs, or its end is known.
bool Fleet::known(const GroupRun::Member& member) const {
  const auto service = engine_.services_.find(member.service);
  if (service != engine_.services_.end() && service->second->operating_ == member.operation) return true;
  return std::any_of(ended_.begin(), ended_.end(), [&](const Ended& ended) { return ended.operation == member.operation; });
}

/// Writes how far the runs are. What cannot be written is taken away: a restart had better know nothing than something old.
asio::awaitable<void> Fleet::note_runs() {
  const ClockReading clock = engine_.clock_.read();
  Json runs = Json::array();
  for (const auto& run : runs_) {
    if (run->running()) run->noted = clock.stamp;
    runs.push(run->kept());
  }
  Json content = Json::object().set("runs", std::move(runs));
  auto work = [file = runs_file(engine_.settings_.state_directory), content = std::move(content)] {
    Result<> written = record::write_whole(file, content);
    if (!written) static_cast<void>(record::remove_whole(file));
    return written;
  };
  const Result<> written = co_await engine_.writer_.run(std::move(work));
  if (!written && !runs_untold_)
    log::error("a restart would not know of the group that is being rolled back", {{"error", written.error().text()}});
  runs_untold_ = !written;
}

/// The runs of before a restart. `run()` goes on with those that had not ended.
asio::awaitable<void> Fleet::read_runs() {
  auto work = [file = runs_file(engine_.settings_.state_directory)] { return record::read_whole(file); };
  const Result<Json> read = co_await engine_.writer_.run(std::move(work));
  if (!read) {
    if (read.error().code == Errc::not_found) co_return;
    Notification page;
    page.key = io::new_id();
    page.severity = Notification::Severity::page;
    page.title = "whether a group was being rolled back is not known";
    page.text = read.error().text() + "\nIf one was, its later members are left alone: rollbackctl history shows what was done.";
    engine_.notify(std::move(page));
    co_return;
  }
  for (const Json& one : (*read)["runs"].elements())
    if (auto run = GroupRun::from_kept(one); run && runs_.size() < kRunsMax) runs_.push_back(std::make_shared<GroupRun>(std::move(*run)));
}

void Fleet::go_on_with_runs() {
  const ClockReading clock = engine_.clock_.read();
  for (const auto& run : runs_) {
    if (!run->running()) continue;
    const std::string stopped_by = run->why_not_go_on(clock.instant - clock.to_instant(run->noted));
    ++run->restarts;
    log::warning("the rollback of a group goes on after a restart",
                 {{"group", run->command.group}, {"run", run->id}, {"but", stopped_by.empty() ? "nothing" : stopped_by}});
    spawn(engine_.executor_, nullptr, run_group(run, stopped_by));
  }
}

/// Begins a member's operation, under an id that is on disk before it. Sets the member's status; "running" when it has begun.
asio::awaitable<void> Fleet::begin_member(std::shared_ptr<GroupRun> run, std::size_t index) {
  GroupRun::Member& member = run->members[index];
  member.operation = io::new_id();
  member.status = "running";
  member.detail.clear();
  co_await note_runs();
#ifdef ROLLBACKD_FAILPOINTS
  const std::string name = "group.noted." + std::to_string(index + 1);
  ROLLBACKD_FAILPOINT(name.c_str());
#endif
  RollbackCommand one = member_command(run->command, member.service);
  one.operation = member.operation;
  one.from = member.from;
  one.to = member.to;
  one.reason = "group " + run->command.group + " (" + run->id + "), " + std::to_string(index + 1) + " of " +
               std::to_string(run->members.size()) + ": " + run->command.reason;
  const auto answer = co_await engine_.rollback(std::move(one));
  if (answer && answer->code == ExitCode::success) co_return;
  const bool there = answer && answer->code == ExitCode::already_on_target;  // Its own incident has rolled it back meanwhile, for example.
  member.operation.clear();
  member.status = there ? "succeeded" : "refused";
  member.detail = answer ? answer->body["message"].string_or("") : answer.error().text();
}

/// What became of the member that was under way when the daemon ended. "planned" where that is nothing: it is begun anew.
asio::awaitable<void> Fleet::end_of_before(std::shared_ptr<GroupRun> run, std::size_t index) {
  GroupRun::Member& member = run->members[index];
  if (known(member)) {
    const Ended ended = co_await wait_for(member.operation);
    member.status = ended.status;
    member.detail = ended.detail;
    if (member.status != to_string(OperationStatus::abandoned)) co_return;
  }
  member.status = "planned";
  member.detail.clear();
}

/// The targets are those of the pre-flight; each member's guards are asked once more when its turn comes. @param stopped_by  why none is
/// begun any more; what was begun before the restart is waited for all the same
asio::awaitable<void> Fleet::run_group(std::shared_ptr<GroupRun> run, std::string stopped_by) {
  for (std::size_t i = 0; i < run->members.size(); ++i) {
    GroupRun::Member& member = run->members[i];
    if (member.status == "running") co_await end_of_before(run, i);
    if (engine_.stopping_) co_return;  // The next start goes on.
    if (member.status == "planned") {
      if (!stopped_by.empty()) break;
      co_await begin_member(run, i);
    }
    if (member.status == "running") {
      const Ended ended = co_await wait_for(member.operation);
      member.status = ended.status;
      member.detail = ended.detail;
    }
    if (member.status != "succeeded") break;
  }
  run->end(stopped_by);
  // Told before it stands on the disk as ended: a restart between the two tells it again, under the same key.
  const auto stopped = std::find_if(run->members.begin(), run->members.end(), [](const auto& m) { return m.status != "succeeded"; });
  if (stopped == run->members.end()) {
    log::info("a group is rolled back", {{"group", run->command.group}, {"run", run->id}});
  } else {
    const auto left = run->commands_left();
    Notification page;
    page.key = run->id;
    page.service = stopped->service;
    page.severity = Notification::Severity::page;
    page.title = "the rollback of the group " + run->command.group + " stopped at " + stopped->service.text();
    page.text = run->detail + (left.empty() ? "" : "\nto roll back the rest, once it is known why:\n" + join(left, "\n"));
    engine_.notify(std::move(page));
  }
  co_await note_runs();
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
      .because("only the last " + std::to_string(kRunsMax) + " are remembered")
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
