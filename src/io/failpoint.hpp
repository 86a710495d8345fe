// Places at which a scenario test may kill the daemon. Compiled out unless ROLLBACKD_FAILPOINTS is defined; release builds never have them.
#pragma once

#ifdef ROLLBACKD_FAILPOINTS
#include <csignal>
#include <cstdlib>
#include <cstring>
#define ROLLBACKD_FAILPOINT(name)                                                                               \
  do {                                                                                                          \
    const char* wanted = std::getenv("ROLLBACKD_FAILPOINT"); /* NOLINT(concurrency-mt-unsafe): never written */ \
    if (wanted && std::strcmp(wanted, name) == 0) std::raise(SIGKILL);                                          \
  } while (false)
#else
#define ROLLBACKD_FAILPOINT(name) \
  do {                            \
  } while (false)
#endif
