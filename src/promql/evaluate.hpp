// Evaluates a parsed expression at one instant, three-valued: a value, and whether it is blind.
// Flow: series -> [promql] -> rules. Pure: no I/O, no clock.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "model/labels.hpp"
#include "promql/parse.hpp"
#include "series/store.hpp"

namespace rollbackd::promql {

/// What an expression reads from. `series::Store` through `StoreQuerier`, or a test's own.
class Querier {
 public:
  virtual ~Querier() = default;
  virtual std::vector<series::Selected> range(std::span<const series::Matcher> matchers, Instant from_exclusive, Instant to) const = 0;
  virtual std::vector<series::Selected> latest(std::span<const series::Matcher> matchers, Instant to, Duration lookback) const = 0;
  /// Judged at the instant of the evaluation, not at the selector's offset.
  virtual series::Liveness liveness(std::span<const series::Matcher> matchers, Instant at) const = 0;
};

/// The store seen whole, or by one service alone.
class StoreQuerier final : public Querier {
 public:
  explicit StoreQuerier(const series::Store& store, const ServiceKey* scope = nullptr) : store_(store), scope_(scope) {}
  std::vector<series::Selected> range(std::span<const series::Matcher> matchers, Instant from_exclusive, Instant to) const override;
  std::vector<series::Selected> latest(std::span<const series::Matcher> matchers, Instant to, Duration lookback) const override;
  series::Liveness liveness(std::span<const series::Matcher> matchers, Instant at) const override;

 private:
  const series::Store& store_;
  const ServiceKey* scope_;
};

/// One element of an instant vector.
struct Element {
  Labels labels;
  double value = 0;
  /// Inside an evaluation: the metric's name is still there, for matching and for label_replace, and goes at the very end.
  bool drop_name = false;
};

/// One series of a range vector.
struct Series {
  Labels labels;
  std::vector<series::Point> points;
};

/// What Prometheus says about an expression beside its value, as its API's `warnings` and `infos`.
struct Annotation {
  enum class Level { warning, info };
  Level level = Level::warning;
  std::string text;                  ///< as upstream writes it, without the place: "metric might not be a counter, ..."
  std::uint32_t begin = 0, end = 0;  ///< byte range in the expression
};

/// What an evaluation gives. A scalar and a string have their own types, as in PromQL.
struct Value {
  enum class Type { vector, scalar, string };
  Type type = Type::vector;
  std::vector<Element> vector;
  double scalar = 0;
  std::string string;
  bool blind = false;                   ///< three-valued: see DESIGN.md section 5; meaningful beside any vector
  std::string blind_reason;             ///< of the first blind selector
  bool fed = false;                     ///< at least one selector has a source, or there is no selector at all
  std::vector<Annotation> annotations;  ///< each once, in order; at most 100; only where `EvalOptions::annotate`
  std::uint64_t work = 0;               ///< samples touched plus elements made; a subquery's step counts as 50
};

struct EvalOptions {
  Instant at;                          ///< the evaluation's instant
  Duration lookback = 5min;            ///< staleness of an instant selector
  std::uint64_t work_max = 5'000'000;  ///< samples touched plus elements made; beyond it the evaluation fails with `too_large`
  std::optional<Instant> start = {};   ///< what `@ start()` means; `at` when not set
  std::optional<Instant> end = {};     ///< what `@ end()` means; `at` when not set
  Duration step{};                     ///< what `step()` means in a duration expression: of the range query, 0 for an instant one
  bool annotate = true;                ///< say warnings and infos; rules that run on every batch do without
};

/// @return `invalid_argument` as Prometheus would fail (many-to-many matching, duplicate label sets, ...), with the column in `why`;
///         `too_large` over `work_max`
Result<Value> evaluate(const Expr& expr, const Querier& querier, const EvalOptions& options);

/// What an expression of type range vector gives at one instant, as an instant query of `up[5m]` shows it.
/// @return as `evaluate`; `invalid_argument` for an expression of another type
Result<std::vector<Series>> evaluate_range_vector(const Expr& expr, const Querier& querier, const EvalOptions& options);

}  // namespace rollbackd::promql
