// Aggregations: elements into groups, groups into values.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "promql/evaluator.hpp"
#include "promql/functions.hpp"
#include "promql/label_functions.hpp"
#include "promql/lex.hpp"
#include "promql/statistics.hpp"

namespace rollbackd::promql {
namespace {

struct Group {
  Labels labels;
  std::vector<const Element*> members;  ///< in the operand's order
  bool drop_name = false;               ///< a member's name is to go, so that of the group goes too
};

/// @param also  one more label to group by: what count_values writes
Labels group_labels(const Labels& labels, const Expr& e, std::string_view also = {}) {
  std::vector<Labels::Pair> pairs;
  if (!e.by && !e.without && also.empty()) return {};
  for (const Labels::Pair& pair : labels.pairs()) {
    const bool listed = std::find(e.grouping().begin(), e.grouping().end(), pair.first) != e.grouping().end();
    if (e.without ? !listed && pair.first != kNameLabel : listed || (!also.empty() && pair.first == also)) pairs.push_back(pair);
  }
  return Labels(std::move(pairs));
}

std::vector<Group> grouped(const Expr& e, const std::vector<Element>& elements) {
  std::vector<Group> groups;
  std::unordered_map<Labels, std::size_t, LabelsHash> index;
  for (const Element& element : elements) {
    const auto [at, is_new] = index.try_emplace(group_labels(element.labels, e), groups.size());
    if (is_new) groups.push_back({at->first, {}, false});
    Group& group = groups[at->second];
    group.members.push_back(&element);
    group.drop_name = group.drop_name || element.drop_name;
  }
  return groups;
}

double value_of(const Expr& e, const Group& g, double parameter) {
  const std::string_view f = e.function;
  const std::size_t n = g.members.size();
  const auto at = [&g](std::size_t i) { return g.members[i]->value; };
  if (f == "sum") return sum_of(n, at);
  if (f == "avg") return mean_of(n, at);
  if (f == "min") return extreme_of(n, at, false);
  if (f == "max") return extreme_of(n, at, true);
  if (f == "count") return static_cast<double>(n);
  if (f == "stddev") return std::sqrt(variance_of(n, at));
  if (f == "stdvar") return variance_of(n, at);
  if (f == "quantile") {
    std::vector<double> values;
    for (const Element* m : g.members) values.push_back(m->value);
    return quantile_of(parameter, std::move(values));
  }
  return 1;  // group
}

/// `topk` and `bottomk` keep whole elements, best first, NaN last.
void keep_best(Evaluator& evaluator, const Expr& e, std::vector<Group> groups, double k, bool greatest, Operand& out) {
  if (std::isnan(k)) return evaluator.fail(e, "Parameter value is NaN");
  if (k >= 0x1p63 || k < -0x1p63)
    return evaluator.fail(e, "Scalar value " + number_text(k) + (k > 0 ? " overflows int64" : " underflows int64"));
  if (k < 1) return;
  for (Group& g : groups) {
    std::stable_sort(g.members.begin(), g.members.end(), [greatest](const Element* a, const Element* b) {
      if (std::isnan(a->value) || std::isnan(b->value)) return !std::isnan(a->value) && std::isnan(b->value);
      return greatest ? a->value > b->value : a->value < b->value;
    });
    const double kept = std::min(std::floor(k), static_cast<double>(g.members.size()));
    for (std::size_t i = 0; i < static_cast<std::size_t>(kept); ++i) out.vector.push_back(*g.members[i]);
  }
}

/// A value as a label: digits without an exponent, as Go's 'f' format.
std::string label_text(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  std::array<char, 512> buffer{};
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v, std::chars_format::fixed);
  return {buffer.data(), written.ptr};
}

/// How often each value is there, as a label: written first and grouped by then, so that `without` may take it away again.
void count_values(Evaluator& evaluator, const Expr& e, const std::string& label, const std::vector<Element>& elements, Operand& out) {
  if (!is_label_name(label)) return evaluator.fail(e, "invalid label name " + quoted(label));
  std::unordered_map<Labels, std::size_t, LabelsHash> index;
  for (const Element& element : elements) {
    Labels labels = element.labels;
    labels.set(label, label_text(element.value));
    const auto [at, is_new] = index.try_emplace(group_labels(labels, e, label), out.vector.size());
    if (is_new) out.vector.push_back({at->first, 0});
    out.vector[at->second].value += 1;
  }
}

}  // namespace

std::span<const std::string_view> aggregations() {
  static constexpr std::array<std::string_view, 12> kKnown{"sum",    "avg",    "count", "min",     "max",      "group",
                                                           "stddev", "stdvar", "topk",  "bottomk", "quantile", "count_values"};
  return kKnown;
}

bool is_aggregation(std::string_view name) {
  const auto known = aggregations();
  return std::find(known.begin(), known.end(), name) != known.end();
}

std::optional<ValueType> aggregation_parameter(std::string_view name) {
  if (name == "topk" || name == "bottomk" || name == "quantile") return ValueType::scalar;
  if (name == "count_values") return ValueType::string;
  return std::nullopt;
}

double quantile_of(double q, std::vector<double> values) {
  if (values.empty() || std::isnan(q)) return std::nan("");
  if (q < 0) return -HUGE_VAL;
  if (q > 1) return HUGE_VAL;
  std::sort(values.begin(), values.end(), [](double a, double b) { return std::isnan(a) ? !std::isnan(b) : a < b; });
  const double rank = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(rank));
  const std::size_t above = std::min(below + 1, values.size() - 1);
  const double weight = rank - std::floor(rank);
  return values[below] * (1 - weight) + values[above] * weight;
}

Operand evaluate_aggregate(Evaluator& evaluator, const Expr& e) {
  Operand parameter;
  if (e.args.size() > 1) parameter = evaluator.eval(*e.args[0]);
  if (evaluator.failed()) return {};
  const Operand operand = evaluator.eval(*e.args.back());
  if (evaluator.failed() || !evaluator.work(e, operand.vector.size() + 1)) return {};

  if (e.function == "quantile") annotate_quantile(evaluator, *e.args[0], parameter.scalar);
  Operand out;
  if (e.function == "count_values") {
    count_values(evaluator, e, parameter.string, operand.vector, out);
    out.take_blindness(operand);
    return out;
  }
  std::vector<Group> groups = grouped(e, operand.vector);
  if (e.function == "topk" || e.function == "bottomk") {
    keep_best(evaluator, e, std::move(groups), parameter.scalar, e.function == "topk", out);
  } else {
    out.vector.reserve(groups.size());
    for (Group& g : groups) {
      const double value = value_of(e, g, parameter.scalar);
      out.vector.push_back({std::move(g.labels), value, g.drop_name});
    }
  }
  out.take_blindness(operand);
  out.take_blindness(parameter);
  return out;
}

}  // namespace rollbackd::promql
