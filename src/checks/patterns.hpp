// Finds which of a log's patterns match which lines, at the speed of one automaton over whole blocks. Pure.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace re2 {
class RE2;
}

namespace rollbackd::checks {

class Patterns {
 public:
  /// @param patterns  name -> RE2, searched in each line by itself
  static Result<Patterns> make(const std::map<std::string, std::string>& patterns);
  Patterns(Patterns&&) noexcept;
  Patterns& operator=(Patterns&&) noexcept;
  ~Patterns();

  /// Called with each line that has a match (without its newline) and the indexes of the patterns that match it.
  using OnLine = std::function<void(std::string_view line, const std::vector<int>& matching)>;
  /// Looks through whole lines, each ended by a newline (the last may lack its own).
  void scan(std::string_view lines, const OnLine& on_line) const;
  /// Looks at one line, without newline.
  void scan_line(std::string_view line, const OnLine& on_line) const;

  const std::vector<std::string>& names() const;
  /// Whether whole blocks are looked through at once; else each line by itself, about half as fast.
  bool by_blocks() const;

 private:
  struct Impl;
  explicit Patterns(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rollbackd::checks
