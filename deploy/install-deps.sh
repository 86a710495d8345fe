#!/usr/bin/env bash
# Installs what rollbackd needs to build, test and run the demo, on Debian 12 and Ubuntu 24.04. Idempotent; quiet when nothing is missing.
#   --build   only what building and running needs (default: everything the tests and the demo use too)
set -euo pipefail

. /etc/os-release
case "${ID}:${VERSION_ID}" in
  debian:12) boost=1.81 clang=14 ;;
  ubuntu:24.04) boost=1.83 clang=18 ;;
  *) echo "install-deps: ${PRETTY_NAME:-this system} is not one of Debian 12 and Ubuntu 24.04; trying Debian's package names" >&2; boost=1.81 clang=14 ;;
esac

build=(g++ cmake ninja-build pkg-config git ca-certificates
  "libboost${boost}-dev" "libboost-url${boost}-dev" prometheus-cpp-dev rapidjson-dev libyaml-dev libspdlog-dev libfmt-dev libcli11-dev
  libsqlite3-dev libre2-dev libssl-dev libsystemd-dev zlib1g-dev libgtest-dev libgmock-dev lld python3 dpkg-dev file)
test=(prometheus prometheus-alertmanager monitoring-plugins-basic systemd dbus lintian nginx-light strace libfaketime e2fsprogs sqlite3 curl libbenchmark-dev python3-yaml man-db iputils-ping clang clang-format clang-tidy "libclang-rt-${clang}-dev")
wanted=("${build[@]}")
[ "${1:-}" = "--build" ] || wanted+=("${test[@]}")

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "install-deps: these packages are missing: ${missing[*]}" >&2
  echo "install-deps: run it as root, or: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "install-deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Servers for tests are started by the tests, on ports of their own: none of Debian's own units may start here.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
log=$(mktemp)
run() { "$@" > "$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; exit 1; }; }
run apt-get -q update
run apt-get -q install -y --no-install-recommends "${missing[@]}"
rm -f "$log"
