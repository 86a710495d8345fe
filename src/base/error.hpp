// What went wrong, for code to branch on and for people to read. Every fallible function of the project returns a Result.
#pragma once

#include <boost/system/result.hpp>
#include <string>
#include <utility>

namespace rollbackd {

/// What kind of failure this is. Callers branch on it; numbers reach the wire in the API's errors and are never reused.
enum class Errc : int {
  none = 0,
  invalid_argument = 1,  ///< the caller's value is wrong
  invalid_config = 2,    ///< a configuration or rule file is wrong
  not_found = 3,
  timed_out = 4,        ///< a deadline passed; nothing is known beyond that
  refused = 5,          ///< a guard, a policy or the platform said no
  outcome_unknown = 6,  ///< it may or may not have happened
  io = 7,               ///< the operating system reported an error
  corrupt = 8,          ///< data on disk or on the wire is damaged
  conflict = 9,         ///< somebody else changed what this depended on
  unavailable = 10,     ///< the other side cannot be reached
  cancelled = 11,
  too_large = 12,  ///< over a documented bound
  unsupported = 13,
  unauthorized = 14,
  internal = 15,  ///< a bug
};

/// The name of `code` as it stands in JSON and logs, e.g. "timed_out".
const char* to_string(Errc code);

/// An error says what happened, why, and what to do next.
struct Error {
  Errc code = Errc::none;
  std::string what;       ///< "cannot load rules/api.json"
  std::string why;        ///< "line 12: ..."; may be empty
  std::string next_step;  ///< "set it to 15s or more"; may be empty

  Error() = default;  // Needed by Result<T>::error().
  Error(Errc c, std::string w) : code(c), what(std::move(w)) {}
  /// The error of a failed system call: `what` failed because of `errno_value` (its text becomes `why`).
  static Error from_errno(std::string what, int errno_value);
  Error because(std::string text) && {
    why = std::move(text);
    return std::move(*this);
  }
  Error try_next(std::string text) && {
    next_step = std::move(text);
    return std::move(*this);
  }
  /// "what: why (next: next_step)", on one line.
  std::string text() const;
  bool operator==(const Error&) const = default;
};

template <class T = void>
using Result = boost::system::result<T, Error>;

/// Called by Result<T>::value() on an error: a bug in the caller, so it throws std::logic_error.
[[noreturn]] void throw_exception_from_error(const Error& error, const boost::source_location& where);

}  // namespace rollbackd
