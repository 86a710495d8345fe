// Classic histograms: elements into buckets, buckets into quantiles and fractions.
#include "promql/histogram.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "promql/lex.hpp"

namespace rollbackd::promql {
namespace {

constexpr double kTolerance = 1e-12;

struct Bucket {
  double upper = 0, count = 0;
};

/// Counts that fell: from which bound to which, and by how much at most.
struct Fall {
  double lowest = 0, highest = 0, greatest = 0;
};

std::optional<double> bound_of(std::string_view text) {
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  double v = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), v);
  if (read.ec != std::errc{} || read.ptr != text.data() + text.size()) return std::nullopt;
  return v;
}

std::string of_metric(const Labels& labels) { return labels.name().empty() ? "" : " for metric name " + quoted(labels.name()); }

/// Sorts by bound and adds up buckets with the same one.
void coalesce(std::vector<Bucket>& buckets) {
  std::sort(buckets.begin(), buckets.end(), [](const Bucket& a, const Bucket& b) { return a.upper < b.upper; });
  std::size_t last = 0;
  for (std::size_t i = 1; i < buckets.size(); ++i) {
    if (buckets[i].upper == buckets[last].upper) {
      buckets[last].count += buckets[i].count;
    } else {
      buckets[++last] = buckets[i];
    }
  }
  buckets.resize(last + 1);
}

bool almost_equal(double a, double b) {
  const double size = std::abs(a) + std::abs(b), off = std::abs(a - b);
  if (a == 0 || b == 0 || size < std::numeric_limits<double>::min()) return off < kTolerance * std::numeric_limits<double>::min();
  return off / std::min(size, std::numeric_limits<double>::max()) < kTolerance;
}

/// Counts that never fall: tiny differences are rounding, greater falls a source's mistake; both are levelled.
/// @return between which bounds there were such mistakes, and how great; nothing if there were none
std::optional<Fall> make_monotonic(std::vector<Bucket>& buckets) {
  std::optional<Fall> forced;
  double before = buckets[0].count;
  for (std::size_t i = 1; i < buckets.size(); ++i) {
    const double count = buckets[i].count;
    if (count == before) continue;
    if (almost_equal(before, count)) {
      buckets[i].count = before;
    } else if (count < before) {
      buckets[i].count = before;
      if (!forced) forced = Fall{buckets[i].upper, buckets[i].upper, 0};
      forced->highest = buckets[i].upper;
      forced->greatest = std::max(forced->greatest, before - count);
    } else {
      before = count;
    }
  }
  return forced;
}

double quantile_of_buckets(double q, std::vector<Bucket>& buckets, std::optional<Fall>& forced) {
  if (std::isnan(q)) return std::nan("");
  if (q < 0) return -HUGE_VAL;
  if (q > 1) return HUGE_VAL;
  coalesce(buckets);
  if (buckets.back().upper != HUGE_VAL) return std::nan("");
  forced = make_monotonic(buckets);
  if (buckets.size() < 2 || buckets.back().count == 0) return std::nan("");

  double rank = q * buckets.back().count;
  const auto reaches = [rank](const Bucket& bucket) { return bucket.count >= rank; };
  const auto found = std::partition_point(buckets.begin(), buckets.end() - 1, [&](const Bucket& bucket) { return !reaches(bucket); });
  const auto b = static_cast<std::size_t>(found - buckets.begin());
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

/// How many observations are at most `v`, by straight lines within buckets; nothing if `v` is beyond all bounds.
std::optional<double> rank_of(double v, const std::vector<Bucket>& buckets) {
  double rank = 0;
  double lower = buckets[0].upper <= 0 ? -HUGE_VAL : 0;  // Positive buckets begin at 0.
  for (const Bucket& bucket : buckets) {
    if (lower >= v) return rank;
    if (bucket.upper > v) {
      if (std::isinf(lower)) return bucket.count;
      return rank + (bucket.count - rank) * (v - lower) / (bucket.upper - lower);
    }
    rank = bucket.count;
    lower = bucket.upper;
  }
  return std::nullopt;
}

double fraction_of_buckets(double lower, double upper, std::vector<Bucket>& buckets) {
  coalesce(buckets);
  if (buckets.back().upper != HUGE_VAL) return std::nan("");
  const double count = buckets.back().count;
  if (count == 0 || std::isnan(lower) || std::isnan(upper)) return std::nan("");
  if (lower >= upper) return 0;
  const double below = std::min(rank_of(lower, buckets).value_or(count), count);
  const double up_to = std::min(rank_of(upper, buckets).value_or(count), count);
  return (up_to - below) / count;
}

struct Histogram {
  Labels labels;  ///< without `le`
  std::vector<Bucket> buckets;
};

/// @param argument  the buckets' expression, for what is said about bad ones
std::vector<Histogram> histograms_of(Evaluator& evaluator, const Expr& argument, std::vector<Element>& elements) {
  std::vector<Histogram> out;
  std::unordered_map<Labels, std::size_t, LabelsHash> index;
  for (Element& element : elements) {
    const auto bound = bound_of(element.labels.get("le"));
    if (!bound || std::isnan(*bound)) {
      if (evaluator.annotating())
        evaluator.annotate(
            argument, Annotation::Level::warning,
            "bucket label \"le\" is missing or has a malformed value of " + quoted(element.labels.get("le")) + of_metric(element.labels));
      continue;
    }
    element.labels.remove("le");
    const auto [at, is_new] = index.try_emplace(element.labels, out.size());
    if (is_new) out.push_back({element.labels, {}});
    out[at->second].buckets.push_back({*bound, element.value});
  }
  return out;
}

}  // namespace

Operand histogram_quantile(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args) {
  Operand out;
  annotate_quantile(evaluator, *call.args[0], args[0].scalar);
  for (Histogram& h : histograms_of(evaluator, *call.args[1], args[1].vector)) {
    std::optional<Fall> forced;
    const double value = quantile_of_buckets(args[0].scalar, h.buckets, forced);
    if (forced && evaluator.annotating())
      evaluator.annotate_levelled(*call.args[1],
                                  "input to histogram_quantile needed to be fixed for monotonicity (see "
                                  "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)" +
                                      of_metric(h.labels),
                                  forced->lowest, forced->highest, forced->greatest);
    out.vector.push_back({std::move(h.labels), value, true});
  }
  return out;
}

Operand histogram_fraction(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args) {
  Operand out;
  for (Histogram& h : histograms_of(evaluator, *call.args[2], args[2].vector)) {
    const double value = fraction_of_buckets(args[0].scalar, args[1].scalar, h.buckets);
    out.vector.push_back({std::move(h.labels), value, true});
  }
  return out;
}

}  // namespace rollbackd::promql
