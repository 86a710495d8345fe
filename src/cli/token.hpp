// `rollbackctl token`: who may change things over TCP.
#pragma once

#include <functional>
#include <string>

#include "cli/client.hpp"

namespace CLI {
class App;
}  // namespace CLI

namespace rollbackd::cli {

/// What the token commands need of rollbackctl. Called when a command runs, after all options were read.
struct TokenCommands {
  std::function<Result<Client>()> connect;
  std::function<bool()> json;             ///< --format json
  std::function<int(const Error&)> fail;  ///< says it and gives the exit code
};

/// Adds `token create|list|revoke` to the app. @param result  gets the exit code
void add_token_commands(CLI::App& app, TokenCommands commands, int& result);

}  // namespace rollbackd::cli
