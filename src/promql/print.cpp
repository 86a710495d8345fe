// The tree as canonical text.
#include <charconv>
#include <cmath>

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

std::string number_text(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "+Inf" : "-Inf";
  std::array<char, 64> buffer{};
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v);
  return {buffer.data(), written.ptr};
}

std::string name_text(const std::string& label) { return is_plain_name(label, false) ? label : quoted(label); }

std::string list_text(const std::vector<std::string>& labels) {
  std::string out = "(";
  for (const std::string& label : labels) {
    if (out.size() > 1) out += ", ";
    out += name_text(label);
  }
  return out + ")";
}

/// A metric's name that cannot be mistaken for a keyword where an expression may stand.
bool may_stand_alone(const std::string& name) {
  if (!is_plain_name(name, true)) return false;
  const std::string low = lower(name);
  for (const char* word : {"inf", "nan", "on", "ignoring", "group_left", "group_right", "bool"})
    if (low == word) return false;
  return true;
}

std::string selector_text(const Expr& e) {
  std::string name, inside;
  for (const series::Matcher& m : e.matchers) {
    if (m.label() == kNameLabel && m.op() == series::Matcher::Op::equal && name.empty() && may_stand_alone(m.value())) {
      name = m.value();
      continue;
    }
    if (!inside.empty()) inside += ",";
    inside += name_text(m.label()) + text_of(m.op()) + quoted(m.value());
  }
  return inside.empty() && !name.empty() ? name : name + "{" + inside + "}";
}

std::string modifiers(const Expr& e) {
  std::string out;
  if (e.at_kind == Expr::At::start) out += " @ start()";
  if (e.at_kind == Expr::At::end) out += " @ end()";
  if (e.at_kind == Expr::At::timestamp) {
    std::array<char, 64> buffer{};
    const auto written =
        std::to_chars(buffer.data(), buffer.data() + buffer.size(), static_cast<double>(e.at.millis()) / 1e3, std::chars_format::fixed, 3);
    out += " @ " + std::string(buffer.data(), written.ptr);
  }
  if (e.offset != Duration{0}) out += " offset " + format_duration(e.offset);
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
  std::string out = to_text(*e.args[0]) + " " + text_of(e.op);
  if (e.return_bool) out += " bool";
  const VectorMatching& m = e.matching;
  const bool grouped = m.card == Card::many_to_one || m.card == Card::one_to_many;
  if (m.on || !m.labels.empty() || grouped) out += (m.on ? " on " : " ignoring ") + list_text(m.labels);
  if (grouped) out += (m.card == Card::many_to_one ? " group_left " : " group_right ") + list_text(m.include);
  return out + " " + to_text(*e.args[1]);
}

}  // namespace

std::string to_text(const Expr& e) {
  switch (e.kind) {
    case Kind::number: return number_text(e.number);
    case Kind::string: return quoted(e.string);
    case Kind::selector: return selector_text(e) + modifiers(e);
    case Kind::range_selector: return selector_text(e) + "[" + format_duration(e.range) + "]" + modifiers(e);
    case Kind::subquery:
      return to_text(*e.args[0]) + "[" + format_duration(e.range) + ":" + (e.step == Duration{0} ? "" : format_duration(e.step)) + "]" +
             modifiers(e);
    case Kind::unary_minus: return "-" + to_text(*e.args[0]);
    case Kind::binary: return binary_text(e);
    case Kind::aggregate:
      return e.function +
             (e.by        ? " by " + list_text(e.grouping) + " "
              : e.without ? " without " + list_text(e.grouping) + " "
                          : "") +
             arguments(e);
    case Kind::call: return e.function + arguments(e);
    case Kind::paren: return "(" + to_text(*e.args[0]) + ")";
  }
  return "";
}

}  // namespace rollbackd::promql
