"""Clocks that jump and a daemon that is stopped: no action without fresh evidence, cooldowns neither skipped nor endless."""
import os
import signal
import subprocess
import time

import inject
from kills import ended_on_disk
from sweep import Fresh, Sweep
from world import HERE, UNENDED, Violation, World, brief, expect, wait_for

LIBRARIES = ("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
             "/usr/lib/faketime/libfaketimeMT.so.1")
JUMPS = {"+1h": "+3600", "-1h": "-3600", "+1d": "+86400", "-1d": "-86400", "1970": "@1970-01-01 00:00:10", "2038": "@2038-01-19 03:14:00"}
# As Unhealthy, but it waits for a while: the state in which something is about to fire.
PENDING = {"groups": [{"name": "tiny", "rules": [{"alert": "Unhealthy", "expr": "probe_success == 0", "for": "5s",
                                                  "labels": {"rollbackd_action": "rollback", "severity": "critical"}}]}]}
COOLDOWN = 6.0


class Faketime:
    """A wall clock that jumps, for the processes that begin with its environment; the monotonic clocks and all timers are the kernel's."""

    def __init__(self, scratch):
        self.path, self.timers = os.path.join(scratch, "clock"), os.path.join(scratch, "timers.so")
        subprocess.run([os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-o", self.timers, os.path.join(HERE, "timers.c")], check=True)
        self.jump("+0")

    @staticmethod
    def library():
        return next((path for path in LIBRARIES if os.path.exists(path)), "")

    def jump(self, to):
        with open(self.path + ".new", "w", encoding="ascii") as out:
            out.write(to + "\n")
        os.replace(self.path + ".new", self.path)

    def environment(self):
        return {"LD_PRELOAD": self.timers + ":" + self.library(), "FAKETIME_NO_CACHE": "1", "FAKETIME_TIMESTAMP_FILE": self.path,
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}


class FakedWorld(World):
    """Its daemon reads the wall clock through libfaketime."""

    def __init__(self, sweep, **settings):
        super().__init__(sweep.bench.binaries, sweep.bench.program, rules=PENDING if settings.pop("pending", False) else None, **settings)
        self.clock = Faketime(self.root)
        self.begin()

    def environment(self):
        return dict(super().environment(), **self.clock.environment())


class Clock(Sweep):
    name, what = "clock", "the wall clock jumps (1 h, 1 day, 1970, 2038) in each state, the daemon running or starting anew"
    share = 1.5
    trials_a_world = 1  # The next trial's deployment would see a clock that jumps back.
    short_points = 8
    states = ("idle", "baking", "pending", "settling", "operating", "cooldown", "held")

    def missing(self):
        return "" if Faketime.library() else "libfaketime is not installed"

    def points(self):
        return ["%s/%s/%s" % (state, jump, how) for how in ("running", "restarted") for state in self.states for jump in JUMPS]

    def world(self):
        return None

    def run(self, world, point):
        state, jump, how = point.split("/")
        settings = {"process_environment": {}}
        if state == "operating":
            settings["verify"] = [{"type": "checks_healthy", "for": "2s", "within": "15s"}]
        if state == "cooldown":
            settings["policy"] = {"cooldown": "%ds" % COOLDOWN}
        if state == "held":
            settings["automation"] = "observe"
        if state == "pending":
            settings["pending"] = True
        if state == "settling":
            settings["policy"] = {"settle": "2s"}
        with FakedWorld(self, **settings) as world:
            try:
                return self.trial(world, state, jump, how)
            except Violation as wrong:
                raise Violation(wrong.kind, "%s\n  %s" % (wrong.why, "  ".join(world.tail(14).splitlines(True)))) from wrong

    def jump(self, world, jump, how):
        if how == "restarted":
            world.stop_daemon(signal.SIGKILL)
        world.clock.jump(JUMPS[jump])
        if how == "restarted":
            world.start()
            inject.until(60, lambda: world.status(world.service_)["phase"] != "starting")

    def nothing(self, world, seconds):
        """The absence of an event is what is shown."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            came, gone = world.watcher.events()
            expect((came, gone) == (0, 0), "action without evidence", "`current` was moved: %s" % world.told())
            time.sleep(0.1)
        expect(len(world.service_.starts()) == world.marked, "action without evidence", world.service_.starts()[world.marked:])

    def trial(self, world, state, jump, how):
        service = world.service_
        if state == "idle":
            world.mark()
            self.jump(world, jump, how)
            self.nothing(world, 2)
            world.settled("v1")
            return "idle: nothing was done"
        if state == "cooldown":
            return self.cooldown(world, jump, how)
        bad = world.next_bad()
        if state == "baking":
            self.jump(world, jump, how)
            self.nothing(world, 2)
            stands = {row["release"]: row["standing"] for row in world.get("/api/v1/releases?service=tiny")[1]["releases"]}
            expect(stands[bad] == "candidate", "standing", "ten minutes of bake passed in two seconds: %s" % stands)
            world.settled(bad)
            service.misbehave(bad)
        elif state == "pending":
            service.misbehave(bad)
            wait_for("its alert waits", 10, lambda: "pending" in [
                alert["state"] for alert in world.get("/api/v1/alerts")[1]["data"]["alerts"] if alert["labels"]["alertname"] == "Unhealthy"])
            service.behave(bad)  # It was failing, and it is not any more: a jump must not make it fire.
            self.jump(world, jump, how)
            self.nothing(world, 3)
            service.misbehave(bad)
        elif state == "settling":
            service.misbehave(bad)
            time.sleep(0.2)
            self.jump(world, jump, how)
        elif state == "operating":
            service.misbehave(bad)
            wait_for("it is under way", 10, lambda: service.live() == "v1")
            self.jump(world, jump, how)
        elif state == "held":
            service.misbehave(bad)
            wait_for("held", 10, lambda: world.status(service)["phase"] == "held")
            self.jump(world, jump, how)
            self.nothing(world, 2)
            wait_for("still held", 10, lambda: world.status(service)["phase"] == "held")
            service.behave(bad)
            return "held: still held"
        world.judge(bad)
        return state + ": rolled back once, on fresh evidence"

    def cooldown(self, world, jump, how):
        """A second bad release within the cooldown of the first one's rollback waits for it to be over, and not longer."""
        service = world.service_
        bad = world.next_bad()
        service.misbehave(bad)
        world.judge(bad)
        ended = time.monotonic()  # A moment late, so that "too early" is never said wrongly.
        second = world.next_bad()
        self.jump(world, jump, how)
        service.misbehave(second)
        wait_for("held by the cooldown, or it is over", 20, lambda: world.status(service)["phase"] == "held" or service.live() == "v1")
        wait_for("it is over", COOLDOWN + 15, lambda: service.live() == "v1", 0.01)
        took = time.monotonic() - ended
        expect(took >= COOLDOWN - 1.5, "cooldown skipped", "%.1f s of %.1f" % (took, COOLDOWN))
        world.judge(second)
        return "cooldown: kept, and over in time"


class Stop(Sweep):
    name, what = "stop", "SIGSTOP in the middle of a rollback (60 s; 5 s in the short cut), at random moments and at calls"
    share = 0.7
    short_points = 4
    trials_a_world = 6

    def missing(self):
        return ""

    def points(self):
        calls = ("renameat2/1", "pwrite64/2", "pwrite64/4", "sendmsg/2", "fdatasync/1")
        return ["%d us" % self.rng.randrange(0, 450_000) for _ in range(12)] + ["%s, thread %d" % (call, thread) for call in calls for thread in (0, 1, 2)]

    def run(self, world, point):
        bad = world.next_bad()
        seconds = 5 if self.bench.short else 60
        strace = None
        if "thread" in point:
            call, number = point.split(",")[0].split("/")
            strace = inject.Strace(inject.threads(world.daemon.pid)[int(point.split()[-1])], *inject.inject(call, "signal=STOP", number))
            world.service_.misbehave(bad)
            stopped = inject.until(1.0, lambda: state_of(world.daemon.pid) in "Tt" or ended_on_disk(world, bad), 0.01) and state_of(world.daemon.pid) in "Tt"
        else:
            world.service_.misbehave(bad)
            time.sleep(int(point.split()[0]) / 1e6)
            world.daemon.send_signal(signal.SIGSTOP)
            stopped = True
        try:
            if stopped:
                time.sleep(seconds)
                world.judge_link("v1", bad)
        finally:
            if strace:
                strace.close()
            world.daemon.send_signal(signal.SIGCONT)
        world.judge(bad, seconds=60)
        return "stopped" if stopped else "was quicker"


def state_of(pid):
    with open("/proc/%d/stat" % pid, encoding="utf-8") as text:
        return text.read().rsplit(")", 1)[1].split()[0]
