// What a fuzz target holds true of any input: a broken property ends the program, which is what libFuzzer and ctest look for.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace rollbackd::fuzz {

inline void property(bool holds, std::string_view what, const std::string& seen = {}) {
  if (holds) return;
  std::fprintf(stderr, "broken: %.*s\n%s\n", static_cast<int>(what.size()), what.data(), seen.c_str());
  std::abort();
}

}  // namespace rollbackd::fuzz
