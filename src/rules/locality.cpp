// The proof that a rule may be evaluated for one service alone: what makes event-driven rules exact rather than nearly right.
//
// What is proved, from the leaves up: every element of a result carries the `service` and `environment` of the series that it was made
// from, and rests on no series with other ones. Then the parts of the services, each evaluated alone, are together the whole result,
// whatever the series are. What is not listed here is not proved: a new function runs on the interval until somebody has looked at it.
#include "rules/locality.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace rollbackd::rules {
namespace {

using promql::BinaryOp;
using promql::Expr;
using promql::ValueType;
using Card = promql::VectorMatching::Card;

constexpr std::array<std::string_view, 2> kOwn{"service", "environment"};
constexpr unsigned kBoth = 3;

/// From one series, or from a group that all its labels but `le` make, to one element with the same labels.
constexpr auto kOneByOne = std::to_array<std::string_view>(
    {"abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "avg_over_time", "ceil", "changes", "clamp", "clamp_max", "clamp_min", "cos",
     "cosh", "count_over_time", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "deg", "delta", "deriv", "exp", "floor",
     "histogram_quantile", "hour", "idelta", "increase", "irate", "label_join", "label_replace", "last_over_time", "ln", "log10", "log2",
     "max_over_time", "min_over_time", "minute", "month", "pi", "predict_linear", "present_over_time", "quantile_over_time", "rad", "rate",
     "resets", "round", "sgn", "sin", "sinh", "sort", "sort_desc", "sqrt", "stddev_over_time", "stdvar_over_time", "sum_over_time", "tan",
     "tanh", "time", "timestamp", "year",
     // Of native histograms: each looks at one series, and evaluating it fails here.
     "histogram_avg", "histogram_count", "histogram_fraction", "histogram_stddev", "histogram_stdvar", "histogram_sum"});

unsigned bit(std::string_view label) { return label == kOwn[0] ? 1U : label == kOwn[1] ? 2U : 0U; }
unsigned bits(std::span<const std::string> labels) {
  unsigned out = 0;
  for (const std::string& label : labels) out |= bit(label);
  return out;
}

/// The text of a string argument, also in parentheses.
std::string_view text_of(const Expr& e) { return e.kind == Expr::Kind::paren ? text_of(*e.args.front()) : std::string_view(e.string()); }

/// The label that this node writes, where it writes one.
std::string_view label_written(const Expr& e) {
  if (e.kind == Expr::Kind::aggregate && e.function == "count_values" && !e.args.empty()) return text_of(*e.args.front());
  if (e.kind == Expr::Kind::call && (e.function == "label_replace" || e.function == "label_join") && e.args.size() > 1)
    return text_of(*e.args[1]);
  return {};
}

bool between_vectors(const Expr& e) {
  return e.args.size() == 2 && e.args[0]->type == ValueType::vector && e.args[1]->type == ValueType::vector;
}

std::string spans_match(const Expr& e) {
  if (!between_vectors(e)) return "";  // A scalar is of no series, or comes from scalar(), which is looked at by itself.
  const unsigned named = bits(e.matching().labels);
  if (e.matching().on && named != kBoth) return "on(...) matches without service and environment";
  if (!e.matching().on && named != 0) return "ignoring(...) leaves service or environment out of the match";
  return "";  // Both sides agree in them, so a label that group_left or group_right brings along changes neither.
}

std::string spans_call(const Expr& e) {
  const std::string f(e.function);
  if (f == "absent" || f == "absent_over_time" || f == "scalar" || f == "vector") return f + "() looks across services";
  if (std::find(kOneByOne.begin(), kOneByOne.end(), f) == kOneByOne.end()) return f + "() is not known to look at one service alone";
  if (e.args.empty() && e.type == ValueType::vector) return f + "() without an argument belongs to no service";
  return "";
}

/// What makes this one node span services; empty when nothing does.
std::string spans(const Expr& e) {
  if (bit(label_written(e)) != 0) return e.function + " writes the label " + std::string(label_written(e));
  switch (e.kind) {
    case Expr::Kind::aggregate:
      if (e.by ? bits(e.grouping()) != kBoth : !e.without || bits(e.grouping()) != 0)
        return e.function + " does not keep the labels service and environment";
      return "";
    case Expr::Kind::binary: return spans_match(e);
    case Expr::Kind::call: return spans_call(e);
    default: return "";  // A selector finds a service's series or not, whichever its matchers; @, offset and steps are times.
  }
}

std::string first_span(const Expr& e) {
  std::string found = spans(e);
  for (std::size_t i = 0; found.empty() && i < e.args.size(); ++i) found = first_span(*e.args[i]);
  return found;
}

unsigned carried(const Expr& e);

unsigned carried_by_match(const Expr& e) {
  const unsigned left = carried(*e.args[0]), right = carried(*e.args[1]);
  if (!between_vectors(e)) return left | right;
  if (e.op == BinaryOp::lor) return left | right;
  if (e.op == BinaryOp::land || e.op == BinaryOp::lunless) return left;
  const unsigned named = bits(e.matching().labels), brought = bits(e.matching().include);
  switch (e.matching().card) {
    case Card::many_to_one: return left | (brought & right);
    case Card::one_to_many: return right | (brought & left);
    case Card::one_to_one:
    case Card::many_to_many: return e.matching().on ? left & named : left & ~named;
  }
  return kBoth;
}

unsigned carried_by_aggregate(const Expr& e) {
  const unsigned below = carried(*e.args.back());
  if (e.function == "topk" || e.function == "bottomk" || e.function == "limitk" || e.function == "limit_ratio") return below;
  const unsigned kept = e.by ? below & bits(e.grouping()) : e.without ? below & ~bits(e.grouping()) : 0U;
  return kept | bit(label_written(e));
}

/// Which of the two labels an element of the result may carry.
unsigned carried(const Expr& e) {
  if (e.type == ValueType::scalar || e.type == ValueType::string || (e.args.empty() && e.kind == Expr::Kind::call)) return 0;
  switch (e.kind) {
    case Expr::Kind::binary: return carried_by_match(e);
    case Expr::Kind::aggregate: return e.args.empty() ? kBoth : carried_by_aggregate(e);
    case Expr::Kind::call: {
      if (e.function == "vector") return 0;
      unsigned out = bit(label_written(e));
      for (const promql::ExprPtr& arg : e.args) out |= carried(*arg);
      return out;
    }
    case Expr::Kind::selector:
    case Expr::Kind::range_selector: return kBoth;
    default: return e.args.empty() ? 0 : carried(*e.args.front());
  }
}

unsigned set_by_labels(const Group& group, const Rule& rule) {
  unsigned out = 0;
  for (const Labels* labels : {&group.labels, &*rule.labels})
    for (const auto& [name, value] : labels->pairs()) out |= bit(name);
  return out;
}

}  // namespace

bool proves_local(const promql::Expr& expr, std::string* why_not) {
  std::string why =
      expr.type == ValueType::vector ? first_span(expr) : std::string("a ") + promql::to_string(expr.type) + " belongs to no service";
  const bool local = why.empty();
  if (why_not != nullptr) *why_not = std::move(why);
  return local;
}

std::string why_on_interval(const Group& group, const Rule& rule) {
  if (group.query_offset != Duration{0}) return "its group has a query_offset, so that its newest samples are not yet in sight";
  if (group.only) return "";
  if (group.limit > 0) return "its group has a limit, which counts over all services";
  if ((set_by_labels(group, rule) | bits(rule.labels_removed)) != 0) return "its own labels say whose its results are";
  std::string why;
  if (!rule.service_local && proves_local(*rule.expr, &why)) why = "it was not read as one of a service alone";
  return why;
}

bool may_belong_to_a_service(const Group& group, const Rule& rule) {
  return group.only || ((carried(*rule.expr) & ~bits(rule.labels_removed)) | set_by_labels(group, rule)) == kBoth;
}

}  // namespace rollbackd::rules
