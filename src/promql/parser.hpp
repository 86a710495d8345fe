// The parser's inside: one class over four files. Expressions are in parse.cpp, selectors in parse_selector.cpp, their durations in
// parse_duration.cpp, calls in parse_call.cpp.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "promql/lex.hpp"
#include "promql/parse.hpp"

namespace rollbackd::promql {

struct Operator {
  BinaryOp op;
  int precedence;
  bool comparison = false, set = false;
};

/// Recursive descent with precedence climbing. The first failure sticks; every step gives nullptr (or false) after it.
class Parser {
 public:
  Parser(std::string_view text, std::vector<Token> tokens) : text_(text), tokens_(std::move(tokens)) {}
  Result<ExprPtr> run();

 private:
  using Node = std::shared_ptr<Expr>;
  using Span = std::shared_ptr<DurationExpr>;
  using Kind = Expr::Kind;

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

  std::nullptr_t fail(std::size_t at, std::string message);
  std::nullptr_t unexpected(const std::string& where, const std::string& expected = {});
  bool expect(TokenKind kind, const char* what, const char* where);
  Node make(Kind kind, ValueType type, std::uint32_t begin);
  /// Closes a node: its end, and the bound on the tree's height.
  Node done(Node e);

  Node expression(int precedence_min);
  Node unary();
  Node binary(Node left, const Operator& op, std::uint32_t op_begin);
  std::string_view word_at(std::size_t begin) const;
  bool check_operands(const Expr& left, const Expr& right, const Operator& op, std::uint32_t op_begin, bool return_bool,
                      const VectorMatching& m);
  /// "(a, b)"; a trailing comma is allowed.
  bool label_list(std::vector<std::string>& out);
  Node primary();
  Node word();

  Node postfix();
  /// A duration and, where it is no plain literal, its expression.
  struct Length {
    Duration value{};
    DurationPtr expr;
  };
  /// Between brackets: any expression, greater than 0 where that is known.
  std::optional<Length> positive_duration(const char* where);
  /// After `offset`: a literal with its sign, or step(), range(), min_of(), max_of() or parentheses. Operators after it are not its own.
  std::optional<Length> offset_duration();
  Span duration_expression(int precedence_min);
  Span duration_unary();
  Span duration_primary();
  Span duration_literal();
  Span duration_call();
  /// `operand` with a sign: a literal takes it in, an expression goes below it.
  Span signed_duration(bool negative, Span operand, bool keep_plus);
  Span closed(Span d, std::size_t at);
  std::optional<Length> length_of(Span d);
  Node range(Node e);
  Node offset(Node e);
  Node at_modifier(Node e);
  /// `anchored` and `smoothed`
  Node extended(Node e);
  Node selector();
  /// One `label op "value"`, or a quoted metric name.
  bool matcher(Expr& e);

  bool grouping(Expr& e);
  Node aggregate(const std::string& name);
  bool arguments(Expr& e, const char* where);
  bool expect_type(const Expr& e, ValueType wanted, const std::string& where);
  Node call();

  std::string_view text_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::optional<Error> failure_;
};

}  // namespace rollbackd::promql
