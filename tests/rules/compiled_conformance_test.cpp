// The compiled shapes over the series of Prometheus's own scripts, where those lie beside the project: the expressions of the scripts that
// are of a shape, and every shape over every metric.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "base/text.hpp"
#include "tests/promql/conformance_script.hpp"
#include "tests/rules/compiled_both.hpp"

namespace rollbackd::rules {
namespace {

namespace conformance = promql::conformance;

constexpr std::size_t kInstantsMax = 40;

/// What a script loads between two `clear`s, and what it asks there.
struct Segment {
  std::map<Instant, std::vector<std::pair<Labels, double>>> points;
  std::set<std::string> metrics;
  std::set<std::string> expressions;
  Duration gap{};
};

std::vector<Segment> segments_of(const std::filesystem::path& file) {
  std::vector<Segment> out(1);
  std::ifstream in(file);
  std::string raw;
  bool loading = false;
  while (std::getline(in, raw)) {
    const std::string line(trim(raw));
    if (line.starts_with("#")) continue;
    if (line.empty()) {
      loading = false;
    } else if (line == "clear") {
      out.emplace_back();
    } else if (line.starts_with("load")) {
      const auto gap = conformance::instant(trim(line.substr(line.find(' '))));
      loading = gap.has_value();
      if (gap) out.back().gap = *gap - Instant{};
    } else if (line.starts_with("eval")) {
      loading = false;
      out.back().expressions.insert(conformance::eval_line(line, 0).expression);
    } else if (loading) {
      const conformance::Line series = conformance::series_line(line);
      if (series.native || !series.unreadable.empty()) continue;
      out.back().metrics.insert(std::string(series.labels.name()));
      for (std::size_t i = 0; i < series.values.size(); ++i) {
        if (!series.values[i]) continue;
        out.back().points[Instant{} + out.back().gap * static_cast<std::int64_t>(i)].emplace_back(series.labels, *series.values[i]);
      }
    }
  }
  return out;
}

/// @return how many comparisons it made
std::size_t play(const Segment& segment, const std::string& where) {
  Both both(ServiceKey{}, {.series_max = 100'000, .points_per_series_max = 100'000, .retention = 24h * 3650});
  for (const std::string& e : segment.expressions) {
    both.add(e);
    both.add("(" + e + ") != 4711");
    both.add("sum by (job, le) (" + e + ") != 4711");
  }
  const std::string windows[] = {format_duration(segment.gap * 2), format_duration(segment.gap * 5 + 1s),
                                 format_duration(segment.gap * 30)};
  std::size_t n = 0;
  for (const std::string& metric : segment.metrics) {
    if (metric.empty() || n > 100) continue;
    both.add(metric + " != 4711");
    for (const char* f : {"rate", "increase", "delta", "changes", "resets", "avg_over_time", "min_over_time", "max_over_time",
                          "sum_over_time", "count_over_time", "last_over_time", "present_over_time"})
      both.add(std::string(f) + "(" + metric + "[" + windows[n++ % 3] + "]) != 4711");
    const std::string sum = "sum by (instance) (rate(" + metric + "[" + windows[n % 3] + "]))";
    both.add(sum + " / " + sum + " != 4711");
  }
  const std::size_t each = segment.points.size() / kInstantsMax + 1;
  std::size_t i = 0;
  for (const auto& [at, points] : segment.points) {
    for (const auto& [labels, value] : points) both.store.append(labels, {at, value});
    if (++i % each != 0 && i != segment.points.size()) continue;
    both.compare(at, where);
    both.compare(at + segment.gap / 3, where);
  }
  return both.known;
}

TEST(CompiledConformance, TheShapesAreEqualOverTheSeriesOfPrometheussScripts) {
  const auto folder = std::filesystem::path(ROLLBACKD_SOURCE_DIR) / ".." / "shared" / "promqltest";
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << folder << " is not there: put Prometheus's test scripts beside the project";
  std::size_t compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".test") continue;
    int number = 0;
    for (const Segment& segment : segments_of(entry.path()))
      compared += play(segment, entry.path().filename().string() + ", part " + std::to_string(++number));
  }
  EXPECT_GT(compared, 10'000U);
}

}  // namespace
}  // namespace rollbackd::rules
