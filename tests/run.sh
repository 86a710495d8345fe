#!/usr/bin/env bash
# Installs what is missing, builds with AddressSanitizer and UndefinedBehaviorSanitizer, and runs the unit tests and the scenario tests.
# The Debian package that one of them installs holds programs of the preset dev without debug information, the quickest
# to build: a sanitizer's are too large for it.
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
  export ROLLBACKD_DEB ;;
esac
cmake --preset "$preset" > /dev/null
cmake --build "build/$preset"
ctest --preset "$preset" -j 2 "$@"
