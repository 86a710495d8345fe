#include "metrics/exporter.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>

namespace rollbackd::metrics {

namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using LabelList = std::vector<std::pair<std::string, std::string>>;

/// One family of what simply stands: built anew at each scrape, so a service or release that is gone leaves nothing behind.
class Family {
 public:
  Family(std::string name, std::string help, MetricType type) {
    family_.name = std::move(name);
    family_.help = std::move(help);
    family_.type = type;
  }
  Family& add(const LabelList& labels, double value) {
    ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    if (family_.type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    family_.metric.push_back(std::move(metric));
    return *this;
  }
  void into(std::vector<MetricFamily>& all) && {
    if (!family_.metric.empty()) all.push_back(std::move(family_));
  }

 private:
  MetricFamily family_;
};

const prometheus::Histogram::BucketBoundaries kOperationSeconds{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};
const prometheus::Histogram::BucketBoundaries kDetectionSeconds{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 15, 60};

}  // namespace

struct Exporter::Impl {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& operations = prometheus::BuildCounter()
                                                            .Name("rollbackd_operations_total")
                                                            .Help("Operations that ended, by kind, trigger and status.")
                                                            .Register(registry);
  prometheus::Family<prometheus::Histogram>& durations = prometheus::BuildHistogram()
                                                             .Name("rollbackd_operation_duration_seconds")
                                                             .Help("How long operations took, by phase; phase total is the whole.")
                                                             .Register(registry);
  prometheus::Histogram& detection = prometheus::BuildHistogram()
                                         .Name("rollbackd_detection_seconds")
                                         .Help("From the commit of the failing sample to the beginning of the second opinion.")
                                         .Register(registry)
                                         .Add({}, kDetectionSeconds);
  prometheus::Family<prometheus::Counter>& decisions =
      prometheus::BuildCounter().Name("rollbackd_decisions_total").Help("Decisions, by kind.").Register(registry);
  prometheus::Family<prometheus::Counter>& refusals = prometheus::BuildCounter()
                                                          .Name("rollbackd_guard_refusals_total")
                                                          .Help("Decisions in which a guard said no and was not passed over.")
                                                          .Register(registry);
  prometheus::Family<prometheus::Counter>& tests =
      prometheus::BuildCounter().Name("rollbackd_verification_tests_total").Help("Verification tests run, by result.").Register(registry);
  /// Rollbacks by environment: how many ended, how many of them succeeded.
  std::map<std::string, std::pair<double, double>> rollbacks;

  void count(const ServiceKey& service, OperationKind kind, Trigger trigger, OperationStatus status, double n) {
    operations
        .Add({{"service", service.name},
              {"environment", service.environment},
              {"kind", to_string(kind)},
              {"trigger", to_string(trigger)},
              {"status", to_string(status)}})
        .Increment(n);
    if (kind != OperationKind::rollback || !is_terminal(status)) return;
    auto& [ended, succeeded] = rollbacks[service.environment];
    ended += n;
    if (status == OperationStatus::succeeded) succeeded += n;
  }
};

Exporter::Exporter() : impl_(std::make_unique<Impl>()) {
  // Every decision and result exists from the start, so that a rate over them has a beginning.
  for (const DecisionKind kind : {DecisionKind::none, DecisionKind::notify, DecisionKind::hold, DecisionKind::rollback})
    impl_->decisions.Add({{"decision", to_string(kind)}});
  for (const char* result : {"passed", "failed"}) impl_->tests.Add({{"result", result}});
}
Exporter::~Exporter() = default;

void Exporter::seed(const std::vector<record::OperationTotal>& totals) {
  for (const auto& total : totals) {
    if (!is_terminal(total.status)) continue;
    impl_->count(total.service, total.kind, total.trigger, total.status, static_cast<double>(total.count));
  }
}

void Exporter::operation_ended(const record::OperationRow& row) {
  impl_->count(row.request.service, row.request.kind, row.request.trigger, row.status, 1);
  const auto observe = [&](const std::string& phase, Duration took) {
    impl_->durations.Add({{"phase", phase}, {"kind", to_string(row.request.kind)}}, kOperationSeconds)
        .Observe(std::chrono::duration<double>(took).count());
  };
  for (const auto& [phase, took] : row.phases) observe(phase, took);
  if (row.ended) observe("total", *row.ended - row.begun);
}

void Exporter::decided(const Decision& decision) {
  impl_->decisions.Add({{"decision", to_string(decision.kind)}}).Increment();
  for (const auto& answer : decision.guards)
    if (answer.asked && !answer.yes && !answer.passed_over) impl_->refusals.Add({{"guard", answer.guard}}).Increment();
}

void Exporter::detected(const ServiceKey&, Duration took) { impl_->detection.Observe(std::chrono::duration<double>(took).count()); }

void Exporter::tested(const ServiceKey&, bool passed) { impl_->tests.Add({{"result", passed ? "passed" : "failed"}}).Increment(); }

std::string Exporter::text(const Standing& standing) const {
  std::vector<MetricFamily> all = impl_->registry.Collect();
  const auto number = [](auto n) { return static_cast<double>(n); };

  Family ratio("rollbackd_rollback_success_ratio", "Share of ended rollbacks that succeeded, since the history began.", MetricType::Gauge);
  for (const auto& [environment, counts] : impl_->rollbacks)
    if (counts.first > 0) ratio.add({{"environment", environment}}, counts.second / counts.first);
  Family ready("rollbackd_rollback_ready", "1 when a rollback of the service could act now; `rollbackctl ready` says why not.",
               MetricType::Gauge);
  Family info("rollbackd_release_info", "Releases in the ledger with their standing; live is 1 for the one that runs.", MetricType::Gauge);
  Family blind("rollbackd_blind_rules", "Rules that cannot be judged because a source is silent.", MetricType::Gauge);
  Family checks("rollbackd_checks_total", "Runs of checks, by type and result.", MetricType::Counter);
  for (const auto& service : standing.services) {
    const LabelList key{{"service", service.key.name}, {"environment", service.key.environment}};
    ready.add(key, service.ready ? 1 : 0);
    blind.add(key, service.blind_rules);
    for (const auto& [release, state] : service.releases) {
      LabelList labels = key;
      labels.emplace_back("release", release);
      labels.emplace_back("standing", state);
      labels.emplace_back("live", release == service.live ? "1" : "0");
      info.add(labels, 1);
    }
    for (const auto& check : service.checks) {
      const auto result = [&](const char* name, std::uint64_t n) {
        LabelList labels = key;
        labels.emplace_back("check", check.name);
        labels.emplace_back("type", check.type);
        labels.emplace_back("result", name);
        checks.add(labels, number(n));
      };
      result("ok", check.ok);
      result("failed", check.failed);
      result("unobserved", check.unobserved);
      result("late", check.late);
    }
  }
  const auto one = [&](const char* name, const char* help, MetricType type, double value) {
    std::move(Family(name, help, type).add({}, value)).into(all);
  };
  std::move(ratio).into(all);
  std::move(ready).into(all);
  std::move(info).into(all);
  std::move(blind).into(all);
  std::move(checks).into(all);
  one("rollbackd_batches_total", "Batches committed to the judge.", MetricType::Counter, number(standing.judge.batches));
  one("rollbackd_rule_evaluations_total", "Rules evaluated.", MetricType::Counter, number(standing.judge.evaluations));
  one("rollbackd_rule_evaluation_failures_total", "Rule evaluations that ended in an error.", MetricType::Counter,
      number(standing.judge.evaluation_failures));
  one("rollbackd_alerts_dropped_total", "Alerts over the bound of a rule.", MetricType::Counter, number(standing.judge.alerts_dropped));
  one("rollbackd_samples_total", "Samples committed.", MetricType::Counter, number(standing.store.samples));
  one("rollbackd_series", "Series held in memory.", MetricType::Gauge, number(standing.series));
  one("rollbackd_series_dropped_total", "Series over the store's bound.", MetricType::Counter, number(standing.store.series_dropped));
  one("rollbackd_samples_out_of_order_total", "Samples not newer than their series' last one.", MetricType::Counter,
      number(standing.store.out_of_order));
  Family notifications("rollbackd_notifications_total", "Notifications, by what became of them.", MetricType::Counter);
  notifications.add({{"result", "queued"}}, number(standing.outbox.queued));
  notifications.add({{"result", "sent"}}, number(standing.outbox.sent));
  notifications.add({{"result", "retried"}}, number(standing.outbox.retried));
  notifications.add({{"result", "given_up"}}, number(standing.outbox.given_up));
  notifications.add({{"result", "dropped"}}, number(standing.outbox.dropped));
  std::move(notifications).into(all);
  one("rollbackd_history_ok", "1 when the history is on disk.", MetricType::Gauge, standing.history_ok ? 1 : 0);
  one("rollbackd_history_rows_dropped_total", "History rows dropped because the queue was full.", MetricType::Counter,
      number(standing.history_dropped));
  one("rollbackd_config_last_reload_successful", "1 when the last reload of the configuration was taken.", MetricType::Gauge,
      standing.last_reload_ok ? 1 : 0);
  Family reloads("rollbackd_config_reloads_total", "Reloads of the configuration, by result.", MetricType::Counter);
  reloads.add({{"result", "ok"}}, number(standing.reloads_ok)).add({{"result", "failed"}}, number(standing.reloads_failed));
  std::move(reloads).into(all);
  one("rollbackd_reactor_lag_seconds", "How late the reactor's last heartbeat was.", MetricType::Gauge, standing.reactor_lag_seconds);
  Family build("rollbackd_build_info", "The version that runs.", MetricType::Gauge);
  build.add({{"version", ROLLBACKD_VERSION}}, 1);
  std::move(build).into(all);
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace rollbackd::metrics
