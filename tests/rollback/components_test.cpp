// Several components that move together: every fault at every deed, and a crash of the recovery too, ends with all of them on one release,
// or as `partial` with a record that says which stands where. Hooks at their points.
#include <gmock/gmock.h>

#include <map>

#include "rollback/operation.hpp"
#include "rollback/recovery.hpp"
#include "tests/rollback/helpers.hpp"

namespace rollbackd::rollback {
namespace {

using testing::a_hook;
using testing::a_rollback;
using testing::a_step;
using testing::a_step_of;
using ::testing::ElementsAre;
using testing::ended;
using ::testing::HasSubstr;
using testing::stamped;
using testing::t0;
using testing::text;
using testing::verdict;
using Stands = ComponentMove::Stands;
using Status = Outcome::Status;

constexpr int kNever = 1'000'000;
const char* const kNames[] = {"app", "config", "assets"};

/// Traffic away, switches, restarts of all but the second component, traffic back; hooks at every point when asked for.
Plan plan_of(int components, bool extras) {
  std::vector<Step> steps;
  const auto hook = [&](const char* at) {
    if (extras) steps.push_back(a_hook(at));
  };
  if (extras) steps.push_back(a_step("traffic_away"));
  hook("before_switch");
  for (int i = 0; i < components; ++i) {
    Step step = a_step_of(kNames[i], "switch");
    step.arguments.set("from_value", std::string("r/") + kNames[i] + "-2").set("to_value", std::string("r/") + kNames[i] + "-1");
    steps.push_back(std::move(step));
  }
  hook("after_switch");
  for (int i = 0; i < components; ++i)
    if (i != 1) steps.push_back(a_step_of(kNames[i], "restart"));
  hook("after_restart");
  if (extras) steps.push_back(a_step("traffic_back"));
  hook("after_verify");
  hook("on_failure");
  OperationRequest request = a_rollback();
  if (components == 1) request.from = "app-2", request.to = "app-1";
  return stamped(request, std::move(steps));
}

/// What outlives the daemon.
struct Machine {
  Plan plan;
  std::map<std::string, std::string> links;  ///< "2", "1" or "elsewhere"
  std::map<std::string, Instant> processes;
  std::map<int, int> calls;  ///< of hooks, by the step's number; a repeated one is not called again
  bool traffic_away = false;
  std::optional<OperationRecord> last;
  int outcomes = 0, undo_always_fails = -1;
  Instant now = t0;

  explicit Machine(Plan p) : plan(std::move(p)) {
    for (const Step& step : plan.steps) {
      if (step.action == "switch") links[step.component] = "2";
      if (step.action == "restart") processes[step.component] = t0 - 1h;
    }
  }
  bool all(const std::string& release) const {
    return std::all_of(links.begin(), links.end(), [&](const auto& link) { return link.second == release; });
  }
  bool any(const std::string& release) const {
    return std::any_of(links.begin(), links.end(), [&](const auto& link) { return link.second == release; });
  }
};

enum class Fault {
  none,
  dies_before,
  dies_after,
  fails,
  refuses,
  hangs_undone,
  hangs_done,
  doubt_undone,
  doubt_done,
  somebody_deploys,
  deadline,
  cancel,
  disk
};
constexpr Fault kFaults[] = {Fault::dies_before,      Fault::dies_after, Fault::fails,        Fault::refuses,
                             Fault::hangs_undone,     Fault::hangs_done, Fault::doubt_undone, Fault::doubt_done,
                             Fault::somebody_deploys, Fault::deadline,   Fault::cancel,       Fault::disk};

struct Life {
  Machine& machine;
  int at;
  Fault fault;
  bool dead = false;
  int deeds = 0;

  Outcome carry_out(const RunStep& run, Fault now) {
    const Step& step = run.step;
    if (now == Fault::fails) return ended(Status::failed, "no");
    if (now == Fault::refuses) return ended(Status::refused, "no");
    if (now == Fault::hangs_undone) return ended(Status::timed_out, "slow");
    if (now == Fault::doubt_undone) return ended(Status::unknown, "who knows");
    Outcome outcome = act(step, run.undo);
    if (now == Fault::hangs_done) return ended(Status::timed_out, "slow");
    if (now == Fault::doubt_done) return ended(Status::unknown, "who knows");
    return outcome;
  }
  Outcome act(const Step& step, bool undo) {
    if (step.action == "switch") {
      const std::string from = undo ? "1" : "2", to = undo ? "2" : "1";
      std::string& link = machine.links[step.component];
      if (undo && machine.undo_always_fails >= 0 && kNames[machine.undo_always_fails] == step.component)
        return ended(Status::failed, "EIO");
      if (link == to) return ended(Status::already_done);
      if (link != from) return ended(Status::conflict, "somebody deployed");
      link = to;
    }
    if (step.action == "restart") machine.processes[step.component] = machine.now;
    if (step.action == "traffic_away") machine.traffic_away = true;
    if (step.action == "traffic_back") machine.traffic_away = false;
    if (step.action == "hook") machine.calls[step.number] = 1;
    return ended(Status::done);
  }

  /// Every deed of one life; ends early when it dies.
  void drive(Operation operation) {
    Ask ask = operation.begin(machine.now);
    for (int guard = 0; !std::holds_alternative<Finish>(ask); ++guard) {
      ASSERT_LT(guard, 200) << "it does not end: " << text(ask);
      const Fault now = deeds++ == at ? fault : Fault::none;
      if (now == Fault::dies_before) return void(dead = true);
      machine.now = machine.now + 20ms;
      if (now == Fault::deadline) {
        ask = operation.on(DeadlinePassed{}, machine.now);
        if (std::holds_alternative<Finish>(ask)) return;
      }
      if (now == Fault::cancel) ask = operation.on(CancelAsked{"a person"}, machine.now);
      Answer answer = RecordOnDisk{};
      if (const auto* write = std::get_if<WriteRecord>(&ask)) {
        if (now == Fault::disk) {
          answer = RecordOnDisk{false, "EIO"};
        } else {
          machine.last = write->record;
          machine.outcomes += write->record.phase == OperationPhase::outcome;
        }
      } else if (const auto* run = std::get_if<RunStep>(&ask)) {
        if (now == Fault::somebody_deploys && run->step.action == "switch") machine.links[run->step.component] = "elsewhere";
        answer = StepEnded{carry_out(*run, now), run->step.number};
      } else {
        const bool young = std::all_of(machine.processes.begin(), machine.processes.end(),
                                       [&](const auto& p) { return p.second >= *operation.record().switched; });
        answer = Verified{verdict(young && machine.all("1") ? VerificationVerdict::Kind::verified : VerificationVerdict::Kind::failed)};
      }
      if (now == Fault::dies_after) return void(dead = true);
      ask = operation.on(answer, machine.now);
    }
  }

  RecoveryMove recover_and_continue() {
    machine.now = machine.now + 3s;
    RecoveryInput input;
    input.last = machine.last;
    if (!machine.last || machine.last->phase == OperationPhase::outcome) return RecoveryMove::idle;
    std::vector<World> worlds;
    for (const Step& step : machine.plan.steps) {
      if (step.action != "switch") continue;
      World& world = worlds.emplace_back();
      world.link = World::Link::present;
      world.live = step.component + "-" + machine.links[step.component];
    }
    input.link = links_are(*machine.last, worlds);
    for (const auto& [component, started] : machine.processes) {
      World::Process process;
      process.running = true;
      process.started = started;
      input.managed.push_back({component, process});
    }
    const Recovery found = recover(input);
    OperationOptions options;
    options.spared = found.spared;
    if (found.move == RecoveryMove::abandon || found.move == RecoveryMove::outside_deployment ||
        found.move == RecoveryMove::hold_and_page) {
      machine.last->phase = OperationPhase::outcome;
      machine.last->status = found.move == RecoveryMove::hold_and_page ? OperationStatus::unknown : OperationStatus::abandoned;
      ++machine.outcomes;
    }
    if (found.move == RecoveryMove::resume) drive(Operation::resumed(*machine.last, machine.plan, options, found.resume_at, machine.now));
    if (found.move == RecoveryMove::undo) drive(Operation::undoing(*machine.last, machine.plan, options, found.why, machine.now));
    return found.move;
  }
};

void expect_no_mix(const Machine& machine) {
  EXPECT_FALSE(machine.any("1") && machine.any("2")) << "half of the components are on the new release, half on the old one";
  EXPECT_LE(machine.outcomes, 1);
  if (!machine.last || machine.last->phase != OperationPhase::outcome) return;
  switch (machine.last->status) {
    case OperationStatus::succeeded:
      EXPECT_TRUE(machine.all("1"));
      for (const auto& [component, started] : machine.processes) EXPECT_GE(started, *machine.last->switched) << component;
      EXPECT_FALSE(machine.traffic_away);
      break;
    case OperationStatus::abandoned:
    case OperationStatus::undone:
    case OperationStatus::cancelled: EXPECT_FALSE(machine.any("1")); break;
    case OperationStatus::partial: ADD_FAILURE() << "nothing that could be taken back may end partial"; break;
    default: break;
  }
}

TEST(Components, EveryFaultAtEveryDeedAndACrashOfItsRecoveryLeavesThemOnOneRelease) {
  int runs = 0;
  for (int components = 1; components <= 3; ++components) {
    for (const bool extras : {false, true}) {
      Machine undisturbed(plan_of(components, extras));
      Life counted{undisturbed, kNever, Fault::none};
      counted.drive(Operation(undisturbed.plan, {}, t0));
      ASSERT_EQ(undisturbed.last->status, OperationStatus::succeeded);
      for (int deed = 0; deed < counted.deeds; ++deed) {
        for (const Fault fault : kFaults) {
          for (int second = -1; second < 12; ++second) {
            for (const Fault crash : {Fault::dies_before, Fault::dies_after}) {
              SCOPED_TRACE(std::to_string(components) + (extras ? " with hooks, deed " : ", deed ") + std::to_string(deed) + " fault " +
                           std::to_string(static_cast<int>(fault)) + ", then " + std::to_string(second) + " " +
                           std::to_string(static_cast<int>(crash)));
              Machine machine(plan_of(components, extras));
              Life{machine, deed, fault}.drive(Operation(machine.plan, {}, machine.now));
              if (second >= 0) Life{machine, second, crash}.recover_and_continue();
              for (int i = 0; i < 3; ++i) Life{machine, kNever, Fault::none}.recover_and_continue();
              expect_no_mix(machine);
              ++runs;
              if (::testing::Test::HasFailure()) return;
              if (second < 0) break;
            }
            if (fault != Fault::dies_before && fault != Fault::dies_after) break;  // It has ended: there is nothing to recover.
          }
        }
      }
    }
  }
  EXPECT_GT(runs, 3'000);
}

TEST(Components, AreSwitchedInOrderAnnouncedOnceAndRestartedAfterTheLast) {
  Operation operation(plan_of(3, true), {}, t0);
  std::vector<std::string> asked;
  Instant now = t0;
  Ask ask = operation.begin(now);
  while (!std::holds_alternative<Finish>(ask)) {
    asked.push_back(text(ask));
    now = now + 1ms;
    if (std::holds_alternative<WriteRecord>(ask)) {
      ask = operation.on(RecordOnDisk{}, now);
    } else if (std::holds_alternative<RunStep>(ask)) {
      ask = operation.on(StepEnded{ended(Status::done)}, now);
    } else {
      ask = operation.on(Verified{verdict(VerificationVerdict::Kind::verified)}, now);
    }
  }
  EXPECT_THAT(asked, ElementsAre("write intent 1", "write traffic_away 1", "run traffic_away", "call before_switch", "write switching 1",
                                 "run switch", "run switch config", "run switch assets", "write switched 1", "call after_switch",
                                 "run restart", "run restart assets", "write restarted 1", "call after_restart", "run traffic_back",
                                 "write verifying 1", "verify v1", "call after_verify", "write outcome succeeded 1"));
  EXPECT_EQ(operation.record().components.size(), 3U);
  EXPECT_EQ(operation.record().components[1].stands, Stands::to);
  EXPECT_EQ(operation.record().from_path, "");
}

/// Answers well until the n-th switch, gives that `status`, and then answers well again; undoing `stuck` fails.
struct Told {
  std::vector<std::string> asked;
  Finish finish{};
  OperationRecord record;
};
Told told(int components, const std::string& at, Status status, const std::string& stuck = "", bool extras = false) {
  Operation operation(plan_of(components, extras), {}, t0);
  Told out;
  Instant now = t0;
  Ask ask = operation.begin(now);
  while (!std::holds_alternative<Finish>(ask)) {
    out.asked.push_back(text(ask));
    now = now + 1ms;
    if (std::holds_alternative<WriteRecord>(ask)) {
      ask = operation.on(RecordOnDisk{}, now);
    } else if (const auto* run = std::get_if<RunStep>(&ask)) {
      Outcome outcome = ended(Status::done);
      if (text(ask) == at) outcome = ended(status, "says no");
      if (run->undo && run->step.component == stuck) outcome = ended(Status::failed, "EIO");
      ask = operation.on(StepEnded{outcome}, now);
    } else {
      ask = operation.on(Verified{verdict(VerificationVerdict::Kind::verified)}, now);
    }
  }
  out.finish = std::get<Finish>(ask);
  out.record = operation.record();
  return out;
}

TEST(Components, AreTakenBackInReverseOrderWhenALaterOneFails) {
  const Told end = told(3, "run switch assets", Status::failed);

  EXPECT_THAT(end.asked, ElementsAre("write intent 1", "write switching 1", "run switch", "run switch config", "run switch assets",
                                     "undo switch config", "undo switch", "write outcome undone 1"));
  EXPECT_EQ(end.finish.failed_how, "switch:failed");
}

TEST(Components, OneThatCannotTellIsTakenBackTooWhichFindsOut) {
  const Told end = told(2, "run switch config", Status::timed_out);

  EXPECT_THAT(end.asked, ElementsAre("write intent 1", "write switching 1", "run switch", "run switch config", "undo switch config",
                                     "undo switch", "write outcome undone 1"));
}

TEST(Components, OneThatSomebodyElseDeployedIsLeftToThem) {
  const Told end = told(3, "run switch config", Status::conflict);

  EXPECT_EQ(end.finish.status, OperationStatus::abandoned);
  EXPECT_THAT(end.finish.detail, HasSubstr("an outside deployment won"));
  EXPECT_EQ(end.record.components[0].stands, Stands::from);
  EXPECT_EQ(end.record.components[1].stands, Stands::elsewhere);
  EXPECT_EQ(end.asked[end.asked.size() - 2], "undo switch");
}

TEST(Components, OneThatCannotBePutBackMakesItPartialAndTheRecordSaysWhichStandsWhere) {
  const Told end = told(3, "run switch assets", Status::failed, "config");

  EXPECT_EQ(end.finish.status, OperationStatus::partial);
  EXPECT_EQ(end.record.status, OperationStatus::partial);
  EXPECT_EQ(std::count(end.asked.begin(), end.asked.end(), "undo switch config"), kAttemptsMax);
  EXPECT_EQ(end.asked[end.asked.size() - 2], "undo switch") << "the others are put back all the same";
  EXPECT_THAT(end.record.note, HasSubstr("app is on app-2, config is on config-1, assets is on assets-2"));
  EXPECT_EQ(end.record.components[1].stands, Stands::to);
}

TEST(Components, NoneIsBegunOnceTheDeadlinePassedOrSomebodyCancelled) {
  for (const Answer& answer : {Answer(DeadlinePassed{}), Answer(CancelAsked{"kill switch"})}) {
    Operation operation(plan_of(2, false), {}, t0);
    operation.begin(t0);
    operation.on(RecordOnDisk{}, t0);
    ASSERT_EQ(text(operation.on(RecordOnDisk{}, t0)), "run switch");
    operation.on(answer, t0 + 1ms);

    EXPECT_EQ(text(operation.on(StepEnded{ended(Status::done)}, t0 + 2ms)), "undo switch");
    const Ask outcome = operation.on(StepEnded{ended(Status::done)}, t0 + 3ms);
    EXPECT_EQ(text(outcome), std::holds_alternative<CancelAsked>(answer) ? "write outcome cancelled 1" : "write outcome undone 1");
  }
}

// ---- Hooks ----

TEST(Hooks, BeforeTheSwitchOneThatIsRequiredStopsIt) {
  const Told end = told(2, "call before_switch", Status::failed, "", true);

  EXPECT_EQ(end.finish.status, OperationStatus::undone);
  EXPECT_EQ(end.finish.failed_how, "hook:before_switch:failed");
  EXPECT_THAT(end.asked, ElementsAre("write intent 1", "write traffic_away 1", "run traffic_away", "call before_switch", "run traffic_back",
                                     "call on_failure", "write outcome undone 1"));
}

TEST(Hooks, AfterTheSwitchARequiredOneFailsTheOperationOnceItIsVerified) {
  for (const char* at : {"call after_switch", "call after_restart"}) {
    const Told end = told(2, at, Status::timed_out, "", true);
    EXPECT_EQ(end.finish.status, OperationStatus::failed);
    EXPECT_EQ(end.finish.failed_how, std::string("hook:") + (at + 5) + ":timed_out");
    EXPECT_THAT(end.asked, ::testing::Contains("verify v1"));
    EXPECT_EQ(end.asked[end.asked.size() - 2], "call on_failure");
  }
}

TEST(Hooks, AtTheEndARequiredOneMakesASuccessUnverifiedAndNothingWorse) {
  EXPECT_EQ(told(2, "call after_verify", Status::failed, "", true).finish.status, OperationStatus::unverified);
  EXPECT_EQ(told(2, "call on_failure", Status::failed, "", true).finish.status, OperationStatus::succeeded) << "it is not called then";
}

TEST(Hooks, OneThatIsNotRequiredOnlyLeavesANote) {
  for (const char* at : {"before_switch", "after_switch", "after_restart", "after_verify"}) {
    std::vector<Step> steps{a_step("switch"), a_step("restart")};
    const std::size_t place = std::string(at) == "before_switch" ? 0 : std::string(at) == "after_switch" ? 1 : 2;
    steps.insert(steps.begin() + static_cast<std::ptrdiff_t>(place), a_hook(at, false, "tell"));
    Operation operation(stamped(a_rollback(), steps), {}, t0);
    Ask ask = operation.begin(t0);
    while (!std::holds_alternative<Finish>(ask)) {
      if (std::holds_alternative<WriteRecord>(ask)) {
        ask = operation.on(RecordOnDisk{}, t0);
      } else if (std::holds_alternative<RunStep>(ask)) {
        ask = operation.on(StepEnded{text(ask) == "call tell" ? ended(Status::failed, "exit 3") : ended(Status::done)}, t0);
      } else {
        ask = operation.on(Verified{verdict(VerificationVerdict::Kind::verified)}, t0);
      }
    }
    EXPECT_EQ(std::get<Finish>(ask).status, OperationStatus::succeeded) << at;
    EXPECT_THAT(operation.record().note, HasSubstr("the hook tell did not succeed")) << at;
  }
}

// ---- Recovery's cells ----

TEST(RecoveryOfSeveral, MixedBeforeTheLastSwitchIsRecordedGoesBackAndAfterItSomebodyElseDeployed) {
  const auto found = [](OperationPhase phase, int attempt = 1) {
    RecoveryInput input;
    input.last.emplace();
    input.last->request = a_rollback();
    input.last->phase = phase;
    input.last->attempt = attempt;
    input.link = LinkIs::mixed;
    return recover(input).move;
  };
  EXPECT_EQ(found(OperationPhase::outcome), RecoveryMove::outside_deployment);
  EXPECT_EQ(found(OperationPhase::intent), RecoveryMove::outside_deployment) << "nothing of it can be ours";
  EXPECT_EQ(found(OperationPhase::traffic_away), RecoveryMove::outside_deployment);
  EXPECT_EQ(found(OperationPhase::switching), RecoveryMove::undo);
  EXPECT_EQ(found(OperationPhase::switching, kAttemptsMax), RecoveryMove::hold_and_page);
  for (const OperationPhase phase : {OperationPhase::switched, OperationPhase::restarted, OperationPhase::verifying})
    EXPECT_EQ(found(phase), RecoveryMove::outside_deployment);
}

TEST(RecoveryOfSeveral, TheLinksTogether) {
  OperationRecord record;
  record.request = a_rollback();
  record.components = {{"app", "r/v2", "r/v1"}, {"config", "c2", "c1"}, {"assets", "r/a", "r/a"}};
  const auto are = [&](std::vector<const char*> lives) {
    std::vector<World> worlds;
    for (const char* live : lives) {
      World& world = worlds.emplace_back();
      world.link = live ? World::Link::present : World::Link::missing;
      if (live) world.live = live;
    }
    return links_are(record, worlds);
  };
  EXPECT_EQ(are({"v2", "c2", "a"}), LinkIs::from);
  EXPECT_EQ(are({"v1", "c1", "a"}), LinkIs::to);
  EXPECT_EQ(are({"v1", "c2", "a"}), LinkIs::mixed);
  EXPECT_EQ(are({"v1", "c1", "b"}), LinkIs::other);
  EXPECT_EQ(are({"v1", "c9", "a"}), LinkIs::other);
  EXPECT_EQ(are({"v1", nullptr, "a"}), LinkIs::missing);
  EXPECT_EQ(are({"v1", "c1"}), LinkIs::other) << "the configuration has other components now";
  record.components.clear();
  EXPECT_EQ(are({"v2"}), LinkIs::from);
  EXPECT_EQ(are({"v1"}), LinkIs::to);
}

TEST(RecoveryOfSeveral, OnlyProcessesOlderThanTheSwitchAreRestarted) {
  RecoveryInput input;
  input.last.emplace();
  input.last->request = a_rollback();
  input.last->phase = OperationPhase::switched;
  input.last->switched = input.last->at = t0;
  input.link = LinkIs::to;
  World::Process old, young;
  old.running = young.running = true;
  old.started = t0 - 1h;
  young.started = t0 + 1s;
  input.managed = {{"app", young}, {"worker", old}};

  const Recovery found = recover(input);

  EXPECT_TRUE(found.restart);
  EXPECT_THAT(found.spared, ElementsAre("app"));
  input.managed[1].process = young;
  EXPECT_FALSE(recover(input).restart);
}

}  // namespace
}  // namespace rollbackd::rollback
