// Which hooks were begun and how they ended, on disk, so that no crash makes a hook run twice.
//
// STATE/services/NAME.ENV/hooks.memory, 0600, zero-filled before it is used, so that a full disk takes a hook's word too: 64 places of two
// blocks of 4 KiB, "begun" and "ended". A block: magic (8 bytes), length (4), CRC32C of sequence and JSON (4), sequence (8), JSON. "begun"
// is on disk before the hook is; who runs it holds a lock on the place's bytes, so another can tell a hook that still runs from one whose
// end nobody knows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "io/process.hpp"
#include "model/operation.hpp"

namespace rollbackd::drivers {

/// All of it blocks: by a worker, or in the guard.
class HookMemory {
 public:
  static constexpr std::size_t kBlock = 4096, kPlace = 2 * kBlock, kPlaces = 64;

  /// What is known of a step of an operation.
  struct Known {
    enum class State { never, ended, running, lost } state = State::never;  ///< lost: begun, and whoever ran it is gone
    int attempt = 0;                                                        ///< the latest
    Outcome outcome;                                                        ///< when it has ended
    std::size_t place = 0;                                                  ///< where its next words go
    std::uint64_t sequence = 1;                                             ///< of these
  };

  /// Opens it, made when it is not there. @param make  false: only one that is there
  static Result<HookMemory> open(const std::string& path, bool make);
  Result<Known> look(const std::string& operation, int number) const;

  /// Takes the place's lock until this object ends. @return `conflict` when another holds it
  Result<> take(std::size_t place) const;
  Result<> begin(std::size_t place, std::uint64_t sequence, const std::string& operation, int number, int attempt) const;
  /// Output that does not fit is cut.
  Result<> end(std::size_t place, std::uint64_t sequence, Outcome outcome) const;

 private:
  Result<> write(std::size_t at, const char* magic, std::uint64_t sequence, const std::string& json) const;
  io::Fd fd_;
};

}  // namespace rollbackd::drivers
