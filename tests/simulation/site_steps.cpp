// The drivers of the simulated world: they do, fail, hang, and lie.
#include <algorithm>

#include "tests/simulation/site.hpp"

namespace rollbackd::simulation {
namespace {

Outcome outcome_of(Outcome::Status status, const char* why = "") {
  Outcome outcome;
  outcome.status = status;
  if (!outcome.ok()) outcome.error = Error(Errc::io, why);
  return outcome;
}

enum class Fate { does, fails, hangs, hangs_and_does, lies_done, lies_failed };

Fate fate_of(Random& random, const Noise& noise) {
  if (random.chance(noise.step_fails)) return Fate::fails;
  if (random.chance(noise.step_hangs)) return random.chance(0.5) ? Fate::hangs : Fate::hangs_and_does;
  if (random.chance(noise.step_lies)) return random.chance(0.5) ? Fate::lies_done : Fate::lies_failed;
  return Fate::does;
}

}  // namespace

void Site::run(std::size_t n, const Step& step, const OperationRequest& request, Duration deadline, std::function<void(Outcome)> answer) {
  if (step.action == "switch") return run_switch(n, request, deadline, std::move(answer));
  if (step.action == "restart") return run_restart(n, step, deadline, std::move(answer));
  clock_.in_daemon(2ms, [answer = std::move(answer)] { answer(outcome_of(Outcome::Status::done)); });
}

/// Exchange, and a look at what came out: not what was planned means that somebody else deployed.
Outcome Site::switch_now(std::size_t n, const OperationRequest& request, Duration called) {
  const auto to = find(n, request.to);
  if (!to || !services_[n].on_disk[*to]) return outcome_of(Outcome::Status::refused, "the target is not on disk");
  const std::string& live = id(n, services_[n].link);
  if (live == request.to) return outcome_of(Outcome::Status::already_done);
  if (live != request.from) return outcome_of(Outcome::Status::conflict, "another release is live");
  set_link(n, *to, request.operation, called);
  return outcome_of(Outcome::Status::done);
}

/// A system call of the daemon itself: it happens only while the daemon lives, except where it hangs in the kernel.
void Site::run_switch(std::size_t n, const OperationRequest& request, Duration deadline, std::function<void(Outcome)> answer) {
  const Fate fate = fate_of(random_, noise_);
  const Duration called = clock_.now();
  const auto reply = [this, answer](Outcome outcome, Duration after) {
    clock_.in_daemon(after, [answer, outcome = std::move(outcome)] { answer(outcome); });
  };
  switch (fate) {
    case Fate::fails: return reply(outcome_of(Outcome::Status::failed, "EIO"), 3ms);
    case Fate::lies_done: return reply(outcome_of(Outcome::Status::done), 3ms);
    case Fate::hangs: return reply(outcome_of(Outcome::Status::timed_out, "no answer"), deadline);
    case Fate::hangs_and_does:
      clock_.in_daemon(random_.between(1s, deadline + 20s), [this, n, request, called] { switch_now(n, request, called); });
      return reply(outcome_of(Outcome::Status::timed_out, "no answer"), deadline);
    case Fate::does:
    case Fate::lies_failed: break;
  }
  const bool lies = fate == Fate::lies_failed;
  clock_.in_daemon(random_.between(1ms, 8ms), [this, n, request, lies, reply, called] {
    Outcome outcome = switch_now(n, request, called);
    if (lies) outcome = outcome_of(Outcome::Status::failed, "EIO");
    reply(std::move(outcome), random_.between(1ms, 4ms));
  });
}

/// The keeper does it, whether or not the daemon lives to hear of it; the same token again gets the first answer.
void Site::run_restart(std::size_t n, const Step& step, Duration deadline, std::function<void(Outcome)> answer) {
  const std::string token = step.operation + "/" + std::to_string(step.number);
  const auto reply = [this, answer](Outcome outcome, Duration after) {
    clock_.in_daemon(after, [answer, outcome = std::move(outcome)] { answer(outcome); });
  };
  const auto known = services_[n].tokens.find(token);
  if (known != services_[n].tokens.end()) return reply(known->second, 1ms);
  const Fate fate = fate_of(random_, noise_);
  if (fate == Fate::fails) return reply(outcome_of(Outcome::Status::failed, "cannot start"), 20ms);
  if (fate == Fate::lies_done) return reply(outcome_of(Outcome::Status::done), 20ms);
  if (fate == Fate::hangs) return reply(outcome_of(Outcome::Status::timed_out, "no answer"), deadline);
  const Duration stop = random_.between(5ms, 100ms), start = random_.between(5ms, 300ms);
  clock_.in(stop, [this, n, token, start, fate] {
    end_process(n, true, true);
    const std::uint64_t generation = services_[n].process.generation;
    clock_.in(start, [this, n, token, generation, fate] {
      if (services_[n].process.generation != generation || services_[n].process.running) return;
      services_[n].process.crashes_in_a_row = 0;
      start_process(n);
      if (fate == Fate::does) services_[n].tokens[token] = outcome_of(Outcome::Status::already_done);
    });
  });
  if (fate == Fate::does) return reply(outcome_of(Outcome::Status::done), stop + start + 2ms);
  if (fate == Fate::hangs_and_does) return reply(outcome_of(Outcome::Status::timed_out, "no answer"), deadline);
  reply(outcome_of(Outcome::Status::failed, "it says"), stop + start + 2ms);
}

}  // namespace rollbackd::simulation
