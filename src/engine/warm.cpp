// Flow: Engine::run -> [warmer] -> drivers::warm_tree. Best effort: nothing that acts ever waits for it or reads what it finds.
#include "engine/warm.hpp"

#include "base/log.hpp"
#include "engine/engine.hpp"
#include "engine/service.hpp"
#include "ledger/ledger.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr Duration kTurn = 15s;
constexpr Duration kFirstTurn = 1s;  // After the start, when targets have been armed.

std::string mebibytes(std::int64_t bytes) { return std::to_string((bytes + (1 << 19)) >> 20) + " MiB"; }

}  // namespace

std::string WarmFacts::text() const {
  if (!trouble.empty()) return release + ": " + trouble;
  std::string out =
      release + (warmth.warm() ? " is in memory (" + mebibytes(warmth.warm_bytes) + ")"
                               : ": " + mebibytes(warmth.warm_bytes) + " of " + mebibytes(warmth.wanted_bytes) + " are in memory");
  if (warmth.bytes > warmth.wanted_bytes) out += ", " + mebibytes(warmth.bytes - warmth.wanted_bytes) + " are beyond memory_bytes_max";
  if (warmth.unreadable > 0) out += ", " + std::to_string(warmth.unreadable) + " files may not be read";
  return out;
}

Warmer::Warmer(Engine& engine) : engine_(engine), wake_(engine.executor_) {}
Warmer::~Warmer() { stop(); }
void Warmer::stop() { *stop_ = true; }

std::optional<WarmFacts> Warmer::facts(const std::string& service) const {
  const auto found = facts_.find(service);
  return found == facts_.end() ? std::nullopt : std::optional(found->second);
}

asio::awaitable<void> Warmer::run() {
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await pause(wake_, kFirstTurn);
  while (!*stop_) {
    std::vector<std::shared_ptr<Service>> services;
    for (const auto& [key, service] : engine_.services_) services.push_back(service);
    for (const auto& service : services) {
      co_await look_at(service);
      const auto state = co_await asio::this_coro::cancellation_state;
      if (*stop_ || state.cancelled() != asio::cancellation_type::none) co_return;
    }
    const bool goes_on = co_await pause(wake_, kTurn);
    if (!goes_on) co_return;
  }
}

asio::awaitable<void> Warmer::look_at(std::shared_ptr<Service> service) {
  const std::string key = service->key().text();
  const auto armed = service->armed_;
  if (!service->settings().warm.enabled || !armed || !armed->present || !service->operating_.empty()) {
    if (!armed || !service->settings().warm.enabled) facts_.erase(key);
    co_return;
  }
  WarmFacts found;
  found.release = armed->release;
  std::int64_t room = service->settings().warm.memory_bytes_max;
  const LedgerEntry* entry = service->incident_ ? ledger::find(service->incident_->state(), armed->release) : nullptr;
  for (const auto& component : service->settings().components) {
    std::string release = armed->release;  // Of several components each may have its own.
    for (const ComponentRelease& part : entry ? entry->components : std::vector<ComponentRelease>{})
      if (part.component == component.name) release = part.release;
    drivers::WarmOptions options;
    options.bytes_max = room;
    auto work = [stop = stop_, options, directory = component.releases + "/" + release] {
      drivers::WarmOptions stoppable = options;
      stoppable.stop = stop.get();
      return drivers::warm_tree(directory, stoppable);
    };
    const auto warmth = co_await reads_.run(std::move(work));
    if (warmth.has_error()) {
      found.trouble = warmth.error().text();
      break;
    }
    room -= warmth->wanted_bytes;
    found.warmth.bytes += warmth->bytes;
    found.warmth.wanted_bytes += warmth->wanted_bytes;
    found.warmth.warm_bytes += warmth->warm_bytes;
    found.warmth.read_bytes += warmth->read_bytes;
    found.warmth.unreadable += warmth->unreadable;
  }
  found.at = engine_.clock_.now();
  const auto before = facts_.find(key);
  if (before == facts_.end() || before->second.release != found.release || before->second.warmth.warm() != found.warmth.warm())
    log::info("warm target", {{"service", key}, {"what", found.text()}});
  facts_[key] = std::move(found);
}

}  // namespace rollbackd::engine
