// A set of small dense numbers that is walked in order: which cells of a service are to run, and which are blind.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rollbackd::rules {

/// A bit for each number, and above it levels with a bit for each word below that is not zero: setting, clearing and finding the next
/// one look at one word a level (three of them reach 262,144), however many numbers there are. Allocates in `resize` alone.
class SlotSet {
 public:
  using Slot = std::uint32_t;
  static constexpr Slot kNone = 0xffffffff;

  /// Empties the set and makes room for numbers below `count`.
  void resize(std::size_t count) {
    levels_.clear();
    do {
      count = (count + 63) / 64;
      levels_.emplace_back(count, 0);
    } while (count > 1);
  }
  void insert(Slot slot) {
    for (Words& words : levels_) {
      std::uint64_t& word = words[slot / 64];
      const bool was_empty = word == 0;
      word |= bit(slot);
      if (!was_empty) return;
      slot /= 64;
    }
  }
  void erase(Slot slot) {
    for (Words& words : levels_) {
      std::uint64_t& word = words[slot / 64];
      word &= ~bit(slot);
      if (word != 0) return;
      slot /= 64;
    }
  }
  void set(Slot slot, bool present) { present ? insert(slot) : erase(slot); }
  bool contains(Slot slot) const { return (levels_.front()[slot / 64] & bit(slot)) != 0; }
  bool empty() const { return levels_.empty() || levels_.back().empty() || levels_.back().front() == 0; }

  /// The least member at or after `from`; kNone when there is none.
  Slot next(std::size_t from) const {
    std::size_t level = 0;
    while (level < levels_.size() && from / 64 < levels_[level].size()) {
      const std::uint64_t rest = levels_[level][from / 64] & (~std::uint64_t{0} << (from % 64));
      if (rest == 0) {  // Nothing more in this word: go on behind it, a level higher.
        from = from / 64 + 1;
        ++level;
        continue;
      }
      std::size_t found = from / 64 * 64 + static_cast<std::size_t>(std::countr_zero(rest));
      for (; level > 0; --level) found = found * 64 + static_cast<std::size_t>(std::countr_zero(levels_[level - 1][found]));
      return static_cast<Slot>(found);
    }
    return kNone;
  }

 private:
  using Words = std::vector<std::uint64_t>;
  static constexpr std::uint64_t bit(Slot slot) { return std::uint64_t{1} << (slot % 64); }
  std::vector<Words> levels_;  ///< the lowest first
};

}  // namespace rollbackd::rules
