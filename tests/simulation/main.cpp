// simulation: runs seeds until told otherwise, prints what was found and how fast, and replays one seed.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/simulation/packs.hpp"
#include "tests/simulation/simulation.hpp"

namespace {

using namespace rollbackd;
using namespace rollbackd::simulation;

struct Options {
  std::uint64_t first = 1, runs = 1000;
  double seconds = 0;
  unsigned jobs = 1;
  bool verbose = false, one = false, shrinks = false, packs = false;
  std::string broken;
  std::size_t failures_max = 10;
};

constexpr const char* kUsage =
    "simulation [--seed S [--verbose] [--shrink]] [--first S] [--runs N | --seconds T] [--jobs N] [--break PROMISE] [--packs]\n";

bool read_options(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto value = [&] { return i + 1 < argc ? argv[++i] : ""; };
    if (name == "--seed") {
      options.first = std::strtoull(value(), nullptr, 10);
      options.one = true;
    } else if (name == "--first") {
      options.first = std::strtoull(value(), nullptr, 10);
    } else if (name == "--runs") {
      options.runs = std::strtoull(value(), nullptr, 10);
    } else if (name == "--seconds") {
      options.seconds = std::strtod(value(), nullptr);
      options.runs = ~std::uint64_t{0};
    } else if (name == "--jobs") {
      options.jobs = static_cast<unsigned>(std::strtoul(value(), nullptr, 10));
    } else if (name == "--break") {
      options.broken = value();
    } else if (name == "--verbose") {
      options.verbose = true;
    } else if (name == "--shrink") {
      options.shrinks = true;
    } else if (name == "--packs") {
      options.packs = true;
    } else {
      return false;
    }
  }
  return true;
}

std::string replay(std::uint64_t seed, const Options& options) {
  return "simulation --seed " + std::to_string(seed) + (options.broken.empty() ? "" : " --break " + options.broken) + " --shrink --verbose";
}

int run_one(const Options& options) {
  Scenario scenario = make_scenario(options.first);
  if (options.shrinks) scenario = shrink(std::move(scenario), options.broken);
  const RunResult result = simulate(scenario, options.broken, options.verbose);
  std::printf("seed %llu: %zu services, %zu deeds%s%s, %llu events, %llu incidents, hash %016llx\n",
              static_cast<unsigned long long>(options.first), scenario.services.size(), scenario.deeds.size(),
              scenario.judge ? ", judge" : "", scenario.calm ? ", calm" : "", static_cast<unsigned long long>(result.events),
              static_cast<unsigned long long>(result.counts.incidents), static_cast<unsigned long long>(result.hash));
  for (const std::string& violation : result.violations) std::printf("  VIOLATED at %s\n", violation.c_str());
  return result.violations.empty() ? 0 : 1;
}

int run_many(const Options& options) {
  std::atomic<std::uint64_t> next{options.first}, failed{0};
  std::mutex guard;
  Observer::Counts all;
  std::uint64_t runs = 0, events = 0;
  double simulated_hours = 0;
  const auto began = std::chrono::steady_clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count(); };
  const auto work = [&] {
    while (failed < options.failures_max && (options.seconds <= 0 || passed() < options.seconds)) {
      const std::uint64_t seed = next++;
      if (seed - options.first >= options.runs) return;
      const RunResult result = simulate(make_scenario(seed), options.broken);
      const std::lock_guard lock(guard);
      ++runs;
      events += result.events;
      simulated_hours += std::chrono::duration<double, std::ratio<3600>>(result.simulated).count();
      all.incidents += result.counts.incidents;
      all.automatic += result.counts.automatic;
      all.manual += result.counts.manual;
      all.pages += result.counts.pages;
      all.bad_epochs += result.counts.bad_epochs;
      all.rolled_back += result.counts.rolled_back;
      all.held += result.counts.held;
      if (result.violations.empty()) continue;
      ++failed;
      std::printf("seed %llu: %s\n  %s\n", static_cast<unsigned long long>(seed), result.violations.front().c_str(),
                  replay(seed, options).c_str());
      std::fflush(stdout);  // Seen at once by who follows a long scan in a file.
    }
  };
  shipped_packs();  // Read before the threads begin.
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(options.jobs, 1U); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  const double seconds = passed();
  std::printf(
      "%llu runs, %.0f simulated hours, %llu events, %llu incidents, %llu automatic and %llu manual switches, %llu pages\n"
      "%llu releases misbehaved: %llu rolled back, %llu held with a page (others were replaced first)\n"
      "%.1f s on %u threads: %.0f incidents/s, %.0f an hour; %llu seeds violated a promise\n",
      static_cast<unsigned long long>(runs), simulated_hours, static_cast<unsigned long long>(events),
      static_cast<unsigned long long>(all.incidents), static_cast<unsigned long long>(all.automatic),
      static_cast<unsigned long long>(all.manual), static_cast<unsigned long long>(all.pages),
      static_cast<unsigned long long>(all.bad_epochs), static_cast<unsigned long long>(all.rolled_back),
      static_cast<unsigned long long>(all.held), seconds, std::max(options.jobs, 1U), static_cast<double>(all.incidents) / seconds,
      static_cast<double>(all.incidents) / seconds * 3600, static_cast<unsigned long long>(failed.load()));
  return failed > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!read_options(argc, argv, options)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  if (options.packs) return report_packs(options.runs);
  return options.one ? run_one(options) : run_many(options);
}
