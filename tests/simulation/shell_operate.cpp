// Carries out operations: the pure machine says what is next, this does it in the simulated world and answers. Mirrors engine/operate.cpp.
#include <algorithm>
#include <utility>

#include "rollback/plan.hpp"
#include "rollback/verdict.hpp"
#include "tests/simulation/shell.hpp"

namespace rollbackd::simulation {
namespace {

Step step_of(const char* driver, const char* action) {
  Step step;
  step.component = "app";
  step.driver = driver;
  step.action = action;
  return step;
}

constexpr int kVerifyTurnsMax = 4;

}  // namespace

/// Why nothing may be begun any more before the commit point: empty when it may.
std::string Shell::why_stopped(std::size_t n) const {
  if (services_[n].incident->state().suspension) return "the suspension";
  return around_.kill_switch && !broken("kill_switch") ? "the kill switch" : "";
}

Result<Plan> Shell::plan_of(std::size_t, const OperationRequest& request, const World& world) const {
  std::vector<Step> steps{step_of("symlink", "switch"), step_of("supervised", "restart")};
  steps.front().arguments.set("from_value", "releases/" + request.from).set("to_value", "releases/" + request.to);
  return rollback::make_plan(request, world, std::move(steps));
}

rollback::OperationOptions Shell::options_of(std::size_t n, const OperationRequest& request) const {
  const config::PolicySettings& policy = services_[n].settings.policy;
  rollback::OperationOptions options;
  options.node = "node";
  options.deadline = request.mode == Mode::emergency ? policy.deadline_emergency : policy.deadline_standard;
  options.deadline_step = policy.deadline_step;
  options.verify = request.kind != OperationKind::deploy;
  return options;
}

void Shell::operate(std::size_t n, OperationRequest request) {
  turn();
  Watched& service = services_[n];
  service.request = request;
  trace(n, "operates", request.from + " -> " + request.to);
  if (*around_.break_at_event < 0) *around_.break_at_event = -*around_.break_at_event;  // A crash was meant for this operation.
  deliver(n, event::OperationBegan{request.operation, request.kind});
  around_.onlooker.began(n, request, false);
  const World world = around_.site.world(n, [this](Duration t) { return instant(t); });
  auto plan = plan_of(n, request, world);
  if (!plan) {
    service.operating.clear();
    return never_begun(n, request, plan.error().text());
  }
  service.operation.emplace(std::move(*plan), options_of(n, request), now());
  service.stood_still = stood_still_;
  service.was_stopped = false;
  drive(n, service.operation->begin(now()));
}

void Shell::drive(std::size_t n, rollback::Ask ask) {
  Watched& service = services_[n];
  if (const auto* write = std::get_if<rollback::WriteRecord>(&ask)) {
    trace(n, "record", to_string(write->record.phase));
    if (broken("intent_first") && write->record.phase <= OperationPhase::switching) {  // Says that it is on disk before it is.
      around_.clock.in_daemon(1ms, [this, n] { answered(n, rollback::RecordOnDisk{}); });
      return;
    }
    around_.disks[n]->write(write->record, reading(), [this, n](bool ok) {
      answered(n, rollback::RecordOnDisk{ok, ok ? "" : "the disk failed"});
    });
  } else if (const auto* run = std::get_if<rollback::RunStep>(&ask)) {
    const Step step = run->step;
    const std::string stopped = step.action == "switch" ? why_stopped(n) : "";
    if (!stopped.empty()) {  // Nothing was begun: the machine is told so, and gives up.
      service.was_stopped = true;
      service.operation->on(rollback::CancelAsked{stopped}, now());
      rollback::StepEnded ended;
      ended.outcome.status = Outcome::Status::refused;
      ended.outcome.error = Error(Errc::refused, "not begun").because(stopped);
      ended.number = step.number;
      return answered(n, ended);
    }
    trace(n, "step", step.action);
    around_.site.run(n, step, service.request, run->deadline, [this, n, step](Outcome outcome) {
      turn();
      Watched& self = services_[n];
      trace(n, to_string(outcome.status), step.action);
      if (step.action == "switch" && outcome.ok()) {
        event::Switched switched;
        switched.release = self.request.to;
        switched.at = now();
        switched.announced = self.request.kind == OperationKind::deploy;
        switched.by_rollback = self.request.kind == OperationKind::rollback;
        switched.operation = self.request.operation;
        deliver(n, std::move(switched));
      }
      if (step.action == "restart" && !outcome.ok()) around_.onlooker.heard(n, true, around_.clock.now());  // It is said not to start.
      if (step.action == "restart" && outcome.ok()) self.process = around_.site.world(n, [this](Duration t) { return instant(t); }).process;
      rollback::StepEnded ended;
      ended.outcome = std::move(outcome);
      ended.number = step.number;
      answered(n, ended);
    });
  } else if (const auto* wanted = std::get_if<rollback::Verify>(&ask)) {
    turn();
    Verifying tests;
    tests.length = std::min<Duration>(wanted->deadline, 30s);
    tests.until = around_.clock.now() + tests.length;
    tests.stood_still = stood_still_;
    verify(n, tests);
  } else {
    finished(n, std::get<rollback::Finish>(ask));
  }
}

void Shell::answered(std::size_t n, const rollback::Answer& answer) {
  turn();
  Watched& service = services_[n];
  if (!service.operation || service.operation->finished()) return;
  service.operation->stood_still(stood_still_ - std::exchange(service.stood_still, stood_still_));
  rollback::Ask next = service.operation->on(answer, now());
  if (!service.operation->keep_waiting()) drive(n, std::move(next));
}

/// Healthy for 5 s without a break, and the test of the service itself, all within the time; what stood still in between is tested again.
void Shell::verify(std::size_t n, Verifying tests) {
  turn();
  const Duration now_true = around_.clock.now();
  const bool healthy = !around_.site.is_blind(n) && around_.site.answers(n);
  if (!healthy)
    tests.healthy_since.reset();
  else if (!tests.healthy_since)
    tests.healthy_since = now_true;
  const bool enough = tests.healthy_since && now_true - *tests.healthy_since >= 5s;
  const bool smoke = around_.site.verification_passes(n);
  if ((enough && smoke) || now_true >= tests.until) {
    if (stood_still_ == tests.stood_still || tests.turn >= kVerifyTurnsMax) return conclude_verification(n, enough, smoke);
    tests.healthy_since.reset();
    tests.until = now_true + tests.length;
    tests.stood_still = stood_still_;
    ++tests.turn;
  }
  around_.clock.in_daemon(1s, [this, n, tests] { verify(n, tests); });
}

void Shell::conclude_verification(std::size_t n, bool healthy, bool smoke) {
  turn();
  Watched& service = services_[n];
  if (!service.operation) return;
  using Kind = rollback::TestResult::Kind;
  const bool blind = around_.site.is_blind(n);
  const auto result = [&](const char* test, bool passed) {
    return rollback::TestResult{test, blind && !passed ? Kind::unknown : passed ? Kind::passed : Kind::timed_out, "", {}};
  };
  const World world = around_.site.world(n, [this](Duration t) { return instant(t); });
  const Instant switched = service.operation->record().switched.value_or(service.operation->record().begun);
  const bool younger = world.process->running && world.process->started + 10ms >= switched;
  std::vector<rollback::TestResult> of_world{{"release_on_disk", world.live == service.request.to ? Kind::passed : Kind::failed, "", {}},
                                             {"process_younger", younger ? Kind::passed : Kind::failed, "", {}}};
  if (!healthy || !smoke || !younger) around_.onlooker.heard(n, true, around_.clock.now());
  if ((healthy && smoke) || !blind) deliver(eyes_->on_verification(n, healthy && smoke, now(), now()));  // Unknown is not told.
  rollback::Verified verified;
  verified.verdict = rollback::judge_verification(std::move(of_world), {result("checks_healthy", healthy), result("smoke", smoke)});
  trace(n, "verification", verified.verdict.failed_how);
  answered(n, verified);
}

void Shell::finished(std::size_t n, const rollback::Finish& finish) {
  Watched& service = services_[n];
  const OperationRequest request = service.request;
  trace(n, "ended", to_string(finish.status));
  const bool given_up = finish.status == OperationStatus::abandoned || finish.status == OperationStatus::undone;
  const bool interrupted = (service.was_stopped && finish.status == OperationStatus::cancelled) ||
                           (service.operation && service.operation->lost_its_turn() && given_up);
  service.operating.clear();
  service.operation.reset();
  tell_ended(n, request, finish.status, finish.failed_how, finish.detail, interrupted);
  on_link(n);  // Somebody may have deployed while we were at it.
}

void Shell::tell_ended(std::size_t n, const OperationRequest& request, OperationStatus status, std::string how, std::string detail,
                       bool interrupted, std::optional<Instant> at) {
  event::OperationEnded ended;
  ended.operation = request.operation;
  ended.kind = request.kind;
  ended.status = status;
  ended.trigger = request.trigger;
  ended.from = request.from;
  ended.to = request.to;
  ended.failed_how = std::move(how);
  ended.detail = std::move(detail);
  ended.interrupted = interrupted;
  ended.at = at;
  deliver(n, std::move(ended));
}

void Shell::never_begun(std::size_t n, const OperationRequest& request, const std::string& why, bool judged_again) {
  trace(n, "never begun", why);
  tell_ended(n, request, OperationStatus::abandoned, "", why, judged_again);
}

}  // namespace rollbackd::simulation
