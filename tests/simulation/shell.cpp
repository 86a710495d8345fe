// The shell's loop: events into the core, actions out of it in their order, the disk waited for. Mirrors engine/service.cpp, actions.cpp.
#include "tests/simulation/shell.hpp"

#include <algorithm>

namespace rollbackd::simulation {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

constexpr Duration kGapMin = 2s;
constexpr Duration kHeartbeat = 1s;
constexpr std::int64_t kWallStart = 1'800'000'000'000'000'000;

}  // namespace

Shell::Shell(Surroundings& around) : around_(around) {}
Shell::~Shell() = default;

Instant Shell::instant(Duration t) const { return base_ + (t - began_); }

ClockReading Shell::reading() const {
  ClockReading reading;
  const Duration now = around_.clock.now();
  reading.instant = instant(now);
  reading.stamp.boot_id = "boot-" + std::to_string(around_.clocks.boot);
  reading.stamp.boot_ns = (now - around_.clocks.boot_began).count();
  reading.stamp.wall_ns = kWallStart + (now + around_.clocks.wall_offset).count();
  return reading;
}

std::string Shell::new_id() { return "id-" + std::to_string(++around_.ids); }

void Shell::trace(std::size_t n, std::string_view what, std::string_view more) {
  around_.trace.note(around_.clock.now(), services_[n].plan->settings.key.name, what, more);
}

const decision::Incident* Shell::incident(std::size_t n) const { return n < services_.size() ? services_[n].incident.get() : nullptr; }

void Shell::start() {
  began_ = last_turn_ = around_.clock.now();
  base_ = Instant(kWallStart) + (began_ + around_.clocks.wall_offset);
  eyes_ = around_.scenario.judge ? make_judge_eyes(around_.scenario, shipped_packs(), base_) : make_quick_eyes(around_.scenario, base_);
  services_.resize(around_.scenario.services.size());
  around_.site.set_ears({[this](const Sense& sense) { on_sense(sense); },
                         [this](std::size_t n, const ProcessSeen& seen) { on_process(n, seen); }, [this](std::size_t n) { on_link(n); }});
  for (std::size_t n = 0; n < services_.size(); ++n) start_service(n);
  around_.clock.in_daemon(kHeartbeat, [this] { heartbeat(); });
}

/// Each turn of the reactor: nothing observed for long makes all evidence stale.
void Shell::turn() {
  const Duration now = around_.clock.now(), passed = now - last_turn_;
  last_turn_ = now;
  if (passed <= kGapMin) return;
  last_gap_end_ = now;
  stood_still_ += passed;
  around_.trace.note(now, "daemon", "gap");
  around_.onlooker.gap();
  if (broken("gap")) {
    last_gap_end_ = Duration(-1h);
    return;
  }
  deliver(eyes_->on_gap(instant(now)));
  for (std::size_t n = 0; n < services_.size(); ++n) deliver(n, event::Gap{instant(now - passed), instant(now)});
}

void Shell::heartbeat() {
  turn();
  deliver(eyes_->on_due(now()));
  around_.clock.in_daemon(kHeartbeat, [this] { heartbeat(); });
}

void Shell::deliver(const Judgement& judgement) {
  const auto find = [this](const ServiceKey& key) {
    return static_cast<std::size_t>(std::find_if(services_.begin(), services_.end(),
                                                 [&](const Watched& w) { return w.plan != nullptr && w.plan->settings.key == key; }) -
                                    services_.begin());
  };
  for (const AlertChange& change : judgement.alerts) {
    const std::size_t n = find(change.service);
    if (n >= services_.size()) continue;
    trace(n, to_string(change.phase), change.rule);
    deliver(n, event::Alert{change});
  }
  for (const VerdictChange& change : judgement.verdicts) {
    const std::size_t n = find(change.service);
    if (n < services_.size()) deliver(n, event::RuleVerdict{change});
  }
}

void Shell::deliver(std::size_t n, Event event) {
  Watched& service = services_[n];
  service.events.push_back(std::move(event));
  if (service.delivering || !service.incident) return;
  service.delivering = true;
  while (!service.events.empty()) {
    const Event next = std::move(service.events.front());
    service.events.pop_front();
    queue(n, service.incident->on(next, now()));
  }
  service.delivering = false;
  arm_due(n);
}

void Shell::arm_due(std::size_t n) {
  Watched& service = services_[n];
  const auto due = service.incident->next_due();
  if (!due || (service.due && *service.due <= *due)) return;
  service.due = due;
  around_.clock.in_daemon(std::max<Duration>(*due - now(), 1ms), [this, n, at = *due] {
    Watched& self = services_[n];
    if (self.due != at) return;
    self.due.reset();
    turn();
    const auto still = self.incident->next_due();
    if (still && *still <= now()) {
      deliver(n, event::Tick{});
    } else {
      arm_due(n);
    }
  });
}

void Shell::queue(std::size_t n, std::vector<Action> actions) {
  Watched& service = services_[n];
  for (Action& action : actions) {
    if (const auto* begin = std::get_if<action::BeginEpoch>(&action)) {  // At once: the next batch must already fall into it.
      const Epoch& epoch = service.incident->state().epoch;
      trace(n, "epoch", epoch.release);
      deliver(eyes_->begin_epoch(n, begin->at, around_.site.probe(n)));
      service.verifying = epoch.number;
      if (service.operating.empty() || !epoch.by_rollback) {
        around_.clock.in_daemon(1s, [this, n, number = epoch.number] { verify_epoch(n, number, Duration(0), Tests::unknown); });
      }
      continue;
    }
    Queued queued{std::move(action), {}, ++service.asked};
    if (std::holds_alternative<action::Persist>(queued.action)) {
      queued.state = std::make_shared<const ServiceState>(service.incident->state());
      if (!service.actions.empty() && std::holds_alternative<action::Persist>(service.actions.back().action)) {
        service.actions.back() = std::move(queued);
        continue;
      }
    }
    service.actions.push_back(std::move(queued));
  }
  if (service.performing || service.actions.empty()) return;
  service.performing = true;
  around_.clock.in_daemon(0ms, [this, n] { perform_next(n); });
}

void Shell::perform_next(std::size_t n) {
  Watched& service = services_[n];
  while (!service.actions.empty()) {
    Queued next = std::move(service.actions.front());
    service.actions.pop_front();
    if (!perform(n, next)) return;
    performed(n, next.number);
  }
  service.performing = false;
}

void Shell::performed(std::size_t n, std::uint64_t number) {
  Watched& service = services_[n];
  service.performed = number;
  std::vector<Waiting> ready;
  std::erase_if(service.waiting, [&](Waiting& waiting) {
    if (waiting.number > number) return false;
    ready.push_back(std::move(waiting));
    return true;
  });
  for (const Waiting& waiting : ready) waiting.then();
}

void Shell::when_performed(std::size_t n, std::function<void()> then) {
  Watched& service = services_[n];
  if (!service.performing || service.performed >= service.asked) return then();
  service.waiting.push_back({service.asked, std::move(then)});
}

bool Shell::perform(std::size_t n, Queued& queued) {
  Watched& service = services_[n];
  if (std::holds_alternative<action::Persist>(queued.action)) {
    const bool late = broken("intent_first");  // Goes on without waiting for the disk.
    around_.disks[n]->write(queued.state, reading(), [this, n, late, number = queued.number](bool ok) {
      if (!ok) deliver(n, event::StateUntrusted{"the disk failed"});
      if (late) return;
      performed(n, number);
      perform_next(n);
    });
    return late;
  }
  std::visit(Overloaded{
                 [](const action::Persist&) {},
                 [](const action::BeginEpoch&) {},
                 [&](const action::Reprobe& wanted) { second_opinion(n, wanted); },
                 [&](const action::Record& record) {
                   std::string text = record.decision.reason;
                   if (around_.trace.verbose())
                     for (const GuardAnswer& answer : record.decision.guards)
                       if (answer.asked && !answer.yes) text += " | " + answer.guard + ": " + answer.evidence;
                   trace(n, to_string(record.decision.kind), around_.trace.verbose() ? text : record.decision.target);
                 },
                 [&](const action::Notify& notify) {
                   if (!around_.sent.insert(notify.notification.key).second) return;
                   trace(n, to_string(notify.notification.severity), notify.notification.title);
                   if (!broken("silence")) around_.onlooker.notified(n, notify.notification);
                 },
                 [&](const action::Operate& wanted) {
                   std::string refused;
                   bool judged_again = false;
                   if (!service.incident->state_trusted()) {
                     refused = "the intent could not be written";
                   } else if (const std::string stopped = why_stopped(n); !stopped.empty()) {
                     refused = stopped;
                     judged_again = true;
                   } else if (!service.operating.empty()) {
                     refused = "another operation began meanwhile";
                   }
                   if (refused.empty()) {
                     service.operating = wanted.request.operation;
                     around_.clock.in_daemon(0ms, [this, n, request = wanted.request] { operate(n, request); });
                   } else {
                     never_begun(n, wanted.request, refused, judged_again);
                   }
                 },
                 [&](const action::Arm& wanted) { arm(n, wanted.release); },
                 [](const action::MarkBadOnDisk&) {},
                 [&](const action::IncidentClosed& closed) {
                   trace(n, "closed", closed.how);
                   around_.onlooker.closed(n, closed.incident);
                 },
             },
             queued.action);
  return true;
}

}  // namespace rollbackd::simulation
