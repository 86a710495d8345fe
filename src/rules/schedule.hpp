// What falls due when: at most one instant for each of a dense range of ids, in slots of 100 ms.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/time.hpp"

namespace rollbackd::rules {

inline constexpr Duration kSlot = 100ms;

/// The first slot at or after `t`: never before its time.
Instant slot_at_or_after(Instant t);
/// The first slot that is both at or after `t` and later than `now`.
Instant slot_after(Instant t, Instant now);
/// The earlier of the two; nothing only when both are.
std::optional<Instant> earlier(std::optional<Instant> a, std::optional<Instant> b);

/// A binary heap that knows where each id stands, so that changing an instant costs O(log n) and allocates nothing once the id was seen.
class Schedule {
 public:
  using Id = std::uint32_t;
  /// Sets, moves or (with nothing) removes the instant of `id`.
  void set(Id id, std::optional<Instant> due);
  std::optional<Instant> next() const;
  /// The ids due at or before `now`, earliest first; they are removed.
  std::vector<Id> take_due(Instant now);

 private:
  struct Entry {
    Instant due;
    Id id = 0;
  };
  static constexpr std::uint32_t kNowhere = 0xffffffff;
  void place(std::size_t at, Entry entry);
  void sift_up(std::size_t at);
  void sift_down(std::size_t at);
  void remove(std::size_t at);

  std::vector<Entry> heap_;
  std::vector<std::uint32_t> where_;  ///< by id: its place in heap_, or kNowhere
};

}  // namespace rollbackd::rules
