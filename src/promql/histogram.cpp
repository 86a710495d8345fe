#include "promql/histogram.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

namespace rollbackd::promql {
namespace {

constexpr double kTolerance = 1e-12;

struct Bucket {
  double upper = 0, count = 0;
};

std::optional<double> bound_of(std::string_view text) {
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  double v = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), v);
  if (read.ec != std::errc{} || read.ptr != text.data() + text.size()) return std::nullopt;
  return v;
}

/// One bucket for each bound, counts that never fall: tiny falls are rounding, greater ones a source's mistake; both are levelled.
void make_monotonic(std::vector<Bucket>& buckets) {
  std::size_t last = 0;
  for (std::size_t i = 1; i < buckets.size(); ++i) {
    if (buckets[i].upper == buckets[last].upper) {
      buckets[last].count += buckets[i].count;
    } else {
      buckets[++last] = buckets[i];
    }
  }
  buckets.resize(last + 1);
  double before = buckets[0].count;
  for (std::size_t i = 1; i < buckets.size(); ++i) {
    const double off = std::abs(buckets[i].count - before);
    if (off != 0 && off / buckets[i].count > kTolerance) before = buckets[i].count;
    buckets[i].count = before;
  }
  for (std::size_t i = 1; i < buckets.size(); ++i) buckets[i].count = std::max(buckets[i].count, buckets[i - 1].count);
}

double quantile_of_buckets(double q, std::vector<Bucket> buckets) {
  if (std::isnan(q)) return std::nan("");
  if (q < 0) return -HUGE_VAL;
  if (q > 1) return HUGE_VAL;
  std::sort(buckets.begin(), buckets.end(), [](const Bucket& a, const Bucket& b) { return a.upper < b.upper; });
  if (buckets.back().upper != HUGE_VAL) return std::nan("");
  make_monotonic(buckets);
  if (buckets.size() < 2 || buckets.back().count == 0) return std::nan("");

  double rank = q * buckets.back().count;
  std::size_t b = 0;
  while (b + 1 < buckets.size() && !(buckets[b].count >= rank)) ++b;
  if (b + 1 == buckets.size()) return buckets[b - 1].upper;
  if (b == 0 && buckets[0].upper <= 0) return buckets[0].upper;
  double start = 0, count = buckets[b].count;
  if (b > 0) {
    start = buckets[b - 1].upper;
    count -= buckets[b - 1].count;
    rank -= buckets[b - 1].count;
  }
  return start + (buckets[b].upper - start) * (rank / count);
}

}  // namespace

Operand histogram_quantile(Evaluator&, const Expr&, std::vector<Operand>& args) {
  Operand out;
  std::vector<std::pair<Labels, std::vector<Bucket>>> histograms;
  std::unordered_map<Labels, std::size_t, LabelsHash> index;
  for (Element& element : args[1].vector) {
    const auto bound = bound_of(element.labels.get("le"));
    if (!bound || std::isnan(*bound)) continue;
    element.labels.remove("le");
    const auto [at, is_new] = index.try_emplace(element.labels, histograms.size());
    if (is_new) histograms.push_back({element.labels, {}});
    histograms[at->second].second.push_back({*bound, element.value});
  }
  for (auto& [labels, buckets] : histograms) {
    labels.remove(kNameLabel);
    out.vector.push_back({std::move(labels), quantile_of_buckets(args[0].scalar, std::move(buckets))});
  }
  return out;
}

}  // namespace rollbackd::promql
