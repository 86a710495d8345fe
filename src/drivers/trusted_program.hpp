// Opens a program that is going to run with our rights, and says no to one that somebody else could have put there.
#pragma once

#include <string>

#include "base/error.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers {

struct TrustedProgram {
  io::Fd file;          ///< O_PATH: what was looked at is what execveat(2) runs, whatever the name leads to by then
  bool script = false;  ///< begins with "#!": its interpreter opens it as /dev/fd/N, so the descriptor must outlive the exec
};

/// Walks `path` from the root, one name at a time and following links by itself. Every directory, every link and the program must belong to
/// root (or to us, where we are not root), and the directories and the program must not be writable by group or others. A sticky directory
/// (/tmp) may lie on the way to a directory: nobody can make one of root's there. Blocking.
/// @return `refused` with the part that is not to be trusted, `not_found`, `invalid_argument` for a relative path
Result<TrustedProgram> open_trusted_program(const std::string& path);

}  // namespace rollbackd::drivers
