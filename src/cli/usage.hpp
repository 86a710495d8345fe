// What a command line that cannot be taken is answered with: what is wrong, and the next step, as every other error of ours.
#pragma once

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace rollbackd::cli {

/// Ends a parse that threw: help, version and CLI::Success go to standard output and give 0; else `app`'s name, what is wrong with the line
/// (an unknown command or option with the nearest known one) and which help to read go to standard error and give 1.
int end_of_parse(const CLI::App& app, const CLI::ParseError& error);

}  // namespace rollbackd::cli
