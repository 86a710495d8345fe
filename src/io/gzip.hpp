// gzip in pieces, so that nobody unpacks more at once than he asked for. zlib stays inside gzip.cpp.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/error.hpp"

namespace rollbackd::io {

/// Unpacks gzip data (of several members too, as RFC 1952 allows) piece by piece. How much comes out in all is for the caller to bound: a
/// megabyte may unpack to a gigabyte.
class Gunzip {
 public:
  /// @param packed  the whole data
  explicit Gunzip(std::string packed);
  ~Gunzip();
  Gunzip(const Gunzip&) = delete;
  Gunzip& operator=(const Gunzip&) = delete;

  /// The next piece, at most `bytes_max` (at least 1); empty at the end.
  /// @return `corrupt` for data that is damaged, cut off, or not gzip; every later call says the same
  Result<std::string> next(std::size_t bytes_max);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rollbackd::io
