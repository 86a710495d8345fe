// See disk.hpp. A write that was answered is durable; one that was not may be there, be torn, or be lost.
#include "tests/simulation/disk.hpp"

#include <utility>

namespace rollbackd::simulation {

void Disk::write(std::shared_ptr<const ServiceState> state, const ClockReading& clock, Done done) {
  Block block;
  block.content = state->to_json(clock);
  block.state = std::move(state);
  block.asked = clock_.now();
  pending_.push_back({std::move(block), std::move(done)});
  if (pending_.size() == 1) begin();
}

void Disk::write(const OperationRecord& record, const ClockReading& clock, Done done) {
  Block block;
  block.content = record.to_json(clock);
  block.record = record;
  pending_.push_back({std::move(block), std::move(done)});
  if (pending_.size() == 1) begin();
}

void Disk::begin() {
  clock_.in_daemon(random_.between(1ms, random_.chance(0.05) ? 2s : 20ms), [this] {
    Pending next = std::move(pending_.front());
    pending_.pop_front();
    bool ok = trusted_;
    if (ok && failing_ > 0) {
      --failing_;
      ok = trusted_ = false;
      // Nobody knows what a failed write left.
      if (random_.chance(0.5)) {
        commit(std::move(next.block));
      } else if (random_.chance(0.5)) {
        place_of(next.block).torn = true;
      }
    } else if (ok) {
      commit(std::move(next.block));
    }
    if (!pending_.empty()) begin();
    next.done(ok);
  });
}

Disk::Block& Disk::place_of(const Block& block) {
  if (block.record) return ring_[ring_next_];
  const bool first_is_older = slots_[0].torn || (!slots_[1].torn && slots_[0].sequence <= slots_[1].sequence);
  return first_is_older ? slots_[0] : slots_[1];
}

void Disk::commit(Block block) {
  Block& place = place_of(block);
  block.sequence = ++sequence_;
  if (block.record) ring_next_ = (ring_next_ + 1) % ring_.size();
  place = std::move(block);
  if (place.state) watcher_.state(service_, *place.state, place.asked);
  if (place.record) watcher_.record(service_, *place.record);
}

void Disk::cut() {
  if (!pending_.empty()) {
    const std::size_t fate = random_.below(3);
    if (fate == 0 && trusted_) commit(std::move(pending_.front().block));
    if (fate == 1 && trusted_) place_of(pending_.front().block).torn = true;
  }
  pending_.clear();
}

Disk::Read Disk::open(const ClockReading& clock) {
  trusted_ = true;
  failing_ = 0;
  Read read;
  const auto newest = [](const auto& blocks) -> const Block* {
    const Block* found = nullptr;
    for (const Block& block : blocks)
      if (!block.torn && block.sequence > 0 && (found == nullptr || block.sequence > found->sequence)) found = &block;
    return found;
  };
  // Through text and back: what a restart reads is what was written, not what was meant.
  const Block* slot = newest(slots_);
  if (slot != nullptr) {
    const auto json = Json::parse(slot->content.dump());
    auto state = json ? ServiceState::from_json(*json, clock) : Result<ServiceState>(json.error());
    read.readable = state.has_value();
    if (!state) read.note = state.error().text();
    if (state) read.state = std::move(*state);
  } else {
    // The very first write was torn and nothing was ever done: there is no state yet.
    const bool no_records = newest(ring_) == nullptr;
    const int torn = static_cast<int>(slots_[0].torn) + static_cast<int>(slots_[1].torn);
    read.readable = torn == 0 || (torn == 1 && no_records);
  }
  if (const Block* block = newest(ring_)) {
    const auto json = Json::parse(block->content.dump());
    auto record = json ? OperationRecord::from_json(*json, clock) : Result<OperationRecord>(json.error());
    read.readable = read.readable && record.has_value();
    if (!record) read.note = record.error().text();
    if (record) read.last = std::move(*record);
  }
  return read;
}

}  // namespace rollbackd::simulation
