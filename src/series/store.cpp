// Writing: commits, epochs and the bounds. Reading is in select.cpp, liveness in liveness.cpp.
#include "series/store.hpp"

#include <bit>

#include "series/state.hpp"

namespace rollbackd::series {
namespace {

constexpr std::uint64_t kStaleBits = 0x7ff0000000000002ULL;
constexpr std::size_t kSweepPerChange = 2;  ///< each look may be a cache miss or three, and a batch may make hundreds of changes
constexpr std::size_t kSweepWhenFull = 64;
constexpr Duration kJustBefore{1};

void erase_from(SeriesList& list, const Series* s) { std::erase(list, s); }

void erase_from(NameIndex& index, const Series* s) {
  const auto at = index.find(s->labels.name());
  if (at == index.end()) return;
  std::erase(at->second, s);
  if (at->second.empty()) index.erase(at);
}

std::size_t text_bytes(const Labels& labels) {
  std::size_t n = 0;
  for (const auto& [name, value] : labels.pairs()) n += name.size() + value.size();
  return n;
}

}  // namespace

double stale_nan() { return std::bit_cast<double>(kStaleBits); }
bool is_stale_nan(double v) { return std::bit_cast<std::uint64_t>(v) == kStaleBits; }

Service& Store::Impl::service(const ServiceKey& key) {
  Service& s = services[key];
  s.key = key;
  return s;
}

const Service* Store::Impl::find_service(const ServiceKey& key) const {
  const auto at = services.find(key);
  return at == services.end() ? nullptr : &at->second;
}

Series* Store::Impl::series_for(const Labels& labels, const ServiceKey& owner, bool& is_new, Series* guess) {
  is_new = false;
  if (guess != nullptr && guess->labels == labels) return guess;
  if (const auto at = series.find(labels); at != series.end()) return at->second.get();
  if (series.size() >= limits.series_max || text_bytes(labels) > limits.label_bytes_max) {
    ++counters.series_dropped;
    return nullptr;
  }
  is_new = true;
  auto made = std::make_unique<Series>();
  made->labels = labels;
  made->service = &service(owner);
  Series* s = series.emplace(labels, std::move(made)).first->second.get();
  all.push_back(s);
  by_name[std::string(labels.name())].push_back(s);
  s->service->series.push_back(s);
  SeriesList& namesakes = s->service->by_name[std::string(labels.name())];
  if (namesakes.empty() || namesakes.back()->labels.get(kCheckLabel) != labels.get(kCheckLabel)) ++s->service->feeding;
  namesakes.push_back(s);
  s->keep = limits.retention;
  if (watcher != nullptr) watcher->created(*s);
  return s;
}

Instant Store::Impl::oldest_kept(Duration length) const {
  constexpr auto least = std::numeric_limits<std::int64_t>::min();
  std::int64_t t = 0;
  return __builtin_sub_overflow(newest.ns(), length.count(), &t) ? Instant(least) : Instant(t);
}

void Store::Impl::trim(Series& s) {
  s.points.drop_before(oldest_kept(s.keep));
  while (s.points.size() > limits.points_per_series_max) {
    s.points.pop_front();
    ++counters.points_dropped;
  }
}

bool Store::Impl::push(Series& s, Point point) {
  if (!s.points.empty() && point.at <= s.points.back().at) {
    ++counters.out_of_order;
    return false;
  }
  s.points.push(point);
  newest = std::max(newest, point.at);
  ++counters.samples;
  trim(s);
  return true;
}

bool Store::Impl::push_late(Series& s, Point point, Instant epoch) {
  const double rise = point.value - s.points.back().value;
  if (!(rise >= 0)) {
    ++counters.out_of_order;
    return false;
  }
  s.points.raise_since(epoch, rise);
  const auto before = s.points.last_before(epoch);
  s.points.put({point.at, (before ? before->value : 0) + rise});  // In the place of an earlier late sample, if one stands there.
  ++counters.samples;
  trim(s);
  return true;
}

// A counter that nobody has seen was 0 at its epoch's start, and still when its check last looked: without the second zero a
// short window late in a long epoch would hold the new value alone, and the first event of a kind would have no increase.
void Store::Impl::begin_new_counter(Series& s, const SourceState* source, Instant at) {
  const auto epoch = s.service->epoch_at(at);
  std::optional<Instant> zero = epoch;
  if (!zero && source != nullptr) zero = std::min(source->registered, at - kJustBefore);
  if (!zero || *zero >= at) return;
  s.points.push({*zero, 0});
  if (source != nullptr && source->delivered && *source->delivered > *zero && *source->delivered < at &&
      (!epoch || *source->delivered >= *epoch))
    s.points.push({*source->delivered, 0});
}

bool Store::Impl::commit_sample(const Sample& sample, const Service& of, const SourceState* source, Instant at, Series** touched) {
  const std::string_view named = sample.labels.get(kServiceLabel);
  const ServiceKey owner = named.empty() || (named == of.key.name && sample.labels.get(kEnvironmentLabel) == of.key.environment)
                               ? of.key
                               : ServiceKey{std::string(named), std::string(sample.labels.get(kEnvironmentLabel))};
  bool is_new = false;
  Series* s = series_for(sample.labels, owner, is_new, *touched);
  *touched = s;
  if (s == nullptr) return false;
  s->counter = sample.counter;
  if (is_new && s->counter) begin_new_counter(*s, source, at);
  const auto next_epoch = s->service->epoch_after(at);
  if (s->counter && next_epoch && !s->points.empty() && s->points.back().at >= *next_epoch)
    return push_late(*s, {at, sample.value}, *next_epoch);
  if (!push(*s, {at, sample.value})) return false;
  // A new counter that was seen too late for the epoch that it belongs to: the epochs since then begin with its value.
  if (s->counter && !is_stale_nan(sample.value)) {
    for (auto next = next_epoch; next && *next <= newest; next = s->service->epoch_after(*next)) s->points.push({*next, sample.value});
  }
  return true;
}

void Store::Impl::drop(Series* s) {
  if (watcher != nullptr) watcher->dropped(*s);
  erase_from(by_name, s);
  erase_from(all, s);
  erase_from(s->service->series, s);
  erase_from(s->service->by_name, s);
  ++s->service->feeding;
  for (SourceState& source : s->service->sources) erase_from(source.brought, s);
  const Labels labels = s->labels;
  series.erase(labels);
}

// A few series at each change, so that no commit pays for all that have ended.
void Store::Impl::sweep() {
  const Instant oldest = oldest_kept(limits.retention);
  const std::size_t looks = series.size() >= limits.series_max ? kSweepWhenFull : kSweepPerChange;
  for (std::size_t n = 0; n < looks && !all.empty(); ++n) {
    if (sweep_at >= all.size()) sweep_at = 0;
    Series* s = all[sweep_at];
    if (s->points.empty() || s->points.back().at < oldest) {
      drop(s);
    } else {
      ++sweep_at;
    }
  }
}

Store::Store(Limits limits) : impl_(std::make_unique<Impl>(limits)) {}
Store::~Store() = default;

void Store::remove_service(const ServiceKey& service) {
  const auto at = impl_->services.find(service);
  if (at == impl_->services.end()) return;
  const SeriesList going = at->second.series;
  for (Series* s : going) impl_->drop(s);
  impl_->services.erase(at);
}

void Store::Impl::end_missing(SourceState& source, SeriesList now_brought, Instant at) {
  ++deliveries;
  for (Series* s : now_brought) s->delivery = deliveries;
  for (Series* s : source.brought) {
    if (s->delivery != deliveries && push(*s, {at, stale_nan()})) committed.push_back(s);
  }
  source.brought = std::move(now_brought);
}

std::span<Series* const> Store::commit(const Batch& batch) {
  Impl& store = *impl_;
  SeriesList& touched = store.committed;
  touched.clear();
  const bool whole = batch.unobserved.empty();
  store.newest = std::max(store.newest, batch.at);
  store.sweep();
  Service& service = store.service(batch.service);
  SourceState* source = service.source(batch.check);

  Instant at = batch.at;
  const auto left_behind = service.epoch_after(batch.began);
  const bool late = left_behind && *left_behind <= batch.at;
  if (late) at = *left_behind - kJustBefore;

  SeriesList brought;
  if (source != nullptr) brought.reserve(batch.samples.size());
  bool spoke = false;
  for (std::size_t i = 0; i < batch.samples.size(); ++i) {
    const Sample& sample = batch.samples[i];
    if (!whole && (source == nullptr || !source->is_always(sample.labels.name()))) continue;
    spoke = true;
    // A target says the same in the same order each time, and comparing is cheaper than finding.
    Series* s = source != nullptr && i < source->brought.size() ? source->brought[i] : nullptr;
    const bool got_one = store.commit_sample(sample, service, source, at, &s);
    if (got_one) touched.push_back(s);
    if (s != nullptr && s->service == &service && source != nullptr) brought.push_back(s);
  }
  if (source == nullptr) return touched;
  if (!whole) {
    source->cannot_look(batch.at, batch.unobserved, spoke && !late);
  } else if (!late) {
    source->delivered = std::max(source->delivered.value_or(batch.at), batch.at);
    source->spoke = std::max(source->spoke.value_or(batch.at), batch.at);
    source->trouble.clear();
    if (source->source.always.empty()) {
      source->brought = std::move(brought);
    } else {
      store.end_missing(*source, std::move(brought), at);
    }
  }
  return touched;
}

Series* Store::append(const Labels& labels, Point point) {
  impl_->sweep();
  const ServiceKey owner{std::string(labels.get(kServiceLabel)), std::string(labels.get(kEnvironmentLabel))};
  bool is_new = false;
  Series* s = impl_->series_for(labels, owner, is_new);
  return s != nullptr && impl_->push(*s, point) ? s : nullptr;
}

void Store::begin_epoch(const ServiceKey& key, Instant at) {
  Impl& store = *impl_;
  Service& service = store.service(key);
  const auto place = std::lower_bound(service.epochs.begin(), service.epochs.end(), at);
  if (place == service.epochs.end() || *place != at) service.epochs.insert(place, at);
  store.newest = std::max(store.newest, at);
  for (SourceState& source : service.sources) {
    source.forget(std::max(source.registered, at));
    source.brought.clear();  // No selector of the new epoch sees them, so there is nothing to end.
  }
  for (Series* s : service.series) {
    if (!s->counter) continue;
    const auto present = s->points.last_before(at);
    if (!present || is_stale_nan(present->value)) continue;
    s->points.insert({at, present->value});
    store.trim(*s);
  }
  while (service.epochs.size() > store.limits.epochs_max && service.epochs.size() > 1) {
    service.epochs.erase(service.epochs.begin());
    for (Series* s : service.series) {
      const std::size_t had = s->points.size();
      s->points.drop_before(service.epochs.front());
      store.counters.points_dropped += had - s->points.size();
    }
  }
}

Service& Store::service(const ServiceKey& key) { return impl_->service(key); }

std::optional<Instant> Store::epoch_start(const ServiceKey& service, Instant at) const {
  const Service* s = impl_->find_service(service);
  return s == nullptr ? std::nullopt : s->epoch_at(at);
}

void Store::watch(Watcher* watcher) { impl_->watcher = watcher; }

std::size_t Store::series_count() const { return impl_->series.size(); }
const Counters& Store::counters() const { return impl_->counters; }
const Limits& Store::limits() const { return impl_->limits; }

}  // namespace rollbackd::series
