// What is made from the command line's own definition when rollbackd is built: shell completion, and the parts of the manual that list
// commands and settings. So neither can forget a command.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"

namespace CLI {
class App;
}

namespace rollbackd::cli {

/// @param kind  "bash", "zsh" (completion), "commands" (mdoc list for rollbackctl(1)) or "settings" (mdoc list for rollbackd.json(5))
/// @return the text, or `invalid_argument` for another kind
Result<std::string> generate(const CLI::App& app, std::string_view kind);

}  // namespace rollbackd::cli
