// Label sets: what names a series, an alert and a metric. The metric's name is the label `__name__`, as in Prometheus.
#pragma once

#include <compare>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rollbackd {

inline constexpr std::string_view kNameLabel = "__name__";

/// A set of labels, sorted by name, each name once, no empty values (an empty value is the same as no label).
class Labels {
 public:
  using Pair = std::pair<std::string, std::string>;
  Labels() = default;
  Labels(std::initializer_list<Pair> pairs);
  explicit Labels(std::vector<Pair> pairs);

  /// The value of `name`, or "" when there is none.
  std::string_view get(std::string_view name) const;
  bool has(std::string_view name) const { return !get(name).empty(); }
  /// The metric's name.
  std::string_view name() const { return get(kNameLabel); }
  /// Sets (or with an empty `value` removes) one label.
  void set(std::string_view name, std::string_view value);
  void remove(std::string_view name) { set(name, ""); }

  const std::vector<Pair>& pairs() const { return pairs_; }
  bool empty() const { return pairs_.empty(); }
  std::size_t size() const { return pairs_.size(); }
  /// The same in every run: FNV-1a over names and values.
  std::size_t hash() const;
  /// Prometheus's form: `name{a="b", c="d"}`, values escaped.
  std::string to_string() const;
  auto operator<=>(const Labels&) const = default;

 private:
  std::vector<Pair> pairs_;
};

struct LabelsHash {
  std::size_t operator()(const Labels& labels) const { return labels.hash(); }
};

}  // namespace rollbackd
