// Directories opened part by part, for a process with more rights than those who own the way there.
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/error.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers {

/// Why what `facts` tells of cannot be trusted: it is neither root's nor this process's user's, or others may write it (a sticky directory
/// counts as closed). Empty when it can.
std::string distrust(const struct stat& facts);

/// Opens the directory `path`, each part of it in the one before, so that nothing that is put in the way meanwhile leads elsewhere. A link
/// on the way is followed only where nobody else can have put it there: it and the directory that it lies in are to be trusted.
/// Not openat2(RESOLVE_NO_SYMLINKS): RestrictSUIDSGID= of the actor's unit answers that with ENOSYS.
/// @param flags  of the directory itself: O_RDONLY or O_PATH
/// @return `refused` for a link that is not followed and for what is no directory
Result<io::Fd> open_by_parts(const std::string& path, int flags);

/// Opens the directory `path` for reading and for changes in it: by its parts where `guarded` (DriverContext::guarded), else as it is.
Result<io::Fd> open_directory(const std::string& path, bool guarded);

}  // namespace rollbackd::drivers
