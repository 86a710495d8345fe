// The command line of `rollbackctl`. Online commands use the API alone; `check` and `config show` read files and need no daemon.
#pragma once

namespace rollbackd::cli {

/// Runs one command. @return the exit code (DESIGN.md section 8)
int rollbackctl(int argc, char** argv);

}  // namespace rollbackd::cli
