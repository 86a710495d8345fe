// Forwards steps to the actor and waits for what it says. A step whose answer was lost is asked for again under the same operation and
// number: the actor remembers what came of it.
// Flow: engine -> [actor_client] -> socket -> actor_server.
#include "drivers/actor_client.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "base/log.hpp"

namespace asio = boost::asio;

namespace rollbackd::drivers {

using actor::Answer;
using actor::Request;
using actor::Verb;
using Steady = std::chrono::steady_clock;

namespace {

constexpr Duration kAskTimeout = 30s;     ///< for what is no step
constexpr Duration kHashTimeout = 30min;  ///< a release is read in full
constexpr Duration kReadTimeout = 24h;    ///< at a pace
constexpr Duration kPatience = 2s;        ///< with an actor that is not there
constexpr Duration kAgain = 50ms;         ///< after a lost connection
constexpr Duration kStopPoll = 200ms;
constexpr Duration kWatchAgain = 250ms;
constexpr Duration kAnswerGrace = 1s;  ///< beyond a step's own deadline: the actor says itself what came of it
constexpr std::size_t kPendingMax = 4096;
constexpr std::size_t kAnnouncedMax = 64;

asio::awaitable<bool> pause(Duration length) {
  asio::steady_timer timer(co_await asio::this_coro::executor, length);
  boost::system::error_code stopped;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, stopped));
  co_return !stopped;
}

class LinkService final : public asio::execution_context::service {
 public:
  inline static asio::execution_context::id id;  // NOLINT: Asio's way
  using key_type = LinkService;
  explicit LinkService(asio::execution_context& context) : asio::execution_context::service(context) {}
  std::shared_ptr<ActorLink> link;

 private:
  void shutdown() override { link.reset(); }
};

LinkService& service_of(const asio::any_io_executor& executor) {
  return asio::use_service<LinkService>(asio::query(executor, asio::execution::context));
}

}  // namespace

struct ActorLink::Impl : std::enable_shared_from_this<Impl> {
  struct Pending {
    explicit Pending(const asio::any_io_executor& executor) : more(executor) {}
    asio::steady_timer more;  ///< cancelled when something came
    std::deque<Json> events;
    std::optional<Result<Json>> answer;
    bool by_actor = false;  ///< the answer; else it is the connection's end
  };
  Impl(asio::any_io_executor e, Connect c) : executor(std::move(e)), connect(std::move(c)) {}
  asio::any_io_executor executor;
  Connect connect;
  io::Seqpacket connection;
  std::uint64_t next_id = 1;
  std::map<std::uint64_t, std::shared_ptr<Pending>> pending;
  std::deque<std::pair<std::string, actor::About>> announced;
  bool told_lost = false;

  /// Connects when there is no connection. Never waits.
  Result<> be_connected() {
    if (connection.open()) return {};
    auto made = connect();
    if (made.has_error()) {
      if (!std::exchange(told_lost, true)) log::error("the actor cannot be reached", {{"why", made.error().text()}});
      return made.error();
    }
    connection = std::move(*made);
    log::info(std::exchange(told_lost, false) ? "the actor is reached again" : "the actor is reached");
    asio::co_spawn(executor, read(shared_from_this(), connection), asio::detached);
    return {};
  }

  static asio::awaitable<void> read(std::shared_ptr<Impl> self, io::Seqpacket from) {
    Error lost;
    while (lost.code == Errc::none) {
      auto message = co_await from.receive();
      if (message.has_error()) {
        lost = message.error();
        break;
      }
      auto answer = Answer::decode(*message);
      if (answer.has_error()) {
        lost = answer.error();  // Of a peer that cannot be understood nothing is believed any more.
      } else if (answer->id == 0) {
        lost = answer->error.code != Errc::none ? answer->error : Error(Errc::corrupt, "the actor answers nobody");
      } else if (const auto at = self->pending.find(answer->id); at != self->pending.end()) {
        if (answer->event) {
          at->second->events.push_back(std::move(answer->result));
        } else {
          at->second->answer = answer->error.code != Errc::none ? Result<Json>(answer->error) : Result<Json>(std::move(answer->result));
          at->second->by_actor = true;
        }
        at->second->more.cancel();
      }
    }
    from.close();
    self->told_lost = true;
    if (!self->pending.empty()) log::warning("the connection to the actor is lost", {{"why", lost.text()}});
    Error error(Errc::unavailable, "the actor is gone");
    error.why = lost.text();
    const auto waiting = std::exchange(self->pending, {});
    for (const auto& [id, one] : waiting) {
      if (!one->answer) one->answer = error;
      one->more.cancel();
    }
  }

  void forget(std::uint64_t id) {
    pending.erase(id);
    Request request;
    request.verb = Verb::forget;
    request.of = id;
    request.id = next_id++;
    auto message = request.encode();
    if (!message.has_value() || !connection.open()) return;
    [[maybe_unused]] const auto posted = connection.post(std::move(*message));  // An actor that is gone has forgotten.
  }

  Result<std::shared_ptr<Pending>> send(Request& request) {
    if (auto connected = be_connected(); connected.has_error()) return connected.error();
    if (pending.size() >= kPendingMax) return Error(Errc::too_large, "too much is asked of the actor at a time");
    request.id = next_id++;
    auto message = request.encode();
    if (message.has_error()) return message.error();
    if (auto posted = connection.post(std::move(*message)); posted.has_error()) return posted.error();
    auto made = std::make_shared<Pending>(executor);
    pending[request.id] = made;
    return made;
  }
};

ActorLink::ActorLink(asio::any_io_executor executor, Connect connect)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(connect))) {}
ActorLink::~ActorLink() { impl_->connection.close(); }

std::shared_ptr<ActorLink> ActorLink::of(const asio::any_io_executor& executor) {
  if (!executor) return nullptr;
  return service_of(executor).link;
}
void ActorLink::set(const asio::any_io_executor& executor, std::shared_ptr<ActorLink> link) { service_of(executor).link = std::move(link); }

void announce_operation(const asio::any_io_executor& executor, const OperationRequest& request, std::int64_t fence) {
  if (const auto link = ActorLink::of(executor)) link->announce(request, fence);
}

void ActorLink::announce(const OperationRequest& request, std::int64_t fence) {
  actor::About about;
  about.kind = request.kind;
  about.trigger = request.trigger;
  about.mode = request.mode;
  about.from = request.from;
  about.to = request.to;
  // A deployment is announced only after its own guard: it refuses a bad release without --force.
  about.forced = !request.overrides.empty() || (request.kind == OperationKind::deploy && request.trigger == Trigger::manual);
  about.fence = fence;
  std::erase_if(impl_->announced, [&](const auto& one) { return one.first == request.operation; });
  impl_->announced.emplace_back(request.operation, std::move(about));
  while (impl_->announced.size() > kAnnouncedMax) impl_->announced.pop_front();
}

actor::About ActorLink::about(const std::string& operation) const {
  for (const auto& [id, about] : impl_->announced)
    if (id == operation) return about;
  return {};
}

asio::awaitable<Result<Json>> ActorLink::ask(Request request, Duration timeout, std::shared_ptr<const std::atomic<bool>> stop,
                                             std::shared_ptr<bool> answered) {
  const auto impl = impl_;
  auto sent = impl->send(request);
  if (sent.has_error()) co_return sent.error();
  const auto pending = *sent;
  const auto until = Steady::now() + timeout;
  while (!pending->answer) {
    if (Steady::now() >= until) {
      impl->pending.erase(request.id);
      co_return Error(Errc::timed_out, "the actor did not answer within " + format_duration(timeout));
    }
    if (stop && stop->load()) {
      impl->forget(request.id);
      co_return Error(Errc::cancelled, "the reading was stopped");
    }
    pending->more.expires_at(stop ? std::min<Steady::time_point>(until, Steady::now() + kStopPoll) : until);
    boost::system::error_code woken;
    co_await pending->more.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    const auto state = co_await asio::this_coro::cancellation_state;
    const bool cancelled = state.cancelled() != asio::cancellation_type::none;
    if (cancelled && !pending->answer) {
      impl->pending.erase(request.id);
      co_return Error(Errc::cancelled, "nobody waits for the actor's answer any more");
    }
  }
  impl->pending.erase(request.id);
  if (answered) *answered = pending->by_actor;
  co_return *std::move(pending->answer);
}

asio::awaitable<Error> ActorLink::follow(Request request, std::function<void(const Json&)> event) {
  const auto impl = impl_;
  auto sent = impl->send(request);
  if (sent.has_error()) co_return sent.error();
  const auto pending = *sent;
  while (true) {
    while (!pending->events.empty()) {
      const Json next = std::move(pending->events.front());
      pending->events.pop_front();
      event(next);
    }
    if (pending->answer) break;
    pending->more.expires_after(24h);
    boost::system::error_code woken;
    co_await pending->more.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    const auto state = co_await asio::this_coro::cancellation_state;
    const bool cancelled = state.cancelled() != asio::cancellation_type::none;
    if (!cancelled) continue;
    impl->forget(request.id);
    co_return Error(Errc::cancelled, "nobody follows any more");
  }
  impl->pending.erase(request.id);
  co_return pending->answer->has_error() ? pending->answer->error() : Error(Errc::cancelled, "the actor ended it");
}

namespace {

Request request_of(const DriverContext& context, Verb verb) {
  Request request;
  request.verb = verb;
  request.service = context.service;
  // A second component's manager has a name of its own for units and files, "shop:worker"; the actor makes that itself.
  request.service.name = request.service.name.substr(0, request.service.name.find(':'));
  request.component = context.settings.name;
  return request;
}

Outcome unknown_outcome(Error error) { return Outcome{Outcome::Status::unknown, Json::object(), std::move(error)}; }

/// A step through the actor. When it went away meanwhile it is asked again, with the same operation and number, until the deadline.
asio::awaitable<Outcome> step_by_actor(std::shared_ptr<ActorLink> link, Request request, Duration deadline) {
  const auto until = Steady::now() + deadline;
  request.about = link->about(request.step.operation);
  if (request.about.to.empty()) request.about.to = "unannounced";
  bool asked = false;
  while (true) {
    request.deadline = std::max<Duration>(until - Steady::now(), 1ms);
    auto answer = co_await link->ask(request, request.deadline + kAnswerGrace);
    if (answer.has_value()) {
      auto outcome = Outcome::from_json(*answer);
      if (outcome.has_value()) co_return std::move(*outcome);
      co_return unknown_outcome(outcome.error());
    }
    const Error& error = answer.error();
    if (error.code == Errc::refused || error.code == Errc::not_found || error.code == Errc::unauthorized || error.code == Errc::corrupt ||
        error.code == Errc::unsupported || error.code == Errc::invalid_config || error.code == Errc::too_large)
      co_return Outcome{Outcome::Status::refused, Json::object(), error};  // Said before anything was done.
    asked = asked || error.code != Errc::unavailable || error.what == "the actor is gone";
    if (error.code != Errc::unavailable || Steady::now() + kAgain >= until) {
      // Never sent: nothing can have happened.
      if (!asked) co_return Outcome{Outcome::Status::failed, Json::object(), error};
      co_return unknown_outcome(error);
    }
    const bool goes_on = co_await pause(kAgain);
    if (!goes_on) co_return unknown_outcome(Error(Errc::cancelled, "nobody waits for the step any more"));
  }
}

/// A question that changes nothing that a second asking would: asked again for a moment when the actor is not there or went away, but not
/// when it says itself that something else is not there, such as a keeper that was not begun yet.
asio::awaitable<Result<Json>> ask_patiently(std::shared_ptr<ActorLink> link, Request request, Duration timeout) {
  const auto until = Steady::now() + kPatience;
  const auto answered = std::make_shared<bool>(false);
  while (true) {
    auto answer = co_await link->ask(request, timeout, nullptr, answered);
    if (!answer.has_error() || *answered || answer.error().code != Errc::unavailable || Steady::now() >= until) co_return answer;
    const bool goes_on = co_await pause(kAgain);
    if (!goes_on) co_return answer;
  }
}

class RemoteDriver final : public Driver {
 public:
  RemoteDriver(std::shared_ptr<ActorLink> link, DriverContext context, std::unique_ptr<Driver> local)
      : link_(std::move(link)), context_(std::move(context)), local_(std::move(local)) {}

  asio::awaitable<Result<World>> inspect() override {
    auto answer = co_await ask_patiently(link_, request_of(context_, Verb::inspect), kAskTimeout);
    if (answer.has_error()) co_return answer.error();
    co_return actor::world_from(*answer, *context_.clock);
  }
  Result<std::vector<Step>> plan(const World& world, const std::string& release) const override { return local_->plan(world, release); }
  asio::awaitable<Outcome> run(Step step, Duration deadline) override {
    Request request = request_of(context_, Verb::run);
    request.step = std::move(step);
    co_return co_await step_by_actor(link_, std::move(request), deadline);
  }
  asio::awaitable<Outcome> undo(Step step, Duration deadline) override {
    Request request = request_of(context_, Verb::undo);
    request.step = std::move(step);
    co_return co_await step_by_actor(link_, std::move(request), deadline);
  }
  asio::awaitable<void> watch(std::function<void(LinkSeen)> sink) override { co_await local_->watch(std::move(sink)); }
  asio::awaitable<TargetFacts> arm(std::string release, std::string expected_digest) override {
    co_return co_await target(Verb::arm, std::move(release), std::move(expected_digest), kHashTimeout);
  }
  asio::awaitable<TargetFacts> look(std::string release, std::string expected_digest) override {
    co_return co_await target(Verb::look, std::move(release), std::move(expected_digest), kHashTimeout);
  }
  asio::awaitable<Result<std::string>> digest(std::string release) override {
    Request request = request_of(context_, Verb::digest);
    request.release = std::move(release);
    auto answer = co_await link_->ask(std::move(request), kHashTimeout);
    if (answer.has_error()) co_return answer.error();
    co_return (*answer)["digest"].string_or("");
  }
  asio::awaitable<Result<Reading>> read(std::string release, ReadOptions options) override {
    Request request = request_of(context_, Verb::read);
    request.release = std::move(release);
    request.quick = options.quick;
    request.threads = options.threads;
    request.bytes_per_second = options.bytes_per_second;
    auto answer = co_await link_->ask(std::move(request), kReadTimeout, options.stop);
    if (answer.has_error()) co_return answer.error();
    Reading reading;
    reading.digest = (*answer)["digest"].string_or("");
    reading.change = (*answer)["change"].string_or("");
    reading.in_full = (*answer)["in_full"].bool_or(false);
    reading.files = (*answer)["files"].int_or(0);
    reading.bytes = (*answer)["bytes"].int_or(0);
    co_return reading;
  }
  Result<Step> plan_removal(const ComponentRelease& part) const override { return local_->plan_removal(part); }
  std::vector<ComponentRelease> half_removed() const override { return local_->half_removed(); }
  Result<Release> describe(const std::string& release) const override { return local_->describe(release); }
  asio::awaitable<Result<>> mark_bad(std::string release, std::string reason) override {
    Request request = request_of(context_, Verb::mark_bad);
    request.release = std::move(release);
    request.reason = std::move(reason);
    auto answer = co_await ask_patiently(link_, std::move(request), kAskTimeout);
    if (answer.has_error()) co_return answer.error();
    co_return Result<>{};
  }

 private:
  asio::awaitable<TargetFacts> target(Verb verb, std::string release, std::string digest, Duration timeout) {
    TargetFacts facts;
    facts.release = release;
    Request request = request_of(context_, verb);
    request.release = std::move(release);
    request.digest = std::move(digest);
    auto answer = co_await link_->ask(std::move(request), timeout);
    auto read = answer.has_error() ? Result<TargetFacts>(answer.error()) : actor::target_from(*answer);
    if (read.has_value()) co_return std::move(*read);
    facts.why = read.error().text();
    co_return facts;
  }

  std::shared_ptr<ActorLink> link_;
  DriverContext context_;
  std::unique_ptr<Driver> local_;
};

class RemoteManager final : public Manager {
 public:
  RemoteManager(std::shared_ptr<ActorLink> link, DriverContext context, std::unique_ptr<Manager> local)
      : link_(std::move(link)), context_(std::move(context)), local_(std::move(local)) {}

  asio::awaitable<Result<>> attach() override {
    auto answer = co_await ask_patiently(link_, request_of(context_, Verb::manager_attach), kAskTimeout);
    if (answer.has_error()) co_return answer.error();
    co_return Result<>{};
  }
  asio::awaitable<Result<World::Process>> inspect() override {
    auto answer = co_await ask_patiently(link_, request_of(context_, Verb::manager_inspect), kAskTimeout);
    if (answer.has_error()) co_return answer.error();
    co_return actor::process_from(*answer, *context_.clock);
  }
  std::vector<Step> plan() const override { return local_->plan(); }
  asio::awaitable<Outcome> run(Step step, Duration deadline) override {
    Request request = request_of(context_, Verb::manager_run);
    request.step = std::move(step);
    co_return co_await step_by_actor(link_, std::move(request), deadline);
  }
  asio::awaitable<void> watch(std::function<void(ProcessEvent)> sink) override {
    bool told_lost = false;
    while (true) {
      auto event = [this, &sink, &told_lost](const Json& json) {
        auto read = actor::event_from(json, *context_.clock);
        if (read.has_error()) return log::warning("an event of the actor is not understood", {{"why", read.error().text()}});
        told_lost = read->kind == ProcessEvent::Kind::lost;
        sink(std::move(*read));
      };
      std::function<void(const Json&)> heard = event;
      const Error ended = co_await link_->follow(request_of(context_, Verb::manager_watch), std::move(heard));
      const auto state = co_await asio::this_coro::cancellation_state;
      const bool cancelled = state.cancelled() != asio::cancellation_type::none;
      if (cancelled) co_return;
      if (!std::exchange(told_lost, true)) {
        ProcessEvent lost;
        lost.at = context_.clock->now();
        lost.detail = ended.text();
        sink(std::move(lost));
      }
      const bool goes_on = co_await pause(kWatchAgain);
      if (!goes_on) co_return;
    }
  }

 private:
  std::shared_ptr<ActorLink> link_;
  DriverContext context_;
  std::unique_ptr<Manager> local_;
};

class RemoteHooks final : public HookRunner {
 public:
  RemoteHooks(std::shared_ptr<ActorLink> link, DriverContext context, std::unique_ptr<HookRunner> local)
      : link_(std::move(link)), context_(std::move(context)), local_(std::move(local)) {}

  std::vector<Step> plan(config::HookPoint at) const override { return local_->plan(at); }
  asio::awaitable<Outcome> run(Step step, Json facts, Duration deadline) override {
    Request request = request_of(context_, Verb::hook_run);
    request.step = std::move(step);
    request.facts = std::move(facts);
    co_return co_await step_by_actor(link_, std::move(request), deadline);
  }

 private:
  std::shared_ptr<ActorLink> link_;
  DriverContext context_;
  std::unique_ptr<HookRunner> local_;
};

}  // namespace

std::unique_ptr<Driver> make_remote_driver(std::shared_ptr<ActorLink> link, DriverContext context, std::unique_ptr<Driver> local) {
  return std::make_unique<RemoteDriver>(std::move(link), std::move(context), std::move(local));
}
std::unique_ptr<Manager> make_remote_manager(std::shared_ptr<ActorLink> link, DriverContext context, std::unique_ptr<Manager> local) {
  return std::make_unique<RemoteManager>(std::move(link), std::move(context), std::move(local));
}
std::unique_ptr<HookRunner> make_remote_hooks(std::shared_ptr<ActorLink> link, DriverContext context, std::unique_ptr<HookRunner> local) {
  return std::make_unique<RemoteHooks>(std::move(link), std::move(context), std::move(local));
}

}  // namespace rollbackd::drivers
