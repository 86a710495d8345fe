// The proof that a rule may be evaluated for one service alone: what makes event-driven rules exact rather than nearly right.
#include <algorithm>
#include <array>

#include "rules/groups.hpp"

namespace rollbackd::rules {
namespace {

using promql::BinaryOp;
using promql::Expr;
using promql::ValueType;

constexpr std::array<std::string_view, 2> kOwn{"service", "environment"};

bool is_own(std::string_view label) { return std::find(kOwn.begin(), kOwn.end(), label) != kOwn.end(); }
std::size_t count_own(const std::vector<std::string>& labels) {
  std::size_t n = 0;
  for (const std::string_view own : kOwn) n += std::find(labels.begin(), labels.end(), own) != labels.end() ? 1 : 0;
  return n;
}

/// What makes this one node span services; empty when nothing does.
std::string spans(const Expr& e) {
  switch (e.kind) {
    case Expr::Kind::aggregate:
      if (e.by ? count_own(e.grouping) < kOwn.size() : !e.without || count_own(e.grouping) > 0) {
        return e.function + " does not keep the labels service and environment";
      }
      if (e.function == "count_values" && !e.args.empty() && is_own(e.args.front()->string))
        return "count_values writes the label " + e.args.front()->string;
      return "";
    case Expr::Kind::binary: {
      if (e.args.size() != 2 || e.args[0]->type != ValueType::vector || e.args[1]->type != ValueType::vector) return "";
      const std::size_t named = count_own(e.matching.labels);
      if (e.matching.on && named < kOwn.size()) return "on(...) matches without service and environment";
      if (!e.matching.on && named > 0) return "ignoring(...) leaves service or environment out of the match";
      return "";
    }
    case Expr::Kind::call: {
      const std::string& f = e.function;
      if (f == "absent" || f == "absent_over_time" || f == "scalar" || f == "vector") return f + "() looks across services";
      if ((f == "label_replace" || f == "label_join") && e.args.size() > 1 && is_own(e.args[1]->string))
        return f + "() writes the label " + e.args[1]->string;
      if (e.args.empty() && e.type == ValueType::vector) return f + "() without an argument belongs to no service";
      return "";
    }
    default: return "";
  }
}

std::string first_span(const Expr& e) {
  std::string found = spans(e);
  for (std::size_t i = 0; found.empty() && i < e.args.size(); ++i) found = first_span(*e.args[i]);
  return found;
}

}  // namespace

bool proves_local(const promql::Expr& expr, std::string* why_not) {
  std::string why =
      expr.type == ValueType::vector ? first_span(expr) : std::string("a ") + promql::to_string(expr.type) + " belongs to no service";
  const bool local = why.empty();
  if (why_not != nullptr) *why_not = std::move(why);
  return local;
}

}  // namespace rollbackd::rules
