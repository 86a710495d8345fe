"""What every sweep is: a list of points, and what is done and judged at one. Runs them two at a time within a given time and counts."""
import collections
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import threading
import time
import traceback

from world import NotInTime, Violation, World


class Fresh(Exception):
    """The trial is judged well, its text is what it is counted as, and its world is used up."""


class Bench:
    """What all sweeps share: the programs, the service, scratch space, the seed."""

    def __init__(self, binaries, program, scratch, seed, short):
        self.binaries, self.program, self.scratch, self.seed, self.short = binaries, program, scratch, seed, short
        self.lock = threading.Lock()
        self.stopping = False  # Set by a signal: what runs is ended and cleaned up.
        self.cleanups = []  # Mounts and loop devices that must go whatever happens: callables.


class Sweep:
    """One kind of trouble. A point is a text that names one trial completely: `run.sh NAME --point TEXT` does it again."""
    name = what = ""
    share = 1.0          # Of the time given, in proportion to the other sweeps'.
    trials_a_world = 15  # Then a fresh one: a violation must not depend on a long past, but starting costs.
    parallel = 2
    short_points = 12    # The least that the short cut does, whatever the time.

    def __init__(self, bench):
        self.bench = bench
        self.rng = random.Random("%s/%s" % (bench.seed, self.name))

    def world(self):
        world = World(self.bench.binaries, self.bench.program, **self.settings())
        world.begin()
        return world

    def settings(self):
        return {}

    def missing(self):
        """What this machine lacks for it; empty when it can run."""
        if not shutil.which("strace"):
            return "strace is not installed"
        tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
        return "" if tried.returncode == 0 else "strace may not trace here (%s)" % tried.stderr.strip().splitlines()[-1:]

    def points(self):
        """All points, in the order of a full sweep."""
        raise NotImplementedError

    def run(self, world, point):
        """One trial. Returns what the table counts it as; raises Violation."""
        raise NotImplementedError

    def after(self, point, outcome):
        """More points that this one's outcome asks for."""
        return []


class Tally:
    def __init__(self, sweep):
        self.sweep, self.points, self.outcomes, self.violations = sweep, 0, collections.Counter(), []
        self.skipped, self.seconds, self.planned = "", 0.0, 0

    def row(self):
        return {"sweep": self.sweep.name, "what": self.sweep.what, "points": self.points, "planned": self.planned, "outcomes": dict(self.outcomes),
                "violations": len(self.violations), "by_kind": dict(collections.Counter(v["kind"] for v in self.violations)),
                "seconds": round(self.seconds, 1), **({"skipped": self.skipped} if self.skipped else {})}


def perform(sweep, seconds, least, only=None, report=print, most=None):
    """Runs `sweep` for `seconds` (None: to its end), at least `least` points. A violation ends its world and not the sweep."""
    tally, began = Tally(sweep), time.monotonic()
    points = [only] if only else list(sweep.points())
    tally.planned = len(points)
    if seconds is not None and not only:
        sweep.rng.shuffle(points)  # What is done of it is a fair sample.
    if most:
        points = points[:most]
    waiting, lock = queue.Queue(), threading.Lock()
    for point in points:
        waiting.put(point)

    def over():
        """Its time is up, with the least done; on a machine so slow that even that takes thrice the time, without."""
        took = time.monotonic() - began
        return sweep.bench.stopping or seconds is not None and took > seconds and (tally.points >= least or took > 3 * seconds + 20)

    def one(world, point):
        try:
            outcome = sweep.run(world, point)
            with lock:
                tally.points += 1
                tally.outcomes[outcome] += 1
                for more in sweep.after(point, outcome):
                    tally.planned += 1
                    waiting.put(more)
            return True
        except Fresh as good:
            with lock:
                tally.points += 1
                tally.outcomes[str(good)] += 1
            return None
        except Violation as wrong:
            kind, why = wrong.kind, wrong.why
        except NotInTime as late:
            kind, why = "not in time", "%s: %s" % (late, world.told() if world else "")
        except Exception as error:  # pylint: disable=broad-except  (a trial that could not be judged must not pass as one)
            kind, why = "not judged", "%s: %s\n%s" % (type(error).__name__, error, traceback.format_exc(limit=-4))
        repeat = "tests/faults/run.sh %s --point '%s'" % (sweep.name, point)
        with lock:
            tally.points += 1
            tally.outcomes["VIOLATION"] += 1
            tally.violations.append({"sweep": sweep.name, "point": point, "kind": kind, "why": str(why), "repeat": repeat})
        report("VIOLATION %s %s: %s\n  %s\n  repeat: %s\n  %s" %
               (sweep.name, point, kind, why, repeat, "  ".join(world.tail(14).splitlines(True)) if world else ""))
        return False

    def worker():
        world, used = None, 0
        try:
            while not over():
                try:
                    point = waiting.get_nowait()
                except queue.Empty:
                    return
                if world is None or used >= sweep.trials_a_world:
                    if world is not None:
                        world.close()
                        world = None
                    world, used = sweep.world(), 0
                used += 1
                well = one(world, point)
                if world is None:
                    continue
                if well is None:
                    world.close()
                    world = None
                elif not well:
                    keep = os.environ.get("ROLLBACKD_FAULTS_KEEP")
                    world.close(keep_files=bool(keep))
                    if keep:
                        report("  files: " + world.root)
                    world = None
        except Exception:  # pylint: disable=broad-except  (no world at all: the sweep could not run)
            with lock:
                tally.violations.append({"sweep": sweep.name, "point": "", "kind": "no world", "why": traceback.format_exc(limit=-3), "repeat": ""})
            report(traceback.format_exc())
        finally:
            if world is not None:
                world.close()

    workers = [threading.Thread(target=worker) for _ in range(1 if only else sweep.parallel)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    tally.seconds = time.monotonic() - began
    return tally


def table(tallies, out=sys.stdout):
    """The figures, for people; one JSON object a line has been printed already."""
    rows = [("sweep", "points", "of", "violations", "seconds", "what became of it")]
    for tally in tallies:
        became = tally.skipped or ", ".join("%s %d" % item for item in sorted(tally.outcomes.items(), key=lambda item: -item[1]))
        rows.append((tally.sweep.name, str(tally.points), str(tally.planned), str(len(tally.violations)), "%.0f" % tally.seconds, became))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join([row[0].ljust(widths[0])] + [row[n].rjust(widths[n]) for n in range(1, 5)] + [row[5]]), file=out)


def as_line(value):
    return json.dumps(value, sort_keys=False)
