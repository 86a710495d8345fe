// JSON in which somebody asks for something. Implemented in json.cpp.
#pragma once

#include <string_view>

#include "base/json.hpp"

namespace rollbackd {

/// Reads like Json::parse, but a key that stands twice in one object is an error: sender and reader may each mean another of its values.
/// @return `corrupt` naming the key and the byte at which its object ends
Result<Json> parse_request_json(std::string_view text, int depth_max);

}  // namespace rollbackd
