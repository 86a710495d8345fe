// Recent samples in memory, cut into epochs so that no window mixes two releases, and which sources are alive.
// Flow: checks -batch-> [series] -> promql. Pure: no I/O, no clock; bounded by Limits.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "model/batch.hpp"
#include "model/labels.hpp"

namespace rollbackd::series {

/// One value at one instant.
struct Point {
  Instant at;
  double value = 0;
  bool operator==(const Point&) const = default;
};

/// A label matcher as in PromQL. Regular expressions are RE2 and fully anchored.
class Matcher {
 public:
  enum class Op { equal, not_equal, regex, not_regex };
  /// @return `invalid_argument` for a bad regular expression, or one that compiles to more than 1 MiB
  static Result<Matcher> make(std::string label, Op op, std::string value);
  bool matches(std::string_view value) const;  ///< an absent label is ""
  bool matches(const Labels& labels) const { return matches(labels.get(label_)); }
  const std::string& label() const { return label_; }
  Op op() const { return op_; }
  const std::string& value() const { return value_; }

 private:
  struct Regex;
  std::string label_, value_;
  Op op_ = Op::equal;
  std::shared_ptr<const Regex> regex_;  ///< shared: matchers are copied with the syntax tree
};

/// What the store may hold. Beyond a bound the newest series or the oldest sample goes, counted in `Counters`.
struct Limits {
  std::size_t series_max = 50'000;
  std::size_t points_per_series_max = 20'000;
  Duration retention = 2h;             ///< samples older than the newest by more than this are dropped
  std::size_t epochs_max = 16;         ///< per service; the oldest epoch's samples go with it
  std::size_t label_bytes_max = 4096;  ///< per series, names and values together; a larger one is dropped
};

/// Plain counters for the metrics room.
struct Counters {
  std::uint64_t samples = 0, series_dropped = 0, points_dropped = 0, out_of_order = 0;
};

class Ring;

/// Points that were found, oldest first. The store keeps them packed; they are unpacked when first gone through, not to be asked how many
/// there are or for the first and the last.
class Points {
 public:
  Points() = default;
  /// `count` points of `ring` from `number` on; not gone through after the store has changed.
  Points(const Ring& ring, std::uint64_t number, std::size_t count) : ring_(&ring), number_(number), count_(count) {}
  /// Those of a vector that outlives it.
  Points(const std::vector<Point>& points) : count_(points.size()), data_(points.data()) {}  // NOLINT: as a span would be

  bool empty() const { return count_ == 0; }
  std::size_t size() const { return count_; }
  Point front() const { return at(0); }
  Point back() const { return at(count_ - 1); }
  const Point* begin() const { return all().data(); }
  const Point* end() const { return begin() + count_; }
  const Point& operator[](std::size_t n) const { return all()[n]; }
  /// Good as long as this, a copy of it made afterwards, or what `memory` gives is there.
  std::span<const Point> all() const {
    if (data_ == nullptr && count_ > 0) unpack();
    return {data_, count_};
  }
  operator std::span<const Point>() const { return all(); }  // NOLINT: what goes through points takes a span
  /// What the unpacked points live in; nothing when they live elsewhere.
  std::shared_ptr<const void> memory() const { return memory_; }

 private:
  Point at(std::size_t n) const;
  void unpack() const;

  const Ring* ring_ = nullptr;
  std::uint64_t number_ = 0;
  std::size_t count_ = 0;
  mutable const Point* data_ = nullptr;
  mutable std::shared_ptr<Point[]> memory_;
};

/// What a selector found for one series.
struct Selected {
  const Labels* labels = nullptr;  ///< valid until the store next changes
  Points points{};                 ///< all within the asked window and epoch
};

/// Which sources a selector could draw on in the services it may match.
struct Liveness {
  bool blind = false;        ///< at least one source that could feed it is silent (or has not yet spoken in this epoch)
  bool fed = false;          ///< at least one source can feed it at all
  std::string blind_reason;  ///< "check health of shop-api/prod has delivered nothing for 7s", for people
};

struct Series;

/// Told of series as they come and go, so that who reads one is found once and not for every sample.
class Watcher {
 public:
  virtual ~Watcher() = default;
  /// Before its first point. May fill `Series::readers` and shorten `Series::keep`.
  virtual void created(Series& series) = 0;
  /// Its last moment: nothing may keep its address.
  virtual void dropped(Series& series) = 0;
};

struct Service;

/// The sources of one service that can feed one selector, remembered so that asking whether they deliver costs a few comparisons.
class Feeders {
 public:
  enum class Standing { unfed, live, blind };
  /// Whether they are still what they were when found.
  bool known(const Service& service) const;
  void find(const Service& service, std::span<const Matcher> matchers);
  /// Only of known ones.
  Standing standing(const Service& service, Instant now) const;
  /// More sources than are remembered: then the store must be asked.
  static bool too_many(const Service& service);

 private:
  std::uint64_t whole_ = 0, always_ = 0;  ///< by place among the service's sources
  std::uint64_t as_of_ = 0;               ///< Service::feeding; 0: never looked
};

/// The store. Not thread-safe: it belongs to the reactor's thread.
/// With no epoch begun and no source registered it answers exactly what Prometheus's storage would.
class Store {
 public:
  explicit Store(Limits limits = {});
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  /// Declares (or redeclares, keeping when it last delivered) a check of a service, and since when it is expected to deliver.
  void register_source(const Source& source, Instant now);
  /// Forgets a check that is no longer configured; its series stay until they run out.
  void remove_source(const ServiceKey& service, std::string_view check);
  void remove_service(const ServiceKey& service);  ///< with its series, sources and epochs

  /// Commits `batch` at `batch.at`. Samples of a probe that began before the current epoch's start are kept in the epoch
  /// before (stamped just before this one's start). An `unobserved` batch makes its source silent at once, because it said itself that it
  /// cannot look; of its samples only those among `Source::always` are committed, and selectors of nothing else stay live.
  /// What the whole delivery before brought and this one does not ends here, for a source with `Source::always`.
  /// A sample not newer than its series' last one is dropped and counted.
  /// @return the series that got a sample or ended, for finding the rules that it touches; valid until the store next changes
  std::span<Series* const> commit(const Batch& batch);

  /// Appends one point to one series outside any check: recorded values, conformance tests. NaN with the staleness bit pattern ends a
  /// series.
  /// @return the series; nullptr when a bound refused it, or the point was not newer than its last one
  Series* append(const Labels& labels, Point point);

  /// The place of `service`, made when new; it stays until `remove_service`.
  Service& service(const ServiceKey& service);

  /// Begins an epoch of `service` at `at`: selectors whose reference instant is at or after it see nothing older.
  /// Counters of ours (Sample::counter) begin it with their present value; every source must deliver again before it is live.
  void begin_epoch(const ServiceKey& service, Instant at);
  /// Start of the epoch of `service` in force at `at`; nothing when none had begun.
  std::optional<Instant> epoch_start(const ServiceKey& service, Instant at) const;

  /// All evidence is stale from here on (suspend, stopped process): every source must deliver again before it is live.
  void forget_liveness(Instant now);

  /// The points of each matching series in (`from`, `to`], clipped to the epoch in force at `to`. Series without points are left out.
  /// @param scope  when set, only series of this service
  std::vector<Selected> select(std::span<const Matcher> matchers, Instant from_exclusive, Instant to, const ServiceKey* scope) const;
  /// The newest point of each matching series in (`to` - `lookback`, `to`], clipped alike; one that is a staleness marker is left out.
  std::vector<Selected> select_latest(std::span<const Matcher> matchers, Instant to, Duration lookback, const ServiceKey* scope) const;

  /// Whether the sources that can feed such a selector are delivering at `now`. A source can feed it when the selector's
  /// `__name__`, `service`, `environment` and `check` matchers allow.
  Liveness liveness(std::span<const Matcher> matchers, Instant now, const ServiceKey* scope) const;
  /// Checks of `service` that can feed such a selector.
  std::vector<std::string> feeders(std::span<const Matcher> matchers, const ServiceKey& service) const;
  /// The earliest instant after `now` at which a live source of `service` becomes stale; nothing when all are stale already.
  std::optional<Instant> next_staleness(const ServiceKey& service, Instant now) const;
  /// When `check` of `service` last delivered in this epoch.
  std::optional<Instant> last_delivery(const ServiceKey& service, std::string_view check) const;

  /// Up to `count` series from place `first` on in the order of their creation, each with all its points whatever their epoch: for dumps,
  /// a slice a turn. Fewer than `count`: that was the end. A series that goes meanwhile may move another past a reader.
  std::vector<Selected> dump(std::size_t first, std::size_t count) const;
  /// The starts of each service's remembered epochs, oldest first.
  std::map<ServiceKey, std::vector<Instant>> epochs() const;

  /// Who is told of series from here on; nullptr: nobody. It is told nothing of those that are there already.
  void watch(Watcher* watcher);
  /// All series in order of their creation, or those of one service; valid until the store next changes.
  std::span<Series* const> series(const ServiceKey* scope = nullptr) const;

  std::size_t series_count() const;
  const Counters& counters() const;
  const Limits& limits() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The bit pattern of Prometheus's staleness marker (model/value/value.go), and whether `v` has it.
double stale_nan();
bool is_stale_nan(double v);

}  // namespace rollbackd::series
