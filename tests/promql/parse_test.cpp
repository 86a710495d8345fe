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
  EXPECT_EQ(parsed(R"("a\n\"\x41\u00e9")")->string(), "a\n\"A\xc3\xa9");
  EXPECT_EQ(parsed(R"(`a\n`)")->string(), "a\\n");
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
  EXPECT_EQ(range.offset(), -1min);
  EXPECT_EQ(range.at_kind, Expr::At::timestamp);
  EXPECT_EQ(range.at(), Instant::from_millis(1500));
  EXPECT_EQ(parsed("x offset 5m @ end()")->at_kind, Expr::At::end);
}

TEST(Parse, ASubqueryHasARangeAndMayHaveAStep) {
  const ExprPtr e = parsed("max_over_time(rate(x[1m])[10m:30s] offset 1m)");

  EXPECT_EQ(e->args[0]->kind, Kind::subquery);
  EXPECT_EQ(e->args[0]->range, 10min);
  EXPECT_EQ(e->args[0]->step(), 30s);
  EXPECT_EQ(e->args[0]->offset(), 1min);
  EXPECT_EQ(parsed("max_over_time(x[10m:])")->args[0]->step(), Duration{0});
}

TEST(Parse, VectorMatchingIsReadWhole) {
  const ExprPtr e = parsed("a > bool on (x, y) group_left (z) b");

  EXPECT_TRUE(e->return_bool);
  EXPECT_TRUE(e->matching().on);
  EXPECT_THAT(e->matching().labels, ElementsAre("x", "y"));
  EXPECT_THAT(e->matching().include, ElementsAre("z"));
  EXPECT_EQ(e->matching().card, VectorMatching::Card::many_to_one);
  EXPECT_EQ(parsed("a and b")->matching().card, VectorMatching::Card::many_to_many);
}

TEST(Parse, GroupingMayStandBeforeOrAfterTheOperand) {
  for (const char* text : {"sum by (a, b) (x)", "sum(x) by (a, b)", "SUM BY (a, b,) (x)"}) {
    EXPECT_TRUE(parsed(text)->by) << text;
    EXPECT_THAT(parsed(text)->grouping(), ElementsAre("a", "b")) << text;
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
  EXPECT_THAT(why_not("x{__name__!=\"y\"}"), HasSubstr("metric name must not be set twice: \"x\" or \"y\""));
  EXPECT_THAT(why_not("{\"x\", __name__=\"y\"}"), HasSubstr("metric name must not be set twice: \"x\" or \"y\""));
  EXPECT_THAT(why_not("sum by (without) (x)"), HasSubstr("expected label"));
  EXPECT_THAT(why_not("1e400"), HasSubstr("error parsing number"));
  EXPECT_THAT(why_not("atan2"), HasSubstr("unexpected \"atan2\""));
  EXPECT_THAT(why_not("\"\xff\""), HasSubstr("invalid UTF-8 rune"));
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
  const std::array<std::string, 8> seeds{"x[5m + step() * 2] offset -(1h / 7)",
                                         "y[max_of(1m, range()):1 ^ 2 + 3] @ 5",
                                         "sum by (x) (rate(a[5m])) / on (x) group_left () b",
                                         "max_over_time(rate(a[1m])[10m:30s] offset 1m) > bool 2",
                                         "label_replace(a, \"q\", \"$1\", \"x\", '(.*)')",
                                         "absent(b @ 5) unless -x ^ 2 # end",
                                         "topk(2, a) and quantile(0.5, {x=~\"y|z\"})",
                                         "{\"a.b\", c!=`d`} offset -1h30m"};
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

TEST(Print, TheTextOfATreeGivesTheSameTree) {
  for (const char* text : {"up",
                           R"(up{code=~"5..",env!="",job="api",x!~"y"})",
                           R"({__name__=~"a|b"})",
                           R"({__name__="on"})",
                           R"({"label.with.dots"="x",a="b"})",
                           "rate(x[5m])",
                           "x[1h30m] @ 1.500 offset -5m",
                           "x @ start() offset 5m",
                           "max_over_time(rate(x[1m])[10m:30s])",
                           "x[10m:] @ end()",
                           "-x ^ 2",
                           "(a + b) * c",
                           "a - -b",
                           "a == bool on (x, y) group_left (z) b",
                           "a / ignoring (x) group_right () b",
                           "a unless on () b",
                           "sum by (a, b) (x)",
                           "count without () (x)",
                           "topk by (a) (3, x)",
                           R"(count_values("v", x))",
                           R"(label_replace(x, "dst", "$1", "src", "(.*)\\d"))",
                           "clamp(x, -1, +Inf)",
                           "time() - 1.5e-07",
                           "NaN",
                           R"("a\n\"b\"")",
                           "absent(x) or vector(0)",
                           "x[5m + 1m]",
                           "x[step() * 2:max_of(1m, range() / 100)] offset (5m - 2)",
                           "x offset -(1h % 7m)",
                           "x[(1 + 2) * 3 ^ 2]",
                           "x offset +step()",
                           "x[8d] offset 2w",
                           "5m + 1",
                           "a </ 3",
                           "h >/ a"}) {
    const ExprPtr tree = parsed(text);
    ASSERT_TRUE(tree) << text;
    EXPECT_EQ(to_text(*tree), text);
  }
}

TEST(Print, WritesAsPrometheusDoesWhateverWasWritten) {
  const std::vector<std::pair<const char*, const char*>> table{
      {"up{job='api',__name__!~\"x\"}", ""},
      {"x{b=\"2\",a=\"1\"}", "x{a=\"1\",b=\"2\"}"},
      {"{\"up\"}", "{__name__=\"up\"}"},
      {"{__name__=\"up\"}", "{__name__=\"up\"}"},
      {"SUM(x) BY (b,a)", "sum by (b, a) (x)"},
      {"sum by () (x)", "sum(x)"},
      {"sum(x) without (a)", "sum without (a) (x)"},
      {"1000000", "1e+06"},
      {"100000", "100000"},
      {"0.00001", "1e-05"},
      {"123456.75", "123456.75"},
      {"1234567", "1.234567e+06"},
      {"inf", "+Inf"},
      {"x[90s]", "x[1m30s]"},
      {"x[300]", "x[5m]"},
      {"x[14d]", "x[2w]"},
      {"x[365d]", "x[1y]"},
      {"x[(5m)]", "x[5m]"},
      {"x[5m*(2+1)]", "x[5m * (2 + 1)]"},
      {"x offset (1m+1m)", "x offset (1m + 1m)"},
      {"x offset 1m+1m", "x offset 1m + 1m"},
      {"x + on() 1", "x + 1"},
      {"a +on(b)group_left c", "a + on (b) group_left () c"},
      {"+x", "+x"},
      {"+5", "5"},
      {"-inf ^ a", "-Inf ^ a"},
      {R"("\a\b\f\v\x01\x7f\xff\u00e9\u200b\u00a0")", R"("\a\b\f\v\x01\x7f\xffé\u200b\u00a0")"},
      {"x @ end()[5m]", "x[5m] @ end()"},
      {"x @ 5", "x @ 5.000"},
      {"x[-(-5m)]", "x[5m]"}};
  for (const auto& [text, printed] : table) {
    if (*printed == '\0') {
      EXPECT_TRUE(parse(text).has_error()) << text;
    } else {
      EXPECT_EQ(to_text(*parsed(text)), printed) << text;
      EXPECT_EQ(to_text(*parsed(printed)), printed) << text;
    }
  }
}

TEST(Durations, AreCalculatedWhereNoQueryDecides) {
  EXPECT_EQ(parsed("x[5m + 1m]")->range, 6min);
  EXPECT_EQ(parsed("x[2 ^ 3 * 1m]")->range, 8min);
  EXPECT_EQ(parsed("x[2 ^ 3 ^ 0 * 1m]")->range, 2min) << "a power binds to the right";
  EXPECT_EQ(parsed("x[10m - 2m - 1m]")->range, 7min);
  EXPECT_EQ(parsed("x[1h % 25m]")->range, 10min);
  EXPECT_EQ(parsed("x[min_of(5m, 1h) + max_of(1, 2)]")->range, 302s);
  EXPECT_EQ(parsed("x offset -(1m * 2)")->offset(), -2min);
  EXPECT_EQ(parsed("x offset -1m")->offset(), -1min);
  EXPECT_EQ(parsed("x[1h:1m * 2]")->step(), 2min);
  EXPECT_EQ(parsed("x offset step()")->offset(), Duration{0}) << "an instant query has no step";
  EXPECT_EQ(parsed("x offset 1m + 1m")->kind, Kind::binary) << "without parentheses only the first duration is the offset's";
  EXPECT_EQ(parsed("x offset -2 ^ 2")->kind, Kind::binary);
  EXPECT_EQ(parsed("5m + 1")->args[0]->number, 300);
}

TEST(Durations, AreRefusedAsPrometheusDoes) {
  EXPECT_EQ(why_not("x[0]"), "column 3: duration must be greater than 0");
  EXPECT_EQ(why_not("x[-5m]"), "column 3: duration must be greater than 0");
  EXPECT_EQ(why_not("x[5m / 0]"), "column 6: division by zero");
  EXPECT_EQ(why_not("x[5m % 0s]"), "column 6: modulo by zero");
  EXPECT_THAT(why_not("x[y]"), HasSubstr("unexpected \"y\" in duration expression, expected number, duration, step(), or range()"));
  EXPECT_THAT(why_not("x[5m +]"), HasSubstr("unexpected \"]\""));
  EXPECT_THAT(why_not("x[max(1m, 2m)]"), HasSubstr("unexpected \"max\""));
  EXPECT_THAT(why_not("x[]"), HasSubstr("unexpected \"]\" in subquery or range selector"));
  EXPECT_THAT(why_not("x offset"), HasSubstr("unexpected end of input in offset"));
  EXPECT_THAT(why_not("x[1e300]"), HasSubstr("duration out of range"));
  EXPECT_THAT(why_not("x[" + std::string(200, '-') + "1]"), HasSubstr("nested too deeply"));
  std::string sum = "1";
  for (int i = 0; i < 200; ++i) sum += "+1";
  EXPECT_THAT(why_not("x[" + sum + "]"), HasSubstr("nested too deeply"));
}

TEST(DurationText, IsPrometheusOwn) {
  EXPECT_EQ(duration_text(0s), "0s");
  EXPECT_EQ(duration_text(7 * 24h), "1w");
  EXPECT_EQ(duration_text(8 * 24h), "8d");
  EXPECT_EQ(duration_text(90min), "1h30m");
  EXPECT_EQ(duration_text(1500ms), "1s500ms");
}

}  // namespace
}  // namespace rollbackd::promql
