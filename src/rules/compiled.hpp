// One rule of a plain shape on one service: the series it reads and what their windows come to, so that a batch costs a few comparisons.
// Flow: a batch touched the rule -> [compiled] -> nothing to say, or elements as the general evaluator would give them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/compact.hpp"
#include "promql/evaluate.hpp"
#include "rules/compiled_shape.hpp"
#include "rules/compiled_window.hpp"

namespace rollbackd::rules {

/// Room for sums that evaluations share, so that a quiet one allocates nothing.
class Sums;

class Compiled {
 public:
  /// Beyond it the general evaluator is asked, which keeps no state for a series.
  static constexpr std::size_t kSeriesMax = 1000;

  /// @param selectors  promql::selectors of the rule's expression
  /// Both outlive it.
  Compiled(const Shape& shape, std::span<const promql::Expr* const> selectors) : shape_(shape), selectors_(selectors) {}

  void add(std::uint32_t selector, series::Series& series);
  void remove(std::uint32_t selector, const series::Series& series);

  struct Answer {
    bool known = false;  ///< false: only the general evaluator can say (a source is silent, too many series, a look into the past)
    bool fed = false;
    std::uint64_t work = 0;  ///< samples read
  };
  /// What the rule's expression gives at `now`.
  /// @param out  gets the elements, labels and all, in the general evaluator's order; untouched where there are none
  Answer evaluate(const series::Service& service, Instant now, Sums& sums, std::vector<promql::Element>& out);
  /// The earliest instant after `now` at which a sample that the last answer, of `now`, rests on leaves its window.
  std::optional<Instant> next_leaving(Instant now) const;

 private:
  struct Member {
    series::Series* series = nullptr;
    std::unique_ptr<SlidingWindow> window;  ///< of ranges
    std::uint32_t group = 0;                ///< of sums: place in groups_
    std::uint8_t part = 0;
  };

  std::optional<double> value_of(Member& member, Instant now) const;
  bool keeps(double value) const;
  void sum_up(Instant now, Sums& sums, std::vector<promql::Element>& out);
  void emit(Labels labels, double value, std::vector<promql::Element>& out) const;
  std::uint32_t group_of(const Labels& labels);

  const Shape& shape_;
  std::span<const promql::Expr* const> selectors_;
  Packed<Member> members_;  ///< by part, then in order of creation
  Packed<Labels> groups_;
  series::Feeders feeders_;             ///< of the first part
  Rare<series::Feeders> more_feeders_;  ///< of the second, which only ratios have
};

class Sums {
  friend class Compiled;
  struct Group {
    double sum = 0, rest = 0;
    bool any = false;
  };
  std::vector<Group> groups[2];
  std::vector<std::uint32_t> order;  ///< groups of the left side as they first came
};

}  // namespace rollbackd::rules
