#!/usr/bin/env bash
# Says which of git's C++ files clang-format would change; `--fix` changes them.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v clang-format > /dev/null; then
  echo "format-check: clang-format is missing, nothing was looked at; deploy/install-deps.sh installs it"
  exit 0
fi
mode=(--dry-run -Werror)
[ "${1:-}" != "--fix" ] || mode=(-i)
# Only what is there: a file that git knows may have been removed.
git ls-files -z '*.cpp' '*.hpp' | while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
  xargs -0 -n 32 clang-format "${mode[@]}"
