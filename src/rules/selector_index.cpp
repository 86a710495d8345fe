// Flow: series created -> [which selectors read it] -> its list of readers, by which every later sample finds its rules.
#include "rules/selector_index.hpp"

#include <algorithm>
#include <span>

#include "rules/rule_set.hpp"

namespace rollbackd::rules {
namespace {

/// FNV-1a. That two keys may be one costs nothing but a look: who is found is asked with all its matchers.
std::uint64_t key_of(std::string_view name, std::string_view label, std::string_view value) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::string_view part : {name, label, value}) {
    for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    hash = (hash ^ 0xff) * 0x100000001b3;
  }
  return hash;
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
  uses_.push_back({m == nullptr ? key_of(name, "", "") : key_of(name, m->label(), m->value()), reader, selector});
}

void SelectorIndex::ready() {
  uses_.shrink_to_fit();
  std::sort(uses_.begin(), uses_.end(), [](const Use& a, const Use& b) { return a.key < b.key; });
}

std::vector<series::Reader> SelectorIndex::readers_of(const Labels& labels) const {
  std::vector<series::Reader> out;
  const auto look = [&](std::uint64_t key) {
    auto at = std::lower_bound(uses_.begin(), uses_.end(), key, [](const Use& use, std::uint64_t k) { return use.key < k; });
    for (; at != uses_.end() && at->key == key; ++at)
      if (matches(*at->selector, labels)) out.push_back(at->reader);
  };
  for (const std::string_view name : {labels.name(), std::string_view()}) {
    look(key_of(name, "", ""));
    for (const auto& [label, value] : labels.pairs())
      if (label != kNameLabel) look(key_of(name, label, value));
    if (name.empty()) break;  // A series without a name: once is enough.
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  out.shrink_to_fit();
  return out;
}

}  // namespace rollbackd::rules
