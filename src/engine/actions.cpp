// Performs what the incident machine asks for, in its order: what must be on disk is on disk before what follows is begun.
#include "base/log.hpp"
#include "engine/engine.hpp"
#include "engine/fleet.hpp"
#include "engine/in_time.hpp"
#include "engine/insight.hpp"
#include "engine/service.hpp"
#include "ledger/ledger.hpp"
#include "ledger/trim.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {
template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;
}  // namespace

void Service::queue(std::vector<Action> actions) {
  const ClockReading clock = engine_.clock_.read();
  for (Action& action : actions) {
    // An epoch begins at once: the next batch must already fall into it.
    if (const auto* begin = std::get_if<action::BeginEpoch>(&action)) {
      health_.begin_epoch(begin->at);
      for (const auto& check : checks_) check->begin_epoch();
      timing_ = Timing{};
      const auto judgement = engine_.judge_.begin_epoch(key(), begin->at);
      engine_.deliver(judgement);
      tell_facts_soon();
      const Epoch& epoch = incident_->state().epoch;
      if (many_) enter(epoch.release, begin->at);
      engine_.give_back(key(), epoch);
      engine_.note_epoch(key(), begin->at, epoch.release);
      const std::uint64_t number = epoch.number;
      const Instant wall(clock.to_stamp(epoch.switched).wall_ns);
      engine_.history_->add(record::DeploymentRow{key(), number, epoch.release, epoch.from, wall, epoch.announced, epoch.by_rollback});
      verify_task_.cancel();
      identity_task_.cancel();
      // An operation of kind rollback verifies by itself; every other switch is verified here.
      if (operating_.empty() || !incident_->state().epoch.by_rollback)
        verify_task_ = spawn(engine_.executor_, shared_from_this(), verify_epoch(number));
      // A command of people's may reload a process that stays; then only the service itself can tell of the start.
      const bool by_identity = !manager_ || component().process.manager == config::ManagerType::command;
      if (by_identity && !settings_.identity.url.empty())
        identity_task_ = spawn(engine_.executor_, shared_from_this(), watch_identity(number));
      continue;
    }
    Queued queued{std::move(action), {}, ++asked_};
    if (std::holds_alternative<action::Persist>(queued.action)) {
      queued.state = std::make_shared<const ServiceState>(incident_->state());
      // One write for all that ask while another one is under way. Only side by side: what stands between two writes keeps its place.
      if (!actions_.empty() && std::holds_alternative<action::Persist>(actions_.back().action)) {
        actions_.back() = std::move(queued);
        continue;
      }
    }
    if (std::holds_alternative<action::Reprobe>(queued.action)) timing_.reaction = engine_.clock_.now();
    actions_.push_back(std::move(queued));
  }
  if (performing_ || actions_.empty()) return;
  performing_ = true;
  spawn(engine_.executor_, shared_from_this(), perform_queue());
}

asio::awaitable<void> Service::perform_queue() {
  const auto self = shared_from_this();
  while (!actions_.empty()) {
    Queued next = std::move(actions_.front());
    actions_.pop_front();
    const bool waited_for = std::holds_alternative<action::Persist>(next.action) || actions_.empty();
    try {
      co_await perform(std::move(next.action), std::move(next.state));
    } catch (...) {  // A bug, and the end of this coroutine: nobody may wait for it for ever.
      performing_ = false;
      performed_more_.cancel();
      throw;
    }
    performed_ = next.number;
    if (waited_for) performed_more_.cancel();
  }
  performing_ = false;
}

asio::awaitable<void> Service::performed() {
  const auto self = shared_from_this();
  const std::uint64_t asked = asked_;
  boost::system::error_code woken;
  while (performing_ && performed_ < asked) co_await performed_more_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
}

asio::awaitable<void> Service::perform(Action action, std::shared_ptr<const ServiceState> state) {
  if (std::holds_alternative<action::Persist>(action)) {
    co_await persist(std::move(state));
    co_return;
  }
  // While we stop nothing new is begun: the next start judges again.
  const bool begins = std::holds_alternative<action::Operate>(action) || std::holds_alternative<action::Reprobe>(action);
  if (engine_.stopping_ && begins) co_return;
  std::visit(Overloaded{
                 [](action::Persist&) {},
                 [](action::BeginEpoch&) {},
                 [this](action::Reprobe& wanted) {
                   spawn(engine_.executor_, shared_from_this(), engine_.second_opinion(shared_from_this(), wanted));
                 },
                 [this](action::Record& record) {
                   Decision& decision = record.decision;
                   timing_.decided = engine_.clock_.now();
                   decision.timing = timing_.to_json();
                   log::info("decision", {{"service", key().text()},
                                          {"decision", to_string(decision.kind)},
                                          {"release", decision.release},
                                          {"target", decision.target},
                                          {"reason", decision.reason}});
                   engine_.history_->add(decision);
                   engine_.insight_->on_decision(*this, decision);
                   if (engine_.hooks_.decided) engine_.hooks_.decided(decision);
                   if (engine_.hooks_.detected && timing_.seen && timing_.reaction)
                     engine_.hooks_.detected(key(), *timing_.reaction - *timing_.seen);
                   recent_.push_back(decision);
                   if (recent_.size() > kRecentMax) recent_.pop_front();
                   if (decision.kind != DecisionKind::rollback) timing_ = Timing{};
                 },
                 [this](action::Notify& notify) { engine_.notify(std::move(notify.notification)); },
                 [this](action::Operate& wanted) {
                   std::string refused = why_not_begin();
                   const bool ours = !refused.empty();
                   const bool suspended = incident_->state_trusted() && incident_->state().suspension.has_value();
                   if (!ours) refused = engine_.fleet().why_not_begin(*this, wanted.request);
                   if (refused.empty()) {
                     operating_ = wanted.request.operation;
                     spawn(engine_.executor_, shared_from_this(), operate(std::move(wanted.request)));
                   } else {
                     never_begun(wanted.request, refused, !ours || suspended);
                   }
                 },
                 [this](action::Arm& wanted) { spawn(engine_.executor_, shared_from_this(), arm(wanted.release)); },
                 [this](action::MarkBadOnDisk& mark) {
                   auto task = [](std::shared_ptr<Service> self, action::MarkBadOnDisk m) -> asio::awaitable<void> {
                     auto done = co_await self->driver_->mark_bad(m.release, m.reason);
                     if (!done)
                       log::warning("the BAD_RELEASE file is not as it should be",
                                    {{"service", self->key().text()}, {"error", done.error().text()}});
                   };
                   spawn(engine_.executor_, shared_from_this(), task(shared_from_this(), std::move(mark)));
                 },
                 [this](action::IncidentClosed& closed) {
                   log::info("incident closed", {{"service", key().text()}, {"incident", closed.incident.id}, {"how", closed.how}});
                 },
             },
             action);
}

/// The disk was waited for between the decision and here: what may have happened meanwhile is asked again.
std::string Service::why_not_begin() const {
  if (!incident_->state_trusted()) return "the intent could not be written";
  if (incident_->state().suspension) return "the service was suspended meanwhile";
  if (!operating_.empty()) return "operation " + operating_ + " began meanwhile";
  return {};
}

/// Records and tells of an operation that was decided and did nothing. @param judged_again  it says nothing of the service: the incident
/// has not acted
void Service::never_begun(const OperationRequest& request, const std::string& why, bool judged_again) {
  log::error("an operation is not begun", {{"service", key().text()}, {"operation", request.operation}, {"why", why}});
  record::OperationRow row;
  row.request = request;
  row.status = OperationStatus::abandoned;
  row.begun = io::Clock::wall_now();
  row.ended = row.begun;
  row.detail = why;
  engine_.history_->add(row);
  operation_ended(row);
  event::OperationEnded ended;
  ended.operation = request.operation;
  ended.kind = request.kind;
  ended.status = OperationStatus::abandoned;
  ended.trigger = request.trigger;
  ended.from = request.from;
  ended.to = request.to;
  ended.detail = why;
  ended.interrupted = judged_again;
  deliver(std::move(ended));
}

asio::awaitable<void> Service::persist(std::shared_ptr<const ServiceState> state) {
  if (!state_file_) co_return;
  // The state as it stood when the machine asked: what comes after has its own Persist behind this one.
  auto write = [this, state = std::move(state), clock = engine_.clock_.read()]() -> Result<> {
    Result<> written = state_file_->write_state(*state, clock);
    if (written || written.error().code != Errc::too_large) return written;
    log::warning("the state is trimmed for its file", {{"service", state->service.text()}, {"why", written.error().why}});
    ServiceState smaller = *state;
    while (!written && written.error().code == Errc::too_large && ledger::trim(smaller)) written = state_file_->write_state(smaller, clock);
    return written;
  };
  // A disk that hangs is as one that fails: what was not seen to be on disk is not acted on, and somebody is told.
  auto writing = engine_.writer_.run(std::move(write));
  const Result<> written = co_await in_time(engine_.executor_, shared_from_this(), std::move(writing), settings_.policy.deadline_step,
                                            std::string("the state file's disk"));
  if (written) co_return;
  log::error("the state file cannot be written", {{"service", key().text()}, {"error", written.error().text()}});
  deliver(event::StateUntrusted{written.error().text()});
}

asio::awaitable<void> Service::arm(std::string release) {
  const auto self = shared_from_this();
  const LedgerEntry* entry = ledger::find(incident_->state(), release);
  const std::string expected =
      entry ? entry->release.digest : "";  // Named: gcc 12.2 destroys a conditional's temporary twice in a co_await.
  TargetFacts facts = co_await driver_->arm(release, expected);
  std::string digest;
  if (facts.present) {                                // Where its content is another one, the ledger is to know which.
    auto hashed = co_await driver_->digest(release);  // Kept from arming: no second read of the files.
    if (hashed) digest = *hashed;
  }
  armed_ = facts;
  engine_.insight_->look_soon();
  if (!facts.intact) log::warning("a rollback is not ready", {{"service", key().text()}, {"release", release}, {"why", facts.why}});
  deliver(event::TargetHashed{facts, digest});
}

}  // namespace rollbackd::engine
