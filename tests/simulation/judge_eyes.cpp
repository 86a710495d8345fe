// The whole way from samples to alerts: senses become the batches that the real checks would deliver, and the Judge evaluates the packs.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "rules/judge.hpp"
#include "tests/simulation/eyes.hpp"

namespace rollbackd::simulation {
namespace {

Sample sample(const ServiceKey& service, const char* check, Labels labels, double value, bool counter) {
  labels.set("service", service.name);
  labels.set("environment", service.environment);
  labels.set("instance", "localhost");
  labels.set("check", check);
  return Sample{std::move(labels), value, counter};
}

class JudgeEyes : public Eyes {
 public:
  JudgeEyes(const Scenario& scenario, const rules::Groups& groups, Instant now) {
    judge_.set_rules(groups, now);
    for (const ServicePlan& plan : scenario.services) {
      const ServiceKey& key = plan.settings.key;
      keys_.push_back(key);
      judge_.set_service(key,
                         {{key, "process", {"process_up", "process_exits_total", "process_stops_total"}, 31s},
                          {key,
                           "health",
                           {"probe_success", "probe_duration_seconds", "probe_http_status_code", "probe_timed_out",
                            "probe_consecutive_failures", "probe_failing_seconds"},
                           10500ms},
                          {key, "app-log", {"log_lines_total", "log_matches_total"}, 31s},
                          {key, "app", {}, 31s, {"up"}},
                          {key, "verify", {"verification_success"}, 1h},
                          {key, "release", {"release_switched_timestamp_seconds"}, 31s},
                          {key, "depends", {"dependency_up"}, 60s}},
                         now);
    }
    failing_.resize(keys_.size());
    bases_.resize(keys_.size());
    switched_.resize(keys_.size());
  }

  Judgement begin_epoch(std::size_t n, Instant at, const Sense& now_seen) override {
    failing_[n] = {};
    bases_[n] = {now_seen.exits, now_seen.log_critical};
    switched_[n] = at;
    Judgement out = judge_.begin_epoch(keys_[n], at);
    append(out, tell_switched(n, at));
    return out;
  }
  Judgement on_sense(const Sense& sense, Instant began, Instant now) override {
    Failing& failing = failing_[sense.service];
    if (sense.what == Sense::What::health && sense.looked) {
      failing.count = sense.healthy ? 0 : failing.count + 1;
      if (failing.count == 1) failing.since = now;
    }
    Sense counted = sense;
    // The checks' own counters begin with the daemon.
    Base& base = bases_[sense.service];
    if (!base.exits) base = {sense.exits, sense.log_critical};
    if (sense.what == Sense::What::process && began < switched_[sense.service]) base.exits = std::max(*base.exits, sense.exits);
    if (sense.what == Sense::What::log && began < switched_[sense.service])
      base.log_critical = std::max(base.log_critical, sense.log_critical);
    counted.exits -= *base.exits;
    counted.log_critical -= base.log_critical;
    Judgement out = pass(now);
    append(out, judge_.on_batch(batch_of(keys_[sense.service], counted, failing.count,
                                         failing.count > 0 ? static_cast<double>((now - failing.since) / 1ms) / 1000 : 0, began, now)));
    if (sense.what == Sense::What::process) append(out, tell_switched(sense.service, now));
    return out;
  }
  Judgement on_verification(std::size_t n, bool passed, Instant began, Instant now) override {
    return one(n, "verify", Labels{{"__name__", "verification_success"}, {"test", "smoke"}}, passed ? 1 : 0, began, now);
  }
  Judgement on_dependency(std::size_t n, bool up, Instant now) override {
    return one(n, "depends", Labels{{"__name__", "dependency_up"}, {"dependency", "db"}}, up ? 1 : 0, now, now);
  }
  Judgement on_due(Instant now) override { return pass(now); }
  std::optional<Instant> next_due() const override { return judge_.next_due(); }
  Judgement on_gap(Instant now) override { return judge_.on_gap(now); }

 private:
  struct Failing {
    int count = 0;
    Instant since;
  };
  static void append(Judgement& to, Judgement from) {
    std::move(from.alerts.begin(), from.alerts.end(), std::back_inserter(to.alerts));
    std::move(from.verdicts.begin(), from.verdicts.end(), std::back_inserter(to.verdicts));
  }
  Judgement pass(Instant now) {
    Judgement out;
    int slots = 0;
    for (auto due = judge_.next_due(); due && *due <= now && ++slots < 10'000; due = judge_.next_due()) append(out, judge_.on_due(*due));
    return out;
  }
  Judgement one(std::size_t n, const char* check, Labels labels, double value, Instant began, Instant now) {
    Judgement out = pass(now);
    Batch batch;
    batch.service = keys_[n];
    batch.check = check;
    batch.began = began;
    batch.at = now;
    batch.samples.push_back(sample(keys_[n], check, std::move(labels), value, false));
    append(out, judge_.on_batch(batch));
    return out;
  }
  /// As engine/dependencies.cpp tells it: since when the present release is live.
  Judgement tell_switched(std::size_t n, Instant now) {
    return one(n, "release", Labels{{"__name__", "release_switched_timestamp_seconds"}}, switched_[n].seconds(), now, now);
  }

  rules::Judge judge_;
  std::vector<ServiceKey> keys_;
  struct Base {
    std::optional<int> exits;
    int log_critical = 0;
  };
  std::vector<Failing> failing_;
  std::vector<Base> bases_;
  std::vector<Instant> switched_;
};

}  // namespace

const char* name_of(Sense::What what) {
  switch (what) {
    case Sense::What::health: return "health";
    case Sense::What::process: return "process";
    case Sense::What::log: return "app-log";
    case Sense::What::app: return "app";
  }
  return "?";
}

Batch batch_of(const ServiceKey& service, const Sense& sense, int failures, double failing_seconds, Instant began, Instant now) {
  Batch batch;
  batch.service = service;
  batch.check = name_of(sense.what);
  batch.began = began;
  batch.at = now;
  const auto put = [&](Labels labels, double value, bool counter) {
    batch.samples.push_back(sample(service, name_of(sense.what), std::move(labels), value, counter));
  };
  if (!sense.looked) {
    batch.unobserved = "no file handles";
    return batch;
  }
  switch (sense.what) {
    case Sense::What::health:
      batch.healthy = sense.healthy;
      put(Labels{{"__name__", "probe_success"}}, sense.healthy ? 1 : 0, false);
      put(Labels{{"__name__", "probe_consecutive_failures"}}, failures, false);
      put(Labels{{"__name__", "probe_failing_seconds"}}, failing_seconds, false);
      put(Labels{{"__name__", "probe_timed_out"}}, !sense.healthy && sense.timed_out ? 1 : 0, false);
      break;
    case Sense::What::process:
      put(Labels{{"__name__", "process_up"}}, sense.running ? 1 : 0, false);
      put(Labels{{"__name__", "process_stops_total"}}, 0, true);
      put(Labels{{"__name__", "process_exits_total"}, {"reason", "exit"}, {"code", "1"}}, sense.exits, true);
      break;
    case Sense::What::log:
      put(Labels{{"__name__", "log_lines_total"}}, sense.log_critical, true);
      put(Labels{{"__name__", "log_matches_total"}, {"pattern", "critical"}}, sense.log_critical, true);
      break;
    case Sense::What::app:
      put(Labels{{"__name__", "up"}}, 1, false);
      put(Labels{{"__name__", "http_requests_total"}, {"code", "200"}}, sense.requests - sense.errors, false);
      put(Labels{{"__name__", "http_requests_total"}, {"code", "500"}}, sense.errors, false);
      put(Labels{{"__name__", "http_request_duration_seconds_count"}}, sense.requests, false);
      put(Labels{{"__name__", "http_request_duration_seconds_sum"}}, sense.seconds, false);
      break;
  }
  return batch;
}

std::unique_ptr<Eyes> make_judge_eyes(const Scenario& scenario, const rules::Groups& groups, Instant now) {
  return std::make_unique<JudgeEyes>(scenario, groups, now);
}

const rules::Groups& shipped_packs() {
  static const rules::Groups kPacks = [] {
    rules::Groups all;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(ROLLBACKD_SOURCE_DIR) / "rules", none)) {
      if (entry.path().extension() != ".json") continue;
      std::ifstream in(entry.path());
      std::stringstream text;
      text << in.rdbuf();
      std::vector<config::Problem> problems;
      rules::Groups groups = rules::parse_groups(text.str(), entry.path().filename().string(), {}, problems);
      std::move(groups.begin(), groups.end(), std::back_inserter(all));
    }
    std::sort(all.begin(), all.end(), [](const rules::Group& a, const rules::Group& b) { return a.file < b.file; });
    return all;
  }();
  return kPacks;
}

}  // namespace rollbackd::simulation
