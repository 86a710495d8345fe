#!/usr/bin/env bash
# Runs every fuzz target for so long, as many side by side as there are processors, and says which of them found something.
#   tests/fuzz/run.sh [SECONDS] [TARGET...]     SECONDS of each (default 600); TARGET without _fuzz: promql_parse, rules, ... (default all)
# Builds the preset fuzz (clang with ASan, UBSan and libFuzzer). The corpora are read and never written; what a run learns and finds goes
# to build/fuzz/found/TARGET: a finding is a file crash-*, leak-*, timeout-* or oom-* there, its report in log.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-600}
if [[ ! $seconds =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: tests/fuzz/run.sh [SECONDS] [TARGET...]" >&2
  exit 2
fi
shift $(($# > 0 ? 1 : 0))
cmake --preset fuzz > /dev/null
if [[ $# -gt 0 ]]; then
  targets=("$@")
  cmake --build build/fuzz --target "${targets[@]/%/_fuzz}"
else
  cmake --build build/fuzz --target fuzz_targets
  targets=()
  for source in tests/fuzz/*_fuzz.cpp; do
    source=${source##*/}
    targets+=("${source%_fuzz.cpp}")
  done
fi

one() {
  local target=$1 seconds=$2 found=build/fuzz/found/$1
  rm -rf "$found" && mkdir -p "$found/corpus"
  if build/fuzz/tests/fuzz/"$target"_fuzz -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/" "$found/corpus" "tests/fuzz/corpus/$target" > "$found/log.txt" 2>&1; then
    echo "$target: nothing found in $seconds s, $(awk '/number_of_executed_units/ {print $2}' "$found/log.txt") runs"
  else
    echo "$target: FOUND SOMETHING, see $found/log.txt"
    return 1
  fi
}
export -f one
printf '%s\0' "${targets[@]}" | xargs -0 -P "$(nproc)" -I TARGET bash -c 'one TARGET '"$seconds"
