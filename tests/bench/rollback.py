#!/usr/bin/python3
"""What a rollback takes, from the decision to the switch and to the verified end, and what verifying the checksums of a release takes beside
sha256sum and cp -a in the same run."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

from common import Bench, CannotMeasure, NotInTime, leave_nothing_behind, quantile, report
from latency import POLICY, VERIFY, killed, rounds_of

PEER = "ln + mv, no intent; measured once"


def line(metric, value, unit, promise=None, peer="", peer_value=None, floor_value=None):
    words = "none of its own" if promise is None else "<= %g %s" % (promise, unit)
    report("rollback", metric, value, unit, words, promise is None or value <= promise, peer, peer_value, floor_value)


def operations(binaries, count):
    """Real rollbacks of a crashed release: see latency.py for how they are timed."""
    verify = [{"type": "service_status", "within": "10s"}, *VERIFY]
    with Bench(binaries, "rollback", None, identity=None, policy=POLICY, verify=verify) as bench:
        rounds = rounds_of(bench, count, "rollback", killed)
    for name, q in (("median", 0.5), ("p95", 0.95)):
        def of(value):
            return quantile([value(r) for r in rounds], q)
        line("switch_alone_" + name, of(lambda r: r.switch), "us", 300 if q == 0.5 else None, PEER, 3000, of(lambda r: r.floor_switch))
        line("decision_to_switched_" + name, of(lambda r: r.switched), "ms", 10 if q == 0.5 else None, PEER, 3, of(lambda r: r.floor_switched))
        line("decision_to_verified_beside_start_and_window_" + name, of(lambda r: r.verified), "ms", 250 if q == 0.5 else None)
        line("crash_to_verified_" + name, of(lambda r: r.reaction + 1000 * (r.operation["ended_unix"] - r.reacted)), "ms")


def make_release(directory, files, size):
    """Files of one size with contents that no file system can share, in directories of a hundred."""
    block = os.urandom(1 << 20)
    for number in range(files):
        where = os.path.join(directory, "part%02d" % (number // 100))
        os.makedirs(where, exist_ok=True)
        with open(os.path.join(where, "file%04d" % number), "wb") as out:
            out.write(number.to_bytes(8, "big"))
            left = size - 8
            while left > 0:
                out.write(block[:min(left, len(block))])
                left -= len(block)


def seconds_of(command, **more):
    begun = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=600, **more)
    return time.monotonic() - begun


def checksums(binaries, count, files, mib):
    root = tempfile.mkdtemp(prefix="rollbackd-bench-")
    try:
        release, copy = os.path.join(root, "release"), os.path.join(root, "copy")
        make_release(release, files, (mib << 20) // files)
        digests = set()

        def ours(threads):
            words = subprocess.run([os.path.join(binaries, "bench_hash"), release, str(threads)], check=True, capture_output=True, text=True,
                                   timeout=600).stdout.split()
            digests.add(words[2])
            return int(words[0]) / 1e9

        def sha256sum(processes):
            return seconds_of("find . -type f -print0 | xargs -0 -n 50 -P %d sha256sum" % processes, shell=True, cwd=release)

        def cp():
            shutil.rmtree(copy, ignore_errors=True)
            return seconds_of(["cp", "-a", release, copy])

        ways = {"ours1": lambda: ours(1), "ours2": lambda: ours(2), "sum1": lambda: sha256sum(1), "sum2": lambda: sha256sum(2), "cp": cp}
        seconds_of("find . -type f -print0 | xargs -0 cat", shell=True, cwd=release)  # All from memory: processors are compared, not disks.
        took = {name: [] for name in ways}
        for _ in range(count):  # In turn, so that what else the machine does falls on all of them.
            for name, way in ways.items():
                took[name].append(way())
        if len(digests) != 1:
            raise CannotMeasure("the digest differs from run to run: %s" % digests)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    middle = {name: quantile(values, 0.5) for name, values in took.items()}
    what = "verify_%d_files_%d_mib_" % (files, mib)
    for threads in (1, 2):
        value, peer = middle["ours%d" % threads], middle["sum%d" % threads]
        report("rollback", what + "%d_thread%s" % (threads, "" if threads == 1 else "s"), value, "s", "<= sha256sum in as many processes",
               value <= peer, "sha256sum by xargs -P%d, same run" % threads, round(peer, 4), middle["cp"])
    report("rollback", what + "beside_cp_a", middle["ours2"] / middle["cp"], "x", "none of its own", True, "cp -a of the release, same run", 1.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", required=True, help="directory of rollbackd, bench_service, bench_floor and bench_hash")
    parser.add_argument("--rounds", type=int, default=30, help="rollbacks (default 30; 0: none)")
    parser.add_argument("--readings", type=int, default=5, help="of the release, by each way (default 5; 0: none)")
    parser.add_argument("--files", type=int, default=1000, help="of the release (default 1000)")
    parser.add_argument("--mib", type=int, default=1024, help="of the release in all (default 1024)")
    options = parser.parse_args()
    leave_nothing_behind()
    try:
        binaries = os.path.abspath(options.binaries)
        if options.readings:
            checksums(binaries, options.readings, options.files, options.mib)
        if options.rounds:
            operations(binaries, options.rounds)
    except (CannotMeasure, NotInTime, AssertionError, OSError, KeyError, subprocess.SubprocessError) as error:
        print("rollback: could not be measured: %s: %s" % (type(error).__name__, error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
