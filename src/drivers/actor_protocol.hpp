// What the daemon and the actor (`rollbackd --actor`) say to each other: data in both directions, nothing that is executed. Pure.
//
// SOCK_SEQPACKET, one JSON object a message, at most kMessageBytesMax. A request:
//   {"v": 1, "id": N, "do": VERB, "service": "shop", "environment": "prod", "component": "app", ...}
// Its answer, or, after a watch, each event:
//   {"v": 1, "id": N, "result": ...} · {"v": 1, "id": N, "event": ...} · {"v": 1, "id": N, "error": {"code", "what", "why", "next_step"}}
// Instants are CLOCK_BOOTTIME in nanoseconds: both processes run on the same machine in the same boot.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"
#include "io/clock.hpp"
#include "model/batch.hpp"
#include "model/decision.hpp"
#include "model/operation.hpp"
#include "model/process_event.hpp"

namespace rollbackd::drivers::actor {

inline constexpr int kVersion = 1;  ///< of the protocol; another one is refused, and both sides say so
inline constexpr std::size_t kMessageBytesMax = 64 << 10;

enum class Verb : int {
  hello = 1,  ///< the first request of a connection
  inspect = 2,
  run = 3,
  undo = 4,
  arm = 5,
  digest = 6,
  look = 7,
  mark_bad = 8,
  manager_attach = 9,
  manager_inspect = 10,
  manager_run = 11,
  manager_watch = 12,  ///< answered by events until `forget`
  hook_run = 13,
  forget = 14,  ///< ends the watch or the reading that the request `of` began; has no answer of its own
  read = 15,    ///< a release in full, at a pace
};
const char* to_string(Verb v);

/// The operation that a step belongs to, as far as the actor's own limits need to know it.
struct About {
  OperationKind kind = OperationKind::rollback;
  Trigger trigger = Trigger::automatic;
  Mode mode = Mode::standard;
  std::string from, to;  ///< release ids
  bool forced = false;   ///< a person passed over a guard
  std::int64_t fence = 0;
  bool operator==(const About&) const = default;
};

struct Request {
  std::uint64_t id = 0;  ///< of this connection; from 1
  Verb verb = Verb::hello;
  ServiceKey service;
  std::string component;
  std::string release, digest, reason;
  Step step;
  About about;
  Json facts;           ///< of a hook
  Duration deadline{};  ///< what is left of it
  std::uint64_t of = 0;
  bool quick = false;  ///< of a reading, like the two below
  int threads = 1;
  std::int64_t bytes_per_second = 0;

  /// @return `too_large` when it is no message
  Result<std::string> encode() const;
  /// @return `corrupt` naming the field, `unsupported` for another version or an unknown verb
  static Result<Request> decode(std::string_view message);
};

struct Answer {
  std::uint64_t id = 0;
  bool event = false;
  Json result;
  Error error;  ///< Errc::none: it succeeded

  /// Never over the bound: what is too long for it becomes the error `too_large`.
  std::string encode() const;
  static Result<Answer> decode(std::string_view message);
};

/// A message that could not be read may still name its id, so that whoever waits for it is told.
std::uint64_t id_of(std::string_view message);

/// Beyond the bound the names of the oldest releases (in the order of their names) are left out; the live one stays.
Json to_json(const World& world, const io::Clock& clock);
Result<World> world_from(const Json& json, const io::Clock& clock);
Json to_json(const World::Process& process, const io::Clock& clock);
Result<World::Process> process_from(const Json& json, const io::Clock& clock);
Json to_json(const ProcessEvent& event, const io::Clock& clock);
Result<ProcessEvent> event_from(const Json& json, const io::Clock& clock);
Json to_json(const TargetFacts& facts);
Result<TargetFacts> target_from(const Json& json);
/// An outcome that fits into a message: long texts among its facts ("output" of a hook) are cut.
Json to_json(const Outcome& outcome);

}  // namespace rollbackd::drivers::actor
