// What happened in a run, as one number (equal runs have equal numbers) and, when asked for, as lines for people.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "base/time.hpp"

namespace rollbackd::simulation {

class Trace {
 public:
  explicit Trace(bool verbose = false) : verbose_(verbose) {}
  bool verbose() const { return verbose_; }
  /// One event: when, whose ("s1", "daemon"), what.
  void note(Duration at, std::string_view who, std::string_view what, std::string_view more = {}) {
    mix(static_cast<std::uint64_t>(at.count()));
    mix(who);
    mix(what);
    mix(more);
    if (!verbose_) return;
    std::printf(
        "%12.3f  %s\n", static_cast<double>(at.count()) / 1e9,
        std::string(who).append(std::max<std::size_t>(9, who.size() + 1) - who.size(), ' ').append(what).append(" ").append(more).c_str());
  }
  std::uint64_t hash() const { return hash_; }

 private:
  void mix(std::uint64_t n) { hash_ = (hash_ ^ n) * 0x100000001b3ULL + (hash_ >> 29); }
  void mix(std::string_view text) {
    for (const char c : text) mix(static_cast<std::uint64_t>(static_cast<unsigned char>(c)));
    mix(0x1fULL);
  }
  bool verbose_;
  std::uint64_t hash_ = 0xcbf29ce484222325ULL;
};

}  // namespace rollbackd::simulation
