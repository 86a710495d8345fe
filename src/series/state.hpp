// What the store is made of: series, services with their epochs and sources, and the indexes over them.
#pragma once

#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "series/series.hpp"
#include "series/store.hpp"

namespace rollbackd::series {

inline constexpr std::string_view kServiceLabel = "service";
inline constexpr std::string_view kEnvironmentLabel = "environment";
inline constexpr std::string_view kCheckLabel = "check";

struct SourceState {
  Source source;
  Instant registered;
  Instant silent_since;              ///< what "has delivered nothing for" counts from while there is no delivery
  std::optional<Instant> delivered;  ///< a whole batch, in this epoch
  std::string trouble{};             ///< why it cannot look, as it said itself; empty once it delivered again
  std::optional<Instant> spoke{};    ///< a batch of any kind with samples, in this epoch: what `Source::always` goes by
  std::vector<Series*> brought{};    ///< by its last whole delivery: what the next one is likely to bring

  /// It said itself that it sees nothing: silent from here on, not only once its staleness has passed.
  /// @param still_speaks  it delivered those of its metrics that it knows all the same
  void cannot_look(Instant now, const std::string& why, bool still_speaks) {
    if (delivered) silent_since = now;
    delivered.reset();
    if (still_speaks) {
      spoke = std::max(spoke.value_or(now), now);
    } else {
      spoke.reset();
    }
    trouble = why;
  }
  /// Nothing that it said before counts any more.
  void forget(Instant since) {
    delivered.reset();
    spoke.reset();
    silent_since = since;
  }
  bool is_always(std::string_view name) const { return std::find(source.always.begin(), source.always.end(), name) != source.always.end(); }
  bool fresh(const std::optional<Instant>& last, Instant now) const { return last && now < *last + source.staleness; }
};

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using SeriesList = std::vector<Series*>;
using NameIndex = std::unordered_map<std::string, SeriesList, TextHash, std::equal_to<>>;

struct Service {
  ServiceKey key;
  std::vector<Instant> epochs;  ///< starts, oldest first
  std::vector<SourceState> sources;
  SeriesList series;
  NameIndex by_name;
  std::uint64_t feeding = 1;  ///< grows with each change by which another source may feed a selector

  /// Start of the epoch in force at `t`.
  std::optional<Instant> epoch_at(Instant t) const {
    if (epochs.empty()) return std::nullopt;
    if (epochs.back() <= t) return epochs.back();
    const auto after = std::upper_bound(epochs.begin(), epochs.end(), t);
    if (after == epochs.begin()) return std::nullopt;
    return *(after - 1);
  }
  /// Start of the first epoch that begins after `t`.
  std::optional<Instant> epoch_after(Instant t) const {
    const auto after = std::upper_bound(epochs.begin(), epochs.end(), t);
    if (after == epochs.end()) return std::nullopt;
    return *after;
  }
  SourceState* source(std::string_view check) {
    for (SourceState& s : sources)
      if (s.source.check == check) return &s;
    return nullptr;
  }
};

struct Store::Impl {
  explicit Impl(Limits l) : limits(l) {}

  Limits limits;
  Counters counters;
  Watcher* watcher = nullptr;
  SeriesList committed;  ///< what `commit` gave last
  Instant newest{std::numeric_limits<std::int64_t>::min()};
  std::unordered_map<Labels, std::unique_ptr<Series>, LabelsHash> series;
  SeriesList all;  ///< in order of creation
  NameIndex by_name;
  std::map<ServiceKey, Service> services;
  std::size_t sweep_at = 0;      ///< where in `all` the next look for expired series begins
  std::uint64_t deliveries = 0;  ///< whole ones of sources with `Source::always`

  Service& service(const ServiceKey& key);
  const Service* find_service(const ServiceKey& key) const;
  /// The series `labels`, made when new and within the limits; else nullptr, counted.
  /// @param guess  looked at first; may be nullptr
  Series* series_for(const Labels& labels, const ServiceKey& owner, bool& is_new, Series* guess = nullptr);
  /// Appends, if newer than the last one, and holds the series to its bounds.
  bool push(Series& s, Point point);
  void trim(Series& s);
  /// Commits one late sample of a counter that already has points in an epoch begun since, at `epoch`: what it rose by belongs to
  /// the epoch before, so every later point rises alike and no increase of the new epoch comes of it.
  bool push_late(Series& s, Point point, Instant epoch);
  void begin_new_counter(Series& s, const SourceState* source, Instant at);
  /// @param touched  a guess at the series; then the series, even where the sample was not new
  bool commit_sample(const Sample& sample, const Service& of, const SourceState* source, Instant at, Series** touched);
  /// Ends what the delivery before brought and this one did not, as Prometheus does with a target's series.
  void end_missing(SourceState& source, SeriesList now_brought, Instant at);
  void drop(Series* s);
  void sweep();
  /// What is `length` before the newest sample.
  Instant oldest_kept(Duration length) const;

  /// The shortest list of series that holds all that can match, and the service they are limited to, if any.
  const SeriesList* candidates(std::span<const Matcher> matchers, const ServiceKey* scope) const;
  /// What of `points_of` each matching series is not empty. In select.cpp alone.
  template <class F>
  std::vector<Selected> find(std::span<const Matcher> matchers, const ServiceKey* scope, const F& points_of) const;
};

/// The value that `label` must have for `matchers` to match: of the first equality matcher on it; nothing when there is none.
inline const std::string* wanted(std::span<const Matcher> matchers, std::string_view label) {
  for (const Matcher& m : matchers)
    if (m.op() == Matcher::Op::equal && m.label() == label) return &m.value();
  return nullptr;
}

}  // namespace rollbackd::series
