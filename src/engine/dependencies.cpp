// What a service needs, as the rules and the guards see it, and since when its release is live: the engine's own sources.
// Flow: checks with a `dependency`, health of services that are depended on -> [dependencies] -> judge, second opinion, guards.
#include <boost/asio/post.hpp>

#include "config/judges_health.hpp"
#include "engine/engine.hpp"
#include "engine/service.hpp"
#include "engine/spawn.hpp"

namespace rollbackd::engine {

namespace asio = boost::asio;

namespace {

constexpr Duration kRepeat = 15s;     ///< so that silence means that we do not run
constexpr Duration kStaleness = 31s;  ///< two repeats and a little
constexpr const char* kUp = "dependency_up";
constexpr const char* kSwitched = "release_switched_timestamp_seconds";
constexpr const char* kReleaseSource = "release";

std::string source_of(const std::string& dependency) { return "depends_on:" + dependency; }

const config::CheckSettings* find(const std::vector<config::CheckSettings>& checks, const std::string& name) {
  for (const auto& check : checks)
    if (check.name == name) return &check;
  return nullptr;
}

}  // namespace

/// Makes `dependency_up` of what a check of a dependency found, and of nothing else: whatever rule looks at `probe_success` and the like
/// means the service itself.
void speak_of_dependency(const config::CheckSettings& settings, Batch& batch) {
  if (settings.dependency.empty()) return;
  Labels labels{{"__name__", kUp}, {"service", batch.service.name}, {"environment", batch.service.environment}, {"check", batch.check}};
  if (!batch.samples.empty() && batch.samples.front().labels.has("instance"))
    labels.set("instance", std::string(batch.samples.front().labels.get("instance")));
  labels.set("dependency", settings.dependency);
  batch.samples.clear();
  if (batch.healthy && batch.unobserved.empty()) batch.samples.push_back(Sample{std::move(labels), *batch.healthy ? 1.0 : 0.0, false});
}

std::vector<Source> Service::sources() const {
  std::vector<Source> out;
  for (const auto& check : checks_) {
    Source source = check->source();
    const auto* settings = find(settings_.checks, source.check);
    if (settings != nullptr && !settings->dependency.empty()) {
      source.metrics = {kUp};
      source.always.clear();
    }
    out.push_back(std::move(source));
  }
  // The verification tests are a source of their own: they speak some time after each switch and are repeated from then on.
  Duration longest{};
  for (const auto& test : settings_.verify) longest = std::max(longest, test.within + test.timeout);
  out.push_back(Source{key(), "verify", {"verification_success"}, longest + 45s});
  out.push_back(Source{key(), kReleaseSource, {kSwitched}, kStaleness});
  for (const auto& needed : dependencies()) out.push_back(Source{key(), source_of(needed->key().text()), {kUp}, kStaleness});
  return out;
}

/// The services that it depends on, as far as they are watched here.
std::vector<std::shared_ptr<Service>> Service::dependencies() const {
  std::vector<std::shared_ptr<Service>> out;
  for (const std::string& name : settings_.depends_on)
    for (const auto& [other, service] : engine_.services_)
      if (other.text() == name && service.get() != this) out.push_back(service);
  return out;
}

/// Whether the service is well, by its own checks and its process; nothing while that is not known.
std::optional<bool> Service::well() const {
  if (!incident_) return std::nullopt;
  bool known = true, asked = false;
  for (const auto& settings : settings_.checks) {
    if (!config::judges_health(settings)) continue;
    const auto found = check(settings.name);
    const std::optional<bool> healthy = found ? opinion(*found) : std::nullopt;
    if (healthy && !*healthy) return false;
    known = known && healthy;
    asked = true;
  }
  if (manager_ && process_) {
    if (!process_->running) return false;
    asked = true;
  }
  return known && asked ? std::optional(true) : std::nullopt;
}

std::vector<std::string> Service::failing_dependencies() const {
  std::vector<std::string> out;
  for (const auto& settings : settings_.checks) {
    if (settings.dependency.empty()) continue;
    const auto found = check(settings.name);
    const std::optional<bool> up = found ? opinion(*found) : std::nullopt;
    if (up && !*up) out.push_back(settings.dependency);
  }
  for (const auto& needed : dependencies()) {
    const std::optional<bool> up = needed->well();
    if (up && !*up) out.push_back(needed->key().text());
  }
  return out;
}

void Service::tell_release() {
  if (!incident_ || incident_->state().epoch.number == 0) return;
  Batch batch;
  batch.service = key();
  batch.check = kReleaseSource;
  batch.began = engine_.clock_.now();
  batch.samples.push_back(
      Sample{Labels{{"__name__", kSwitched}, {"service", key().name}, {"environment", key().environment}, {"check", kReleaseSource}},
             incident_->state().epoch.switched.seconds(), false});
  engine_.on_batch(std::move(batch));
}

/// @param all  what is as it was is said again too
void Service::tell_dependencies(bool all) {
  for (const auto& needed : dependencies()) {
    const std::string name = needed->key().text();
    const std::optional<bool> up = needed->well();
    const auto [told, is_new] = told_.try_emplace(name, up);
    if (!all && !is_new && told->second == up) continue;
    told->second = up;
    Batch batch;
    batch.service = key();
    batch.check = source_of(name);
    batch.began = engine_.clock_.now();
    if (up) {
      batch.samples.push_back(Sample{
          Labels{
              {"__name__", kUp}, {"service", key().name}, {"environment", key().environment}, {"check", batch.check}, {"dependency", name}},
          *up ? 1.0 : 0.0, false});
      batch.detail = name + (*up ? " is well" : " is not well");
    } else {
      batch.unobserved = "the health of " + name + " is not known";
    }
    engine_.on_batch(std::move(batch));
  }
}

asio::awaitable<void> Service::repeat_facts() {
  const auto self = shared_from_this();
  asio::steady_timer timer(engine_.executor_);
  while (true) {
    tell_release();
    tell_dependencies(true);
    if (!co_await pause(timer, kRepeat)) co_return;
  }
}

/// A new epoch: every source must speak again. Not at once: a commit or an event may be under way.
void Service::tell_facts_soon() {
  asio::post(engine_.executor_, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    self->tell_release();
    self->tell_dependencies(true);
  });
}

/// Something was said of `needed`'s health. Its dependents hear of it when it changed.
void Engine::tell_dependents(const Service& needed) {
  const auto at = dependents_.find(needed.key().text());
  if (at == dependents_.end()) return;
  asio::post(executor_, [this, alive = std::weak_ptr<int>(alive_), names = at->second] {
    if (alive.expired()) return;
    for (const ServiceKey& name : names) {
      const auto service = services_.find(name);
      if (service != services_.end()) service->second->tell_dependencies(false);
    }
  });
}

/// After services came or went: who depends on whom, and which sources that makes.
void Engine::know_dependents() {
  dependents_.clear();
  for (const auto& [key, service] : services_) {
    for (const std::string& name : service->settings().depends_on) dependents_[name].push_back(key);
    if (service->running() && !service->settings().depends_on.empty()) judge_.set_service(key, service->sources(), clock_.now());
  }
}

}  // namespace rollbackd::engine
