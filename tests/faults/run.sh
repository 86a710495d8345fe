#!/usr/bin/env bash
# Breaks rollbackd in every way that README.md here lists, at counted points of a real rollback, and judges the world from outside.
#   tests/faults/run.sh [--short | --seconds N] [--binaries DIRECTORY] [NAME...]
# Builds the preset dev when no programs are named (by --binaries or ROLLBACKD_BINARIES). Exit code 1 when a promise was broken.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
case " $* " in *" --binaries "* | *" --binaries="* | *" --help "* | *" -h "*) ;; *)
  if [ -z "${ROLLBACKD_BINARIES:-}" ]; then
    cmake --preset dev -S "$root" > /dev/null
    cmake --build "$root/build/dev" --target rollbackd rollbackctl rollbackd_generated
    export ROLLBACKD_BINARIES="$root/build/dev/bin"
  fi ;;
esac
export PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$here/faults.py" "$@"
