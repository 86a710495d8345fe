// The state machine of one operation: intent on disk -> switch -> restart -> verify -> outcome on disk. Pure.
// Flow: decision -> [operation] -> drivers, record. Each answer of the shell is an event; "it is on disk" is one too, and only that one
// releases the step it announces.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "model/operation.hpp"
#include "rollback/verdict.hpp"

namespace rollbackd::rollback {

/// What an operation wants done next. Exactly one is outstanding at any time.
struct WriteRecord {
  OperationRecord record;
};
struct RunStep {
  Step step;
  Duration deadline{};
  bool undo = false;  ///< take this switch back instead: the driver's `undo`
};
/// Run all verification tests against `release`.
struct Verify {
  std::string release;
  Duration deadline{};
};
/// The outcome is on disk (or could not be written: then status is `unknown`). Nothing more follows.
struct Finish {
  OperationStatus status;
  std::string failed_how, detail;
};
using Ask = std::variant<WriteRecord, RunStep, Verify, Finish>;

/// What the shell answers.
struct RecordOnDisk {
  bool ok = true;
  std::string why;
};
struct StepEnded {
  Outcome outcome;
  int number = 0;  ///< the step's; an answer to another than the outstanding step is passed by. 0: the outstanding one
};
struct Verified {
  VerificationVerdict verdict;
};
/// The operation's own deadline passed while something was outstanding. Before the commit point: abandoned, or undone; after it: verified
/// as far as possible.
struct DeadlinePassed {};
struct CancelAsked {
  std::string by;
};  ///< obeyed before the commit point only
using Answer = std::variant<RecordOnDisk, StepEnded, Verified, DeadlinePassed, CancelAsked>;

/// What is outstanding. Each stage is of one kind, by what it waits for; a new one does not compile until every answer knows it.
namespace stage {
struct AwaitsNothing {};
struct AwaitsDisk {};
struct AwaitsStep {
  std::size_t step = 0;
};  ///< index into the plan's steps
struct AwaitsVerdict {};

struct NotBegun : AwaitsNothing {};
// Before the commit point: nothing is lost by giving up.
struct WritingIntent : AwaitsDisk {};
struct WritingTrafficAway : AwaitsDisk {};
struct TakingTrafficAway : AwaitsStep {};
struct CallingBefore : AwaitsStep {};  ///< a hook at before_switch
struct WritingSwitching : AwaitsDisk {};
struct Switching : AwaitsStep {};
struct TakingBack : AwaitsStep {
  int tries = 1;
};  ///< given up with several components: those that were switched go back, the last one first
struct Undoing : AwaitsStep {
  int tries = 1;
};  ///< given up: traffic comes back
// After it: always forward.
struct WritingSwitched : AwaitsDisk {
  std::size_t next = 0;
};                                    ///< the step that follows
struct CallingAfter : AwaitsStep {};  ///< a hook at after_switch or after_restart
struct Restarting : AwaitsStep {};
struct WritingRestarted : AwaitsDisk {
  std::size_t next = 0;
};
struct BringingTrafficBack : AwaitsStep {};
struct WritingVerifying : AwaitsDisk {};
struct Verifying : AwaitsVerdict {};
struct CallingAtEnd : AwaitsStep {};  ///< a hook at after_verify or on_failure
struct WritingOutcome : AwaitsDisk {};
struct Finished : AwaitsNothing {};
}  // namespace stage
using Stage = std::variant<stage::NotBegun, stage::WritingIntent, stage::WritingTrafficAway, stage::TakingTrafficAway, stage::CallingBefore,
                           stage::WritingSwitching, stage::Switching, stage::TakingBack, stage::Undoing, stage::WritingSwitched,
                           stage::CallingAfter, stage::Restarting, stage::WritingRestarted, stage::BringingTrafficBack,
                           stage::WritingVerifying, stage::Verifying, stage::CallingAtEnd, stage::WritingOutcome, stage::Finished>;

struct OperationOptions {
  std::string node;
  Duration deadline = 60s, deadline_step = 30s;
  bool verify = true;  ///< false for kind deploy: its verification is the bake; the shell runs the tests as evidence
  std::int64_t fence = 0;
  std::vector<std::string> spared;  ///< resumed: components whose process is younger than the switch and is not restarted again
};

/// Several components: `switching` is recorded once, then their switches follow each other; the last one is the commit point. What ends it
/// before takes those that were switched back in reverse order; one that will not come back makes it `partial`, and its record says which
/// component stands where.
/// Hooks: a required one that fails at before_switch ends it as `undone`, nothing is switched. At after_switch and after_restart it goes on
/// (only forward is safe) and ends `failed`, by "hook:NAME:KIND", where verification would have been content. At after_verify (called when
/// it would succeed) it makes a success `unverified`: what was verified is no reason to go further back. At on_failure (called at any
/// other end once a step was begun) it changes nothing. One that is not required leaves its failure in the detail.
/// Of the switch step's arguments the record takes "from_value", "to_value" (of the link) and "armed_inode"; of its outcome's facts
/// "link_inode" (of `current` now) and "at_ns" (engine time of the exchange). Where one is missing the plan's inode and the time of the
/// answer count.
class Operation {
 public:
  Operation(Plan plan, OperationOptions options, Instant now);
  /// Continues after a crash at `resume_at`, from what the recovery table said: `switched` restarts and verifies, `restarted` and
  /// `verifying` verify; an earlier phase means that the link was found on `to` all the same, and is continued as `switched`. The try is
  /// counted in the first record; when that cannot be written nothing else is done.
  static Operation resumed(OperationRecord record, Plan plan, OperationOptions options, OperationPhase resume_at, Instant now);
  /// After a crash between two switches: counts the try, takes back what was switched, and ends as `abandoned` because of `why`.
  static Operation undoing(OperationRecord record, Plan plan, OperationOptions options, std::string why, Instant now);

  Ask begin(Instant now);  ///< the first thing to do
  /// The next thing to do. After DeadlinePassed and CancelAsked it may be what is outstanding already (see `keep_waiting`).
  /// An answer that nobody waits for changes nothing.
  Ask on(const Answer& answer, Instant now);
  /// The latest answer changed nothing about what is outstanding: the Ask returned for it is under way already. Doing it once more does no
  /// harm.
  bool keep_waiting() const { return keep_waiting_; }
  /// Engine time at which DeadlinePassed is due; once it passed, the time at which what is outstanding is given up (each ask is given at
  /// most two). A shell that sends none is judged by `now`: nothing new is begun before the commit point and no verification after it.
  Instant deadline() const;
  /// Nobody had a turn for `length` (the process was stopped, the machine suspended). Before the commit point the time counts: what was
  /// decided before it must not be done long after. From the commit on the deadline is later by all such time, before it and since.
  void stood_still(Duration length);
  /// Whether it was given up before the commit point for such time alone: nothing was done, and it may be judged again.
  bool lost_its_turn() const { return stop_ && stop_->lost_its_turn; }
  const OperationRecord& record() const { return record_; }
  const Plan& plan() const { return plan_; }
  bool finished() const { return finished_; }
  /// Whether this step is the commit point: the plan's last switch.
  bool commits(const Step& step) const;
  /// Duration of each phase so far, for the metrics: "preflight", "switch", "restart", "verify".
  std::vector<std::pair<std::string, Duration>> phases() const;

 private:
  Plan plan_;
  OperationOptions options_;
  OperationRecord record_;
  bool finished_ = false;

  struct Stop {
    OperationStatus status;
    std::string failed_how, why;
    bool lost_its_turn = false;
  };
  struct PhaseTime {
    std::string name;
    Instant began;
    std::optional<Instant> ended;
  };
  // Answers, each over every stage.
  Ask on_disk();
  Ask not_on_disk(const std::string& reason);
  Ask step_ended(const Outcome& outcome);
  Ask verified(const VerificationVerdict& verdict);
  Ask deadline_passed();
  Ask cancel_asked(const std::string& by);
  // What comes next.
  Ask ask(Ask next);
  Ask ask_again();
  Ask write(OperationPhase phase, Stage next);
  Ask run(Stage next);
  Ask before_switch(std::size_t from);
  Ask called_before(std::size_t step, const Outcome& outcome);
  Ask switched(std::size_t step, const Outcome& outcome);
  Ask committed(std::size_t step, const Outcome& outcome);
  Ask not_switched(std::size_t step, const Outcome& outcome);
  Ask restarted(std::size_t step);
  Ask not_restarted(std::size_t step, const Outcome& outcome);
  Ask forward(std::size_t next);
  Ask called_after(std::size_t step, const Outcome& outcome);
  Ask retry_or_fail(const Step& step, const Outcome& outcome, OperationPhase phase, Stage again);
  Ask verify_or_conclude();
  Ask stop_before_commit(Stop stop);
  Ask take_back(std::size_t below);
  Ask taken_back(stage::TakingBack stage, const Outcome& outcome);
  Ask not_taken_back(std::size_t step, std::string reason);
  Ask undo_from(std::size_t step);
  Ask traffic_not_back(std::string failed_how, std::string text);
  Ask given_up_for_good();
  Ask conclude(OperationStatus status, std::string failed_how, std::string detail);
  Ask call_at_end(std::size_t from);
  Ask called_at_end(std::size_t step, const Outcome& outcome);
  Ask write_outcome();
  Ask finish(OperationStatus status, std::string failed_how, std::string detail);
  // Small questions.
  bool out_of_time() const { return deadlines_passed_ > 0 || now_ >= deadline_; }
  OperationStatus given_up() const;
  Stop too_late(std::string why) const;
  std::optional<Stop> reason_to_stop() const;
  std::optional<std::size_t> outstanding_step() const;
  bool is_outstanding(int number) const;
  std::optional<std::size_t> find_step(const char* action, std::size_t from = 0) const;
  std::optional<std::size_t> find_hook(const char* at, std::size_t from) const;
  std::size_t after_last(std::string_view action) const;
  bool is_spared(const Step& step) const;
  bool several() const { return !record_.components.empty(); }
  ComponentMove* move_of(std::size_t step);
  void warn(const std::string& text);
  void phase_begins(const char* name);
  void phase_ends(const char* name);

  Stage stage_;
  Ask outstanding_ = Finish{OperationStatus::unknown, "", "not begun"};
  bool keep_waiting_ = false;
  bool waited_ = false;  ///< the deadline passed once while this ask was outstanding
  Instant now_, deadline_;
  Duration stood_still_{};  ///< before the commit point
  int deadlines_passed_ = 0;
  OperationPhase begin_at_ = OperationPhase::intent;
  bool committed_ = false;           ///< the last switch is done
  bool taking_back_ = false;         ///< continued after a crash only to undo
  bool called_ = false;              ///< a hook was called before the switch
  bool begun_ = false;               ///< any step was
  bool took_back_ = false;           ///< at least one component
  bool outside_won_ = false;         ///< a switch met another release than planned
  bool uncounted_ = false;           ///< resumed, and this try is not on disk yet
  bool traffic_away_ = false;        ///< a step that takes traffic away was begun
  std::string disk_trouble_;         ///< set once a record could not be written: no other is tried
  std::optional<Stop> stop_;         ///< why it ends before the commit point, or is about to
  std::string failed_how_, detail_;  ///< of the end, while its record is being written
  std::optional<Stop> hook_failed_;  ///< the first required hook after the switch that failed
  std::string not_back_;             ///< what could not be taken back, and why
  std::string warnings_;             ///< of hooks that are not required
  std::vector<PhaseTime> times_;
};

}  // namespace rollbackd::rollback
