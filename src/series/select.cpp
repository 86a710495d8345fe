// Reading: which series match, and which of their points lie in the window and in the epoch in force.
#include "series/state.hpp"

namespace rollbackd::series {
namespace {

bool matches_all(std::span<const Matcher> matchers, const Labels& labels) {
  for (const Matcher& m : matchers)
    if (!m.matches(labels)) return false;
  return true;
}

/// The points of `s` in (`from_exclusive`, `to`], none from before the epoch in force at `to`.
Points window(const Series& s, Instant from_exclusive, Instant to) {
  const auto [number, count] = s.points.within(window_begin(s, from_exclusive, to), to);
  return {s.points, number, count};
}

/// The newest of them, if there is one and it is no staleness marker.
Points newest(const Series& s, Instant from_exclusive, Instant to) {
  const auto [number, count] = s.points.within(window_begin(s, from_exclusive, to), to);
  if (count == 0 || is_stale_nan(s.points.value(number + count - 1))) return {};
  return {s.points, number + count - 1, 1};
}

}  // namespace

Point Points::at(std::size_t n) const { return data_ != nullptr ? data_[n] : ring_->numbered(number_ + n); }

void Points::unpack() const {
  memory_ = std::make_shared_for_overwrite<Point[]>(count_);
  ring_->copy(number_, count_, memory_.get());
  data_ = memory_.get();
}

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

template <class F>
std::vector<Selected> Store::Impl::find(std::span<const Matcher> matchers, const ServiceKey* scope, const F& points_of) const {
  std::vector<Selected> out;
  const SeriesList* list = candidates(matchers, scope);
  if (list == nullptr) return out;
  for (const Series* s : *list) {
    if (!matches_all(matchers, s->labels)) continue;
    Points points = points_of(*s);
    if (!points.empty()) out.push_back({&s->labels, std::move(points)});
  }
  return out;
}

std::vector<Selected> Store::select(std::span<const Matcher> matchers, Instant from_exclusive, Instant to, const ServiceKey* scope) const {
  return impl_->find(matchers, scope, [&](const Series& s) { return window(s, from_exclusive, to); });
}

std::vector<Selected> Store::select_latest(std::span<const Matcher> matchers, Instant to, Duration lookback,
                                           const ServiceKey* scope) const {
  return impl_->find(matchers, scope, [&](const Series& s) { return newest(s, to - lookback, to); });
}

std::vector<Selected> Store::dump(std::size_t first, std::size_t count) const {
  std::vector<Selected> out;
  for (std::size_t i = first; i < impl_->all.size() && out.size() < count; ++i) {
    const Series& s = *impl_->all[i];
    out.push_back({&s.labels, {s.points, s.points.first_number(), s.points.size()}});
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
