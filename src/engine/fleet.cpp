// What a service's guards hear of the world beside it, and what it hears when that changes.
#include "engine/fleet.hpp"

#include <sys/inotify.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/engine.hpp"
#include "engine/service.hpp"
#include "io/inotify.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr Duration kLookEvery = 500ms;  ///< at the kill switch; events of its directory come earlier
constexpr std::size_t kEndedMax = 64;

/// True while `service` is being rolled back by itself: from the decision on, not only once the operation has begun. So two services that
/// decide in the same turn count each other.
bool acts_by_itself(const Service& service) {
  const std::string& operation = service.incident().operation();
  const auto& past = service.incident().state().past;
  return !operation.empty() &&
         std::any_of(past.begin(), past.end(), [&](const PastOperation& p) { return p.automatic && p.operation == operation; });
}

bool refused_by(const Service& service, std::string_view guard) {
  const auto view = service.incident().view(Instant());
  if (!view.last_decision || view.phase == "watching") return false;
  const auto& guards = view.last_decision->guards;
  return std::any_of(guards.begin(), guards.end(), [&](const GuardAnswer& a) { return a.guard == guard && a.asked && !a.yes; });
}

}  // namespace

Fleet::Fleet(Engine& engine)
    : engine_(engine),
      kill_switch_(engine.settings().kill_switch.empty() ? engine.settings().state_directory + "/kill-switch"
                                                         : engine.settings().kill_switch),
      ended_more_(engine.executor_, asio::steady_timer::time_point::max()) {}

Fleet::~Fleet() = default;

void Fleet::introduce(Service& service) {
  if (!looked_) kill_switch_.look();
  looked_ = true;
  for (const auto& window : service.settings().policy.windows) {
    zones_.erase(window.time_zone);
    if (const Zone& known = zone(window.time_zone); !known.trouble.empty())
      log::error("a window counts as open", {{"service", service.key().text()}, {"why", known.trouble}});
  }
  if (service.running()) service.incident().set_daemon_suspended(kill_switch_.on(), kill_switch_.why());
}

asio::awaitable<void> Fleet::run() {
  const auto watch = [](Fleet* self) -> asio::awaitable<void> {
    const std::string path = self->kill_switch_.path();
    const std::string directory = path.substr(0, path.rfind('/') + 1), name = path.substr(path.rfind('/') + 1);
    auto inotify = io::Inotify::open(self->engine_.executor_);
    if (!inotify) co_return;  // Looking every half second is enough.
    if (auto added = inotify->add(directory, IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_CLOSE_WRITE); !added) co_return;
    while (true) {
      auto events = co_await inotify->next();
      if (!events) co_return;
      const bool about_it = std::any_of(events->begin(), events->end(),
                                        [&](const io::FileEvent& e) { return e.name == name || (e.mask & IN_Q_OVERFLOW) != 0; });
      if (about_it) self->look();
    }
  };
  const Task watching = spawn(engine_.executor_, nullptr, watch(this));
  go_on_with_runs();
  asio::steady_timer timer(engine_.executor_);
  do {
    look();
  } while (co_await pause(timer, kLookEvery));
  watching.cancel();
}

void Fleet::look() {
  if (kill_switch_.look()) tell_all();
}

bool Fleet::stopped() {
  look();
  return kill_switch_.on();
}

/// Every incident machine hears of the kill switch, and people of its being thrown.
void Fleet::tell_all() {
  const bool on = kill_switch_.on();
  log::write(on ? log::Level::warning : log::Level::info, on ? "the kill switch is on" : "the kill switch is off",
             {{"why", kill_switch_.why()}});
  for (const auto& [key, service] : engine_.services_) {
    if (!service->running()) continue;
    service->incident().set_daemon_suspended(on, kill_switch_.why());
    service->deliver(event::Tick{});
  }
  Notification notification;
  notification.key = io::new_id();
  notification.severity = on ? Notification::Severity::warning : Notification::Severity::info;
  notification.title = on ? "rollbackd does nothing: the kill switch is on" : "the kill switch is off: rollbackd acts again";
  notification.text = on ? kill_switch_.why() + "\nto act again: rollbackctl kill --off --reason \"...\"" : "";
  engine_.notify(std::move(notification));
}

// ---- Facts ----

const Fleet::Zone& Fleet::zone(const std::string& name) const {
  const auto known = zones_.find(name);
  if (known != zones_.end()) return known->second;
  Zone out;
  if (!name.empty()) {
    std::ifstream file(std::string(config::kZoneDirectory) + "/" + name, std::ios::binary);
    std::stringstream bytes;
    bytes << file.rdbuf();
    auto parsed = config::check_time_zone_name(name) ? Result<config::TimeZone>(Error(Errc::invalid_argument, "it is no name"))
                                                     : config::parse_time_zone(bytes.str());
    if (parsed) {
      out.zone = std::move(*parsed);
    } else {
      out.trouble = "the time zone " + printable(name) + " cannot be read: " + parsed.error().text();
    }
  }
  return zones_.emplace(name, std::move(out)).first->second;
}

/// Each window that is open now, as evidence, with its end in engine time. One that cannot be told counts as open: unknown never acts.
std::vector<std::pair<std::string, Instant>> Fleet::open_windows(const Service& service) const {
  std::vector<std::pair<std::string, Instant>> out;
  const ClockReading now = engine_.clock_.read();
  const Instant wall(now.stamp.wall_ns);
  for (const auto& window : service.settings().policy.windows) {
    const auto calendar = config::parse_calendar(window.begins);
    const Zone& where = zone(window.time_zone);
    if (!calendar || !where.trouble.empty()) {
      out.emplace_back(calendar ? where.trouble : calendar.error().text(), now.instant + 1min);
    } else if (const auto open = config::open_at(window, *calendar, where.zone, wall)) {
      out.emplace_back(config::text_of(window, *open), now.instant + (open->end - wall));
    }
  }
  return out;
}

void Fleet::note_maintenance(Service& service, Instant since) {
  const ClockReading now = engine_.clock_.read();
  const Instant wall(now.to_stamp(since).wall_ns);
  for (const auto& window : service.settings().policy.windows) {
    if (window.kind != config::WindowSettings::Kind::maintenance) continue;
    const auto calendar = config::parse_calendar(window.begins);
    const Zone& where = zone(window.time_zone);
    if (!calendar || !where.trouble.empty()) continue;
    if (const auto open = config::open_at(window, *calendar, where.zone, wall))
      service.incident().note_maintenance(since + (open->begin - wall), since + (open->end - wall));
  }
}

bool Fleet::depends_on(const Service& service, const std::string& name) const {
  std::set<std::string> seen;
  std::vector<std::shared_ptr<Service>> ahead = service.dependencies();
  while (!ahead.empty()) {
    const auto next = ahead.back();
    ahead.pop_back();
    if (!seen.insert(next->key().text()).second) continue;
    if (next->key().text() == name) return true;
    for (auto& further : next->dependencies()) ahead.push_back(std::move(further));
  }
  return false;
}

/// A service that this one needs, directly or by way of others, that fails too and whose release is younger.
std::string Fleet::cause_elsewhere(const Service& asker) const {
  for (const auto& [key, service] : engine_.services_) {
    if (service.get() == &asker || !service->running()) continue;
    const ServiceState& state = service->incident().state();
    if (!state.incident || state.epoch.switched <= asker.incident().state().epoch.switched) continue;
    if (depends_on(asker, key.text())) return key.text();
  }
  return {};
}

/// @return whether it is the share that says no: then something is wrong with more than one service
bool Fleet::ask_breaker(const Service& asker, FleetFacts& facts) const {
  const config::BreakerSettings& breaker = engine_.settings().breaker;
  const Instant now = engine_.clock_.now();
  for (const auto& [key, service] : engine_.services_) {
    if (!service->running()) continue;
    ++facts.services;
    if (service.get() == &asker) continue;
    facts.automatic_running += acts_by_itself(*service);
    const auto& past = service->incident().state().past;
    facts.rolled_back +=
        std::any_of(past.begin(), past.end(), [&](const PastOperation& p) { return p.automatic && now - p.at < breaker.within; });
  }
  const int with_this = facts.rolled_back + 1;
  constexpr int kPercent = 100;
  const bool share = facts.services >= breaker.services_min && with_this * kPercent > breaker.share_percent * facts.services;
  if (share) {
    facts.why = std::to_string(facts.rolled_back) + " of " + std::to_string(facts.services) + " services were rolled back within " +
                format_duration(breaker.within) + "; with this one it would be more than " + std::to_string(breaker.share_percent) +
                " %, which looks like a cause that they share";
  } else if (facts.automatic_running >= breaker.max_concurrent) {
    facts.why = std::to_string(facts.automatic_running) + " automatic operations run, and breaker.max_concurrent is " +
                std::to_string(breaker.max_concurrent);
  }
  facts.breaker_free = facts.why.empty();
  return share;
}

FleetFacts Fleet::facts(const Service& asker) const {
  FleetFacts out;
  if (!asker.running()) return out;
  ask_breaker(asker, out);
  out.cause_elsewhere = cause_elsewhere(asker);
  for (const auto& [text, until] : open_windows(asker)) {
    out.window += (out.window.empty() ? "" : "; ") + text;
    out.window_until = std::max(out.window_until, until);
  }
  return out;
}

FleetFacts Fleet::ask(const Service& asker) {
  FleetFacts out = facts(asker), breaker;
  const bool tripped = asker.running() && ask_breaker(asker, breaker);
  if (tripped && !breaker_tripped_) {
    Notification page;
    page.key = io::new_id();
    page.service = asker.key();
    page.severity = Notification::Severity::page;
    page.title = "the fleet breaker has tripped: nothing more is rolled back by itself";
    page.text = out.why + "\nLook for what the failing services share. `rollbackctl rollback SERVICE --reason \"...\"` still acts.";
    engine_.notify(std::move(page));
  }
  breaker_tripped_ = tripped;
  return out;
}

std::string Fleet::why_not_begin(const Service& service, const OperationRequest& request) {
  if (stopped()) return "the kill switch is on: " + kill_switch_.why();
  if (request.trigger == Trigger::manual) return {};
  FleetFacts now;
  ask_breaker(service, now);
  return now.why;
}

std::pair<std::string, std::string> Fleet::why_not_now(const Service& service) const {
  if (kill_switch_.on()) return {"kill_switch", "the kill switch is on: " + kill_switch_.why()};
  if (!service.running()) return {};
  if (service.settings().enforcement == config::Enforcement::lenient) return {};
  const auto& lock = service.incident().state().lock;
  if (lock && engine_.clock_.now() < lock->until)
    return {"locked", "locked until " + format_rfc3339(lock->until) + " by " + lock->principal + ": " + lock->reason};
  const auto windows = open_windows(service);
  if (!windows.empty()) return {"window", windows.front().first};
  return {};
}

// ---- What another's operation means ----

/// Waits, so that a symptom has the time of a start to go away by itself, then lets the hold be asked again.
void Fleet::look_again_at(std::shared_ptr<Service> service, Duration later) {
  const auto wait = [](std::shared_ptr<Service> whom, asio::any_io_executor executor, Duration length) -> asio::awaitable<void> {
    asio::steady_timer timer(executor);
    if (!co_await pause(timer, length) || !whom->running()) co_return;
    whom->incident().look_again();
    whom->deliver(event::Tick{});
  };
  spawn(engine_.executor_, service, wait(service, engine_.executor_, later));
}

void Fleet::know_ended(const record::OperationRow& row) {
  ended_.push_back({row.request.operation, to_string(row.status), row.detail});
  if (ended_.size() > kEndedMax) ended_.pop_front();
  ended_more_.cancel();
}

void Fleet::operation_ended(const record::OperationRow& row) {
  know_ended(row);
  constexpr Duration kSoon = 10ms;  // The incident machine hears of the end itself after this.
  for (const auto& [key, service] : engine_.services_) {
    if (key == row.request.service || !service->running()) continue;
    if (refused_by(*service, "fleet_breaker")) look_again_at(service, kSoon);
    if (refused_by(*service, "cause_first") && depends_on(*service, row.request.service.text()))
      look_again_at(service, std::max<Duration>(service->settings().policy.start_grace, kSoon));
  }
}

// ---- Views ----

Json Fleet::kill_switch_json() const {
  return Json::object().set("on", kill_switch_.on()).set("why", kill_switch_.why()).set("path", kill_switch_.path());
}

void Fleet::describe(const Service& service, Json& row) const {
  if (!service.running()) return;
  const ServiceState& state = service.incident().state();
  if (state.lock)
    row.set("lock", Json::object()
                        .set("until", format_rfc3339(state.lock->until))
                        .set("reason", state.lock->reason)
                        .set("principal", state.lock->principal));
  if (state.approval && service.incident().awaits_approval(engine_.clock_.now()))
    row.set("approval", Json::object()
                            .set("from", state.approval->from)
                            .set("to", state.approval->to)
                            .set("asked", format_rfc3339(state.approval->asked))
                            .set("until", format_rfc3339(state.approval->until)));
  Json windows = Json::array();
  for (const auto& [text, until] : open_windows(service)) windows.push(text);
  if (!windows.elements().empty()) row.set("windows", std::move(windows));
}

}  // namespace rollbackd::engine
