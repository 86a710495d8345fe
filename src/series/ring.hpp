// The points of one series: oldest first, cheap to drop at the front and to append at the back, equal values in a row kept once.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "series/store.hpp"

namespace rollbackd::series {

/// A queue in one piece of memory that wraps around. It grows by a quarter, as a store has very many of them.
template <class T>
class Circle {
 public:
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return capacity_ * sizeof(T); }
  const T& operator[](std::size_t n) const { return data_[place(n)]; }
  const T& back() const { return (*this)[size_ - 1]; }
  void push_back(T value) {
    if (size_ == capacity_) grow();
    data_[place(size_)] = value;
    ++size_;
  }
  void pop_front() {
    head_ = head_ + 1 == capacity_ ? 0 : head_ + 1;
    --size_;
  }
  /// Keeps the first `n`.
  void truncate(std::size_t n) { size_ = static_cast<std::uint32_t>(n); }

 private:
  std::size_t place(std::size_t n) const {
    const std::size_t at = head_ + n;
    return at < capacity_ ? at : at - capacity_;
  }
  void grow() {
    const std::uint32_t more = capacity_ == 0 ? 1 : capacity_ + capacity_ / 4 + 2;
    auto data = std::make_unique<T[]>(more);
    for (std::size_t n = 0; n < size_; ++n) data[n] = (*this)[n];
    data_ = std::move(data);
    capacity_ = more;
    head_ = 0;
  }

  std::unique_ptr<T[]> data_;
  std::uint32_t capacity_ = 0, head_ = 0, size_ = 0;
};

/// Points in time order. Each has its own instant. A value that is the same as the one before, to the bit (so that staleness markers stay
/// and -0 is not 0), is not kept again: one bit of each point says whether it begins a new value, and counting those bits finds it.
/// A point costs 8.25 bytes, and 8 more where its value is new. The newest is kept beside them, since most look at nothing else.
class Ring {
 public:
  bool empty() const { return instants_.empty(); }
  std::size_t size() const { return instants_.size(); }
  Point front() const { return numbered(dropped_); }
  const Point& back() const { return newest_; }

  // Every point has a number that stays its own: those appended count on, those dropped at the front are skipped.
  std::uint64_t first_number() const { return dropped_; }
  std::uint64_t end_number() const { return dropped_ + instants_.size(); }
  Instant instant(std::uint64_t number) const { return instants_[static_cast<std::size_t>(number - dropped_)]; }
  double value(std::uint64_t number) const { return number + 1 == end_number() ? newest_.value : value_of_run(run_of(number)); }
  Point numbered(std::uint64_t number) const {
    if (number + 1 == end_number()) return newest_;
    return {instant(number), value_of_run(run_of(number))};
  }
  /// Of a point about to be read.
  void prefetch(std::uint64_t number) const {
    if (number < dropped_ || number >= end_number()) return;
    __builtin_prefetch(&instants_[static_cast<std::size_t>(number - dropped_)]);
    __builtin_prefetch(&word_of(number));
  }
  /// Grows when points change otherwise than by appending and by dropping the oldest: who kept something about them begins anew.
  std::uint32_t revision() const { return revision_; }

  /// `point` is newer than all.
  void push(Point point);
  void pop_front();
  void drop_before(Instant t) {
    while (!empty() && instants_[0] < t) pop_front();
  }
  /// Puts `point` at its place in time; an equal instant is left alone. Rare: late samples and epochs that began in the past.
  void insert(Point point);
  /// The same, but the value at an equal instant changes.
  void put(Point point);
  /// Adds `by` to the values of all points at or after `t`. Rare: late samples of counters.
  void raise_since(Instant t, double by);

  /// The newest point older than `t`, or nothing.
  std::optional<Point> last_before(Instant t) const;
  /// The number of the first point at or after `t`; `end_number` when there is none.
  std::uint64_t first_since(Instant t) const;
  /// Points in [`from`, `to`]: the first one's number and how many.
  std::pair<std::uint64_t, std::size_t> within(Instant from, Instant to) const;
  /// Writes `count` points from `number` on to `out`.
  void copy(std::uint64_t number, std::size_t count, Point* out) const;

  /// Goes from value to value without counting bits anew at each.
  class Cursor {
   public:
    Cursor(const Ring& ring, std::uint64_t number) : ring_(ring), number_(number), run_(ring.run_of(number)) {}
    double value() const { return ring_.value_of_run(run_); }
    void next() {
      ++number_;
      if (number_ < ring_.end_number() && ring_.begins_run(number_)) ++run_;
    }

   private:
    const Ring& ring_;
    std::uint64_t number_, run_;
  };

  /// What it has allocated.
  std::size_t bytes() const { return instants_.bytes() + words_.bytes() + values_.bytes(); }

 private:
  static constexpr unsigned kBits = 64;
  /// Of 64 points, by number: which of them begin a run, and the number of the first run that begins here or later.
  struct Word {
    std::uint64_t begins = 0;
    std::uint64_t run = 0;
  };
  static std::uint64_t bit(std::uint64_t number) { return std::uint64_t{1} << (number % kBits); }
  const Word& word_of(std::uint64_t number) const {
    const std::uint64_t n = number / kBits;
    return n == (end_number() - 1) / kBits ? open_ : words_[static_cast<std::size_t>(n - dropped_ / kBits)];
  }
  bool begins_run(std::uint64_t number) const { return (word_of(number).begins & bit(number)) != 0; }
  std::uint64_t run_of(std::uint64_t number) const {
    if (values_.size() == 1) return first_run_;
    const Word& w = word_of(number);
    return w.run + static_cast<std::uint64_t>(std::popcount(w.begins & (bit(number) | (bit(number) - 1)))) - 1;
  }
  double value_of_run(std::uint64_t run) const { return values_[static_cast<std::size_t>(run - first_run_)]; }
  /// Takes away the points from `number` on, and gives them.
  std::vector<Point> cut(std::uint64_t number);

  Point newest_;
  Word open_;                 ///< of the newest point
  Circle<Instant> instants_;  ///< of every point
  Circle<double> values_;     ///< of every run
  Circle<Word> words_;        ///< before `open_`
  std::uint64_t dropped_ = 0;
  std::uint64_t first_run_ = 0;  ///< number of the run that the oldest point is of
  std::uint32_t revision_ = 0;
};

}  // namespace rollbackd::series
