#!/usr/bin/python3
"""What rollbackd costs while nothing happens: memory and processor of a daemon over one healthy service with its http, log and process check."""
import argparse
import os
import subprocess
import sys
import time

from common import Bench, CannotMeasure, NotInTime, leave_nothing_behind, report

PEER = "Monit, no rules; measured once"


def kib(pid, file, key):
    with open("/proc/%d/%s" % (pid, file), encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith(key + ":"):
                return int(line.split()[1])
    raise CannotMeasure("/proc/%d/%s has no %s" % (pid, file, key))


def processor_seconds(pid):
    """User and system time of all its threads."""
    with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as file:
        words = file.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measure(binaries, seconds):
    def checks(service):
        return [{"name": "health", "type": "http", "url": service.url()},
                {"name": "app-log", "type": "log", "path": os.path.join(service.log_directory, "*.log"), "patterns": {"critical": "FATAL|panic"}}]
    with Bench(binaries, "idle", checks) as bench:
        pid = bench.fleet.daemon.pid
        time.sleep(5)  # What follows a start (hashing, arming, the verification) is not idling.
        before, begun = processor_seconds(pid), time.monotonic()
        time.sleep(seconds)
        share = 100 * (processor_seconds(pid) - before) / (time.monotonic() - begun)
        resident, proportional = kib(pid, "status", "VmRSS") / 1024, kib(pid, "smaps_rollup", "Pss") / 1024
        row = bench.fleet.status(bench.service)
        if row["release"] != "v0" or row["firing"] or row["blind"]:
            raise CannotMeasure("it did not idle: " + str(row))
    report("idle", "resident_memory", resident, "MiB", "<= 32 MiB", resident <= 32, PEER, 4)
    report("idle", "proportional_memory", proportional, "MiB", "none of its own: resident memory without other users' share", True)
    report("idle", "processor_share", share, "% of a core", "<= 0.2 %", share <= 0.2, PEER)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", required=True, help="directory of rollbackd and bench_service")
    parser.add_argument("--seconds", type=float, default=60, help="how long to look (default 60)")
    options = parser.parse_args()
    leave_nothing_behind()
    try:
        measure(os.path.abspath(options.binaries), options.seconds)
    except (CannotMeasure, NotInTime, AssertionError, OSError, KeyError, subprocess.SubprocessError) as error:
        print("idle: could not be measured: %s: %s" % (type(error).__name__, error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
