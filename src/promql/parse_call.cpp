// Calls and aggregations, checked against the table of functions.
#include "promql/functions.hpp"
#include "promql/parser.hpp"

namespace rollbackd::promql {

using Kind = Expr::Kind;

bool Parser::grouping(Expr& e) {
  if (is_word(peek(), "by") || is_word(peek(), "without")) {
    const bool by = is_word(next(), "by");
    (by ? e.by : e.without) = true;
    std::vector<std::string> labels;
    if (!label_list(labels)) return false;
    if (!labels.empty()) e.rest.edit().grouping = std::move(labels);
  }
  return true;
}

Parser::Node Parser::aggregate(const std::string& name) {
  Node e = make(Kind::aggregate, ValueType::vector, next().begin);
  e->function = FunctionName::of(name);
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

bool Parser::arguments(Expr& e, const char* where) {
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

bool Parser::expect_type(const Expr& e, ValueType wanted, const std::string& where) {
  if (e.type == wanted) return true;
  return fail(e.begin, "expected type " + std::string(to_string(wanted)) + " in " + where + ", got " + to_string(e.type)), false;
}

Parser::Node Parser::call() {
  const Token& name = next();
  const Function* f = find_function(name.text);
  if (f == nullptr) return fail(name.begin, "unknown function with name \"" + name.text + "\"");
  Node e = make(Kind::call, f->returns, name.begin);
  e->function = FunctionName::of(name.text);
  if (!arguments(*e, "function call")) return nullptr;

  const std::size_t named = f->args.size(), got = e->args.size();
  const std::size_t least = f->optional < 0 ? named - 1 : named - static_cast<std::size_t>(f->optional);
  const std::string at_fault = " argument(s) in call to \"" + name.text + "\", got " + std::to_string(got);
  if (got < least) return fail(name.begin, "expected " + std::string(least == named ? "" : "at least ") + std::to_string(least) + at_fault);
  if (f->optional >= 0 && got > named)
    return fail(name.begin, "expected " + std::string(least == named ? "" : "at most ") + std::to_string(named) + at_fault);
  for (std::size_t i = 0; i < got; ++i)
    if (!expect_type(*e->args[i], f->args[std::min(i, named - 1)], "call to function \"" + name.text + "\"")) return nullptr;
  return done(std::move(e));
}

}  // namespace rollbackd::promql
