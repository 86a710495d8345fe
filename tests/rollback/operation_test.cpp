// Each path of an operation's machine: what is asked for, in which order, and how it ends.
#include "rollback/operation.hpp"

#include <gmock/gmock.h>

#include "tests/rollback/helpers.hpp"

namespace rollbackd::rollback {
namespace {

using testing::a_plan;
using testing::a_rollback;
using ::testing::ElementsAre;
using testing::ended;
using ::testing::HasSubstr;
using ::testing::Pair;
using testing::t0;
using testing::text;
using testing::verdict;
using Status = Outcome::Status;
using Kind = VerificationVerdict::Kind;

/// Drives one machine by hand, 10 ms an answer, and notes each ask in a few words.
struct Drive {
  Operation operation;
  Instant now = t0;
  Ask ask;
  std::vector<std::string> asked;

  explicit Drive(const std::vector<const char*>& actions = {"switch", "restart"}, OperationOptions options = {},
                 OperationRequest request = a_rollback())
      : operation(a_plan(actions, std::move(request)), std::move(options), t0) {
    note(operation.begin(now));
  }
  explicit Drive(Operation resumed) : operation(std::move(resumed)) { note(operation.begin(now)); }

  Drive& give(const Answer& answer, Duration after = 10ms) {
    now = now + after;
    note(operation.on(answer, now));
    return *this;
  }
  Drive& on_disk() { return give(RecordOnDisk{}); }
  Drive& not_on_disk() { return give(RecordOnDisk{false, "no space"}); }
  Drive& step(Status status) { return give(StepEnded{ended(status, "step says no")}); }
  Drive& verified(Kind kind, const char* failed_how = "") { return give(Verified{verdict(kind, failed_how)}); }
  /// Answers well until the machine asks for `wanted`.
  Drive& until(const std::string& wanted) {
    for (int i = 0; i < 30 && text(ask) != wanted; ++i) {
      if (std::holds_alternative<WriteRecord>(ask))
        on_disk();
      else if (std::holds_alternative<RunStep>(ask))
        step(Status::done);
      else if (std::holds_alternative<Verify>(ask))
        verified(Kind::verified);
    }
    EXPECT_EQ(text(ask), wanted);
    asked.clear();
    return *this;
  }
  const Finish& finish() const { return std::get<Finish>(ask); }
  const OperationRecord& written() const { return std::get<WriteRecord>(ask).record; }

 private:
  void note(Ask next) {
    ask = std::move(next);
    asked.push_back(text(ask));
  }
};

OperationOptions without_verification() {
  OperationOptions options;
  options.verify = false;
  return options;
}

OperationRequest a_deployment() {
  OperationRequest request = a_rollback();
  request.kind = OperationKind::deploy;
  return request;
}

// ---- The good way ----

TEST(Operation, AnnouncesEachChangeOnDiskBeforeMakingIt) {
  Drive drive;
  drive.on_disk().on_disk().step(Status::done).on_disk().step(Status::done).on_disk().on_disk().verified(Kind::verified).on_disk();

  EXPECT_THAT(drive.asked,
              ElementsAre("write intent 1", "write switching 1", "run switch", "write switched 1", "run restart", "write restarted 1",
                          "write verifying 1", "verify v1", "write outcome succeeded 1", "finish succeeded"));
  EXPECT_TRUE(drive.operation.finished());
}

TEST(Operation, RecordsSayWhoFromWhereToWhere) {
  OperationOptions options;
  options.node = "web-1";
  options.fence = 7;
  Drive drive({"switch"}, options);

  EXPECT_EQ(drive.written().node, "web-1");
  EXPECT_EQ(drive.written().fence, 7);
  EXPECT_EQ(drive.written().status, OperationStatus::running);
  EXPECT_EQ(drive.written().from_path, "releases/v2");
  EXPECT_EQ(drive.written().to_path, "releases/v1");
  EXPECT_EQ(drive.written().begun, t0);
  EXPECT_EQ(drive.until("write verifying 1").written().status, OperationStatus::verifying);
}

TEST(Operation, TheSwitchedRecordCarriesTimeAndInodeOfTheOutcome) {
  Drive drive;
  drive.until("run switch");
  const Instant asked_at = drive.now;
  Outcome outcome = ended(Status::done);
  outcome.facts.set("link_inode", 4711).set("at_ns", (asked_at + 3ms).ns());

  drive.give(StepEnded{outcome});

  EXPECT_EQ(drive.written().armed_inode, 4711U);
  EXPECT_EQ(drive.written().switched, asked_at + 3ms);
}

TEST(Operation, WithoutFactsTheSwitchIsAsOldAsItsAnswer) {
  Drive drive;
  drive.until("run switch").step(Status::already_done);

  EXPECT_EQ(drive.written().switched, drive.now);
}

TEST(Operation, AClaimedSwitchTimeStaysBetweenAnnouncementAndAnswer) {
  for (const Instant claimed : {t0 - 1h, t0 + 1h}) {
    Drive drive;
    drive.until("run switch");
    Outcome outcome = ended(Status::done);
    outcome.facts.set("at_ns", claimed.ns());
    drive.give(StepEnded{outcome});
    EXPECT_GE(*drive.written().switched, t0);
    EXPECT_LE(*drive.written().switched, drive.now);
  }
}

TEST(Operation, WithoutAServiceManagerNothingIsRestarted) {
  Drive drive({"switch"});
  drive.on_disk().on_disk().step(Status::done).on_disk().on_disk();

  EXPECT_THAT(drive.asked,
              ElementsAre("write intent 1", "write switching 1", "run switch", "write switched 1", "write verifying 1", "verify v1"));
}

TEST(Operation, TakesTrafficAwayBeforeTheSwitchAndBringsItBackBeforeVerification) {
  Drive drive({"traffic_away", "switch", "restart", "traffic_back"});
  drive.on_disk()
      .on_disk()
      .step(Status::done)
      .on_disk()
      .step(Status::done)
      .on_disk()
      .step(Status::done)
      .on_disk()
      .step(Status::done)
      .on_disk();

  EXPECT_THAT(drive.asked,
              ElementsAre("write intent 1", "write traffic_away 1", "run traffic_away", "write switching 1", "run switch",
                          "write switched 1", "run restart", "write restarted 1", "run traffic_back", "write verifying 1", "verify v1"));
}

TEST(Operation, SpeaksOfThePhasesItWentThrough) {
  Drive drive;
  drive.on_disk()
      .on_disk()
      .step(Status::done)
      .on_disk()
      .step(Status::done)
      .on_disk()
      .on_disk()
      .give(Verified{verdict(Kind::verified)}, 5s)
      .on_disk();

  EXPECT_THAT(drive.operation.phases(),
              ElementsAre(Pair("preflight", 20ms), Pair("switch", 10ms), Pair("restart", 10ms), Pair("verify", 5s)));
}

// ---- Verdicts ----

TEST(Operation, EndsAsVerificationSays) {
  const std::pair<Kind, const char*> cases[] = {
      {Kind::verified, "succeeded"}, {Kind::failed, "failed"}, {Kind::unverified, "unverified"}, {Kind::unknown, "unknown"}};
  for (const auto& [kind, status] : cases) {
    Drive drive;
    drive.until("verify v1").verified(kind, kind == Kind::failed ? "http:failed" : "");
    EXPECT_EQ(text(drive.ask), std::string("write outcome ") + status + " 1");
    drive.on_disk();
    EXPECT_EQ(text(drive.ask), std::string("finish ") + status);
    EXPECT_EQ(drive.finish().failed_how, kind == Kind::failed ? "http:failed" : "");
  }
}

TEST(Operation, ADeploymentIsDoneOnceRestarted) {
  Drive drive({"switch", "restart"}, without_verification(), a_deployment());
  drive.until("write restarted 1").on_disk().on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write outcome succeeded 1", "finish succeeded"));
}

TEST(Operation, ADeploymentWhoseStartFailsIsFailedAtOnce) {
  Drive drive({"switch", "restart"}, without_verification(), a_deployment());
  drive.until("run restart").step(Status::failed).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write outcome failed 1", "finish failed"));
  EXPECT_EQ(drive.finish().failed_how, "restart:failed");
}

TEST(Operation, ADeploymentWhoseRestartIsUnknownIsUnknown) {
  Drive drive({"switch", "restart"}, without_verification(), a_deployment());
  drive.until("run restart").step(Status::unknown).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write outcome unknown 1", "finish unknown"));
}

// ---- Steps that do not succeed ----

TEST(Operation, AFailedOrRefusedSwitchIsAbandoned) {
  for (const Status status : {Status::failed, Status::refused}) {
    Drive drive;
    drive.until("run switch").step(status).on_disk();
    EXPECT_THAT(drive.asked, ElementsAre("write outcome abandoned 1", "finish abandoned"));
    EXPECT_THAT(drive.finish().detail, HasSubstr("step says no"));
    EXPECT_EQ(drive.finish().failed_how, std::string("switch:") + to_string(status));
  }
}

TEST(Operation, AConflictAtTheSwitchMeansThatAnOutsideDeploymentWon) {
  Drive drive;
  drive.until("run switch").step(Status::conflict).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write outcome abandoned 1", "finish abandoned"));
  EXPECT_THAT(drive.finish().detail, HasSubstr("an outside deployment won"));
}

TEST(Operation, ASwitchThatCannotTellIsUnknown) {
  for (const Status status : {Status::unknown, Status::timed_out}) {
    Drive drive;
    drive.until("run switch").step(status).on_disk();
    EXPECT_THAT(drive.asked, ElementsAre("write outcome unknown 1", "finish unknown"));
  }
}

TEST(Operation, AFailedRestartIsTriedThreeTimesEachCountedFirst) {
  Drive drive;
  drive.until("run restart").step(Status::failed).on_disk().step(Status::timed_out).on_disk().step(Status::failed).on_disk();

  EXPECT_THAT(drive.asked,
              ElementsAre("write switched 2", "run restart", "write switched 3", "run restart", "write outcome failed 3", "finish failed"));
  EXPECT_EQ(drive.finish().failed_how, "restart:failed");
  EXPECT_THAT(drive.finish().detail, HasSubstr("needs a person"));
}

TEST(Operation, ARestartThatSucceedsAtTheSecondTryGoesOn) {
  Drive drive;
  drive.until("run restart").step(Status::failed).on_disk().step(Status::done);

  EXPECT_THAT(drive.asked, ElementsAre("write switched 2", "run restart", "write restarted 2"));
}

TEST(Operation, ARefusedRestartIsNotTriedAgain) {
  Drive drive;
  drive.until("run restart").step(Status::refused);

  EXPECT_THAT(drive.asked, ElementsAre("write outcome failed 1"));
}

TEST(Operation, ARestartThatCannotTellIsJudgedByTheWorldAndNotRepeated) {
  Drive drive;
  drive.until("run restart").step(Status::unknown).on_disk().verified(Kind::verified).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write verifying 1", "verify v1", "write outcome succeeded 1", "finish succeeded"));
  EXPECT_FALSE(drive.operation.record().restarted);
}

TEST(Operation, TrafficThatWasTakenAwayComesBackWhenTheSwitchFails) {
  Drive drive({"traffic_away", "switch", "restart", "traffic_back"});
  drive.until("run switch").step(Status::failed).step(Status::done).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("run traffic_back", "write outcome undone 1", "finish undone"));
}

TEST(Operation, TrafficComesBackEvenWhenTakingItAwayFailed) {
  Drive drive({"traffic_away", "switch", "traffic_back"});
  drive.until("run traffic_away").step(Status::timed_out).step(Status::done);

  EXPECT_THAT(drive.asked, ElementsAre("run traffic_back", "write outcome undone 1"));
}

TEST(Operation, TrafficThatDoesNotComeBackInThreeTriesIsPartial) {
  Drive drive({"traffic_away", "switch", "traffic_back"});
  drive.until("run switch").step(Status::failed).step(Status::failed).step(Status::failed).step(Status::failed);

  EXPECT_THAT(drive.asked, ElementsAre("run traffic_back", "run traffic_back", "run traffic_back", "write outcome partial 1"));
}

// ---- Cancelling ----

TEST(Operation, IsCancelledBeforeTheSwitchOnceWhatIsOutstandingEnded) {
  Drive drive;
  drive.give(CancelAsked{"uid:0 root"});
  EXPECT_TRUE(drive.operation.keep_waiting());
  drive.on_disk().on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write intent 1", "write intent 1", "write outcome cancelled 1", "finish cancelled"));
  EXPECT_THAT(drive.finish().detail, HasSubstr("uid:0 root"));
}

TEST(Operation, ACancelDuringTheSwitchComesTooLateWhenTheSwitchSucceeds) {
  Drive drive;
  drive.until("run switch").give(CancelAsked{"ci"}).step(Status::done);

  EXPECT_THAT(drive.asked, ElementsAre("run switch", "write switched 1"));
  EXPECT_FALSE(drive.operation.keep_waiting());
}

TEST(Operation, ACancelDuringAFailingSwitchIsACancel) {
  Drive drive;
  drive.until("run switch").give(CancelAsked{"ci"}).step(Status::failed);

  EXPECT_THAT(drive.asked, ElementsAre("run switch", "write outcome cancelled 1"));
}

TEST(Operation, NobodyCancelsAfterTheCommitPoint) {
  for (const char* at :
       {"write switched 1", "run restart", "write restarted 1", "write verifying 1", "verify v1", "write outcome succeeded 1"}) {
    Drive drive;
    drive.until(at).give(CancelAsked{"ci"});
    EXPECT_TRUE(drive.operation.keep_waiting());
    drive.until("finish succeeded");
  }
}

// ---- Deadlines ----

TEST(Operation, ADeadlineBeforeTheSwitchAbandonsIt) {
  for (const char* at : {"write intent 1", "write switching 1"}) {
    Drive drive;
    drive.until(at).give(DeadlinePassed{}).on_disk().on_disk();
    EXPECT_THAT(drive.asked, ElementsAre(at, "write outcome abandoned 1", "finish abandoned"));
  }
}

TEST(Operation, AfterADeadlineDuringTheSwitchTheProcessIsRestartedButNothingIsVerified) {
  Drive drive;
  drive.until("run switch").give(DeadlinePassed{}).step(Status::done).on_disk().step(Status::done).on_disk().on_disk().on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("run switch", "write switched 1", "run restart", "write restarted 1", "write verifying 1",
                                       "write outcome unverified 1", "finish unverified"));
}

TEST(Operation, ASwitchThatNeverAnswersIsUnknown) {
  Drive drive;
  drive.until("run switch").give(DeadlinePassed{}).give(DeadlinePassed{}).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("run switch", "write outcome unknown 1", "finish unknown"));
}

TEST(Operation, ADeadlineDuringTheRestartIsUnknown) {
  Drive drive;
  drive.until("run restart").give(DeadlinePassed{}).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write outcome unknown 1", "finish unknown"));
}

TEST(Operation, ADeadlineDuringVerificationIsUnverifiedAndALateVerdictCountsNoMore) {
  Drive drive;
  drive.until("verify v1").give(DeadlinePassed{}).verified(Kind::verified).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write outcome unverified 1", "write outcome unverified 1", "finish unverified"));
}

TEST(Operation, TimeInWhichNobodyHadATurnDoesNotCount) {
  Drive stopped;
  stopped.until("write switched 1");
  stopped.operation.stood_still(10min);
  stopped.give(RecordOnDisk{}, 10min).step(Status::done).on_disk().on_disk().verified(Kind::verified).on_disk();
  EXPECT_THAT(stopped.asked.back(), "finish succeeded");

  Drive before;
  before.until("write switching 1");
  before.operation.stood_still(10min);
  before.give(RecordOnDisk{}, 10min).on_disk();
  EXPECT_THAT(before.asked.back(), "finish abandoned") << "nothing is begun on evidence of before";
  EXPECT_TRUE(before.operation.lost_its_turn()) << "but it may be judged again";

  Drive switching;
  switching.until("run switch");
  switching.operation.stood_still(10min);
  switching.give(StepEnded{ended(Status::done)}, 10min).on_disk().step(Status::done).on_disk().on_disk().verified(Kind::verified).on_disk();
  EXPECT_THAT(switching.asked.back(), "finish succeeded") << "what is done is verified";

  Drive slow;
  slow.until("write switched 1").give(RecordOnDisk{}, 10min);
  slow.step(Status::done).on_disk().on_disk();
  EXPECT_THAT(slow.asked.back(), "write outcome unverified 1");

  Drive slow_before;
  slow_before.until("write switching 1");
  slow_before.operation.stood_still(3s);
  slow_before.give(RecordOnDisk{}, 10min).on_disk();
  EXPECT_THAT(slow_before.asked.back(), "finish abandoned");
  EXPECT_FALSE(slow_before.operation.lost_its_turn()) << "the disk took it, not a standstill";
}

TEST(Operation, AfterADeadlineAFailedRestartIsNotTriedAgain) {
  Drive drive;
  drive.until("write switched 1").give(DeadlinePassed{}).on_disk().step(Status::failed).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write switched 1", "run restart", "write outcome failed 1", "finish failed"));
}

TEST(Operation, ADeadlineAfterTheCommitPointNeverEndsInSuccess) {
  for (const char* at : {"run switch", "write switched 1", "run restart", "write restarted 1", "write verifying 1", "verify v1"}) {
    for (const bool verify : {true, false}) {
      if (!verify && (std::string(at) == "write verifying 1" || std::string(at) == "verify v1")) continue;
      OperationOptions options;
      options.verify = verify;
      Drive drive({"switch", "restart"}, options);
      drive.until(at).give(DeadlinePassed{});
      for (int i = 0; i < 10 && !drive.operation.finished(); ++i) {
        if (std::holds_alternative<WriteRecord>(drive.ask))
          drive.on_disk();
        else if (std::holds_alternative<RunStep>(drive.ask))
          drive.step(Status::done);
        else
          drive.verified(Kind::verified);
      }
      ASSERT_TRUE(drive.operation.finished()) << at;
      EXPECT_NE(drive.finish().status, OperationStatus::succeeded) << at;
    }
  }
}

TEST(Operation, ADiskThatNeverAnswersEndsInUnknownAfterTwoDeadlines) {
  Drive drive;
  drive.give(DeadlinePassed{}).give(DeadlinePassed{});

  EXPECT_THAT(drive.asked, ElementsAre("write intent 1", "write intent 1", "finish unknown"));
}

TEST(Operation, TheDeadlineMovesOnOnceItPassedSoThatATimerOnItDoesNotSpin) {
  OperationOptions options;
  options.deadline = 60s;
  options.deadline_step = 30s;
  Drive drive({"switch"}, options);
  EXPECT_EQ(drive.operation.deadline(), t0 + 60s);

  drive.give(DeadlinePassed{}, 60s);

  EXPECT_EQ(drive.operation.deadline(), t0 + 90s);
}

TEST(Operation, AShellThatSendsNoDeadlineIsStillNotAllowedToBeginTheSwitchTooLate) {
  Drive drive;
  drive.until("write switching 1").give(RecordOnDisk{}, 2min).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write outcome abandoned 1", "finish abandoned"));
}

TEST(Operation, StepsGetNoMoreThanTheTimeThatIsLeftAndNoLessThanASecond) {
  OperationOptions options;
  options.deadline = 40s;
  options.deadline_step = 30s;
  Drive drive({"switch", "restart"}, options);
  drive.until("run switch");
  EXPECT_EQ(std::get<RunStep>(drive.ask).deadline, 30s);

  drive.give(StepEnded{ended(Status::done)}, 20s).on_disk();
  EXPECT_EQ(std::get<RunStep>(drive.ask).deadline, t0 + 40s - drive.now);

  Drive late({"switch", "restart"}, options);
  late.until("run switch").give(StepEnded{ended(Status::done)}, 50s).on_disk();
  EXPECT_EQ(std::get<RunStep>(late.ask).deadline, 1s);
}

// ---- Records that cannot be written ----

TEST(Operation, WithoutAnIntentOnDiskNothingIsTouched) {
  Drive drive;
  drive.not_on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write intent 1", "finish unknown"));
  EXPECT_THAT(drive.finish().detail, HasSubstr("no space"));
}

TEST(Operation, WithoutTheSwitchingRecordThereIsNoSwitch) {
  Drive drive;
  drive.until("write switching 1").not_on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("finish unknown"));
}

TEST(Operation, TrafficComesBackEvenWhenTheDiskFails) {
  Drive drive({"traffic_away", "switch", "traffic_back"});
  drive.until("write switching 1").not_on_disk().step(Status::done);

  EXPECT_THAT(drive.asked, ElementsAre("run traffic_back", "finish unknown"));
}

TEST(Operation, AfterTheCommitPointAFailedRecordStopsNothingButTheClaimOfSuccess) {
  Drive drive;
  drive.until("write switched 1").not_on_disk().step(Status::done).verified(Kind::verified);

  EXPECT_THAT(drive.asked, ElementsAre("run restart", "verify v1", "finish unknown"));
  EXPECT_THAT(drive.finish().detail, HasSubstr("no space (otherwise succeeded)"));
}

TEST(Operation, ADiskThatFailsAtTheRestartedRecordIsNotWrittenAgain) {
  Drive drive;
  drive.until("write restarted 1").not_on_disk().verified(Kind::failed, "http:failed");

  EXPECT_THAT(drive.asked, ElementsAre("verify v1", "finish unknown"));
  EXPECT_EQ(drive.finish().failed_how, "http:failed");
}

TEST(Operation, AnOutcomeThatIsNotOnDiskIsUnknown) {
  Drive drive;
  drive.until("write outcome succeeded 1").not_on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("finish unknown"));
  EXPECT_EQ(drive.operation.record().status, OperationStatus::unknown);
}

// ---- Answers that nobody waits for ----

TEST(Operation, AnAnswerOfTheWrongKindChangesNothing) {
  Drive drive;
  drive.step(Status::done).verified(Kind::verified);
  EXPECT_TRUE(drive.operation.keep_waiting());
  drive.until("run switch").on_disk().verified(Kind::failed);
  EXPECT_THAT(drive.asked, ElementsAre("run switch", "run switch"));

  drive.until("verify v1").step(Status::failed).on_disk();
  EXPECT_THAT(drive.asked, ElementsAre("verify v1", "verify v1"));
}

TEST(Operation, AnAnswerToAnotherStepIsPassedBy) {
  Drive drive;
  drive.until("run restart").give(StepEnded{ended(Status::failed), 1});
  EXPECT_TRUE(drive.operation.keep_waiting());
  drive.give(StepEnded{ended(Status::done), 2});

  EXPECT_THAT(drive.asked, ElementsAre("run restart", "write restarted 1"));
}

TEST(Operation, AfterTheEndEveryAnswerGetsTheEnd) {
  Drive drive;
  drive.until("finish succeeded").on_disk().step(Status::failed).give(DeadlinePassed{}).give(CancelAsked{"ci"});

  EXPECT_THAT(drive.asked, ElementsAre("finish succeeded", "finish succeeded", "finish succeeded", "finish succeeded"));
}

// ---- After a crash ----

OperationRecord a_record(OperationPhase phase, int attempt = 1) {
  OperationRecord record;
  record.request = a_rollback();
  record.phase = phase;
  record.attempt = attempt;
  record.at = record.begun = t0 - 1min;
  if (phase >= OperationPhase::switched) record.switched = t0 - 59s;
  return record;
}

Drive resumed(OperationPhase phase, OperationPhase at, int attempt = 1) {
  return Drive(Operation::resumed(a_record(phase, attempt), a_plan({"switch", "restart"}), {}, at, t0));
}

TEST(ResumedOperation, AtSwitchedCountsTheTryThenRestartsAndVerifies) {
  Drive drive = resumed(OperationPhase::switched, OperationPhase::switched);
  drive.on_disk().step(Status::done).on_disk().on_disk().verified(Kind::verified).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write switched 2", "run restart", "write restarted 2", "write verifying 2", "verify v1",
                                       "write outcome succeeded 2", "finish succeeded"));
  EXPECT_EQ(drive.operation.record().begun, t0 - 1min);
  EXPECT_EQ(drive.operation.record().switched, t0 - 59s);
}

TEST(ResumedOperation, AtRestartedOrVerifyingOnlyVerifies) {
  Drive restarted = resumed(OperationPhase::switched, OperationPhase::restarted);
  restarted.on_disk().on_disk();
  EXPECT_THAT(restarted.asked, ElementsAre("write restarted 2", "write verifying 2", "verify v1"));

  Drive verifying = resumed(OperationPhase::verifying, OperationPhase::verifying);
  verifying.on_disk();
  EXPECT_THAT(verifying.asked, ElementsAre("write verifying 2", "verify v1"));
}

TEST(ResumedOperation, BeforeSwitchedWithTheLinkOnToContinuesAsSwitched) {
  for (const auto phase : {OperationPhase::intent, OperationPhase::traffic_away, OperationPhase::switching}) {
    Drive drive = resumed(phase, phase);
    EXPECT_EQ(drive.written().switched, t0 - 1min) << "the switch is not older than the last record before it";
    drive.on_disk();
    EXPECT_THAT(drive.asked, ElementsAre("write switched 2", "run restart"));
  }
}

TEST(ResumedOperation, ATryThatCannotBeCountedIsNotMade) {
  for (const auto phase : {OperationPhase::switched, OperationPhase::restarted, OperationPhase::verifying}) {
    Drive drive = resumed(phase, phase);
    drive.not_on_disk();
    EXPECT_EQ(text(drive.ask), "finish unknown");
  }
}

TEST(ResumedOperation, TriesBeforeTheCrashCountTowardsTheThree) {
  Drive drive = resumed(OperationPhase::switched, OperationPhase::switched, 2);
  drive.on_disk().step(Status::failed);

  EXPECT_THAT(drive.asked, ElementsAre("write switched 3", "run restart", "write outcome failed 3"));
}

TEST(ResumedOperation, IsNotCancelledBecauseItsSwitchIsDone) {
  Drive drive = resumed(OperationPhase::switched, OperationPhase::switched);
  drive.give(CancelAsked{"ci"}).on_disk();

  EXPECT_THAT(drive.asked, ElementsAre("write switched 2", "write switched 2", "run restart"));
}

}  // namespace
}  // namespace rollbackd::rollback
