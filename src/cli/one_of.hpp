// What an option takes that knows a few words only. A wrong one is told which there are; completion and the manual read them from the name
// of the option's type, "TEXT:{table,json}".
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/text.hpp"

namespace rollbackd::cli {

inline CLI::Validator one_of(std::vector<std::string> words) {
  const std::string named = "{" + join(words, ",") + "}";
  return {[words = std::move(words)](std::string& value) {
            if (std::find(words.begin(), words.end(), value) != words.end()) return std::string();
            return "there is no \"" + printable(cut(value, 64)) + "\"\n  next: write one of " + join(words, ", ");
          },
          named};
}

}  // namespace rollbackd::cli
