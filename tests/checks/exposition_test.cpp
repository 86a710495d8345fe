#include "checks/exposition.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace rollbackd::checks {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string shown(const ExpositionSample& s) {
  std::string out = s.name();
  for (std::size_t i = 1; i < s.labels.size(); ++i) out += "|" + s.labels[i].first + "=" + s.labels[i].second;
  out += " " + (std::isnan(s.value) ? "nan" : std::isinf(s.value) ? (s.value > 0 ? "inf" : "-inf") : std::to_string(s.value));
  if (s.timestamp_ms) out += " @" + std::to_string(*s.timestamp_ms);
  return out;
}

/// What is read of `text`, in slices; the error last, in brackets.
std::vector<std::string> read(ExpositionFormat format, const std::string& text, std::size_t slice = 1 << 20, ExpositionLimits limits = {},
                              ExpositionParser::Wanted wanted = nullptr) {
  ExpositionParser parser(format, limits, std::move(wanted));
  std::vector<std::string> out;
  const auto step = [&](const Result<>& result) {
    for (const ExpositionSample& s : parser.take()) out.push_back(shown(s));
    if (result.has_error()) out.push_back("[" + result.error().what + "]");
    return result.has_value();
  };
  for (std::size_t at = 0; at < text.size(); at += slice) {
    if (!step(parser.feed(std::string_view(text).substr(at, slice)))) return out;
  }
  step(parser.finish());
  return out;
}

std::vector<std::string> text(const std::string& t) { return read(ExpositionFormat::text, t); }
std::vector<std::string> openmetrics(const std::string& t) { return read(ExpositionFormat::openmetrics, t); }
/// The one error of a single line.
std::string text_error(const std::string& t) {
  const auto out = text(t);
  return out.empty() ? "" : out.back();
}
std::string openmetrics_error(const std::string& t) {
  const auto out = openmetrics(t + "\n# EOF\n");
  return out.empty() ? "" : out.back();
}

// As client libraries write it.
const std::string kText = R"(# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\"",other="\d"} 1.458255915e9
metric_without_timestamp_and_labels 12.47
	something_weird {problem = "division by zero" , } +Inf -3982045
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320
#no comment
# HELP
nothing{} NaN
{"http.requests", "http.status"="200", zone="ü"} .5
a{}1
last -Inf)";

const std::string kOpenMetrics = R"(# TYPE acme_http_router_request_seconds summary
# UNIT acme_http_router_request_seconds seconds
# HELP acme_http_router_request_seconds Latency though all of ACME's HTTP request router.
acme_http_router_request_seconds_sum{path="/api/v1",method="GET"} 9036.32
acme_http_router_request_seconds_count{path="/api/v1",method="GET"} 807283.0
acme_http_router_request_seconds_created{path="/api/v1",method="GET"} 1605281325.0
# TYPE go_goroutines gauge
go_goroutines 69 1520879607.789
# TYPE foo histogram
foo_bucket{le="0.1"} 8 # {} 0.054
foo_bucket{le="1"} 11 # {trace_id="KOO5S4vxi0o"} 0.67
foo_bucket{le="+Inf"} 17 1520879607 # {trace_id="oHg5SJYRHA0"} 9.8 1520879607.789
foo_created 1.5
# TYPE build info
build_info{version="1.0"} 1
# TYPE state stateset
state{state="on"} 1
# TYPE size gaugehistogram
size_bucket{le="+Inf"} 2
# TYPE what unknown
what{a="x\ny\"\\"} nan
{"http.requests","http.status"="200"} 5
# EOF
)";

TEST(Exposition, ReadsTheTextFormat) {
  EXPECT_THAT(
      text(kText),
      ElementsAre("http_requests_total|method=post|code=200 1027.000000 @1395066363000",
                  "http_requests_total|method=post|code=400 3.000000 @1395066363000",
                  "msdos_file_access_time_seconds|path=C:\\DIR\\FILE.TXT|error=Cannot find file:\n\"FILE.TXT\"|other=\\d "
                  "1458255915.000000",
                  "metric_without_timestamp_and_labels 12.470000", "something_weird|problem=division by zero inf @-3982045",
                  "http_request_duration_seconds_bucket|le=0.05 24054.000000", "http_request_duration_seconds_bucket|le=+Inf 144320.000000",
                  "http_request_duration_seconds_sum 53423.000000", "http_request_duration_seconds_count 144320.000000", "nothing nan",
                  "http.requests|http.status=200|zone=ü 0.500000", "a 1.000000", "last -inf"));
}

TEST(Exposition, ReadsOpenMetricsWithSecondsAndLeavesExemplarsOut) {
  EXPECT_THAT(openmetrics(kOpenMetrics),
              ElementsAre("acme_http_router_request_seconds_sum|path=/api/v1|method=GET 9036.320000",
                          "acme_http_router_request_seconds_count|path=/api/v1|method=GET 807283.000000",
                          "acme_http_router_request_seconds_created|path=/api/v1|method=GET 1605281325.000000",
                          "go_goroutines 69.000000 @1520879607789", "foo_bucket|le=0.1 8.000000", "foo_bucket|le=1 11.000000",
                          "foo_bucket|le=+Inf 17.000000 @1520879607000", "foo_created 1.500000", "build_info|version=1.0 1.000000",
                          "state|state=on 1.000000", "size_bucket|le=+Inf 2.000000", "what|a=x\ny\"\\ nan",
                          "http.requests|http.status=200 5.000000"));
}

TEST(Exposition, IsTheSameInSlicesOfAnySize) {
  for (std::size_t slice = 1; slice < 80; ++slice) {
    EXPECT_EQ(read(ExpositionFormat::text, kText, slice), text(kText)) << slice;
    EXPECT_EQ(read(ExpositionFormat::openmetrics, kOpenMetrics, slice), openmetrics(kOpenMetrics)) << slice;
  }
}

TEST(Exposition, TheContentTypeDecidesTheFormat) {
  EXPECT_EQ(format_of("application/openmetrics-text; version=1.0.0; charset=utf-8"), ExpositionFormat::openmetrics);
  EXPECT_EQ(format_of(" Application/OpenMetrics-Text"), ExpositionFormat::openmetrics);
  EXPECT_EQ(format_of("text/plain; version=0.0.4; charset=utf-8"), ExpositionFormat::text);
  EXPECT_EQ(format_of(""), ExpositionFormat::text);
}

TEST(Exposition, AnErrorSaysLineAndColumnAndStays) {
  EXPECT_EQ(text_error("ok 1\na{b=\"c\" 1\n"), "[line 2, column 9: expected \",\" or \"}\", found \"1\"]");

  ExpositionParser parser(ExpositionFormat::text, {}, nullptr);
  const auto first = parser.feed("a 1\nb x\nc 1\n");
  EXPECT_EQ(first.error().code, Errc::corrupt);
  EXPECT_EQ(parser.feed("d 1\n").error().what, first.error().what);
  EXPECT_EQ(parser.finish().error().what, "line 2, column 3: \"x\" is not a value");
  EXPECT_THAT(parser.take(), IsEmpty()) << "nothing of a refused scrape";
}

TEST(Exposition, TheTextFormatIsRefusedWherePrometheusRefusesIt) {
  EXPECT_THAT(text_error("a"), HasSubstr("column 2: expected a value, found the end of the line"));
  EXPECT_THAT(text_error("a 1\r\n"), HasSubstr("column 4: expected the end of the line, found a carriage return"));
  EXPECT_THAT(text_error("a 1 \r\n"), HasSubstr("timestamp"));
  EXPECT_THAT(text_error("\r\n"), HasSubstr("carriage return"));
  EXPECT_THAT(text_error("a{b='c'} 1"), HasSubstr("in double quotes"));
  EXPECT_THAT(text_error("a{b=\"c} 1"), HasSubstr("column 5: this quoted text does not end"));
  EXPECT_THAT(text_error("a{b=\"c\\"), HasSubstr("does not end"));
  EXPECT_THAT(text_error("a{b=\"c\nd\"} 1"), HasSubstr("does not end"));
  EXPECT_THAT(text_error("a{b=\"c\"d=\"e\"} 1"), HasSubstr("expected \",\""));
  EXPECT_THAT(text_error("a{,} 1"), HasSubstr("a label's name"));
  EXPECT_THAT(text_error("a{0a=\"c\"} 1"), HasSubstr("a label's name"));
  EXPECT_THAT(text_error("a{b=\"1\",b=\"2\"} 1"), HasSubstr("column 9: the label \"b\" is given twice"));
  EXPECT_THAT(text_error("a{__name__=\"c\"} 1"), HasSubstr("given twice"));
  EXPECT_THAT(text_error("{b=\"c\"} 1"), HasSubstr("has no name"));
  EXPECT_THAT(text_error("a{\"b\"} 1"), HasSubstr("\"=\""));
  EXPECT_THAT(text_error("0a 1"), HasSubstr("a metric's name"));
  EXPECT_THAT(text_error("<html>"), HasSubstr("a metric's name, found \"<\""));
  EXPECT_THAT(text_error("a{b=\"\xff\"} 1"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(text_error("a{b=\"\xed\xa0\x80\"} 1"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(text_error("a{b=\"\xc0\x80\"} 1"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(text_error("# HELP a \xff"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(text_error("# TYPE a meter"), HasSubstr("\"meter\" is no type"));
  EXPECT_THAT(text_error("# TYPE a"), HasSubstr("is no type"));
  EXPECT_THAT(text_error("a 1 2 3"), HasSubstr("the end of the line"));
  EXPECT_THAT(text_error("a 1 2.5"), HasSubstr("a timestamp in milliseconds"));
  EXPECT_THAT(text_error("a 1 99999999999999999999"), HasSubstr("a timestamp"));
  EXPECT_THAT(text_error(std::string("a\0 1", 4)), HasSubstr("is not a value"));
  EXPECT_THAT(text("# TYPE a counter \n\n  \n"), IsEmpty());
}

TEST(Exposition, OpenMetricsIsRefusedWherePrometheusRefusesIt) {
  EXPECT_THAT(openmetrics("a 1\n").back(), HasSubstr("line 2, column 1: the data does not end with \"# EOF\""));
  EXPECT_THAT(openmetrics("").back(), HasSubstr("# EOF"));
  EXPECT_THAT(openmetrics("# EOF"), IsEmpty());
  EXPECT_THAT(openmetrics("# EOF\n\n").back(), HasSubstr("more after"));
  EXPECT_THAT(openmetrics("# EOF\na 1").back(), HasSubstr("more after"));
  EXPECT_THAT(openmetrics_error("a 1\n"), HasSubstr("line 2, column 1: expected a metric's name"));
  EXPECT_THAT(openmetrics_error("a 1\r"), HasSubstr("carriage return"));
  EXPECT_THAT(openmetrics_error("a  1"), HasSubstr("a value"));
  EXPECT_THAT(openmetrics_error(" a 1"), HasSubstr("a metric's name"));
  EXPECT_THAT(openmetrics_error("a{b=\"c\",} 1"), HasSubstr("a label's name"));
  EXPECT_THAT(openmetrics_error("a{b=\"c\", d=\"e\"} 1"), HasSubstr("a label's name"));
  EXPECT_THAT(openmetrics_error("# a comment"), HasSubstr("\" HELP \""));
  EXPECT_THAT(openmetrics_error("# TYPE a untyped"), HasSubstr("is no type"));
  EXPECT_THAT(openmetrics_error("# UNIT a_bytes seconds"), HasSubstr("is not the end"));
  EXPECT_THAT(openmetrics_error("# UNIT aseconds seconds"), HasSubstr("is not the end"));
  EXPECT_THAT(openmetrics_error("a 1 nan"), HasSubstr("timestamp cannot be meant"));
  EXPECT_THAT(openmetrics_error("a 1 1e300"), HasSubstr("timestamp cannot be meant"));
  EXPECT_THAT(openmetrics_error("a 1 2 3"), HasSubstr("the end of the line"));
  EXPECT_THAT(openmetrics_error("a 1 # {b=\"c\"}"), HasSubstr("a space and a value"));
  EXPECT_THAT(openmetrics_error("a 1 # {b=} 1"), HasSubstr("double quotes"));
  EXPECT_THAT(openmetrics_error("a 1 # {\"b\"} 1"), HasSubstr("\"=\""));
}

TEST(Exposition, NumbersAreGosWithoutHexadecimalOnes) {
  const auto is = [](const char* t, double v) { return parse_sample_value(t) == v; };
  EXPECT_TRUE(is("1", 1) && is("+1", 1) && is("-1.5e3", -1500) && is(".5", 0.5) && is("5.", 5) && is("1E2", 100));
  EXPECT_TRUE(is("+Inf", INFINITY) && is("inf", INFINITY) && is("-infinity", -INFINITY) && is("1e-400", 0));
  EXPECT_TRUE(std::isnan(*parse_sample_value("NaN")) && std::isnan(*parse_sample_value("nan")));
  for (const char* wrong :
       {"", "+", "-", "--1", "+-1", "-nan", "+nan", "nan(1)", "0x1p3", "0x10", "1_000", "1e400", "1,5", " 1", "1 ", "e5"})
    EXPECT_EQ(parse_sample_value(wrong), std::nullopt) << wrong;
}

TEST(Exposition, BeyondALimitTheWholeIsRefused) {
  ExpositionLimits limits{.samples_max = 2, .line_bytes_max = 100, .labels_max = 2, .label_bytes_max = 40};
  const auto read_all = [&](const std::string& t, std::size_t slice) { return read(ExpositionFormat::text, t, slice, limits).back(); };
  const std::string spaces(200, ' ');
  for (const std::size_t slice : {1UL, 9UL, 1000UL}) {
    EXPECT_THAT(read_all("a 1\nb 1\nc 1\n", slice), HasSubstr("line 3, column 1: more than 2 samples")) << slice;
    EXPECT_THAT(read_all("a 1\n" + spaces + "\n", slice), HasSubstr("line 2, column 101: the line is over 100 bytes")) << slice;
    EXPECT_THAT(read_all(spaces, slice), HasSubstr("over 100 bytes")) << slice;
    EXPECT_THAT(read_all("a{b=\"1\",c=\"2\",d=\"3\"} 1\n", slice), HasSubstr("more than 2 labels")) << slice;
    EXPECT_THAT(read_all("a{b=\"" + std::string(60, 'x') + "\"} 1\n", slice), HasSubstr("more than 40 bytes")) << slice;
  }
  ExpositionParser parser(ExpositionFormat::text, limits, nullptr);
  EXPECT_EQ(parser.feed("a 1\nb 1\nc 1\n").error().code, Errc::too_large);
}

TEST(Exposition, OnlyWantedNamesAreKeptAndCountAgainstTheLimit) {
  const ExpositionLimits limits{.samples_max = 2};
  int asked = 0;
  ExpositionParser parser(ExpositionFormat::text, limits, [&](const std::string& name) {
    ++asked;
    return name == "b";
  });

  ASSERT_TRUE(parser.feed("a{x=\"1\"} 1\na{x=\"2\"} 1\na{x=\"3\"} 1\nb 1\nb{x=\"2\"} 1\n").has_value());

  EXPECT_EQ(parser.take().size(), 2U);
  EXPECT_EQ(parser.seen(), 5U);
  EXPECT_EQ(asked, 2);
}

}  // namespace
}  // namespace rollbackd::checks
