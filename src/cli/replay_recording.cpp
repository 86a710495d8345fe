// What was recorded becomes batches to be: series get their service and source, samples their order, sources their staleness.
#include "cli/replay_recording.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace rollbackd::cli {

namespace {

constexpr std::string_view kUp = "up", kPromqlUp = "promql_up";
/// Metrics of sources that wait for events and repeat what they know every 15 s: the spacing of their samples says nothing of their
/// silence.
constexpr std::array<std::string_view, 6> kRepeated{"process_up",           "log_lines_total", "config_valid",
                                                    "verification_success", "dependency_up",   "release_switched_timestamp_seconds"};
constexpr Duration kRepeatStaleness = 31s;
/// Metrics that a scrape delivers even when the target cannot be read.
constexpr std::array<std::string_view, 5> kOfTheScrape{"up", "scrape_duration_seconds", "scrape_samples_scraped",
                                                       "scrape_samples_post_metric_relabeling", "scrape_series_added"};

template <class List>
bool is_one_of(const List& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

ServiceKey service_of(const Labels& labels) { return {std::string(labels.get("service")), std::string(labels.get("environment"))}; }

/// A check of rollbackd by its name; a target of Prometheus by its job and instance.
std::string source_name(const Labels& labels) {
  if (labels.has("check")) return std::string(labels.get("check"));
  std::string name(labels.get("job"));
  if (labels.has("instance")) name += (name.empty() ? "" : "/") + std::string(labels.get("instance"));
  return name.empty() ? "recording" : name;
}

Error too_many(std::string_view what, std::size_t most) {
  return Error(Errc::too_large, "the recording has more than " + std::to_string(most) + " " + std::string(what))
      .try_next("cut it with --start and --end, or record fewer series");
}

const config::CheckSettings* find_check(const std::map<ServiceKey, config::ServiceSettings>& services, const Source& source) {
  const auto service = services.find(source.service);
  if (service == services.end()) return nullptr;
  for (const auto& check : service->second.checks)
    if (check.name == source.check) return &check;
  return nullptr;
}

Duration staleness_of(const config::CheckSettings& check) {
  const bool waits =
      check.type == config::CheckType::process || check.type == config::CheckType::log || check.type == config::CheckType::systemd;
  return waits ? kRepeatStaleness : 2 * check.interval + check.timeout;
}

Duration median_spacing(const std::vector<Instant>& at) {
  std::vector<Duration> gaps;
  for (std::size_t i = 1; i < at.size(); ++i) gaps.push_back(at[i] - at[i - 1]);
  if (gaps.empty()) return 15s;  // One look alone: Prometheus's usual interval.
  const auto middle = gaps.begin() + static_cast<std::ptrdiff_t>(gaps.size() / 2);
  std::nth_element(gaps.begin(), middle, gaps.end());
  return *middle;
}

}  // namespace

Result<std::uint32_t> Recording::series(Labels labels) {
  if (!labels.has("service")) {
    const std::string named(options_.service_label.empty() ? "" : labels.get(options_.service_label));
    labels.set("service", named.empty() ? options_.service : named);
  }
  if (!labels.has("environment")) labels.set("environment", options_.environment);
  const auto [at, is_new] = places_.try_emplace(labels, static_cast<std::uint32_t>(series_.size()));
  if (!is_new) return at->second;
  if (series_.size() >= options_.limits.series_max) return too_many("series", options_.limits.series_max);
  series_.push_back({std::move(labels), 0});
  return at->second;
}

Result<> Recording::add(std::uint32_t place, Instant at, double value) {
  if ((options_.start && at < *options_.start) || (options_.end && at > *options_.end)) return {};
  if (samples_.size() >= options_.limits.samples_max) return too_many("samples", options_.limits.samples_max);
  samples_.push_back({at, value, place});
  return {};
}

Result<> Recording::add_epoch(RecordedEpoch epoch) {
  if (epochs_.size() >= options_.limits.epochs_max) return too_many("epochs", options_.limits.epochs_max);
  epochs_.push_back(std::move(epoch));
  return {};
}

Result<> Recording::finish(const std::set<std::string>& without, const std::map<ServiceKey, config::ServiceSettings>& services) {
  places_.clear();
  leave_out(without);
  if (samples_.empty()) {
    return Error(Errc::not_found, "the recording has no samples")
        .because(options_.start || options_.end ? "none lies between --start and --end, or only recorded rules are in it"
                                                : "only comments and recorded rules are in it");
  }
  make_sources();
  order();
  begins_ = options_.start.value_or(samples_.front().at);
  ends_ = options_.end ? std::max(samples_.back().at, *options_.end) : samples_.back().at;
  if (ends_ - begins_ > options_.limits.length_max) {
    return Error(Errc::too_large, "the recording is " + format_duration(ends_ - begins_) + " long")
        .because("from " + format_rfc3339(begins_) + " to " + format_rfc3339(ends_) + "; at most " +
                 format_duration(options_.limits.length_max))
        .try_next("cut it with --start and --end");
  }
  set_epochs();
  know_sources(services);
  return {};
}

/// What the rules record is made anew; a recorded copy would stand beside it.
void Recording::leave_out(const std::set<std::string>& names) {
  std::vector<bool> out(series_.size(), false);
  std::size_t n = 0;
  for (std::size_t i = 0; i < series_.size(); ++i) {
    out[i] = names.contains(std::string(series_[i].labels.name()));
    n += out[i] ? 1 : 0;
  }
  if (n == 0) return;
  std::erase_if(samples_, [&](const RecordedSample& s) { return out[s.series]; });
  note(std::to_string(n) + " recorded series of the rules' own are left out: they are made anew");
}

/// Series and sources are numbered by their labels, so that the order of the text means nothing.
void Recording::make_sources() {
  std::vector<bool> used(series_.size(), false);
  for (const RecordedSample& sample : samples_) used[sample.series] = true;
  std::vector<std::uint32_t> by_labels;
  for (std::uint32_t i = 0; i < series_.size(); ++i)
    if (used[i]) by_labels.push_back(i);
  std::sort(by_labels.begin(), by_labels.end(), [this](auto a, auto b) { return series_[a].labels < series_[b].labels; });
  std::vector<std::uint32_t> place(series_.size(), 0);
  std::vector<RecordedSeries> ordered;
  std::map<std::pair<ServiceKey, std::string>, std::set<std::string>> metrics;
  for (const std::uint32_t i : by_labels) {
    place[i] = static_cast<std::uint32_t>(ordered.size());
    ordered.push_back(std::move(series_[i]));
    const Labels& labels = ordered.back().labels;
    metrics[{service_of(labels), source_name(labels)}].emplace(labels.name());
  }
  series_ = std::move(ordered);
  for (RecordedSample& sample : samples_) sample.series = place[sample.series];

  std::map<std::pair<ServiceKey, std::string>, std::uint32_t> number;
  for (const auto& [key, names] : metrics) {
    number[key] = static_cast<std::uint32_t>(sources_.size());
    sources_.emplace_back();
    sources_.back().source.service = key.first;
    sources_.back().source.check = key.second;
    sources_.back().source.metrics.assign(names.begin(), names.end());
  }
  for (RecordedSeries& series : series_) series.source = number.at({service_of(series.labels), source_name(series.labels)});
}

void Recording::order() {
  const auto before = [this](const RecordedSample& a, const RecordedSample& b) {
    if (a.at != b.at) return a.at < b.at;
    const std::uint32_t from = series_[a.series].source, to = series_[b.series].source;
    return from != to ? from < to : a.series < b.series;
  };
  if (!std::is_sorted(samples_.begin(), samples_.end(), before)) std::stable_sort(samples_.begin(), samples_.end(), before);
  // The same series at the same time: the first one read stays, as in Prometheus.
  std::size_t differ = 0;
  const auto same = [&](const RecordedSample& a, const RecordedSample& b) {
    if (a.at != b.at || a.series != b.series) return false;
    if (a.value != b.value && (a.value == a.value || b.value == b.value)) ++differ;
    return true;
  };
  samples_.erase(std::unique(samples_.begin(), samples_.end(), same), samples_.end());
  if (differ > 0)
    note(std::to_string(differ) + " samples were given again for the same series and time with another value: the first one counts");
}

void Recording::set_epochs() {
  std::stable_sort(epochs_.begin(), epochs_.end(), [](const auto& a, const auto& b) { return a.at < b.at; });
  const std::set<ServiceKey> here = services();
  std::set<std::string> strangers;
  std::map<ServiceKey, RecordedEpoch> first;
  std::vector<RecordedEpoch> later;
  for (RecordedEpoch& epoch : epochs_) {
    if (!here.contains(epoch.service)) {
      strangers.insert(epoch.service.text());
    } else if (epoch.at <= begins_) {
      epoch.at = begins_;
      first[epoch.service] = epoch;
    } else if (epoch.at <= ends_) {
      later.push_back(epoch);
    }
  }
  epochs_.clear();
  std::map<ServiceKey, int> unnamed;
  for (auto& [service, epoch] : first) epochs_.push_back(std::move(epoch));
  epochs_.insert(epochs_.end(), later.begin(), later.end());
  for (RecordedEpoch& epoch : epochs_)
    if (epoch.release.empty()) epoch.release = "unnamed-" + std::to_string(++unnamed[epoch.service]);
  for (const std::string& name : strangers) note("a release of " + name + " is named, but it has no samples");
}

void Recording::know_sources(const std::map<ServiceKey, config::ServiceSettings>& services) {
  std::vector<std::size_t> with_up(sources_.size(), 0);
  for (const RecordedSample& sample : samples_) {
    const Labels& labels = series_[sample.series].labels;
    const std::uint32_t place = series_[sample.series].source;
    RecordedSource& source = sources_[place];
    if (source.deliveries.empty() || source.deliveries.back() != sample.at) source.deliveries.push_back(sample.at);
    const std::string_view name = labels.name();
    if (name == kUp || name == kPromqlUp) ++with_up[place];
    if (name == "probe_success" || name == "file_exists" || name == "dependency_up")
      source.health.emplace_back(sample.at, sample.value == 1);
    if (name == "dependency_up") source.dependency = std::string(labels.get("dependency"));
  }
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    RecordedSource& recorded = sources_[i];
    Source& source = recorded.source;
    const config::CheckSettings* check = find_check(services, source);
    const Duration spacing = options_.interval ? *options_.interval : median_spacing(recorded.deliveries);
    source.staleness = 2 * spacing + spacing / 2;
    const auto repeats = [](const std::string& metric) { return is_one_of(kRepeated, metric); };
    if (std::any_of(source.metrics.begin(), source.metrics.end(), repeats)) source.staleness = std::max(source.staleness, kRepeatStaleness);
    // Coarser than the daemon would look: the silence between two samples is the recording's, not the service's.
    if (check != nullptr) source.staleness = std::max(source.staleness, staleness_of(*check));
    recorded.has_up = with_up[i] >= recorded.deliveries.size();
    if (!recorded.has_up) continue;
    const auto always = [](const std::string& metric) { return is_one_of(kOfTheScrape, metric) || metric == kPromqlUp; };
    std::copy_if(source.metrics.begin(), source.metrics.end(), std::back_inserter(source.always), always);
    std::erase_if(source.metrics, always);
    if (check != nullptr && check->type == config::CheckType::scrape) source.metrics.clear();  // It can deliver any, as in the daemon.
    if (source.metrics.empty() && check == nullptr) source.metrics.push_back("up");
  }
}

std::set<ServiceKey> Recording::services() const {
  std::set<ServiceKey> out;
  for (const RecordedSource& source : sources_) out.insert(source.source.service);
  return out;
}

}  // namespace rollbackd::cli
