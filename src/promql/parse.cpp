// Precedence climbing over the tokens. Types are checked as each node is made, so an error names the column of what is wrong.
#include "promql/parse.hpp"

#include <cmath>

#include "promql/functions.hpp"
#include "promql/parser.hpp"

namespace rollbackd::promql {
namespace {

using Kind = Expr::Kind;
using Card = VectorMatching::Card;

constexpr std::size_t kTextBytesMax = 64 * 1024;
constexpr std::uint32_t kHeightMax = 128;

constexpr int kUnaryOperand = 6;  // A sign binds looser than `^` and tighter than `*`.
constexpr int kPowPrecedence = 6;

std::optional<Operator> operator_of(const Token& token) {
  switch (token.kind) {
    case TokenKind::add: return Operator{BinaryOp::add, 4};
    case TokenKind::sub: return Operator{BinaryOp::sub, 4};
    case TokenKind::mul: return Operator{BinaryOp::mul, 5};
    case TokenKind::div: return Operator{BinaryOp::div, 5};
    case TokenKind::mod: return Operator{BinaryOp::mod, 5};
    case TokenKind::pow: return Operator{BinaryOp::pow, kPowPrecedence};
    case TokenKind::equal: return Operator{BinaryOp::eq, 3, true};
    case TokenKind::not_equal: return Operator{BinaryOp::ne, 3, true};
    case TokenKind::less: return Operator{BinaryOp::lt, 3, true};
    case TokenKind::less_equal: return Operator{BinaryOp::le, 3, true};
    case TokenKind::greater: return Operator{BinaryOp::gt, 3, true};
    case TokenKind::greater_equal: return Operator{BinaryOp::ge, 3, true};
    case TokenKind::trim_upper: return Operator{BinaryOp::trim_upper, 3};
    case TokenKind::trim_lower: return Operator{BinaryOp::trim_lower, 3};
    case TokenKind::identifier: break;
    default: return std::nullopt;
  }
  const std::string word = lower(token.text);
  if (word == "and") return Operator{BinaryOp::land, 2, false, true};
  if (word == "unless") return Operator{BinaryOp::lunless, 2, false, true};
  if (word == "or") return Operator{BinaryOp::lor, 1, false, true};
  if (word == "atan2") return Operator{BinaryOp::atan2, 5};
  return std::nullopt;
}

void collect(const Expr& e, std::vector<const Expr*>& out) {
  if (e.kind == Kind::selector || e.kind == Kind::range_selector) out.push_back(&e);
  for (const ExprPtr& arg : e.args) collect(*arg, out);
}

}  // namespace

Result<ExprPtr> Parser::run() {
  if (peek().kind == TokenKind::end) {
    fail(0, "no expression found in input");
    return std::move(*failure_);
  }
  Node e = expression(0);
  if (e && peek().kind != TokenKind::end) unexpected("expression");
  if (failure_) return std::move(*failure_);
  return ExprPtr(std::move(e));
}

std::nullptr_t Parser::fail(std::size_t at, std::string message) {
  if (!failure_) failure_ = parse_error(text_, at, std::move(message));
  return nullptr;
}

std::nullptr_t Parser::unexpected(const std::string& where, const std::string& expected) {
  const Token& t = peek();
  std::string message = "unexpected ";
  message += t.kind == TokenKind::end ? "end of input" : "\"" + std::string(text_.substr(t.begin, t.end - t.begin)) + "\"";
  message += " in " + where;
  if (!expected.empty()) message += ", expected " + expected;
  return fail(t.begin, message);
}

bool Parser::expect(TokenKind kind, const char* what, const char* where) {
  if (next_is(kind)) return true;
  unexpected(where, what);
  return false;
}

Parser::Node Parser::make(Kind kind, ValueType type, std::uint32_t begin) {
  auto e = std::make_shared<Expr>();
  e->kind = kind;
  e->type = type;
  e->begin = begin;
  return e;
}

Parser::Node Parser::done(Node e) {
  e->end = at_ > 0 ? tokens_[at_ - 1].end : e->begin;
  e->args.shrink_to_fit();
  e->matchers.shrink_to_fit();
  for (const ExprPtr& arg : e->args) e->height = std::max(e->height, arg->height + 1);
  if (e->height > kHeightMax) return fail(e->begin, "expression is nested too deeply, the limit is " + std::to_string(kHeightMax));
  return e;
}

Parser::Node Parser::expression(int precedence_min) {
  if (++depth_ > static_cast<int>(kHeightMax))
    return fail(peek().begin, "expression is nested too deeply, the limit is " + std::to_string(kHeightMax));
  Node left = unary();
  while (left) {
    const Token& token = peek();
    const auto op = operator_of(token);
    if (!op || op->precedence < precedence_min) break;
    next();
    left = binary(std::move(left), *op, token.begin);
  }
  --depth_;
  return left;
}

Parser::Node Parser::unary() {
  const Token& sign = peek();
  if (sign.kind != TokenKind::add && sign.kind != TokenKind::sub) return postfix();
  next();
  Node operand = expression(kUnaryOperand);
  if (!operand) return nullptr;
  if (operand->type != ValueType::scalar && operand->type != ValueType::vector)
    return fail(sign.begin, "unary expression only allowed on expressions of type scalar or instant vector, got \"" +
                                std::string(to_string(operand->type)) + "\"");
  if (operand->kind == Kind::number) {
    operand->begin = sign.begin;
    if (sign.kind == TokenKind::sub) operand->number = -operand->number;
    return operand;
  }
  Node e = make(sign.kind == TokenKind::add ? Kind::unary_plus : Kind::unary_minus, operand->type, sign.begin);
  e->args.push_back(std::move(operand));
  return done(std::move(e));
}

Parser::Node Parser::binary(Node left, const Operator& op, std::uint32_t op_begin) {
  Node e = make(Kind::binary, ValueType::scalar, left->begin);
  e->op = op.op;
  if (next_is_word("bool")) {
    e->return_bool = true;
    if (!op.comparison) return fail(op_begin, "bool modifier can only be used on comparison operators");
  }
  VectorMatching m;
  m.card = op.set ? Card::many_to_many : Card::one_to_one;
  bool matching = false;
  if (is_word(peek(), "on") || is_word(peek(), "ignoring")) {
    matching = true;
    m.on = is_word(next(), "on");
    if (!label_list(m.labels)) return nullptr;
  }
  if (matching && (is_word(peek(), "group_left") || is_word(peek(), "group_right"))) {
    m.card = is_word(next(), "group_left") ? Card::many_to_one : Card::one_to_many;
    if (peek().kind == TokenKind::left_paren && !label_list(m.include)) return nullptr;
    if (op.set) return fail(op_begin, "no grouping allowed for \"" + std::string(lower(word_at(op_begin))) + "\" operation");
  }
  Node right = expression(op.op == BinaryOp::pow ? op.precedence : op.precedence + 1);
  if (!right) return nullptr;
  if (!check_operands(*left, *right, op, op_begin, e->return_bool, m)) return nullptr;
  if (left->type != ValueType::vector || right->type != ValueType::vector) m = VectorMatching{};  // `x + on () 1` matches nothing.
  if (m != VectorMatching{}) e->rest.edit().matching = std::move(m);
  if (left->type == ValueType::vector || right->type == ValueType::vector) e->type = ValueType::vector;
  e->args = {std::move(left), std::move(right)};
  return done(std::move(e));
}

std::string_view Parser::word_at(std::size_t begin) const {
  std::size_t end = begin;
  while (end < text_.size() && is_plain_name(text_.substr(begin, end + 1 - begin), false)) ++end;
  return text_.substr(begin, end - begin);
}

bool Parser::check_operands(const Expr& left, const Expr& right, const Operator& op, std::uint32_t op_begin, bool return_bool,
                            const VectorMatching& m) {
  for (const Expr* side : {&left, &right}) {
    if (side->type != ValueType::scalar && side->type != ValueType::vector)
      return fail(side->begin, "binary expression must contain only scalar and instant vector types"), false;
  }
  const bool vectors = left.type == ValueType::vector && right.type == ValueType::vector;
  if (!vectors && op.set)
    return fail(op_begin, "set operator \"" + lower(word_at(op_begin)) + "\" not allowed in binary scalar expression"), false;
  if (!vectors && !m.labels.empty()) return fail(op_begin, "vector matching only allowed between instant vectors"), false;
  if (left.type == ValueType::scalar && right.type == ValueType::scalar && op.comparison && !return_bool)
    return fail(op_begin, "comparisons between scalars must use BOOL modifier"), false;
  for (const std::string& label : m.include) {
    if (m.on && std::find(m.labels.begin(), m.labels.end(), label) != m.labels.end())
      return fail(op_begin, "label \"" + label + "\" must not occur in ON and GROUP clause at once"), false;
  }
  return true;
}

bool Parser::label_list(std::vector<std::string>& out) {
  if (!expect(TokenKind::left_paren, "\"(\"", "grouping opts")) return false;
  while (peek().kind != TokenKind::right_paren) {
    const Token& t = peek();
    const bool is_name = t.kind == TokenKind::identifier && is_plain_name(t.text, false) && !is_word(t, "without") && !is_word(t, "inf") &&
                         !is_word(t, "nan");
    if (!is_name && (t.kind != TokenKind::string || t.text.empty() || !is_utf8(t.text))) return unexpected("grouping opts", "label"), false;
    out.push_back(t.text);
    next();
    if (!next_is(TokenKind::comma)) break;
  }
  return expect(TokenKind::right_paren, "\",\" or \")\"", "grouping opts");
}

Parser::Node Parser::primary() {
  const Token& t = peek();
  switch (t.kind) {
    case TokenKind::number: {
      next();
      Node e = make(Kind::number, ValueType::scalar, t.begin);
      e->number = t.number;
      e->as_duration = t.as_duration;
      return done(std::move(e));
    }
    case TokenKind::string: {
      next();
      Node e = make(Kind::string, ValueType::string, t.begin);
      e->rest.edit().string = t.text;
      return done(std::move(e));
    }
    case TokenKind::left_paren: {
      next();
      Node inner = expression(0);
      if (!inner || !expect(TokenKind::right_paren, "\")\"", "paren expression")) return nullptr;
      Node e = make(Kind::paren, inner->type, t.begin);
      e->args.push_back(std::move(inner));
      return done(std::move(e));
    }
    case TokenKind::left_brace: return selector();
    case TokenKind::identifier: return word();
    default: return unexpected("expression");
  }
}

Parser::Node Parser::word() {
  const Token& t = peek();
  const std::string low = lower(t.text);
  const Token& after = peek(1);
  if (low == "inf" || low == "nan") {
    next();
    Node e = make(Kind::number, ValueType::scalar, t.begin);
    e->number = low == "inf" ? HUGE_VAL : std::nan("");
    return done(std::move(e));
  }
  if (is_aggregation(low) && (after.kind == TokenKind::left_paren || is_word(after, "by") || is_word(after, "without")))
    return aggregate(low);
  if (after.kind == TokenKind::left_paren) return call();
  for (const char* reserved : {"on", "ignoring", "group_left", "group_right", "bool", "atan2"})
    if (low == reserved) return unexpected("expression");
  return selector();
}

const char* to_string(ValueType type) {
  switch (type) {
    case ValueType::scalar: return "scalar";
    case ValueType::vector: return "instant vector";
    case ValueType::matrix: return "range vector";
    case ValueType::string: return "string";
  }
  return "";
}

Result<ExprPtr> parse(std::string_view text) {
  if (text.size() > kTextBytesMax) return parse_error(text, 0, "expression is longer than 64 KiB");
  auto tokens = lex(text);
  if (tokens.has_error()) return std::move(tokens).error();
  return Parser(text, std::move(*tokens)).run();
}

std::vector<const Expr*> selectors(const Expr& expr) {
  std::vector<const Expr*> out;
  collect(expr, out);
  return out;
}

}  // namespace rollbackd::promql
