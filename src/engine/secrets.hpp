// Takes secrets out of texts that people will paste into tickets. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/json.hpp"

namespace rollbackd::engine {

/// The text with the userinfo of URLs, the values of authorization headers and of parameters and settings that are named like a secret
/// (password, token, secret, api_key, ...) replaced by "***". What is left is meant for people; it cannot be used as the URL it was.
std::string masked_text(std::string_view text);
/// The same for every text in a JSON value. A member whose name is that of a secret loses its whole value.
Json masked(const Json& json);

}  // namespace rollbackd::engine
