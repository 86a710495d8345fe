// What people ask for: rollback, deploy, suspend, mark. The same guards, plan and operation as an automatic one.
#include "engine/commands.hpp"

#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "decision/guards.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/insight.hpp"
#include "engine/service.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kReasonBytesMax = 1024;

/// Reads "ID" or "release:ID".
Result<std::string> target_id(std::string text) {
  if (text.starts_with("release:")) text = text.substr(8);
  if (text.starts_with("snapshot:") || text.starts_with("checkpoint:"))
    return Error(Errc::unsupported, "only releases can be rolled back to in this version")
        .because("\"" + printable(text) + "\" was asked for");
  if (auto ok = check_release_id(text); !ok) return ok.error();
  return text;
}

Json guards_json(const std::vector<GuardAnswer>& answers) {
  Json out = Json::array();
  for (const auto& answer : answers) {
    Json row;
    row.set("guard", answer.guard).set("yes", answer.yes).set("asked", answer.asked).set("passed_over", answer.passed_over);
    row.set("evidence", answer.evidence);
    out.push(std::move(row));
  }
  return out;
}

/// "refused by: window_open (freeze until ...)": what a person needs to know to go on.
std::string refusal(const std::vector<GuardAnswer>& answers) {
  std::string out;
  for (const auto& answer : answers)
    if (answer.asked && !answer.yes && !answer.passed_over)
      out += (out.empty() ? "refused by: " : ", ") + answer.guard + " (" + answer.evidence + ")";
  return out;
}

CommandAnswer answer_of(ExitCode code, std::string message, Json body = Json::object()) {
  CommandAnswer answer;
  answer.code = code;
  answer.body = std::move(body);
  answer.body.set("message", std::move(message));
  return answer;
}

}  // namespace

asio::awaitable<Result<CommandAnswer>> Engine::rollback(RollbackCommand command) {
  auto service = find(command.service);
  if (!service) co_return service.error();
  if (!(*service)->running()) co_return Error(Errc::unavailable, "the service is not watched").because((*service)->trouble());
  co_return co_await (*service)->rollback(std::move(command));
}

asio::awaitable<Result<CommandAnswer>> Engine::deploy(DeployCommand command) {
  auto service = find(command.service);
  if (!service) co_return service.error();
  if (!(*service)->running()) co_return Error(Errc::unavailable, "the service is not watched").because((*service)->trouble());
  co_return co_await (*service)->deploy(std::move(command));
}

asio::awaitable<Result<CommandAnswer>> Service::rollback(RollbackCommand command) {
  const auto self = shared_from_this();
  if (trim(command.reason).empty()) co_return Error(Errc::invalid_argument, "a rollback needs a reason").try_next("add --reason \"...\"");
  OperationRequest request;
  request.operation = command.operation.empty() ? io::new_id() : command.operation;
  request.service = key();
  request.kind = OperationKind::rollback;
  request.trigger = Trigger::manual;
  request.cause = Cause::operator_;
  request.mode = command.emergency ? Mode::emergency : Mode::standard;
  request.reason = cut(printable(command.reason), kReasonBytesMax);
  request.principal = command.principal;

  World world;
  auto seen = co_await driver_->inspect();
  if (!seen) co_return seen.error();
  request.from = seen->live;
  if (command.to.empty()) {
    request.selection = Selection::previous;
    const auto choice = ledger::choose_target(incident_->state(), {});
    if (!choice.target) {
      Json why = Json::array();
      for (const auto& line : choice.why_not) why.push(line);
      co_return answer_of(ExitCode::refused, "there is no good release to go back to; name one with --to RELEASE --force",
                          Json::object().set("why_not", why));
    }
    request.to = choice.target->id;
  } else {
    request.selection = Selection::specific;
    auto id = target_id(command.to);
    if (!id) co_return id.error();
    request.to = *id;
  }
  if (request.to == request.from) co_return answer_of(ExitCode::already_on_target, key().text() + " already runs " + request.to);
  if (!command.from.empty() && command.from != request.from)
    co_return answer_of(ExitCode::refused, key().text() + " runs " + request.from + " and not " + command.from + ": somebody deployed it");
  if (std::find(seen->releases.begin(), seen->releases.end(), request.to) == seen->releases.end())
    co_return answer_of(ExitCode::version_not_found, "release " + request.to + " is not in " + component().releases,
                        Json::object().set("nearest", nearest(request.to, seen->releases)));
  if (!ledger::find(incident_->state(), request.to))
    if (auto release = driver_->describe(request.to)) incident_->enter_release(*release, engine_.clock_.now());

  const LedgerEntry* entry = ledger::find(incident_->state(), request.to);
  const std::string digest = entry ? entry->release.digest : "";
  TargetFacts facts = co_await driver_->look(request.to, digest);
  if (facts.present && !facts.intact) facts = co_await driver_->arm(request.to, digest);  // Never looked at before: hash it now.
  decision::GuardInput input = incident_->guard_input(engine_.clock_.now());
  input.automatic = false;
  input.mode = request.mode;
  input.kind = request.kind;
  input.from = request.from;
  input.to = request.to;
  input.target = facts;
  input.dependencies_failing = failing_dependencies();
  input.operation_running = input.operation_running || !operating_.empty();
  engine_.fleet().stopped();  // Looks at the kill switch now, whatever was heard of it.
  input.daemon_suspended = engine_.fleet().kill_switch_on();
  input.suspended_why = engine_.fleet().kill_switch().why();
  input.fleet = engine_.fleet().facts(*this);
  input.accept_data_loss = command.accept_data_loss;
  input.lock_held_by_caller = command.lock;
  const auto answers = decision::ask_guards(input, decision::Overrides{command.force, command.lenient});
  Json body = Json::object();
  body.set("service", key().name).set("environment", key().environment).set("from", request.from).set("to", request.to);
  body.set("guards", guards_json(answers));
  for (const auto& answer : answers)
    if (answer.passed_over) request.overrides.push_back(answer.guard);
  const bool allowed = decision::all_yes(answers);

  auto plan = co_await plan_of(request, world);
  if (plan) body.set("plan", plan->to_json());
  if (command.dry_run && plan) {
    Json changes = co_await changes_of(*plan);
    body.set("changes", std::move(changes));
  }
  if (command.dry_run) {
    if (!plan) co_return answer_of(ExitCode::dry_run_problem, plan.error().text(), std::move(body));
    if (!allowed) co_return answer_of(ExitCode::dry_run_problem, refusal(answers), std::move(body));
    co_return answer_of(ExitCode::success, "would roll back " + request.from + " -> " + request.to, std::move(body));
  }
  if (!allowed) {
    co_return answer_of(ExitCode::refused, refusal(answers), std::move(body));
  }
  if (!plan) co_return plan.error();
  // Between asking the guards and here this coroutine waited: somebody else may have begun.
  if (!operating_.empty()) co_return answer_of(ExitCode::refused, "refused by: no_operation_in_progress", std::move(body));
  operating_ = request.operation;
  engine_.insight().on_command(request.operation, answers, ledger::choose_target(incident_->state(), {}).why_not);
  spawn(engine_.executor_, self, operate(request));
  CommandAnswer answer = answer_of(ExitCode::success, "rolling back " + request.from + " -> " + request.to, std::move(body));
  answer.operation = request.operation;
  co_return answer;
}

asio::awaitable<Result<CommandAnswer>> Service::deploy(DeployCommand command) {
  const auto self = shared_from_this();
  auto id = target_id(command.release);
  if (!id) co_return id.error();
  auto world = co_await driver_->inspect();
  if (!world) co_return world.error();
  Json body = Json::object();
  body.set("service", key().name).set("environment", key().environment).set("from", world->live).set("to", *id);
  if (world->live == *id) co_return answer_of(ExitCode::already_on_target, key().text() + " already runs " + *id, std::move(body));
  auto release = driver_->describe(*id);
  if (!release || std::find(world->releases.begin(), world->releases.end(), *id) == world->releases.end())
    co_return answer_of(ExitCode::version_not_found, "release " + *id + " is not in " + component().releases,
                        std::move(body.set("nearest", nearest(*id, world->releases))));
  incident_->enter_release(*release, engine_.clock_.now());
  const LedgerEntry* entry = ledger::find(incident_->state(), *id);
  if (entry && entry->standing == Standing::bad && !command.force)
    co_return answer_of(ExitCode::refused, "release " + *id + " is bad (" + entry->reason + "); --force deploys it all the same",
                        std::move(body));
  engine_.fleet().stopped();
  decision::GuardInput input = incident_->guard_input(engine_.clock_.now());
  input.kind = OperationKind::deploy;
  input.from = world->live;
  input.to = *id;
  input.target = TargetFacts{*id, true, true, ""};
  input.operation_running = input.operation_running || !operating_.empty();
  input.daemon_suspended = engine_.fleet().kill_switch_on();
  input.suspended_why = engine_.fleet().kill_switch().why();
  input.dependencies_failing = failing_dependencies();
  input.fleet = engine_.fleet().facts(*this);
  input.lock_held_by_caller = command.lock;
  const auto answers = decision::ask_guards(input, decision::Overrides{command.force, command.lenient});
  body.set("guards", guards_json(answers));
  if (!decision::all_yes(answers)) co_return answer_of(ExitCode::refused, refusal(answers), std::move(body));
  OperationRequest request;
  request.operation = io::new_id();
  request.service = key();
  request.kind = OperationKind::deploy;
  request.selection = Selection::specific;
  request.trigger = Trigger::manual;
  request.cause = Cause::operator_;
  request.from = world->live;
  request.to = *id;
  request.reason = cut(printable(command.reason.empty() ? "no reason given by the caller" : command.reason), kReasonBytesMax);
  request.principal = command.principal;
  for (const auto& answer : answers)
    if (answer.passed_over) request.overrides.push_back(answer.guard);
  operating_ = request.operation;
  spawn(engine_.executor_, self, operate(request));
  CommandAnswer answer = answer_of(ExitCode::success, "deploying " + *id, std::move(body));
  answer.operation = request.operation;
  co_return answer;
}

namespace {

/// "*" names every service: no service can be called so.
bool names_all(const ServiceSelector& selector) { return selector.name == "*"; }

}  // namespace

Result<Json> Engine::suspend(const ServiceSelector& selector, Duration length, std::string reason, std::string principal) {
  if (trim(reason).empty()) return Error(Errc::invalid_argument, "a suspension needs a reason").try_next("add --reason \"...\"");
  constexpr Duration kLongest = std::chrono::hours(24 * 30);
  if (length <= Duration{} || length > kLongest)
    return Error(Errc::invalid_argument, "a suspension lasts more than nothing and at most 30 days");
  if (names_all(selector)) {
    for (const auto& [key, each] : services_)
      if (each->running()) each->deliver(event::Suspend{length, cut(printable(reason), kReasonBytesMax), principal});
    return Json::object().set("message", "every service is suspended for " + format_duration(length));
  }
  auto service = find(selector);
  if (!service) return service.error();
  if (!(*service)->running()) return Error(Errc::unavailable, "the service is not watched").because((*service)->trouble());
  (*service)->deliver(event::Suspend{length, cut(printable(reason), kReasonBytesMax), principal});
  return Json::object().set("message", (*service)->key().text() + " is suspended for " + format_duration(length));
}

Result<Json> Engine::unsuspend(const ServiceSelector& selector, std::string principal) {
  if (names_all(selector)) {
    for (const auto& [key, each] : services_)
      if (each->running()) each->deliver(event::Unsuspend{principal});
    return Json::object().set("message", "every service acts again");
  }
  auto service = find(selector);
  if (!service) return service.error();
  if (!(*service)->running()) return Error(Errc::unavailable, "the service is not watched").because((*service)->trouble());
  const bool was = (*service)->incident().state().suspension.has_value();
  (*service)->deliver(event::Unsuspend{principal});
  return Json::object().set("message", (*service)->key().text() + (was ? " acts again" : " was not suspended"));
}

Result<Json> Engine::mark(const ServiceSelector& selector, std::string release, Standing standing, std::string reason,
                          std::string principal) {
  if (trim(reason).empty()) return Error(Errc::invalid_argument, "a mark needs a reason").try_next("add --reason \"...\"");
  if (auto ok = check_release_id(release); !ok) return ok.error();
  auto service = find(selector);
  if (!service) return service.error();
  if (!(*service)->running()) return Error(Errc::unavailable, "the service is not watched").because((*service)->trouble());
  if (!ledger::find((*service)->incident().state(), release))
    return Error(Errc::not_found, "release " + release + " is not in the ledger of " + (*service)->key().text())
        .try_next("`rollbackctl releases` lists them");
  (*service)->deliver(event::Mark{release, standing, cut(printable(reason), kReasonBytesMax), principal});
  return Json::object().set("message", release + " is marked " + to_string(standing));
}

Result<Json> Engine::acknowledge(const ServiceSelector& selector, std::string principal) {
  auto service = find(selector);
  if (!service) return service.error();
  if (!(*service)->running()) return Error(Errc::unavailable, "the service is not watched").because((*service)->trouble());
  (*service)->deliver(event::Acknowledge{principal});
  return Json::object().set("message", "acknowledged");
}

asio::awaitable<Result<>> Engine::on_disk(ServiceSelector selector) {
  std::vector<std::shared_ptr<Service>> changed;
  if (selector.name == "*") {
    for (const auto& [key, each] : services_) changed.push_back(each);
  } else {
    auto service = find(selector);
    if (!service) co_return service.error();
    changed.push_back(*service);
  }
  for (const auto& service : changed) {
    co_await service->performed();
    if (service->running() && !service->incident().state_trusted())
      co_return Error(Errc::io, "it is in force, but not on disk")
          .because("the state file of " + service->key().text() + " cannot be written or read")
          .try_next("say it again after the restart that the disk needs");
  }
  co_return Result<>{};
}

}  // namespace rollbackd::engine
