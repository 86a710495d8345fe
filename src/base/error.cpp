#include "base/error.hpp"

#include <stdexcept>
#include <system_error>

namespace rollbackd {

const char* to_string(Errc code) {
  switch (code) {
    case Errc::none: return "none";
    case Errc::invalid_argument: return "invalid_argument";
    case Errc::invalid_config: return "invalid_config";
    case Errc::not_found: return "not_found";
    case Errc::timed_out: return "timed_out";
    case Errc::refused: return "refused";
    case Errc::outcome_unknown: return "outcome_unknown";
    case Errc::io: return "io";
    case Errc::corrupt: return "corrupt";
    case Errc::conflict: return "conflict";
    case Errc::unavailable: return "unavailable";
    case Errc::cancelled: return "cancelled";
    case Errc::too_large: return "too_large";
    case Errc::unsupported: return "unsupported";
    case Errc::unauthorized: return "unauthorized";
    case Errc::internal: return "internal";
  }
  return "internal";
}

Error Error::from_errno(std::string what, int errno_value) {
  return Error(Errc::io, std::move(what)).because(std::generic_category().message(errno_value));
}

std::string Error::text() const {
  std::string out = what;
  if (!why.empty()) out += (out.empty() ? "" : ": ") + why;
  if (!next_step.empty()) out += " (next: " + next_step + ")";
  return out;
}

void throw_exception_from_error(const Error& error, const boost::source_location& where) {
  throw std::logic_error(std::string(where.file_name()) + ":" + std::to_string(where.line()) + ": an unchecked error: " + error.text());
}

}  // namespace rollbackd
