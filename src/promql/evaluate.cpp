// The walk over the tree, calls, and the end of an evaluation. Selectors and subqueries are in evaluate_selector.cpp.
#include "promql/evaluate.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>
#include <unordered_set>

#include "promql/evaluator.hpp"
#include "promql/functions.hpp"
#include "promql/lex.hpp"
#include "promql/range_functions.hpp"

namespace rollbackd::promql {
namespace {

using Kind = Expr::Kind;

constexpr std::size_t kAnnotationsMax = 100;

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

/// RFC 3339 without its fraction.
std::string to_the_second(Instant t) { return format_rfc3339(t).substr(0, 19) + "Z"; }

/// Only some functions know what to do with the points around a window.
std::string misused(Expr::Extend extend, std::string_view function) {
  if (extend == Expr::Extend::none || function == "rate" || function == "increase" || function == "delta") return "";
  const bool anchored = extend == Expr::Extend::anchored;
  if (anchored && (function == "changes" || function == "resets")) return "";
  return std::string(anchored ? "anchored modifier can only be used with: changes, delta, increase, rate, resets"
                              : "smoothed modifier can only be used with: delta, increase, rate") +
         " - not with " + std::string(function);
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

void Evaluator::annotate_levelled(const Expr& e, std::string text, double lowest, double highest, double fall) {
  if (!options_.annotate) return;
  const auto known = std::find_if(levelled_.begin(), levelled_.end(), [&text](const Levelled& l) { return l.text == text; });
  if (known == levelled_.end()) {
    if (levelled_.size() < kAnnotationsMax) levelled_.push_back({std::move(text), e.begin, e.end, lowest, highest, fall, now_, now_, 1});
    return;
  }
  known->lowest = std::min(known->lowest, lowest);
  known->highest = std::max(known->highest, highest);
  known->fall = std::max(known->fall, fall);
  known->first = std::min(known->first, now_);
  known->last = std::max(known->last, now_);
  ++known->samples;
}

void drop_metric(Labels& labels) {
  labels.remove(kNameLabel);
  labels.remove("__type__");
  labels.remove("__unit__");
}

void Evaluator::require_unique(const Expr& e, const std::vector<Element>& elements) {
  if (elements.size() < 2) return;
  std::unordered_set<const Labels*, PointerHash, PointerEqual> seen;
  for (const Element& element : elements)
    if (!seen.insert(&element.labels).second) return fail(e, "vector cannot contain metrics with the same labelset");
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
  if (f->name == "absent" || f->name == "absent_over_time") {
    if (const std::string why = misused(args[0].extend, f->name); !why.empty()) fail(e, why);
    return absent(*e.args[0], args[0]);
  }

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
    if (const std::string why = misused(range->extend, f->name); !why.empty()) {
      fail(e, why);
      return {};
    }
    out.vector.reserve(range->matrix.size());
    for (RangeSeries& r : range->matrix) {
      const auto value = f->over_range({r.points, range->from, range->to, now_, params, range->extend});
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
      out.string = e.string();
      return out;
    }
    case Kind::selector: return selector(e, false);
    case Kind::range_selector: return range_selector(e);
    case Kind::subquery: return subquery(e);
    case Kind::unary_minus: return unary_minus(e);
    case Kind::binary: return evaluate_binary(*this, e);
    case Kind::aggregate: return evaluate_aggregate(*this, e);
    case Kind::call: return call(e);
    case Kind::unary_plus:
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
  for (const Levelled& l : levelled_) {
    if (v.annotations.size() >= kAnnotationsMax) break;
    std::array<char, 32> fall{};
    std::snprintf(fall.data(), fall.size(), "%.2g", l.fall);
    v.annotations.push_back({Annotation::Level::info,
                             l.text + ", from buckets " + number_text(l.lowest) + " to " + number_text(l.highest) +
                                 ", with a max diff of " + fall.data() + ", over " + std::to_string(l.samples) + " samples from " +
                                 to_the_second(l.first) + " to " + to_the_second(l.last),
                             l.begin, l.end});
  }
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
    const Window window{r.points, o.from, o.to, now_, {}, o.extend};
    std::vector<series::Point> points = range_functions::points_of(window);
    if (!points.empty()) out.push_back({std::move(r.labels), std::move(points)});
  }
  return out;
}

Result<Value> evaluate(const Expr& expr, const Querier& querier, const EvalOptions& options) {
  return Evaluator(querier, options).run(expr);
}

Result<std::vector<Series>> evaluate_range_vector(const Expr& expr, const Querier& querier, const EvalOptions& options) {
  return Evaluator(querier, options).run_range_vector(expr);
}

}  // namespace rollbackd::promql
