// Why a step did not succeed, in one line.
#pragma once

#include <string>

#include "model/operation.hpp"

namespace rollbackd::rollback {

inline std::string why(const Outcome& outcome) {
  return outcome.error.code == Errc::none ? to_string(outcome.status) : outcome.error.text();
}

}  // namespace rollbackd::rollback
