// What happens at start: the state file and the world are read, the recovery table says what to do about an operation that was under way.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/log.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/service.hpp"
#include "ledger/ledger.hpp"
#include "rollback/plan.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

/// What the history says of an operation that is known from its record alone.
record::OperationRow row_of(const OperationRecord& record, const ClockReading& clock) {
  record::OperationRow row;
  row.request = record.request;
  row.status = record.status;
  row.begun = Instant(clock.to_stamp(record.begun).wall_ns);
  if (record.switched) row.switched = Instant(clock.to_stamp(*record.switched).wall_ns);
  row.ended = Instant(clock.to_stamp(record.at).wall_ns);
  row.attempt = record.attempt;
  row.detail = record.note;
  return row;
}

/// Whether the incident machine had heard, before the daemon ended, how this operation ended.
bool was_told(const ServiceState& state, const OperationRecord& outcome) {
  const OperationRequest& request = outcome.request;
  if (request.kind != OperationKind::rollback) return true;  // Only a rollback's end says something of releases.
  if (request.trigger != Trigger::manual) return !(state.incident && state.incident->acted && state.incident->id == request.incident);
  return outcome.status != OperationStatus::succeeded ||
         std::any_of(state.past.begin(), state.past.end(), [&](const PastOperation& p) { return p.operation == request.operation; });
}

}  // namespace

asio::awaitable<Result<>> Service::start() {
  const auto self = shared_from_this();
  if (::mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) co_return Error::from_errno("cannot make " + directory_, errno);
  drivers::DriverContext context;
  context.executor = engine_.executor_;
  context.clock = &engine_.clock_;
  context.steps = &engine_.steps_;
  context.bulk = &engine_.bulk_;
  context.service = key();
  context.settings = component();
  context.service_directory = directory_;
  context.program = engine_.options_.program;
  auto driver = drivers::make_driver(context);
  if (!driver) co_return driver.error();
  driver_ = std::move(*driver);
  auto manager = drivers::make_manager(context);
  if (!manager) co_return manager.error();
  manager_ = std::move(*manager);

  record::StateRead read;
  auto open = [this, &read, clock = engine_.clock_.read()] {
    return record::StateFile::open(engine_.settings_.state_directory, key(), clock, read);
  };
  auto file = co_await engine_.writer_.run(std::move(open));
  if (!file) co_return file.error();
  state_file_ = std::move(*file);
  if (!read.note.empty()) log::warning("state file", {{"service", key().text()}, {"note", read.note}});

  ServiceState state = read.state.value_or(ServiceState{});
  state.service = key();
  incident_ = std::make_unique<decision::Incident>(settings_, std::move(state), [] { return io::new_id(); });
  set_pushed_stale_after();
  engine_.fleet().introduce(*this);

  auto world = co_await driver_->inspect();
  if (!world) {
    trouble_ = world.error().text();
    log::error("the service cannot be inspected", {{"service", key().text()}, {"error", trouble_}});
  } else {
    for (const std::string& id : world->releases)
      if (auto release = driver_->describe(id)) incident_->enter_release(*release, engine_.clock_.now());
  }
  start_checks();  // Before recovery: a resumed operation's verification needs their word.
  co_await recover(std::move(read), std::move(world));
  co_return Result<>{};
}

asio::awaitable<void> Service::close_unfinished(OperationRecord last, OperationStatus status, std::string note) {
  last.phase = OperationPhase::outcome;
  last.status = status;
  last.note = note;
  last.at = engine_.clock_.now();
  const ClockReading clock = engine_.clock_.read();
  auto work = [this, last, clock] { return state_file_->write_record(last, clock); };
  const Result<> written = co_await engine_.writer_.run(std::move(work));
  if (!written) deliver(event::StateUntrusted{written.error().text()});
  const record::OperationRow row = row_of(last, clock);
  engine_.history_->add(row);
  operation_ended(row);
}

asio::awaitable<void> Service::recover(record::StateRead read, Result<World> world) {
  const Instant now = engine_.clock_.now();
  const ServiceState& state = incident_->state();
  const auto same_epoch = [&] {
    event::Switched switched;
    switched.release = state.epoch.release;
    switched.at = state.epoch.switched;
    return switched;
  };

  rollback::RecoveryInput input;
  input.state_readable = read.readable;
  input.last = read.last_record;
  if (manager_) input.managed.push_back({component().name, std::nullopt});
  if (world) {
    const std::string& live = world->live;
    const bool finished = !read.last_record || read.last_record->phase == OperationPhase::outcome;
    if (world->link != World::Link::present) {
      input.link = rollback::LinkIs::missing;
    } else if (!finished && live == read.last_record->request.from) {
      input.link = rollback::LinkIs::from;
    } else if (!finished && live == read.last_record->request.to) {
      input.link = rollback::LinkIs::to;
    } else {
      input.link = live == state.epoch.release && !live.empty() ? rollback::LinkIs::ledger_live : rollback::LinkIs::other;
    }
  }
  if (manager_) {
    auto process = co_await manager_->inspect();
    if (process) {
      process_ = *process;
      input.managed.front().process = *process;
    }
  }
  rollback::Recovery found = rollback::recover(input);
  const bool first_sight = read.readable && state.epoch.release.empty() && world && !world->live.empty();
  if (first_sight && input.link == rollback::LinkIs::other) found.move = rollback::RecoveryMove::outside_deployment;
  log::info("recovery", {{"service", key().text()}, {"move", to_string(found.move)}, {"why", found.why}});

  // An automatic operation that was decided but whose intent never reached the disk did nothing: it is judged again on fresh evidence.
  const bool never_began = state.incident && state.incident->acted && !state.past.empty() && found.move == rollback::RecoveryMove::idle &&
                           (!read.last_record || read.last_record->request.operation != state.past.back().operation);
  const PastOperation lost = never_began ? state.past.back() : PastOperation{};

  const auto attach = [this]() -> asio::awaitable<void> {
    if (!manager_) co_return;
    auto attached = co_await manager_->attach();
    if (!attached) {
      trouble_ = attached.error().text();
      log::error("the service manager cannot be reached", {{"service", key().text()}, {"error", trouble_}});
    }
  };
  const auto tell_ended = [this](const OperationRequest& request, OperationStatus status, std::string detail, bool interrupted) {
    event::OperationEnded ended;
    ended.operation = request.operation;
    ended.kind = request.kind;
    ended.status = status;
    ended.trigger = request.trigger;
    ended.from = request.from;
    ended.to = request.to;
    ended.detail = std::move(detail);
    ended.interrupted = interrupted;
    deliver(std::move(ended));
  };
  // An outcome on disk that the daemon did not live to tell of is told now; the history gets its row in any case.
  const bool has_outcome = read.last_record && read.last_record->phase == OperationPhase::outcome;
  const bool untold = has_outcome && !was_told(state, *read.last_record);
  if (has_outcome) engine_.history_->add(row_of(*read.last_record, engine_.clock_.read()));

  switch (found.move) {
    case rollback::RecoveryMove::idle:
      deliver(same_epoch());
      if (never_began) {
        OperationRequest request;
        request.operation = lost.operation;
        request.service = key();
        request.incident = state.incident->id;
        request.from = lost.from;
        request.to = lost.to;
        OperationRecord record;
        record.request = request;
        record.status = OperationStatus::abandoned;
        record.begun = record.at = lost.at;
        record.note = "the daemon ended before the operation began";
        engine_.history_->add(row_of(record, engine_.clock_.read()));
        tell_ended(request, record.status, record.note, true);
      }
      if (untold) tell_ended(read.last_record->request, read.last_record->status, read.last_record->note, false);
      co_await attach();
      break;
    case rollback::RecoveryMove::outside_deployment: {
      if (read.last_record && read.last_record->phase != OperationPhase::outcome) {
        co_await close_unfinished(*read.last_record, OperationStatus::abandoned, "an outside deployment won: " + found.why);
      }
      if (untold) tell_ended(read.last_record->request, read.last_record->status, read.last_record->note, false);
      event::Switched switched;
      switched.release = world->live;
      switched.at = link_changed_at(component().current, engine_.clock_.read());
      if (first_sight && process_ && process_->running) switched.at = std::min(switched.at, process_->started);
      deliver(std::move(switched));
      co_await attach();
      break;
    }
    case rollback::RecoveryMove::abandon: {
      co_await close_unfinished(*read.last_record, OperationStatus::abandoned, found.why);
      deliver(same_epoch());
      tell_ended(read.last_record->request, OperationStatus::abandoned, found.why, true);
      co_await attach();
      break;
    }
    case rollback::RecoveryMove::undo:
    case rollback::RecoveryMove::resume: {
      const OperationRecord& last = *read.last_record;
      event::Switched switched;
      switched.release = last.request.to;
      switched.at = last.switched.value_or(last.at);
      switched.announced = last.request.kind == OperationKind::deploy;
      switched.by_rollback = last.request.kind == OperationKind::rollback;
      switched.operation = last.request.operation;
      operating_ = last.request.operation;
      deliver(event::OperationBegan{last.request.operation, last.request.kind});
      deliver(std::move(switched));
      co_await attach();
      watch();
      // The plan of what is left: the switch is done, the steps after it are asked for again under the same operation id.
      World as_planned = *world;
      as_planned.live = last.request.from;
      as_planned.link_value = last.from_path;
      auto steps = driver_->plan(as_planned, last.request.to);
      if (steps && manager_)
        for (Step& step : manager_->plan()) steps->push_back(std::move(step));
      Result<Plan> plan = steps ? rollback::make_plan(last.request, as_planned, std::move(*steps)) : Result<Plan>(steps.error());
      if (!plan) {  // Without its steps the rest would be skipped and still called a success.
        trouble_ = "operation " + last.request.operation + " cannot be continued: " + plan.error().text();
        deliver(event::StateUntrusted{trouble_});
        co_return;
      }
      rollback::OperationOptions options;
      options.node = engine_.options_.node;
      options.deadline = last.request.mode == Mode::emergency ? settings_.policy.deadline_emergency : settings_.policy.deadline_standard;
      options.deadline_step = settings_.policy.deadline_step;
      options.verify = last.request.kind != OperationKind::deploy;
      options.fence = last.fence;
      options.spared = found.spared;
      auto operation = rollback::Operation::resumed(last, std::move(*plan), options, found.resume_at, now);
      rollback::Ask first = operation.begin(now);
      spawn(engine_.executor_, shared_from_this(), drive(std::move(operation), std::move(first), true));
      co_return;
    }
    case rollback::RecoveryMove::hold_and_page:
      if (read.readable && read.last_record && !has_outcome && world) {
        // It is given up and closed, so that a person can act: an open record would bring every later start back here.
        const OperationRecord last = *read.last_record;
        event::Switched switched = same_epoch();
        if (input.link == rollback::LinkIs::to && last.request.to != state.epoch.release) {
          switched.release = last.request.to;
          switched.at = last.switched.value_or(last.at);
          switched.announced = last.request.kind == OperationKind::deploy;
          switched.by_rollback = last.request.kind == OperationKind::rollback;
        }
        if (!switched.release.empty()) deliver(std::move(switched));
        co_await close_unfinished(last, OperationStatus::unknown, found.why);
        tell_ended(last.request, OperationStatus::unknown, found.why, false);
        if (last.request.kind != OperationKind::rollback) {  // A rollback's end is a hold, which pages by itself.
          Notification page;
          page.key = "recovery:" + last.request.operation;
          page.service = key();
          page.severity = Notification::Severity::page;
          page.title = key().text() + ": how an operation ended is not known";
          page.text = found.why;
          engine_.notify(std::move(page));
        }
        if (input.link == rollback::LinkIs::other && !world->live.empty()) {
          // Deployed while nobody looked: its epoch began with the link, or a process younger than that would count as older.
          event::Switched outside;
          outside.release = world->live;
          outside.at = link_changed_at(component().current, engine_.clock_.read());
          deliver(std::move(outside));
        }
      } else {
        if (!state.epoch.release.empty()) deliver(same_epoch());
        deliver(event::StateUntrusted{found.why});
      }
      co_await attach();
      break;
  }
  watch();
}

}  // namespace rollbackd::engine
