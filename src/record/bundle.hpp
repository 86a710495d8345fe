// Evidence bundles: what was seen when a decision was taken, kept with the history, because samples and log lines do not stay.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"
#include "io/sqlite.hpp"
#include "model/batch.hpp"

namespace rollbackd::record {

/// One bundle. Written again under its id it is the same row: the newer document stays.
struct BundleRow {
  std::string id;  ///< the operation's; the decision's where none was begun
  ServiceKey service;
  std::string incident, operation;  ///< may be empty
  Instant at;                       ///< wall clock
  std::string document;             ///< JSON text; at most kBundleBytesMax, a longer one is refused
};
inline constexpr std::size_t kBundleBytesMax = 256 << 10;
inline constexpr int kBundlesReadMax = 20;

/// Empty: any.
struct BundleFilter {
  std::string service, environment, operation, incident;
};

/// @return `too_large` beyond kBundleBytesMax
Result<> write_bundle(io::Database& database, const BundleRow& row);
/// Documents, newest first, at most kBundlesReadMax.
Result<std::vector<Json>> read_bundles(io::Database& database, const BundleFilter& filter);
/// Deletes the oldest beyond `rows_max`.
Result<> retain_bundles(io::Database& database, std::int64_t rows_max);
/// The table, for the history's schema.
const char* bundles_schema();

}  // namespace rollbackd::record
