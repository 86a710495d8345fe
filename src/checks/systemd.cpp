// Watches any unit of systemd: its state, its main process, how processes ended, how often systemd restarted it by itself.
// Flow: system bus -> io/unit_watch -> [systemd check] -batch-> engine.
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>

#include "checks/kinds.hpp"
#include "checks/process_tally.hpp"
#include "io/unit_watch.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr auto kToken = asio::as_tuple(asio::use_awaitable);
/// The states of `systemd_unit_state`, as node_exporter has them.
constexpr std::array<std::string_view, 5> kStates = {"active", "activating", "deactivating", "failed", "inactive"};

std::string_view state_of(const io::UnitFacts& facts) {
  const std::string& active = facts.active;
  return active == "reloading" || active == "refreshing" || active == "maintenance" ? std::string_view("active") : active;
}

class SystemdCheck final : public Check {
 public:
  explicit SystemdCheck(CheckContext context)
      : context_(std::move(context)),
        unit_(io::full_unit_name(context_.settings.unit)),
        instance_(host_name()),
        bus_(io::SystemBus::of(context_.executor)),
        timer_(context_.executor),
        tally_("systemd was not asked yet") {}

  asio::awaitable<void> run() override {
    co_await asio::this_coro::throw_if_cancelled(false);
    const io::UnitWatch watching(context_.executor, unit_, [this](const Result<io::UnitFacts>& seen) { on_unit(seen); });
    while (true) {
      timer_.expires_after(kRepeat);
      co_await timer_.async_wait(kToken);
      bool cancelled = co_await is_cancelled();
      if (cancelled) co_return;
      // Asked afresh: a bus that is connected and silent would otherwise pass for news that nothing happened.
      Batch batch = co_await look();
      cancelled = co_await is_cancelled();
      if (cancelled) co_return;
      context_.sink(std::move(batch));
    }
  }

  asio::awaitable<Batch> probe_now() override {
    Batch batch = co_await look();
    context_.sink(batch);
    co_return batch;
  }

  Source source() const override {
    return {context_.service,
            context_.settings.name,
            {"process_up", "process_start_time_seconds", "process_exits_total", "process_stops_total", "systemd_unit_state",
             "systemd_unit_restarts_total", "systemd_unit_start_limit_hit"},
            kRepeatStaleness + context_.settings.timeout};
  }

  const CheckCounters& counters() const override { return counters_; }

 private:
  asio::awaitable<Batch> look() {
    const Instant began = context_.clock->now();
    const auto before = heard_;
    auto seen = co_await io::ask_unit(bus_, unit_, context_.settings.timeout);
    if (seen.has_error()) {
      lose(seen.error());
    } else if (heard_ == before) {  // Else the watcher's word is the younger one, and going back would tell of old processes anew.
      seen.value().host_stopping = facts_ && facts_->host_stopping;
      facts_ = std::move(seen.value());
      take(*facts_);
    }
    co_return known(began);
  }

  void on_unit(const Result<io::UnitFacts>& seen) {
    ++heard_;
    if (seen.has_error()) {
      lose(seen.error());
      return context_.sink(known(context_.clock->now()));
    }
    facts_ = seen.value();
    const Instant began = take(*facts_);
    context_.sink(known(began));
  }

  /// Counts what is new. @return when the batch that tells of it began
  Instant take(const io::UnitFacts& facts) {
    const Instant now = context_.clock->now();
    Instant began = now;
    for (const io::UnitNews& news : state_.on(facts)) {
      const Instant of_this = tally_.on(io::event_of<ProcessEvent>(news, *context_.clock), now);
      began = std::min(began, of_this);
    }
    if (!tally_.is_known()) tally_.settle_down(facts.id + " is " + facts.active);
    return began;
  }

  void lose(const Error& error) {
    state_.on_lost();
    tally_.forget("the unit's state is not known: " + error.text());
    facts_.reset();
  }

  Batch known(Instant began) {
    Batch batch = batch_of(context_, began);
    if (!facts_) {
      ++counters_.unobserved;
      batch.unobserved = evidence(tally_.why_unknown());
      return batch;
    }
    const io::UnitFacts& facts = *facts_;
    const std::string_view state = state_of(facts);
    const std::string exit = io::last_exit(facts);
    batch.detail =
        evidence(facts.id + " is " + facts.active + " (" + facts.sub + ")" +
                 (facts.result.empty() || facts.result == "success" ? "" : ", " + facts.result) + (exit.empty() ? "" : ", " + exit));
    const bool waits = facts.sub == "auto-restart";
    if (state == "active" || state == "failed" || state == "inactive" || waits) batch.healthy = state == "active";
    if (batch.healthy) ++(*batch.healthy ? counters_.ok : counters_.failed);
    if (facts.service) tally_.sample(context_, instance_, batch.samples);
    for (const std::string_view one : kStates) {
      Labels labels = labels_of(context_, "systemd_unit_state", instance_);
      labels.set("state", std::string(one));
      batch.samples.push_back({std::move(labels), one == state ? 1.0 : 0.0, false});
    }
    const auto add = [&](const char* name, double value, bool counter) {
      batch.samples.push_back({labels_of(context_, name, instance_), value, counter});
    };
    if (facts.service) add("systemd_unit_restarts_total", static_cast<double>(facts.restarts), true);
    add("systemd_unit_start_limit_hit", facts.result == "start-limit-hit" ? 1.0 : 0.0, false);
    return batch;
  }

  CheckContext context_;
  std::string unit_, instance_;
  std::shared_ptr<io::SystemBus> bus_;
  asio::steady_timer timer_;
  CheckCounters counters_;
  io::UnitState state_;
  ProcessTally tally_;
  std::uint64_t heard_ = 0;             ///< words of the watcher
  std::optional<io::UnitFacts> facts_;  ///< nothing: not known
};

}  // namespace

Result<std::unique_ptr<Check>> make_systemd_check(CheckContext context) {
  if (context.settings.unit.empty())
    return Error(Errc::invalid_config, "check " + context.settings.name + " names no unit").try_next("write \"unit\": \"NAME.service\"");
  return std::unique_ptr<Check>(std::make_unique<SystemdCheck>(std::move(context)));
}

}  // namespace rollbackd::checks
