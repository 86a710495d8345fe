// Selectors and what may follow them: ranges, subqueries, offset and @.
#include <cmath>

#include "promql/parser.hpp"

namespace rollbackd::promql {
namespace {

using Kind = Expr::Kind;

constexpr double kSecondsMax = 9.2e9;  // What fits into an Instant or a Duration.

bool is_selector(const Expr& e) { return e.kind == Kind::selector || e.kind == Kind::range_selector || e.kind == Kind::subquery; }

}  // namespace

Parser::Node Parser::postfix() {
  Node e = primary();
  while (e) {
    const Token& t = peek();
    if (t.kind == TokenKind::left_bracket) {
      e = range(std::move(e));
    } else if (is_word(t, "offset")) {
      e = offset(std::move(e));
    } else if (t.kind == TokenKind::at) {
      e = at_modifier(std::move(e));
    } else if (is_word(t, "anchored") || is_word(t, "smoothed")) {
      e = extended(std::move(e));
    } else {
      break;
    }
  }
  return e;
}

Parser::Node Parser::range(Node e) {
  const std::uint32_t bracket = next().begin;
  auto length = positive_duration("subquery or range selector");
  if (!length) return nullptr;
  if (next_is(TokenKind::colon)) {
    Node q = make(Kind::subquery, ValueType::matrix, e->begin);
    q->range = length->value;
    if (length->expr) q->rest.edit().range_expr = std::move(length->expr);
    if (peek().kind != TokenKind::right_bracket) {
      auto step = positive_duration("subquery selector");
      if (!step) return nullptr;
      q->rest.edit().step = step->value;
      q->rest.edit().step_expr = std::move(step->expr);
    }
    if (!expect(TokenKind::right_bracket, "\"]\"", "subquery selector")) return nullptr;
    if (e->type != ValueType::vector)
      return fail(e->begin, "subquery is only allowed on instant vector, got " + std::string(to_string(e->type)) + " instead");
    q->args.push_back(std::move(e));
    return done(std::move(q));
  }
  if (!expect(TokenKind::right_bracket, "\":\" or \"]\"", "subquery or range")) return nullptr;
  if (e->kind != Kind::selector) return fail(bracket, "ranges only allowed for vector selectors");
  if (e->offset() != Duration{0} || e->offset_expr()) return fail(bracket, "no offset modifiers allowed before range");
  if (e->at_kind == Expr::At::timestamp) return fail(bracket, "no @ modifiers allowed before range");
  e->kind = Kind::range_selector;
  e->type = ValueType::matrix;
  e->range = length->value;
  if (length->expr) e->rest.edit().range_expr = std::move(length->expr);
  return done(std::move(e));
}

Parser::Node Parser::offset(Node e) {
  const std::uint32_t word = next().begin;
  auto by = offset_duration();
  if (!by) return nullptr;
  if (!is_selector(*e))
    return fail(word, "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery");
  if (e->offset() != Duration{0} || e->offset_expr()) return fail(word, "offset may not be set multiple times");
  e->rest.edit().offset = by->value;
  e->rest.edit().offset_expr = std::move(by->expr);
  return done(std::move(e));
}

Parser::Node Parser::extended(Node e) {
  const Token& word = next();
  const std::string name = lower(word.text);
  const auto extend = name == "anchored" ? Expr::Extend::anchored : Expr::Extend::smoothed;
  if (e->kind == Kind::subquery) return fail(word.begin, name + " modifier is not supported for subqueries");
  if (e->kind != Kind::selector && e->kind != Kind::range_selector) return fail(word.begin, name + " modifier not implemented");
  if (e->extend != Expr::Extend::none && e->extend != extend)
    return fail(word.begin, "anchored and smoothed modifiers cannot be used together");
  e->extend = extend;
  return done(std::move(e));
}

Parser::Node Parser::at_modifier(Node e) {
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
  e->rest.edit().at = Instant::from_millis(negative ? -ms : ms);
  return done(std::move(e));
}

Parser::Node Parser::selector() {
  Node e = make(Kind::selector, ValueType::vector, peek().begin);
  std::optional<std::string> name;
  if (peek().kind == TokenKind::identifier) name = next().text;
  if (next_is(TokenKind::left_brace)) {
    while (peek().kind != TokenKind::right_brace) {
      if (!matcher(*e)) return nullptr;
      if (!next_is(TokenKind::comma)) break;
    }
    if (!expect(TokenKind::right_brace, "\",\" or \"}\"", "label matching")) return nullptr;
  }
  std::string set;  // The name as the braces say it.
  for (const series::Matcher& m : e->matchers) {
    if (m.label() != kNameLabel) continue;
    if (name) return fail(e->begin, "metric name must not be set twice: " + quoted(*name) + " or " + quoted(m.value()));
    if (m.op() != series::Matcher::Op::equal) continue;
    if (!set.empty()) return fail(e->begin, "metric name must not be set twice: " + quoted(set) + " or " + quoted(m.value()));
    set = m.value();
  }
  if (name) {
    e->named = true;
    e->matchers.push_front(series::Matcher::make(std::string(kNameLabel), series::Matcher::Op::equal, *name).value());
  }
  const bool selects = std::any_of(e->matchers.begin(), e->matchers.end(), [](const series::Matcher& m) { return !m.matches(""); });
  if (!selects) return fail(e->begin, "vector selector must contain at least one non-empty matcher");
  return done(std::move(e));
}

bool Parser::matcher(Expr& e) {
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
    e.matchers.push_back(series::Matcher::make(std::string(kNameLabel), series::Matcher::Op::equal, label.text).value());
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

}  // namespace rollbackd::promql
