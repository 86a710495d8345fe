// Runs a monitoring plugin in Nagios's convention, on a grid of planned instants: its exit status is the health, its performance data are
// series. Flow: plugin -> [exec check] -batch-> engine. A plugin that does not know, hangs or cannot run says nothing of the service.
#include <array>
#include <optional>
#include <set>

#include "checks/command_slot.hpp"
#include "checks/kinds.hpp"
#include "checks/nagios.hpp"
#include "checks/parts.hpp"
#include "checks/probe.hpp"
#include "checks/probe_loop.hpp"
#include "checks/single_run.hpp"
#include "io/process.hpp"
#include "series/store.hpp"

namespace rollbackd::checks {

namespace asio = boost::asio;

namespace {

constexpr int kOk = 0, kCritical = 2, kUnknown = 3;  // 1 is a warning: it stands between them.
constexpr const char* kStatus = "plugin_status";
constexpr const char* kPerfData = "plugin_perfdata";
constexpr std::array<const char*, 6> kMetrics{
    kStatus, kPerfData, "plugin_perfdata_warning", "plugin_perfdata_critical", "plugin_perfdata_min", "plugin_perfdata_max"};

class ExecCheck final : public Check {
 public:
  explicit ExecCheck(CheckContext context)
      : context_(std::move(context)),
        runs_(context_.executor),
        record_(context_, &counters_, host_name()),
        status_labels_(labels_of(context_, kStatus, host_name())) {}

  asio::awaitable<void> run() override {
    return run_on_grid(&context_, &counters_, [this](Instant slot) { return probe(slot); });
  }

  /// A plugin that is running already began after whatever is asked about, so its answer is taken: it never runs twice at once.
  asio::awaitable<Batch> probe_now() override {
    std::optional<Batch> shared = co_await runs_.shared();
    if (shared) co_return std::move(*shared);
    std::optional<Batch> own = co_await probe(std::nullopt);
    co_return told_at_once(context_, std::move(own));
  }

  Source source() const override {
    Source out{context_.service, context_.settings.name, ProbeRecord::metrics(),
               2 * context_.settings.interval + context_.settings.timeout};
    out.metrics.insert(out.metrics.end(), kMetrics.begin(), kMetrics.end());
    return out;
  }
  void begin_epoch() override { record_.begin_epoch(); }
  const CheckCounters& counters() const override { return counters_; }

 private:
  /// @param planned  the slot; nothing for a second opinion, which counts as the instant it really is
  /// @return nothing when it was cancelled
  asio::awaitable<std::optional<Batch>> probe(std::optional<Instant> planned) {
    SingleRun::Body body = [this, planned] { return run_plugin(planned); };
    return runs_.own(std::move(body));
  }

  asio::awaitable<std::optional<Batch>> run_plugin(std::optional<Instant> planned) {
    const std::optional<CommandSlot> slot = co_await CommandSlot::take(context_.executor, context_.settings.timeout);
    const bool cancelled = co_await is_cancelled();
    if (cancelled) co_return std::nullopt;
    const Instant began = context_.clock->now();
    if (!slot) {
      Batch batch = batch_of(context_, began);
      record_.unobserved(batch, "the checks run " + std::to_string(kCommandsMax) + " commands already, and none ended within " +
                                    format_duration(context_.settings.timeout));
      co_return batch;
    }
    io::CommandOptions options;
    options.argv = context_.settings.command;
    options.environment = context_.settings.environment;
    options.output_bytes_max = static_cast<std::size_t>(context_.settings.output_bytes_max);
    const auto result = co_await io::run_command(std::move(options), context_.settings.timeout);
    if (result.has_error() && result.error().code == Errc::cancelled) co_return std::nullopt;
    co_return judged(result, began, planned.value_or(began), context_.clock->now() - began);
  }

  Batch judged(const Result<io::CommandResult>& result, Instant began, Instant slot, Duration took) {
    Batch batch = batch_of(context_, began);
    if (result.has_error()) {  // It hung, or it cannot be executed: neither is the service's fault.
      record_.unobserved(batch, result.error().text());
      return batch;
    }
    const PluginOutput output = parse_plugin_output(result->output);
    batch.detail = evidence(output.text.empty() ? "the plugin printed nothing" : output.text);
    if (result->exit_code < kOk || result->exit_code > kCritical) {
      record_.unobserved(batch, ended_as(*result) + (output.text.empty() ? "" : ": " + output.text));
      return batch;
    }
    record_.judged(batch, {slot, result->exit_code != kCritical, false, took});
    batch.samples.push_back({status_labels_, static_cast<double>(result->exit_code), false});
    add_data(batch, output);
    return batch;
  }

  static std::string ended_as(const io::CommandResult& result) {
    if (result.signal != 0) return "the plugin was killed by signal " + std::to_string(result.signal);
    if (result.exit_code == kUnknown) return "the plugin does not know (UNKNOWN)";
    return "the plugin ended with status " + std::to_string(result.exit_code) + ", which means nothing";
  }

  void add_data(Batch& batch, const PluginOutput& output) {
    std::set<Labels> delivered;
    for (const PerfData& data : output.data) {
      const std::array<std::pair<const char*, std::optional<double>>, 5> values{{{kPerfData, data.value},
                                                                                 {kMetrics[2], data.warning},
                                                                                 {kMetrics[3], data.critical},
                                                                                 {kMetrics[4], data.min},
                                                                                 {kMetrics[5], data.max}}};
      for (const auto& [metric, value] : values) {
        if (!value) continue;
        Labels labels = labels_of(context_, metric, host_name_);
        labels.set("label", data.label);
        labels.set("unit", data.unit);
        batch.samples.push_back({labels, *value, false});
        delivered.insert(std::move(labels));
      }
    }
    // What the plugin prints no more ends at once, as a scraped series does; else its last value would count for five minutes.
    for (const Labels& labels : delivered_)
      if (!delivered.contains(labels)) batch.samples.push_back({labels, series::stale_nan(), false});
    delivered_ = std::move(delivered);
  }

  CheckContext context_;
  CheckCounters counters_;
  SingleRun runs_;
  ProbeRecord record_;
  Labels status_labels_;
  std::string host_name_ = host_name();
  std::set<Labels> delivered_;  ///< series of the performance data printed last
};

}  // namespace

Result<std::unique_ptr<Check>> make_exec_check(CheckContext context) {
  if (context.settings.command.empty() || context.settings.command[0].empty())
    return Error(Errc::invalid_config, "check " + context.settings.name + " has no command");
  if (context.settings.interval < 1ms || context.settings.timeout < 1ms)
    return Error(Errc::invalid_config, "interval and timeout of check " + context.settings.name + " must be 1ms or more");
  return std::unique_ptr<Check>(std::make_unique<ExecCheck>(std::move(context)));
}

}  // namespace rollbackd::checks
