// The actor's side of the socket: finds what a request speaks of in root's own configuration, asks its guards, acts once, remembers.
// Flow: engine -> actor_client -> socket -> [actor_server] -> symlink, supervised, systemd, hook.
#include "drivers/actor_server.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "drivers/actor_config.hpp"
#include "drivers/actor_guard.hpp"
#include "drivers/actor_memory.hpp"
#include "drivers/driver.hpp"
#include "io/cancelled.hpp"
#include "io/failpoint.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {

using actor::Answer;
using actor::Request;
using actor::Verb;
using Steady = std::chrono::steady_clock;

namespace {

constexpr std::size_t kInFlightMax = 256;   ///< requests of one connection, watches among them
constexpr std::size_t kConnectionsMax = 8;  ///< at a time; more are left at once
constexpr std::size_t kChangeBytesMax = 4096;
constexpr Duration kTurnMax = 10min;  ///< a longer wait for a service's turn is none

std::string service_name(const ServiceKey& key) { return key.name + "." + key.environment; }

/// Below the daemon's own directory, the daemon could choose with a link what root's keeper writes a service's output to. Without a name of
/// its own the output goes to the actor's directory instead.
void keep_output(config::ProcessSettings& process, const std::string& state_directory) {
  const std::string output = std::filesystem::path(process.output).lexically_normal().string();
  if (output.starts_with(std::filesystem::path(state_directory).lexically_normal().string() + "/")) process.output.clear();
}

Result<> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Error::from_errno("cannot make " + path, errno);
  auto trusted = actor::open_trusted(path, O_PATH | O_DIRECTORY);
  if (trusted.has_error()) return trusted.error();
  return {};
}

/// Keepers that were begun before there was an actor have their directory in the state directory, which is the daemon's now. It is moved as
/// a whole, if it is root's; a keeper's socket moves with it. The link that stays is for a keeper's own writing of its status.
void adopt(const std::string& from, const std::string& to) {
  struct stat there {};
  if (::lstat(to.c_str(), &there) == 0 || ::lstat(from.c_str(), &there) != 0 || !S_ISDIR(there.st_mode)) return;
  const std::string parent = from.substr(0, from.rfind('/'));
  struct stat above {};
  const bool ours = ::lstat(parent.c_str(), &above) == 0 && S_ISDIR(above.st_mode) && above.st_uid == ::geteuid() &&
                    there.st_uid == ::geteuid() && (above.st_mode & 022) == 0 && (there.st_mode & 022) == 0;
  if (!ours || ::rename(from.c_str(), to.c_str()) != 0) return;
  if (::symlink(to.c_str(), from.c_str()) != 0) log::warning("no link is left at a moved directory", {{"directory", from}});
  log::info("a service's directory is the actor's now", {{"from", from}, {"to", to}});
}

struct Component {
  config::ComponentSettings settings;
  std::unique_ptr<Driver> driver;
  std::unique_ptr<Manager> manager;
};

bool same(const config::ComponentSettings& a, const config::ComponentSettings& b) {
  return a.driver == b.driver && a.releases == b.releases && a.current == b.current && a.process == b.process;
}

struct Part {  // One service.
  explicit Part(const asio::any_io_executor& executor) : turn_over(executor) {}
  ServiceKey key;
  std::string directory;
  actor::Memory memory;
  std::optional<actor::MemoryFile> file;
  bool busy = false;
  asio::steady_timer turn_over;
  std::map<std::string, std::shared_ptr<Component>> components;
};

}  // namespace

std::string actor_service_directory(const std::string& service_directory) {
  const std::size_t services = service_directory.rfind("/services/");
  if (services == std::string::npos) return service_directory;
  return service_directory.substr(0, services) + "-actor" + service_directory.substr(services);
}

struct ActorServer::Impl {
  Impl(asio::any_io_executor e, ActorOptions o) : executor(std::move(e)), options(std::move(o)), list(options.config) {}
  asio::any_io_executor executor;
  ActorOptions options;
  io::Clock clock;
  std::unique_ptr<io::Worker> steps = std::make_unique<io::Worker>(1), bulk = std::make_unique<io::Worker>(1);
  std::unique_ptr<io::Worker> memory = std::make_unique<io::Worker>(1);
  actor::ServiceList list;
  std::map<ServiceKey, std::shared_ptr<Part>> parts;
  io::Fd lock;
  std::size_t running = 0, served = 0;

  DriverContext context_of(const Part& part, const config::ComponentSettings& settings) {
    DriverContext context;
    context.executor = executor;
    context.clock = &clock;
    context.steps = steps.get();
    context.bulk = bulk.get();
    context.service = part.key;
    context.settings = settings;
    context.service_directory = part.directory;
    context.program = options.program;
    context.guarded = true;
    return context;
  }

  Result<std::shared_ptr<Part>> part(const ServiceKey& key) {
    if (const auto at = parts.find(key); at != parts.end()) return at->second;
    auto made = std::make_shared<Part>(executor);
    made->key = key;
    made->directory = options.directory + "/services/" + service_name(key);
    adopt(list.settings().state_directory + "/services/" + service_name(key), made->directory);
    if (auto ready = make_directory(made->directory); ready.has_error()) return ready.error();
    auto file = actor::MemoryFile::open(made->directory + "/actor.memory", made->memory);
    if (file.has_error()) return file.error();
    made->file = std::move(*file);
    parts[key] = made;
    return made;
  }

  bool is_first_managed(const ServiceKey& key, const std::string& name) const {
    const auto service = list.find(key);
    if (service.has_error()) return true;
    for (const config::ComponentSettings& one : service->components)
      if (one.process.manager != config::ManagerType::none) return one.name == name;
    return true;
  }

  Result<std::shared_ptr<Component>> component(Part& part, const std::string& name) {
    auto settings = list.find(part.key, name);
    if (settings.has_error()) return settings.error();
    keep_output(settings->process, list.settings().state_directory);
    const auto at = part.components.find(name);
    if (at != part.components.end() && same(at->second->settings, *settings)) return at->second;
    auto made = std::make_shared<Component>();
    made->settings = *settings;
    auto driver = make_driver(context_of(part, *settings));
    if (driver.has_error()) return driver.error();
    DriverContext context = context_of(part, *settings);
    if (!is_first_managed(part.key, name)) {
      // As the daemon has it: a second component's process must not share unit, keeper and files with the first one's.
      context.service.name += ":" + name;
      context.service_directory += "/" + name;
      if (auto ready = make_directory(context.service_directory); ready.has_error()) return ready.error();
    }
    auto manager = make_manager(std::move(context));
    if (manager.has_error()) return manager.error();
    made->driver = std::move(*driver);
    made->manager = std::move(*manager);
    part.components[name] = made;
    return made;
  }

  asio::awaitable<Result<>> remember(std::shared_ptr<Part> part) {
    auto work = [part, memory = part->memory] { return part->file->write(memory); };
    co_return co_await this->memory->run(std::move(work));
  }

  /// Waits until no other step of this service runs. @return false when that took too long
  asio::awaitable<bool> take_turn(std::shared_ptr<Part> part, Duration longest) {
    const auto until = Steady::now() + std::min(longest, kTurnMax);
    while (part->busy) {
      if (Steady::now() >= until) co_return false;
      part->turn_over.expires_at(until);
      boost::system::error_code ended;
      co_await part->turn_over.async_wait(asio::redirect_error(asio::use_awaitable, ended));
    }
    part->busy = true;
    ++running;
    co_return true;
  }
  void give_turn(Part& part) {
    part.busy = false;
    --running;
    part.turn_over.cancel();
  }

  asio::awaitable<Outcome> do_step(std::shared_ptr<Part> part, std::shared_ptr<Component> component, Request request);
  asio::awaitable<Outcome> guarded(std::shared_ptr<Part> part, std::shared_ptr<Component> component, Request request);
  asio::awaitable<Outcome> step(std::shared_ptr<Part> part, std::shared_ptr<Component> component, Request request);
};

namespace {

Outcome refusal(Error error) { return Outcome{Outcome::Status::refused, Json::object(), std::move(error)}; }

bool is_switch(const Request& request) { return request.verb == Verb::run && request.step.action == "switch"; }

}  // namespace

asio::awaitable<Outcome> ActorServer::Impl::do_step(std::shared_ptr<Part> part, std::shared_ptr<Component> component, Request request) {
  if (request.verb == Verb::run) co_return co_await component->driver->run(request.step, request.deadline);
  if (request.verb == Verb::undo) co_return co_await component->driver->undo(request.step, request.deadline);
  if (request.verb == Verb::manager_run) co_return co_await component->manager->run(request.step, request.deadline);
  // Made anew each time: the configuration may have other hooks now. What was called before is in its own file.
  auto settings = list.find(part->key);
  if (settings.has_error()) co_return refusal(settings.error());
  DriverContext context = context_of(*part, settings->components.front());
  context.hooks = settings->hooks;
  auto hooks = make_hook_runner(std::move(context));
  co_return co_await hooks->run(request.step, request.facts, request.deadline);
}

/// In the service's turn: the guards, the begin on disk, the step, its outcome on disk.
asio::awaitable<Outcome> ActorServer::Impl::guarded(std::shared_ptr<Part> part, std::shared_ptr<Component> component, Request request) {
  const std::string token = actor::token_of(request), content = actor::content_of(request);
  if (const auto* done = part->memory.find(token)) {
    if (done->what != content) {
      Error other(Errc::refused, "the actor refuses the step \"" + request.step.action + "\"");
      other.why = "step " + std::to_string(request.step.number) + " of operation " + request.step.operation + " was another one before";
      co_return refusal(std::move(other));
    }
    if (done->outcome) co_return *done->outcome;
  }
  auto settings = list.find(part->key);
  if (settings.has_error()) co_return refusal(settings.error());
  const ClockReading now = clock.read();
  auto allowed = actor::may_operate(*settings, part->memory, request, now);
  const bool removes = request.verb == Verb::run && request.step.action == "remove";
  const bool undoes = request.verb == Verb::undo, switches = is_switch(request);
  const std::string move = actor::move_of(request);
  bool moves = false;
  if (allowed.has_value() && (removes || switches || undoes)) {
    const config::Settings& all = list.settings();
    const std::string kill_switch = all.kill_switch.empty() ? all.state_directory + "/kill-switch" : all.kill_switch;
    const bool begun = undoes && part->memory.has_moved(request.step.operation, move);
    auto look = [removes, undoes, begun, kill_switch, s = *settings, c = component->settings, request]() -> Result<bool> {
      const Result<> may = undoes    ? actor::may_undo(c, request, begun)
                           : removes ? actor::may_remove(s, c, request)
                                     : actor::may_switch(s, c, request, kill_switch);
      if (may.has_error()) return may.error();
      return actor::stands_at(c, request.step.arguments["from_value"].string_or(""));
    };
    const Result<bool> stands_at_from = co_await steps->run(std::move(look));
    // Only what stood there may be put back there: a switch that found something else, or was done already, moves nothing.
    moves = switches && stands_at_from.has_value() && *stands_at_from;
    if (stands_at_from.has_error()) allowed = stands_at_from.error();
  }
  if (allowed.has_error()) {
    log::warning("a step is refused", {{"service", part->key.text()}, {"why", allowed.error().text()}});
    co_return refusal(allowed.error());
  }
  part->memory.fence = request.about.fence;
  part->memory.begin(token, content);
  if (!removes) part->memory.note_switch(request.step.operation, request.about.trigger != Trigger::manual, now, moves ? move : "");
  if (auto written = co_await remember(part); written.has_error()) {
    // Nothing was done yet, and what was done could not be told from it after a restart.
    log::error("the actor's memory cannot be written", {{"service", part->key.text()}, {"why", written.error().text()}});
    co_return Outcome{Outcome::Status::failed, Json::object(), written.error()};
  }
  ROLLBACKD_FAILPOINT("actor.step.before");
  Outcome outcome = co_await do_step(part, component, request);
  ROLLBACKD_FAILPOINT("actor.step.after");
  part->memory.end(token, outcome);
  if (auto written = co_await remember(part); written.has_error())
    log::error("the actor's memory cannot be written", {{"service", part->key.text()}, {"why", written.error().text()}});
  ROLLBACKD_FAILPOINT("actor.step.remembered");
  co_return outcome;
}

asio::awaitable<Outcome> ActorServer::Impl::step(std::shared_ptr<Part> part, std::shared_ptr<Component> component, Request request) {
  const auto began = Steady::now();
  const bool turn = co_await take_turn(part, request.deadline);
  if (!turn)
    co_return Outcome{Outcome::Status::timed_out, Json::object(), Error(Errc::timed_out, "another step of the service still runs")};
  request.deadline = std::max<Duration>(request.deadline - (Steady::now() - began), 1ms);
  log::info("step", {{"service", part->key.text()},
                     {"operation", request.step.operation},
                     {"step", request.step.driver + " " + request.step.action},
                     {"to", request.about.to}});
  Outcome outcome{Outcome::Status::unknown, Json::object(), Error(Errc::internal, "the step ended by an exception")};
  try {
    outcome = co_await guarded(part, component, std::move(request));
  } catch (const std::exception& e) {
    outcome.error.why = e.what();
  }
  give_turn(*part);
  co_return outcome;
}

ActorServer::ActorServer(asio::any_io_executor executor, ActorOptions options)
    : impl_(std::make_unique<Impl>(std::move(executor), std::move(options))) {}
ActorServer::~ActorServer() = default;

Result<> ActorServer::prepare() {
  if (auto read = impl_->list.refresh(); read.has_error()) return read;
  std::string& directory = impl_->options.directory;
  if (directory.empty()) directory = impl_->list.settings().state_directory + "-actor";
  for (const std::string& path : {directory, directory + "/services"})
    if (auto made = make_directory(path); made.has_error()) return made;
  impl_->lock.reset(::open((directory + "/lock").c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!impl_->lock) return Error::from_errno("cannot open " + directory + "/lock", errno);
  if (::flock(impl_->lock.get(), LOCK_EX | LOCK_NB) == 0) return {};
  log::info("another actor is still at work; waiting for its end", {{"directory", directory}});
  while (::flock(impl_->lock.get(), LOCK_EX) != 0)
    if (errno != EINTR) return Error::from_errno("cannot lock " + directory + "/lock", errno);
  return {};
}

void ActorServer::join() {
  for (auto* worker : {&impl_->steps, &impl_->bulk, &impl_->memory}) worker->reset();
}

std::size_t ActorServer::steps_running() const { return impl_->running; }
std::size_t ActorServer::connections() const { return impl_->served; }

asio::awaitable<Result<Json>> ActorServer::perform(Request request, std::shared_ptr<const std::atomic<bool>> stop) {
  const auto self = shared_from_this();
  Impl& impl = *impl_;
  if (request.verb == Verb::hello) co_return Json::object().set("version", actor::kVersion).set("pid", static_cast<int>(::getpid()));
  if (auto usable = impl.list.refresh(); usable.has_error()) co_return usable.error();
  auto settings = impl.list.find(request.service);
  if (settings.has_error()) co_return settings.error();
  auto part = impl.part(request.service);
  if (part.has_error()) co_return part.error();
  std::shared_ptr<Component> component;
  if (request.verb != Verb::hook_run) {
    auto found = impl.component(**part, request.component);
    if (found.has_error()) co_return found.error();
    component = *found;
  }
  const bool of_manager =
      request.verb == Verb::manager_attach || request.verb == Verb::manager_inspect || request.verb == Verb::manager_run;
  if (of_manager && !component->manager) co_return Error(Errc::not_found, request.service.text() + " has no service manager");

  switch (request.verb) {
    case Verb::inspect: {
      auto world = co_await component->driver->inspect();
      if (world.has_error()) co_return world.error();
      co_return actor::to_json(*world, impl.clock);
    }
    case Verb::run:
    case Verb::undo:
    case Verb::manager_run:
    case Verb::hook_run: {
      const Outcome outcome = co_await impl.step(*part, component, std::move(request));
      co_return actor::to_json(outcome);
    }
    case Verb::arm:
    case Verb::look:
    case Verb::digest:
    case Verb::read:
    case Verb::mark_bad: {
      auto place = actor::open_release(component->settings.releases, request.release);
      const bool as_target = request.verb == Verb::arm || request.verb == Verb::look;
      if (place.has_error() && !as_target) co_return place.error();
      if (place.has_error()) {
        TargetFacts facts;
        facts.release = request.release;
        facts.why = place.error().text();
        co_return actor::to_json(facts);
      }
      break;
    }
    case Verb::manager_attach: {
      auto attached = co_await component->manager->attach();
      if (attached.has_error()) co_return attached.error();
      co_return Json::object();
    }
    case Verb::manager_inspect: {
      auto process = co_await component->manager->inspect();
      if (process.has_error()) co_return process.error();
      co_return actor::to_json(*process, impl.clock);
    }
    case Verb::hello:
    case Verb::manager_watch:
    case Verb::forget: break;
  }
  switch (request.verb) {
    case Verb::arm: {
      const TargetFacts facts = co_await component->driver->arm(request.release, request.digest);
      co_return actor::to_json(facts);
    }
    case Verb::look: {
      const TargetFacts facts = co_await component->driver->look(request.release, request.digest);
      co_return actor::to_json(facts);
    }
    case Verb::digest: {
      auto digest = co_await component->driver->digest(request.release);
      if (digest.has_error()) co_return digest.error();
      co_return Json::object().set("digest", *digest);
    }
    case Verb::read: {
      ReadOptions options;
      options.quick = request.quick;
      options.threads = request.threads;
      options.bytes_per_second = request.bytes_per_second;
      options.stop = stop;
      auto read = co_await component->driver->read(request.release, options);
      if (read.has_error()) co_return read.error();
      Json found = Json::object().set("digest", read->digest).set("change", cut(read->change, kChangeBytesMax));
      found.set("in_full", read->in_full).set("files", read->files).set("bytes", read->bytes);
      co_return found;
    }
    case Verb::mark_bad: {
      auto marked = co_await component->driver->mark_bad(request.release, request.reason);
      if (marked.has_error()) co_return marked.error();
      co_return Json::object();
    }
    default: co_return Error(Errc::unsupported, std::string("\"") + actor::to_string(request.verb) + "\" is not answered like this");
  }
}

namespace {

/// What one connection has under way.
struct Session {
  explicit Session(io::Seqpacket c) : connection(std::move(c)) {}
  io::Seqpacket connection;
  std::size_t in_flight = 0;
  bool greeted = false;
  std::map<std::uint64_t, std::shared_ptr<asio::cancellation_signal>> watches;
  std::map<std::uint64_t, std::shared_ptr<std::atomic<bool>>> readings;

  void answer(std::uint64_t id, Result<Json> result, bool event = false) {
    Answer answer;
    answer.id = id;
    answer.event = event;
    if (result.has_error()) {
      answer.error = result.error();
    } else {
      answer.result = std::move(*result);
    }
    [[maybe_unused]] const auto posted = connection.post(answer.encode());  // A peer that is gone asks again on its next connection.
  }
};

asio::awaitable<void> answer_one(std::shared_ptr<ActorServer> server, std::shared_ptr<Session> session, Request request) {
  const std::uint64_t id = request.id;
  Result<Json> result = Error(Errc::internal, "the request ended by an exception");
  std::shared_ptr<std::atomic<bool>> stop;
  if (request.verb == Verb::read) stop = session->readings[id] = std::make_shared<std::atomic<bool>>(false);
  try {
    result = co_await server->perform(std::move(request), stop);
  } catch (const std::exception& e) {
    result = Error(Errc::internal, "the request ended by an exception").because(e.what());
  }
  session->readings.erase(id);
  session->answer(id, std::move(result));
  --session->in_flight;
}

/// Holds the server, whose clock and workers it uses, and the component: the settings may change meanwhile, and the component with them.
asio::awaitable<void> watch_one(std::shared_ptr<const ActorServer> server, std::shared_ptr<Component> component,
                                std::shared_ptr<Session> session, std::uint64_t id, const io::Clock* clock) {
  auto sink = [server, session, id, clock](const ProcessEvent& event) { session->answer(id, actor::to_json(event, *clock), true); };
  try {
    co_await component->manager->watch(std::move(sink));
  } catch (const std::exception& e) {
    if (!io::is_cancellation(e)) log::error("a watch ended by an exception", {{"what", e.what()}});  // A daemon that is gone ends its own.
  }
  session->watches.erase(id);
  session->answer(id, Error(Errc::cancelled, "the watch has ended"));
  --session->in_flight;
}

}  // namespace

asio::awaitable<void> ActorServer::serve(io::Seqpacket connection) {
  const auto self = shared_from_this();
  Impl& impl = *impl_;
  auto session = std::make_shared<Session>(connection);
  const auto peer = connection.peer();
  const bool known = peer.has_value() && (peer->uid == 0 || peer->uid == impl.options.daemon || peer->uid == ::geteuid());
  if (!known || impl.served >= kConnectionsMax) {
    const std::string who = peer.has_value() ? "uid " + std::to_string(peer->uid) : peer.error().text();
    log::warning("a connection is refused", {{"peer", who}});
    session->answer(0, Error(Errc::unauthorized, "the actor does not serve you").because(known ? "too many connections" : who));
    connection.close();
    co_return;
  }
  ++impl.served;
  log::debug("a connection is served", {{"uid", std::to_string(peer->uid)}, {"pid", std::to_string(peer->pid)}});
  while (true) {
    auto message = co_await connection.receive();
    if (message.has_error()) break;
    auto request = Request::decode(*message);
    if (request.has_error()) {
      log::warning("a request is refused", {{"why", request.error().text()}});
      session->answer(actor::id_of(*message), request.error());
      continue;
    }
    if (request->verb == Verb::forget) {
      const auto watch = session->watches.find(request->of);
      if (watch != session->watches.end()) {
        const auto signal = watch->second;
        signal->emit(asio::cancellation_type::terminal);
      }
      if (const auto reading = session->readings.find(request->of); reading != session->readings.end()) reading->second->store(true);
      continue;
    }
    if (session->in_flight >= kInFlightMax) {
      session->answer(request->id, Error(Errc::too_large, "too many requests at a time"));
      continue;
    }
    if (request->verb != Verb::manager_watch) {
      ++session->in_flight;
      asio::co_spawn(impl.executor, answer_one(self, session, std::move(*request)), asio::detached);
      continue;
    }
    const std::uint64_t id = request->id;
    auto usable = impl.list.refresh();
    auto part = usable.has_error() ? Result<std::shared_ptr<Part>>(usable.error()) : impl.part(request->service);
    auto component = part.has_error() ? Result<std::shared_ptr<Component>>(part.error()) : impl.component(**part, request->component);
    if (component.has_value() && !(*component)->manager) component = Error(Errc::not_found, "the service has no manager");
    if (component.has_error()) {
      session->answer(id, component.error());
      continue;
    }
    ++session->in_flight;
    auto signal = std::make_shared<asio::cancellation_signal>();
    session->watches[id] = signal;
    auto ended = [signal](const std::exception_ptr&) {};
    asio::co_spawn(impl.executor, watch_one(self, *component, session, id, &impl.clock),
                   asio::bind_cancellation_slot(signal->slot(), std::move(ended)));
  }
  connection.close();
  for (const auto& [id, stop] : session->readings) stop->store(true);
  const auto watches = session->watches;
  for (const auto& [id, signal] : watches) signal->emit(asio::cancellation_type::terminal);
  --impl.served;
}

}  // namespace rollbackd::drivers
