// Recorded samples, put in the order in which they came: which service and source each series belongs to, and when its releases went live.
// Flow: text, query_range -> [recording] -> replay. In memory; bounded by RecordingLimits.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "config/settings.hpp"
#include "model/batch.hpp"

namespace rollbackd::cli {

/// Beyond one of these reading ends with `too_large`.
struct RecordingLimits {
  std::size_t samples_max = 20'000'000;
  std::size_t series_max = 500'000;
  std::size_t epochs_max = 100'000;
  std::size_t bytes_max = std::size_t{1} << 30;  ///< of text, over all files
  Duration length_max = 400 * 24h;
};

/// How series get their service, and which part of the recording counts.
struct RecordingOptions {
  std::string service, environment;   ///< stamped on series without these labels; empty: not stamped
  std::string service_label;          ///< the label that names the service where `service` is missing; empty: none
  std::optional<Instant> start, end;  ///< samples outside are left out, both ends count
  std::optional<Duration> interval;   ///< between two looks of every source; nothing: the median spacing of its own samples
  RecordingLimits limits;
};

struct RecordedSample {
  Instant at;
  double value = 0;
  std::uint32_t series = 0;
};

struct RecordedSeries {
  Labels labels;
  std::uint32_t source = 0;
};

/// One stay of a release.
struct RecordedEpoch {
  ServiceKey service;
  std::string release;
  Instant at;
};

/// What looked: a check of rollbackd, or a target (job and instance) of Prometheus.
struct RecordedSource {
  Source source;                                 ///< as the judge gets it
  bool has_up = false;                           ///< every delivery brings `up` (or `promql_up`): 0 says that it could not look
  std::vector<Instant> deliveries;               ///< ascending, each once
  std::vector<std::pair<Instant, bool>> health;  ///< what it thought of health: `probe_success`, `file_exists`, `dependency_up`; ascending
  std::string dependency;                        ///< whose health that is; empty: the service's own
};

class Recording {
 public:
  explicit Recording(RecordingOptions options) : options_(std::move(options)) {}

  /// The place of a series, new or known. @return `too_large` over the bound
  Result<std::uint32_t> series(Labels labels);
  /// Takes one sample, in any order. @return `too_large` over the bound
  Result<> add(std::uint32_t series, Instant at, double value);
  Result<> add_epoch(RecordedEpoch epoch);

  /// Everything was read: leaves out the series of `without` (names that the rules record themselves), orders what is left and makes its
  /// sources, with the staleness that `services` give them or else 2.5 times the median of their spacing.
  /// @return `not_found` when nothing is left, `too_large` for a recording longer than the bound
  Result<> finish(const std::set<std::string>& without, const std::map<ServiceKey, config::ServiceSettings>& services);

  // ---- After finish() ----
  const std::vector<RecordedSample>& samples() const { return samples_; }  ///< by time, then source, then series
  const std::vector<RecordedSeries>& all_series() const { return series_; }
  const std::vector<RecordedSource>& sources() const { return sources_; }
  const std::vector<RecordedEpoch>& epochs() const { return epochs_; }  ///< by time; before the start at most one a service, moved to it
  std::set<ServiceKey> services() const;
  Instant begins() const { return begins_; }
  Instant ends() const { return ends_; }
  /// What people should know of how it was read: duplicates, series left out, assumptions.
  const std::vector<std::string>& notes() const { return notes_; }
  void note(std::string text) { notes_.push_back(std::move(text)); }

  const RecordingOptions& options() const { return options_; }

 private:
  void leave_out(const std::set<std::string>& names);
  void make_sources();
  void order();
  void set_epochs();
  void know_sources(const std::map<ServiceKey, config::ServiceSettings>& services);

  RecordingOptions options_;
  std::unordered_map<Labels, std::uint32_t, LabelsHash> places_;
  std::vector<RecordedSeries> series_;
  std::vector<RecordedSample> samples_;
  std::vector<RecordedSource> sources_;
  std::vector<RecordedEpoch> epochs_;
  std::vector<std::string> notes_;
  Instant begins_, ends_;
};

}  // namespace rollbackd::cli
