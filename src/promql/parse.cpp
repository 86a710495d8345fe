// Precedence climbing over the tokens. Types are checked as each node is made, so an error names the column of what is wrong.
#include "promql/parse.hpp"

#include <cmath>

#include "base/text.hpp"
#include "promql/functions.hpp"
#include "promql/lex.hpp"

namespace rollbackd::promql {
namespace {

using Kind = Expr::Kind;
using Card = VectorMatching::Card;

constexpr std::size_t kTextBytesMax = 64 * 1024;
constexpr std::uint32_t kHeightMax = 128;
constexpr double kSecondsMax = 9.2e9;  // What fits into an Instant or a Duration.

struct Operator {
  BinaryOp op;
  int precedence;
  bool comparison = false, set = false;
};
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

std::string type_name(ValueType t) { return to_string(t); }

const Expr& without_parens(const Expr& e) { return e.kind == Kind::paren ? without_parens(*e.args[0]) : e; }

bool is_selector(const Expr& e) { return e.kind == Kind::selector || e.kind == Kind::range_selector || e.kind == Kind::subquery; }

class Parser {
 public:
  Parser(std::string_view text, std::vector<Token> tokens) : text_(text), tokens_(std::move(tokens)) {}

  Result<ExprPtr> run() {
    if (peek().kind == TokenKind::end) {
      fail(0, "no expression found in input");
      return std::move(*failure_);
    }
    Node e = expression(0);
    if (e && peek().kind != TokenKind::end) unexpected("expression");
    if (failure_) return std::move(*failure_);
    return ExprPtr(std::move(e));
  }

 private:
  using Node = std::shared_ptr<Expr>;

  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool next_is(TokenKind kind) {
    if (peek().kind != kind) return false;
    next();
    return true;
  }
  bool next_is_word(std::string_view word) {
    if (!is_word(peek(), word)) return false;
    next();
    return true;
  }
  static bool is_word(const Token& t, std::string_view word) { return t.kind == TokenKind::identifier && lower(t.text) == word; }

  std::nullptr_t fail(std::size_t at, std::string message) {
    if (!failure_) failure_ = parse_error(text_, at, std::move(message));
    return nullptr;
  }
  std::nullptr_t unexpected(const std::string& where, const std::string& expected = {}) {
    const Token& t = peek();
    std::string message = "unexpected ";
    message += t.kind == TokenKind::end ? "end of input" : "\"" + std::string(text_.substr(t.begin, t.end - t.begin)) + "\"";
    message += " in " + where;
    if (!expected.empty()) message += ", expected " + expected;
    return fail(t.begin, message);
  }
  bool expect(TokenKind kind, const char* what, const char* where) {
    if (next_is(kind)) return true;
    unexpected(where, what);
    return false;
  }

  Node make(Kind kind, ValueType type, std::uint32_t begin) {
    auto e = std::make_shared<Expr>();
    e->kind = kind;
    e->type = type;
    e->begin = begin;
    return e;
  }
  /// Closes a node: its end, and the bound on the tree's height.
  Node done(Node e) {
    e->end = at_ > 0 ? tokens_[at_ - 1].end : e->begin;
    for (const ExprPtr& arg : e->args) e->height = std::max(e->height, arg->height + 1);
    if (e->height > kHeightMax) return fail(e->begin, "expression is nested too deeply, the limit is " + std::to_string(kHeightMax));
    return e;
  }

  Node expression(int precedence_min) {
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

  Node unary() {
    const Token& sign = peek();
    if (sign.kind != TokenKind::add && sign.kind != TokenKind::sub) return postfix();
    next();
    Node operand = expression(kUnaryOperand);
    if (!operand) return nullptr;
    if (operand->type != ValueType::scalar && operand->type != ValueType::vector)
      return fail(sign.begin, "unary expression only allowed on expressions of type scalar or instant vector, got \"" +
                                  type_name(operand->type) + "\"");
    operand->begin = sign.kind == TokenKind::add || operand->kind == Kind::number ? sign.begin : operand->begin;
    if (sign.kind == TokenKind::add) return operand;
    if (operand->kind == Kind::number) {
      operand->number = -operand->number;
      return operand;
    }
    Node e = make(Kind::unary_minus, operand->type, sign.begin);
    e->args.push_back(std::move(operand));
    return done(std::move(e));
  }

  Node binary(Node left, const Operator& op, std::uint32_t op_begin) {
    Node e = make(Kind::binary, ValueType::scalar, left->begin);
    e->op = op.op;
    if (next_is_word("bool")) {
      e->return_bool = true;
      if (!op.comparison) return fail(op_begin, "bool modifier can only be used on comparison operators");
    }
    VectorMatching& m = e->matching;
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
    if (!check_operands(*left, *right, op, op_begin, e->return_bool, matching, m)) return nullptr;
    if (left->type == ValueType::vector || right->type == ValueType::vector) e->type = ValueType::vector;
    e->args = {std::move(left), std::move(right)};
    return done(std::move(e));
  }

  std::string_view word_at(std::size_t begin) const {
    std::size_t end = begin;
    while (end < text_.size() && is_plain_name(text_.substr(begin, end + 1 - begin), false)) ++end;
    return text_.substr(begin, end - begin);
  }

  bool check_operands(const Expr& left, const Expr& right, const Operator& op, std::uint32_t op_begin, bool return_bool, bool matching,
                      const VectorMatching& m) {
    for (const Expr* side : {&left, &right}) {
      if (side->type != ValueType::scalar && side->type != ValueType::vector)
        return fail(side->begin, "binary expression must contain only scalar and instant vector types"), false;
    }
    const bool vectors = left.type == ValueType::vector && right.type == ValueType::vector;
    if (!vectors && op.set)
      return fail(op_begin, "set operator \"" + lower(word_at(op_begin)) + "\" not allowed in binary scalar expression"), false;
    if (!vectors && matching) return fail(op_begin, "vector matching only allowed between instant vectors"), false;
    if (left.type == ValueType::scalar && right.type == ValueType::scalar && op.comparison && !return_bool)
      return fail(op_begin, "comparisons between scalars must use BOOL modifier"), false;
    for (const std::string& label : m.include) {
      if (m.on && std::find(m.labels.begin(), m.labels.end(), label) != m.labels.end())
        return fail(op_begin, "label \"" + label + "\" must not occur in ON and GROUP clause at once"), false;
    }
    return true;
  }

  /// "(a, b)"; a trailing comma is allowed.
  bool label_list(std::vector<std::string>& out) {
    if (!expect(TokenKind::left_paren, "\"(\"", "grouping opts")) return false;
    while (peek().kind != TokenKind::right_paren) {
      const Token& t = peek();
      if ((t.kind != TokenKind::identifier && t.kind != TokenKind::string) || t.text.empty() ||
          (t.kind == TokenKind::identifier && !is_plain_name(t.text, false)))
        return unexpected("grouping opts", "label"), false;
      out.push_back(t.text);
      next();
      if (!next_is(TokenKind::comma)) break;
    }
    return expect(TokenKind::right_paren, "\",\" or \")\"", "grouping opts");
  }

  Node postfix() {
    Node e = primary();
    while (e) {
      const Token& t = peek();
      if (t.kind == TokenKind::left_bracket) {
        e = range(std::move(e));
      } else if (is_word(t, "offset")) {
        e = offset(std::move(e));
      } else if (t.kind == TokenKind::at) {
        e = at_modifier(std::move(e));
      } else {
        break;
      }
    }
    return e;
  }

  std::optional<Duration> duration(const char* where, bool may_be_negative) {
    const Token& sign = peek();
    const bool negative = sign.kind == TokenKind::sub;
    if (negative || sign.kind == TokenKind::add) next();
    const Token& t = peek();
    if (t.kind != TokenKind::number) return unexpected(where, "number or duration"), std::nullopt;
    next();
    if (!(t.number < kSecondsMax)) return fail(t.begin, "duration out of range"), std::nullopt;
    if (!may_be_negative && (negative || t.number <= 0)) return fail(sign.begin, "duration must be greater than 0"), std::nullopt;
    const auto ms = static_cast<std::int64_t>(std::llround(t.number * 1e3));
    if (!may_be_negative && ms == 0) return fail(sign.begin, "duration must be at least 1ms"), std::nullopt;
    return std::chrono::milliseconds(negative ? -ms : ms);
  }

  Node range(Node e) {
    const std::uint32_t bracket = next().begin;
    const auto length = duration("range", false);
    if (!length) return nullptr;
    if (next_is(TokenKind::colon)) {
      Node q = make(Kind::subquery, ValueType::matrix, e->begin);
      q->range = *length;
      if (peek().kind != TokenKind::right_bracket) {
        const auto step = duration("subquery", false);
        if (!step) return nullptr;
        q->step = *step;
      }
      if (!expect(TokenKind::right_bracket, "\"]\"", "subquery selector")) return nullptr;
      if (e->type != ValueType::vector)
        return fail(e->begin, "subquery is only allowed on instant vector, got " + type_name(e->type) + " instead");
      q->args.push_back(std::move(e));
      return done(std::move(q));
    }
    if (!expect(TokenKind::right_bracket, "\":\" or \"]\"", "subquery or range")) return nullptr;
    if (e->kind != Kind::selector) return fail(bracket, "ranges only allowed for vector selectors");
    if (has_offset_.contains(e.get())) return fail(bracket, "no offset modifiers allowed before range");
    if (e->at_kind != Expr::At::none) return fail(bracket, "no @ modifiers allowed before range");
    e->kind = Kind::range_selector;
    e->type = ValueType::matrix;
    e->range = *length;
    return done(std::move(e));
  }

  Node offset(Node e) {
    const std::uint32_t word = next().begin;
    const auto by = duration("offset", true);
    if (!by) return nullptr;
    if (!is_selector(*e))
      return fail(word, "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery");
    if (!has_offset_.insert(e.get()).second) return fail(word, "offset may not be set multiple times");
    e->offset = *by;
    return done(std::move(e));
  }

  Node at_modifier(Node e) {
    const std::uint32_t sign_at = next().begin;
    if (!is_selector(*e))
      return fail(sign_at, "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery");
    if (e->at_kind != Expr::At::none) return fail(sign_at, "@ <timestamp> may not be set multiple times");
    if (is_word(peek(), "start") || is_word(peek(), "end")) {
      e->at_kind = is_word(next(), "start") ? Expr::At::start : Expr::At::end;
      if (!expect(TokenKind::left_paren, "\"(\"", "@ modifier") || !expect(TokenKind::right_paren, "\")\"", "@ modifier")) return nullptr;
      return done(std::move(e));
    }
    const bool negative = peek().kind == TokenKind::sub;
    if (negative || peek().kind == TokenKind::add) next();
    const Token& t = peek();
    if (t.kind != TokenKind::number) return unexpected("@ modifier", "timestamp");
    next();
    if (!(t.number < kSecondsMax)) return fail(t.begin, "timestamp out of bounds for @ modifier");
    const auto ms = static_cast<std::int64_t>(std::llround(t.number * 1e3));
    e->at_kind = Expr::At::timestamp;
    e->at = Instant::from_millis(negative ? -ms : ms);
    return done(std::move(e));
  }

  Node primary() {
    const Token& t = peek();
    switch (t.kind) {
      case TokenKind::number: {
        next();
        Node e = make(Kind::number, ValueType::scalar, t.begin);
        e->number = t.number;
        return done(std::move(e));
      }
      case TokenKind::string: {
        next();
        Node e = make(Kind::string, ValueType::string, t.begin);
        e->string = t.text;
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

  Node word() {
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
    for (const char* reserved : {"on", "ignoring", "group_left", "group_right", "bool"})
      if (low == reserved) return unexpected("expression");
    return selector();
  }

  Node selector() {
    Node e = make(Kind::selector, ValueType::vector, peek().begin);
    std::optional<std::string> name;
    if (peek().kind == TokenKind::identifier) name = next().text;
    if (next_is(TokenKind::left_brace)) {
      while (peek().kind != TokenKind::right_brace) {
        if (!matcher(*e, name)) return nullptr;
        if (!next_is(TokenKind::comma)) break;
      }
      if (!expect(TokenKind::right_brace, "\",\" or \"}\"", "label matching")) return nullptr;
    }
    if (name) {
      for (const series::Matcher& m : e->matchers)
        if (m.label() == kNameLabel && m.op() == series::Matcher::Op::equal)
          return fail(e->begin, "metric name must not be set twice: \"" + *name + "\" or \"" + m.value() + "\"");
      e->matchers.insert(e->matchers.begin(), series::Matcher::make(std::string(kNameLabel), series::Matcher::Op::equal, *name).value());
    }
    const bool selects = std::any_of(e->matchers.begin(), e->matchers.end(), [](const series::Matcher& m) { return !m.matches(""); });
    if (!selects) return fail(e->begin, "vector selector must contain at least one non-empty matcher");
    return done(std::move(e));
  }

  /// One `label op "value"`, or a quoted metric name.
  bool matcher(Expr& e, std::optional<std::string>& name) {
    const Token& label = peek();
    const bool is_string = label.kind == TokenKind::string;
    if (!is_string && (label.kind != TokenKind::identifier || !is_plain_name(label.text, false)))
      return unexpected("label matching", "identifier or \"}\""), false;
    next();
    std::optional<series::Matcher::Op> op;
    switch (peek().kind) {
      case TokenKind::assign: op = series::Matcher::Op::equal; break;
      case TokenKind::not_equal: op = series::Matcher::Op::not_equal; break;
      case TokenKind::match: op = series::Matcher::Op::regex; break;
      case TokenKind::not_match: op = series::Matcher::Op::not_regex; break;
      default: break;
    }
    if (!op) {
      if (!is_string) return unexpected("label matching", "label matching operator"), false;
      if (name) return fail(label.begin, "metric name must not be set twice: \"" + *name + "\" or \"" + label.text + "\""), false;
      name = label.text;
      return true;
    }
    next();
    const Token& value = peek();
    if (value.kind != TokenKind::string) return unexpected("label matching", "string"), false;
    next();
    auto made = series::Matcher::make(label.text, *op, value.text);
    if (made.has_error()) return fail(value.begin, made.error().what + ": " + made.error().why), false;
    e.matchers.push_back(std::move(*made));
    return true;
  }

  bool grouping(Expr& e) {
    if (is_word(peek(), "by") || is_word(peek(), "without")) {
      const bool by = is_word(next(), "by");
      (by ? e.by : e.without) = true;
      return label_list(e.grouping);
    }
    return true;
  }

  Node aggregate(const std::string& name) {
    Node e = make(Kind::aggregate, ValueType::vector, next().begin);
    e->function = name;
    if (!grouping(*e)) return nullptr;
    if (!arguments(*e, "aggregation")) return nullptr;
    if (!e->by && !e->without && !grouping(*e)) return nullptr;
    const auto parameter = aggregation_parameter(name);
    const std::size_t wanted = parameter ? 2 : 1;
    if (e->args.size() != wanted)
      return fail(e->begin, "wrong number of arguments for aggregate expression provided, expected " + std::to_string(wanted) + ", got " +
                                std::to_string(e->args.size()));
    if (parameter && !expect_type(*e->args[0], *parameter, "aggregation parameter")) return nullptr;
    if (!expect_type(*e->args.back(), ValueType::vector, "aggregation expression")) return nullptr;
    return done(std::move(e));
  }

  bool arguments(Expr& e, const char* where) {
    if (!expect(TokenKind::left_paren, "\"(\"", where)) return false;
    if (next_is(TokenKind::right_paren)) return true;
    while (true) {
      Node arg = expression(0);
      if (!arg) return false;
      e.args.push_back(std::move(arg));
      if (!next_is(TokenKind::comma)) break;
    }
    return expect(TokenKind::right_paren, "\",\" or \")\"", where);
  }

  bool expect_type(const Expr& e, ValueType wanted, const std::string& where) {
    if (e.type == wanted) return true;
    return fail(e.begin, "expected type " + type_name(wanted) + " in " + where + ", got " + type_name(e.type)), false;
  }

  Node call() {
    const Token& name = next();
    const Function* f = find_function(name.text);
    if (f == nullptr) return fail(name.begin, "unknown function with name \"" + name.text + "\"");
    Node e = make(Kind::call, f->returns, name.begin);
    e->function = name.text;
    if (!arguments(*e, "function call")) return nullptr;

    const std::size_t named = f->args.size(), got = e->args.size();
    const std::size_t least = f->optional < 0 ? named - 1 : named - static_cast<std::size_t>(f->optional);
    const std::string at_fault = " argument(s) in call to \"" + name.text + "\", got " + std::to_string(got);
    if (got < least)
      return fail(name.begin, "expected " + std::string(least == named ? "" : "at least ") + std::to_string(least) + at_fault);
    if (f->optional >= 0 && got > named)
      return fail(name.begin, "expected " + std::string(least == named ? "" : "at most ") + std::to_string(named) + at_fault);
    for (std::size_t i = 0; i < got; ++i)
      if (!expect_type(*e->args[i], f->args[std::min(i, named - 1)], "call to function \"" + name.text + "\"")) return nullptr;
    return done(std::move(e));
  }

  std::string_view text_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::set<const Expr*> has_offset_;  ///< `offset 0s` counts as set too
  std::optional<Error> failure_;
};

void collect(const Expr& e, std::vector<const Expr*>& out) {
  if (e.kind == Kind::selector || e.kind == Kind::range_selector) out.push_back(&e);
  for (const ExprPtr& arg : e.args) collect(*arg, out);
}

}  // namespace

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
