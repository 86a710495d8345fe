// What a probe that succeeded or failed becomes: the probe_* series.
// Flow: http, tcp, exec -> [probe] -batch-> engine.
#include "checks/probe.hpp"

#include <algorithm>
#include <array>

#include "checks/parts.hpp"

namespace rollbackd::checks {
namespace {

constexpr std::array<const char*, 5> kMetrics{"probe_success", "probe_duration_seconds", "probe_timed_out", "probe_consecutive_failures",
                                              "probe_failing_seconds"};

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

ProbeRecord::ProbeRecord(const CheckContext& context, CheckCounters* counters, const std::string& instance) : counters_(counters) {
  for (const char* metric : kMetrics) labels_.push_back(labels_of(context, metric, instance));
}

void ProbeRecord::judged(Batch& batch, const Probed& probed) {
  batch.healthy = probed.success;
  if (probed.success) {
    ++counters_->ok;
    begin_epoch();
  } else {
    ++counters_->failed;
    ++failures_;
    first_failure_ = std::min(first_failure_.value_or(probed.slot), probed.slot);
  }
  const double failing = probed.success ? 0 : seconds(probed.slot - *first_failure_);
  const std::array<double, kMetrics.size()> values{probed.success ? 1.0 : 0.0, seconds(probed.took), probed.timed_out ? 1.0 : 0.0,
                                                   static_cast<double>(failures_), failing};
  batch.samples.reserve(labels_.size() + 1);  // http adds one of its own.
  for (std::size_t i = 0; i < labels_.size(); ++i) batch.samples.push_back({labels_[i], values[i], false});
}

void ProbeRecord::unobserved(Batch& batch, std::string_view why) {
  ++counters_->unobserved;
  batch.unobserved = evidence(why);
  if (batch.detail.empty()) batch.detail = batch.unobserved;
}

void ProbeRecord::begin_epoch() {
  failures_ = 0;
  first_failure_.reset();
}

std::vector<std::string> ProbeRecord::metrics() { return {kMetrics.begin(), kMetrics.end()}; }

}  // namespace rollbackd::checks
