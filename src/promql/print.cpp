// The tree as canonical text, exactly as Prometheus's String() writes it. What parse() made, to_text() gives back.
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>

#include "promql/lex.hpp"
#include "promql/parse.hpp"

namespace rollbackd::promql {
namespace {

using Kind = Expr::Kind;

const char* text_of(BinaryOp op) {
  switch (op) {
    case BinaryOp::add: return "+";
    case BinaryOp::sub: return "-";
    case BinaryOp::mul: return "*";
    case BinaryOp::div: return "/";
    case BinaryOp::mod: return "%";
    case BinaryOp::pow: return "^";
    case BinaryOp::atan2: return "atan2";
    case BinaryOp::eq: return "==";
    case BinaryOp::ne: return "!=";
    case BinaryOp::lt: return "<";
    case BinaryOp::le: return "<=";
    case BinaryOp::gt: return ">";
    case BinaryOp::ge: return ">=";
    case BinaryOp::land: return "and";
    case BinaryOp::lor: return "or";
    case BinaryOp::lunless: return "unless";
    case BinaryOp::trim_upper: return "</";
    case BinaryOp::trim_lower: return ">/";
  }
  return "";
}

const char* text_of(series::Matcher::Op op) {
  switch (op) {
    case series::Matcher::Op::equal: return "=";
    case series::Matcher::Op::not_equal: return "!=";
    case series::Matcher::Op::regex: return "=~";
    case series::Matcher::Op::not_regex: return "!~";
  }
  return "";
}

std::string literal_text(double seconds, bool as_duration) {
  if (!as_duration || !(std::abs(seconds) < 9.2e9)) return number_text(seconds);
  return duration_text(std::chrono::milliseconds(std::llround(seconds * 1e3)));
}

/// A duration: its expression where it has one, else its value.
std::string length_text(const DurationPtr& expr, Duration value) { return expr ? to_text(*expr) : duration_text(value); }

std::string name_text(const std::string& label) { return is_plain_name(label, false) ? label : quoted(label); }

std::string list_text(const std::vector<std::string>& labels) {
  std::string out = "(";
  for (const std::string& label : labels) {
    if (out.size() > 1) out += ", ";
    out += name_text(label);
  }
  return out + ")";
}

std::string selector_text(const Expr& e) {
  std::string name;
  std::vector<std::string> inside;
  for (std::size_t i = 0; i < e.matchers.size(); ++i) {
    const series::Matcher& m = e.matchers[i];
    if (i == 0 && e.named) {
      name = m.value();
    } else {
      inside.push_back(name_text(m.label()) + text_of(m.op()) + quoted(m.value()));
    }
  }
  if (inside.empty()) return name;
  std::sort(inside.begin(), inside.end());
  std::string out = name + "{";
  for (const std::string& matcher : inside) out += (&matcher == inside.data() ? "" : ",") + matcher;
  return out + "}";
}

std::string modifiers(const Expr& e) {
  std::string out;
  if (e.extend == Expr::Extend::anchored) out += " anchored";
  if (e.extend == Expr::Extend::smoothed) out += " smoothed";
  if (e.at_kind == Expr::At::start) out += " @ start()";
  if (e.at_kind == Expr::At::end) out += " @ end()";
  if (e.at_kind == Expr::At::timestamp) {
    std::array<char, 64> buffer{};
    const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), static_cast<double>(e.at().millis()) / 1e3,
                                       std::chars_format::fixed, 3);
    out += " @ " + std::string(buffer.data(), written.ptr);
  }
  if (e.offset_expr() || e.offset() != Duration{0}) out += " offset " + length_text(e.offset_expr(), e.offset());
  return out;
}

std::string arguments(const Expr& e) {
  std::string out = "(";
  for (const ExprPtr& arg : e.args) {
    if (out.size() > 1) out += ", ";
    out += to_text(*arg);
  }
  return out + ")";
}

std::string binary_text(const Expr& e) {
  using Card = VectorMatching::Card;
  // A sign before a power would be the power's: "+Inf ^ 2" reads as +(Inf ^ 2).
  const bool infinite_base = e.op == BinaryOp::pow && e.args[0]->kind == Kind::number && e.args[0]->number == HUGE_VAL;
  std::string out = (infinite_base ? "Inf" : to_text(*e.args[0])) + " " + text_of(e.op);
  if (e.return_bool) out += " bool";
  const VectorMatching& m = e.matching();
  const bool grouped = m.card == Card::many_to_one || m.card == Card::one_to_many;
  if (m.on || !m.labels.empty() || grouped) out += (m.on ? " on " : " ignoring ") + list_text(m.labels);
  if (grouped) out += (m.card == Card::many_to_one ? " group_left " : " group_right ") + list_text(m.include);
  return out + " " + to_text(*e.args[1]);
}

const char* text_of(DurationExpr::Op op) {
  switch (op) {
    case DurationExpr::Op::plus:
    case DurationExpr::Op::add: return "+";
    case DurationExpr::Op::minus:
    case DurationExpr::Op::sub: return "-";
    case DurationExpr::Op::mul: return "*";
    case DurationExpr::Op::div: return "/";
    case DurationExpr::Op::mod: return "%";
    case DurationExpr::Op::pow: return "^";
    default: return "";
  }
}

std::string duration_expression_text(const DurationExpr& d) {
  switch (d.op) {
    case DurationExpr::Op::literal: return literal_text(d.seconds, d.as_duration);
    case DurationExpr::Op::step: return "step()";
    case DurationExpr::Op::range: return "range()";
    case DurationExpr::Op::min_of: return "min_of(" + to_text(*d.left) + ", " + to_text(*d.right) + ")";
    case DurationExpr::Op::max_of: return "max_of(" + to_text(*d.left) + ", " + to_text(*d.right) + ")";
    case DurationExpr::Op::plus:
    case DurationExpr::Op::minus: return text_of(d.op) + to_text(*d.right);
    default: return to_text(*d.left) + " " + text_of(d.op) + " " + to_text(*d.right);
  }
}

}  // namespace

std::string duration_text(Duration d) {
  struct Unit {
    const char* name;
    std::int64_t ms;
    bool exact;
  };
  constexpr std::array<Unit, 7> kUnits{{{"y", 31'536'000'000, true},
                                        {"w", 604'800'000, true},
                                        {"d", 86'400'000, false},
                                        {"h", 3'600'000, false},
                                        {"m", 60'000, false},
                                        {"s", 1000, false},
                                        {"ms", 1, false}}};
  std::int64_t left = std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
  if (left == 0) return "0s";
  std::string out = left < 0 ? "-" : "";
  left = std::abs(left);
  for (const Unit& unit : kUnits) {
    if (left < unit.ms || (unit.exact && left % unit.ms != 0)) continue;
    out += std::to_string(left / unit.ms) + unit.name;
    left %= unit.ms;
  }
  return out;
}

std::string number_text(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  std::array<char, 64> buffer{};
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v, std::chars_format::scientific);
  const std::string text(buffer.data(), written.ptr);
  const int exponent = std::atoi(text.c_str() + text.find('e') + 1);
  if (exponent < -4 || exponent >= 6) return text;  // Like Go's %v, for which a million is 1e+06.
  const auto fixed = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v, std::chars_format::fixed);
  return {buffer.data(), fixed.ptr};
}

std::string to_text(const DurationExpr& d) {
  const std::string text = duration_expression_text(d);
  return d.in_parens ? "(" + text + ")" : text;
}

std::string to_text(const Expr& e) {
  switch (e.kind) {
    case Kind::number: return literal_text(e.number, e.as_duration);
    case Kind::string: return quoted(e.string());
    case Kind::selector: return selector_text(e) + modifiers(e);
    case Kind::range_selector: return selector_text(e) + "[" + length_text(e.range_expr(), e.range) + "]" + modifiers(e);
    case Kind::subquery:
      return to_text(*e.args[0]) + "[" + length_text(e.range_expr(), e.range) + ":" +
             (e.step_expr() || e.step() != Duration{0} ? length_text(e.step_expr(), e.step()) : "") + "]" + modifiers(e);
    case Kind::unary_minus: return "-" + to_text(*e.args[0]);
    case Kind::unary_plus: return "+" + to_text(*e.args[0]);
    case Kind::binary: return binary_text(e);
    case Kind::aggregate:
      return e.function +
             (e.without               ? " without " + list_text(e.grouping()) + " "
              : !e.grouping().empty() ? " by " + list_text(e.grouping()) + " "
                                      : "") +
             arguments(e);
    case Kind::call: return e.function + arguments(e);
    case Kind::paren: return "(" + to_text(*e.args[0]) + ")";
  }
  return "";
}

}  // namespace rollbackd::promql
