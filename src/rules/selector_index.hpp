// Which selectors match a series: asked once when the series is created, so it may build strings; but it must not try every selector.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "promql/parse.hpp"
#include "series/series.hpp"

namespace rollbackd::rules {

/// Selectors filed under the name and one further label that they require to be equal to something, as far as they do.
class SelectorIndex {
 public:
  /// @param selector  must outlive the index
  void add(series::Reader reader, const promql::Expr* selector);
  /// The readers whose selector matches `labels`, in order of rule and selector.
  std::vector<series::Reader> readers_of(const Labels& labels) const;

 private:
  struct Use {
    series::Reader reader;
    const promql::Expr* selector = nullptr;
  };
  std::unordered_map<std::string, std::vector<Use>> uses_;  ///< by key_of(name, label, value); parts that are not required are empty
};

}  // namespace rollbackd::rules
