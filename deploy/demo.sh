#!/usr/bin/env bash
# Installs what is missing, builds, and shows rollbackd saving a real service from bad releases.
#   --keep   leave it running afterwards and print the URLs
set -euo pipefail
cd "$(dirname "$0")/.."
deploy/install-deps.sh
build=build/release
if [ ! -f "$build/build.ninja" ]; then cmake --preset release > /dev/null; fi
cmake --build "$build" --target rollbackd rollbackctl > "$build/demo-build.log" 2>&1 || { tail -40 "$build/demo-build.log" >&2; exit 1; }
exec /usr/bin/python3 deploy/demo/demo.py --binaries "$PWD/$build/bin" "$@"
