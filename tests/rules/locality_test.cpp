#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rules/groups.hpp"

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
       })
    EXPECT_FALSE(local(text)) << text;
}

TEST(Locality, TheFirstConstructThatSpansIsNamed) {
  std::string why;

  EXPECT_FALSE(local("a / sum(b)", &why));

  EXPECT_EQ(why, "sum does not keep the labels service and environment");
}

}  // namespace
}  // namespace rollbackd::rules
