// What the actor asks itself before it does a step, whatever the daemon says.
#pragma once

#include <string>

#include "base/error.hpp"
#include "config/settings.hpp"
#include "drivers/actor_memory.hpp"
#include "drivers/actor_protocol.hpp"

namespace rollbackd::drivers::actor {

inline constexpr int kAutomaticBeyondBudget = 2;  ///< so that the daemon's own guard says no first, with its better words
inline constexpr int kPersonsMax = 120;           ///< operations by people, within
inline constexpr Duration kPersonsWithin = 1h;
inline constexpr int kStepsOfOneMax = 256;  ///< steps of one operation, repeated and undone ones too

/// Whether the operation may do anything more: its fencing token is no lower than any before, and it is within the limits of its trigger.
/// Pure. Steps of an operation that was counted already are not counted again.
Result<> may_operate(const config::ServiceSettings& service, const Memory& memory, const Request& request, const ClockReading& now);

/// Whether a switch may be done: the release is a directory of the component's own releases, the link would lead to exactly it, no note
/// beside it says that it is bad (a person may pass over that), the service may be acted on without a person, and
/// the kill switch is not there. Looks at the disk.
Result<> may_switch(const config::ServiceSettings& service, const config::ComponentSettings& component, const Request& request,
                    const std::string& kill_switch);

/// Whether `current` is a link of exactly this value. Looks at the disk.
bool stands_at(const config::ComponentSettings& component, const std::string& value);

/// Whether a switch may be taken back: this actor began that very switch (operation, component, from where to where), or the link leads
/// there already. Nothing else is asked: what was begun must be ended, whatever was marked or stopped meanwhile. Looks at the disk.
/// @param begun  Memory::has_moved() of move_of()
Result<> may_undo(const config::ComponentSettings& component, const Request& request, bool begun);

/// Whether a release may be removed from disk: the configuration says that old ones are (keep_releases), more than that are there, and it
/// is not the live one. Looks at the disk.
Result<> may_remove(const config::ServiceSettings& service, const config::ComponentSettings& component, const Request& request);

/// What names a step for good: the same token again is the same step.
std::string token_of(const Request& request);
/// Names what a switch moves from where to where; its undo has the same one.
std::string move_of(const Request& request);
/// Digest of what the step does.
std::string content_of(const Request& request);

}  // namespace rollbackd::drivers::actor
