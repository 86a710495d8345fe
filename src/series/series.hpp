// One series: its points, and who reads it. What `Store::commit` hands out and the judge's compiled rules look at directly.
#pragma once

#include <cstdint>
#include <vector>

#include "model/labels.hpp"
#include "series/ring.hpp"

namespace rollbackd::series {

struct Service;

/// One reader of a series, in the words of the store's watcher: for the judge a rule and the place of the selector in it.
struct Reader {
  std::uint32_t rule = 0, selector = 0;
  auto operator<=>(const Reader&) const = default;
};

struct Series {
  Labels labels;
  Ring points;
  std::vector<Reader> readers;  ///< the watcher's, found once at creation
  Duration keep{};              ///< how far back its points are kept; the store's retention unless the watcher says less
  bool counter = false;
  Service* service = nullptr;
  std::uint64_t delivery = 0;  ///< number of the whole delivery that last brought it, of sources whose missing series end
};

/// Where the window of `s` that is open at `from_exclusive` begins for a look at `to`: not before the epoch in force at `to`.
Instant window_begin(const Series& s, Instant from_exclusive, Instant to);
/// The service that `s` belongs to.
const ServiceKey& owner_of(const Series& s);

}  // namespace rollbackd::series
