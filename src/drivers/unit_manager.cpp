// Flow: step -> [UnitManager] -job-> systemd -JobRemoved, PropertiesChanged-> outcome; and unit's state -> process events -> engine.
#include "drivers/unit_manager.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <utility>

#include "base/log.hpp"
#include "io/cancelled.hpp"
#include "io/process.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {
namespace {

constexpr Duration kAskTimeout = 10s;
constexpr Duration kClockSlack = 1ms;  // Two clocks are read one after the other.
constexpr std::size_t kJobsMax = 256;  // Ended jobs remembered until ours is known by its path.

bool is_young(const io::UnitFacts& facts, Instant since, const io::Clock& clock) {
  return facts.exec_started != 0 && io::from_monotonic_us(clock, facts.exec_started) + kClockSlack >= since;
}

Json process_facts_of(const io::UnitFacts& facts, const io::Clock& clock) {
  Json json = Json::object();
  json.set("pid", facts.main_pid);
  const Instant started = facts.exec_started != 0 ? io::from_monotonic_us(clock, facts.exec_started) : clock.now();
  json.set("started_boot_ns", clock.to_boot_ns(started));
  return json;
}

using io::is_cancelled;

}  // namespace

UnitManager::UnitManager(DriverContext context, std::string unit, const std::string& memory_name)
    : context_(std::move(context)),
      unit_(std::move(unit)),
      bus_(io::SystemBus::of(context_.executor)),
      memory_(context_.service_directory + "/" + memory_name, context_.clock->read().stamp.boot_id) {}

asio::awaitable<Result<io::UnitFacts>> UnitManager::ask(Steady::time_point until) {
  const Duration left = std::min<Duration>(until - Steady::now(), kAskTimeout);
  co_return co_await io::ask_unit(bus_, unit_, left);
}

asio::awaitable<Result<World::Process>> UnitManager::inspect() {
  auto asked = co_await ask(Steady::now() + kAskTimeout);
  if (asked.has_error()) co_return asked.error();
  const io::UnitFacts& facts = asked.value();
  World::Process out;
  out.running = facts.running();
  out.pid = facts.main_pid;
  out.last_exit = io::last_exit(facts);
  if (out.running) {
    out.started = io::from_monotonic_us(*context_.clock, facts.exec_started);
    if (const auto process = io::process_facts(out.pid); process.has_value()) out.executable = process.value().executable;
  } else {
    out.stopped_cleanly = facts.active == "inactive" && facts.result == "success";
    if (out.last_exit.empty()) out.last_exit = facts.load == "loaded" ? facts.active : facts.load;
  }
  co_return out;
}

asio::awaitable<void> UnitManager::watch(std::function<void(ProcessEvent)> sink) {
  io::UnitState state;
  bool lost = false;
  const auto heard = [&](const Result<io::UnitFacts>& facts) {
    if (facts.has_error()) {
      state.on_lost();
      if (std::exchange(lost, true)) return;
      log::warning("a unit is not watched", {{"unit", unit_}, {"why", facts.error().text()}});
      ProcessEvent event;
      event.at = context_.clock->now();
      event.detail = facts.error().text();
      return sink(std::move(event));
    }
    if (std::exchange(lost, false)) log::info("a unit is watched again", {{"unit", unit_}, {"state", facts.value().active}});
    seen(facts.value());
    for (const io::UnitNews& news : state.on(facts.value())) {
      auto event = io::event_of<ProcessEvent>(news, *context_.clock);
      if (restarting_ > 0 && event.kind == ProcessEvent::Kind::exited) event.requested = true;
      sink(std::move(event));
    }
  };
  const io::UnitWatch watching(context_.executor, unit_, heard);
  asio::steady_timer ended(context_.executor, Steady::time_point::max());
  bool cancelled = false;
  while (!cancelled) {
    co_await ended.async_wait(asio::as_tuple(asio::use_awaitable));
    cancelled = co_await is_cancelled();
  }
}

asio::awaitable<Result<std::string>> UnitManager::run_job(std::string method, std::string signature, Json arguments,
                                                          Steady::time_point until) {
  struct Waiting {
    explicit Waiting(const asio::any_io_executor& e, Steady::time_point at) : timer(e, at) {}
    asio::steady_timer timer;
    std::deque<std::pair<std::string, std::string>> removed;  ///< path and result of jobs that ended since we listen
    Error lost;
  };
  auto waiting = std::make_shared<Waiting>(context_.executor, until);
  auto on_removed = [waiting](const io::BusSignal& signal) {
    const auto& body = signal.body.elements();
    if (body.size() < 4) return;
    waiting->removed.emplace_back(body[1].string_or(""), body[3].string_or(""));
    if (waiting->removed.size() > kJobsMax) waiting->removed.pop_front();
    waiting->timer.cancel();
  };
  const auto jobs = bus_->on_signal(
      "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'", on_removed);
  auto on_change = [waiting](const Error& error) {
    if (error.code == Errc::none) return;
    waiting->lost = error;
    waiting->timer.cancel();
  };
  const auto connection = bus_->on_connection(on_change);
  io::BusMethod subscribe = io::systemd_method("Subscribe");
  co_await bus_->call(std::move(subscribe), "", Json::array(), kAskTimeout);  // An error here shows at the next call.

  const std::string name = method;
  const auto after_it = [&](const Error& error) {
    return Error(Errc::outcome_unknown, name + " of " + unit_ + " may or may not have been carried out").because(error.text());
  };
  const bool was_connected = bus_->connected();
  io::BusMethod call = io::systemd_method(std::move(method));
  const Duration left = until - Steady::now();
  auto queued = co_await bus_->call(std::move(call), std::move(signature), std::move(arguments), left);
  if (queued.has_error()) {
    const Errc code = queued.error().code;
    if (was_connected && (code == Errc::unavailable || code == Errc::timed_out || code == Errc::cancelled))
      co_return after_it(queued.error());
    co_return queued.error();
  }
  const std::string path = queued.value().elements().empty() ? "" : queued.value().elements()[0].string_or("");
  while (true) {
    for (const auto& [job, result] : waiting->removed)
      if (job == path) co_return result;
    if (waiting->lost.code != Errc::none) co_return after_it(waiting->lost);
    if (Steady::now() >= until)
      co_return Error(Errc::timed_out, "systemd's job for " + unit_ + " did not end in time")
          .try_next("systemctl list-jobs; journalctl -u " + unit_);
    waiting->timer.expires_at(until);
    co_await waiting->timer.async_wait(asio::as_tuple(asio::use_awaitable));
    const bool cancelled = co_await is_cancelled();
    if (cancelled) co_return Error(Errc::cancelled, "nobody waits for the job any more");
  }
}

asio::awaitable<Outcome> UnitManager::wait_for_young(Instant since, Steady::time_point until) {
  asio::steady_timer timer(context_.executor, until);
  std::optional<Outcome> outcome;
  const auto heard = [&](const Result<io::UnitFacts>& seen) {
    if (outcome) return;
    if (seen.has_error()) {
      outcome = failed_step(Error(Errc::outcome_unknown, "it is not known whether " + unit_ + " runs").because(seen.error().text()));
    } else {
      const io::UnitFacts& facts = seen.value();
      const bool active = facts.active == "active" || facts.active == "reloading";
      if (active && (is_young(facts, since, *context_.clock) ? facts.running() || facts.sub == "exited" : facts.exec_started == 0)) {
        outcome = Outcome{Outcome::Status::done, process_facts_of(facts, *context_.clock), Error()};
      } else if (facts.active == "failed" || facts.active == "inactive") {
        const std::string exit = io::last_exit(facts);
        outcome = failed_step(Error(Errc::io, unit_ + " does not run after its restart")
                                  .because(facts.active + ", " + facts.result + (exit.empty() ? "" : ", " + exit))
                                  .try_next("journalctl -u " + unit_));
      }
    }
    if (outcome) timer.cancel();
  };
  const io::UnitWatch watching(context_.executor, unit_, heard);
  while (!outcome && Steady::now() < until) {
    timer.expires_at(until);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    const bool cancelled = co_await is_cancelled();
    if (cancelled && !outcome) outcome = failed_step(Error(Errc::cancelled, "nobody waits for the restart any more"));
  }
  if (outcome) co_return *std::move(outcome);
  Error late(Errc::timed_out, unit_ + " has no new process that stays up");
  late.next_step = "journalctl -u " + unit_;
  co_return failed_step(std::move(late));
}

asio::awaitable<void> UnitManager::reset_failed() {
  io::BusMethod reset = io::systemd_method("ResetFailedUnit");
  Json name = Json::array().push(unit_);
  co_await bus_->call(std::move(reset), "s", std::move(name), kAskTimeout);  // "not loaded" is fine; anything else shows at the job.
}

Outcome UnitManager::job_failed(const std::string& what, const std::string& result) const {
  return failed_step(Error(Errc::io, "systemd could not " + what + " " + unit_)
                         .because(result == "canceled" ? "another job took its place" : "its job ended as " + result)
                         .try_next("systemctl status " + unit_ + "; journalctl -u " + unit_));
}

asio::awaitable<void> UnitManager::save_memory() {
  auto save = [path = memory_.path(), text = memory_.text()] { return RestartMemory::save(path, text); };
  const Result<> saved = co_await context_.steps->run(std::move(save));
  if (saved.has_error()) log::warning("a restart cannot be remembered", {{"unit", unit_}, {"why", saved.error().text()}});
}

asio::awaitable<Outcome> UnitManager::run_once(Step step, Duration deadline) {
  const auto until = Steady::now() + deadline;
  const std::string token = restart_token(step);
  const auto* begun = memory_.find(token);
  if (begun && begun->outcome) co_return *begun->outcome;
  Instant since = context_.clock->now();
  const bool repeated = begun != nullptr;
  if (repeated) since = context_.clock->from_boot_ns(begun->began_boot_ns);

  auto facts = co_await ask(until);
  if (facts.has_error()) co_return failed_step(facts.error());
  if (auto refusal = refuse(facts.value())) co_return failed_step(*std::move(refusal));
  // Or systemd's own Restart= was there first. Surely young: behind the switch by more than two clocks can differ.
  const std::int64_t released = unless_since(step);
  const bool restarted = released > 0 && is_young(facts.value(), context_.clock->from_boot_ns(released) + 2 * kClockSlack, *context_.clock);
  if (facts.value().running() && (restarted || (repeated && is_young(facts.value(), since, *context_.clock))))
    co_return Outcome{Outcome::Status::already_done, process_facts_of(facts.value(), *context_.clock), Error()};

  memory_.begin(token, context_.clock->to_boot_ns(since));
  co_await save_memory();
  const Restarting now(restarting_);
  io::UnitFacts before = std::move(facts.value());
  Outcome outcome = co_await restart(std::move(before), since, until);
  memory_.end(token, outcome);
  const bool cancelled = co_await is_cancelled();
  if (!cancelled) co_await save_memory();
  co_return outcome;
}

}  // namespace rollbackd::drivers
