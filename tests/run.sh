#!/usr/bin/env bash
# Installs what is missing, builds with AddressSanitizer and UndefinedBehaviorSanitizer, and runs the unit tests and the scenario tests.
#   tests/run.sh [PRESET] [ctest arguments...]     PRESET: asan (default), dev, release, tsan
set -euo pipefail
cd "$(dirname "$0")/.."
preset=asan
case "${1:-}" in asan | dev | release | tsan) preset=$1; shift ;; esac
deploy/install-deps.sh
cmake --preset "$preset" > /dev/null
cmake --build "build/$preset"
ctest --preset "$preset" -j 2 "$@"
