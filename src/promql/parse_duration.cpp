// Durations as expressions: `[5m + step()]`, `offset -(1h / 2)`. A literal becomes a number at once; the rest stays a small tree.
#include <cmath>

#include "promql/parser.hpp"

namespace rollbackd::promql {
namespace {

using Op = DurationExpr::Op;
using Span = std::shared_ptr<DurationExpr>;

constexpr double kSecondsMax = 9.2e9;  // What fits into a Duration.
constexpr std::uint32_t kHeightMax = 128;
constexpr int kSum = 1, kProduct = 2, kPower = 3;

struct Operation {
  Op op;
  int precedence;
};

std::optional<Operation> operation_of(TokenKind kind) {
  switch (kind) {
    case TokenKind::add: return Operation{Op::add, kSum};
    case TokenKind::sub: return Operation{Op::sub, kSum};
    case TokenKind::mul: return Operation{Op::mul, kProduct};
    case TokenKind::div: return Operation{Op::div, kProduct};
    case TokenKind::mod: return Operation{Op::mod, kProduct};
    case TokenKind::pow: return Operation{Op::pow, kPower};
    default: return std::nullopt;
  }
}

Span node(Op op, DurationPtr left = {}, DurationPtr right = {}) {
  auto d = std::make_shared<DurationExpr>();
  d->op = op;
  d->left = std::move(left);
  d->right = std::move(right);
  return d;
}

double seconds(Duration d) { return static_cast<double>(d.count()) / 1e9; }
double value_or_zero(const Result<double>& r) { return r.has_value() ? *r : 0; }
Error no_division(const char* what) { return Error(Errc::invalid_argument, "bad duration").because(what); }

}  // namespace

Result<double> seconds_of(const DurationExpr& d, Duration step, Duration range) {
  double left = 0, right = 0;
  if (d.left) {
    const auto value = seconds_of(*d.left, step, range);
    if (value.has_error()) return value;
    left = value_or_zero(value);
  }
  if (d.right) {
    const auto value = seconds_of(*d.right, step, range);
    if (value.has_error()) return value;
    right = value_or_zero(value);
  }
  switch (d.op) {
    case Op::literal: return d.seconds;
    case Op::step: return seconds(step);
    case Op::range: return seconds(range);
    case Op::min_of: return std::isnan(left) || std::isnan(right) ? std::nan("") : std::min(left, right);
    case Op::max_of: return std::isnan(left) || std::isnan(right) ? std::nan("") : std::max(left, right);
    case Op::plus: return right;
    case Op::minus: return -right;
    case Op::add: return left + right;
    case Op::sub: return left - right;
    case Op::mul: return left * right;
    case Op::div:
      if (right == 0) return no_division("division by zero");
      return left / right;
    case Op::mod:
      if (right == 0) return no_division("modulo by zero");
      return std::fmod(left, right);
    case Op::pow: return std::pow(left, right);
  }
  return 0.0;
}

std::optional<Parser::Length> Parser::length_of(Span d) {
  if (!d) return std::nullopt;
  Length out;
  const auto value = seconds_of(*d, Duration{0}, Duration{0});
  const double seconds = value_or_zero(value);
  if (std::abs(seconds) < kSecondsMax) {
    const double ms = seconds * 1e3;
    out.value = std::chrono::milliseconds(static_cast<std::int64_t>(d->op == Op::literal ? std::round(ms) : ms));
  }
  if (d->op != Op::literal) out.expr = std::move(d);
  return out;
}

std::optional<Parser::Length> Parser::positive_duration(const char* where) {
  const Token& first = peek();
  const TokenKind kind = first.kind;
  if (kind != TokenKind::number && kind != TokenKind::add && kind != TokenKind::sub && kind != TokenKind::left_paren &&
      kind != TokenKind::identifier)
    return unexpected(where, "number, duration, step(), or range()"), std::nullopt;
  Span d = duration_expression(kSum);
  if (!d) return std::nullopt;
  if (d->op == Op::literal && !(d->seconds > 0)) return fail(first.begin, "duration must be greater than 0"), std::nullopt;
  auto out = length_of(d);
  if (d->op == Op::literal && out->value <= Duration{0}) return fail(first.begin, "duration must be at least 1ms"), std::nullopt;
  return out;
}

std::optional<Parser::Length> Parser::offset_duration() {
  const Token& sign = peek();
  const bool is_signed = sign.kind == TokenKind::add || sign.kind == TokenKind::sub;
  if (is_signed) next();
  const TokenKind kind = peek().kind;
  if (kind != TokenKind::number && kind != TokenKind::left_paren && kind != TokenKind::identifier)
    return unexpected("offset", "number, duration, step(), or range()"), std::nullopt;
  const bool parens = kind == TokenKind::left_paren;
  Span d = duration_primary();
  if (d && is_signed) d = signed_duration(sign.kind == TokenKind::sub, std::move(d), !parens);
  return length_of(std::move(d));
}

Span Parser::closed(Span d, std::size_t at) {
  for (const DurationPtr& operand : {d->left, d->right})
    if (operand) d->height = std::max(d->height, operand->height + 1);
  if (d->height > kHeightMax) return fail(at, "expression is nested too deeply, the limit is " + std::to_string(kHeightMax));
  return d;
}

Span Parser::duration_expression(int precedence_min) {
  if (++depth_ > static_cast<int>(kHeightMax))
    return fail(peek().begin, "expression is nested too deeply, the limit is " + std::to_string(kHeightMax));
  Span left = duration_unary();
  while (left) {
    const auto operation = operation_of(peek().kind);
    if (!operation || operation->precedence < precedence_min) break;
    const std::uint32_t at = next().begin;
    Span right = duration_expression(operation->op == Op::pow ? kPower : operation->precedence + 1);
    if (!right) return nullptr;
    const bool zero = right->op == Op::literal && right->seconds == 0;
    if (zero && operation->op == Op::div) return fail(at, "division by zero");
    if (zero && operation->op == Op::mod) return fail(at, "modulo by zero");
    left = closed(node(operation->op, std::move(left), std::move(right)), at);
  }
  --depth_;
  return left;
}

Span Parser::duration_unary() {
  const TokenKind kind = peek().kind;
  if (kind != TokenKind::add && kind != TokenKind::sub) return duration_primary();
  next();
  return signed_duration(kind == TokenKind::sub, duration_expression(kPower), false);
}

Span Parser::signed_duration(bool negative, Span operand, bool keep_plus) {
  if (!operand) return nullptr;
  if (operand->op == Op::literal) {
    if (negative) operand->seconds = -operand->seconds;
    return operand;
  }
  if (!negative && !keep_plus) return operand;
  return closed(node(negative ? Op::minus : Op::plus, {}, std::move(operand)), peek().begin);
}

Span Parser::duration_literal() {
  const Token& t = next();
  if (!(t.number < kSecondsMax)) return fail(t.begin, "duration out of range");
  Span d = node(Op::literal);
  d->seconds = t.number;
  d->as_duration = t.as_duration;
  return d;
}

Span Parser::duration_call() {
  const Token& name = peek();
  const bool is_step = is_word(name, "step"), is_range = is_word(name, "range"), is_min = is_word(name, "min_of");
  if (!is_step && !is_range && !is_min && !is_word(name, "max_of"))
    return unexpected("duration expression", "number, duration, step(), or range()");
  next();
  if (!expect(TokenKind::left_paren, "\"(\"", "duration expression")) return nullptr;
  Span d;
  if (is_step || is_range) {
    d = node(is_step ? Op::step : Op::range);
  } else {
    Span left = duration_expression(kSum);
    if (!left || !expect(TokenKind::comma, "\",\"", "duration expression")) return nullptr;
    Span right = duration_expression(kSum);
    if (!right) return nullptr;
    d = closed(node(is_min ? Op::min_of : Op::max_of, std::move(left), std::move(right)), peek().begin);
  }
  if (!d || !expect(TokenKind::right_paren, "\")\"", "duration expression")) return nullptr;
  return d;
}

Span Parser::duration_primary() {
  switch (peek().kind) {
    case TokenKind::number: return duration_literal();
    case TokenKind::identifier: return duration_call();
    case TokenKind::left_paren: {
      next();
      Span inner = duration_expression(kSum);
      if (!inner || !expect(TokenKind::right_paren, "\")\"", "duration expression")) return nullptr;
      if (inner->op != Op::literal) inner->in_parens = true;
      return inner;
    }
    default: return unexpected("duration expression", "number, duration, step(), or range()");
  }
}

}  // namespace rollbackd::promql
