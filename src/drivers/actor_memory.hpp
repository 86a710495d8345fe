// What the actor must not forget when it is killed: first outcomes of steps, the highest fencing token, and when it switched. One file a
// service, two slots overwritten in turn, so it needs no disk block that it does not have already.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "io/process.hpp"
#include "model/operation.hpp"

namespace rollbackd::drivers::actor {

struct Memory {
  struct Done {
    std::string token;                 ///< operation, number and attempt of a step; "undo:" before that of an undo
    std::string what;                  ///< digest of the step: the same token with another content is refused
    std::optional<Outcome> outcome{};  ///< nothing: it was begun, and how it ended is not known
  };
  struct Switch {
    std::string operation;
    bool automatic = true;
    Stamp at;
    int steps = 0;                     ///< begun in all, undone and repeated ones too
    std::vector<std::string> moves{};  ///< digests of what its switches moved, each once
  };
  std::int64_t fence = 0;       ///< the highest that was ever seen
  std::deque<Done> steps;       ///< oldest first, at most kStepsMax
  std::deque<Switch> switches;  ///< one an operation, oldest first, at most kSwitchesMax; moves within kMovesMax of all of them

  static constexpr std::size_t kStepsMax = 24;
  static constexpr std::size_t kSwitchesMax = 160;
  static constexpr std::size_t kMovesMax = 256;

  const Done* find(const std::string& token) const;
  void begin(const std::string& token, const std::string& what);
  /// `unknown` and `timed_out` are not remembered: such a step may be repeated.
  void end(const std::string& token, const Outcome& outcome);
  /// Operations other than `operation` that switched within `length` before now. A bound of kSwitchesMax: more are as many.
  int switched(bool automatic, Duration length, const ClockReading& now, const std::string& operation) const;
  /// Counts a step of `operation`. `move` names what it moves from where to where; empty: it moves nothing.
  void note_switch(const std::string& operation, bool automatic, const ClockReading& now, const std::string& move = "");
  /// Steps that `operation` has begun.
  int steps_of(const std::string& operation) const;
  /// Whether a switch of `operation` with this `move` was ever begun.
  bool has_moved(const std::string& operation, const std::string& move) const;

  Json to_json() const;
  static Result<Memory> from_json(const Json& json);
};

/// The file. Not thread-safe: one writer at a time.
class MemoryFile {
 public:
  /// Opens `path`, or makes it (0600, preallocated). @return `corrupt` when neither slot can be read and it is not new
  static Result<MemoryFile> open(const std::string& path, Memory& memory);
  /// Writes the older slot and waits for the disk. Long texts of old outcomes are cut until it fits. After an error the other slot holds
  /// what was before. Blocking.
  Result<> write(const Memory& memory);

  static constexpr std::size_t kSlotBytes = 64 << 10;

 private:
  io::Fd file_;
  std::string path_;
  std::uint64_t sequence_ = 0;  ///< of the newest slot; it lies at (sequence % 2)
};

}  // namespace rollbackd::drivers::actor
