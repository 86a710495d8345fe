// What rules cost: drives the judge by itself, one batch a second of virtual time, and prints what that took.
// Flow: rules.py starts it once for each figure, with and without rules; what lies between the two is the rules' share.
//   bench_rules judge KIND RULES ROUNDS with|without    RULES rules over one service's series, all delivered in one batch
//   bench_rules services KIND SERVICES ROUNDS           10 rules a service; each service delivers its own batch
//   bench_rules floor KIND RULES ROUNDS                 only the physical work: arrays of doubles
// KIND: threshold and named (an instant selector, by a label or by the metric's name), window (rate), ratio (two sums of rates).
#include <linux/perf_event.h>
#include <malloc.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "rules/judge.hpp"

namespace {

using namespace rollbackd;

constexpr int kWarmTicks = 65;  ///< one more than the window of a minute needs
constexpr int kTicksARound = 10;
constexpr int kRulesAGroup = 1000;
constexpr int kRulesAService = 10;
constexpr int kAgain = 20;
constexpr int kOneFiresOf = 100;  ///< one rule in a hundred fires all the time, the others never
const Instant kStart = Instant::from_seconds(1'700'000'000);

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bench_rules: %s\n", what.c_str());
  std::exit(1);
}

enum class Kind { threshold, named, window, ratio };

Kind kind_of(const std::string& text) {
  if (text == "threshold") return Kind::threshold;
  if (text == "named") return Kind::named;
  if (text == "window") return Kind::window;
  if (text == "ratio") return Kind::ratio;
  fail("no such kind: " + text);
}

std::string series_name(int i) { return "s" + std::to_string(i); }
bool fires(int i) { return i % kOneFiresOf == 0; }

/// Changes with every tick, so that no run of equal values makes it cheap. Below 100 unless the rule is to fire.
double gauge(int i, int tick) { return (i * 7 + tick * 13) % 90 + (fires(i) ? 200 : 0); }
/// Grows by 5 to 7 a second; by 100 more where the rule is to fire.
double counter(int i, int tick) { return 6.0 * tick + (i + tick) % 2 + (fires(i) ? 100.0 * tick : 0); }

std::string expression(Kind kind, int i) {
  const std::string of = "{series=\"" + series_name(i) + "\"}";
  switch (kind) {
    case Kind::threshold: return "bench_value" + of + " > 100";
    case Kind::named: return "bench_value_" + std::to_string(i) + " > 100";
    case Kind::window: return "rate(bench_total" + of + "[1m]) > 50";
    case Kind::ratio: {
      const std::string sum = "sum by (service, environment) (rate(bench_";
      return sum + "errors_total" + of + "[1m])) / " + sum + "requests_total" + of + "[1m])) > 0.5";
    }
  }
  fail("no expression");
}

ServiceKey service_key(int n) { return {"svc" + std::to_string(n), "prod"}; }

rules::Groups groups_of(Kind kind, int count) {
  rules::Groups out;
  for (int from = 0; from < count; from += kRulesAGroup) {
    std::string text = "{\"groups\": [{\"name\": \"g" + std::to_string(from) + "\", \"interval\": \"1s\", \"rules\": [";
    for (int i = from; i < std::min(count, from + kRulesAGroup); ++i) {
      std::string quoted;
      for (const char c : expression(kind, i)) quoted += c == '"' ? "\\\"" : std::string(1, c);
      text += (i == from ? "" : ",") + std::string("{\"alert\": \"A") + std::to_string(i) + "\", \"expr\": \"" + quoted +
              "\", \"labels\": {\"severity\": \"critical\"}, \"annotations\": {\"summary\": \"it is {{ $value }}\"}}";
    }
    std::vector<config::Problem> problems;
    rules::Groups read = rules::parse_groups(text + "]}]}", "bench.json", {}, problems);
    for (const config::Problem& problem : problems)
      if (!problem.warning) fail(problem.text());
    std::move(read.begin(), read.end(), std::back_inserter(out));
  }
  return out;
}

/// The series of `count` rules, in the order in which values_at() fills them.
Batch batch_of(Kind kind, int count, const ServiceKey& service) {
  Batch batch;
  batch.service = service;
  batch.check = "metrics";
  for (int i = 0; i < count; ++i) {
    Labels labels{{"service", service.name}, {"environment", service.environment},
                  {"check", batch.check},    {"instance", "127.0.0.1:8080"},
                  {"job", "bench"},          {"series", series_name(i)}};
    const auto add = [&](const std::string& name) {
      labels.set(kNameLabel, name);
      batch.samples.push_back({labels, 0, false});
    };
    if (kind == Kind::threshold) add("bench_value");
    if (kind == Kind::named) add("bench_value_" + std::to_string(i));
    if (kind == Kind::window) add("bench_total");
    if (kind == Kind::ratio) add("bench_errors_total"), add("bench_requests_total");
  }
  return batch;
}

void values_at(Kind kind, int tick, Batch& batch) {
  batch.at = batch.began = kStart + std::chrono::seconds(tick);
  for (std::size_t n = 0; n < batch.samples.size(); ++n) {
    const bool pairs = kind == Kind::ratio;
    const int i = static_cast<int>(pairs ? n / 2 : n);
    double& value = batch.samples[n].value;
    if (kind == Kind::threshold || kind == Kind::named) value = gauge(i, tick);
    if (kind == Kind::window) value = counter(i, tick);
    if (pairs) value = n % 2 == 0 ? counter(i, tick) : 120.0 * tick;
  }
}

double processor_us() {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

/// Instructions of this process in user mode, where the kernel and the machine permit to count them.
class Instructions {
 public:
  Instructions() {
    perf_event_attr attr{};
    attr.type = PERF_TYPE_HARDWARE;
    attr.size = sizeof attr;
    attr.config = PERF_COUNT_HW_INSTRUCTIONS;
    attr.exclude_kernel = attr.exclude_hv = 1;
    fd_ = static_cast<int>(::syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
  }
  ~Instructions() {
    if (fd_ >= 0) ::close(fd_);
  }
  Instructions(const Instructions&) = delete;
  Instructions& operator=(const Instructions&) = delete;
  double read() const {
    std::uint64_t n = 0;
    return fd_ >= 0 && ::read(fd_, &n, sizeof n) == sizeof n ? static_cast<double>(n) : 0;
  }

 private:
  int fd_ = -1;
};

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of.empty() ? 0 : of[of.size() / 2];
}

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  long size = 0, resident = 0;
  file >> size >> resident;
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double points_held(const series::Store& store) {
  double points = 0;
  constexpr std::size_t kSlice = 1000;
  for (std::size_t first = 0;; first += kSlice) {
    const auto slice = store.dump(first, kSlice);
    for (const series::Selected& series : slice) points += static_cast<double>(series.points.size());
    if (slice.size() < kSlice) return points;
  }
}

/// As the engine does: the batch, and then whatever is due.
void deliver(rules::Judge& judge, const Batch& batch) {
  judge.on_batch(batch);
  const auto due = judge.next_due();
  if (due && *due <= batch.at) judge.on_due(batch.at);
}

rules::Judge judge_over(int series) { return rules::Judge(series::Limits{.series_max = static_cast<std::size_t>(series)}); }

/// A judge that does nothing would be the fastest: what fires must be exactly what should.
void check_alerts(const rules::Judge& judge, int wanted) {
  const auto alerts = judge.alerts();
  const auto firing =
      std::count_if(alerts.begin(), alerts.end(), [](const auto& a) { return a.alert.phase == AlertPhase::firing && !a.blind; });
  if (firing != wanted) fail(std::to_string(firing) + " alerts fire, and it should be " + std::to_string(wanted));
}

int of_judge(Kind kind, int count, int rounds, bool with_rules) {
  rules::Judge judge = judge_over(2 * count);
  const ServiceKey service = service_key(0);
  judge.set_service(service, {Source{service, "metrics", {}, 10s}}, kStart);
  if (with_rules) judge.set_rules(groups_of(kind, count), kStart);
  Batch batch = batch_of(kind, count, service);
  int tick = 1;
  const auto one_tick = [&] {
    values_at(kind, tick++, batch);
    const double before = processor_us();
    deliver(judge, batch);
    return processor_us() - before;
  };
  for (int i = 0; i < kWarmTicks; ++i) one_tick();
  const Instructions instructions;
  std::vector<double> cpu, counted;
  const auto evaluations_before = judge.counters().evaluations;
  for (int round = 0; round < rounds; ++round) {
    double took = 0;
    const double before = instructions.read();
    for (int i = 0; i < kTicksARound; ++i) took += one_tick();
    cpu.push_back(took / kTicksARound);
    counted.push_back((instructions.read() - before) / kTicksARound);
  }
  const auto evaluations = judge.counters().evaluations - evaluations_before;
  if (with_rules) check_alerts(judge, (count + kOneFiresOf - 1) / kOneFiresOf);
  const double points = points_held(judge.store());
  ::malloc_trim(0);
  std::printf(
      "{\"tick_us\": %.3f, \"tick_instructions\": %.0f, \"evaluations_a_tick\": %.1f, \"heap_bytes\": %.0f, \"resident_bytes\": %.0f, "
      "\"points\": %.0f}\n",
      median(cpu), median(counted), static_cast<double>(evaluations) / (rounds * kTicksARound), static_cast<double>(::mallinfo2().uordblks),
      resident_bytes(), points);
  return 0;
}

int of_services(Kind kind, int services, int rounds) {
  rules::Judge judge = judge_over(2 * services * kRulesAService);
  judge.set_rules(groups_of(kind, kRulesAService), kStart);
  std::vector<Batch> batches;
  for (int n = 0; n < services; ++n) {
    judge.set_service(service_key(n), {Source{service_key(n), "metrics", {}, 10s}}, kStart);
    batches.push_back(batch_of(kind, kRulesAService, service_key(n)));
  }
  int tick = 1;
  std::vector<double> in_turn, again;
  for (; tick < kWarmTicks + rounds * kTicksARound; ++tick) {
    for (Batch& batch : batches) values_at(kind, tick, batch);
    const double begun = processor_us();
    judge.on_due(batches.front().at);  // Of every service; it belongs to the share of each.
    for (const Batch& batch : batches) deliver(judge, batch);
    if (tick >= kWarmTicks) in_turn.push_back((processor_us() - begun) / services);
    // One service's alone, again and again: what the others' data drive out of the processor's cache is not in this figure.
    Batch& first = batches.front();
    for (int more = 1; more <= kAgain; ++more) {
      first.at = first.began = first.at + std::chrono::milliseconds(1);
      const double before = processor_us();
      deliver(judge, first);
      if (tick >= kWarmTicks && more > 1) again.push_back(processor_us() - before);
    }
  }
  check_alerts(judge, services);
  std::printf("{\"batch_us\": %.3f, \"again_us\": %.3f}\n", median(in_turn), median(again));
  return 0;
}

/// What no engine can do without: the new value is written down, what the rule asks is computed from it, and compared.
int of_floor(Kind kind, int count, int rounds) {
  constexpr int kWindow = 60;
  const auto n = static_cast<std::size_t>(count);
  const int width = kind == Kind::ratio ? 2 : 1;
  std::vector<double> rings(n * kWindow * static_cast<std::size_t>(width)), values(n), limits(n, 100);
  std::vector<double> cpu;
  std::size_t fired = 0;
  for (int tick = 0; tick < kWarmTicks + rounds * kTicksARound; ++tick) {
    for (std::size_t i = 0; i < n; ++i) values[i] = gauge(static_cast<int>(i), tick);
    const auto slot = static_cast<std::size_t>(tick % kWindow), oldest = (slot + 1) % kWindow;
    const double before = processor_us();
    for (std::size_t i = 0; i < n; ++i) {
      double* ring = &rings[i * kWindow * static_cast<std::size_t>(width)];
      ring[slot] = values[i];
      double result = values[i];
      if (kind == Kind::window || kind == Kind::ratio) result = (ring[slot] - ring[oldest]) / (kWindow - 1);
      if (kind == Kind::ratio) {
        ring[kWindow + slot] = values[i];
        result /= (ring[kWindow + slot] - ring[kWindow + oldest]) / (kWindow - 1);
      }
      fired += result > limits[i] ? 1 : 0;
    }
    if (tick >= kWarmTicks) cpu.push_back(processor_us() - before);
  }
  std::printf("{\"tick_us\": %.4f, \"fired\": %zu}\n", median(cpu), fired);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 4) fail("usage: bench_rules judge|services|floor KIND COUNT ROUNDS [with|without]");
  const Kind kind = kind_of(words[1]);
  const int count = std::atoi(words[2].c_str()), rounds = std::atoi(words[3].c_str());
  if (count < 2 || count > 1'000'000 || rounds < 1 || rounds > 10'000) fail("COUNT is 2 to 1,000,000 and ROUNDS 1 to 10,000");
  if (words[0] == "judge") return of_judge(kind, count, rounds, words.size() < 5 || words[4] == "with");
  if (words[0] == "services") return of_services(kind, count, rounds);
  if (words[0] == "floor") return of_floor(kind, count, rounds);
  fail("no such measurement: " + words[0]);
}
