// One operation, from its intent to its outcome: an answer of the shell in, the next thing to do out. Pure.
// Flow: plan -> [operation] -> records, steps, verification. The commit point is the switch: before it giving up is safe, after it only
// forward is.
#include "rollback/operation.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"
#include "rollback/recovery.hpp"

namespace rollbackd::rollback {
namespace {

template <class... Ts>
struct overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
overloaded(Ts...) -> overloaded<Ts...>;

constexpr std::size_t kNoteBytesMax = 512;  // Of a record's note: it shares 4 KiB with the request.
constexpr Duration kStepMin = 1s;           // A step begun at all gets this long, or it would only end in doubt.

std::string how(const Step& step, const Outcome& outcome) { return step.action + ":" + to_string(outcome.status); }

std::string why(const Outcome& outcome) { return outcome.error.code == Errc::none ? to_string(outcome.status) : outcome.error.text(); }

OperationStatus status_of(VerificationVerdict::Kind kind) {
  switch (kind) {
    case VerificationVerdict::Kind::verified: return OperationStatus::succeeded;
    case VerificationVerdict::Kind::failed: return OperationStatus::failed;
    case VerificationVerdict::Kind::unverified: return OperationStatus::unverified;
    case VerificationVerdict::Kind::unknown: return OperationStatus::unknown;
  }
  return OperationStatus::unknown;
}

bool is_after_switch(const Step& step) { return step.action == "restart" || step.action == "traffic_back"; }

}  // namespace

Operation::Operation(Plan plan, OperationOptions options, Instant now)
    : plan_(std::move(plan)), options_(std::move(options)), now_(now), deadline_(now + options_.deadline) {
  record_.node = options_.node;
  record_.request = plan_.request;
  record_.fence = options_.fence;
  record_.at = record_.begun = now;
  if (const auto step = find_step("switch")) {
    const Json& arguments = plan_.steps[*step].arguments;
    record_.from_path = arguments["from_value"].string_or("");
    record_.to_path = arguments["to_value"].string_or("");
    record_.armed_inode = static_cast<std::uint64_t>(arguments["armed_inode"].int_or(0));
  }
  phase_begins("preflight");
}

Operation Operation::resumed(OperationRecord record, Plan plan, OperationOptions options, OperationPhase resume_at, Instant now) {
  Operation operation(std::move(plan), std::move(options), now);
  operation.record_ = std::move(record);
  operation.record_.node = operation.options_.node;
  // Not before the record that announced it: the earliest the switch can have been, so that a process restarted since counts as younger.
  if (!operation.record_.switched) operation.record_.switched = operation.record_.at;
  operation.begin_at_ = std::max(resume_at, OperationPhase::switched);
  operation.committed_ = true;
  operation.uncounted_ = true;
  operation.times_.clear();
  return operation;
}

Ask Operation::begin(Instant now) {
  if (!std::holds_alternative<stage::NotBegun>(stage_)) return ask_again();
  now_ = std::max(now_, now);
  if (begin_at_ == OperationPhase::intent) return write(OperationPhase::intent, stage::WritingIntent{});
  if (begin_at_ == OperationPhase::outcome) return finish(record_.status, "", record_.note);

  ++record_.attempt;
  const auto first = std::find_if(plan_.steps.begin(), plan_.steps.end(), is_after_switch);
  const auto back = find_step("traffic_back");
  if (begin_at_ == OperationPhase::verifying) return write(OperationPhase::verifying, stage::WritingVerifying{});
  if (begin_at_ == OperationPhase::restarted)
    return write(OperationPhase::restarted, stage::WritingRestarted{{}, back.value_or(plan_.steps.size())});
  return write(OperationPhase::switched, stage::WritingSwitched{{}, static_cast<std::size_t>(first - plan_.steps.begin())});
}

Ask Operation::on(const Answer& answer, Instant now) {
  now_ = std::max(now_, now);
  return std::visit(overloaded{
                        [this](const RecordOnDisk& a) { return a.ok ? on_disk() : not_on_disk(a.why); },
                        [this](const StepEnded& a) { return is_outstanding(a.number) ? step_ended(a.outcome) : ask_again(); },
                        [this](const Verified& a) { return verified(a.verdict); },
                        [this](const DeadlinePassed&) { return deadline_passed(); },
                        [this](const CancelAsked& a) { return cancel_asked(a.by); },
                    },
                    answer);
}

// ---- Answers ----

/// A record is on disk: what it announced may happen.
Ask Operation::on_disk() {
  uncounted_ = false;
  return std::visit(overloaded{
                        [this](stage::WritingIntent) {
                          if (const auto stop = reason_to_stop()) return stop_before_commit(*stop);
                          if (find_step("traffic_away")) return write(OperationPhase::traffic_away, stage::WritingTrafficAway{});
                          return write(OperationPhase::switching, stage::WritingSwitching{});
                        },
                        [this](stage::WritingTrafficAway) {
                          if (const auto stop = reason_to_stop()) return stop_before_commit(*stop);
                          traffic_away_ = true;
                          return run(stage::TakingTrafficAway{{*find_step("traffic_away")}});
                        },
                        [this](stage::WritingSwitching) {
                          if (const auto stop = reason_to_stop()) return stop_before_commit(*stop);
                          const auto step = find_step("switch");
                          if (!step) return stop_before_commit({given_up(), "switch:missing", "the plan has no switch"});
                          phase_ends("preflight");
                          phase_begins("switch");
                          return run(stage::Switching{{*step}});
                        },
                        [this](stage::WritingSwitched s) { return forward(s.next); },
                        [this](stage::WritingRestarted s) { return forward(s.next); },
                        [this](stage::WritingVerifying) { return verify_or_conclude(); },
                        [this](stage::WritingOutcome) { return finish(record_.status, failed_how_, detail_); },
                        [this](stage::AwaitsStep) { return ask_again(); },
                        [this](stage::AwaitsVerdict) { return ask_again(); },
                        [this](stage::AwaitsNothing) { return ask_again(); },
                    },
                    Stage(stage_));
}

/// A record may or may not be on disk, and the file takes no other. Before the commit point nothing is begun on such ground. After it the
/// release is put back all the same (half done is the worst end), but nobody is told that it went well.
Ask Operation::not_on_disk(const std::string& reason) {
  const auto stop = [&] { return Stop{OperationStatus::unknown, "", "the operation's record could not be written: " + reason}; };
  const auto go_on = [&](stage::AwaitsDisk) {
    disk_trouble_ = reason.empty() ? "unknown reason" : reason;
    if (!uncounted_) return on_disk();
    return finish(OperationStatus::unknown, "", "the attempt could not be counted, so it was not made: " + disk_trouble_);
  };
  const auto give_up = [&](stage::AwaitsDisk) {
    disk_trouble_ = reason.empty() ? "unknown reason" : reason;
    return stop_before_commit(stop());
  };
  return std::visit(overloaded{
                        [&](stage::WritingIntent s) { return give_up(s); },
                        [&](stage::WritingTrafficAway s) { return give_up(s); },
                        [&](stage::WritingSwitching s) { return give_up(s); },
                        [&](stage::WritingSwitched s) { return go_on(s); },
                        [&](stage::WritingRestarted s) { return go_on(s); },
                        [&](stage::WritingVerifying s) { return go_on(s); },
                        [&](stage::WritingOutcome) {
                          disk_trouble_ = reason.empty() ? "unknown reason" : reason;
                          return conclude(record_.status, failed_how_, detail_);
                        },
                        [this](stage::AwaitsStep) { return ask_again(); },
                        [this](stage::AwaitsVerdict) { return ask_again(); },
                        [this](stage::AwaitsNothing) { return ask_again(); },
                    },
                    Stage(stage_));
}

Ask Operation::step_ended(const Outcome& outcome) {
  return std::visit(
      overloaded{
          [&](stage::TakingTrafficAway s) {
            if (!outcome.ok())
              return stop_before_commit(stop_ ? *stop_ : Stop{given_up(), how(plan_.steps[s.step], outcome), why(outcome)});
            if (stop_) return stop_before_commit(*stop_);
            if (const auto next = find_step("traffic_away", s.step + 1)) return run(stage::TakingTrafficAway{{*next}});
            return write(OperationPhase::switching, stage::WritingSwitching{});
          },
          [&](stage::Switching s) {
            phase_ends("switch");
            return outcome.ok() ? switched(s.step, outcome) : not_switched(plan_.steps[s.step], outcome);
          },
          [&](stage::Undoing s) {
            if (outcome.ok()) return undo_from(s.step + 1);
            if (s.tries < kAttemptsMax) return run(stage::Undoing{{s.step}, s.tries + 1});
            return conclude(OperationStatus::partial, how(plan_.steps[s.step], outcome),
                            stop_->why + "; and traffic could not be brought back: " + why(outcome));
          },
          [&](stage::Restarting s) {
            phase_ends("restart");
            return outcome.ok() ? restarted(s.step) : not_restarted(s.step, outcome);
          },
          [&](stage::BringingTrafficBack s) {
            if (outcome.ok()) return forward(s.step + 1);
            return retry_or_fail(plan_.steps[s.step], outcome, OperationPhase::restarted, stage::WritingRestarted{{}, s.step});
          },
          [this](stage::AwaitsDisk) { return ask_again(); },
          [this](stage::AwaitsVerdict) { return ask_again(); },
          [this](stage::AwaitsNothing) { return ask_again(); },
      },
      Stage(stage_));
}

Ask Operation::verified(const VerificationVerdict& verdict) {
  return std::visit(overloaded{
                        [&](stage::Verifying) {
                          phase_ends("verify");
                          return conclude(status_of(verdict.kind), verdict.failed_how, verdict.detail);
                        },
                        [this](stage::AwaitsDisk) { return ask_again(); },
                        [this](stage::AwaitsStep) { return ask_again(); },
                        [this](stage::AwaitsNothing) { return ask_again(); },
                    },
                    Stage(stage_));
}

/// Records, the switch and everything before it are waited for once more: only their answers say where things stand. A restart and
/// verification are not: the link is where it shall be, and "not known to be well" is an honest end.
Ask Operation::deadline_passed() {
  ++deadlines_passed_;
  deadline_ = now_ + options_.deadline_step;
  if (!committed_ && !stop_) stop_ = Stop{given_up(), "", "the operation's deadline passed"};
  const bool once_more = !std::exchange(waited_, true);
  return std::visit(
      overloaded{
          [&](stage::AwaitsDisk) { return once_more ? ask_again() : not_on_disk("the disk did not answer in time"); },
          [&](stage::TakingTrafficAway) { return once_more ? ask_again() : stop_before_commit(*stop_); },
          [&](stage::Switching) {
            return once_more ? ask_again()
                             : stop_before_commit({OperationStatus::unknown, "switch:timed_out", "the switch did not answer"});
          },
          [&](stage::Undoing) {
            return once_more
                       ? ask_again()
                       : conclude(OperationStatus::partial, "traffic_back:timed_out", stop_->why + "; and traffic is not known to be back");
          },
          [&](stage::Restarting) {
            phase_ends("restart");
            return conclude(OperationStatus::unknown, "restart:timed_out", "the operation's deadline passed during the restart");
          },
          [&](stage::BringingTrafficBack) {
            return conclude(OperationStatus::unknown, "traffic_back:timed_out",
                            "the operation's deadline passed while traffic was brought back");
          },
          [&](stage::Verifying) {
            phase_ends("verify");
            return conclude(OperationStatus::unverified, "", "the operation's deadline passed during verification");
          },
          [this](stage::AwaitsNothing) { return ask_again(); },
      },
      Stage(stage_));
}

/// Taken note of; what is outstanding ends first. After the commit point, or once something else ended it, it is too late.
Ask Operation::cancel_asked(const std::string& by) {
  if (!committed_ && !stop_) stop_ = Stop{OperationStatus::cancelled, "", "cancelled by " + by};
  return ask_again();
}

// ---- What comes next ----

Ask Operation::ask(Ask next) {
  keep_waiting_ = waited_ = false;
  outstanding_ = std::move(next);
  return outstanding_;
}

Ask Operation::ask_again() {
  keep_waiting_ = true;
  return outstanding_;
}

Ask Operation::write(OperationPhase phase, Stage next) {
  record_.phase = phase;
  record_.at = now_;
  if (phase != OperationPhase::outcome) {
    record_.status = phase == OperationPhase::verifying ? OperationStatus::verifying : OperationStatus::running;
  }
  stage_ = next;
  if (!disk_trouble_.empty()) return on_disk();  // The file takes no other record: see not_on_disk.
  return ask(WriteRecord{record_});
}

Ask Operation::run(Stage next) {
  stage_ = next;
  const Duration left = std::max<Duration>(deadline_ - now_, kStepMin);
  return ask(RunStep{plan_.steps[*outstanding_step()], std::min(options_.deadline_step, left)});
}

Ask Operation::switched(std::size_t step, const Outcome& outcome) {
  committed_ = true;
  stop_.reset();
  const Instant at(outcome.facts["at_ns"].int_or(now_.ns()));
  record_.switched = std::clamp(at, std::min(record_.at, now_), now_);  // Between its announcement and its answer, whatever is claimed.
  record_.armed_inode = static_cast<std::uint64_t>(outcome.facts["link_inode"].int_or(static_cast<std::int64_t>(record_.armed_inode)));
  return write(OperationPhase::switched, stage::WritingSwitched{{}, step + 1});
}

Ask Operation::not_switched(const Step& step, const Outcome& outcome) {
  const auto stop = [&](OperationStatus status, const std::string& text) {
    return stop_before_commit({status, how(step, outcome), text + why(outcome)});
  };
  switch (outcome.status) {
    case Outcome::Status::conflict: return stop(OperationStatus::abandoned, "an outside deployment won: ");
    case Outcome::Status::refused:
    case Outcome::Status::failed: return stop_ ? stop_before_commit(*stop_) : stop(given_up(), "the switch failed: ");
    case Outcome::Status::done:
    case Outcome::Status::already_done:
    case Outcome::Status::timed_out:  // It may still happen.
    case Outcome::Status::unknown: break;
  }
  return stop(OperationStatus::unknown, "it is not known whether the switch happened: ");
}

Ask Operation::restarted(std::size_t step) {
  const auto more = find_step("restart", step + 1);
  if (more) return run(stage::Restarting{{*more}});
  record_.restarted = now_;
  record_.note.clear();
  return write(OperationPhase::restarted, stage::WritingRestarted{{}, step + 1});
}

Ask Operation::not_restarted(std::size_t step, const Outcome& outcome) {
  const Step& restart = plan_.steps[step];
  if (outcome.status != Outcome::Status::unknown) {
    return retry_or_fail(restart, outcome, OperationPhase::switched, stage::WritingSwitched{{}, step});
  }
  // A second try might restart a good process: the world is asked instead.
  record_.note = cut("it is not known whether the restart happened: " + why(outcome), kNoteBytesMax);
  if (options_.verify) return forward(step + 1);
  return conclude(OperationStatus::unknown, how(restart, outcome), record_.note);
}

/// After the commit point: the step at `next`, or verification when there is none.
Ask Operation::forward(std::size_t next) {
  if (next >= plan_.steps.size()) {
    if (options_.verify) return write(OperationPhase::verifying, stage::WritingVerifying{});
    if (deadlines_passed_ > 0) return conclude(OperationStatus::unverified, "", "the operation's deadline passed");
    return conclude(OperationStatus::succeeded, "", "");
  }
  if (plan_.steps[next].action != "restart") return run(stage::BringingTrafficBack{{next}});
  phase_begins("restart");
  return run(stage::Restarting{{next}});
}

/// One more try, counted in the record before it is made. A deployment's restart is tried once: that its start fails is evidence against
/// the new release, and there is a release to go back to. A rollback has nothing else to go to.
Ask Operation::retry_or_fail(const Step& step, const Outcome& outcome, OperationPhase phase, Stage again) {
  const bool may_pass = outcome.status == Outcome::Status::failed || outcome.status == Outcome::Status::timed_out;
  if (may_pass && record_.attempt < kAttemptsMax && !out_of_time() && record_.request.kind != OperationKind::deploy) {
    ++record_.attempt;
    record_.note = cut(why(outcome), kNoteBytesMax);
    return write(phase, again);
  }
  return conclude(OperationStatus::failed, how(step, outcome),
                  step.action + " of " + record_.request.service.text() + " did not succeed (attempt " + std::to_string(record_.attempt) +
                      " of " + std::to_string(kAttemptsMax) + "); " + record_.request.to +
                      " is switched to and needs a person: " + why(outcome));
}

Ask Operation::verify_or_conclude() {
  if (out_of_time()) return conclude(OperationStatus::unverified, "", "the operation's deadline passed before verification");
  phase_begins("verify");
  stage_ = stage::Verifying{};
  return ask(Verify{record_.request.to, deadline_ - now_});
}

/// Ends it before the commit point; traffic that was taken away comes back first.
Ask Operation::stop_before_commit(Stop stop) {
  stop_ = std::move(stop);
  phase_ends("preflight");
  return undo_from(0);
}

Ask Operation::undo_from(std::size_t step) {
  if (const auto back = find_step("traffic_back", step); back && traffic_away_) return run(stage::Undoing{{*back}});
  return conclude(stop_->status, stop_->failed_how, stop_->why);
}

Ask Operation::conclude(OperationStatus status, std::string failed_how, std::string detail) {
  if (!disk_trouble_.empty()) {
    const std::string otherwise = status == OperationStatus::unknown ? "" : std::string(" (otherwise ") + to_string(status) + ")";
    return finish(OperationStatus::unknown, std::move(failed_how),
                  "the operation's records could not be written: " + disk_trouble_ + otherwise + (detail.empty() ? "" : ": " + detail));
  }
  record_.status = status;
  record_.note = cut(detail, kNoteBytesMax);
  failed_how_ = std::move(failed_how);
  detail_ = std::move(detail);
  return write(OperationPhase::outcome, stage::WritingOutcome{});
}

Ask Operation::finish(OperationStatus status, std::string failed_how, std::string detail) {
  record_.status = status;
  stage_ = stage::Finished{};
  finished_ = true;
  return ask(Finish{status, std::move(failed_how), std::move(detail)});
}

// ---- Small questions ----

/// What ended before the commit point: nothing had to be taken back, or it was.
OperationStatus Operation::given_up() const { return traffic_away_ ? OperationStatus::undone : OperationStatus::abandoned; }

std::optional<Operation::Stop> Operation::reason_to_stop() const {
  if (stop_) return stop_;
  if (out_of_time()) return Stop{given_up(), "", "the operation's deadline passed before the switch"};
  return std::nullopt;
}

std::optional<std::size_t> Operation::outstanding_step() const {
  using Step = std::optional<std::size_t>;
  return std::visit(overloaded{
                        [](const stage::AwaitsStep& s) { return Step(s.step); },
                        [](const stage::AwaitsDisk&) { return Step(); },
                        [](const stage::AwaitsVerdict&) { return Step(); },
                        [](const stage::AwaitsNothing&) { return Step(); },
                    },
                    stage_);
}

bool Operation::is_outstanding(int number) const {
  const auto step = outstanding_step();
  return number == 0 || (step && plan_.steps[*step].number == number);
}

std::optional<std::size_t> Operation::find_step(const char* action, std::size_t from) const {
  for (std::size_t i = from; i < plan_.steps.size(); ++i)
    if (plan_.steps[i].action == action) return i;
  return std::nullopt;
}

Instant Operation::deadline() const { return deadline_; }

void Operation::phase_begins(const char* name) {
  const auto same = std::find_if(times_.begin(), times_.end(), [&](const PhaseTime& t) { return t.name == name; });
  if (same == times_.end()) {
    times_.push_back({name, now_, std::nullopt});
  } else {
    same->ended.reset();  // Another try: counted from the first one's beginning.
  }
}

void Operation::phase_ends(const char* name) {
  for (PhaseTime& time : times_)
    if (time.name == name && !time.ended) time.ended = now_;
}

std::vector<std::pair<std::string, Duration>> Operation::phases() const {
  std::vector<std::pair<std::string, Duration>> out;
  for (const PhaseTime& time : times_) out.emplace_back(time.name, time.ended.value_or(now_) - time.began);
  return out;
}

}  // namespace rollbackd::rollback
