"""What the benches share: a rollbackd over one small service that is nobody's child of it, and the line in which a figure is printed."""
import ctypes
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "deploy", "demo"))

from fleet import Fleet, NotInTime, Service, wait_for  # noqa: E402  (it lies beside the demo)

__all__ = ["Bench", "BenchService", "CannotMeasure", "NotInTime", "boot_now", "leave_nothing_behind", "quantile", "reap", "report", "wait_for"]


class CannotMeasure(Exception):
    pass


def leave_nothing_behind():
    """SIGTERM ends this program in order, and processes that go to the background become its children, so that none stays a zombie."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    pr_set_child_subreaper = 36
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def boot_now():
    """CLOCK_BOOTTIME in seconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e9


def wall_minus_boot():
    """The smallest of a few readings' spans counts: between the two clocks' readings we may have lost the processor."""
    def reading():
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return after - before, wall - (before + after) // 2
    return min(reading() for _ in range(50))[1] / 1e9


def quantile(values, q):
    """The value below or at which a share of `q` lies (nearest rank)."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def report(bench, metric, value, unit, promise, ok, peer="", peer_value=None, floor_value=None):
    """One line of the form in DESIGN.md, section 10."""
    def short(number):
        return None if number is None else round(number, 4)
    print(json.dumps({"bench": bench, "metric": metric, "value": short(value), "unit": unit, "peer": peer, "peer_value": peer_value,
                      "floor_value": short(floor_value), "promise": promise, "ok": bool(ok)}), flush=True)


class BenchService(Service):
    """bench_service under the manager `command` with a pid file."""

    def __init__(self, fleet, name, **settings):
        super().__init__(fleet, name, **settings)
        self.runtime = os.path.join(self.root, "run")
        self.pid_file = os.path.join(self.runtime, "pid")
        os.makedirs(self.runtime)
        open(self.log, "w", encoding="utf-8").close()

    def release(self, release, behaviour="good", **more):
        directory = os.path.join(self.releases, release)
        os.makedirs(directory)
        shutil.copy2(os.path.join(self.fleet.binaries, "bench_service"), os.path.join(directory, "service"))
        with open(os.path.join(directory, "release.json"), "w", encoding="utf-8") as out:
            json.dump({"id": release}, out)
        return directory

    def command(self):
        return [os.path.join(self.current, "service"), self.root, str(self.port)]

    def configuration(self):
        body = super().configuration()
        body["components"][0]["process"] = {"manager": "command", "restart": self.command(), "pid_file": self.pid_file}
        return body

    def begin(self):
        subprocess.run(self.command(), check=True, timeout=10)

    def failing(self, yes):
        """Whether its health is answered with 500."""
        path = os.path.join(self.runtime, "failing")
        if yes:
            open(path, "w", encoding="utf-8").close()
        elif os.path.exists(path):
            os.unlink(path)

    def pid(self):
        with open(self.pid_file, encoding="utf-8") as file:
            return int(file.read())

    def rows(self, name):
        """The words of each line of a file that the service leaves behind."""
        try:
            with open(os.path.join(self.runtime, name), encoding="utf-8") as file:
                return [line.split() for line in file]
        except FileNotFoundError:
            return []

    def end(self):
        try:
            pid = self.pid()
            if os.readlink("/proc/%d/exe" % pid).startswith(self.root + "/"):
                os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass  # It does not run.


class Bench:
    """One rollbackd over one service. The release v0 is good; every further one is a candidate."""

    def __init__(self, binaries, name, checks, rules=None, top=None, **settings):
        """@param checks  the service's checks as a function of the service; None: rollbackd's own of the process alone
        @param top  top-level settings"""
        self.fleet = Fleet(binaries)
        self.fleet.top.update({"log_level": "info"}, **(top or {}))
        self.service = BenchService(self.fleet, name, **settings)
        self.service.settings["checks"] = checks and checks(self.service)
        self.fleet.services.append(self.service)
        self.twin = None
        if rules:
            path = os.path.join(self.service.root, "rules.json")
            with open(path, "w", encoding="utf-8") as out:
                json.dump(rules, out)
            self.service.settings["rule_files"] = [path]
        self.service.release("v0")
        self.service.link("v0")

    def __enter__(self):
        try:
            self.service.begin()
            self.offset = wall_minus_boot()
            self.fleet.start()
            self.settled("v0")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.fleet.close(keep_files=True)
        self.service.end()
        if self.twin:
            self.twin.end()
        reap()
        shutil.rmtree(self.fleet.root, ignore_errors=True)

    def start_twin(self):
        """A second process of the same, for the floor to poll: rollbackd does not know of it, so no rollback ends it."""
        self.twin = BenchService(self.fleet, self.service.name + "-twin")
        self.twin.release("v0")
        self.twin.link("v0")
        self.twin.begin()

    def engine(self, boot_seconds):
        """A CLOCK_BOOTTIME instant as rollbackd writes it: wall time at its start + boot time since."""
        return boot_seconds + self.offset

    def check_clock(self):
        moved = wall_minus_boot() - self.offset
        if abs(moved) > 0.0002:
            raise CannotMeasure("the wall clock was stepped by %.6f s while measuring" % moved)

    def settled(self, release):
        """Waits until `release` runs, has a process that rollbackd watches, and no incident is open."""
        def is_so():
            row = self.fleet.status(self.service)
            return (row["release"] == release and row["started"] and not row["warming"] and row["phase"] == "watching" and
                    "incident" not in row and row.get("process", {}).get("running"))
        try:
            wait_for("%s runs and is watched" % release, 30, is_so, every=0.01)
        except NotInTime as error:
            raise CannotMeasure("%s: %s" % (error, json.dumps(self.fleet.status(self.service)))) from error

    def rolled_back(self, release):
        """Waits for the end of the rollback of `release` and returns the operation with its decision and steps."""
        def ended():
            rows = [r for r in self.fleet.operations(self.service, kind="rollback") if r["from"] == release and r.get("ended")]
            return rows[0] if rows else None
        try:
            row = wait_for("the rollback of %s has ended" % release, 30, ended, every=0.02)
        except NotInTime as error:
            raise CannotMeasure("%s\n%s\n%s" % (error, json.dumps(self.fleet.status(self.service)), self.fleet.tail(15))) from error
        if row["status"] != "succeeded":
            raise CannotMeasure("the rollback of %s ended %s: %s" % (release, row["status"], row.get("detail")))
        return self.fleet.get("/api/v1/operations/" + row["operation"])[1]


def reap():
    """Takes leave of children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
