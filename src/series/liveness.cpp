// Sources: which can feed a selector, and whether they are delivering. Silence is blindness, never "nothing is wrong".
#include "series/state.hpp"

namespace rollbackd::series {
namespace {

bool allowed(std::span<const Matcher> matchers, std::string_view label, std::string_view value) {
  for (const Matcher& m : matchers)
    if (m.label() == label && !m.matches(value)) return false;
  return true;
}

bool can_feed(const Source& source, std::span<const Matcher> matchers) {
  if (!allowed(matchers, kServiceLabel, source.service.name) || !allowed(matchers, kEnvironmentLabel, source.service.environment) ||
      !allowed(matchers, kCheckLabel, source.check))
    return false;
  if (source.metrics.empty()) return true;
  for (const std::string& metric : source.metrics)
    if (allowed(matchers, kNameLabel, metric)) return true;
  return false;
}

void judge(const Service& service, std::span<const Matcher> matchers, Instant now, Liveness& out) {
  for (const SourceState& s : service.sources) {
    if (!can_feed(s.source, matchers)) continue;
    out.fed = true;
    if (s.live(now) || out.blind) continue;
    out.blind = true;
    const Duration silent = std::max(now - s.delivered.value_or(s.silent_since), Duration{0});
    out.blind_reason = "check " + s.source.check + " of " + service.key.text() + " has delivered nothing for " + format_duration(silent);
    if (!s.trouble.empty()) out.blind_reason += ": " + s.trouble;
  }
}

}  // namespace

void Store::register_source(const Source& source, Instant now) {
  Service& service = impl_->service(source.service);
  if (SourceState* known = service.source(source.check)) {
    known->source = source;
    return;
  }
  service.sources.push_back({source, now, now, std::nullopt});
}

void Store::remove_source(const ServiceKey& service, std::string_view check) {
  const auto at = impl_->services.find(service);
  if (at != impl_->services.end()) std::erase_if(at->second.sources, [&](const SourceState& s) { return s.source.check == check; });
}

void Store::forget_liveness(Instant now) {
  for (auto& [key, service] : impl_->services) {
    for (SourceState& s : service.sources) {
      s.delivered.reset();
      s.silent_since = now;
    }
  }
}

Liveness Store::liveness(std::span<const Matcher> matchers, Instant now, const ServiceKey* scope) const {
  Liveness out;
  const std::string* name = wanted(matchers, kServiceLabel);
  const std::string* environment = wanted(matchers, kEnvironmentLabel);
  if (scope != nullptr || (name != nullptr && environment != nullptr)) {
    const Service* one = impl_->find_service(scope != nullptr ? *scope : ServiceKey{*name, *environment});
    if (one != nullptr) judge(*one, matchers, now, out);
    return out;
  }
  for (const auto& [key, service] : impl_->services) judge(service, matchers, now, out);
  return out;
}

std::vector<std::string> Store::feeders(std::span<const Matcher> matchers, const ServiceKey& service) const {
  std::vector<std::string> out;
  const Service* one = impl_->find_service(service);
  if (one == nullptr) return out;
  for (const SourceState& s : one->sources)
    if (can_feed(s.source, matchers)) out.push_back(s.source.check);
  return out;
}

std::optional<Instant> Store::next_staleness(const ServiceKey& service, Instant now) const {
  std::optional<Instant> next;
  const Service* one = impl_->find_service(service);
  if (one == nullptr) return next;
  for (const SourceState& s : one->sources) {
    if (!s.live(now)) continue;
    const Instant stale = *s.delivered + s.source.staleness;
    if (!next || stale < *next) next = stale;
  }
  return next;
}

std::optional<Instant> Store::last_delivery(const ServiceKey& service, std::string_view check) const {
  const Service* one = impl_->find_service(service);
  if (one == nullptr) return std::nullopt;
  for (const SourceState& s : one->sources)
    if (s.source.check == check) return s.delivered;
  return std::nullopt;
}

}  // namespace rollbackd::series
