#include "metrics/exporter.hpp"

#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <map>
#include <set>

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

/// What happened so often, by label set. Counts only grow.
using Counts = std::map<LabelList, double>;

LabelList labels_of(const ServiceKey& service) { return {{"service", service.name}, {"environment", service.environment}}; }

LabelList with(LabelList labels, std::initializer_list<std::pair<std::string, std::string>> more) {
  labels.insert(labels.end(), more.begin(), more.end());
  return labels;
}

LabelList operation_labels(const ServiceKey& service, OperationKind kind, Trigger trigger, OperationStatus status) {
  return with(labels_of(service), {{"kind", to_string(kind)}, {"trigger", to_string(trigger)}, {"status", to_string(status)}});
}

/// `counts`, and 0 for every label set of `expected` that has not happened: a rate over it then has a beginning.
void counters_into(std::vector<MetricFamily>& all, const char* name, const char* help, Counts counts,
                   const std::vector<LabelList>& expected) {
  for (const LabelList& labels : expected) counts.emplace(labels, 0);
  Family family(name, help, MetricType::Counter);
  for (const auto& [labels, n] : counts) family.add(labels, n);
  std::move(family).into(all);
}

double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

struct Exporter::Impl {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Histogram>& durations =
      prometheus::BuildHistogram()
          .Name("rollbackd_operation_duration_seconds")
          .Help("How long operations took, by phase: preflight, switch, restart, verify, and total for the whole.")
          .Register(registry);
  prometheus::Histogram& detection = prometheus::BuildHistogram()
                                         .Name("rollbackd_detection_seconds")
                                         .Help("From the commit of the failing sample to the beginning of the second opinion.")
                                         .Register(registry)
                                         .Add({}, kDetectionSeconds);
  prometheus::Family<prometheus::Histogram>& hook_durations = prometheus::BuildHistogram()
                                                                  .Name("rollbackd_hook_duration_seconds")
                                                                  .Help("How long hooks ran, by where in an operation they are called.")
                                                                  .Register(registry);
  Counts operations, decisions, refusals, tests, hooks, scrubs, scrubbed_files, scrubbed_bytes;
  std::map<ServiceKey, Instant> last_scrub;
  /// Rollbacks by environment: how many ended, how many of them succeeded.
  std::map<std::string, std::pair<double, double>> rollbacks;
  struct Last {
    OperationStatus status = OperationStatus::unknown;
    Instant ended;
    Duration took{};
  };
  std::map<std::pair<ServiceKey, OperationKind>, Last> last;

  void count(const ServiceKey& service, OperationKind kind, Trigger trigger, OperationStatus status, double n) {
    operations[operation_labels(service, kind, trigger, status)] += n;
    if (kind != OperationKind::rollback || !is_terminal(status)) return;
    auto& [ended, succeeded] = rollbacks[service.environment];
    ended += n;
    if (status == OperationStatus::succeeded) succeeded += n;
  }
  void remember(const record::OperationRow& row) {
    if (row.ended) last[{row.request.service, row.request.kind}] = {row.status, *row.ended, *row.ended - row.begun};
  }
};

Exporter::Exporter() : impl_(std::make_unique<Impl>()) {
  // Operations are rare: had the histogram only the phases that ended already, no increase() would ever see the first one after a start.
  for (const OperationKind kind : {OperationKind::rollback, OperationKind::deploy})
    for (const char* phase : {"preflight", "switch", "restart", "verify", "total"})
      impl_->durations.Add({{"phase", phase}, {"kind", to_string(kind)}}, kOperationSeconds);
}
Exporter::~Exporter() = default;

void Exporter::seed(const std::vector<record::OperationTotal>& totals, const std::vector<record::OperationRow>& last) {
  if (!totals.empty()) {  // Else the history could not tell, and what was counted so far is all that is known.
    impl_->operations.clear();
    impl_->rollbacks.clear();
  }
  for (const auto& total : totals) {
    if (!is_terminal(total.status)) continue;
    impl_->count(total.service, total.kind, total.trigger, total.status, static_cast<double>(total.count));
  }
  for (const auto& row : last) impl_->remember(row);
}

void Exporter::operation_ended(const record::OperationRow& row) {
  impl_->count(row.request.service, row.request.kind, row.request.trigger, row.status, 1);
  impl_->remember(row);
  const auto observe = [&](const std::string& phase, Duration took) {
    impl_->durations.Add({{"phase", phase}, {"kind", to_string(row.request.kind)}}, kOperationSeconds).Observe(seconds(took));
  };
  for (const auto& [phase, took] : row.phases) observe(phase, took);
  if (row.ended) observe("total", *row.ended - row.begun);
}

void Exporter::decided(const Decision& decision) {
  ++impl_->decisions[with(labels_of(decision.service), {{"decision", to_string(decision.kind)}})];
  for (const auto& answer : decision.guards)
    if (answer.asked && !answer.yes && !answer.passed_over) ++impl_->refusals[with(labels_of(decision.service), {{"guard", answer.guard}})];
}

void Exporter::detected(const ServiceKey&, Duration took) { impl_->detection.Observe(seconds(took)); }

void Exporter::tested(const ServiceKey& service, bool passed) {
  ++impl_->tests[with(labels_of(service), {{"result", passed ? "passed" : "failed"}})];
}

void Exporter::hook_ended(const ServiceKey& service, const std::string& at, Outcome::Status status, Duration took) {
  ++impl_->hooks[with(labels_of(service), {{"at", at}, {"outcome", to_string(status)}})];
  impl_->hook_durations.Add({{"at", at}}, kOperationSeconds).Observe(seconds(took));
}

void Exporter::scrubbed(const ServiceKey& service, std::int64_t files, std::int64_t bytes, bool intact, Instant wall) {
  ++impl_->scrubs[with(labels_of(service), {{"result", intact ? "intact" : "corrupt"}})];
  impl_->scrubbed_files[labels_of(service)] += static_cast<double>(files);
  impl_->scrubbed_bytes[labels_of(service)] += static_cast<double>(bytes);
  impl_->last_scrub[service] = wall;
}

std::string Exporter::text(const Standing& standing) const {
  std::vector<MetricFamily> all = impl_->registry.Collect();
  const auto number = [](auto n) { return static_cast<double>(n); };

  // What can happen to a service that stands exists from the start. Only what people alert on: every status of every kind would be too
  // much.
  std::vector<LabelList> operations, decisions, tests, hooks, scrubs, services;
  for (const auto& service : standing.services) {
    services.push_back(labels_of(service.key));
    for (const char* result : {"intact", "corrupt"}) scrubs.push_back(with(labels_of(service.key), {{"result", result}}));
    for (const std::string& at : service.hook_points)
      for (const Outcome::Status outcome : {Outcome::Status::done, Outcome::Status::failed, Outcome::Status::timed_out})
        hooks.push_back(with(labels_of(service.key), {{"at", at}, {"outcome", to_string(outcome)}}));
    for (const OperationStatus status :
         {OperationStatus::succeeded, OperationStatus::unverified, OperationStatus::failed, OperationStatus::unknown}) {
      operations.push_back(operation_labels(service.key, OperationKind::rollback, Trigger::automatic, status));
      operations.push_back(operation_labels(service.key, OperationKind::rollback, Trigger::manual, status));
      operations.push_back(operation_labels(service.key, OperationKind::deploy, Trigger::manual, status));
    }
    for (const DecisionKind kind : {DecisionKind::none, DecisionKind::notify, DecisionKind::hold, DecisionKind::rollback})
      decisions.push_back(with(labels_of(service.key), {{"decision", to_string(kind)}}));
    for (const char* result : {"passed", "failed"}) tests.push_back(with(labels_of(service.key), {{"result", result}}));
  }
  counters_into(all, "rollbackd_operations_total", "Operations that ended, by kind, trigger and status.", impl_->operations, operations);
  counters_into(all, "rollbackd_decisions_total", "Decisions, by kind.", impl_->decisions, decisions);
  counters_into(all, "rollbackd_guard_refusals_total", "Decisions in which a guard said no and was not passed over.", impl_->refusals, {});
  counters_into(all, "rollbackd_verification_tests_total", "Verification tests run, by result.", impl_->tests, tests);
  counters_into(all, "rollbackd_hook_runs_total", "Hooks run, by where in an operation and by what came of it.", impl_->hooks, hooks);
  counters_into(all, "rollbackd_scrubs_total", "Good releases read in full again, by what was found.", impl_->scrubs, scrubs);
  counters_into(all, "rollbackd_scrub_files_total", "Files read by scrubs.", impl_->scrubbed_files, services);
  counters_into(all, "rollbackd_scrub_bytes_total", "Bytes read by scrubs.", impl_->scrubbed_bytes, services);
  Family scrubbed("rollbackd_scrub_last_completed_timestamp_seconds", "When the last scrub of a release of the service was completed.",
                  MetricType::Gauge);
  for (const auto& service : standing.services) {
    const auto last = impl_->last_scrub.find(service.key);
    if (last != impl_->last_scrub.end()) scrubbed.add(labels_of(service.key), last->second.seconds());
  }
  std::move(scrubbed).into(all);

  Family ratio("rollbackd_rollback_success_ratio", "Share of ended rollbacks that succeeded, since the history began.", MetricType::Gauge);
  for (const auto& [environment, counts] : impl_->rollbacks)
    if (counts.first > 0) ratio.add({{"environment", environment}}, counts.second / counts.first);
  Family last_duration("rollbackd_last_operation_duration_seconds", "How long the last operation of the kind took.", MetricType::Gauge);
  Family last_at("rollbackd_last_operation_timestamp_seconds", "When the last operation of the kind ended, with how it ended.",
                 MetricType::Gauge);
  for (const auto& [key, last] : impl_->last) {
    const LabelList labels = with(labels_of(key.first), {{"kind", to_string(key.second)}});
    last_duration.add(labels, seconds(last.took));
    last_at.add(with(labels, {{"status", to_string(last.status)}}), last.ended.seconds());
  }
  Family deadline("rollbackd_operation_deadline_seconds", "How long an operation may take by the service's policy.", MetricType::Gauge);
  Family incident("rollbackd_incident_open", "1 while the service has an open incident.", MetricType::Gauge);
  Family held("rollbackd_held", "1 while the service's incident waits for a person.", MetricType::Gauge);
  Family suspended("rollbackd_suspended", "1 while a person has told rollbackd not to act on the service.", MetricType::Gauge);
  Family healthy("rollbackd_check_healthy", "What a check last said of its service's health; absent when it has no opinion or is blind.",
                 MetricType::Gauge);
  Family ready("rollbackd_rollback_ready", "1 when a rollback of the service could act now; reason says why not.", MetricType::Gauge);
  Family ready_check("rollbackd_ready_check", "Checks of the pre-flight that do not say yes: 0 no, 0.5 a warning.", MetricType::Gauge);
  Family drilled("rollbackd_drill_last_success_timestamp_seconds", "When a drill of the service last went through.", MetricType::Gauge);
  Family info("rollbackd_release_info", "Releases in the ledger with their standing; live is 1 for the one that runs.", MetricType::Gauge);
  Family blind("rollbackd_blind_rules", "Rules that cannot be judged because a source is silent.", MetricType::Gauge);
  Family blind_rule("rollbackd_rule_blind", "1 for a rule that cannot be judged on the service; at most 20 a service.", MetricType::Gauge);
  Family checks("rollbackd_checks_total", "Runs of checks, by type and result.", MetricType::Counter);
  for (const auto& service : standing.services) {
    const LabelList key = labels_of(service.key);
    ready.add(with(key, {{"reason", service.ready_word}}), service.ready ? 1 : 0);
    for (const auto& [check, value] : service.ready_checks) ready_check.add(with(key, {{"check", check}}), value);
    if (service.drilled) drilled.add(key, *service.drilled);
    deadline.add(with(key, {{"mode", to_string(Mode::standard)}}), seconds(service.deadline_standard));
    deadline.add(with(key, {{"mode", to_string(Mode::emergency)}}), seconds(service.deadline_emergency));
    incident.add(key, service.incident_open ? 1 : 0);
    held.add(key, service.held ? 1 : 0);
    suspended.add(key, service.suspended ? 1 : 0);
    blind.add(key, service.blind_rules);
    const std::set<std::string> once(service.blind_rule_names.begin(), service.blind_rule_names.end());
    for (const std::string& rule : once) blind_rule.add(with(key, {{"rule", rule}}), 1);
    for (const auto& [release, state] : service.releases)
      info.add(with(key, {{"release", release}, {"standing", state}, {"live", release == service.live ? "1" : "0"}}), 1);
    for (const auto& check : service.checks) {
      const LabelList of_check = with(key, {{"check", check.name}, {"type", check.type}});
      if (check.healthy) healthy.add(of_check, *check.healthy ? 1 : 0);
      checks.add(with(of_check, {{"result", "ok"}}), number(check.ok));
      checks.add(with(of_check, {{"result", "failed"}}), number(check.failed));
      checks.add(with(of_check, {{"result", "unobserved"}}), number(check.unobserved));
      checks.add(with(of_check, {{"result", "late"}}), number(check.late));
    }
  }
  const auto one = [&](const char* name, const char* help, MetricType type, double value) {
    std::move(Family(name, help, type).add({}, value)).into(all);
  };
  for (Family* family : {&last_duration, &last_at, &deadline, &incident, &held, &suspended, &healthy}) std::move(*family).into(all);
  std::move(ratio).into(all);
  std::move(ready).into(all);
  std::move(ready_check).into(all);
  std::move(drilled).into(all);
  std::move(info).into(all);
  std::move(blind).into(all);
  std::move(blind_rule).into(all);
  std::move(checks).into(all);
  one("rollbackd_batches_total", "Batches committed to the judge.", MetricType::Counter, number(standing.judge.batches));
  one("rollbackd_rule_evaluations_total", "Rules evaluated.", MetricType::Counter, number(standing.judge.evaluations));
  one("rollbackd_rule_evaluation_failures_total", "Rule evaluations that ended in an error.", MetricType::Counter,
      number(standing.judge.evaluation_failures));
  one("rollbackd_rule_limits_hit_total", "Rule evaluations that ended at a bound on their work.", MetricType::Counter,
      number(standing.judge.limits_hit));
  one("rollbackd_rule_work_total", "Samples touched and elements made by rule evaluations.", MetricType::Counter,
      number(standing.judge.work));
  Family queries("rollbackd_queries_total", "Expressions asked over the API, by kind.", MetricType::Counter);
  queries.add({{"kind", "instant"}}, number(standing.queries.instant)).add({{"kind", "range"}}, number(standing.queries.range));
  std::move(queries).into(all);
  Family unanswered("rollbackd_query_failures_total", "Expressions asked over the API that got no value, by reason.", MetricType::Counter);
  unanswered.add({{"reason", "error"}}, number(standing.queries.failed)).add({{"reason", "limit"}}, number(standing.queries.limited));
  unanswered.add({{"reason", "busy"}}, number(standing.queries.refused)).add({{"reason", "gone"}}, number(standing.queries.abandoned));
  std::move(unanswered).into(all);
  Family alerts("rollbackd_alerts", "Alerts that stand, by state.", MetricType::Gauge);
  alerts.add({{"state", "pending"}}, number(standing.alerts_pending)).add({{"state", "firing"}}, number(standing.alerts_firing));
  std::move(alerts).into(all);
  one("rollbackd_alerts_dropped_total", "Alerts over the bound of a rule.", MetricType::Counter, number(standing.judge.alerts_dropped));
  one("rollbackd_samples_total", "Samples committed.", MetricType::Counter, number(standing.store.samples));
  one("rollbackd_series", "Series held in memory.", MetricType::Gauge, number(standing.series));
  one("rollbackd_series_dropped_total", "Series over the store's bound.", MetricType::Counter, number(standing.store.series_dropped));
  one("rollbackd_samples_dropped_total", "Samples that went before their time because their series was full.", MetricType::Counter,
      number(standing.store.points_dropped));
  one("rollbackd_samples_out_of_order_total", "Samples not newer than their series' last one.", MetricType::Counter,
      number(standing.store.out_of_order));
  Family notifications("rollbackd_notifications_total", "Notifications, by what became of them.", MetricType::Counter);
  notifications.add({{"result", "queued"}}, number(standing.outbox.queued));
  notifications.add({{"result", "sent"}}, number(standing.outbox.sent));
  notifications.add({{"result", "retried"}}, number(standing.outbox.retried));
  notifications.add({{"result", "given_up"}}, number(standing.outbox.given_up));
  notifications.add({{"result", "dropped"}}, number(standing.outbox.dropped));
  std::move(notifications).into(all);
  one("rollbackd_kill_switch", "1 while the kill switch is on: nothing is done to any service.", MetricType::Gauge,
      standing.kill_switch ? 1 : 0);
  one("rollbackd_breaker_open", "1 since too many services were rolled back at once, until a second opinion finds it over.",
      MetricType::Gauge, standing.breaker_open ? 1 : 0);
  one("rollbackd_history_ok", "1 when the history is on disk.", MetricType::Gauge, standing.history_ok ? 1 : 0);
  one("rollbackd_history_rows_dropped_total", "History rows dropped because the queue was full.", MetricType::Counter,
      number(standing.history_dropped));
  one("rollbackd_audit_ok", "1 while audit entries reach the disk.", MetricType::Gauge, standing.audit.ok ? 1 : 0);
  one("rollbackd_audit_entries_total", "Audit entries written.", MetricType::Counter, number(standing.audit.entries));
  one("rollbackd_audit_entries_lost_total", "Audit entries lost because the disk took none for too long.", MetricType::Counter,
      number(standing.audit.lost));
  one("rollbackd_config_last_reload_successful", "1 when the last reload of the configuration was taken.", MetricType::Gauge,
      standing.last_reload_ok ? 1 : 0);
  Family received("rollbackd_alerts_received_total", "Alerts pushed from outside, by what became of them.", MetricType::Counter);
  for (std::size_t i = 0; i < kAlertResults.size(); ++i) received.add({{"result", kAlertResults[i]}}, number(standing.alerts_received[i]));
  std::move(received).into(all);
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
