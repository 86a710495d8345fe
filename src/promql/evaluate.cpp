// The walk over the tree: selectors, subqueries, calls; and the three-valued bookkeeping that all nodes share.
#include "promql/evaluate.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <set>
#include <unordered_set>

#include "promql/evaluator.hpp"
#include "promql/functions.hpp"
#include "promql/lex.hpp"

namespace rollbackd::promql {
namespace {

using Kind = Expr::Kind;

constexpr Duration kDefaultStep = 1min;
constexpr std::size_t kStepWork = 50;  // A step of a subquery costs also where it finds nothing.
constexpr std::size_t kAnnotationsMax = 100;
constexpr double kSecondsMax = 9.2e9;  // What fits into a Duration.
constexpr std::int64_t kFarthest = std::int64_t{1} << 62;

struct PointerHash {
  std::size_t operator()(const Labels* l) const { return l->hash(); }
};
struct PointerEqual {
  bool operator()(const Labels* a, const Labels* b) const { return *a == *b; }
};

/// The labels that `absent` gives its one element: those that the selector requires to be equal to one value.
Labels labels_of_absent(const Expr& argument) {
  Labels out;
  const Expr& e = unwrapped(argument);
  if (e.kind != Kind::selector && e.kind != Kind::range_selector) return out;
  std::set<std::string> seen;
  for (const series::Matcher& m : e.matchers) {
    if (m.label() == kNameLabel) continue;
    if (m.op() == series::Matcher::Op::equal && seen.insert(m.label()).second) {
      out.set(m.label(), m.value());
    } else {
      out.remove(m.label());
    }
  }
  return out;
}

/// `absent`, three-valued: what is there is known to be there; what is not seen is absent only if somebody looked.
Operand absent(const Expr& argument, const Operand& operand) {
  Operand out;
  if (!operand.empty()) return out;
  if (operand.blind) {
    out.take_blindness(operand);
  } else {
    out.vector.push_back({labels_of_absent(argument), 1});
  }
  return out;
}

bool may_be_counter(std::string_view name) {
  for (const std::string_view suffix : {"_total", "_sum", "_count", "_bucket"})
    if (name.ends_with(suffix)) return true;
  return false;
}

/// What Prometheus says of a function over the window of one series that gave a value.
void annotate_window(Evaluator& evaluator, const Expr& call, const Function& f, std::string_view name, std::span<const double> params) {
  if ((f.name == "rate" || f.name == "increase") && !name.empty() && !may_be_counter(name)) {
    evaluator.annotate(*call.args[0], Annotation::Level::info,
                       "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: " + quoted(name));
  }
  if (f.name == "quantile_over_time") annotate_quantile(evaluator, *call.args[0], params[0]);
}

}  // namespace

void annotate_quantile(Evaluator& evaluator, const Expr& parameter, double q) {
  if (!evaluator.annotating() || (q >= 0 && q <= 1)) return;
  evaluator.annotate(parameter, Annotation::Level::warning, "quantile value should be between 0 and 1, got " + number_text(q));
}

Instant shifted(Instant t, Duration d) {
  std::int64_t ns = 0;
  if (__builtin_add_overflow(t.ns(), d.count(), &ns)) ns = d.count() < 0 ? -kFarthest : kFarthest;
  return Instant(std::clamp(ns, -kFarthest, kFarthest));
}

void Evaluator::fail(const Expr& e, std::string message, Errc code) {
  if (failure_) return;
  failure_ = Error(code, "cannot evaluate the expression").because("column " + std::to_string(e.begin + 1) + ": " + std::move(message));
}

bool Evaluator::work(const Expr& e, std::size_t n) {
  work_ += n;
  if (work_ > options_.work_max)
    fail(e, "the evaluation would touch more than " + std::to_string(options_.work_max) + " samples", Errc::too_large);
  return !failed();
}

void Evaluator::annotate(const Expr& e, Annotation::Level level, std::string text) {
  if (!options_.annotate || annotations_.size() >= kAnnotationsMax) return;
  for (const Annotation& known : annotations_)
    if (known.level == level && known.text == text) return;
  annotations_.push_back({level, std::move(text), e.begin, e.end});
}

void drop_metric(Labels& labels) {
  labels.remove(kNameLabel);
  labels.remove("__type__");
  labels.remove("__unit__");
}

Duration Evaluator::length(const Expr& e, const DurationPtr& expr, Duration value, bool may_be_negative) {
  if (!expr) return value;
  const Duration range = options_.start && options_.end ? *options_.end - *options_.start : Duration{0};
  const auto seconds = seconds_of(*expr, options_.step, range);
  if (seconds.has_error()) {
    fail(e, seconds.error().why);
  } else if (!may_be_negative && !(*seconds > 0)) {
    fail(e, "duration must be greater than 0");
  } else if (!(std::abs(*seconds) < kSecondsMax)) {
    fail(e, "duration is out of range");
  } else {
    return std::chrono::milliseconds(static_cast<std::int64_t>(*seconds * 1e3));
  }
  return Duration{0};
}

void Evaluator::require_unique(const Expr& e, const std::vector<Element>& elements) {
  if (elements.size() < 2) return;
  std::unordered_set<const Labels*, PointerHash, PointerEqual> seen;
  for (const Element& element : elements)
    if (!seen.insert(&element.labels).second) return fail(e, "vector cannot contain metrics with the same labelset");
}

Instant Evaluator::reference(const Expr& e) {
  Instant t = now_;
  switch (e.at_kind) {
    case Expr::At::none: break;
    case Expr::At::timestamp: t = e.at; break;
    case Expr::At::start: t = options_.start.value_or(options_.at); break;
    case Expr::At::end: t = options_.end.value_or(options_.at); break;
  }
  return shifted(t, -length(e, e.offset_expr, e.offset, true));
}

void Evaluator::judge(const Expr& e, Operand& out) {
  series::Liveness live;
  const auto known = subqueries_ > 0 ? liveness_.find(&e) : liveness_.end();
  if (known != liveness_.end()) {
    live = known->second;
  } else {
    live = querier_.liveness(e.matchers, options_.at);
    if (subqueries_ > 0) liveness_.emplace(&e, live);
  }
  any_selector_ = true;
  any_fed_ = any_fed_ || live.fed;
  out.blind = live.blind;
  out.blind_reason = std::move(live.blind_reason);
}

Operand Evaluator::selector(const Expr& e, bool timestamps) {
  Operand out;
  const auto found = querier_.latest(e.matchers, reference(e), options_.lookback);
  if (!work(e, found.size() + 1)) return out;
  out.vector.reserve(found.size());
  for (const series::Selected& s : found) {
    const series::Point& p = s.points.back();
    out.vector.push_back({*s.labels, timestamps ? p.at.seconds() : p.value});
  }
  judge(e, out);
  return out;
}

Operand Evaluator::range_selector(const Expr& e) {
  Operand out;
  out.type = ValueType::matrix;
  out.to = reference(e);
  out.from = shifted(out.to, -length(e, e.range_expr, e.range, false));
  if (failed()) return out;
  const auto found = querier_.range(e.matchers, out.from, out.to);
  out.matrix.reserve(found.size());
  for (const series::Selected& s : found) {
    if (!work(e, s.points.size() + 1)) return out;
    const auto is_stale = [](const series::Point& p) { return series::is_stale_nan(p.value); };
    RangeSeries r{*s.labels, s.points, {}, false};
    if (std::any_of(s.points.begin(), s.points.end(), is_stale)) {
      std::copy_if(s.points.begin(), s.points.end(), std::back_inserter(r.own), std::not_fn(is_stale));
      if (r.own.empty()) continue;
      r.points = r.own;  // A moved vector keeps its memory, so the span stays good.
    }
    out.matrix.push_back(std::move(r));
  }
  judge(e, out);
  return out;
}

Operand Evaluator::subquery(const Expr& e) {
  Operand out;
  out.type = ValueType::matrix;
  out.to = reference(e);
  out.from = shifted(out.to, -length(e, e.range_expr, e.range, false));
  const Duration given = length(e, e.step_expr, e.step, false);
  const std::int64_t step = (given <= Duration{0} ? kDefaultStep : given).count();
  std::int64_t t = out.from.ns() / step * step;
  if (t > out.from.ns()) t -= step;  // Division rounds towards zero; the grid goes on below it.
  t += step;                         // The window is open on the left.

  std::unordered_map<Labels, std::size_t, LabelsHash> index;
  const Instant outer = now_;
  ++subqueries_;
  for (; t <= out.to.ns() && !failed(); t += step) {
    now_ = Instant(t);
    Operand one = eval(*e.args[0]);
    if (!work(e, one.vector.size() + kStepWork)) break;
    out.take_blindness(one);
    for (Element& element : one.vector) {
      const auto [at, is_new] = index.try_emplace(element.labels, out.matrix.size());
      if (is_new) out.matrix.push_back({std::move(element.labels), {}, {}, element.drop_name});
      std::vector<series::Point>& points = out.matrix[at->second].own;
      if (!points.empty() && points.back().at == now_) fail(e, "vector cannot contain metrics with the same labelset");
      points.push_back({now_, element.value});
    }
  }
  --subqueries_;
  now_ = outer;
  for (RangeSeries& r : out.matrix) r.points = r.own;
  return out;
}

Operand Evaluator::unary_minus(const Expr& e) {
  Operand out = eval(*e.args[0]);
  out.scalar = -out.scalar;
  for (Element& element : out.vector) {
    element.value = -element.value;
    element.drop_name = true;
  }
  return out;
}

Operand Evaluator::call(const Expr& e) {
  const Function* f = find_function(e.function);
  if (f == nullptr) {
    fail(e, "unknown function with name \"" + e.function + "\"");
    return {};
  }
  // `timestamp` of a selector asks for its samples' own times.
  if (f->name == "timestamp" && unwrapped(*e.args[0]).kind == Kind::selector) {
    Operand out = selector(unwrapped(*e.args[0]), true);
    for (Element& element : out.vector) element.drop_name = true;
    return out;
  }

  std::vector<Operand> args;
  args.reserve(e.args.size());
  for (const ExprPtr& arg : e.args) {
    args.push_back(eval(*arg));
    if (failed()) return {};
  }
  if (f->name == "absent" || f->name == "absent_over_time") return absent(*e.args[0], args[0]);

  Operand out;
  out.type = f->returns;
  if (f->special != nullptr) {
    out = f->special(*this, e, args);
  } else if (f->of_value != nullptr) {
    out.vector = std::move(args[0].vector);
    for (Element& element : out.vector) {
      element.value = f->of_value(element.value);
      element.drop_name = true;
    }
  } else {
    std::vector<double> params;
    Operand* range = nullptr;
    for (Operand& arg : args) {
      if (arg.type == ValueType::scalar) params.push_back(arg.scalar);
      if (arg.type == ValueType::matrix) range = &arg;
    }
    out.vector.reserve(range->matrix.size());
    for (RangeSeries& r : range->matrix) {
      const auto value = f->over_range({r.points, range->from, range->to, now_, params});
      if (!value) continue;
      if (annotating()) annotate_window(*this, e, *f, r.labels.name(), params);
      out.vector.push_back({std::move(r.labels), *value, r.drop_name || !f->keeps_name});
    }
  }
  for (const Operand& arg : args) out.take_blindness(arg);
  return out;
}

Operand Evaluator::eval(const Expr& e) {
  if (failed()) return {};
  switch (e.kind) {
    case Kind::number: return Operand::of_scalar(e.number);
    case Kind::string: {
      Operand out;
      out.type = ValueType::string;
      out.string = e.string;
      return out;
    }
    case Kind::selector: return selector(e, false);
    case Kind::range_selector: return range_selector(e);
    case Kind::subquery: return subquery(e);
    case Kind::unary_minus: return unary_minus(e);
    case Kind::binary: return evaluate_binary(*this, e);
    case Kind::aggregate: return evaluate_aggregate(*this, e);
    case Kind::call: return call(e);
    case Kind::paren: return eval(*e.args[0]);
  }
  return {};
}

Value Evaluator::finished(Operand o) {
  Value v;
  v.type = o.type == ValueType::scalar ? Value::Type::scalar : o.type == ValueType::string ? Value::Type::string : Value::Type::vector;
  v.vector = std::move(o.vector);
  for (Element& element : v.vector) {
    if (element.drop_name) drop_metric(element.labels);
    element.drop_name = false;
  }
  v.scalar = o.scalar;
  v.string = std::move(o.string);
  v.blind = o.blind;
  v.blind_reason = std::move(o.blind_reason);
  v.fed = any_fed_ || !any_selector_;
  v.annotations = std::move(annotations_);
  v.work = work_;
  return v;
}

Result<Value> Evaluator::run(const Expr& expr) {
  if (expr.type == ValueType::matrix) {
    fail(expr, "invalid expression type \"range vector\" for an instant query, must be scalar, instant vector or string");
    return std::move(*failure_);
  }
  Operand o = eval(expr);
  if (failure_) return std::move(*failure_);
  Value v = finished(std::move(o));
  require_unique(expr, v.vector);
  if (failure_) return std::move(*failure_);
  return v;
}

Result<std::vector<Series>> Evaluator::run_range_vector(const Expr& expr) {
  if (expr.type != ValueType::matrix) fail(expr, "expected type range vector, got " + std::string(to_string(expr.type)));
  Operand o = eval(expr);
  if (failure_) return std::move(*failure_);
  std::vector<Series> out;
  for (RangeSeries& r : o.matrix) {
    if (r.points.empty()) continue;
    if (r.drop_name) drop_metric(r.labels);
    out.push_back({std::move(r.labels), {r.points.begin(), r.points.end()}});
  }
  return out;
}

std::vector<series::Selected> StoreQuerier::range(std::span<const series::Matcher> matchers, Instant from_exclusive, Instant to) const {
  return store_.select(matchers, from_exclusive, to, scope_);
}

std::vector<series::Selected> StoreQuerier::latest(std::span<const series::Matcher> matchers, Instant to, Duration lookback) const {
  return store_.select_latest(matchers, to, lookback, scope_);
}

series::Liveness StoreQuerier::liveness(std::span<const series::Matcher> matchers, Instant at) const {
  return store_.liveness(matchers, at, scope_);
}

Result<Value> evaluate(const Expr& expr, const Querier& querier, const EvalOptions& options) {
  return Evaluator(querier, options).run(expr);
}

Result<std::vector<Series>> evaluate_range_vector(const Expr& expr, const Querier& querier, const EvalOptions& options) {
  return Evaluator(querier, options).run_range_vector(expr);
}

}  // namespace rollbackd::promql
