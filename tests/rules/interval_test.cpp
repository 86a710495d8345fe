// Top-level rules mean what Prometheus means: the judge, run by batches, beside the same rules evaluated on a clock as Prometheus's manager
// does it. Every batch falls on the clock's grid, so both see the same samples at the same instants.
#include <map>
#include <random>

#include "rules/tick_run.hpp"
#include "tests/rules/judge_fixture.hpp"

namespace rollbackd::rules {
namespace {

constexpr const char* kRules = R"(
groups:
- name: local
  interval: 10s
  rules:
  - {alert: Plain, expr: x > 5}
  - {alert: Waits, expr: x > 3, for: 25s}
  - {alert: Keeps, expr: x > 6, keep_firing_for: 30s}
  - {alert: Both, expr: x > 4, for: 10s, keep_firing_for: 20s, labels: {size: '{{ $value | humanize }}'}}
  - {record: 'x:max', expr: 'max by (service, environment) (x)'}
  - {alert: Recorded, expr: 'x:max > 6', for: 15s}
  - {alert: Window, expr: 'max_over_time(x[30s]) - min_over_time(x[30s]) > 5'}
  - {alert: Counted, expr: 'count by (service, environment) (ALERTS{alertstate="firing", alertname=~"Plain|Waits|Keeps|Both|Recorded|Window"}) > 4'}
- name: spanning
  interval: 10s
  rules:
  - {alert: Sum, expr: sum(x) > 20, for: 20s}
  - {alert: Share, expr: 'x / on () group_left () sum(x) > 0.4'}
  - {record: 'total', expr: sum(x)}
  - {alert: OfTotal, expr: total > 22}
  - {alert: None, expr: absent(x > 8)}
- name: limited
  interval: 10s
  limit: 3
  rules:
  - {alert: Few, expr: x > 4, for: 10s}
)";

using States = std::map<std::string, std::string>;

void compare(std::uint32_t seed) {
  std::mt19937 random(seed);
  Judge judge;
  judge.set_rules(read(kRules), t0);
  TickRun clock(read(kRules));
  std::vector<std::string> names;
  for (const Group& group : read(kRules))
    for (const Rule& rule : group.rules)
      if (rule.alerting) names.push_back(rule.name);
  for (const ServiceKey& service : {kShop, kCart}) judge.set_service(service, {{service, "c", {"x"}, 1h}}, t0);
  std::map<std::string, double> values;

  for (int tick = 1; tick <= 60; ++tick) {
    const Instant now = t0 + tick * 10s;
    for (const ServiceKey& service : {kShop, kCart}) {
      Batch batch;
      batch.service = service;
      batch.check = "c";
      batch.began = batch.at = now;
      for (const char* pod : {"a", "b"}) {
        double& value = values[service.name + pod];
        if (random() % 4 == 0) value = static_cast<double>(random() % 10);
        const Labels labels{{"__name__", "x"}, {"service", service.name}, {"environment", service.environment}, {"pod", pod}};
        batch.samples.push_back({labels, value, false});
        ASSERT_TRUE(clock.append(labels, {now, value}));
      }
      judge.on_batch(batch);
    }
    judge.on_due(now);
    clock.tick(now);

    States ours, theirs;
    for (const ActiveAlert& active : judge.alerts()) ours[active.alert.labels.to_string()] = to_string(active.alert.phase);
    for (const std::string& name : names)
      for (const TickAlert& alert : clock.alerts(name)) theirs[alert.labels.to_string()] = to_string(alert.phase);
    ASSERT_EQ(ours, theirs) << "seed " << seed << ", tick " << tick;
  }
}

TEST(Interval, ByBatchesAndByTheClockAlertsAreTheSame) {
  for (std::uint32_t seed = 0; seed < 4 && !testing::Test::HasFatalFailure(); ++seed) compare(seed);
}

}  // namespace
}  // namespace rollbackd::rules
