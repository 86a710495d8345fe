// Sources: which can feed a selector, and whether they are delivering. Silence is blindness, never "nothing is wrong".
#include <bit>

#include "base/text.hpp"
#include "series/state.hpp"

namespace rollbackd::series {
namespace {

bool allowed(std::span<const Matcher> matchers, std::string_view label, std::string_view value) {
  for (const Matcher& m : matchers)
    if (m.label() == label && !m.matches(value)) return false;
  return true;
}

/// What a source may have to do with a selector.
enum class Feeds {
  nothing,
  always,  ///< only metrics that come even when it cannot look at the rest
  whole
};

bool names(const std::vector<std::string>& list, std::string_view text) { return std::find(list.begin(), list.end(), text) != list.end(); }

/// A source that names what it delivers knows its own metrics best: one that may deliver any (a scrape) can feed such a name only once it
/// has. Else a target that is down would blind the rules on all the other checks of its service.
bool known_to_be_anothers(const Service& service, const SourceState& any, std::span<const Matcher> matchers, const std::string& name) {
  const auto declares = [&](const SourceState& other) {
    return &other != &any && allowed(matchers, kCheckLabel, other.source.check) &&
           (names(other.source.metrics, name) || names(other.source.always, name));
  };
  if (std::none_of(service.sources.begin(), service.sources.end(), declares)) return false;
  const auto series = service.by_name.find(name);
  if (series == service.by_name.end()) return true;
  return std::none_of(series->second.begin(), series->second.end(),
                      [&](const Series* s) { return s->labels.get(kCheckLabel) == any.source.check; });
}

/// The names that `matchers` allow, where they are a handful of plain words; nothing where any may match.
std::optional<std::vector<std::string>> plain_names(std::span<const Matcher> matchers) {
  for (const Matcher& m : matchers) {
    if (m.label() != kNameLabel) continue;
    if (m.op() == Matcher::Op::equal) return std::vector{m.value()};
    if (m.op() == Matcher::Op::regex && m.value().find_first_of("\\.+*?()[]{}^$") == std::string::npos) return split(m.value(), '|');
  }
  return std::nullopt;
}

Feeds feeds(const Service& service, const SourceState& state, std::span<const Matcher> matchers) {
  const Source& source = state.source;
  if (!allowed(matchers, kServiceLabel, source.service.name) || !allowed(matchers, kEnvironmentLabel, source.service.environment) ||
      !allowed(matchers, kCheckLabel, source.check))
    return Feeds::nothing;
  Feeds out = Feeds::nothing;
  const auto may_feed = [&](std::string_view name) {
    if (!allowed(matchers, kNameLabel, name) || out == Feeds::whole) return;
    out = names(source.always, name) ? Feeds::always : Feeds::whole;
  };
  if (!source.metrics.empty()) {
    for (const std::string& metric : source.metrics) may_feed(metric);
    for (const std::string& metric : source.always) may_feed(metric);
    return out;
  }
  const auto wanted_names = plain_names(matchers);
  if (!wanted_names) return Feeds::whole;
  for (const std::string& name : *wanted_names) {
    if (names(source.always, name) || !known_to_be_anothers(service, state, matchers, name)) may_feed(name);
  }
  return out;
}

void judge(const Service& service, std::span<const Matcher> matchers, Instant now, Liveness& out) {
  for (const SourceState& s : service.sources) {
    const Feeds how = feeds(service, s, matchers);
    if (how == Feeds::nothing) continue;
    out.fed = true;
    const std::optional<Instant>& last = how == Feeds::always ? s.spoke : s.delivered;
    if (s.fresh(last, now) || out.blind) continue;
    out.blind = true;
    const Duration silent = std::max(now - last.value_or(s.silent_since), Duration{0});
    out.blind_reason = "check " + s.source.check + " of " + service.key.text() + " has delivered nothing for " + format_duration(silent);
    if (!s.trouble.empty()) out.blind_reason += ": " + s.trouble;
  }
}

}  // namespace

bool Feeders::too_many(const Service& service) { return service.sources.size() > 64; }

bool Feeders::known(const Service& service) const { return as_of_ == service.feeding; }

void Feeders::find(const Service& service, std::span<const Matcher> matchers) {
  whole_ = always_ = 0;
  for (std::size_t n = 0; n < service.sources.size(); ++n) {
    const Feeds how = feeds(service, service.sources[n], matchers);
    if (how != Feeds::nothing) (how == Feeds::always ? always_ : whole_) |= std::uint64_t{1} << n;
  }
  as_of_ = service.feeding;
}

Feeders::Standing Feeders::standing(const Service& service, Instant now) const {
  for (std::uint64_t rest = whole_ | always_; rest != 0; rest &= rest - 1) {
    const auto n = static_cast<std::size_t>(std::countr_zero(rest));
    const SourceState& source = service.sources[n];
    const bool always = (always_ >> n & 1) != 0;
    if (!source.fresh(always ? source.spoke : source.delivered, now)) return Standing::blind;
  }
  return (whole_ | always_) != 0 ? Standing::live : Standing::unfed;
}

void Store::register_source(const Source& source, Instant now) {
  Service& service = impl_->service(source.service);
  ++service.feeding;
  if (SourceState* known = service.source(source.check)) {
    if (known->source.always.empty()) known->brought.clear();  // It delivered bit by bit: nothing of that ends.
    known->source = source;
    return;
  }
  SourceState made;
  made.source = source;
  made.registered = made.silent_since = now;
  service.sources.push_back(std::move(made));
}

void Store::remove_source(const ServiceKey& service, std::string_view check) {
  const auto at = impl_->services.find(service);
  if (at == impl_->services.end()) return;
  ++at->second.feeding;
  std::erase_if(at->second.sources, [&](const SourceState& s) { return s.source.check == check; });
}

void Store::forget_liveness(Instant now) {
  for (auto& [key, service] : impl_->services) {
    for (SourceState& s : service.sources) s.forget(now);
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
    if (feeds(*one, s, matchers) != Feeds::nothing) out.push_back(s.source.check);
  return out;
}

std::optional<Instant> Store::next_staleness(const ServiceKey& service, Instant now) const {
  std::optional<Instant> next;
  const Service* one = impl_->find_service(service);
  if (one == nullptr) return next;
  for (const SourceState& s : one->sources) {
    for (const std::optional<Instant>& last : {s.delivered, s.spoke}) {
      if (!s.fresh(last, now)) continue;
      const Instant stale = *last + s.source.staleness;
      if (!next || stale < *next) next = stale;
    }
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
