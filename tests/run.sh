#!/usr/bin/env bash
# Installs what is missing, builds with AddressSanitizer and UndefinedBehaviorSanitizer, and runs the unit tests, the scenario tests and the
# short cut of the fault tests. Two of them need programs without sanitizers, which are made beside (preset dev without debug information,
# the quickest to build): the Debian package that one of them installs, and the programs that are broken at every system call.
#   tests/run.sh [PRESET] [ctest arguments...]     PRESET: asan (default), dev, release, tsan
set -euo pipefail
cd "$(dirname "$0")/.."
preset=asan
case "${1:-}" in asan | dev | release | tsan) preset=$1; shift ;; esac
deploy/install-deps.sh
case "$preset" in asan | tsan)
  cmake --preset dev -B build/programs -DCMAKE_CXX_FLAGS_DEBUG=-O0 > /dev/null
  cmake --build build/programs --target rollbackd rollbackctl rollbackd_generated
  cpack -G DEB --config build/programs/CPackConfig.cmake -B build/package > /dev/null
  ROLLBACKD_DEB=$(echo "$PWD"/build/package/rollbackd_*.deb)
  ROLLBACKD_PLAIN_BINARIES=$PWD/build/programs/bin
  export ROLLBACKD_DEB ROLLBACKD_PLAIN_BINARIES ;;
esac
cmake --preset "$preset" > /dev/null
cmake --build "build/$preset"
ctest --preset "$preset" -j 4 "$@"  # Most scenario tests wait for something: four keep two cores busy.
