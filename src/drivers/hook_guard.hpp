// `rollbackd --hook-guard`: runs one hook, bounds it, and leaves nothing of it behind.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/time.hpp"

namespace rollbackd::drivers {

/// What a guard is told, as JSON on its standard input.
struct HookOrder {
  std::vector<std::string> command;
  std::map<std::string, std::string> environment;  ///< all of it
  Duration timeout = 10s;
  std::int64_t output_bytes_max = 64 << 10;
  std::string memory;  ///< path of a HookMemory; empty: nothing is remembered
  std::size_t place = 0;
  std::uint64_t sequence = 0;
  std::string operation;
  int number = 0, attempt = 1;

  Json to_json() const;
  static Result<HookOrder> from_json(const Json& json);
};

inline constexpr int kHookAnswerFd = 3;              ///< a file in memory; the guard writes its Outcome there, as JSON
inline constexpr Duration kHookTermToKill = 2s;      ///< between TERM and KILL
inline constexpr Duration kHookKillToGivingUp = 2s;  ///< a process in an uninterruptible sleep does not even die of KILL

/// Reads an order from standard input, carries it out, writes the outcome to `kHookAnswerFd` and to the memory. Its own session, subreaper
/// of everything that the hook starts; goes on when rollbackd ends. Blocking.
/// @return the process's exit code: 0 when an outcome was written
int run_hook_guard();

}  // namespace rollbackd::drivers
