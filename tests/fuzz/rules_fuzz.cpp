// A rule file, by the first byte's low bits: JSON or YAML ('j', 'y'), of everybody or of one service ('h', '{').
#include <cstdint>

#include "property.hpp"
#include "rules/groups.hpp"
#include "rules/template.hpp"

using namespace rollbackd;

namespace {

void check_rule(const rules::Rule& rule) {
  fuzz::property(rule.expr != nullptr, "a rule without a problem has an expression", rule.expr_text);
  fuzz::property(!rule.alerting || !rule.name.empty(), "an alert has a name", rule.expr_text);
  fuzz::property(rule.pending_for >= Duration::zero() && rule.keep_firing_for >= Duration::zero(), "no duration is negative", rule.name);
  const Labels series{{"__name__", "up"}, {"instance", "a{{\"\\"}};
  for (const auto& [name, value] : rule.annotations.pairs()) rules::expand_template(value, {series, 1234.5678});
  for (const auto& [name, value] : rule.labels.pairs()) rules::expand_template(value, {series, -1e300});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 16 << 10) return 0;
  const std::string text(data + 1, data + size);
  const std::optional<ServiceKey> only = data[0] & 2 ? std::nullopt : std::optional(ServiceKey{"shop", "prod"});
  std::vector<config::Problem> problems;
  const rules::Groups groups = rules::parse_groups(text, data[0] & 1 ? "/r.yaml" : "/r.json", only, problems);

  for (const config::Problem& problem : problems) {
    fuzz::property(!problem.what.empty(), "a problem says what", problem.text());
    if (!problem.warning) return 0;
  }
  for (const rules::Group& group : groups)
    for (const rules::Rule& rule : group.rules) check_rule(rule);
  const Labels labels{{"instance", "a"}};
  rules::expand_template(text, {labels, 0.1});
  return 0;
}
