// The pending and firing alerts over a restart: written when they change and at the end, read at the start, given back to the judge when a
// service's epoch turns out to be the one that they were about. A comfort: what cannot be written or read is said once and found anew.
#include <algorithm>

#include "base/log.hpp"
#include "engine/engine.hpp"
#include "engine/service.hpp"
#include "engine/spawn.hpp"
#include "record/alerts_file.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {
constexpr Duration kDebounce = 250ms;   ///< later than a decision's own writes, which go first
constexpr Duration kClocksEvery = 10s;  ///< while a `for` or `keep_firing_for` runs: so much of it a SIGKILL may cost
constexpr Duration kSameInstant = 1s;   ///< between two conversions of one stored instant, where the machine was started anew

bool clock_runs(const KeptAlert& alert) { return alert.phase == AlertPhase::pending || alert.absent_since; }
}  // namespace

asio::awaitable<void> Engine::read_kept() {
  auto read = [directory = settings_.state_directory, clock = clock_.read()] { return record::read_alerts(directory, clock); };
  Result<KeptAlerts> kept = co_await writer_.run(std::move(read));
  if (!kept) {
    kept_is_empty_ = kept.error().code == Errc::not_found;
    if (!kept_is_empty_) log::warning("alerts of the run before are not known", {{"error", kept.error().text()}});
    co_return;
  }
  kept_is_empty_ = kept->services.empty();
  kept_until_ = std::min(kept->at, clock_.now());
  for (KeptService& service : kept->services) kept_.insert_or_assign(service.service, std::move(service));
}

/// The first epoch that begins after the start says whether the alerts of the run before are still about what runs now.
void Engine::give_back(const ServiceKey& key, const Epoch& epoch) {
  const auto found = kept_.find(key);
  if (found == kept_.end()) return;
  const KeptService kept = std::move(found->second);
  kept_.erase(found);
  const Duration apart = kept.switched - epoch.switched;
  const bool same = kept.epoch == epoch.number && kept.release == epoch.release && std::max(apart, -apart) <= kSameInstant;
  if (!same) return;
  judge_.restore(key, kept.alerts, kept_until_, clock_.now());
  log::info("alerts of the run before are taken back", {{"service", key.text()}, {"alerts", std::to_string(kept.alerts.size())}});
}

/// What belongs to no service has no epoch.
void Engine::give_back_nobodys() {
  for (auto at = kept_.begin(); at != kept_.end();) {
    const bool watched = services_.contains(at->first);
    if (!watched && at->second.epoch == 0) judge_.restore(at->first, at->second.alerts, kept_until_, clock_.now());
    at = watched ? std::next(at) : kept_.erase(at);
  }
}

KeptAlerts Engine::kept_now() const {
  KeptAlerts out;
  out.at = clock_.now();
  std::map<ServiceKey, KeptService> services;
  for (KeptAlert& alert : judge_.keep(record::kKeptAlertsMax)) {
    const auto at = services_.find(alert.service);
    if (at != services_.end() && !at->second->running()) continue;
    KeptService& of = services[alert.service];
    of.service = alert.service;
    if (at != services_.end()) {
      const Epoch& epoch = at->second->incident().state().epoch;
      of.epoch = epoch.number;
      of.release = epoch.release;
      of.switched = epoch.switched;
    }
    of.alerts.push_back(std::move(alert));
  }
  // A service that could not be started this time has its alerts for the next.
  for (const auto& [key, waiting] : kept_) {
    KeptService again = waiting;
    for (KeptAlert& alert : again.alerts) alert.blind_since = std::min(alert.blind_since.value_or(kept_until_), kept_until_);
    services.emplace(key, std::move(again));
  }
  for (auto& [key, service] : services) out.services.push_back(std::move(service));
  return out;
}

asio::awaitable<void> Engine::write_kept() {
  keep_asked_ = false;
  KeptAlerts kept = kept_now();
  clocks_run_ = std::any_of(kept.services.begin(), kept.services.end(), [](const KeptService& service) {
    return std::any_of(service.alerts.begin(), service.alerts.end(), clock_runs);
  });
  const bool empty = kept.services.empty();
  if (empty && kept_is_empty_) co_return;
  auto write = [directory = settings_.state_directory, kept = std::move(kept), clock = clock_.read()] {
    return record::write_alerts(directory, kept, clock);
  };
  const Result<> written = co_await writer_.run(std::move(write));
  kept_is_empty_ = written && empty;
  if (!written && !kept_failed_) log::warning("alerts are not kept for the next start", {{"error", written.error().text()}});
  kept_failed_ = !written;
}

void Engine::keep_soon() {
  if (options_.offline || std::exchange(keep_asked_, true)) return;
  keep_timer_.cancel();
}

asio::awaitable<void> Engine::keep_alerts() {
  asio::steady_timer debounce(executor_);
  while (true) {
    if (!keep_asked_) {
      keep_timer_.expires_after(clocks_run_ ? kClocksEvery : Duration(24h));
      boost::system::error_code woken;
      co_await keep_timer_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
      if (stopping_) co_return;
    }
    if (!co_await pause(debounce, kDebounce) || stopping_) co_return;
    co_await write_kept();
  }
}

}  // namespace rollbackd::engine
