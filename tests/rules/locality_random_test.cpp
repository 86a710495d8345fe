// Locality, held against itself: for drawn expressions that are proved local, the services' parts evaluated alone are together the whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "rules/groups.hpp"
#include "rules/template.hpp"

namespace rollbackd::rules {
namespace {

const Instant t0 = Instant::from_seconds(10'000);

/// Draws expressions of all constructs, those that span services among them: the proof has to tell them apart.
class Grammar {
 public:
  explicit Grammar(std::uint32_t seed) : random_(seed) {}
  std::string vector(int depth) {
    if (depth <= 0) return selector();
    switch (below(9)) {
      case 0: return selector();
      case 1:
        return one_of({"rate", "increase", "max_over_time", "count_over_time", "last_over_time", "deriv", "absent_over_time"}) + "(" +
               range(depth - 1) + ")";
      case 2: return aggregate(depth);
      case 3: return arithmetic(depth);
      case 4: return "(" + vector(depth - 1) + " " + one_of({"and", "or", "unless"}) + " " + match() + vector(depth - 1) + ")";
      case 5: return "(" + vector(depth - 1) + " " + one_of({">", "<", "== bool", "!=", "*", "+"}) + " " + scalar(depth - 1) + ")";
      case 6: return call(depth);
      case 7: return "-" + vector(depth - 1);
      default: return "(" + vector(depth - 1) + ")";
    }
  }

 private:
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }
  std::string one_of(const std::vector<std::string>& list) { return list[below(static_cast<std::uint32_t>(list.size()))]; }
  std::string at() { return one_of({"", "", "", " offset 1m", " @ 9900", " @ end()", " offset -30s"}); }
  std::string selector() {
    return one_of({"a", "b", "c"}) +
           one_of({"", "", "{pod=\"p1\"}", "{service=\"s1\"}", "{environment!=\"test\"}", "{pod=~\"p1|p2\",service=~\"s.*\"}"}) + at();
  }
  std::string range(int depth) {
    if (depth > 0 && below(4) == 0) return "(" + vector(depth - 1) + ")[2m:30s]" + at();
    return one_of({"a", "b", "c"}) + "[" + one_of({"1m", "3m"}) + "]" + at();
  }
  std::string labels() {
    return one_of({"service, environment", "environment, service, pod", "service, environment", "service", "pod", ""});
  }
  std::string match() {
    return one_of(
        {"", "", "on (service, environment) ", "on (service, environment, pod) ", "ignoring (pod) ", "on (pod) ", "ignoring (service) "});
  }
  std::string arithmetic(int depth) {
    // Both sides are made one element a service, so that matching one to one seldom fails.
    const std::string left = "max by (service, environment) (" + vector(depth - 1) + ")";
    const std::string right = "min by (service, environment) (" + vector(depth - 1) + ")";
    if (below(3) == 0)
      return "(" + vector(depth - 1) + " * on (service, environment) group_left (" + one_of({"", "pod"}) + ") " + right + ")";
    return "(" + left + " " + one_of({"+", "/", ">", "<= bool"}) + " " + one_of({"", "on (service, environment) ", "ignoring (pod) "}) +
           right + ")";
  }
  std::string aggregate(int depth) {
    const std::string grouping = (below(3) == 0 ? " without (" + one_of({"pod", "", "service", "job"}) : " by (" + labels()) + ") ";
    const std::string f = one_of({"sum", "max", "avg", "count", "group", "stddev", "topk", "bottomk", "quantile", "count_values"});
    const std::string parameter = f == "topk" || f == "bottomk" ? "2, "
                                  : f == "quantile"             ? "0.5, "
                                  : f == "count_values"         ? one_of({"\"v\", ", "\"v\", ", "\"service\", "})
                                                                : "";
    return f + grouping + "(" + parameter + vector(depth - 1) + ")";
  }
  std::string call(int depth) {
    const std::string inner = vector(depth - 1);
    switch (below(7)) {
      case 0: return "label_replace(" + inner + ", \"" + one_of({"dst", "pod", "service"}) + "\", \"x$1\", \"service\", \"(.*)\")";
      case 1: return "label_join(" + inner + ", \"" + one_of({"dst", "environment"}) + "\", \"-\", \"__name__\", \"service\")";
      case 2: return one_of({"abs", "sort", "sort_desc", "timestamp", "hour", "ceil"}) + "(" + inner + ")";
      case 3: return "clamp(" + inner + ", 1, " + scalar(depth - 1) + ")";
      case 4: return one_of({"absent", "sort"}) + "(" + inner + ")";
      case 5: return "vector(" + scalar(depth - 1) + ")";
      default: return "round(" + inner + ")";
    }
  }
  std::string scalar(int depth) {
    if (depth > 0 && below(6) == 0) return "scalar(" + vector(depth - 1) + ")";
    return one_of({"1", "5", "2.5", "time() / 4000", "pi()", "-1"});
  }

  std::mt19937 random_;
};

const std::vector<ServiceKey> kServices{{"s1", "prod"}, {"s1", "test"}, {"s2", "prod"}, {"s3", "test"}};

/// Random series of all services, with gaps, markers and counters that start anew.
void fill(series::Store& store, std::uint32_t seed) {
  std::mt19937 random(seed);
  for (const ServiceKey& service : kServices)
    for (const char* name : {"a", "b", "c"})
      for (const char* pod : {"p1", "p2", "p3"}) {
        if (random() % 4 == 0) continue;
        Labels labels{{"__name__", name}, {"service", service.name}, {"environment", service.environment}, {"pod", pod}};
        if (random() % 3 == 0) labels.set("job", "j");
        double value = 0;
        for (int i = -40; i <= 0; ++i) {
          if (random() % 8 == 0) continue;
          value = random() % 12 == 0 ? 0 : value + static_cast<double>(random() % 4);
          store.append(labels, {t0 + i * 7s, random() % 40 == 0 ? series::stale_nan() : value});
        }
      }
}

std::vector<std::string> result(const promql::Expr& expr, const series::Store& store, const ServiceKey* scope, bool& failed) {
  promql::EvalOptions options;
  options.at = t0;
  const auto value = promql::evaluate(expr, promql::StoreQuerier(store, scope), options);
  failed = failed || !value;
  std::vector<std::string> out;
  if (value)
    for (const promql::Element& e : value->vector) out.push_back(e.labels.to_string() + " " + format_go(e.value));
  return out;
}

TEST(LocalityRandom, ThePartsOfWhatIsProvedLocalAreTheWhole) {
  int proved = 0, refused = 0, compared = 0, with_elements = 0;
  for (std::uint32_t seed = 0; seed < 12; ++seed) {
    series::Store store;
    fill(store, seed);
    Grammar grammar(seed * 7919 + 1);
    for (int i = 0; i < 300; ++i) {
      const std::string text = grammar.vector(3);
      const auto expr = promql::parse(text);
      ASSERT_TRUE(expr) << text << ": " << expr.error().text();
      if (!proves_local(**expr)) {
        ++refused;
        continue;
      }
      ++proved;
      bool whole_failed = false, part_failed = false;
      std::vector<std::string> whole = result(**expr, store, nullptr, whole_failed), parts;
      for (const ServiceKey& service : kServices) {
        const auto part = result(**expr, store, &service, part_failed);
        parts.insert(parts.end(), part.begin(), part.end());
      }
      ASSERT_EQ(whole_failed, part_failed) << text << ": an error of one is an error of the whole";
      if (whole_failed) continue;
      std::sort(whole.begin(), whole.end());
      std::sort(parts.begin(), parts.end());
      ASSERT_EQ(whole, parts) << text;
      ++compared;
      with_elements += !whole.empty();
    }
  }
  EXPECT_GT(proved, 500);
  EXPECT_GT(refused, 500);
  EXPECT_GT(with_elements, 300) << "of " << compared;
}

}  // namespace
}  // namespace rollbackd::rules
