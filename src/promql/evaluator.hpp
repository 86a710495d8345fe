// The evaluator's inside: what flows between nodes, and the services that functions, aggregations and operators use.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "promql/evaluate.hpp"

namespace rollbackd::promql {

/// One series of a range vector.
struct RangeSeries {
  Labels labels;
  std::span<const series::Point> points;    ///< into `own`, or into `memory`, or kept by the querier
  std::vector<series::Point> own;           ///< of a subquery, or without the staleness markers
  bool drop_name = false;                   ///< of a subquery, whose elements had it
  std::shared_ptr<const void> memory = {};  ///< what the store's points were unpacked into
};

/// What a node gives: a `Value`, or a range vector.
struct Operand {
  ValueType type = ValueType::vector;
  std::vector<Element> vector;
  std::vector<RangeSeries> matrix;
  Instant from, to;                          ///< the window of `matrix`
  Expr::Extend extend = Expr::Extend::none;  ///< `matrix` has the points around its window too
  double scalar = 0;
  std::string string;
  bool blind = false;
  std::string blind_reason;

  static Operand of_scalar(double v) {
    Operand o;
    o.type = ValueType::scalar;
    o.scalar = v;
    return o;
  }
  bool empty() const { return vector.empty() && matrix.empty(); }
  /// Blind when `other` is; the first reason stays.
  void take_blindness(const Operand& other) {
    if (!other.blind) return;
    if (!blind) blind_reason = other.blind_reason;
    blind = true;
  }
};

/// Walks a tree. The first failure sticks: after it every step gives empty operands, and `run` gives the error.
class Evaluator {
 public:
  Evaluator(const Querier& querier, const EvalOptions& options) : querier_(querier), options_(options), now_(options.at) {}

  Result<Value> run(const Expr& expr);
  Result<std::vector<Series>> run_range_vector(const Expr& expr);
  Operand eval(const Expr& e);

  /// The instant at which the tree is being evaluated: the options', or a subquery's step.
  Instant now() const { return now_; }
  bool failed() const { return failure_.has_value(); }
  /// Records the failure of node `e`; "column N: message" becomes its `why`.
  void fail(const Expr& e, std::string message, Errc code = Errc::invalid_argument);
  /// Says something about node `e`: each text once. Ask `annotating` before building a text.
  bool annotating() const { return options_.annotate; }
  void annotate(const Expr& e, Annotation::Level level, std::string text);
  /// Says of a classic histogram whose counts fell that they were levelled: once for each metric, with the bounds and the greatest fall of
  /// all.
  void annotate_levelled(const Expr& e, std::string text, double lowest, double highest, double fall);
  /// Whether this evaluation is one of the several of a range query.
  bool of_range_query() const { return options_.start && options_.end && *options_.start != *options_.end; }
  /// Counts `n` units of work of node `e`; false once the limit is passed.
  bool work(const Expr& e, std::size_t n);
  /// Fails when two elements have the same labels.
  void require_unique(const Expr& e, const std::vector<Element>& elements);
  /// The instant that a selector or subquery `e` looks at.
  Instant reference(const Expr& e);
  /// The points behind an instant selector (parentheses aside): for `timestamp`.
  Operand selector(const Expr& e, bool timestamps);

 private:
  Operand range_selector(const Expr& e);
  Operand smoothed_selector(const Expr& e);
  /// The points of (`from`, `to`] and, of the same epoch, those up to the lookback after it.
  std::vector<series::Selected> around(const Expr& e, Instant from, Instant to);
  Operand subquery(const Expr& e);
  Operand unary_minus(const Expr& e);
  Operand call(const Expr& e);
  void judge(const Expr& e, Operand& out);
  /// `value`, or what `expr` comes to in this query where there is one; fails below `e` when it must be positive and is not.
  Duration length(const Expr& e, const DurationPtr& expr, Duration value, bool may_be_negative);
  Value finished(Operand o);

  const Querier& querier_;
  const EvalOptions& options_;
  Instant now_;
  int subqueries_ = 0;  ///< how deep inside subqueries we are: liveness is asked once per selector there
  std::unordered_map<const Expr*, series::Liveness> liveness_;
  std::uint64_t work_ = 0;
  std::vector<Annotation> annotations_;
  struct Levelled {
    std::string text;
    std::uint32_t begin = 0, end = 0;
    double lowest = 0, highest = 0, fall = 0;
    Instant first, last;
    int samples = 1;
  };
  std::vector<Levelled> levelled_;  ///< become annotations at the end
  bool any_selector_ = false, any_fed_ = false;
  std::optional<Error> failure_;
};

/// Warns of a quantile outside of 0 to 1, `parameter` being where it stands.
void annotate_quantile(Evaluator& evaluator, const Expr& parameter, double q);
/// binary.cpp
Operand evaluate_binary(Evaluator& evaluator, const Expr& e);
/// aggregate.cpp
Operand evaluate_aggregate(Evaluator& evaluator, const Expr& e);
/// Takes the metric's name away, and what else Prometheus knows of a metric as labels: `__type__`, `__unit__`.
void drop_metric(Labels& labels);
/// `e` without parentheses around it.
inline const Expr& unwrapped(const Expr& e) { return e.kind == Expr::Kind::paren ? unwrapped(*e.args[0]) : e; }

/// `t` moved by `d`, kept far enough from the ends of time that nothing computed from it overflows.
Instant shifted(Instant t, Duration d);

}  // namespace rollbackd::promql
