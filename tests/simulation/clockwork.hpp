// Virtual time: what happens next, in order, and whose life it belongs to. What the daemon has under way dies with it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/time.hpp"

namespace rollbackd::simulation {

class Clockwork {
 public:
  using Deed = std::function<void()>;
  Duration now() const { return now_; }

  /// Happens in the world, whether or not a daemon runs.
  void in(Duration delay, Deed deed) { push(delay, 0, std::move(deed)); }
  /// Happens within the daemon that runs now: not at all when that has ended, and later while it is frozen.
  void in_daemon(Duration delay, Deed deed) { push(delay, life_, std::move(deed)); }

  void daemon_begins() { life_ = ++lives_; }
  void daemon_ends() {
    life_ = 0;
    frozen_until_ = Duration(0);
  }
  bool daemon_lives() const { return life_ != 0; }
  std::uint64_t life() const { return life_; }
  void freeze_daemon(Duration length) { frozen_until_ = std::max(frozen_until_, now_ + length); }
  Duration frozen_until() const { return frozen_until_; }

  /// Runs until `until` or `stop` says so. `before_daemon_event` is called first of each event of the daemon; false ends the daemon there.
  template <class Before, class Stop>
  void run(Duration until, const Before& before_daemon_event, const Stop& stop) {
    while (!queue_.empty() && queue_.front().at <= until && !stop()) {
      std::pop_heap(queue_.begin(), queue_.end());
      Entry entry = std::move(queue_.back());
      queue_.pop_back();
      now_ = std::max(now_, entry.at);
      if (entry.life != 0) {
        if (entry.life != life_) continue;
        if (now_ < frozen_until_) {
          woken_ = std::max(woken_, frozen_until_) + 1us;  // One after the other, as everything takes its time.
          entry.at = woken_;
          put(std::move(entry));
          continue;
        }
        if (!before_daemon_event()) continue;
      }
      entry.deed();
      ++events_;
    }
    if (!stop()) now_ = std::max(now_, until);
  }
  std::uint64_t events() const { return events_; }

 private:
  struct Entry {
    Duration at{};
    std::uint64_t order = 0, life = 0;
    Deed deed;
    bool operator<(const Entry& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  void push(Duration delay, std::uint64_t life, Deed deed) {
    put(Entry{now_ + std::max(delay, Duration(0)), ++order_, life, std::move(deed)});
  }
  void put(Entry entry) {
    queue_.push_back(std::move(entry));
    std::push_heap(queue_.begin(), queue_.end());
  }

  Duration now_{};
  std::uint64_t order_ = 0, life_ = 0, lives_ = 0, events_ = 0;
  Duration frozen_until_{}, woken_{};
  std::vector<Entry> queue_;  ///< a heap
};

}  // namespace rollbackd::simulation
