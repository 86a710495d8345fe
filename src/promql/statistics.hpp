// Sums, means and variances that keep their precision; shared by aggregations and functions over ranges.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace rollbackd::promql {

/// Kahan-Neumaier summation.
struct KahanSum {
  double sum = 0, rest = 0;
  void add(double v) {
    const double next = sum + v;
    if (std::isinf(next)) {
      rest = 0;
    } else if (std::abs(sum) >= std::abs(v)) {
      rest += (sum - next) + v;
    } else {
      rest += (v - next) + sum;
    }
    sum = next;
  }
  double total() const { return std::isinf(sum) ? sum : sum + rest; }
};

// In all of these `at(i)` is the i-th of `n` values, and `n` is at least 1.

template <class At>
double sum_of(std::size_t n, At at) {
  KahanSum sum;
  for (std::size_t i = 0; i < n; ++i) sum.add(at(i));
  return sum.total();
}

/// The sum divided by n; once the sum leaves the range of a double, a running mean instead.
template <class At>
double mean_of(std::size_t n, At at) {
  KahanSum sum{at(0), 0};
  double count = 1;
  bool running = false;
  for (std::size_t i = 1; i < n; ++i) {
    count = static_cast<double>(i + 1);
    if (!running) {
      KahanSum next = sum;
      next.add(at(i));
      if (!std::isinf(next.sum)) {
        sum = next;
        continue;
      }
      running = true;
      sum = {sum.sum / (count - 1), sum.rest / (count - 1)};
    }
    const double share = (count - 1) / count;
    sum = {share * sum.sum, share * sum.rest};
    sum.add(at(i) / count);
  }
  return running ? sum.sum + sum.rest : sum.sum / count + sum.rest / count;
}

/// The least or greatest value; NaN only if all are.
template <class At>
double extreme_of(std::size_t n, At at, bool greatest) {
  double best = at(0);
  for (std::size_t i = 1; i < n; ++i)
    if (std::isnan(best) || (greatest ? at(i) > best : at(i) < best)) best = at(i);
  return best;
}

/// The population variance (Welford).
template <class At>
double variance_of(std::size_t n, At at) {
  KahanSum mean, squares;
  for (std::size_t i = 0; i < n; ++i) {
    const double off = at(i) - (mean.sum + mean.rest);
    mean.add(off / static_cast<double>(i + 1));
    squares.add(off * (at(i) - (mean.sum + mean.rest)));
  }
  return (squares.sum + squares.rest) / static_cast<double>(n);
}

/// φ-quantile by linear interpolation; sorts `values`. NaN without values or for a NaN φ, -Inf below 0, +Inf above 1.
double quantile_of(double q, std::vector<double> values);

}  // namespace rollbackd::promql
