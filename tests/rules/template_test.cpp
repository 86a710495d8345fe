#include "rules/template.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "rules/groups.hpp"

namespace rollbackd::rules {
namespace {

const Labels kLabels{{"__name__", "up"}, {"instance", "a:80"}, {"service", "shop"}};

std::string expand(std::string_view text, double value = 0) { return expand_template(text, {kLabels, value}); }

TEST(Template, LabelsAndValuesAreFilledIn) {
  EXPECT_EQ(expand("{{ $labels.service }} on {{$labels.instance}}: {{ $value }}", 0.5), "shop on a:80: 0.5");
  EXPECT_EQ(expand("{{ .Labels.service }} {{ .Value }}", 2), "shop 2");
  EXPECT_EQ(expand("[{{ $labels.missing }}]"), "[]");
  EXPECT_EQ(expand("{{ $labels }}"), "map[__name__:up instance:a:80 service:shop]");
  EXPECT_EQ(expand("a {{- $value -}} b{{/* a comment */}}!", 1), "a1b!");
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

TEST(Template, PrintfAndPipesFormatTheValue) {
  EXPECT_EQ(expand(R"({{ printf "%.2f" $value }})", 1.005), "1.00");
  EXPECT_EQ(expand(R"({{ $value | printf "%.1f of %%" }})", 12.34), "12.3 of %");
  EXPECT_EQ(expand(R"({{ printf "%s=%v" $labels.service $value | toUpper }})", 3), "SHOP=3");
  EXPECT_EQ(expand(R"({{ printf "%d" $value }})", 1234567), "%!d(float64=1.234567e+06)");
  EXPECT_EQ(expand(R"({{ printf "%v %v" $value }})", 1), "1 %!v(MISSING)");
  EXPECT_EQ(expand(R"({{ humanize (printf "%.0f" $value) }})", 12345), "12.35k");
}

TEST(Template, HumanizeUsesFourDigitsAndAPrefix) {
  EXPECT_EQ(expand("{{ $value | humanize }}", 1234567), "1.235M");
  EXPECT_EQ(expand("{{ humanize $value }}", 0.0012), "1.2m");
  EXPECT_EQ(expand("{{ humanize1024 $value }}", 1536), "1.5ki");
  EXPECT_EQ(expand("{{ $value | humanizePercentage }}", 0.1234567), "12.35%");
  EXPECT_EQ(expand("{{ $value | humanizeDuration }}", 0), "0s");
  EXPECT_EQ(expand("{{ $value | humanizeDuration }}", 0.25), "250ms");
  EXPECT_EQ(expand("{{ $value | humanizeDuration }}", 59.5), "59.5s");
  EXPECT_EQ(expand("{{ $value | humanizeDuration }}", 3661), "1h 1m 1s");
  EXPECT_EQ(expand("{{ $value | humanizeDuration }}", -90061), "-1d 1h 1m 1s");
}

TEST(Template, WhatCannotBeExpandedStandsAsWrittenBehindTheError) {
  EXPECT_EQ(expand("{{ $labels.service"), "<error expanding template: unclosed action> {{ $labels.service");
  EXPECT_THAT(expand("{{ query \"up\" }}"),
              testing::AllOf(testing::StartsWith("<error expanding template: "), testing::EndsWith("> {{ query \"up\" }}")));
  EXPECT_EQ(expand("{{ $labels.service | humanize }}"),
            "<error expanding template: humanize: \"shop\" is not a number> {{ $labels.service | humanize }}");
}

TEST(Template, CheckTellsWhatIsWrongFromWhatOnlyPrometheusKnows) {
  EXPECT_TRUE(check_template("{{ $labels.size | humanize1024 }} {{ \"}}\" }}"));
  EXPECT_EQ(check_template("{{ if $value }}x{{ end }}").error().code, Errc::unsupported);
  EXPECT_EQ(check_template("{{ $nope }}").error().code, Errc::invalid_argument);
  EXPECT_EQ(check_template("{{ humanise $value }}").error().code, Errc::invalid_argument);
  EXPECT_EQ(check_template("{{ }}").error().code, Errc::invalid_argument);
  EXPECT_EQ(check_template("{{ $value").error().code, Errc::invalid_argument);
  EXPECT_EQ(check_template("{{ ((((((((((((((((((((( $value").error().code, Errc::invalid_argument);
}

}  // namespace
}  // namespace rollbackd::rules
