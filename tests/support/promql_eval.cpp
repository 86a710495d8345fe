// Our evaluator as a program, so that a test can ask it and a real Prometheus the same question over the same samples.
// Flow: tests/scenarios/promql_differential_test.py writes JSON lines to its input and reads one line for each question:
//   {"series": {LABEL: VALUE, ...}, "points": [[MILLISECONDS, "VALUE"], ...]}
//   {"query": TEXT, "at_ms": MILLISECONDS}
//     -> {"type": "vector|scalar|string", "result": [[{LABEL: VALUE, ...}, "VALUE"], ...]} or {"error": TEXT}
// Numbers are text in both directions, because JSON has no NaN and no infinities.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <limits>
#include <string>

#include "base/json.hpp"
#include "promql/evaluate.hpp"
#include "promql/parse.hpp"
#include "series/store.hpp"

namespace {

using namespace rollbackd;

/// Prometheus writes "+Inf"; from_chars knows the rest.
double number(std::string_view text) {
  if (text.starts_with("+")) text.remove_prefix(1);
  double value = std::nan("");
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string text_of(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char out[64];
  std::snprintf(out, sizeof out, "%.17g", value);
  return out;
}

void take_series(const Json& line, series::Store& store) {
  Labels labels;
  for (const auto& [name, value] : line["series"].members()) labels.set(name, value.string_or(""));
  for (const Json& point : line["points"].elements()) {
    const auto& pair = point.elements();
    if (pair.size() == 2) store.append(labels, {Instant::from_millis(pair[0].int_or(0)), number(pair[1].string_or(""))});
  }
}

Json element_of(const Labels& labels, double value) {
  Json names = Json::object();
  for (const auto& [name, text] : labels.pairs()) names.set(name, text);
  return Json::array().push(std::move(names)).push(text_of(value));
}

Json answer_to(const Json& line, const series::Store& store) {
  const auto failed = [](const Error& error) { return Json::object().set("error", error.text()); };
  const auto expr = promql::parse(line["query"].string_or(""));
  if (expr.has_error()) return failed(expr.error());
  promql::EvalOptions options;
  options.at = Instant::from_millis(line["at_ms"].int_or(0));
  const auto value = promql::evaluate(**expr, promql::StoreQuerier(store), options);
  if (value.has_error()) return failed(value.error());

  Json result = Json::array();
  const char* type = "vector";
  switch (value->type) {
    case promql::Value::Type::vector:
      for (const promql::Element& element : value->vector) result.push(element_of(element.labels, element.value));
      break;
    case promql::Value::Type::scalar:
      type = "scalar";
      result.push(element_of({}, value->scalar));
      break;
    case promql::Value::Type::string:
      type = "string";
      result.push(Json::array().push(Json::object()).push(value->string));
      break;
  }
  return Json::object().set("type", type).set("result", std::move(result));
}

}  // namespace

int main() {
  series::Store store(series::Limits{.series_max = 100'000, .points_per_series_max = 100'000, .retention = 24h});
  for (std::string text; std::getline(std::cin, text);) {
    const auto line = Json::parse(text);
    if (line.has_error()) {
      std::cerr << "promql_eval: " << line.error().text() << '\n';
      return 1;
    }
    if (line->has("series")) {
      take_series(*line, store);
    } else {
      std::cout << answer_to(*line, store).dump() << std::endl;
    }
  }
  return 0;
}
