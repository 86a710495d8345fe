#!/bin/sh
# The short cut with the programs that tests/run.sh made without sanitizers; ctest calls it in their trees.
[ -n "${ROLLBACKD_PLAIN_BINARIES:-}" ] || { echo "skipped: tests/run.sh makes programs without sanitizers and names them"; exit 77; }
exec "$(dirname "$0")/run.sh" --short --binaries "$ROLLBACKD_PLAIN_BINARIES"
