// Points of wall time as people write them. Pure: the caller says what time it is.
#pragma once

#include <string_view>

#include "base/error.hpp"
#include "base/time.hpp"

namespace rollbackd {

/// A point of wall time from 1970 to 2200: RFC 3339 ("2026-11-20T13:04:05Z", with any offset, with a fraction), a day ("2026-11-20", its
/// beginning in UTC), or how long before `now` ("24h", "7d"; never before 1970).
/// @return `invalid_argument` naming the forms for anything else
Result<Instant> parse_when(std::string_view text, Instant now);

}  // namespace rollbackd
