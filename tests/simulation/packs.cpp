// Each shipped pack alone before the Judge: bad releases in the pack's own way, good ones, and samples that are not as they should be.
#include "tests/simulation/packs.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <optional>

#include "rules/judge.hpp"
#include "tests/simulation/eyes.hpp"
#include "tests/simulation/random.hpp"

namespace rollbackd::simulation {
namespace {

const ServiceKey kShop{"shop", "prod"};
const Instant kStart = Instant::from_seconds(1'800'000'000);
constexpr Duration kBefore = 20min, kSymptom = 60s, kAfter = 20min, kStep = 5s;

/// One pack: which way its bad releases fail, and what it reads.
struct Pack {
  const char* name;
  const char* check;
  std::vector<std::string> metrics;
  /// Samples at `age` of a release whose fault shows for `shown` (none: it does not), or whose sample is false just now.
  std::function<void(Random&, std::vector<Sample>&, Duration age, std::optional<Duration> shown, bool false_sample)> sample;
};

void put(std::vector<Sample>& out, Labels labels, double value, bool counter = false) {
  out.push_back({std::move(labels), value, counter});
}

/// Counters go on over a pack's samples: they live in the process that is watched.
struct Counters {
  double exits = 0, lines = 0, critical = 0, requests = 0, errors = 0, seconds = 0, failures = 0;
};

std::vector<Pack> packs(Counters& c) {
  const auto probe = [&c](bool timed_out) {
    return [&c, timed_out](Random&, std::vector<Sample>& out, Duration, std::optional<Duration> shown, bool odd) {
      const bool fails = shown.has_value() != odd;
      c.failures = fails ? c.failures + 1 : 0;
      put(out, Labels{{"__name__", "probe_success"}}, fails ? 0 : 1);
      put(out, Labels{{"__name__", "probe_consecutive_failures"}}, c.failures);
      put(out, Labels{{"__name__", "probe_failing_seconds"}}, c.failures > 0 ? (c.failures - 1) * 5 : 0);
      put(out, Labels{{"__name__", "probe_timed_out"}}, fails && timed_out ? 1 : 0);
    };
  };
  const std::vector<std::string> probes{"probe_success", "probe_consecutive_failures", "probe_failing_seconds", "probe_timed_out"};
  return {
      {"crash.json",
       "process",
       {"process_up", "process_exits_total"},
       [&c](Random&, std::vector<Sample>& out, Duration, std::optional<Duration> shown, bool) {
         if (shown && *shown % 30s < kStep) ++c.exits;
         put(out, Labels{{"__name__", "process_up"}}, 1);
         put(out, Labels{{"__name__", "process_exits_total"}, {"reason", "exit"}, {"code", "1"}}, c.exits, true);
       }},
      {"health.json", "health", probes, probe(false)},
      {"health.json (timeouts)", "health", probes, probe(true)},
      {"log.json",
       "app-log",
       {"log_lines_total", "log_matches_total"},
       [&c](Random&, std::vector<Sample>& out, Duration, std::optional<Duration> shown, bool) {
         ++c.lines;
         if (shown && *shown % 20s < kStep) ++c.critical;
         put(out, Labels{{"__name__", "log_lines_total"}}, c.lines, true);
         put(out, Labels{{"__name__", "log_matches_total"}, {"pattern", "critical"}}, c.critical, true);
       }},
      {"verification.json",
       "verify",
       {"verification_success"},
       [](Random&, std::vector<Sample>& out, Duration, std::optional<Duration> shown, bool) {
         put(out, Labels{{"__name__", "verification_success"}, {"test", "smoke"}}, shown ? 0 : 1);
       }},
      {"config.json",
       "config",
       {"config_valid"},
       [](Random&, std::vector<Sample>& out, Duration, std::optional<Duration> shown, bool) {
         put(out, Labels{{"__name__", "config_valid"}}, shown ? 0 : 1);
       }},
      {"errors.json",
       "app",
       {},
       [&c](Random& random, std::vector<Sample>& out, Duration, std::optional<Duration> shown, bool odd) {
         const double requests = static_cast<double>(random.from_to(20, 80));
         c.requests += requests;
         c.errors += requests * (shown ? 0.3 : odd ? 0.15 : 0.01);
         put(out, Labels{{"__name__", "http_requests_total"}, {"code", "200"}}, c.requests - c.errors);
         put(out, Labels{{"__name__", "http_requests_total"}, {"code", "500"}}, c.errors);
       }},
      {"latency.json",
       "app",
       {},
       [&c](Random& random, std::vector<Sample>& out, Duration, std::optional<Duration> shown, bool odd) {
         const double requests = static_cast<double>(random.from_to(20, 80));
         c.requests += requests;
         c.seconds += requests * (0.03 + 0.02 * random.unit()) * (shown ? 4 : odd ? 2 : 1);
         put(out, Labels{{"__name__", "http_request_duration_seconds_count"}}, c.requests);
         put(out, Labels{{"__name__", "http_request_duration_seconds_sum"}}, c.seconds);
       }},
      {"database.json",
       "app",
       {},
       [&c](Random&, std::vector<Sample>& out, Duration, std::optional<Duration> shown, bool odd) {
         c.critical += shown ? 1 : odd ? 1 : 0;
         put(out, Labels{{"__name__", "log_matches_total"}, {"pattern", "database"}}, c.critical, true);
         put(out, Labels{{"__name__", "dependency_up"}, {"dependency", "db"}}, 1);
       }},
      {"memory.json",
       "app",
       {},
       [](Random& random, std::vector<Sample>& out, Duration age, std::optional<Duration> shown, bool odd) {
         const double normal = 200e6 * (1 + 0.2 * random.unit()) * (age < 60s ? 0.7 : 1);
         const double grown = shown ? 2e6 * std::chrono::duration<double>(*shown).count() : 0;
         put(out, Labels{{"__name__", "process_resident_memory_bytes"}}, (normal + grown) * (odd ? 1.5 : 1));
       }},
  };
}

/// One deployment: a good release for a while, then this one. @return when a rollback alert fired, counted from its first symptom
std::optional<Duration> deployment(const std::string& pack_name, std::uint64_t seed, bool bad, double noise) {
  Random random(seed, bad ? 11 : 12);
  Counters counters;
  const auto all = packs(counters);
  const Pack& pack = *std::find_if(all.begin(), all.end(), [&](const Pack& p) { return pack_name == p.name; });
  rules::Groups groups;
  for (const rules::Group& group : shipped_packs())
    if (pack_name.starts_with(group.file)) groups.push_back(group);
  rules::Judge judge;
  judge.set_rules(groups, kStart);
  judge.set_service(kShop, {{kShop, pack.check, pack.metrics, 31s}, {kShop, "release", {"release_switched_timestamp_seconds"}, 31s}},
                    kStart);
  const Instant switched = kStart + kBefore, symptom = switched + kSymptom, end = switched + kAfter;
  bool fired = false;
  const auto look = [&](const Judgement& judgement, Instant at) {
    for (const AlertChange& change : judgement.alerts)
      fired = fired || (at >= switched && change.phase == AlertPhase::firing && change.action >= AlertAction::rollback);
  };
  const auto commit = [&](const char* check, std::vector<Sample> samples, Instant at) {
    Batch batch;
    batch.service = kShop;
    batch.check = check;
    batch.began = batch.at = at;
    for (Sample& s : samples)
      for (const auto& [name, value] : {std::pair("service", "shop"), std::pair("environment", "prod"), std::pair("check", check)})
        s.labels.set(name, value);
    batch.samples = std::move(samples);
    look(judge.on_batch(batch), at);
  };
  judge.begin_epoch(kShop, kStart);
  Instant epoch = kStart;
  for (Instant at = kStart + 1s; at < end && !fired; at = at + kStep) {
    if (epoch < switched && at >= switched) {
      epoch = switched;
      judge.begin_epoch(kShop, switched);
    }
    for (auto due = judge.next_due(); due && *due <= at; due = judge.next_due()) look(judge.on_due(*due), at);
    const std::optional<Duration> shown = bad && at >= symptom ? std::optional<Duration>(at - symptom) : std::nullopt;
    std::vector<Sample> samples;
    pack.sample(random, samples, at - epoch, shown, random.chance(noise));
    if (!random.chance(noise)) commit(pack.check, std::move(samples), at);  // Some are lost on the way.
    commit("release", {{Labels{{"__name__", "release_switched_timestamp_seconds"}}, epoch.seconds(), false}}, at);
    if (fired) return at - symptom;
  }
  return std::nullopt;
}

double part(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())))];
}

}  // namespace

std::vector<PackResult> judge_packs(std::uint64_t deployments, const std::vector<double>& noises) {
  std::vector<PackResult> out;
  Counters none;
  for (const Pack& pack : packs(none)) {
    for (const double noise : noises) {
      PackResult result;
      result.pack = pack.name;
      result.noise = noise;
      result.bad = result.good = deployments;
      std::vector<double> seconds;
      for (std::uint64_t seed = 1; seed <= deployments; ++seed) {
        if (const auto at = deployment(pack.name, seed, true, noise)) {
          seconds.push_back(std::chrono::duration<double>(*at).count());
        } else {
          ++result.missed;
        }
        result.false_rollbacks += deployment(pack.name, seed, false, noise).has_value();
      }
      result.median_seconds = part(seconds, 0.5);
      result.p95_seconds = part(seconds, 0.95);
      out.push_back(std::move(result));
    }
  }
  return out;
}

int report_packs(std::uint64_t deployments) {
  std::printf("%-24s %6s %16s %14s %8s %25s\n", "pack", "noise", "missed", "median", "p95", "false rollbacks per 1,000");
  for (const PackResult& r : judge_packs(deployments, {0.0, 0.02, 0.1}))
    std::printf("%-24s %5.0f%% %8llu of %llu %12.0f s %6.0f s %25.1f\n", r.pack.c_str(), r.noise * 100,
                static_cast<unsigned long long>(r.missed), static_cast<unsigned long long>(r.bad), r.median_seconds, r.p95_seconds,
                1000.0 * static_cast<double>(r.false_rollbacks) / static_cast<double>(std::max<std::uint64_t>(r.good, 1)));
  return 0;
}

}  // namespace rollbackd::simulation
