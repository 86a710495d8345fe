#include "rules/locality.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rollbackd::rules {
namespace {

bool local(std::string_view text, std::string* why = nullptr) {
  const auto expr = promql::parse(text);
  EXPECT_TRUE(expr) << text << ": " << expr.error().text();
  return expr && proves_local(**expr, why);
}

TEST(Locality, ExpressionsThatKeepTheServiceAreLocal) {
  for (const char* text : {
           "up == 0",
           "increase(errors_total[1m]) > 0",
           "sum by (service, environment) (rate(errors_total[1m])) > 5",
           "sum by (environment, instance, service) (x)",
           "sum without (instance) (x)",
           "topk by (service, environment) (3, x)",
           "a / b > 0.5",
           "a and on (service, environment) b",
           "a / on (environment, service, job) group_left (version) b",
           "a - ignoring (code) b",
           "a or b unless c",
           "label_replace(x, \"dst\", \"$1\", \"service\", \"(.*)\")",
           "histogram_quantile(0.9, sum without (instance) (rate(h_bucket[5m])))",
           "max_over_time(sum without (pod) (x)[5m:1m])",
           "time() - timestamp(x) > 60",
           "-x offset 5m",
           "count_values without (pod) (\"version\", x)",
           "quantile by (environment, service) (0.9, x)",
           "sum without () (x)",
           "a * on (service, environment) group_left (version) b",
           "a * ignoring (code) group_right (service) b",
           "a unless on (environment, service, job) b or c",
           "x{service=\"other\"} > 5",
           "x{environment!=\"test\"} > 5",
           "label_join(x, \"dst\", \"-\", \"service\", \"__name__\")",
           "label_replace(x, \"dst\", \"$1\", \"__name__\", \"(.*)\")",
           "sort_desc(x)",
           "x > time() - 5 * pi()",
           "x > (1 < bool 2)",
           "x @ start() - x @ end() offset 5m",
           "hour(x) > 8",
           "clamp_max(rate(x[5m]), 3)",
       })
    EXPECT_TRUE(local(text)) << text;
}

TEST(Locality, ExpressionsThatMixServicesOrLoseThemAreNot) {
  for (const char* text : {
           "sum(x)",
           "sum by (service) (x)",
           "sum by (environment, instance) (x)",
           "sum without (service) (x)",
           "sum without (instance, environment) (x)",
           "topk(3, x)",
           "a and on (service) b",
           "a / on () group_left () b",
           "a - ignoring (environment) b",
           "absent(x)",
           "absent_over_time(x[5m])",
           "x > scalar(y)",
           "x or vector(0)",
           "x and hour() > 8",
           "label_replace(x, \"service\", \"$1\", \"job\", \"(.*)\")",
           "label_join(x, \"environment\", \"-\", \"a\", \"b\")",
           "count_values by (service, environment) (\"service\", x)",
           "rate(x[5m]) > on (service, environment) group_left () (sum by (service) (y))",
           "max_over_time(sum(x)[5m:1m])",
           "1 + 1",
           "time()",
           "1 < bool 2",
           "topk by (service) (3, x)",
           "topk by (service, environment) (scalar(y), x)",
           "sum by (service, environment) (sum without (service) (x))",
           "label_replace(x, (\"service\"), \"$1\", \"job\", \"(.*)\")",
           "count_values without (pod) ((\"environment\"), x)",
           "a unless on (service) b",
           "a or on () b",
           "absent(x{service=\"shop\", environment=\"prod\"})",
           "absent_over_time(x[5m:1m])",
           "minute() > 5",
       })
    EXPECT_FALSE(local(text)) << text;
}

TEST(Locality, TheFirstConstructThatSpansIsNamed) {
  std::string why;

  EXPECT_FALSE(local("a / sum(b)", &why));

  EXPECT_EQ(why, "sum does not keep the labels service and environment");
}

Groups groups_of(const std::string& yaml, const std::optional<ServiceKey>& only = {}) {
  std::vector<config::Problem> problems;
  return parse_groups(yaml, "rules.yml", only, problems);
}

TEST(Locality, ARuleRunsOnTheIntervalForItsGroupsSakeToo) {
  const auto why = [](const std::string& group, const std::string& rule, const std::optional<ServiceKey>& only = {}) {
    const Groups groups = groups_of("groups: [{name: g, " + group + " rules: [{alert: A, expr: x > 5" + rule + "}]}]", only);
    return why_on_interval(groups.at(0), groups.at(0).rules.at(0));
  };

  EXPECT_EQ(why("", ""), "");
  EXPECT_EQ(why("query_offset: 1m,", ""), "its group has a query_offset, so that its newest samples are not yet in sight");
  EXPECT_EQ(why("limit: 3,", ""), "its group has a limit, which counts over all services");
  EXPECT_EQ(why("limit: 3,", "", ServiceKey{"shop", "prod"}), "") << "there the service is all there is";
  EXPECT_EQ(why("", ", labels: {service: other}"), "its own labels say whose its results are");
  EXPECT_EQ(why("labels: {environment: test},", ""), "its own labels say whose its results are");
}

TEST(Locality, WhatCannotCarryTheLabelsBelongsToNobody) {
  const auto may = [](const std::string& expr, const std::string& labels = "{}") {
    const Groups groups = groups_of("groups: [{name: g, rules: [{alert: A, expr: '" + expr + "', labels: " + labels + "}]}]");
    return may_belong_to_a_service(groups.at(0), groups.at(0).rules.at(0));
  };

  for (const char* text : {"x", "sum by (service, environment) (x)", "topk(3, x)", "x > on () group_left () max(y)", "sum(x) or x",
                           "x and on () y", "label_replace(sum by (service) (x), \"environment\", \"prod\", \"\", \"\")",
                           "sum by (pod) (x) * on (pod) group_left (service, environment) y", "-x", "absent(x)"})
    EXPECT_TRUE(may(text)) << text;
  for (const char* text : {"sum(x)", "sum by (service) (x)", "sum without (environment) (x)", "vector(1)", "1", "time()", "hour() > 8",
                           "sum(x) unless y", "x + on (pod) y", "x + ignoring (service) y", "max_over_time(sum(x)[5m:1m])",
                           "sum by (pod) (x) * on (pod) group_left (service) y", "absent(sum(x))", "scalar(x) > bool 2"})
    EXPECT_FALSE(may(text)) << text;
  EXPECT_TRUE(may("sum(x)", "{service: shop, environment: prod}"));
  EXPECT_FALSE(may("sum(x)", "{service: shop}"));
}

}  // namespace
}  // namespace rollbackd::rules
