// Templates: what they give, held against Go 1.19's text/template with Prometheus's functions, and the bounds that hostile ones meet.
#include "rules/template.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace rollbackd::rules {
namespace {

using testing::HasSubstr;

const Labels kLabels{{"__name__", "up"}, {"instance", "host.example.com:9100"}, {"job", "node"}, {"num", "12.5"}, {"dev", "/dev/sda1"}};
const Labels kExternal{{"cluster", "c1"}};

TemplateContext context(double value = 0) {
  TemplateContext out{kLabels, value, &kExternal, "https://prom.example.com:9090/path?x=1", Instant::from_seconds(1'700'000'000)};
  out.query = [](std::string_view expr, Instant) -> Result<std::vector<promql::Element>> {
    if (expr == "bad") return Error(Errc::invalid_argument, "query failed");
    return std::vector<promql::Element>{{Labels{{"instance", "b:1"}, {"__value__", "sv"}}, 1.5}, {Labels{{"instance", "a:2"}}, 20}};
  };
  out.name = "X";
  return out;
}
std::string expand(std::string_view text, double value = 0) { return expand_template(text, context(value)); }

struct Case {
  double value;
  std::string_view text, expected;
};
void expect_all(const std::vector<Case>& cases) {
  for (const Case& c : cases) EXPECT_EQ(expand(c.text, c.value), c.expected) << c.text;
}

TEST(Template, LabelsAndValuesAreFilledIn) {
  expect_all({
      {0.5, "{{ $labels.job }} on {{$labels.instance}}: {{ $value }}", "node on host.example.com:9100: 0.5"},
      {2, "{{ .Labels.job }} {{ .Value }} {{ $.Value }} {{ ($labels).job }} {{ index $labels \"job\" }}", "node 2 2 node node"},
      {0, "[{{ $labels.missing }}] [{{ (args 1).nope }}]", "[] [<no value>]"},
      {0, "{{ $externalLabels }} {{ .ExternalLabels.cluster }} {{ $externalURL }} {{ pathPrefix }}",
       "map[cluster:c1] c1 https://prom.example.com:9090/path?x=1 /path"},
      {1, "a {{- $value -}} b{{/* a comment */}}!{{- /* and one */ -}} \n c", "a1b!c"},
      {0, "no template at all: }} { {", "no template at all: }} { {"},
  });
}

TEST(Template, NumbersLookAsGoPrintsThem) {
  // Held against promtool 2.42.
  EXPECT_EQ(format_go(0), "0");
  EXPECT_EQ(format_go(123456), "123456");
  EXPECT_EQ(format_go(1234567), "1.234567e+06");
  EXPECT_EQ(format_go(1e20), "1e+20");
  EXPECT_EQ(format_go(0.0001), "0.0001");
  EXPECT_EQ(format_go(0.00001), "1e-05");
  EXPECT_EQ(format_go(-2.5), "-2.5");
  EXPECT_EQ(format_go(std::numeric_limits<double>::infinity()), "+Inf");
  EXPECT_EQ(format_go(-std::numeric_limits<double>::infinity()), "-Inf");
  EXPECT_EQ(format_go(std::numeric_limits<double>::quiet_NaN()), "NaN");
}

TEST(Template, PrintfKnowsGosVerbsFlagsAndComplaints) {
  expect_all({
      {1.005, R"({{ printf "%.2f" $value }} {{ $value | printf "%.1f of %%" }})", "1.00 1.0 of %"},
      {1234567, R"({{ printf "%d" $value }} {{ printf "%v %s %e %g" $value $value $value $value }})",
       "%!d(float64=1.234567e+06) 1.234567e+06 %!s(float64=1.234567e+06) 1.234567e+06 1.234567e+06"},
      {-3, R"({{ printf "%5.1f|%-8v|%08.3f|%+v|% d|%+d|%05d|%x|%X|%c|%U" $value $value $value $value 5 5 42 42 42 65 65 }})",
       " -3.0|-3      |-003.000|-3| 5|+5|00042|2a|2A|A|U+0041"},
      {0, R"({{ printf "%s|%6s|%-6s|%q|%x|%.3s|%t|%T|%T" "hi" "hi" "hi" "a\"b\n" "hi" "abcdef" true 1.5 $labels }})",
       R"(hi|    hi|hi    |"a\"b\n"|6869|abc|true|float64|map[string]string)"},
      {0, R"({{ printf "%d %d" 1 }}|{{ printf "%d" 1 2 "x" }}|{{ printf "100%" }}|{{ printf "%z" 1 }}|{{ printf "%d" nil }})",
       "1 %!d(MISSING)|1%!(EXTRA int=2, string=x)|100%!(NOVERB)|%!z(int=1)|%!d(<nil>)"},
      {0, R"({{ printf "%[2]d %[1]d" 1 2 }} {{ printf "%*d" 5 1 }} {{ printf "%[5]d" 1 }})", "2 1     1 %!d(BADINDEX)"},
      {0, R"({{ print 1 2 "a" 3 "b" "c" 4 5 }}|{{ println 1 "a" }}|)", "1 2a3bc4 5|1 a\n|"},
      {0, R"({{ 1e3 }} {{ 0x10 }} {{ 'a' }} {{ `raw` }} {{ 1_000 }} {{ 017 }} {{ -5 }} {{ .5 }} {{ 1e100 }})",
       "1000 16 97 raw 1000 15 -5 0.5 1e+100"},
  });
}

TEST(Template, PrometheusHumanizesTheSameWay) {
  expect_all({
      {1234567, "{{ $value | humanize }} {{ humanize1024 $value }} {{ humanizeDuration $value }}", "1.235M 1.177Mi 14d 6h 56m 7s"},
      {0.0012, "{{ humanize $value }} {{ humanizePercentage $value }} {{ humanizeDuration $value }}", "1.2m 0.12% 1.2ms"},
      {0, "{{ $value | humanizeDuration }} {{ humanizeDuration 59.5 }} {{ humanizeDuration -90061.0 }}", "0s 59.5s -1d 1h 1m 1s"},
      {1435065584.128, "{{ humanizeTimestamp $value }} {{ toTime $value }}",
       "2015-06-23 13:19:44.128 +0000 UTC 2015-06-23 13:19:44.128 +0000 UTC"},
      {1435065584.128, R"({{ (toTime $value).Format "Jan _2 2006 3:04PM Monday .000" }} {{ (toTime $value).Unix }})",
       "Jun 23 2015 1:19PM Tuesday .128 1435065584"},
      {0, "{{ toDuration 5400 }} {{ (toDuration 5400).Hours }} {{ now }}", "1h30m0s 1.5 1.7e+09"},
      {0, "{{ humanize $labels.num }} {{ humanize \"1e3\" }} {{ parseDuration \"1h30m\" }}", "12.5 1k 5400"},
      {std::numeric_limits<double>::quiet_NaN(), "{{ humanize $value }} {{ humanizeDuration $value }} {{ humanizeTimestamp $value }}",
       "NaN NaN NaN"},
  });
}

TEST(Template, TextsAreMatchedReplacedAndStripped) {
  expect_all({
      {0, R"({{ reReplaceAll "(.*):.*" "${1}x-$1x-$$-$9" $labels.instance }})", "host.example.comx--$-"},
      {0, R"({{ $labels.instance | reReplaceAll ":\\d+" "" }} {{ reReplaceAll "" "-" "abc" }} {{ reReplaceAll "a*" "x" "baaac" }})",
       "host.example.com -a-b-c- xbxcx"},
      {0, R"({{ match "^host" $labels.instance }} {{ title "don't foo-bar a_b" }} {{ toUpper "aé" }} {{ toLower "AÉ" }})",
       "true Don't Foo-Bar A_b AÉ aé"},
      {0,
       R"({{ stripPort $labels.instance }} {{ stripDomain $labels.instance }} {{ stripPort "[::1]:80" }} {{ stripDomain "1.2.3.4:80" }})",
       "host.example.com host:9100 ::1 1.2.3.4:80"},
      {0, R"({{ graphLink "up{a=\"b\"}" }} {{ tableLink "up" }} {{ urlQueryEscape "a b" }})",
       "/graph?g0.expr=up%7Ba%3D%22b%22%7D&g0.tab=0 /graph?g0.expr=up&g0.tab=1 a+b"},
      {0, R"({{ html "<a href='x'>" }} {{ js "it's <b>" }} {{ urlquery "a&b" }} {{ safeHtml "<b>" }})",
       R"(&lt;a href=&#39;x&#39;&gt; it\'s \u003Cb\u003E a%26b <b>)"},
  });
}

TEST(Template, BranchesLoopsAndVariablesAreGos) {
  expect_all({
      {0.5, "{{ if gt $value 1.0 }}a{{ else if eq $value 0.5 }}b{{ else }}c{{ end }}", "b"},
      {0, "{{ if and (ge $value 0.0) (lt $value 2.0) }}in{{ end }} {{ or 0 \"\" \"x\" }} {{ not 1 }} {{ and 1 0 (first $labels) }}",
       "in x false 0"},
      {0, "{{ range $i, $e := query \"up\" }}{{ if $i }}, {{ end }}{{ $e.Labels.instance }}={{ .Value }}{{ end }}", "b:1=1.5, a:2=20"},
      {0,
       "{{ range query \"x\" | sortByLabel \"instance\" }}{{ if eq .Value 20.0 }}{{ continue }}{{ end }}{{ . | value }}{{ break }}{{ end "
       "}}",
       "1.5"},
      {0, "{{ range $k, $v := $externalLabels }}{{ $k }}={{ $v }}{{ end }} {{ range 0 }}{{ else }}none{{ end }}", "cluster=c1 none"},
      {0, "{{ with query \"up\" }}{{ . | first | label \"instance\" }}{{ end }} {{ with $labels.missing }}a{{ else }}b{{ end }}", "b:1 b"},
      {0, "{{ $x := 5 }}{{ if true }}{{ $x = 8 }}{{ $y := 3 }}{{ $y }}{{ end }}{{ $x }} {{ range 3 }}{{ . }}{{ end }}", "38 012"},
      {3, "{{ define \"T\" }}[{{ . }}]{{ end }}{{ template \"T\" $value }}{{ block \"B\" 5 }}b{{ . }}{{ end }}", "[3]b5"},
      {0, "{{ args 1 \"x\" }} {{ len $labels }} {{ slice \"abcdef\" 1 3 }} {{ index \"abc\" 1 }}", "map[arg0:1 arg1:x] 5 bc 98"},
      {0, "{{ query \"up\" | first | strvalue }} {{ first (query \"up\") }} {{ \"{{ $value }}\" }}",
       "sv {map[__value__:sv instance:b:1] 1.5} {{ $value }}"},
  });
}

TEST(Template, AnErrorIsToldInPrometheussWords) {
  const std::string executing = "<error expanding template: error executing template __alert_X: template: __alert_X:1:";
  EXPECT_EQ(
      expand("{{ $labels.job | humanize }}"),
      executing +
          "129: executing \"__alert_X\" at <humanize>: error calling humanize: strconv.ParseFloat: parsing \"node\": invalid syntax>");
  EXPECT_EQ(expand("\n{{ $labels.a.b }}"),
            "<error expanding template: error executing template __alert_X: template: __alert_X:2:10: "
            "executing \"__alert_X\" at <$labels.a.b>: can't evaluate field b in type string>");
  EXPECT_EQ(expand("{{ if eq $value 0 }}x{{ end }}"),
            executing + "118: executing \"__alert_X\" at <eq $value 0>: error calling eq: incompatible types for comparison>");
  EXPECT_EQ(expand("{{ query \"bad\" }}"),
            executing + "115: executing \"__alert_X\" at <query \"bad\">: error calling query: query failed>");
  EXPECT_EQ(expand("{{ humanize 1 2 }}"),
            executing + "115: executing \"__alert_X\" at <humanize>: wrong number of args for humanize: want 1 got 2>");
  EXPECT_EQ(expand("{{ title .Value }}"),
            executing + "121: executing \"__alert_X\" at <.Value>: wrong type for value; expected string; got float64>");
  EXPECT_EQ(expand("{{ foo }}"),
            "<error expanding template: error parsing template __alert_X: template: __alert_X:1: function \"foo\" not defined>");
  EXPECT_THAT(expand_template("{{ query \"up\" }}", {kLabels, 0}), HasSubstr("there is nothing to ask here"));
}

TEST(Template, CheckRefusesWhatPromtoolRefusesAndNothingElse) {
  for (const char* good : {"{{ $labels.size | humanize1024 }} {{ \"}}\" }}", "{{ if $value }}x{{ else with 5 }}", "{{ .Foo.Bar }}",
                           "{{ $labels.job | first }}", "{{ humanize 1 2 3 }}", "{{ $nope = 5 }}", "{{ template \"none\" }}",
                           "{{$labels.instance}}{{`raw`}}", "{% if x %}{{ `y` }}{% endif %}", "{{ with 1 }}{{ else with 2 }}{{ end }}",
                           "}}", "{{/* c */}}", "{{ range $i, $e := 5 }}{{ break }}{{ end }}", "{{ $value|humanize|title }}"}) {
    const bool unclosed = std::string_view(good).find("else with 5") != std::string_view::npos;
    EXPECT_EQ(check_template(good).has_value(), !unclosed) << good;
  }
  for (const char* bad : {"{{ $nope }}",
                          "{{ humanise $value }}",
                          "{{ }}",
                          "{{ $value",
                          "{{ $value }",
                          "{{ labels.foo }}",
                          "{{ $labels.foo-bar }}",
                          "{{ $value + 5 }}",
                          "{{ $labels[\"x\"] }}",
                          "{{ if true }}",
                          "{{ end }}",
                          "{{ else }}",
                          "{{ break }}",
                          "{{ 5 | 6 }}",
                          "{{ $x, $y := 1 }}",
                          "{{ (1 }}",
                          "{{ 1) }}",
                          "{{ \"x }}",
                          "{{ 'ab' }}",
                          "{{ 08 }}",
                          "{{ 99999999999999999999 }}",
                          "{{/* x }}",
                          "{{ define \"T\" }}{{ $value }}{{ end }}",
                          "{{ if 1 }}{{ define \"T\" }}{{ end }}{{ end }}",
                          "{{ \"a\".b }}",
                          "{{ '",
                          "{{ | title }}",
                          "{{ $value. }}",
                          "{{ tmpl \"x\" . }}",
                          "{{ \xff }}"}) {
    EXPECT_EQ(check_template(bad).error().code, Errc::invalid_argument) << bad;
  }
}

TEST(Template, HostileTemplatesEndInAnError) {
  const auto fails = [](const std::string& text, const char* why) { EXPECT_THAT(expand(text), HasSubstr(why)) << text.substr(0, 80); };
  std::string parens, ifs;
  for (int i = 0; i < 1000; ++i) {
    parens += '(';
    ifs += "{{ if 1 }}";
  }
  fails("{{ " + parens + "1", "nested deeper than 100 levels");
  fails(ifs, "nested deeper than 100 levels");
  fails("{{ range 1000000000 }}{{ end }}", "more than 1000000 steps");
  fails("{{ range 1000 }}{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}{{ end }}", "more than 1000000 steps");
  fails("{{ range 1000 }}{{ printf \"%1000d\" 1 }}{{ end }}", "more than 262144 bytes");
  fails("{{ printf \"%1000000d\" 1 }}", "longer than 262144 bytes");
  fails("{{ $x := \"ab\" }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}", "longer than 262144 bytes");
  fails("{{ $x := printf \"%200000d\" 1 }}{{ range 100000 }}{{ if $x }}{{ end }}{{ end }}", "more than 1000000 steps");
  fails("{{ $x := 1 }}{{ range 1000 }}{{ $x = args $x $x }}{{ end }}{{ $x }}", "too many arguments in arguments");
  fails("{{ define \"T\" }}{{ template \"T\" . }}{{ end }}{{ template \"T\" }}", "exceeded maximum template depth");
  fails("{{ reReplaceAll \"(\" \"\" \"x\" }}", "error parsing regexp: missing closing )");
  EXPECT_EQ(check_template("{{ 1 }}" + std::string(2 << 20, ' ')).error().code, Errc::invalid_argument);
}

}  // namespace
}  // namespace rollbackd::rules
