// Reading: which series match, and which of their points lie in the window and in the epoch in force.
#include <limits>

#include "series/state.hpp"

namespace rollbackd::series {
namespace {

bool matches_all(std::span<const Matcher> matchers, const Labels& labels) {
  for (const Matcher& m : matchers)
    if (!m.matches(labels)) return false;
  return true;
}

/// The points of `s` in (`from_exclusive`, `to`], none from before the epoch in force at `to`.
std::span<const Point> window(const Series& s, Instant from_exclusive, Instant to) {
  return s.points.within(window_begin(s, from_exclusive, to), to);
}

}  // namespace

Instant window_begin(const Series& s, Instant from_exclusive, Instant to) {
  const Instant from = from_exclusive + Duration{1};
  const auto epoch = s.service->epoch_at(to);
  return epoch ? std::max(from, *epoch) : from;
}

const ServiceKey& owner_of(const Series& s) { return s.service->key; }

const SeriesList* Store::Impl::candidates(std::span<const Matcher> matchers, const ServiceKey* scope) const {
  const std::string* name = wanted(matchers, kNameLabel);
  const std::string* service_name = wanted(matchers, kServiceLabel);
  const std::string* environment = wanted(matchers, kEnvironmentLabel);
  ServiceKey named;
  if (scope == nullptr && service_name != nullptr && environment != nullptr && !service_name->empty()) {
    named = {*service_name, *environment};
    scope = &named;
  }
  const SeriesList* list = &all;
  const NameIndex* names = &by_name;
  if (scope != nullptr) {
    const Service* one = find_service(*scope);
    if (one == nullptr) return nullptr;
    list = &one->series;
    names = &one->by_name;
  }
  if (name == nullptr) return list;
  const auto at = names->find(*name);
  return at == names->end() ? nullptr : &at->second;
}

std::vector<Selected> Store::select(std::span<const Matcher> matchers, Instant from_exclusive, Instant to, const ServiceKey* scope) const {
  std::vector<Selected> out;
  const SeriesList* list = impl_->candidates(matchers, scope);
  if (list == nullptr) return out;
  for (const Series* s : *list) {
    if (!matches_all(matchers, s->labels)) continue;
    const auto points = window(*s, from_exclusive, to);
    if (!points.empty()) out.push_back({&s->labels, points});
  }
  return out;
}

std::vector<Selected> Store::select_latest(std::span<const Matcher> matchers, Instant to, Duration lookback,
                                           const ServiceKey* scope) const {
  std::vector<Selected> out = select(matchers, to - lookback, to, scope);
  std::erase_if(out, [](Selected& s) {
    s.points = s.points.last(1);
    return is_stale_nan(s.points.front().value);
  });
  return out;
}

std::vector<Selected> Store::dump(std::size_t first, std::size_t count) const {
  std::vector<Selected> out;
  constexpr Instant kEver{std::numeric_limits<std::int64_t>::min()}, kNever{std::numeric_limits<std::int64_t>::max()};
  for (std::size_t i = first; i < impl_->all.size() && out.size() < count; ++i) {
    const Series& s = *impl_->all[i];
    out.push_back({&s.labels, s.points.within(kEver, kNever)});
  }
  return out;
}

std::span<Series* const> Store::series(const ServiceKey* scope) const {
  if (scope == nullptr) return impl_->all;
  const Service* one = impl_->find_service(*scope);
  if (one == nullptr) return {};
  return one->series;
}

std::map<ServiceKey, std::vector<Instant>> Store::epochs() const {
  std::map<ServiceKey, std::vector<Instant>> out;
  for (const auto& [key, service] : impl_->services) out.emplace(key, service.epochs);
  return out;
}

}  // namespace rollbackd::series
