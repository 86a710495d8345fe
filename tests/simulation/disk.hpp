// The state files as a disk that can lose what it was not done with: A/B slots and a ring of records, like record/state_file.hpp.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "base/json.hpp"
#include "model/operation.hpp"
#include "model/release.hpp"
#include "tests/simulation/clockwork.hpp"
#include "tests/simulation/random.hpp"

namespace rollbackd::simulation {

/// What becomes durable, for who watches the disk.
struct DiskWatcher {
  /// @param asked  true time at which the write was asked for: its clocks were read then
  std::function<void(std::size_t service, const ServiceState& state, Duration asked)> state;
  std::function<void(std::size_t service, const OperationRecord& record)> record;
};

/// One service's state file.
class Disk {
 public:
  using Done = std::function<void(bool ok)>;
  Disk(std::size_t service, Clockwork& clock, std::uint64_t seed, DiskWatcher& watcher)
      : service_(service), clock_(clock), random_(seed, 900 + service), watcher_(watcher) {}

  /// Answers within the daemon's life, in the order of asking: one thread writes.
  void write(std::shared_ptr<const ServiceState> state, const ClockReading& clock, Done done);
  void write(const OperationRecord& record, const ClockReading& clock, Done done);
  void fail_next(int writes) { failing_ = writes; }
  /// The daemon or the machine ended: what was under way is there, torn or lost.
  void cut();

  struct Read {
    bool readable = true;
    std::string note;  ///< why not
    std::optional<ServiceState> state;
    std::optional<OperationRecord> last;
  };
  /// Opens it anew, as a starting daemon does.
  Read open(const ClockReading& clock);

 private:
  struct Block {
    std::uint64_t sequence = 0;
    bool torn = false;
    Json content;
    std::shared_ptr<const ServiceState> state;  ///< the same, for the watcher
    std::optional<OperationRecord> record;
    Duration asked{};
  };
  struct Pending {
    Block block;
    Done done;
  };
  void begin();
  void commit(Block block);
  Block& place_of(const Block& block);

  std::size_t service_;
  Clockwork& clock_;
  Random random_;
  DiskWatcher& watcher_;
  std::array<Block, 2> slots_;
  std::array<Block, 6> ring_;
  std::uint64_t sequence_ = 0;
  std::size_t ring_next_ = 0;
  std::deque<Pending> pending_;
  bool trusted_ = true;
  int failing_ = 0;
};

}  // namespace rollbackd::simulation
