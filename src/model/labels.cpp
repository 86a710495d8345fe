#include "model/labels.hpp"

#include <algorithm>

namespace rollbackd {

Labels::Labels(std::initializer_list<Pair> pairs) : Labels(std::vector<Pair>(pairs)) {}

Labels::Labels(std::vector<Pair> pairs) : pairs_(std::move(pairs)) {
  std::erase_if(pairs_, [](const Pair& p) { return p.second.empty(); });
  std::stable_sort(pairs_.begin(), pairs_.end(), [](const Pair& a, const Pair& b) { return a.first < b.first; });
  pairs_.erase(std::unique(pairs_.begin(), pairs_.end(), [](const Pair& a, const Pair& b) { return a.first == b.first; }), pairs_.end());
}

std::string_view Labels::get(std::string_view name) const {
  for (const auto& [n, value] : pairs_)
    if (n == name) return value;
  return {};
}

void Labels::set(std::string_view name, std::string_view value) {
  const auto at = std::lower_bound(pairs_.begin(), pairs_.end(), name, [](const Pair& p, std::string_view n) { return p.first < n; });
  const bool found = at != pairs_.end() && at->first == name;
  if (value.empty()) {
    if (found) pairs_.erase(at);
  } else if (found) {
    at->second = value;
  } else {
    pairs_.insert(at, Pair(name, value));
  }
}

std::size_t Labels::hash() const {
  std::size_t h = 14695981039346656037ULL;
  const auto add = [&h](std::string_view text) {
    for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    h = (h ^ 0xffU) * 1099511628211ULL;
  };
  for (const auto& [name, value] : pairs_) {
    add(name);
    add(value);
  }
  return h;
}

std::string Labels::to_string() const {
  std::string inside;
  for (const auto& [n, value] : pairs_) {
    if (n == kNameLabel) continue;
    if (!inside.empty()) inside += ", ";
    inside += n + "=\"";
    for (const char c : value) {
      if (c == '\n') {
        inside += "\\n";
        continue;
      }
      if (c == '"' || c == '\\') inside += '\\';
      inside += c;
    }
    inside += '"';
  }
  std::string metric(name());
  if (inside.empty() && !metric.empty()) return metric;
  return metric + "{" + inside + "}";
}

}  // namespace rollbackd
