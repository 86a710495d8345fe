// The compiled way and the general way side by side, for the tests that hold them equal.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rules/compiled.hpp"
#include "rules/selector_index.hpp"

namespace rollbackd::rules {

/// A store with expressions over it, each compiled as the judge does it, and each evaluated the general way beside it.
class Both : public series::Watcher {
 public:
  explicit Both(ServiceKey service, series::Limits limits = {}) : store(limits), service_(std::move(service)) { store.watch(this); }
  ~Both() override { store.watch(nullptr); }
  Both(const Both&) = delete;
  Both& operator=(const Both&) = delete;

  bool add(const std::string& text) {
    auto rule = std::make_unique<One>();
    rule->text = text;
    auto parsed = promql::parse(text);
    if (!parsed) return false;
    rule->expr = *parsed;
    rule->shape = shape_of(*rule->expr);
    if (!rule->shape) return false;
    rule->selectors = promql::selectors(*rule->expr);
    rule->compiled = std::make_unique<Compiled>(*rule->shape, rule->selectors);
    const auto id = static_cast<std::uint32_t>(rules_.size());
    for (std::uint32_t n = 0; n < rule->selectors.size(); ++n) index_.add({id, n}, rule->selectors[n]);
    index_.ready();
    rules_.push_back(std::move(rule));
    return true;
  }
  void created(series::Series& series) override {
    series.readers = index_.readers_of(series.labels);
    if (series::owner_of(series) != service_) return;
    for (const series::Reader& r : series.readers) rules_[r.rule]->compiled->add(r.selector, series);
  }
  void dropped(series::Series& series) override {
    for (const series::Reader& r : series.readers) rules_[r.rule]->compiled->remove(r.selector, series);
  }

  void compare(Instant now, const std::string& where) {
    for (const auto& rule : rules_) compare(*rule, now, where);
  }

  series::Store store;
  std::size_t known = 0, asked = 0, elements = 0;

 private:
  struct One {
    std::string text;
    promql::ExprPtr expr;
    std::optional<Shape> shape;
    std::vector<const promql::Expr*> selectors;
    std::unique_ptr<Compiled> compiled;
  };

  void compare(One& rule, Instant now, const std::string& where) {
    promql::EvalOptions options;
    options.at = now;
    const auto general = promql::evaluate(*rule.expr, promql::StoreQuerier(store, &service_), options);
    std::vector<promql::Element> found;
    const auto answer = rule.compiled->evaluate(store.service(service_), now, sums_, found);
    if (!answer.known) {
      ++asked;
      EXPECT_TRUE(!general || general->blind) << rule.text << " at " << where << ": the general evaluator knows";
      EXPECT_TRUE(found.empty());
      return;
    }
    ++known;
    ASSERT_TRUE(general) << rule.text << " at " << where << ": " << general.error().text();
    EXPECT_FALSE(general->blind) << rule.text << " at " << where;
    EXPECT_EQ(general->fed, answer.fed) << rule.text << " at " << where;
    ASSERT_EQ(general->vector.size(), found.size()) << rule.text << " at " << where << disputed(rule, general->vector, found);
    elements += found.size();
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(general->vector[i].labels, found[i].labels) << rule.text << " at " << where;
      const double wanted = general->vector[i].value, got = found[i].value;
      const bool same = wanted == got || (std::isnan(wanted) && std::isnan(got)) || std::abs(wanted - got) <= 1e-12 * std::abs(wanted);
      EXPECT_TRUE(same) << rule.text << " at " << where << ": " << wanted << " is " << got << ", off by " << wanted - got;
    }
  }
  static std::string disputed(const One&, const std::vector<promql::Element>& general, const std::vector<promql::Element>& found) {
    std::string out = "\ngeneral:";
    for (const promql::Element& e : general) out += " " + e.labels.to_string() + "=" + std::to_string(e.value);
    out += "\ncompiled:";
    for (const promql::Element& e : found) out += " " + e.labels.to_string() + "=" + std::to_string(e.value);
    return out;
  }

  ServiceKey service_;
  SelectorIndex index_;
  std::vector<std::unique_ptr<One>> rules_;
  Sums sums_;
};

}  // namespace rollbackd::rules
