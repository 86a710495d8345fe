#include "rules/schedule.hpp"

#include <algorithm>

namespace rollbackd::rules {

Instant slot_at_or_after(Instant t) {
  const std::int64_t slot = kSlot.count();
  std::int64_t n = t.ns() / slot;
  if (n * slot < t.ns()) ++n;  // Division goes towards zero, so this holds before 1970 too.
  return Instant(n * slot);
}

Instant slot_after(Instant t, Instant now) { return slot_at_or_after(std::max(t, now + Duration{1})); }

std::optional<Instant> earlier(std::optional<Instant> a, std::optional<Instant> b) {
  if (!a) return b;
  return b && *b < *a ? b : a;
}

void Schedule::place(std::size_t at, Entry entry) {
  heap_[at] = entry;
  where_[entry.id] = static_cast<std::uint32_t>(at);
}

void Schedule::sift_up(std::size_t at) {
  const Entry entry = heap_[at];
  while (at > 0 && entry.due < heap_[(at - 1) / 2].due) {
    place(at, heap_[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  place(at, entry);
}

void Schedule::sift_down(std::size_t at) {
  const Entry entry = heap_[at];
  while (true) {
    std::size_t child = 2 * at + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1].due < heap_[child].due) ++child;
    if (!(heap_[child].due < entry.due)) break;
    place(at, heap_[child]);
    at = child;
  }
  place(at, entry);
}

void Schedule::remove(std::size_t at) {
  where_[heap_[at].id] = kNowhere;
  const Entry last = heap_.back();
  heap_.pop_back();
  if (at == heap_.size()) return;
  place(at, last);
  sift_up(at);
  sift_down(where_[last.id]);
}

void Schedule::set(Id id, std::optional<Instant> due) {
  if (id >= where_.size()) where_.resize(std::size_t{id} + 1, kNowhere);
  if (where_[id] == kNowhere) {
    if (!due) return;
    heap_.push_back({*due, id});
    sift_up(heap_.size() - 1);
    return;
  }
  const std::size_t at = where_[id];
  if (!due) {
    remove(at);
  } else if (heap_[at].due != *due) {
    heap_[at].due = *due;
    sift_up(at);
    sift_down(where_[id]);
  }
}

std::optional<Instant> Schedule::next() const {
  if (heap_.empty()) return std::nullopt;
  return heap_.front().due;
}

std::vector<Schedule::Id> Schedule::take_due(Instant now) {
  std::vector<Id> out;
  while (!heap_.empty() && heap_.front().due <= now) {
    out.push_back(heap_.front().id);
    remove(0);
  }
  return out;
}

}  // namespace rollbackd::rules
