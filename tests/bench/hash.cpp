// Reads a release in full as the daemon does, with its own code, and says how long that took.
//   bench_hash DIRECTORY THREADS [BYTES_PER_SECOND]    prints nanoseconds, the number of entries and the digest
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "drivers/manifest.hpp"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: bench_hash DIRECTORY THREADS [BYTES_PER_SECOND]\n", stderr);
    return 2;
  }
  rollbackd::drivers::ReadPace pace;
  pace.threads = std::atoi(argv[2]);
  if (argc > 3) pace.bytes_per_second = std::atoll(argv[3]);
  const auto begun = std::chrono::steady_clock::now();
  const auto manifest = rollbackd::drivers::hash_tree(argv[1], {}, pace);
  const auto took = std::chrono::steady_clock::now() - begun;
  if (manifest.has_error()) {
    std::fprintf(stderr, "%s\n", manifest.error().text().c_str());
    return 1;
  }
  std::printf("%lld %zu %s\n", static_cast<long long>(std::chrono::nanoseconds(took).count()), manifest.value().entries.size(),
              manifest.value().digest.c_str());
  return 0;
}
