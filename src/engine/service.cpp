// A service's watchers: checks, link and process, and what they mean for its incident machine.
#include "engine/service.hpp"

#include <sys/stat.h>

#include "base/log.hpp"
#include "config/judges_health.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/insight.hpp"
#include "engine/spawn.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {
constexpr Duration kTick = 10ms;  ///< start times from /proc are rounded down to it
}  // namespace

Instant link_changed_at(const std::string& current, const ClockReading& now) {
  struct stat facts {};
  if (::lstat(current.c_str(), &facts) != 0) return now.instant;
  const std::int64_t changed_ns = facts.st_ctim.tv_sec * std::int64_t{1'000'000'000} + facts.st_ctim.tv_nsec;
  return now.instant - Duration(std::max<std::int64_t>(0, now.stamp.wall_ns - changed_ns));
}

Json Timing::to_json() const {
  Json out = Json::object();
  const auto put = [&out](const char* name, const std::optional<Instant>& t) {
    if (t) out.set(name, t->seconds());
  };
  put("seen", seen);
  put("reaction", reaction);
  put("settled", settled);
  put("decided", decided);
  return out;
}

Service::Service(Engine& engine, config::ServiceSettings settings)
    : engine_(engine), settings_(std::move(settings)), performed_more_(engine.executor_, asio::steady_timer::time_point::max()) {
  directory_ = engine_.settings_.state_directory + "/services/" + settings_.key.name + "." + settings_.key.environment;
}

Service::~Service() = default;

std::size_t Service::health_checks() const {
  std::size_t n = 0;
  for (const auto& check : settings_.checks) n += config::judges_health(check);
  return n;
}

std::shared_ptr<checks::Check> Service::check(const std::string& name) const {
  for (const auto& check : checks_)
    if (check->source().check == name) return check;
  return nullptr;
}

std::shared_ptr<checks::Check> Service::canary() const {
  const auto first = [this](auto wanted) -> std::shared_ptr<checks::Check> {
    for (const auto& settings : settings_.checks)
      if (wanted(settings)) return check(settings.name);
    return nullptr;
  };
  using Settings = config::CheckSettings;
  auto http = first([](const Settings& c) { return c.type == config::CheckType::http && config::judges_health(c); });
  if (http) return http;
  auto other = first([](const Settings& c) { return config::judges_health(c); });
  return other ? other : first([](const Settings& c) { return c.type == config::CheckType::process; });
}

void Service::start_checks() {
  std::uint64_t seed = LabelsHash{}(Labels{{"service", key().text()}});
  for (const auto& settings : settings_.checks) {
    checks::CheckContext context;
    context.executor = engine_.executor_;
    context.clock = &engine_.clock_;
    context.service = key();
    context.settings = settings;
    context.sink = [&engine = engine_, settings](Batch batch) {
      speak_of_dependency(settings, batch);
      engine.on_batch(std::move(batch));
    };
    context.seed = seed++;
    context.max_skew = engine_.settings_.max_skew;
    auto made = checks::make_check(std::move(context));
    if (!made) {
      log::error("cannot start a check", {{"service", key().text()}, {"check", settings.name}, {"error", made.error().text()}});
      trouble_ = "check " + settings.name + ": " + made.error().text();
      continue;
    }
    checks_.push_back(std::move(*made));
  }
  engine_.judge_.set_service(key(), sources(), engine_.clock_.now());
  for (const auto& check : checks_) check_tasks_.push_back(spawn(engine_.executor_, check, check->run()));
  check_tasks_.push_back(spawn(engine_.executor_, shared_from_this(), repeat_facts()));
}

void Service::stop_checks() {
  for (const Task& task : check_tasks_) task.cancel();
  check_tasks_.clear();
  checks_.clear();
}

void Service::stop() {
  stop_checks();
  for (const Task& task : watch_tasks_) task.cancel();
  watch_tasks_.clear();
  verify_task_.cancel();
  identity_task_.cancel();
}

void Service::watch() {
  const auto self = shared_from_this();
  auto links = driver_->watch([this](drivers::LinkSeen seen) {
    if (!many_) return on_link(std::move(seen));
    spawn(engine_.executor_, shared_from_this(), look_at_links());  // Of several the present look counts, not what one watcher saw.
  });
  watch_tasks_.push_back(spawn(engine_.executor_, self, std::move(links)));
  if (!manager_) return;
  auto processes = manager_->watch([this](ProcessEvent event) { on_process(std::move(event)); });
  watch_tasks_.push_back(spawn(engine_.executor_, self, std::move(processes)));
}

asio::awaitable<void> Service::look_at_links() {
  const auto self = shared_from_this();
  if (!operating_.empty()) co_return;  // Its end looks by itself.
  const std::uint64_t ended = operations_ended_;
  auto world = co_await driver_->inspect();
  if (!world || ended != operations_ended_) co_return;
  drivers::LinkSeen seen{world->link, world->link_value, world->link_inode, world->live, engine_.clock_.now()};
  half_way_now_ = half_way(*world);
  on_link(std::move(seen));
}

void Service::on_link(drivers::LinkSeen seen) {
  // While an operation runs its own record says what `current` should be; its verification looks at the world again.
  if (!operating_.empty() || !incident_) return;
  const auto& epoch = incident_->state().epoch;
  std::string trouble;
  if (seen.link == World::Link::missing) trouble = component().current + " is missing";
  if (seen.link == World::Link::not_a_link) trouble = component().current + " is not a symbolic link";
  if (seen.link == World::Link::present && seen.live.empty())
    trouble = component().current + " leads to \"" + seen.value + "\", outside " + component().releases;
  if (many_ && !trouble.empty()) trouble = "not every link leads to a release: " + seen.value;
  if (trouble.empty()) trouble = half_way_now_;
  if (trouble != link_trouble_) {
    link_trouble_ = trouble;
    const auto choice = ledger::choose_target(incident_->state(), {});
    // It can be switched again: armed anew, and a hold because of it is asked again.
    if (trouble.empty() && choice.target) spawn(engine_.executor_, shared_from_this(), arm(choice.target->id));
    if (!trouble.empty()) {
      log::error("the live release is not known", {{"service", key().text()}, {"why", trouble}});
      Notification page;
      page.key = "link:" + key().text() + ":" + std::to_string(epoch.number) + ":" + seen.value;
      page.service = key();
      page.severity = Notification::Severity::page;
      page.title = key().text() + ": the live release is not known";
      page.text = trouble + ". Nothing is rolled back until it is a link to a release again.";
      engine_.notify(std::move(page));
    }
  }
  if (!trouble.empty() || seen.live == epoch.release) return;
  auto release = driver_->describe(seen.live);
  if (!release) {
    log::error("cannot read a release", {{"service", key().text()}, {"release", seen.live}, {"error", release.error().text()}});
    return;
  }
  incident_->enter_release(*release, seen.at, parts_of(seen.live));
  log::info("outside deployment", {{"service", key().text()}, {"from", epoch.release}, {"to", seen.live}});
  event::Switched switched;
  switched.release = seen.live;
  // The epoch begins now, so that nothing of the old process that was committed before falls into it. But seen late (a gap, a busy
  // machine), the new process may already run: it is the link's own time that says which process is the new one.
  switched.at = seen.at;
  switched.link_changed = links_changed_at();
  deliver(std::move(switched));
  if (process_ && process_->running && process_->started + kTick > epoch.processes_since()) deliver(event::Started{process_->started});
}

void Service::on_process(ProcessEvent event) {
  for (const auto& check : checks_) check->on_process(event);
  World::Process now = process_.value_or(World::Process{});
  switch (event.kind) {
    case ProcessEvent::Kind::running:
      now.running = true;
      now.pid = event.pid;
      now.started = event.started;
      now.stopped_cleanly = false;
      break;
    case ProcessEvent::Kind::exited:
      now.running = false;
      now.stopped_cleanly = event.clean();
      now.last_exit = event.detail;
      break;
    case ProcessEvent::Kind::start_failed:
      now.running = false;
      now.stopped_cleanly = false;
      now.last_exit = event.detail;
      break;
    case ProcessEvent::Kind::lost: break;
  }
  process_ = now;
  engine_.tell_dependents(*this);
  if (!incident_) return;
  const bool first = event.kind != ProcessEvent::Kind::lost && !std::exchange(process_heard_, true);
  const Instant since = incident_->state().epoch.processes_since();
  if (event.kind == ProcessEvent::Kind::running && event.started + kTick > since) deliver(event::Started{event.started});
  if (event.kind == ProcessEvent::Kind::exited || event.kind == ProcessEvent::Kind::start_failed) {
    // The exit of a process older than the switch says nothing about the release that is live now; but one that is down when we begin
    // (after a boot, for example) does not run now, however old it is.
    const bool older = !first && event.kind == ProcessEvent::Kind::exited && event.started + kTick < since;
    if (!older) deliver(event::Stopped{event.at, event.kind == ProcessEvent::Kind::exited && event.clean(), event.detail});
  }
}

void Service::on_batch_health(const Batch& batch) {
  if (batch.healthy && batch.unobserved.empty()) {
    opinions_[batch.check] = *batch.healthy;
  } else {
    opinions_.erase(batch.check);
  }
  if (!incident_) return;
  const auto& started = incident_->state().epoch.started;
  if (started && batch.unobserved.empty() && batch.began < *started + kTick && batch.at > *started) deliver(event::HeardLate{batch.check});
  if (!batch.healthy) return;
  const auto* settings = [&]() -> const config::CheckSettings* {
    for (const auto& check : settings_.checks)
      if (check.name == batch.check) return &check;
    return nullptr;
  }();
  if (!settings || !config::judges_health(*settings)) return;
  engine_.tell_dependents(*this);
  if (health_.said(batch.check, *batch.healthy, batch.began)) deliver(event::CheckHealth{batch.check, *batch.healthy});
}

void Service::on_alert(const AlertChange& change) {
  if (change.phase == AlertPhase::firing && change.action >= AlertAction::rollback && !timing_.reaction)
    timing_.seen = engine_.last_commit_;
  if (change.phase == AlertPhase::firing && incident_) engine_.fleet().note_maintenance(*this, change.since);
  engine_.insight().on_alert(change);
  deliver(event::Alert{change});
}

void Service::deliver(Event event) {
  events_.push_back(std::move(event));
  if (delivering_ || !incident_) return;  // The loop below, further up the stack, takes it.
  delivering_ = true;
  while (!events_.empty()) {
    const Event next = std::move(events_.front());
    events_.pop_front();
    queue(incident_->on(next, engine_.clock_.now()));
  }
  delivering_ = false;
  engine_.arm_due();
}

Service::Ready Service::readiness() const {
  if (!incident_) return {false, "not_started", trouble_.empty() ? "not started" : trouble_};
  if (!trouble_.empty()) return {false, "trouble", trouble_};
  if (!link_trouble_.empty()) return {false, "link", link_trouble_};
  if (!incident_->state_trusted()) return {false, "state_file", "the state file cannot be written or read"};
  if (settings_.automation == config::Automation::off) return {false, "automation_off", "automation is off"};
  if (settings_.automation == config::Automation::observe) return {false, "observe", "automation is observe: it would only tell"};
  if (incident_->state().suspension) return {false, "suspended", "suspended: " + incident_->state().suspension->reason};
  if (auto [word, why] = engine_.fleet().why_not_now(*this); !word.empty()) return {false, word, why};
  const auto choice = ledger::choose_target(incident_->state(), {});
  if (!choice.target) return {false, "no_target", "no good release to go back to"};
  if (!armed_ || armed_->release != choice.target->id) return {false, "not_armed", "release " + choice.target->id + " is not armed yet"};
  if (!armed_->intact) return {false, "target_changed", "release " + choice.target->id + ": " + armed_->why};
  const auto view = incident_->view(engine_.clock_.now());
  if (view.phase == "held" && incident_->state().incident && incident_->state().incident->acted)
    return {false, "held", "held: this incident has had its rollback; `rollbackctl acknowledge` closes it"};
  const std::vector<ReadyCheck> checks = engine_.insight().checks(*this);
  if (const ReadyCheck* no = first_no(checks)) return {false, no->name, no->evidence};
  if (!view.blind_rules.empty()) return {true, "", "to " + choice.target->id + "; blind: " + view.blind_rules.front()};
  return {true, "", "to " + choice.target->id};
}

std::optional<bool> Service::opinion(const checks::Check& check) const {
  const Source source = check.source();
  const auto said = opinions_.find(source.check);
  if (said == opinions_.end()) return std::nullopt;
  const auto last = engine_.judge_.store().last_delivery(key(), source.check);
  if (!last || engine_.clock_.now() - *last > source.staleness) return std::nullopt;
  return said->second;
}

/// What the running service calls a release: of several components the first one names it.
std::string Service::named_by_service(const std::string& release) const {
  const auto parts = parts_of(release);
  return parts.empty() ? release : parts.front().release;
}

checks::VerifyContext Service::verify_context(const std::string& release) const {
  checks::VerifyContext context;
  context.executor = engine_.executor_;
  context.clock = &engine_.clock_;
  context.settings = settings_;
  context.release = named_by_service(release);
  context.release_path = component().releases + "/" + context.release;
  context.switched = incident_->state().epoch.processes_since();
  const std::weak_ptr<const Service> weak = weak_from_this();
  context.healthy_since = [weak]() -> std::optional<Instant> {
    const auto self = weak.lock();
    if (!self) return std::nullopt;
    return self->health_.healthy_since(self->health_checks(), self->manager_ ? self->process_ : std::nullopt);
  };
  context.process = [weak]() -> std::optional<World::Process> {
    const auto self = weak.lock();
    return self && self->manager_ ? self->process_ : std::nullopt;
  };
  return context;
}

void Service::report_tests(const std::vector<rollback::TestResult>& results, Instant began) {
  Batch batch;
  batch.service = key();
  batch.check = "verify";
  batch.began = began;
  for (const auto& result : results) {
    if (result.kind == rollback::TestResult::Kind::unknown) continue;  // It could not look: nothing is known.
    const bool passed = result.kind == rollback::TestResult::Kind::passed;
    batch.samples.push_back(Sample{Labels{{"__name__", "verification_success"},
                                          {"service", key().name},
                                          {"environment", key().environment},
                                          {"check", "verify"},
                                          {"test", result.test}},
                                   passed ? 1.0 : 0.0, false});
    if (!passed && batch.detail.empty()) batch.detail = result.test + ": " + result.detail;
  }
  if (batch.samples.empty() && !results.empty()) batch.unobserved = "no verification test could look";
  engine_.on_batch(std::move(batch));
}

/// After a switch that no operation of ours verifies: runs the tests once the release has started, and repeats what they said so that
/// silence means a broken watcher. After a gap, or when it was stopped on purpose, what they said or were about to say is stale: they run
/// anew once it runs, and so they do where one of them could not look. The next switch cancels it.
asio::awaitable<void> Service::verify_epoch(std::uint64_t epoch) {
  const auto self = shared_from_this();
  asio::steady_timer timer(engine_.executor_);
  const auto current = [this, epoch] { return incident_->state().epoch.number == epoch; };
  constexpr Duration kPoll = 50ms;
  const auto stale = [this](Instant began) {
    engine_.notice_gap(engine_.clock_.now());
    const bool ran = !incident_->view(engine_.clock_.now()).stopped_cleanly && incident_->running_since() <= began;
    return !ran || engine_.last_gap_end_ > began;
  };
  constexpr Duration kRepeat = 15s;
  while (current()) {
    while (current() && !incident_->view(engine_.clock_.now()).started)
      if (!co_await pause(timer, kPoll)) co_return;
    if (!current()) co_return;
    const Instant began = engine_.clock_.now();
    auto results = co_await checks::run_tests(verify_context(incident_->state().epoch.release), settings_.policy.deadline_standard);
    if (!current()) co_return;
    if (stale(began)) continue;
    last_tests_ = results;
    if (engine_.hooks_.tested)
      for (const auto& result : results) engine_.hooks_.tested(key(), result.test, result.kind == rollback::TestResult::Kind::passed);
    bool again = false;  // One that could not look has another try, or a release that fails it alone would never be noticed.
    for (const auto& result : results) again = again || result.kind == rollback::TestResult::Kind::unknown;
    do {
      report_tests(results, began);
      if (!co_await pause(timer, kRepeat)) co_return;
    } while (current() && !again && !stale(began));
  }
}

/// Where no service manager tells of a start: asks the running service itself until it reports the new release.
asio::awaitable<void> Service::watch_identity(std::uint64_t epoch) {
  const auto self = shared_from_this();
  asio::steady_timer timer(engine_.executor_);
  while (incident_->state().epoch.number == epoch && !incident_->view(engine_.clock_.now()).started) {
    auto reported = co_await checks::fetch_identity(engine_.executor_, settings_.identity, 1s);
    if (reported && *reported == named_by_service(incident_->state().epoch.release)) {
      deliver(event::Started{engine_.clock_.now()});
      co_return;
    }
    if (!co_await pause(timer, 1s)) co_return;
  }
}

void Service::reconfigure(config::ServiceSettings settings) {
  stop_checks();
  settings_ = settings;
  hooks_ = drivers::make_hook_runner(driver_context());
  incident_->set_settings(std::move(settings));
  engine_.fleet().introduce(*this);
  set_pushed_stale_after();
  start_checks();
  health_.begin_epoch(engine_.clock_.now());
  if (process_ && process_->running) {
    ProcessEvent event;
    event.kind = ProcessEvent::Kind::running;
    event.pid = process_->pid;
    event.started = process_->started;
    event.at = engine_.clock_.now();
    for (const auto& check : checks_) check->on_process(event);
  }
  deliver(event::Tick{});  // What was held under the old settings is asked again.
}

}  // namespace rollbackd::engine
