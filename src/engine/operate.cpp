// Carries out one operation: the pure machine says what is next, this does it and answers.
#include <boost/asio/steady_timer.hpp>

#include "base/log.hpp"
#include "config/judges_health.hpp"
#include "drivers/actor_client.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/in_time.hpp"
#include "engine/insight.hpp"
#include "engine/service.hpp"
#include "io/failpoint.hpp"
#include "rollback/plan.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr int kVerifyTurnsMax = 4;  ///< begun anew after each standstill

/// The failpoint of a record is named after its phase: "record.intent.before", "record.intent.after", ...
void failpoint([[maybe_unused]] const char* phase, [[maybe_unused]] const char* when) {
#ifdef ROLLBACKD_FAILPOINTS
  const std::string name = std::string("record.") + phase + "." + when;
  ROLLBACKD_FAILPOINT(name.c_str());
#endif
}

/// A step before the commit point, which nobody misses when it is not begun.
bool may_be_stopped(const rollback::RunStep& run) {
  const std::string& action = run.step.action;
  const bool before = action == "hook" && run.step.arguments["at"].string_or("") == "before_switch";
  return !run.undo && (action == "traffic_away" || action == "switch" || before);
}

/// What a hook gets to know.
Json facts_of(const rollback::Operation& operation) {
  const OperationRequest& request = operation.plan().request;
  Json facts = Json::object();
  facts.set("service", request.service.name).set("environment", request.service.environment);
  facts.set("operation", request.operation).set("kind", to_string(request.kind)).set("mode", to_string(request.mode));
  facts.set("trigger", to_string(request.trigger)).set("cause", to_string(request.cause)).set("incident", request.incident);
  facts.set("from", request.from).set("to", request.to).set("reason", request.reason);
  facts.set("status", to_string(operation.record().status));
  return facts;
}

}  // namespace

/// Why nothing may be begun any more before the commit point: empty when it may.
std::string Service::why_stopped() const {
  if (const auto& suspension = incident_->state().suspension)
    return "the suspension (" + suspension->principal + ": " + suspension->reason + ")";
  if (!engine_.fleet().stopped()) return {};
  const std::string& why = engine_.fleet().kill_switch().why();
  return "the kill switch" + (why.empty() ? "" : " (" + why + ")");
}

asio::awaitable<Result<Plan>> Service::plan_of(OperationRequest request, World& world) {
  auto seen = co_await in_time(engine_.executor_, shared_from_this(), driver_->inspect(), settings_.policy.deadline_step,
                               std::string("the driver"));
  if (!seen) co_return seen.error();
  world = std::move(*seen);
  if (manager_) {
    auto process = co_await in_time(engine_.executor_, shared_from_this(), manager_->inspect(), settings_.policy.deadline_step,
                                    std::string("the service manager"));
    if (process) world.process = *process;
  }
  co_return plan_from(request, world);
}

/// The steps of every component, then what its hooks add, in the one order of a plan.
Result<Plan> Service::plan_from(const OperationRequest& request, const World& world) const {
  auto steps = driver_->plan(world, request.to);
  if (!steps) return steps.error();
  const auto append = [&steps](std::vector<Step> more) {
    for (Step& step : more) steps->push_back(std::move(step));
  };
  if (manager_) append(manager_->plan());
  using config::HookPoint;
  for (const HookPoint at :
       {HookPoint::before_switch, HookPoint::after_switch, HookPoint::after_restart, HookPoint::after_verify, HookPoint::on_failure})
    append(hooks_->plan(at));
  return rollback::make_plan(request, world, rollback::in_order(std::move(*steps)));
}

rollback::OperationOptions Service::options_of(const OperationRequest& request) const {
  rollback::OperationOptions options;
  options.node = engine_.options_.node;
  options.deadline = request.mode == Mode::emergency ? settings_.policy.deadline_emergency : settings_.policy.deadline_standard;
  options.deadline_step = settings_.policy.deadline_step;
  options.verify = request.kind != OperationKind::deploy;
  options.fence = incident_->state().fence;
  return options;
}

/// Starts an operation that has passed every guard.
asio::awaitable<void> Service::operate(OperationRequest request) {
  const auto self = shared_from_this();
  ROLLBACKD_FAILPOINT("operate.decided");
  operating_ = request.operation;
  deliver(event::OperationBegan{request.operation, request.kind});
  operation_begins(request, false);
  World world;
  auto plan = co_await plan_of(request, world);
  if (!plan) {
    operating_.clear();
    never_begun(request, plan.error().text());
    co_return;
  }
  const Instant now = engine_.clock_.now();
  rollback::Operation operation(std::move(*plan), options_of(request), now);
  rollback::Ask first = operation.begin(now);
  co_await drive(std::move(operation), std::move(first), Recovered::no);
}

/// One step, by whoever carries such steps out.
asio::awaitable<Outcome> Service::run_step(rollback::RunStep run, std::shared_ptr<drivers::HookRunner> hooks, Json facts) {
  if (run.undo) co_return co_await driver_->undo(std::move(run.step), run.deadline);
  if (run.step.action == "hook") co_return co_await hooks->run(std::move(run.step), std::move(facts), run.deadline);
  if (run.step.action == "restart" && manager_) co_return co_await manager_->run(std::move(run.step), run.deadline);
  co_return co_await driver_->run(std::move(run.step), run.deadline);
}

asio::awaitable<void> Service::drive(rollback::Operation operation, rollback::Ask ask, Recovered recovered) {
  const auto self = shared_from_this();
  const auto hooks = hooks_;  // A reload may bring others; this operation's plan is of these.
  const OperationRequest request = operation.plan().request;
  operating_ = request.operation;
  drivers::announce_operation(engine_.executor_, request, operation.record().fence);
  if (recovered != Recovered::no) {
    deliver(event::OperationBegan{request.operation, request.kind});
    operation_begins(request, true);
  }
  log::info("operation", {{"service", key().text()},
                          {"operation", request.operation},
                          {"kind", to_string(request.kind)},
                          {"from", request.from},
                          {"to", request.to},
                          {"reason", request.reason}});

  record::OperationRow row;
  row.request = request;
  row.status = OperationStatus::running;
  const ClockReading reading = engine_.clock_.read();
  const auto wall = [&reading](Instant t) { return Instant(reading.to_stamp(t).wall_ns); };
  row.begun = wall(operation.record().begun);
  row.attempt = operation.record().attempt;
  if (recovered != Recovered::no) engine_.history_->add(row);

  std::optional<rollback::Finish> finish;
  bool was_stopped = false;
  // Since when all that a new process reads is in place: what began later need not be restarted. After a crash recovery spares such ones.
  std::optional<Instant> in_place;
  Duration stood_still = engine_.notice_gap(engine_.clock_.now());
  while (!finish) {
    rollback::Answer answer = rollback::DeadlinePassed{};
    if (auto* write = std::get_if<rollback::WriteRecord>(&ask)) {
      failpoint(to_string(write->record.phase), "before");
      auto work = [this, record = write->record, clock = engine_.clock_.read()] { return state_file_->write_record(record, clock); };
      // A disk that hangs is told from one that refuses: what was written may yet arrive.
      const Duration left = std::max<Duration>(operation.deadline() - engine_.clock_.now(), 1ms);
      auto writing = engine_.writer_.run(std::move(work));
      const Result<> written = co_await in_time(engine_.executor_, self, std::move(writing), left, std::string("the state file's disk"));
      failpoint(to_string(write->record.phase), "after");
      // Not before: the history would show as running what recovery knows nothing of.
      if (written && write->record.phase == OperationPhase::intent) engine_.history_->add(row);
      if (!written) log::error("an operation's record cannot be written", {{"service", key().text()}, {"error", written.error().text()}});
      if (written || written.error().code != Errc::timed_out)
        answer = rollback::RecordOnDisk{written.has_value(), written ? "" : written.error().text()};
    } else if (auto* run = std::get_if<rollback::RunStep>(&ask)) {
      const Instant begun = engine_.clock_.now();
      Outcome outcome;
      const std::string stopped = may_be_stopped(*run) ? why_stopped() : "";
      if (stopped.empty()) {
        failpoint((run->undo ? "undo." + run->step.component : run->step.action + "." + run->step.component).c_str(), "before");
        rollback::RunStep wanted = *run;
        if (wanted.step.action == "restart" && !wanted.undo && in_place)
          wanted.step.arguments.set("unless_since_boot_ns", engine_.clock_.to_boot_ns(*in_place));
        Json facts = facts_of(operation);
        outcome = co_await run_step(std::move(wanted), hooks, std::move(facts));
      } else {  // Nothing was begun: the machine is told so, and gives up.
        was_stopped = true;
        operation.on(rollback::CancelAsked{stopped}, begun);
        outcome.status = Outcome::Status::refused;
        outcome.error = Error(Errc::refused, "not begun").because(stopped);
      }
      const Instant ended = engine_.clock_.now();
      // One instant for the restart and for verification, however long the words in between take: who began later began after the switch.
      if (run->step.action == "switch" && outcome.ok()) outcome.facts.set("at_ns", ended.ns());
      if (run->undo) {
        in_place.reset();
      } else if ((run->step.action == "switch" && outcome.ok()) || (run->step.action == "hook" && in_place)) {
        in_place = ended;
      }
      if (run->step.action == "hook" && stopped.empty() && engine_.hooks_.hook_ended)
        engine_.hooks_.hook_ended(key(), run->step.arguments["at"].string_or(""), outcome.status, ended - begun);
      record::StepRow step_row{run->step, outcome, wall(begun), ended - begun};
      if (run->undo) {  // A row of its own, behind the others and in the order of undoing.
        step_row.step.action = "undo";
        const int steps = static_cast<int>(operation.plan().steps.size());
        step_row.step.number = 2 * steps + 1 - run->step.number;
      }
      engine_.history_->add(std::move(step_row));
      if (!run->undo && operation.commits(run->step) && outcome.ok()) {
        if (many_) enter(request.to, ended);
        event::Switched switched;
        switched.release = request.to;
        switched.at = ended;
        switched.announced = request.kind == OperationKind::deploy;
        switched.by_rollback = request.kind == OperationKind::rollback;
        switched.operation = request.operation;
        deliver(std::move(switched));
        row.switched = wall(ended);
      }
      if (run->step.action == "restart" && outcome.ok()) {
        // The manager tells of the new process too, perhaps a moment later; verification must not look at the old one.
        auto process = co_await in_time(engine_.executor_, shared_from_this(), manager_->inspect(), settings_.policy.deadline_step,
                                        std::string("the service manager"));
        if (process) process_ = *process;
      }
      if (!outcome.ok())
        log::error("a step did not succeed", {{"service", key().text()},
                                              {"operation", request.operation},
                                              {"step", run->step.action},
                                              {"status", to_string(outcome.status)},
                                              {"error", outcome.error.text()}});
      answer = rollback::StepEnded{std::move(outcome), run->step.number};
    } else if (auto* verify_ = std::get_if<rollback::Verify>(&ask)) {
      row.status = OperationStatus::verifying;
      engine_.history_->add(row);
      const Instant switched = operation.record().switched.value_or(operation.record().begun);
      rollback::VerificationVerdict verdict = co_await verify(verify_->release, verify_->deadline, switched);
      answer = rollback::Verified{std::move(verdict)};
    } else {
      finish = std::get<rollback::Finish>(ask);
      break;
    }
    const Instant now = engine_.clock_.now();
    const Duration before = std::exchange(stood_still, engine_.notice_gap(now));
    operation.stood_still(stood_still - before);
    ask = operation.on(answer, now);
  }
  row.status = finish->status;
  row.ended = wall(engine_.clock_.now());
  if (operation.record().switched) row.switched = wall(*operation.record().switched);
  row.attempt = operation.record().attempt;
  row.detail = finish->detail;
  row.failed_how = finish->failed_how;
  row.phases = operation.phases();
  engine_.history_->add(row);
  operation_ended(row);
  log::info(
      "operation ended",
      {{"service", key().text()}, {"operation", request.operation}, {"status", to_string(finish->status)}, {"detail", finish->detail}});
  half_way_.reset();
  if (finish->status == OperationStatus::partial && many_) half_way_ = operation.record();
  operating_.clear();
  ++operations_ended_;
  timing_ = Timing{};
  event::OperationEnded ended;
  ended.operation = request.operation;
  ended.kind = request.kind;
  ended.status = finish->status;
  ended.trigger = request.trigger;
  ended.from = request.from;
  ended.to = request.to;
  ended.failed_how = finish->failed_how;
  ended.detail = finish->detail;
  const bool given_up = finish->status == OperationStatus::abandoned || finish->status == OperationStatus::undone;
  ended.interrupted = (recovered == Recovered::undoing && finish->status == OperationStatus::abandoned) ||
                      (was_stopped && finish->status == OperationStatus::cancelled) || (operation.lost_its_turn() && given_up);
  deliver(std::move(ended));
  // Somebody may have deployed while we were at it: what the watcher was told to leave alone is looked at now.
  co_await look_at_links();
}

/// Until the health checks have had their first good word of this epoch, asks them again and again instead of waiting for their next slots:
/// with long intervals that is most of a verification's time.
asio::awaitable<void> Service::ask_ahead(Duration longest) {
  const auto self = shared_from_this();
  constexpr Duration kApart = 100ms;
  asio::steady_timer timer(engine_.executor_);
  const Instant until = engine_.clock_.now() + longest;
  while (engine_.clock_.now() < until && !health_.healthy_since(health_checks(), manager_ ? process_ : std::nullopt)) {
    for (const auto& settings : settings_.checks) {
      const auto found = config::judges_health(settings) ? check(settings.name) : nullptr;
      if (found) co_await found->probe_now();
    }
    if (!co_await pause(timer, kApart)) co_return;
  }
}

asio::awaitable<rollback::VerificationVerdict> Service::verify(std::string release, Duration deadline, Instant switched) {
  const auto self = shared_from_this();
  Instant began;
  std::vector<rollback::TestResult> results;
  // What was tested while this process stood still says how the tests' time ran out, and nothing of the release: tested again.
  for (int turn = 1; turn <= kVerifyTurnsMax; ++turn) {
    began = engine_.clock_.now();
    const Duration before = engine_.notice_gap(began);
    const Task asking = spawn(engine_.executor_, self, ask_ahead(deadline));
    results = co_await checks::run_tests(verify_context(release), deadline);
    asking.cancel();
    const Duration after = engine_.notice_gap(engine_.clock_.now());
    if (after == before) break;
  }
  last_tests_ = results;
  report_tests(results, began);
  if (engine_.hooks_.tested)
    for (const auto& result : results) engine_.hooks_.tested(key(), result.test, result.kind == rollback::TestResult::Kind::passed);

  // The world itself, after the tests: what they saw must still be there.
  using Kind = rollback::TestResult::Kind;
  std::vector<rollback::TestResult> world_tests;
  auto world = co_await in_time(engine_.executor_, shared_from_this(), driver_->inspect(), settings_.policy.deadline_step,
                                std::string("the driver"));
  rollback::TestResult on_disk{"release_on_disk", Kind::unknown, world ? "" : world.error().text(), {}};
  if (world) {
    on_disk.kind = world->live == release ? Kind::passed : Kind::failed;
    on_disk.detail = component().current + " leads to " + (world->live.empty() ? world->link_value : world->live);
    if (many_) on_disk.detail = world->link_value;
  }
  world_tests.push_back(on_disk);
  if (manager_) {
    auto process = co_await in_time(engine_.executor_, shared_from_this(), manager_->inspect(), settings_.policy.deadline_step,
                                    std::string("the service manager"));
    rollback::TestResult younger{"process_younger", Kind::unknown, process ? "" : process.error().text(), {}};
    if (process && !process->running) {
      younger.kind = Kind::failed;
      younger.detail = "no process runs (" + process->last_exit + ")";
    } else if (process && process->pid > 0) {
      constexpr Duration kTick = 10ms;
      younger.kind = process->started + kTick >= switched ? Kind::passed : Kind::failed;
      younger.detail = "pid " + std::to_string(process->pid) +
                       (younger.kind == Kind::passed ? " started after the switch" : " is older than the switch: it was not restarted");
    } else if (process) {
      younger.kind = Kind::passed;
      younger.detail = "its manager says that it runs";
    }
    world_tests.push_back(younger);
  }
  rollback::VerificationVerdict verdict = rollback::judge_verification(std::move(world_tests), std::move(results));
  engine_.insight_->on_verified(*this, verdict.results);
  co_return verdict;
}

}  // namespace rollbackd::engine
