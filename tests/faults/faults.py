"""The fault tests' program; run.sh calls it. Prints one JSON object a sweep and a table; exit code 1 when a promise was broken."""
import argparse
import os
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import clocks  # noqa: E402
import corrupt  # noqa: E402
import disks  # noqa: E402
import kills  # noqa: E402
import races  # noqa: E402
from sweep import Bench, Tally, as_line, perform, table  # noqa: E402
from world import tiny  # noqa: E402

SWEEPS = [kills.Kill, kills.Recovery, kills.Term, kills.Keeper, disks.Errors, disks.Power, disks.Full, disks.ReadOnly,
          corrupt.History, corrupt.StateFile, clocks.Clock, clocks.Stop, races.Races]


def arguments():
    parser = argparse.ArgumentParser(prog="tests/faults/run.sh", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="sweeps (default: all): " + ", ".join(sweep.name for sweep in SWEEPS))
    parser.add_argument("--short", action="store_true", help="a cut of a few minutes; the same as --seconds 240")
    parser.add_argument("--seconds", type=float, help="for all sweeps together, shared among them; without it each runs to its end")
    parser.add_argument("--points", type=int, help="at most so many points of each sweep")
    parser.add_argument("--point", help="one point of one sweep, as a violation names it")
    parser.add_argument("--seed", default="1", help="draws which points a shortened run does")
    parser.add_argument("--binaries", default=os.environ.get("ROLLBACKD_BINARIES", ""), help="directory of rollbackd and rollbackctl")
    return parser.parse_args()


def main():
    asked = arguments()
    asked.binaries = os.path.abspath(asked.binaries) if asked.binaries else ""
    if not os.path.exists(os.path.join(asked.binaries, "rollbackd")):
        sys.exit("faults: no rollbackd in \"%s\": name its directory by --binaries" % asked.binaries)
    unknown = set(asked.names) - {sweep.name for sweep in SWEEPS}
    if unknown:
        sys.exit("faults: no sweep %s" % ", ".join(sorted(unknown)))
    seconds = asked.seconds if asked.seconds is not None else 240.0 if asked.short else None
    scratch = tempfile.mkdtemp(prefix="rollbackd-faults-")
    bench = Bench(asked.binaries, tiny(scratch), scratch, asked.seed, asked.short or seconds is not None)

    def stop(*_):
        bench.stopping = True  # The trials under way end and clean up; none is begun.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    chosen = [sweep(bench) for sweep in SWEEPS if not asked.names or sweep.name in asked.names]
    tallies, began = [], time.monotonic()
    try:
        for number, sweep in enumerate(chosen):
            if bench.stopping:
                break
            mine = None
            if seconds is not None:  # What an earlier one left over is shared by those that follow.
                left = seconds - (time.monotonic() - began)
                mine = max(0.0, left) * sweep.share / sum(one.share for one in chosen[number:])
            missing = sweep.missing()
            if missing:
                tally = Tally(sweep)
                tally.skipped = "not run: " + missing
            else:
                tally = perform(sweep, mine, min(sweep.short_points, asked.points or sweep.short_points), asked.point, most=asked.points)
            tallies.append(tally)
            print(as_line(tally.row()), flush=True)
    finally:
        for cleanup in reversed(bench.cleanups):
            cleanup()
        shutil.rmtree(scratch, ignore_errors=True)
    print()
    table(tallies)
    violations = [violation for tally in tallies for violation in tally.violations]
    for violation in violations:
        print("%s\n  %s: %s" % (violation["repeat"], violation["kind"], violation["why"].splitlines()[0]))
    print("\n%d points, %d violations, %.0f s" % (sum(tally.points for tally in tallies), len(violations), time.monotonic() - began))
    sys.exit(1 if violations or bench.stopping else 0)


if __name__ == "__main__":
    main()
