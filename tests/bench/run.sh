#!/usr/bin/env bash
# Measures what DESIGN.md, section 10, promises and prints one JSON object a line.
#   tests/bench/run.sh NAME [options]      NAME is a bench here: latency, rollback, idle, api, rules (each a NAME.py that takes --binaries)
# Builds the release preset where its programs are missing; installs nothing. Fails only when it could not measure.
# ROLLBACKD_BINARIES names another directory of the programs below.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
name=${1:-}
if [[ ! $name =~ ^[a-z_]+$ || $name == common || ! -f $here/$name.py ]]; then
  echo "usage: tests/bench/run.sh latency|rollback|idle|api|rules [options]" >&2
  exit 2
fi
shift
cd "$here/../.."
binaries=${ROLLBACKD_BINARIES:-build/release/bin}
programs=(rollbackd rollbackctl bench_floor bench_service bench_load bench_rules bench_hash)
for program in "${programs[@]}"; do
  if [[ ! -x $binaries/$program ]]; then
    if [[ -n ${ROLLBACKD_BINARIES:-} ]]; then
      echo "there is no $binaries/$program" >&2
      exit 1
    fi
    { cmake --preset release && cmake --build build/release --target "${programs[@]}"; } >&2
    break
  fi
done
exec /usr/bin/python3 "$here/$name.py" --binaries "$binaries" "$@"
