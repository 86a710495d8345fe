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
  if (request.kind == OperationKind::deploy) {
    // It says nothing of releases, but a person must hear of one that may be half done. Nothing remembers that they did: it is told at each
    // start, and the outbox sends its message once.
    return outcome.status != OperationStatus::failed && outcome.status != OperationStatus::unknown &&
           outcome.status != OperationStatus::partial;
  }
  if (request.kind != OperationKind::rollback) return true;  // Only a rollback's end says something of releases.
  if (request.trigger != Trigger::manual) return !(state.incident && state.incident->acted && state.incident->id == request.incident);
  return outcome.status != OperationStatus::succeeded ||
         std::any_of(state.past.begin(), state.past.end(), [&](const PastOperation& p) { return p.operation == request.operation; });
}

/// The world as it was when the operation was planned: the plan that comes of it is the same, and so are the numbers of its steps.
World as_planned(const OperationRecord& record, World world) {
  world.live = record.request.from;
  world.link = World::Link::present;
  world.link_value = record.from_path;
  for (std::size_t i = 0; i < std::min(world.parts.size(), record.components.size()); ++i) {
    world.parts[i].link_value = record.components[i].from_path;
    world.parts[i].live = record.components[i].from();
  }
  for (const std::string* id : {&record.request.from, &record.request.to})
    if (!world.parts.empty() && std::find(world.releases.begin(), world.releases.end(), *id) == world.releases.end())
      world.releases.push_back(*id);
  return world;
}

}  // namespace

drivers::DriverContext Service::driver_context() const {
  drivers::DriverContext context;
  context.executor = engine_.executor_;
  context.clock = &engine_.clock_;
  context.steps = &engine_.steps_;
  context.bulk = &engine_.bulk_;
  context.service = key();
  context.settings = component();
  context.service_directory = directory_;
  context.program = engine_.options_.program;
  context.hooks = settings_.hooks;
  return context;
}

/// Driver and manager of each component; of several, one in front of them.
Result<> Service::make_parts() {
  const drivers::DriverContext common = driver_context();
  hooks_ = drivers::make_hook_runner(common);
  ServiceParts parts, managed;
  for (const config::ComponentSettings& settings : settings_.components) {
    drivers::DriverContext context = common;
    context.settings = settings;
    auto part = std::make_shared<ServicePart>();
    part->name = settings.name;
    auto driver = drivers::make_driver(context);
    if (!driver) return driver.error();
    part->driver = std::move(*driver);
    if (!managed.empty() && settings.process.manager != config::ManagerType::none) {
      // Keepers, units and their memories are told apart by service: each further process is as one of its own. No service has a ':'.
      context.service.name += ":" + settings.name;
      context.service_directory += "/" + settings.name;
      if (::mkdir(context.service_directory.c_str(), 0700) != 0 && errno != EEXIST)
        return Error::from_errno("cannot make " + context.service_directory, errno);
    }
    auto manager = drivers::make_manager(context);
    if (!manager) return manager.error();
    part->manager = std::move(*manager);
    if (part->manager) managed.push_back(part);
    parts.push_back(std::move(part));
  }
  if (parts.size() == 1) {
    driver_ = std::move(parts.front()->driver);
    manager_ = std::move(parts.front()->manager);
    return {};
  }
  auto known = [this] {
    std::map<std::string, std::vector<ComponentRelease>> out;
    if (!incident_) return out;
    for (const LedgerEntry& entry : incident_->state().ledger)
      if (!entry.components.empty()) out[entry.release.id] = entry.components;
    return out;
  };
  auto driver = std::make_unique<PartsDriver>(engine_.executor_, engine_.clock_, std::move(parts), std::move(known));
  many_ = driver.get();
  driver_ = std::move(driver);
  if (managed.empty()) return {};
  auto manager = std::make_unique<PartsManager>(engine_.executor_, std::move(managed));
  many_managed_ = manager.get();
  manager_ = std::move(manager);
  return {};
}

/// What each component runs on `release`; empty with one component, and where it is not known.
std::vector<ComponentRelease> Service::parts_of(const std::string& release) const {
  if (!many_) return {};
  auto parts = many_->parts_of(release);
  return parts ? std::move(*parts) : std::vector<ComponentRelease>{};
}

/// The ledger gets to know the release, and of several components which release of each it is made of.
void Service::enter(const std::string& release, Instant at) {
  if (auto described = driver_->describe(release)) incident_->enter_release(*described, at, parts_of(release));
}

/// What the record of an operation says of the parts of the releases between which it moves.
void Service::enter_parts(const OperationRecord& record) {
  if (record.components.empty()) return;
  std::vector<ComponentRelease> from, to;
  for (const ComponentMove& move : record.components) {
    from.push_back({move.component, move.from()});
    to.push_back({move.component, move.to()});
  }
  Release left, wanted;
  left.id = record.request.from;
  wanted.id = record.request.to;
  incident_->enter_release(left, record.at, from);
  incident_->enter_release(wanted, record.at, to);
}

/// How the components stand after an operation that ended half way, while nobody has changed them since; else empty. That is no release
/// anybody deployed: nothing begins with it, and it is said until a person has put it right.
std::string Service::half_way(const World& world) const {
  if (!half_way_ || world.parts.size() != half_way_->components.size()) return {};
  std::string text;
  for (std::size_t i = 0; i < world.parts.size(); ++i) {
    const ComponentMove& move = half_way_->components[i];
    const std::string& live = world.parts[i].live;
    const bool stands = live == move.from() || live == move.to();
    if (!stands || world.parts[i].component != move.component) return {};
    text += (text.empty() ? "" : ", ") + move.component + " on " + live;
  }
  const bool whole = rollback::links_are(*half_way_, world.parts) != rollback::LinkIs::mixed;
  return whole ? "" : "operation " + half_way_->request.operation + " ended half way: " + text;
}

asio::awaitable<std::vector<rollback::ManagedComponent>> Service::managed_now() {
  std::vector<rollback::ManagedComponent> out;
  if (many_managed_) co_return co_await many_managed_->inspect_each();
  if (!manager_) co_return out;
  rollback::ManagedComponent only;
  only.component = component().name;
  auto process = co_await manager_->inspect();
  if (process) only.process = *process;
  out.push_back(std::move(only));
  co_return out;
}

/// When the link that was changed last was.
Instant Service::links_changed_at() const {
  const ClockReading now = engine_.clock_.read();
  Instant latest = link_changed_at(component().current, now);
  for (const config::ComponentSettings& each : settings_.components) latest = std::max(latest, link_changed_at(each.current, now));
  return latest;
}

void Service::cannot_continue(const OperationRecord& last, const Error& why) {
  trouble_ = "operation " + last.request.operation + " cannot be continued: " + why.text();
  deliver(event::StateUntrusted{trouble_});
}

asio::awaitable<Result<>> Service::start() {
  const auto self = shared_from_this();
  if (::mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) co_return Error::from_errno("cannot make " + directory_, errno);
  if (auto made = make_parts(); !made) co_return made.error();

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
    for (const std::string& id : world->releases) enter(id, engine_.clock_.now());
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
  input.link_changed = links_changed_at();
  if (world) {
    const std::string& live = world->live;
    const bool finished = !read.last_record || read.last_record->phase == OperationPhase::outcome;
    if (world->link != World::Link::present) {
      input.link = rollback::LinkIs::missing;
    } else {
      if (!finished) {
        std::vector<World> one;
        if (!many_) one.push_back(*world);
        input.link = rollback::links_are(*read.last_record, many_ ? world->parts : one);
      }
      const bool by_record = !finished && input.link != rollback::LinkIs::other;
      if (!by_record) input.link = live == state.epoch.release && !live.empty() ? rollback::LinkIs::ledger_live : rollback::LinkIs::other;
    }
  }
  if (manager_) {
    auto process = co_await manager_->inspect();
    if (process) process_ = *process;
    input.managed = co_await managed_now();
  }
  rollback::Recovery found = rollback::recover(input);
  if (read.last_record && read.last_record->phase == OperationPhase::outcome && read.last_record->status == OperationStatus::partial)
    half_way_ = read.last_record;
  // Its page was sent when it ended; the watch below says it again.
  if (world && !half_way(*world).empty()) found.move = rollback::RecoveryMove::idle;
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
  const auto tell_ended = [this](const OperationRequest& request, OperationStatus status, std::string detail, bool interrupted,
                                 std::optional<Instant> at = std::nullopt) {
    event::OperationEnded ended;
    ended.operation = request.operation;
    ended.kind = request.kind;
    ended.status = status;
    ended.trigger = request.trigger;
    ended.from = request.from;
    ended.to = request.to;
    ended.detail = std::move(detail);
    ended.interrupted = interrupted;
    ended.at = at;
    deliver(std::move(ended));
  };
  // An outcome on disk that the daemon did not live to tell of is told now; the history gets its row in any case.
  const bool has_outcome = read.last_record && read.last_record->phase == OperationPhase::outcome;
  const bool untold = has_outcome && !was_told(state, *read.last_record);
  if (has_outcome) {
    const record::OperationRow row = row_of(*read.last_record, engine_.clock_.read());
    engine_.history_->add(row);
    engine_.fleet().know_ended(row);
  }

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
        const std::string won = "an outside deployment won: " + found.why;
        co_await close_unfinished(*read.last_record, OperationStatus::abandoned, won);
        tell_ended(read.last_record->request, OperationStatus::abandoned, won, false, links_changed_at());
      }
      if (untold) tell_ended(read.last_record->request, read.last_record->status, read.last_record->note, false);
      event::Switched switched;
      switched.release = world->live;
      switched.at = links_changed_at();
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
    case rollback::RecoveryMove::undo: {
      const OperationRecord& last = *read.last_record;
      operating_ = last.request.operation;
      enter_parts(last);
      deliver(same_epoch());
      co_await attach();
      watch();
      auto plan = plan_from(last.request, as_planned(last, *world));
      if (!plan) {
        cannot_continue(last, plan.error());
        co_return;
      }
      rollback::OperationOptions options = options_of(last.request);
      options.fence = last.fence;
      auto operation = rollback::Operation::undoing(last, std::move(*plan), options, found.why, now);
      rollback::Ask first = operation.begin(now);
      spawn(engine_.executor_, shared_from_this(), drive(std::move(operation), std::move(first), Recovered::undoing));
      co_return;
    }
    case rollback::RecoveryMove::resume: {
      OperationRecord last = *read.last_record;
      last.switched = found.switched;
      enter_parts(last);
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
      if (found.resume_at == OperationPhase::switched && manager_) {
        // Where the keeper was gone too (a power cut), attaching began one, and that one has started what `current` leads to: it was the
        // restart. Asked again, or the service would be started twice in a row.
        auto process = co_await manager_->inspect();
        if (process) {
          process_ = *process;
          input.managed = co_await managed_now();
          found = rollback::recover(input);
        }
      }
      watch();
      // The plan of what is left: the switch is done, the steps after it are asked for again under the same operation id.
      auto plan = plan_from(last.request, as_planned(last, *world));
      if (!plan) {  // Without its steps the rest would be skipped and still called a success.
        cannot_continue(last, plan.error());
        co_return;
      }
      rollback::OperationOptions options = options_of(last.request);
      options.fence = last.fence;
      options.spared = found.spared;
      auto operation = rollback::Operation::resumed(last, std::move(*plan), options, found.resume_at, now);
      rollback::Ask first = operation.begin(now);
      spawn(engine_.executor_, shared_from_this(), drive(std::move(operation), std::move(first), Recovered::resumed));
      co_return;
    }
    case rollback::RecoveryMove::hold_and_page:
      if (read.readable && read.last_record && !has_outcome && world) {
        // It is given up and closed, so that a person can act: an open record would bring every later start back here.
        const OperationRecord last = *read.last_record;
        event::Switched switched = same_epoch();
        if (input.link == rollback::LinkIs::to && last.request.to != state.epoch.release) {
          switched.release = last.request.to;
          switched.at = found.switched.value_or(last.at);
          switched.announced = last.request.kind == OperationKind::deploy;
          switched.by_rollback = last.request.kind == OperationKind::rollback;
        }
        if (!switched.release.empty()) deliver(std::move(switched));
        const OperationStatus status = input.link == rollback::LinkIs::mixed ? OperationStatus::partial : OperationStatus::unknown;
        if (status == OperationStatus::partial) half_way_ = last;
        co_await close_unfinished(last, status, found.why);
        tell_ended(last.request, status, found.why, false);
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
          outside.at = links_changed_at();
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
