// Flow: series created -> [which selectors read it] -> its list of readers, by which every later sample finds its rules.
#include "rules/selector_index.hpp"

#include <algorithm>
#include <span>

#include "rules/rule_set.hpp"

namespace rollbackd::rules {
namespace {

std::string key_of(std::string_view name, std::string_view label, std::string_view value) {
  std::string key(name);
  key += '\0';
  key += label;
  key += '\0';
  key += value;
  return key;
}

/// The equality that tells the most series apart. All series of a service share its labels, so those come last.
const series::Matcher* sharpest(std::span<const series::Matcher> matchers) {
  const series::Matcher* found = nullptr;
  for (const series::Matcher& m : matchers) {
    if (m.op() != series::Matcher::Op::equal || m.value().empty() || m.label() == kNameLabel) continue;
    const bool shared = m.label() == "service" || m.label() == "environment" || m.label() == "job";
    if (found == nullptr || !shared) found = &m;
  }
  return found;
}

bool matches(const promql::Expr& selector, const Labels& labels) {
  return std::all_of(selector.matchers.begin(), selector.matchers.end(), [&](const series::Matcher& m) { return m.matches(labels); });
}

}  // namespace

void SelectorIndex::add(series::Reader reader, const promql::Expr* selector) {
  const series::Matcher* m = sharpest(selector->matchers);
  const std::string_view name = metric_of(selector->matchers);
  uses_[m == nullptr ? key_of(name, "", "") : key_of(name, m->label(), m->value())].push_back({reader, selector});
}

std::vector<series::Reader> SelectorIndex::readers_of(const Labels& labels) const {
  std::vector<series::Reader> out;
  const auto look = [&](const std::string& key) {
    const auto at = uses_.find(key);
    if (at == uses_.end()) return;
    for (const Use& use : at->second)
      if (matches(*use.selector, labels)) out.push_back(use.reader);
  };
  for (const std::string_view name : {labels.name(), std::string_view()}) {
    look(key_of(name, "", ""));
    for (const auto& [label, value] : labels.pairs())
      if (label != kNameLabel) look(key_of(name, label, value));
    if (name.empty()) break;  // A series without a name: once is enough.
  }
  std::sort(out.begin(), out.end());
  out.shrink_to_fit();
  return out;
}

}  // namespace rollbackd::rules
