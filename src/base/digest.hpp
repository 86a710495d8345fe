// Checksums: CRC32C for what we write, SHA-256 for what we trust.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace rollbackd {

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `data`, continued from `seed` (0 to begin).
std::uint32_t crc32c(std::string_view data, std::uint32_t seed = 0);

/// SHA-256 in pieces (OpenSSL).
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view data);
  /// Lower-case hex, 64 characters. Nothing may be added after.
  std::string hex();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// SHA-256 of `data` as lower-case hex.
std::string sha256_hex(std::string_view data);

}  // namespace rollbackd
