// A judge with the two services shop/prod and cart/prod at hand, and what it says as short sentences.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rules/judge.hpp"
#include "rules/template.hpp"

namespace rollbackd::rules {

inline const ServiceKey kShop{"shop", "prod"};
inline const ServiceKey kCart{"cart", "prod"};
inline const Instant t0 = Instant::from_seconds(1000);

inline Groups read(const std::string& yaml, const std::optional<ServiceKey>& only = {}) {
  std::vector<config::Problem> problems;
  Groups groups = parse_groups(yaml, "rules.yml", only, problems);
  for (const config::Problem& p : problems) EXPECT_TRUE(p.warning) << p.text();
  return groups;
}

inline Groups alert(const std::string& expr, const std::string& more = "") {
  return read("groups: [{name: g, rules: [{alert: A, expr: '" + expr + "'" + (more.empty() ? "" : ", " + more) + "}]}]");
}

/// "A firing" for each alert change, "A breached" for each verdict change; with the service where it is not shop/prod.
inline std::vector<std::string> told(const Judgement& judgement) {
  std::vector<std::string> out;
  const auto of = [](const ServiceKey& key) { return key == kShop ? "" : " of " + key.text(); };
  for (const AlertChange& c : judgement.alerts) out.push_back(c.rule + " " + to_string(c.phase) + of(c.service));
  for (const VerdictChange& c : judgement.verdicts) out.push_back(c.rule + " " + to_string(c.verdict) + of(c.service));
  return out;
}

class JudgeTest : public testing::Test {
 protected:
  void watch(const ServiceKey& service, std::vector<std::string> metrics, Duration staleness = 10s, const std::string& check = "c") {
    judge_.set_service(service, {Source{service, check, std::move(metrics), staleness}}, t0);
  }
  static Sample sample(const std::string& metric, double value, const ServiceKey& service = kShop, bool counter = false) {
    return {Labels{{"__name__", metric}, {"service", service.name}, {"environment", service.environment}, {"check", "c"}}, value, counter};
  }
  Judgement push(Instant at, std::vector<Sample> samples, const ServiceKey& service = kShop, const std::string& check = "c") {
    Batch batch;
    batch.service = service;
    batch.check = check;
    batch.began = batch.at = at;
    batch.samples = std::move(samples);
    return judge_.on_batch(batch);
  }
  Judgement push(Instant at, double value) { return push(at, {sample("x", value)}); }
  /// Runs every due instant up to `until`, as the engine would. @return what was told, with the milliseconds since t0 in front
  std::vector<std::string> run_until(Instant until) {
    std::vector<std::string> out;
    for (int turns = 0; turns < 10'000; ++turns) {
      const auto due = judge_.next_due();
      if (!due || *due > until) return out;
      for (const std::string& what : told(judge_.on_due(*due)))
        out.push_back(std::to_string((*due - t0).count() / 1'000'000) + ": " + what);
    }
    ADD_FAILURE() << "next_due does not advance";
    return out;
  }
  /// What an expression gives at `at`, over all services: "labels value" for each element, or why not.
  std::vector<std::string> query(const std::string& expr, Instant at) {
    const auto parsed = promql::parse(expr);
    if (!parsed) return {parsed.error().text()};
    promql::EvalOptions options;
    options.at = at;
    const auto value = promql::evaluate(**parsed, *judge_.querier(), options);
    if (!value) return {value.error().text()};
    std::vector<std::string> out;
    for (const promql::Element& e : value->vector) out.push_back(e.labels.to_string() + " " + format_go(e.value));
    if (value->blind) out.push_back("blind: " + value->blind_reason);
    return out;
  }
  RuleStatus status(const ServiceKey& service = kShop) {
    const auto all = judge_.status(service);
    EXPECT_FALSE(all.empty());
    return all.empty() ? RuleStatus{} : all.back();
  }

  Judge judge_;
};

}  // namespace rollbackd::rules
