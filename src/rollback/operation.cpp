// One operation, from its intent to its outcome: an answer of the shell in, the next thing to do out. Pure.
// Flow: plan -> [operation] -> records, steps, verification. The commit point is the last switch: before it giving up is safe (what was
// switched goes back: undoing.cpp), after it only forward is.
#include "rollback/operation.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"
#include "rollback/outcome_text.hpp"
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

bool is_hook(const Step& step, std::string_view at) { return step.action == "hook" && step.arguments["at"].string_or("") == at; }
bool is_at_end(const Step& step) { return is_hook(step, "after_verify") || is_hook(step, "on_failure"); }
bool is_required(const Step& hook) { return hook.arguments["required"].bool_or(true); }
std::string hook_name(const Step& hook) { return hook.arguments["name"].string_or(hook.arguments["at"].string_or("")); }

/// "switch:failed", "hook:drain:timed_out".
std::string how(const Step& step, const Outcome& outcome) {
  return step.action + (step.action == "hook" ? ":" + hook_name(step) : "") + ":" + to_string(outcome.status);
}

Outcome no_answer() { return Outcome{Outcome::Status::timed_out, Json(), Error(Errc::timed_out, "it did not answer in time")}; }

OperationStatus status_of(VerificationVerdict::Kind kind) {
  switch (kind) {
    case VerificationVerdict::Kind::verified: return OperationStatus::succeeded;
    case VerificationVerdict::Kind::failed: return OperationStatus::failed;
    case VerificationVerdict::Kind::unverified: return OperationStatus::unverified;
    case VerificationVerdict::Kind::unknown: return OperationStatus::unknown;
  }
  return OperationStatus::unknown;
}

using Stands = ComponentMove::Stands;

ComponentMove move_of_switch(const Step& step) {
  ComponentMove move;
  move.component = step.component;
  move.from_path = step.arguments["from_value"].string_or("");
  move.to_path = step.arguments["to_value"].string_or("");
  move.armed_inode = static_cast<std::uint64_t>(step.arguments["armed_inode"].int_or(0));
  return move;
}

}  // namespace

Operation::Operation(Plan plan, OperationOptions options, Instant now)
    : plan_(std::move(plan)), options_(std::move(options)), now_(now), deadline_(now + options_.deadline) {
  record_.node = options_.node;
  record_.request = plan_.request;
  record_.fence = options_.fence;
  record_.at = record_.begun = now;
  for (const Step& step : plan_.steps)
    if (step.action == "switch") record_.components.push_back(move_of_switch(step));
  if (record_.components.size() == 1) {
    const ComponentMove& only = record_.components.front();
    record_.from_path = only.from_path;
    record_.to_path = only.to_path;
    record_.armed_inode = only.armed_inode;
    record_.components.clear();
  }
  phase_begins("preflight");
}

Operation Operation::resumed(OperationRecord record, Plan plan, OperationOptions options, OperationPhase resume_at, Instant now) {
  Operation operation(std::move(plan), std::move(options), now);
  if (record.components.empty()) record.components = operation.record_.components;
  operation.record_ = std::move(record);
  for (ComponentMove& move : operation.record_.components) move.stands = Stands::to;
  operation.record_.node = operation.options_.node;
  // Not before the record that announced it: the earliest the switch can have been, so that a process restarted since counts as younger.
  if (!operation.record_.switched) operation.record_.switched = operation.record_.at;
  operation.begin_at_ = std::max(resume_at, OperationPhase::switched);
  operation.committed_ = true;
  operation.uncounted_ = operation.begun_ = true;
  operation.times_.clear();
  return operation;
}

Ask Operation::begin(Instant now) {
  if (!std::holds_alternative<stage::NotBegun>(stage_)) return ask_again();
  now_ = std::max(now_, now);
  if (begin_at_ == OperationPhase::intent) return write(OperationPhase::intent, stage::WritingIntent{});
  if (begin_at_ == OperationPhase::outcome) return finish(record_.status, "", record_.note);

  ++record_.attempt;
  if (begin_at_ == OperationPhase::switching) return write(OperationPhase::switching, stage::WritingSwitching{});
  if (begin_at_ == OperationPhase::verifying) return write(OperationPhase::verifying, stage::WritingVerifying{});
  // Hooks after the switch may not have been called where the restarts are not known to have ended; one that was answers as it did then.
  const std::size_t first = after_last(record_.phase == OperationPhase::restarted ? "restart" : "switch");
  if (begin_at_ == OperationPhase::restarted) return write(OperationPhase::restarted, stage::WritingRestarted{{}, first});
  return write(OperationPhase::switched, stage::WritingSwitched{{}, first});
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
                          return before_switch(0);
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
                          return write_outcome();
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
            return before_switch(0);
          },
          [&](stage::CallingBefore s) { return called_before(s.step, outcome); },
          [&](stage::Switching s) { return outcome.ok() ? switched(s.step, outcome) : not_switched(s.step, outcome); },
          [&](stage::TakingBack s) { return taken_back(s, outcome); },
          [&](stage::Undoing s) {
            if (outcome.ok()) return undo_from(s.step + 1);
            if (s.tries < kAttemptsMax) return run(stage::Undoing{{s.step}, s.tries + 1});
            return traffic_not_back(how(plan_.steps[s.step], outcome), "traffic could not be brought back: " + why(outcome));
          },
          [&](stage::CallingAfter s) { return called_after(s.step, outcome); },
          [&](stage::CallingAtEnd s) { return called_at_end(s.step, outcome); },
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
  if (!committed_ && !stop_) stop_ = too_late("the operation's deadline passed");
  deadline_ = now_ + options_.deadline_step;
  const bool once_more = !std::exchange(waited_, true);
  return std::visit(overloaded{
                        [&](stage::AwaitsDisk) { return once_more ? ask_again() : not_on_disk("the disk did not answer in time"); },
                        [&](stage::TakingTrafficAway) { return once_more ? ask_again() : stop_before_commit(*stop_); },
                        [&](stage::CallingBefore) { return once_more ? ask_again() : stop_before_commit(*stop_); },
                        [&](stage::Switching s) { return once_more ? ask_again() : not_switched(s.step, no_answer()); },
                        [&](stage::TakingBack s) { return once_more ? ask_again() : not_taken_back(s.step, "it did not answer in time"); },
                        [&](stage::Undoing) {
                          return once_more ? ask_again() : traffic_not_back("traffic_back:timed_out", "traffic is not known to be back");
                        },
                        [&](stage::CallingAfter s) { return called_after(s.step, no_answer()); },
                        [&](stage::CallingAtEnd s) { return once_more ? ask_again() : called_at_end(s.step, no_answer()); },
                        [&](stage::Restarting) {
                          phase_ends("restart");
                          return conclude(OperationStatus::unknown, "restart:timed_out",
                                          "the operation's deadline passed during the restart");
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
  begun_ = true;
  const Duration left = std::max<Duration>(deadline_ - now_, kStepMin);
  const bool undo = std::holds_alternative<stage::TakingBack>(stage_);
  return ask(RunStep{plan_.steps[*outstanding_step()], std::min(options_.deadline_step, left), undo});
}

/// The hooks that may still stop it, then the announcement of the first switch.
Ask Operation::before_switch(std::size_t from) {
  const auto hook = find_hook("before_switch", from);
  if (!hook) return write(OperationPhase::switching, stage::WritingSwitching{});
  if (const auto stop = reason_to_stop()) return stop_before_commit(*stop);
  called_ = true;
  return run(stage::CallingBefore{{*hook}});
}

Ask Operation::called_before(std::size_t step, const Outcome& outcome) {
  const Step& hook = plan_.steps[step];
  if (stop_) return stop_before_commit(*stop_);
  if (!outcome.ok() && is_required(hook))
    return stop_before_commit({given_up(), how(hook, outcome), "the hook " + hook_name(hook) + " says no: " + why(outcome)});
  if (!outcome.ok()) warn("the hook " + hook_name(hook) + " did not succeed: " + why(outcome));
  return before_switch(step + 1);
}

/// One component of several stands on its new release; nothing is final before the last one does.
Ask Operation::switched(std::size_t step, const Outcome& outcome) {
  if (ComponentMove* move = move_of(step)) {
    move->stands = Stands::to;
    move->armed_inode = static_cast<std::uint64_t>(outcome.facts["link_inode"].int_or(static_cast<std::int64_t>(move->armed_inode)));
  }
  const auto more = find_step("switch", step + 1);
  if (!more) return committed(step, outcome);
  if (const auto stop = reason_to_stop()) return stop_before_commit(*stop);
  return run(stage::Switching{{*more}});
}

Ask Operation::committed(std::size_t step, const Outcome& outcome) {
  phase_ends("switch");
  committed_ = true;
  deadline_ = deadline_ + stood_still_;
  stop_.reset();
  const Instant at(outcome.facts["at_ns"].int_or(now_.ns()));
  record_.switched = std::clamp(at, std::min(record_.at, now_), now_);  // Between its announcement and its answer, whatever is claimed.
  if (!several())
    record_.armed_inode = static_cast<std::uint64_t>(outcome.facts["link_inode"].int_or(static_cast<std::int64_t>(record_.armed_inode)));
  return write(OperationPhase::switched, stage::WritingSwitched{{}, step + 1});
}

Ask Operation::not_switched(std::size_t step, const Outcome& outcome) {
  const Step& failed = plan_.steps[step];
  ComponentMove* move = move_of(step);
  const auto stop = [&](Stands stands, OperationStatus status, const std::string& text) {
    if (move) move->stands = stands;
    return stop_before_commit({status, how(failed, outcome), text + why(outcome)});
  };
  phase_ends("switch");
  switch (outcome.status) {
    case Outcome::Status::conflict:
      outside_won_ = true;
      return stop(Stands::elsewhere, OperationStatus::abandoned, "an outside deployment won: ");
    case Outcome::Status::refused:
    case Outcome::Status::failed:
      if (move) move->stands = Stands::from;
      return stop_ ? stop_before_commit(*stop_) : stop(Stands::from, given_up(), "the switch failed: ");
    case Outcome::Status::done:
    case Outcome::Status::already_done:
    case Outcome::Status::timed_out:  // It may still happen.
    case Outcome::Status::unknown: break;
  }
  // One of several is taken back, which finds out. The only one may be live: whoever cannot tell must not undo it.
  const OperationStatus status = several() ? given_up() : OperationStatus::unknown;
  return stop(Stands::unknown, status, "it is not known whether the switch happened: ");
}

Ask Operation::restarted(std::size_t step) {
  for (auto more = find_step("restart", step + 1); more; more = find_step("restart", *more + 1))
    if (!is_spared(plan_.steps[*more])) return run(stage::Restarting{{*more}});
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
  while (next < plan_.steps.size() && is_spared(plan_.steps[next])) ++next;
  if (next >= plan_.steps.size() || is_at_end(plan_.steps[next])) {
    if (options_.verify) return write(OperationPhase::verifying, stage::WritingVerifying{});
    if (deadlines_passed_ > 0) return conclude(OperationStatus::unverified, "", "the operation's deadline passed");
    return conclude(OperationStatus::succeeded, "", "");
  }
  if (plan_.steps[next].action == "hook") return run(stage::CallingAfter{{next}});
  if (plan_.steps[next].action != "restart") return run(stage::BringingTrafficBack{{next}});
  phase_begins("restart");
  return run(stage::Restarting{{next}});
}

/// A hook after the commit point: whatever it says, the release is live and its process must follow.
Ask Operation::called_after(std::size_t step, const Outcome& outcome) {
  const Step& hook = plan_.steps[step];
  if (!outcome.ok()) {
    const std::string text = "the hook " + hook_name(hook) + " did not succeed: " + why(outcome);
    if (!is_required(hook)) {
      warn(text);
    } else if (!hook_failed_) {
      hook_failed_ = Stop{OperationStatus::failed, how(hook, outcome), text};
    }
  }
  return forward(step + 1);
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

/// How it ends; the hooks of the end are called before that is written.
Ask Operation::conclude(OperationStatus status, std::string failed_how, std::string detail) {
  if (hook_failed_ && (status == OperationStatus::succeeded || status == OperationStatus::unverified)) {
    status = OperationStatus::failed;
    failed_how = hook_failed_->failed_how;
    detail = hook_failed_->why + (detail.empty() ? "" : "; " + detail);
  }
  record_.status = status;
  failed_how_ = std::move(failed_how);
  detail_ = std::move(detail);
  return call_at_end(0);
}

Ask Operation::call_at_end(std::size_t from) {
  const bool well = record_.status == OperationStatus::succeeded;
  for (std::size_t i = from; begun_ && i < plan_.steps.size(); ++i) {
    const bool called = is_hook(plan_.steps[i], "after_verify") ? well && options_.verify : is_hook(plan_.steps[i], "on_failure") && !well;
    if (called) return run(stage::CallingAtEnd{{i}});
  }
  return write_outcome();
}

Ask Operation::called_at_end(std::size_t step, const Outcome& outcome) {
  const Step& hook = plan_.steps[step];
  if (!outcome.ok()) {
    const std::string text = "the hook " + hook_name(hook) + " did not succeed: " + why(outcome);
    if (is_required(hook) && record_.status == OperationStatus::succeeded) {
      record_.status = OperationStatus::unverified;
      failed_how_ = how(hook, outcome);
      detail_ = text;
    } else {
      warn(text);
    }
  }
  return call_at_end(step + 1);
}

Ask Operation::write_outcome() {
  if (!warnings_.empty()) detail_ += (detail_.empty() ? "" : "; ") + std::exchange(warnings_, {});
  if (!disk_trouble_.empty()) {
    const OperationStatus status = record_.status;
    const std::string otherwise = status == OperationStatus::unknown ? "" : std::string(" (otherwise ") + to_string(status) + ")";
    return finish(OperationStatus::unknown, failed_how_,
                  "the operation's records could not be written: " + disk_trouble_ + otherwise + (detail_.empty() ? "" : ": " + detail_));
  }
  record_.note = cut(detail_, kNoteBytesMax);
  return write(OperationPhase::outcome, stage::WritingOutcome{});
}

Ask Operation::finish(OperationStatus status, std::string failed_how, std::string detail) {
  record_.status = status;
  stage_ = stage::Finished{};
  finished_ = true;
  return ask(Finish{status, std::move(failed_how), std::move(detail)});
}

// ---- Small questions ----

std::optional<Operation::Stop> Operation::reason_to_stop() const {
  if (stop_) return stop_;
  if (out_of_time()) return too_late("the operation's deadline passed before the switch");
  return std::nullopt;
}

Operation::Stop Operation::too_late(std::string why) const {
  return Stop{given_up(), "", std::move(why), stood_still_ > Duration{0} && now_ - stood_still_ < deadline_};
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

std::optional<std::size_t> Operation::find_hook(const char* at, std::size_t from) const {
  for (std::size_t i = from; i < plan_.steps.size(); ++i)
    if (is_hook(plan_.steps[i], at)) return i;
  return std::nullopt;
}

/// Index of the step after the last one with this action; after the last switch when there is none.
std::size_t Operation::after_last(std::string_view action) const {
  for (std::size_t i = plan_.steps.size(); i-- > 0;)
    if (plan_.steps[i].action == action || plan_.steps[i].action == "switch") return i + 1;
  return plan_.steps.size();
}

/// The part of the record that belongs to a switch of several.
ComponentMove* Operation::move_of(std::size_t step) {
  if (!several() || plan_.steps[step].action != "switch") return nullptr;
  const auto found = std::find_if(record_.components.begin(), record_.components.end(),
                                  [&](const ComponentMove& move) { return move.component == plan_.steps[step].component; });
  return found == record_.components.end() ? nullptr : &*found;
}

bool Operation::is_spared(const Step& step) const {
  if (step.action != "restart") return false;
  return begin_at_ == OperationPhase::restarted ||
         std::find(options_.spared.begin(), options_.spared.end(), step.component) != options_.spared.end();
}

bool Operation::commits(const Step& step) const {
  const auto last = std::find_if(plan_.steps.rbegin(), plan_.steps.rend(), [](const Step& s) { return s.action == "switch"; });
  return last != plan_.steps.rend() && step.action == "switch" && last->number == step.number;
}

void Operation::warn(const std::string& text) { warnings_ = cut(warnings_ + (warnings_.empty() ? "" : "; ") + text, kNoteBytesMax); }

Instant Operation::deadline() const { return deadline_; }

void Operation::stood_still(Duration length) {
  length = std::max<Duration>(length, Duration{});
  if (committed_) {
    deadline_ = deadline_ + length;
  } else {
    stood_still_ += length;
  }
}

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
