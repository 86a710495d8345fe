// The state machine of one operation: intent on disk -> switch -> restart -> verify -> outcome on disk. Pure.
// Flow: decision -> [operation] -> drivers, record. Each answer of the shell is an event; "it is on disk" is one too, and only that one
// releases the step it announces.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/operation.hpp"
#include "rollback/verdict.hpp"

namespace rollbackd::rollback {

/// What an operation wants done next. Exactly one is outstanding at any time.
struct WriteRecord { OperationRecord record; };
struct RunStep { Step step; Duration deadline{}; };
/// Run all verification tests against `release`.
struct Verify { std::string release; Duration deadline{}; };
/// The outcome is on disk (or could not be written: then status is `unknown`). Nothing more follows.
struct Finish { OperationStatus status; std::string failed_how, detail; };
using Ask = std::variant<WriteRecord, RunStep, Verify, Finish>;

/// What the shell answers.
struct RecordOnDisk { bool ok = true; std::string why; };
struct StepEnded { Outcome outcome; };
struct Verified { VerificationVerdict verdict; };
/// The operation's own deadline passed while something was outstanding. Before the commit point: abandoned; after it: verified as far as possible.
struct DeadlinePassed {};
struct CancelAsked { std::string by; };  ///< obeyed before the commit point only
using Answer = std::variant<RecordOnDisk, StepEnded, Verified, DeadlinePassed, CancelAsked>;

struct OperationOptions {
  std::string node;
  Duration deadline = 60s, deadline_step = 30s;
  bool verify = true;  ///< false for kind deploy: its verification is the bake; the shell runs the tests as evidence
  std::int64_t fence = 0;
};

class Operation {
 public:
  Operation(Plan plan, OperationOptions options, Instant now);
  /// Continues after a crash at `resume_at`, from what the recovery table said.
  static Operation resumed(OperationRecord record, Plan plan, OperationOptions options, OperationPhase resume_at, Instant now);

  Ask begin(Instant now);                       ///< the first thing to do
  Ask on(const Answer& answer, Instant now);    ///< the next thing to do
  /// Engine time at which DeadlinePassed is due.
  Instant deadline() const;
  const OperationRecord& record() const { return record_; }
  const Plan& plan() const { return plan_; }
  bool finished() const { return finished_; }
  /// Duration of each phase so far, for the metrics: "preflight", "switch", "restart", "verify".
  std::vector<std::pair<std::string, Duration>> phases() const;

 private:
  Plan plan_;
  OperationOptions options_;
  OperationRecord record_;
  bool finished_ = false;
  // The implementer adds its members here.
};

}  // namespace rollbackd::rollback
