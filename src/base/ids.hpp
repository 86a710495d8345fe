// Identifiers: UUIDv7 for operations and incidents, and the one rule for what a name may be.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/time.hpp"

namespace rollbackd {

/// A UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then randomness, so ids sort by time. Pure: the caller brings the random bytes.
std::string make_uuid_v7(Instant wall_time, const std::array<std::uint8_t, 10>& random);

/// A release id: `[A-Za-z0-9][A-Za-z0-9._+-]{0,127}` and no "..". Anything else is refused everywhere, before it can become a path.
bool is_release_id(std::string_view text);

/// A name of a service, environment, check or component: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
bool is_name(std::string_view text);

/// `is_release_id` as an error for people, `Errc::invalid_argument`.
Result<> check_release_id(std::string_view text);

}  // namespace rollbackd
