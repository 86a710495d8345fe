// A rollback killed before and after everything it does, then recovered, and killed again: it ends in one release, one outcome, one
// restart.
#include <gmock/gmock.h>

#include "rollback/operation.hpp"
#include "rollback/recovery.hpp"
#include "tests/rollback/helpers.hpp"

namespace rollbackd::rollback {
namespace {

using testing::a_plan;
using testing::a_rollback;
using testing::ended;
using testing::t0;
using testing::verdict;
using Status = Outcome::Status;

constexpr int kNever = 1'000'000;

/// What outlives the daemon: the link, the process, the ring's last record. It has no memory of tokens, so a second restart would show.
struct Machine {
  std::string link = "v2";
  Instant process = t0 - 1h;
  int restarts = 0;
  std::optional<OperationRecord> last;
  int outcomes = 0;
  Instant now = t0;
};

/// One life of the daemon: ends at its `dies_at`-th deed, before it is done or right after it (its answer is lost).
struct Life {
  Machine& machine;
  int dies_at;
  bool before;
  bool dead = false;

  /// @return nothing when the daemon died
  std::optional<Answer> perform(const Ask& ask) {
    const bool now_or_never = dies_at-- == 0;
    if (now_or_never && before) return die();
    machine.now = machine.now + 1ms;
    Answer answer = carry_out(ask);
    if (now_or_never) return die();
    machine.now = machine.now + 1ms;
    return answer;
  }
  std::optional<Answer> die() {
    dead = true;
    return std::nullopt;
  }
  Answer carry_out(const Ask& ask) {
    if (const auto* write = std::get_if<WriteRecord>(&ask)) {
      machine.last = write->record;
      machine.outcomes += write->record.phase == OperationPhase::outcome;
      return RecordOnDisk{};
    }
    if (const auto* run = std::get_if<RunStep>(&ask)) {
      if (run->step.action == "restart") {
        machine.process = machine.now;
        ++machine.restarts;
        return StepEnded{ended(Status::done)};
      }
      const bool already = machine.link == "v1";
      machine.link = "v1";
      return StepEnded{ended(already ? Status::already_done : Status::done)};
    }
    const bool well = machine.link == "v1" && seen_start() >= *machine.last->switched - 10ms;
    return Verified{well ? verdict(VerificationVerdict::Kind::verified)
                         : verdict(VerificationVerdict::Kind::failed, "process_younger:failed")};
  }
  /// As the kernel tells it: the floor of a 10 ms tick.
  Instant seen_start() const { return Instant(machine.process.ns() / 10'000'000 * 10'000'000); }

  void drive(Operation operation) {
    Ask ask = operation.begin(machine.now);
    while (!std::holds_alternative<Finish>(ask)) {
      const auto answer = perform(ask);
      if (!answer) return;
      ask = operation.on(*answer, machine.now);
    }
  }

  /// What the engine does at start. @return what the table said
  RecoveryMove recover_and_continue() {
    RecoveryInput input;
    input.last = machine.last;
    const bool under_way = machine.last && machine.last->phase != OperationPhase::outcome;
    input.link = !under_way ? LinkIs::ledger_live : machine.link == "v2" ? LinkIs::from : LinkIs::to;
    input.managed.push_back({"app", {}});
    auto& process = input.managed.front().process.emplace();
    process.running = true;
    process.started = seen_start();
    const Recovery found = recover(input);
    if (found.move == RecoveryMove::abandon) {
      OperationRecord closed = *machine.last;
      closed.phase = OperationPhase::outcome;
      closed.status = OperationStatus::abandoned;
      perform(WriteRecord{closed});
    }
    if (found.move == RecoveryMove::resume) {
      drive(Operation::resumed(*machine.last, a_plan({"switch", "restart"}), {}, found.resume_at, machine.now));
    }
    return found.move;
  }
};

void expect_a_clean_end(const Machine& machine, RecoveryMove last_move) {
  EXPECT_THAT(machine.link, ::testing::AnyOf("v1", "v2"));
  EXPECT_LE(machine.restarts, 1) << "a process that was restarted already was restarted again";
  EXPECT_LE(machine.outcomes, 1);
  if (last_move == RecoveryMove::hold_and_page || machine.outcomes == 0) return;
  ASSERT_EQ(machine.last->phase, OperationPhase::outcome);
  EXPECT_EQ(machine.last->status, machine.link == "v1" ? OperationStatus::succeeded : OperationStatus::abandoned);
  EXPECT_EQ(machine.restarts, machine.link == "v1" ? 1 : 0);
}

/// Deeds of an undisturbed rollback: 7 records, switch, restart, verification.
constexpr int kDeeds = 9;

TEST(Crash, AtEveryDeedIsRecoveredToOneReleaseOneOutcomeAndOneRestart) {
  for (int dies_at = 0; dies_at <= kDeeds; ++dies_at) {
    for (const bool before : {true, false}) {
      SCOPED_TRACE(std::to_string(dies_at) + (before ? " before" : " after"));
      Machine machine;
      Life first{machine, dies_at, before};
      first.drive(Operation(a_plan({"switch", "restart"}), {}, machine.now));
      machine.now = machine.now + 3s;
      Life second{machine, kNever, true};
      const RecoveryMove move = second.recover_and_continue();

      EXPECT_NE(move, RecoveryMove::hold_and_page);
      expect_a_clean_end(machine, move);
      EXPECT_EQ(machine.outcomes, machine.last ? 1 : 0);
    }
  }
}

TEST(Crash, OfTheRecoveryItselfAtEveryDeedStillEndsInOneOutcomeOrAPage) {
  for (int first_dies = 0; first_dies <= kDeeds; ++first_dies) {
    for (int second_dies = 0; second_dies <= 6; ++second_dies) {
      for (int when = 0; when < 4; ++when) {
        SCOPED_TRACE(std::to_string(first_dies) + " " + std::to_string(second_dies) + " " + std::to_string(when));
        Machine machine;
        Life first{machine, first_dies, (when & 1) == 0};
        first.drive(Operation(a_plan({"switch", "restart"}), {}, machine.now));
        machine.now = machine.now + 3s;
        Life second{machine, second_dies, (when & 2) == 0};
        second.recover_and_continue();
        machine.now = machine.now + 3s;
        Life third{machine, kNever, true};
        const RecoveryMove move = third.recover_and_continue();

        expect_a_clean_end(machine, move);
      }
    }
  }
}

TEST(Crash, ALoopOfThemEndsWithAPageAndNotWithARestartEachTime) {
  Machine machine;
  Life first{machine, 3, false};  // The `switched` record is on disk.
  first.drive(Operation(a_plan({"switch", "restart"}), {}, machine.now));
  ASSERT_EQ(machine.last->phase, OperationPhase::switched);

  std::vector<RecoveryMove> moves;
  for (int i = 0; i < 4; ++i) {
    machine.now = machine.now + 3s;
    Life next{machine, 1, false};  // Dies right after the first deed that follows the counted try.
    moves.push_back(next.recover_and_continue());
  }

  EXPECT_THAT(moves,
              ::testing::ElementsAre(RecoveryMove::resume, RecoveryMove::resume, RecoveryMove::hold_and_page, RecoveryMove::hold_and_page));
  EXPECT_EQ(machine.last->attempt, kAttemptsMax);
  EXPECT_EQ(machine.restarts, 1);
}

TEST(Crash, AfterTheDiskFailedAtTheSwitchedRecordDoesNotRestartTwice) {
  Machine machine;
  Operation operation(a_plan({"switch", "restart"}), {}, machine.now);
  Life life{machine, kNever, true};
  Ask ask = operation.begin(machine.now);
  while (!std::holds_alternative<Finish>(ask)) {
    const auto* write = std::get_if<WriteRecord>(&ask);
    const bool fails = write && write->record.phase >= OperationPhase::switched;
    ask = operation.on(fails ? Answer(RecordOnDisk{false, "EIO"}) : *life.perform(ask), machine.now);
    if (std::holds_alternative<Verify>(ask)) machine.last->switched = machine.now;  // Only for the fake verification's look at it.
  }
  machine.last->switched.reset();
  ASSERT_EQ(machine.last->phase, OperationPhase::switching);
  ASSERT_EQ(machine.restarts, 1);
  machine.process = machine.process + 20ms;  // Out of the tick of the record, as a real start is.

  Life next{machine, kNever, true};
  EXPECT_EQ(next.recover_and_continue(), RecoveryMove::resume);

  EXPECT_EQ(machine.restarts, 1);
  EXPECT_EQ(machine.last->status, OperationStatus::succeeded);
}

}  // namespace
}  // namespace rollbackd::rollback
