// Which selectors match a series: asked once when the series is created, so it may build strings; but it must not try every selector.
#pragma once

#include <cstdint>
#include <vector>

#include "promql/parse.hpp"
#include "series/series.hpp"

namespace rollbackd::rules {

/// Selectors filed under the name and one further label that they require to be equal to something, as far as they do.
class SelectorIndex {
 public:
  /// @param selector  must outlive the index
  void add(series::Reader reader, const promql::Expr* selector);
  /// After the last one was added and before anything is asked.
  void ready();
  /// The readers whose selector matches `labels`, in order of rule and selector.
  std::vector<series::Reader> readers_of(const Labels& labels) const;

 private:
  struct Use {
    std::uint64_t key = 0;  ///< key_of(name, label, value); parts that are not required are empty
    series::Reader reader;
    const promql::Expr* selector = nullptr;
  };
  std::vector<Use> uses_;  ///< by key, once ready
};

}  // namespace rollbackd::rules
