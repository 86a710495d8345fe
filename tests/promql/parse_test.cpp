#include "promql/parse.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>

namespace rollbackd::promql {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Kind = Expr::Kind;

ExprPtr parsed(std::string_view text) {
  auto e = parse(text);
  EXPECT_TRUE(e.has_value()) << text << ": " << e.error().text();
  return e.has_value() ? *e : nullptr;
}

std::string why_not(std::string_view text) {
  const auto e = parse(text);
  EXPECT_TRUE(e.has_error()) << text;
  if (e.has_value()) return "";
  EXPECT_EQ(e.error().code, Errc::invalid_argument);
  return e.error().why;
}

/// Fully parenthesised, to see how operators bind.
std::string shape(const Expr& e) {
  if (e.kind == Kind::binary) return "(" + shape(*e.args[0]) + std::to_string(static_cast<int>(e.op)) + shape(*e.args[1]) + ")";
  if (e.kind == Kind::unary_minus) return "-" + shape(*e.args[0]);
  return to_text(e);
}

TEST(Parse, MultiplicationBindsTighterThanAdditionAndPowerToTheRight) {
  EXPECT_EQ(shape(*parsed("a + b * c")), "(a0(b2c))");
  EXPECT_EQ(shape(*parsed("a ^ b ^ c")), "(a5(b5c))");
  EXPECT_EQ(shape(*parsed("a - b - c")), "((a1b)1c)");
  EXPECT_EQ(shape(*parsed("a or b and c == d + e")), "(a14(b13(c7(d0e))))");
}

TEST(Parse, ASignBindsLooserThanPowerAndTighterThanMultiplication) {
  EXPECT_EQ(shape(*parsed("-a ^ b")), "-(a5b)");
  EXPECT_EQ(shape(*parsed("-a * b")), "(-a2b)");
  EXPECT_EQ(shape(*parsed("a ^ -b * c")), "((a5-b)2c)");
}

TEST(Parse, NumbersAreDecimalHexadecimalAndDurations) {
  EXPECT_EQ(parsed("12.34e-6")->number, 12.34e-6);
  EXPECT_EQ(parsed("0x1F")->number, 31);
  EXPECT_EQ(parsed("1_000_000")->number, 1e6);
  EXPECT_EQ(parsed(".5")->number, 0.5);
  EXPECT_EQ(parsed("1m30s")->number, 90);
  EXPECT_EQ(parsed("-Inf")->number, -HUGE_VAL);
  EXPECT_TRUE(std::isnan(parsed("nan")->number));
}

TEST(Parse, StringsResolveTheirEscapes) {
  EXPECT_EQ(parsed(R"("a\n\"\x41\u00e9")")->string, "a\n\"A\xc3\xa9");
  EXPECT_EQ(parsed(R"(`a\n`)")->string, "a\\n");
}

TEST(Parse, ASelectorHasItsNameAmongItsMatchers) {
  const ExprPtr e = parsed(R"(up{job="api", code=~"5..", env!="", x!~"y"})");

  ASSERT_EQ(e->matchers.size(), 5U);
  EXPECT_EQ(e->matchers[0].label(), "__name__");
  EXPECT_EQ(e->matchers[0].value(), "up");
  EXPECT_EQ(e->matchers[4].op(), series::Matcher::Op::not_regex);
}

TEST(Parse, QuotedNamesMayHoldAnything) {
  const ExprPtr e = parsed(R"({"http.requests", "label.with.dots"="x"})");

  EXPECT_EQ(e->matchers[0].value(), "http.requests");
  EXPECT_EQ(e->matchers[1].label(), "label.with.dots");
}

TEST(Parse, OffsetsAndAtModifiersComeInAnyOrder) {
  const ExprPtr e = parsed("rate(x[5m] @ 1.5 offset -1m)");
  const Expr& range = *e->args[0];

  EXPECT_EQ(range.range, 5min);
  EXPECT_EQ(range.offset, -1min);
  EXPECT_EQ(range.at_kind, Expr::At::timestamp);
  EXPECT_EQ(range.at, Instant::from_millis(1500));
  EXPECT_EQ(parsed("x offset 5m @ end()")->at_kind, Expr::At::end);
}

TEST(Parse, ASubqueryHasARangeAndMayHaveAStep) {
  const ExprPtr e = parsed("max_over_time(rate(x[1m])[10m:30s] offset 1m)");

  EXPECT_EQ(e->args[0]->kind, Kind::subquery);
  EXPECT_EQ(e->args[0]->range, 10min);
  EXPECT_EQ(e->args[0]->step, 30s);
  EXPECT_EQ(e->args[0]->offset, 1min);
  EXPECT_EQ(parsed("max_over_time(x[10m:])")->args[0]->step, Duration{0});
}

TEST(Parse, VectorMatchingIsReadWhole) {
  const ExprPtr e = parsed("a > bool on (x, y) group_left (z) b");

  EXPECT_TRUE(e->return_bool);
  EXPECT_TRUE(e->matching.on);
  EXPECT_THAT(e->matching.labels, ElementsAre("x", "y"));
  EXPECT_THAT(e->matching.include, ElementsAre("z"));
  EXPECT_EQ(e->matching.card, VectorMatching::Card::many_to_one);
  EXPECT_EQ(parsed("a and b")->matching.card, VectorMatching::Card::many_to_many);
}

TEST(Parse, GroupingMayStandBeforeOrAfterTheOperand) {
  for (const char* text : {"sum by (a, b) (x)", "sum(x) by (a, b)", "SUM BY (a, b,) (x)"}) {
    EXPECT_TRUE(parsed(text)->by) << text;
    EXPECT_THAT(parsed(text)->grouping, ElementsAre("a", "b")) << text;
  }
  EXPECT_EQ(parsed("topk(3, x)")->args.size(), 2U);
}

TEST(Parse, AKeywordMayBeAMetricsName) {
  for (const char* text : {"sum", "by", "offset", "start", "and + or", "count{by=\"x\"}"}) parsed(text);
}

TEST(Parse, CommentsAndLineBreaksAreBlank) { EXPECT_EQ(to_text(*parsed("a # the first\n  + b")), "a + b"); }

TEST(Parse, ErrorsNameTheColumnInCharacters) {
  EXPECT_EQ(why_not("a + é"), "column 5: unexpected character: 'é'");
  EXPECT_THAT(why_not("{a=\"\xc3\xa9\"} + )"), HasSubstr("column 11: unexpected \")\""));
  EXPECT_THAT(why_not("sum(a"), HasSubstr("column 6: unexpected end of input"));
  EXPECT_EQ(why_not(""), "column 1: no expression found in input");
  EXPECT_THAT(why_not("a b"), HasSubstr("column 3: unexpected \"b\""));
}

TEST(Parse, TypesAreCheckedAsPrometheusDoes) {
  EXPECT_EQ(why_not("rate(x)"), "column 6: expected type range vector in call to function \"rate\", got instant vector");
  EXPECT_EQ(why_not("sum(x[5m])"), "column 5: expected type instant vector in aggregation expression, got range vector");
  EXPECT_EQ(why_not("1 > 2"), "column 3: comparisons between scalars must use BOOL modifier");
  EXPECT_EQ(why_not("1 and x"), "column 3: set operator \"and\" not allowed in binary scalar expression");
  EXPECT_EQ(why_not("x + bool y"), "column 3: bool modifier can only be used on comparison operators");
  EXPECT_EQ(why_not("x + on (a) 1"), "column 3: vector matching only allowed between instant vectors");
  EXPECT_EQ(why_not("x and on (a) group_left y"), "column 3: no grouping allowed for \"and\" operation");
  EXPECT_THAT(why_not("x + on (a) group_left (a) y"), HasSubstr("must not occur in ON and GROUP clause at once"));
  EXPECT_THAT(why_not("x[5m] + 1"), HasSubstr("binary expression must contain only scalar and instant vector types"));
  EXPECT_THAT(why_not("-\"a\""), HasSubstr("unary expression only allowed on expressions of type scalar or instant vector"));
  EXPECT_EQ(why_not("nope(x)"), "column 1: unknown function with name \"nope\"");
  EXPECT_THAT(why_not("rate()"), HasSubstr("expected 1 argument(s) in call to \"rate\", got 0"));
  EXPECT_THAT(why_not("round(x, 1, 2)"), HasSubstr("expected at most 2 argument(s)"));
  EXPECT_THAT(why_not("topk(x)"), HasSubstr("wrong number of arguments for aggregate expression"));
}

TEST(Parse, SelectorsAreCheckedAsPrometheusDoes) {
  EXPECT_THAT(why_not("{}"), HasSubstr("must contain at least one non-empty matcher"));
  EXPECT_THAT(why_not("{a=~\".*\"}"), HasSubstr("must contain at least one non-empty matcher"));
  EXPECT_THAT(why_not("x{__name__=\"y\"}"), HasSubstr("metric name must not be set twice: \"x\" or \"y\""));
  EXPECT_THAT(why_not("x{a=~\"(\"}"), HasSubstr("column 6: bad regular expression"));
  EXPECT_THAT(why_not("(x)[5m]"), HasSubstr("ranges only allowed for vector selectors"));
  EXPECT_THAT(why_not("x offset 5m [5m]"), HasSubstr("no offset modifiers allowed before range"));
  EXPECT_THAT(why_not("x @ 1 [5m]"), HasSubstr("no @ modifiers allowed before range"));
  EXPECT_THAT(why_not("x offset 1m offset 0s"), HasSubstr("offset may not be set multiple times"));
  EXPECT_THAT(why_not("(x) offset 1m"), HasSubstr("offset modifier must be preceded by"));
  EXPECT_THAT(why_not("x[0s]"), HasSubstr("duration must be greater than 0"));
  EXPECT_THAT(why_not("x[-1m]"), HasSubstr("duration must be greater than 0"));
  EXPECT_THAT(why_not("x[5x]"), HasSubstr("bad number or duration syntax: \"5x\""));
  EXPECT_THAT(why_not("x @ 1e300"), HasSubstr("timestamp out of bounds"));
}

TEST(Parse, DepthAndSizeAreBounded) {
  std::string parens(129, '('), chain = "x", ok_chain = "x";
  for (int i = 0; i < 200; ++i) chain += " + x";
  for (int i = 0; i < 100; ++i) ok_chain += " + x";

  EXPECT_THAT(why_not(parens + "x" + std::string(129, ')')), HasSubstr("nested too deeply"));
  EXPECT_THAT(why_not(chain), HasSubstr("nested too deeply"));
  EXPECT_THAT(why_not(std::string(200, '-') + "x"), HasSubstr("nested too deeply"));
  EXPECT_THAT(why_not(std::string(65 * 1024, ' ')), HasSubstr("longer than 64 KiB"));
  parsed(ok_chain);
}

TEST(Parse, EverySelectorOfATreeIsListed) {
  const ExprPtr e = parsed("sum(rate(a[5m])) / on () (b or absent(c)) + max_over_time(d[1h:5m])");

  std::vector<std::string> names;
  for (const Expr* s : selectors(*e)) names.push_back(s->matchers[0].value());
  EXPECT_THAT(names, ElementsAre("a", "b", "c", "d"));
}

TEST(Parse, AnyTextGivesATreeThatPrintsItselfOrAnErrorWithAColumn) {
  const std::array<std::string, 6> seeds{
      "sum by (x) (rate(a[5m])) / on (x) group_left () b", "max_over_time(rate(a[1m])[10m:30s] offset 1m) > bool 2",
      "label_replace(a, \"q\", \"$1\", \"x\", '(.*)')",    "absent(b @ 5) unless -x ^ 2 # end",
      "topk(2, a) and quantile(0.5, {x=~\"y|z\"})",        "{\"a.b\", c!=`d`} offset -1h30m"};
  const std::array<std::string, 12> pieces{"(", ")", "[5m:]", " and ", "-", "^", "\"", "\\", "\xff", "1e", "@ end()", "{"};
  std::mt19937 random(7);  // NOLINT: the same texts in every run
  int trees = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = seeds[random() % seeds.size()];
    for (std::size_t n = 1 + random() % 3; n > 0; --n) {
      const std::size_t at = random() % (text.size() + 1);
      if (random() % 2 == 0) {
        text.insert(at, pieces[random() % pieces.size()]);
      } else {
        text.erase(at, 1 + random() % 3);
      }
    }
    const auto tree = parse(text);
    if (tree.has_error()) {
      ASSERT_TRUE(tree.error().why.starts_with("column ")) << text;
      continue;
    }
    ++trees;
    const std::string printed = to_text(**tree);
    ASSERT_EQ(to_text(*parsed(printed)), printed) << text;
  }
  EXPECT_GT(trees, 1000);
}

class RoundTrip : public testing::TestWithParam<const char*> {};

TEST_P(RoundTrip, TheTextOfATreeGivesTheSameTree) {
  const std::string text = to_text(*parsed(GetParam()));

  EXPECT_EQ(text, GetParam());
  EXPECT_EQ(to_text(*parsed(text)), text);
}

INSTANTIATE_TEST_SUITE_P(Expressions, RoundTrip,
                         testing::Values("up", R"(up{job="api",code=~"5..",env!="",x!~"y"})", R"({__name__=~"a|b"})", R"({__name__="on"})",
                                         R"({"label.with.dots"="x",a="b"})", "rate(x[5m])", "x[1h30m] @ 1.500 offset -5m",
                                         "x @ start() offset 5m", "max_over_time(rate(x[1m])[10m:30s])", "x[10m:] @ end()", "-x ^ 2",
                                         "(a + b) * c", "a - -b", "a == bool on (x, y) group_left (z) b",
                                         "a / ignoring (x) group_right () b", "a unless on () b", "sum by (a, b) (x)",
                                         "count without () (x)", "topk by (a) (3, x)", R"(count_values("v", x))",
                                         R"(label_replace(x, "dst", "$1", "src", "(.*)\\d"))", "clamp(x, -1, +Inf)", "time() - 1.5e-07",
                                         "NaN", R"("a\n\"b\"")", "absent(x) or vector(0)"));

}  // namespace
}  // namespace rollbackd::promql
