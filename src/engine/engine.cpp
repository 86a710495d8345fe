#include "engine/engine.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <set>

#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/fleet.hpp"
#include "engine/housekeeping.hpp"
#include "engine/insight.hpp"
#include "engine/service.hpp"
#include "engine/warm.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {
constexpr Duration kHeartbeat = 500ms;
constexpr Duration kGapMin = 2s;            ///< between reactor turns: all evidence is stale then
constexpr Duration kObserverMistrust = 5s;  ///< after a gap
constexpr double kLagMax = 1.0;             ///< seconds
constexpr std::size_t kOthersMax = 20;      ///< asked in a second opinion
}  // namespace

Engine::Engine(asio::any_io_executor executor, config::Settings settings, rules::Groups groups, EngineOptions options)
    : executor_(executor),
      settings_(std::move(settings)),
      options_(std::move(options)),
      groups_(std::move(groups)),
      due_timer_(executor),
      keep_timer_(executor) {
  housekeeping_ = std::make_unique<Housekeeping>(*this);
  last_turn_ = clock_.now();
  warmer_ = std::make_unique<Warmer>(*this);
  fleet_ = std::make_unique<Fleet>(*this);
  insight_ = std::make_unique<Insight>(*this);
}

Engine::~Engine() { *alive_ = 1; }

asio::awaitable<Result<>> Engine::start() {
  auto lock = record::DirectoryLock::take(settings_.state_directory);
  if (!lock) co_return lock.error();
  lock_ = std::move(*lock);
  const std::string services = settings_.state_directory + "/services";
  if (::mkdir(services.c_str(), 0700) != 0 && errno != EEXIST) co_return Error::from_errno("cannot make " + services, errno);
  record::HistoryLimits history_limits;
  record::AuditLimits audit_limits;
  history_limits.keep_for = audit_limits.keep_for = settings_.history_for;
  history_ = std::make_unique<record::History>(settings_.state_directory + "/history.sqlite", history_limits);
  if (!history_->trouble().empty()) log::error("the history is not on disk", {{"why", history_->trouble()}});
  audit_ = std::make_unique<record::AuditLog>(settings_.state_directory + "/audit.log", audit_limits);
  outbox_ = std::make_unique<notify::Outbox>(executor_, settings_.state_directory + "/outbox.sqlite");
  if (auto set = outbox_->set_channels(settings_.notify); !set) co_return set.error();

  if (!options_.offline) co_await read_kept();
  if (!options_.offline) co_await fleet_->read_runs();
  judge_.set_rules(options_.offline ? rules::Groups{} : groups_, clock_.now());
  last_turn_ = clock_.now();
  for (const auto& settings : settings_.services) {
    auto added = co_await add_service(settings);
    if (!added) log::error("a service is not watched", {{"service", settings.key.text()}, {"error", added.error().text()}});
  }
  give_back_nobodys();
  if (!options_.offline) keep_task_ = spawn(executor_, nullptr, keep_alerts());
  know_dependents();
  started_ = true;
  arm_due();
  co_return Result<>{};
}

asio::awaitable<Result<>> Engine::add_service(config::ServiceSettings settings) {
  auto service = std::make_shared<Service>(*this, settings);
  services_[settings.key] = service;
  auto started = co_await service->start();
  if (!started) {
    service->trouble_ = started.error().text();
    Notification page;  // Nobody looks after it from now on, and nothing else would say so at night.
    page.key = "not watched:" + settings.key.text();
    page.service = settings.key;
    page.severity = Notification::Severity::page;
    page.title = settings.key.text() + " is not watched";
    page.text = service->trouble_;
    if (!options_.offline) notify(std::move(page));
  }
  co_return started;
}

asio::awaitable<void> Engine::run() {
  const auto outbox = spawn(executor_, nullptr, outbox_->run());
  const auto warming = spawn(executor_, nullptr, warmer_->run());
  const auto looking = spawn(executor_, nullptr, insight_->run());
  const auto keeping = spawn(executor_, nullptr, housekeeping_->run());
  const auto watching = spawn(executor_, nullptr, fleet_->run());
  co_await heartbeat();
  watching.cancel();
  keeping.cancel();
  looking.cancel();
  warming.cancel();
  outbox.cancel();
}

asio::awaitable<void> Engine::stop() {
  stopping_ = true;
  warmer_->stop();
  housekeeping_->stop();
  due_timer_.cancel();
  keep_task_.cancel();
  for (const auto& [key, service] : services_) service->stop();
  for (const auto& [key, service] : services_) co_await service->performed();
  if (started_ && !options_.offline) co_await write_kept();
  // A record being written is awaited, so that the next start finds a whole one; what follows it is left to recovery.
  co_await writer_.run([] { return 0; });
  history_->flush(5s);
  audit_->flush(5s);
}

void Engine::on_batch(Batch batch) {
  if (stopping_) return;
  const Instant now = clock_.now();
  notice_gap(now);
  // Strictly later than the commit before: two batches never fall on one instant.
  batch.at = std::max(now, last_commit_ + Duration(1));
  last_commit_ = batch.at;
  const auto at = services_.find(batch.service);
  if (at != services_.end()) at->second->on_batch_health(batch);
  insight_->on_batch(batch);
  deliver(judge_.on_batch(batch));
  arm_due();
}

void Engine::deliver(const Judgement& judgement) {
  if (!judgement.alerts.empty()) keep_soon();
  for (const AlertChange& change : judgement.alerts) {
    log::debug("alert", {{"service", change.service.text()}, {"rule", change.rule}, {"phase", to_string(change.phase)}});
    const auto at = services_.find(change.service);
    if (at != services_.end()) at->second->on_alert(change);
  }
  for (const VerdictChange& change : judgement.verdicts) {
    const auto at = services_.find(change.service);
    if (at != services_.end()) at->second->deliver(event::RuleVerdict{change});
  }
}

void Engine::arm_due() {
  if (stopping_) return;
  std::optional<Instant> next = judge_.next_due();
  for (const auto& [key, service] : services_) {
    if (!service->running()) continue;
    const auto due = service->incident().next_due();
    if (due && (!next || *due < *next)) next = due;
  }
  if (next == due_at_) return;
  due_at_ = next;
  if (!next) {
    due_timer_.cancel();
    return;
  }
  due_timer_.expires_after(std::max(Duration{}, *next - clock_.now()));
  due_timer_.async_wait([this, alive = std::weak_ptr<int>(alive_)](const boost::system::error_code& stopped) {
    if (stopped || alive.expired()) return;
    due_at_.reset();
    on_due();
  });
}

void Engine::note_epoch(const ServiceKey& service, Instant at, const std::string& release) {
  constexpr std::size_t kRemembered = series::Limits{}.epochs_max;
  auto& epochs = epoch_releases_[service];
  epochs[at] = release;
  if (epochs.size() > kRemembered) epochs.erase(epochs.begin());
}

void Engine::on_due() {
  const Instant now = clock_.now();
  notice_gap(now);
  last_commit_ = std::max(last_commit_, now);
  deliver(judge_.on_due(now));
  for (const auto& [key, service] : services_) {
    if (!service->running()) continue;
    const auto due = service->incident().next_due();
    if (due && *due <= now) service->deliver(event::Tick{});
  }
  arm_due();
}

Duration Engine::notice_gap(Instant now) {
  if (!beats_) return stood_still_;  // Without regular turns a long pause between two is no news.
  const Duration passed = now - last_turn_;
  last_turn_ = now;
  if (passed <= kGapMin) return stood_still_;
  stood_still_ += passed;
  last_gap_end_ = now;
  last_gap_why_ = "nothing was observed for " + format_duration(passed) + " (suspend, or the daemon was stopped)";
  log::warning("all evidence is stale", {{"why", last_gap_why_}});
  deliver(judge_.on_gap(now));
  for (const auto& [key, service] : services_) {
    if (!service->running()) continue;
    service->health().forget();
    service->deliver(event::Gap{now - passed, now});
  }
  return stood_still_;
}

/// Measures the reactor's lag and notices when the whole process was stopped.
asio::awaitable<void> Engine::heartbeat() {
  asio::steady_timer timer(executor_);
  auto next = std::chrono::steady_clock::now() + kHeartbeat;
  last_turn_ = clock_.now();
  beats_ = true;
  while (true) {
    timer.expires_at(next);
    boost::system::error_code stopped;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, stopped));
    if (stopped) co_return;
    const auto late = std::chrono::steady_clock::now() - next;
    reactor_lag_seconds_ = std::chrono::duration<double>(late).count();
    notice_gap(clock_.now());
    next = std::max(next + kHeartbeat, std::chrono::steady_clock::now());
  }
}

ObserverFacts Engine::observer(Instant now) const {
  if (last_gap_end_ != Instant{} && now - last_gap_end_ < kObserverMistrust) return {false, last_gap_why_};
  if (reactor_lag_seconds_ > kLagMax) return {false, "the reactor is " + std::to_string(reactor_lag_seconds_) + " s late"};
  return {};
}

/// Asks the failing checks again, and one check each of other services, all at once; answers when all are in or `settle` has passed.
asio::awaitable<void> Engine::second_opinion(std::shared_ptr<Service> asker, action::Reprobe wanted) {
  struct Gathered {
    std::vector<ReprobeAnswer> own, others, dependencies;
    TargetFacts target;
    std::size_t waiting = 0;
    bool closed = false;  ///< settle has passed: late answers are dropped
    asio::steady_timer timer;
    explicit Gathered(const asio::any_io_executor& executor) : timer(executor) {}
    void one_less() {
      if (--waiting == 0) timer.cancel();
    }
  };
  auto gathered = std::make_shared<Gathered>(executor_);
  using Answers = std::vector<ReprobeAnswer> Gathered::*;
  const auto ask = [](std::shared_ptr<Gathered> into, std::shared_ptr<Service> whom, std::string check,
                      Answers to) -> asio::awaitable<void> {
    ReprobeAnswer answer = co_await whom->reprobe(check);
    if (!into->closed) (into.get()->*to).push_back(std::move(answer));
    into->one_less();
  };
  const auto look = [](std::shared_ptr<Gathered> into, std::shared_ptr<Service> whom, std::string release) -> asio::awaitable<void> {
    TargetFacts facts = co_await whom->look(release);
    if (!into->closed) into->target = std::move(facts);
    into->one_less();
  };
  std::vector<Task> tasks;
  gathered->waiting = 1;  // Ourselves, until everything has been started.
  // What it needs comes first and is never cut: where that fails, going back would not help.
  std::set<std::string> about_dependencies;
  for (const auto& check : asker->settings().checks) {
    if (check.dependency.empty() || !asker->check(check.name)) continue;
    about_dependencies.insert(check.name);
    ++gathered->waiting;
    tasks.push_back(spawn(executor_, asker, ask(gathered, asker, check.name, &Gathered::dependencies)));
  }
  std::vector<std::shared_ptr<Service>> needed = asker->dependencies();
  std::erase_if(needed, [](const auto& service) { return !service->running() || !service->canary(); });
  for (const auto& service : needed) {
    ++gathered->waiting;
    tasks.push_back(spawn(executor_, service, ask(gathered, service, service->canary()->source().check, &Gathered::dependencies)));
  }
  for (const std::string& check : wanted.checks) {
    if (!asker->check(check) || about_dependencies.contains(check)) continue;
    ++gathered->waiting;
    tasks.push_back(spawn(executor_, asker, ask(gathered, asker, check, &Gathered::own)));
  }
  // Services with a dependency in common first: where that is down, they fail together.
  std::vector<std::shared_ptr<Service>> others;
  const auto shares = [&](const Service& other) {
    for (const auto& dependency : asker->settings().depends_on)
      for (const auto& theirs : other.settings().depends_on)
        if (dependency == theirs) return true;
    return false;
  };
  for (const auto& [key, service] : services_)
    if (service != asker && service->running() && service->canary() && std::find(needed.begin(), needed.end(), service) == needed.end())
      others.push_back(service);
  std::stable_partition(others.begin(), others.end(), [&](const auto& other) { return shares(*other); });
  if (others.size() > kOthersMax) others.resize(kOthersMax);
  for (const auto& other : others) {
    ++gathered->waiting;
    tasks.push_back(spawn(executor_, other, ask(gathered, other, other->canary()->source().check, &Gathered::others)));
  }
  gathered->target.why = "no answer within settle";  // Of no release: whoever was not looked at is looked at again.
  if (!wanted.target.empty()) {
    ++gathered->waiting;
    tasks.push_back(spawn(executor_, asker, look(gathered, asker, wanted.target)));
  }
  gathered->timer.expires_after(wanted.settle);
  if (--gathered->waiting > 0) {
    boost::system::error_code woken;
    co_await gathered->timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
  gathered->closed = true;
  // Who did not answer in time could not look, as far as anybody knows.
  for (const std::string& check : wanted.checks) {
    if (about_dependencies.contains(check)) continue;
    const bool answered = std::any_of(gathered->own.begin(), gathered->own.end(), [&](const auto& a) { return a.check == check; });
    if (!answered) gathered->own.push_back(ReprobeAnswer{asker->key(), check, false, false, "no answer within settle"});
  }
  for (const Task& task : tasks) task.cancel();
  asker->timing_.settled = clock_.now();
  event::Settled settled;
  settled.number = wanted.number;
  settled.own = std::move(gathered->own);
  settled.others = std::move(gathered->others);
  settled.dependencies = std::move(gathered->dependencies);
  settled.observer = observer(clock_.now());
  settled.target = std::move(gathered->target);
  settled.fleet = fleet_->ask(*asker);
  asker->deliver(std::move(settled));
}

asio::awaitable<ReprobeAnswer> Service::reprobe(std::string check_name) {
  ReprobeAnswer answer;
  answer.service = key();
  answer.check = check_name;
  const auto found = check(check_name);  // Shared: a reload may drop it meanwhile.
  if (!found) co_return answer;
  const Batch batch = co_await found->probe_now();
  answer.answered = batch.unobserved.empty();
  answer.healthy = batch.healthy.value_or(true);
  answer.detail = answer.answered ? batch.detail : batch.unobserved;
  co_return answer;
}

asio::awaitable<TargetFacts> Service::look(std::string release) {
  const auto self = shared_from_this();
  std::string expected;
  if (const LedgerEntry* entry = ledger::find(incident_->state(), release)) expected = entry->release.digest;
  TargetFacts facts = co_await driver_->look(release, expected);
  if (!link_trouble_.empty()) {
    facts.intact = false;  // Whole it may be, but there is no link to switch.
    facts.why = link_trouble_;
  }
  co_return facts;
}

void Engine::notify(Notification notification) {
  const auto level = notification.severity == Notification::Severity::page ? log::Level::error : log::Level::warning;
  log::write(notification.severity == Notification::Severity::info ? log::Level::info : level, notification.title,
             {{"service", notification.service.text()}, {"text", join(split(notification.text, '\n'), "; ")}});
  insight_->on_notification(notification);
  outbox_->push(std::move(notification));
}

Result<std::shared_ptr<Service>> Engine::find(const ServiceSelector& selector) const {
  std::vector<std::shared_ptr<Service>> found;
  std::vector<std::string> names, environments;
  for (const auto& [key, service] : services_) {
    names.push_back(key.name);
    if (key.name != selector.name) continue;
    environments.push_back(key.environment);
    if (selector.environment.empty() || selector.environment == key.environment) found.push_back(service);
  }
  const std::string asked =
      printable(cut(selector.name, 64)) + (selector.environment.empty() ? "" : "/" + printable(cut(selector.environment, 64)));
  if (found.size() == 1) return found.front();
  if (found.size() > 1)
    return Error(Errc::invalid_argument, "service " + asked + " runs in several environments")
        .because(join(environments, ", "))
        .try_next("name one with --env");
  Error error(Errc::not_found, "there is no service " + asked);
  if (!environments.empty()) return std::move(error).because("it is watched in: " + join(environments, ", "));
  const std::string near = nearest(selector.name, names);
  if (!near.empty()) return std::move(error).try_next("did you mean " + near + "?");
  return error;
}

asio::awaitable<Result<>> Engine::reload(config::Settings settings, rules::Groups groups) {
  const auto refuse = [](std::string what) {
    return Error(Errc::refused, "the configuration was not taken").because(std::move(what)).try_next("restart rollbackd to change it");
  };
  if (settings.state_directory != settings_.state_directory) co_return refuse("state_directory changed");
  if (settings.listen != settings_.listen || settings.socket != settings_.socket) co_return refuse("the addresses changed");
  if (settings.kill_switch != settings_.kill_switch) co_return refuse("the kill switch's file changed");
  for (const auto& next : settings.services) {
    const auto at = services_.find(next.key);
    if (at == services_.end()) continue;
    const auto same = [](const config::ComponentSettings& now, const config::ComponentSettings& then) {
      return now.name == then.name && now.driver == then.driver && now.current == then.current && now.releases == then.releases &&
             now.process == then.process;
    };
    const auto& now = at->second->settings().components;
    if (!std::equal(now.begin(), now.end(), next.components.begin(), next.components.end(), same))
      co_return refuse(next.key.text() + ": its components' names, drivers, paths or processes changed");
  }
  if (auto set = outbox_->set_channels(settings.notify); !set) co_return set.error();
  settings_ = std::move(settings);
  groups_ = std::move(groups);
  judge_.set_rules(groups_, clock_.now());
  std::map<ServiceKey, std::shared_ptr<Service>> gone = services_;
  for (const auto& next : settings_.services) {
    gone.erase(next.key);
    const auto at = services_.find(next.key);
    if (at != services_.end()) {
      if (at->second->running()) at->second->reconfigure(next);
    } else {
      auto added = co_await add_service(next);
      if (!added) log::error("a service is not watched", {{"service", next.key.text()}, {"error", added.error().text()}});
    }
  }
  for (const auto& [key, service] : gone) {
    service->stop();
    judge_.remove_service(key);
    epoch_releases_.erase(key);
    kept_.erase(key);
    services_.erase(key);
  }
  know_dependents();
  arm_due();
  co_return Result<>{};
}

ExitCode exit_code_of(OperationKind kind, OperationStatus status) {
  switch (status) {
    case OperationStatus::succeeded: return ExitCode::success;
    case OperationStatus::unverified: return ExitCode::verification_failed;
    case OperationStatus::failed: return kind == OperationKind::deploy ? ExitCode::step_failed : ExitCode::verification_failed;
    case OperationStatus::undone:
    case OperationStatus::abandoned:
    case OperationStatus::cancelled: return ExitCode::step_failed;
    case OperationStatus::unknown:
    case OperationStatus::partial:
    case OperationStatus::planned:
    case OperationStatus::running:
    case OperationStatus::verifying: return ExitCode::outcome_unknown;
  }
  return ExitCode::rollback_error;
}

}  // namespace rollbackd::engine
