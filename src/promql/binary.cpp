// Binary operators: arithmetic, comparison, and/or/unless, and which element of one side meets which of the other.
#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "promql/evaluator.hpp"

namespace rollbackd::promql {
namespace {

using Card = VectorMatching::Card;

bool is_comparison(BinaryOp op) { return op >= BinaryOp::eq && op <= BinaryOp::ge; }

bool is_trim(BinaryOp op) { return op == BinaryOp::trim_upper || op == BinaryOp::trim_lower; }

/// A filter keeps the metric; what computes makes another one.
bool drops_name(const Expr& e) { return !is_comparison(e.op) || e.return_bool; }

struct Outcome {
  double value = 0;
  bool keep = true;
};

/// @return for a comparison the left value and whether it holds
Outcome apply(BinaryOp op, double l, double r) {
  switch (op) {
    case BinaryOp::add: return {l + r};
    case BinaryOp::sub: return {l - r};
    case BinaryOp::mul: return {l * r};
    case BinaryOp::div: return {l / r};
    case BinaryOp::mod: return {std::fmod(l, r)};
    case BinaryOp::pow: return {std::pow(l, r)};
    case BinaryOp::atan2: return {std::atan2(l, r)};
    case BinaryOp::eq: return {l, l == r};
    case BinaryOp::ne: return {l, l != r};
    case BinaryOp::lt: return {l, l < r};
    case BinaryOp::le: return {l, l <= r};
    case BinaryOp::gt: return {l, l > r};
    case BinaryOp::ge: return {l, l >= r};
    case BinaryOp::land:
    case BinaryOp::lor:
    case BinaryOp::lunless: break;
    case BinaryOp::trim_upper:
    case BinaryOp::trim_lower: return {0, false};  // Of native histograms alone.
  }
  return {};
}

bool lists(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The labels by which two elements match.
Labels signature(const Labels& labels, const VectorMatching& m) {
  std::vector<Labels::Pair> pairs;
  for (const Labels::Pair& pair : labels.pairs()) {
    const bool listed = lists(m.labels, pair.first);
    if (m.on ? listed : !listed && pair.first != kNameLabel) pairs.push_back(pair);
  }
  return Labels(std::move(pairs));
}

/// The labels of a match: the many side's, cut to the matching labels if one-to-one, with the included ones of the one side.
Labels result_labels(const Labels& many, const Labels& one, const Expr& e) {
  const VectorMatching& m = e.matching();
  std::vector<Labels::Pair> pairs;
  for (const Labels::Pair& pair : many.pairs()) {
    if (m.card == Card::one_to_one && lists(m.labels, pair.first) != m.on) continue;
    pairs.push_back(pair);
  }
  Labels out(std::move(pairs));
  for (const std::string& label : m.include) out.set(label, one.get(label));
  return out;
}

std::string listed(const Labels& labels) {
  std::string out = "{";
  for (const auto& [name, value] : labels.pairs()) {
    if (out.size() > 1) out += ", ";
    out += name + "=\"" + value + "\"";
  }
  return out + "}";
}

void fail_on_duplicate(Evaluator& evaluator, const Expr& e, const Labels& group, const Labels& a, const Labels& b) {
  const bool a_first = a < b;
  evaluator.fail(e, "found duplicate series for the match group " + listed(group) + " on the " +
                        (e.matching().card == Card::one_to_many ? "left" : "right") + " hand-side of the operation: [" +
                        listed(a_first ? a : b) + ", " + listed(a_first ? b : a) +
                        "];many-to-many matching not allowed: matching labels must be unique on one side");
}

void match_vectors(Evaluator& evaluator, const Expr& e, const Operand& left, const Operand& right, Operand& out) {
  const Card card = e.matching().card;
  const std::vector<Element>& many = card == Card::one_to_many ? right.vector : left.vector;
  const std::vector<Element>& one = card == Card::one_to_many ? left.vector : right.vector;
  if (many.empty() || one.empty()) return;

  std::unordered_map<Labels, const Element*, LabelsHash> ones;
  for (const Element& element : one) {
    const auto [at, is_new] = ones.try_emplace(signature(element.labels, e.matching()), &element);
    if (!is_new) return fail_on_duplicate(evaluator, e, at->first, at->second->labels, element.labels);
  }
  std::unordered_set<Labels, LabelsHash> taken;  // One-to-one: signatures; else the labels of the results.
  for (const Element& element : many) {
    Labels group = signature(element.labels, e.matching());
    const auto match = ones.find(group);
    if (match == ones.end()) continue;
    const Element& other = *match->second;
    Outcome outcome = card == Card::one_to_many ? apply(e.op, other.value, element.value) : apply(e.op, element.value, other.value);
    Labels labels = result_labels(element.labels, other.labels, e);
    if (e.return_bool) outcome = {outcome.keep ? 1.0 : 0.0};
    // Tracked also where the comparison drops the element, so that an error does not depend on values.
    if (card == Card::one_to_one) {
      if (!taken.insert(std::move(group)).second)
        return evaluator.fail(e, "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)");
    } else if (!taken.insert(labels).second) {
      return evaluator.fail(e, "multiple matches for labels: grouping labels must ensure unique matches");
    }
    if (outcome.keep) out.vector.push_back({std::move(labels), outcome.value, element.drop_name || drops_name(e)});
  }
}

/// Trims are of native histograms alone: over floats they give nothing, and Prometheus says so.
void annotate_trim(Evaluator& evaluator, const Expr& e) {
  const std::string op = e.op == BinaryOp::trim_upper ? "</" : ">/";
  evaluator.annotate(e, Annotation::Level::info,
                     "incompatible sample types encountered for binary operator \"" + op + "\": float " + op + " float");
}

void with_scalar(const Expr& e, const std::vector<Element>& elements, double scalar, bool scalar_left, Operand& out) {
  for (const Element& element : elements) {
    Outcome outcome = scalar_left ? apply(e.op, scalar, element.value) : apply(e.op, element.value, scalar);
    if (is_comparison(e.op)) outcome.value = element.value;  // The vector's value is kept, whichever side it is on.
    if (e.return_bool) outcome = {outcome.keep ? 1.0 : 0.0};
    if (outcome.keep) out.vector.push_back({element.labels, outcome.value, element.drop_name || drops_name(e)});
  }
}

std::unordered_set<Labels, LabelsHash> signatures(const Operand& o, const VectorMatching& m) {
  std::unordered_set<Labels, LabelsHash> out;
  for (const Element& element : o.vector) out.insert(signature(element.labels, m));
  return out;
}

/// The elements of `left` that have (`wanted`), or have not, a partner in `right`.
void filter_by(const Expr& e, Operand& left, const Operand& right, bool wanted, Operand& out) {
  const auto partners = signatures(right, e.matching());
  for (Element& element : left.vector)
    if (partners.contains(signature(element.labels, e.matching())) == wanted) out.vector.push_back(std::move(element));
}

// Three-valued: `and` is known to be empty as soon as one side is; `or` lacks what a blind side may have; what a blind right
// side would have removed from `unless` is not known, so nothing is kept.
Operand set_operation(const Expr& e, Operand left, Operand right) {
  Operand out;
  switch (e.op) {
    case BinaryOp::land:
      if ((left.empty() && !left.blind) || (right.empty() && !right.blind)) return out;
      filter_by(e, left, right, true, out);
      break;
    case BinaryOp::lunless:
      if (!right.blind) {
        filter_by(e, left, right, false, out);
      }
      break;
    default: {
      const auto known = signatures(left, e.matching());
      out.vector = std::move(left.vector);
      for (Element& element : right.vector)
        if (!known.contains(signature(element.labels, e.matching()))) out.vector.push_back(std::move(element));
      break;
    }
  }
  out.take_blindness(left);
  out.take_blindness(right);
  return out;
}

}  // namespace

Operand evaluate_binary(Evaluator& evaluator, const Expr& e) {
  Operand left = evaluator.eval(*e.args[0]);
  if (evaluator.failed()) return {};
  Operand right = evaluator.eval(*e.args[1]);
  if (evaluator.failed()) return {};
  if (!evaluator.work(e, left.vector.size() + right.vector.size() + 1)) return {};
  if (e.op == BinaryOp::land || e.op == BinaryOp::lor || e.op == BinaryOp::lunless) {
    return set_operation(e, std::move(left), std::move(right));
  }
  const bool scalars = left.type == ValueType::scalar && right.type == ValueType::scalar;
  if (is_trim(e.op) && scalars) return evaluator.fail(e, "trimming is of native histograms, not of scalars"), Operand{};
  if (is_trim(e.op) && (left.type == ValueType::scalar || !left.vector.empty()) &&
      (right.type == ValueType::scalar || !right.vector.empty()))
    annotate_trim(evaluator, e);

  Operand out;
  if (scalars) {
    const Outcome outcome = apply(e.op, left.scalar, right.scalar);
    out = Operand::of_scalar(is_comparison(e.op) ? (outcome.keep ? 1.0 : 0.0) : outcome.value);
  } else if (left.type == ValueType::scalar) {
    with_scalar(e, right.vector, left.scalar, true, out);
  } else if (right.type == ValueType::scalar) {
    with_scalar(e, left.vector, right.scalar, false, out);
  } else {
    match_vectors(evaluator, e, left, right, out);
  }
  out.take_blindness(left);
  out.take_blindness(right);
  return out;
}

}  // namespace rollbackd::promql
