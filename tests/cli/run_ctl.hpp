// Runs rollbackctl inside the test program, as a command line would.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "cli/rollbackctl.hpp"

namespace rollbackd::cli {

/// How one command line ended, and what it said.
struct Ran {
  int code = 0;
  std::string out, err;
};

/// Runs one command line; without a terminal, so nothing is asked.
inline Ran ctl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "rollbackctl");
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Ran ran;
  ran.code = rollbackctl(static_cast<int>(arguments.size()), argv.data());
  std::fflush(stdout);
  ran.out = testing::internal::GetCapturedStdout();
  ran.err = testing::internal::GetCapturedStderr();
  return ran;
}

}  // namespace rollbackd::cli
