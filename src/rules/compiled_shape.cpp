// Flow: a rule is loaded -> [is it of a plain shape?] -> compiled.cpp keeps its state, or the general evaluator walks its tree.
#include "rules/compiled_shape.hpp"

#include <algorithm>
#include <string_view>

#include "promql/evaluate.hpp"
#include "rules/rule_set.hpp"

namespace rollbackd::rules {
namespace {

using promql::BinaryOp;
using promql::Expr;
using Kind = Expr::Kind;

const Expr& inner(const Expr& e) { return e.kind == Kind::paren ? inner(*e.args[0]) : e; }

bool is_comparison(BinaryOp op) { return op >= BinaryOp::eq && op <= BinaryOp::ge; }

std::optional<double> constant_of(const Expr& wrapped) {
  const Expr& e = inner(wrapped);
  if (e.kind == Kind::number) return e.number;
  if (e.kind != Kind::unary_minus) return std::nullopt;
  const auto value = constant_of(*e.args[0]);
  return value ? std::optional(-*value) : std::nullopt;
}

/// `anchored` and `smoothed` look beyond their window: theirs is another meaning of the same functions.
bool is_plain(const Expr& selector) {
  return selector.extend == Expr::Extend::none && selector.offset() == Duration{0} && selector.at_kind == Expr::At::none &&
         !selector.range_expr() && !selector.offset_expr();
}

std::optional<Reading> reading_of(std::string_view function) {
  static constexpr std::pair<std::string_view, Reading> kKnown[] = {
      {"rate", Reading::rate},           {"increase", Reading::increase},
      {"delta", Reading::delta},         {"changes", Reading::changes},
      {"resets", Reading::resets},       {"avg_over_time", Reading::avg},
      {"min_over_time", Reading::min},   {"max_over_time", Reading::max},
      {"sum_over_time", Reading::sum},   {"count_over_time", Reading::count},
      {"last_over_time", Reading::last}, {"present_over_time", Reading::present}};
  for (const auto& [name, reading] : kKnown)
    if (name == function) return reading;
  return std::nullopt;
}

/// Reads shapes; each function says no by giving nothing.
class Recogniser {
 public:
  explicit Recogniser(const Expr& expr) : selectors_(promql::selectors(expr)) {}

  std::optional<ShapePart> part(const Expr& wrapped) const {
    const Expr& e = inner(wrapped);
    if (e.kind == Kind::selector && is_plain(e)) return ShapePart{place(e), Reading::latest, promql::EvalOptions{}.lookback};
    if (e.kind != Kind::call || e.args.size() != 1) return std::nullopt;
    const auto reading = reading_of(e.function);
    const Expr& range = inner(*e.args[0]);
    if (!reading || range.kind != Kind::range_selector || !is_plain(range) || range.range <= Duration{0}) return std::nullopt;
    // Without the name two metrics' series may become one: what then happens is the general evaluator's to say.
    if (*reading != Reading::last && metric_of(range.matchers).empty()) return std::nullopt;
    return ShapePart{place(range), *reading, range.range};
  }

  std::optional<ShapePart> sum(const Expr& wrapped, std::vector<std::string>& grouping) const {
    const Expr& e = inner(wrapped);
    if (e.kind != Kind::aggregate || e.function != "sum" || e.without || e.args.size() != 1) return std::nullopt;
    grouping = e.grouping();
    std::sort(grouping.begin(), grouping.end());
    if (std::binary_search(grouping.begin(), grouping.end(), kNameLabel)) return std::nullopt;
    return part(*e.args[0]);
  }

  std::optional<Shape> side(const Expr& wrapped) const {
    const Expr& e = inner(wrapped);
    Shape out;
    if (e.kind == Kind::aggregate) {
      std::vector<std::string> grouping;
      const auto only = sum(e, grouping);
      if (!only) return std::nullopt;
      keep(std::move(grouping), out);
      out.parts[0] = *only;
      out.summed = true;
      return out;
    }
    if (e.kind == Kind::binary) {
      const promql::VectorMatching& m = e.matching();
      const bool plain = m.card == promql::VectorMatching::Card::one_to_one && !m.on && m.labels.empty() && m.include.empty();
      if (e.op != BinaryOp::div || !plain) return std::nullopt;
      std::vector<std::string> grouping, below;
      const auto left = sum(*e.args[0], grouping), right = sum(*e.args[1], below);
      if (!left || !right || below != grouping) return std::nullopt;
      keep(std::move(grouping), out);
      out.parts = {*left, *right};
      out.part_count = 2;
      out.summed = true;
      return out;
    }
    const auto only = part(e);
    if (!only) return std::nullopt;
    out.parts[0] = *only;
    out.drops_name = only->reading != Reading::latest && only->reading != Reading::last;
    return out;
  }

 private:
  static void keep(std::vector<std::string> grouping, Shape& out) {
    out.grouping.reserve(grouping.size());
    for (std::string& label : grouping) out.grouping.push_back(std::move(label));
  }
  std::uint32_t place(const Expr& selector) const {
    return static_cast<std::uint32_t>(std::find(selectors_.begin(), selectors_.end(), &selector) - selectors_.begin());
  }
  std::vector<const Expr*> selectors_;
};

/// Whether a window that loses its oldest samples can come to satisfy the comparison.
bool may_breach_by_time(const Shape& shape) {
  if (shape.return_bool) return false;  // Always an element: breached from its first sample on.
  if (shape.summed) return true;
  const bool flip = shape.constant_left;
  const bool above = flip ? shape.op == BinaryOp::lt || shape.op == BinaryOp::le : shape.op == BinaryOp::gt || shape.op == BinaryOp::ge;
  const bool below = flip ? shape.op == BinaryOp::gt || shape.op == BinaryOp::ge : shape.op == BinaryOp::lt || shape.op == BinaryOp::le;
  switch (shape.parts[0].reading) {
    case Reading::latest:
    case Reading::last:
    case Reading::present: return false;
    case Reading::count:
    case Reading::changes:
    case Reading::resets:
    case Reading::max: return !above;
    case Reading::min: return !below;
    default: return true;
  }
}

}  // namespace

bool holds(BinaryOp op, double left, double right) {
  switch (op) {
    case BinaryOp::eq: return left == right;
    case BinaryOp::ne: return left != right;
    case BinaryOp::lt: return left < right;
    case BinaryOp::le: return left <= right;
    case BinaryOp::gt: return left > right;
    case BinaryOp::ge: return left >= right;
    default: return false;
  }
}

std::optional<Shape> shape_of(const Expr& expr) {
  const Expr& e = inner(expr);
  if (e.kind != Kind::binary || !is_comparison(e.op)) return std::nullopt;
  const auto left = constant_of(*e.args[0]), right = constant_of(*e.args[1]);
  if (left.has_value() == right.has_value()) return std::nullopt;
  auto shape = Recogniser(expr).side(*e.args[left ? 1 : 0]);
  if (!shape) return std::nullopt;
  shape->constant_left = left.has_value();
  shape->constant = left ? *left : *right;
  shape->op = e.op;
  shape->return_bool = e.return_bool;
  if (shape->return_bool && !shape->summed) {
    shape->drops_name = true;
    const std::uint32_t place = shape->parts[0].selector;
    if (metric_of(promql::selectors(expr)[place]->matchers).empty()) return std::nullopt;
  }
  shape->breaches_by_time = may_breach_by_time(*shape);
  return shape;
}

}  // namespace rollbackd::rules
