"""What the scenario tests share: the binaries under test, fleets that end with their test, and waits on the daemon's word."""
import http.client
import json
import os
import shutil
import sys
import unittest
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "deploy", "demo"))
sys.path.insert(0, os.path.join(HERE, "..", "support"))

import fleet as _fleet  # noqa: E402
from fleet import Fleet, NotInTime, free_port, wait_for  # noqa: E402,F401  (the tests import them from here)
from servers import Alertmanager, Prometheus, Refused, targets, webhook  # noqa: E402,F401

BINARIES = os.environ.get("ROLLBACKD_BINARIES", "")
_fleet.PATIENCE = 6
# Sanitized daemons and services on a busy machine start and answer late, and that must make no release bad: what hangs or never comes up is
# tested where it is meant. Where all is well none of these is waited out.
Fleet.check_timeout = "2s"
Fleet.start_grace, Fleet.settle, Fleet.healthy_within = "30s", "10s", "50s"
Fleet.deadline = {"standard": "4m", "emergency": "4m", "step": "2m"}
UNENDED = ("planned", "running", "verifying")


class Scenario(unittest.TestCase):
    """A test over real daemons. Whatever it started ends with it; the daemon's last words are shown when it failed."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(os.path.join(BINARIES, "rollbackd")):
            raise AssertionError("ROLLBACKD_BINARIES must name the directory of rollbackd and rollbackctl")

    def fleet(self, **top):
        fleet = Fleet(BINARIES)
        fleet.top.update(top)
        self.addCleanup(self.end, fleet)
        return fleet

    def end(self, fleet):
        fleet.stop_daemon()
        code = fleet.daemon.returncode if fleet.daemon else 0
        if code != 0 or self.has_failed():
            sys.stderr.write("---- rollbackd of %s ----\n%s" % (self.id(), fleet.tail(60)))
        faults = [line for line in fleet.tail(100000).splitlines() if "ended by an exception" in line]
        fleet.close()
        self.assertEqual(faults, [], "a coroutine ended by an exception: an orderly end is none")
        self.assertEqual(code, 0, "rollbackd was told to stop and ended with %s" % code)  # Sanitizers speak here too.

    def server(self, server):
        """Starts a Prometheus or Alertmanager that ends with the test."""
        self.addCleanup(server.close)
        return server.start()

    def has_failed(self):
        outcome = getattr(self, "_outcome", None)
        result = getattr(outcome, "result", None)
        errors = list(getattr(outcome, "errors", [])) + list(getattr(result, "failures", [])) + list(getattr(result, "errors", []))
        return any(one[1] and self in (one[0], getattr(one[0], "test_case", None)) for one in errors)  # A subtest's failure is its test's.

    def shop(self, fleet=None, **settings):
        """A fleet of one service with the good release v1, not yet started."""
        fleet = fleet or self.fleet()
        service = fleet.service("shop", **settings)
        service.release("v1")
        service.link("v1")
        return fleet, service


def trigger(service):
    """The file at which releases made with when=trigger(service) begin to misbehave."""
    return os.path.join(service.root, "misbehave")


def pull(service):
    with open(trigger(service), "w", encoding="utf-8"):
        pass


def impatient(service):
    """For what fails from its start on, or before its daemon started: never seen healthy, it would be waited for as long as start_grace."""
    service.settings.setdefault("policy", {})["start_grace"] = "2s"


def reported_release(service):
    """What the running process says that it is; None while none answers."""
    try:
        with urllib.request.urlopen(service.url("/version"), timeout=30) as answer:
            return json.load(answer)["release"]
    except (OSError, http.client.HTTPException):
        return None


def settled(fleet, service, release, seconds=20):
    """Waits until `release` runs and nothing is being done about it; its row of the status."""
    def look():
        row = fleet.status(service)
        well = row.get("release") == release and row["started"] and not row["warming"] and row["phase"] == "watching"
        return row if well and service.live() == release and reported_release(service) == release else None
    try:
        return wait_for("%s runs %s and is watched" % (service.name, release), seconds, look)
    except NotInTime as late:
        row = fleet.status(service)
        told = {key: row.get(key) for key in ("release", "phase", "started", "warming", "process", "trouble", "firing", "blind", "decision")}
        raise NotInTime("%s: it is on %s, %s answers, and the daemon says %s" % (
            late, service.live(), reported_release(service), told)) from late


def rollback_of(fleet, service, release, seconds=30):
    """Waits until a rollback of `release` has ended; its row of the history."""
    def look():
        rows = [row for row in fleet.operations(service, kind="rollback") if row["from"] == release]
        return rows[0] if rows and rows[0]["status"] not in UNENDED else None
    return wait_for("a rollback of %s has ended" % release, seconds, look)


def held_by(fleet, service, guard, seconds=20):
    """Waits for a hold in which `guard` says no; that decision."""
    def look():
        for decision in fleet.decisions(service):
            if decision["decision"] == "hold" and guard in refusing(decision):
                return decision
        return None
    return wait_for("a hold because of %s" % guard, seconds, look)


def held_only_by(fleet, service, guard, seconds=20):
    """Waits for a hold in which `guard` alone says no; that decision. Others may have said no before, on a machine that sees late."""
    def look():
        return next((one for one in fleet.decisions(service) if one["decision"] == "hold" and refusing(one) == [guard]), None)
    return wait_for("a hold because of %s alone" % guard, seconds, look)


def refusing(decision):
    return [g["guard"] for g in decision["guards"] if g["asked"] and not g["yes"] and not g.get("passed_over")]


class Door:
    """A hook that keeps each rollback, and no deployment, standing at `at` until the door is opened: what is meant to happen in the middle of
    a rollback happens there, however slow the machine is."""

    def __init__(self, fleet, at="after_switch"):
        self.begun, self.opened, path = (os.path.join(fleet.root, "door" + name) for name in (".begun", ".opened", ""))
        with open(path, "w", encoding="utf-8") as out:
            out.write('#!/bin/sh\n[ "$ROLLBACKD_KIND" = rollback ] || exit 0\n: > %s\nwhile [ ! -e %s ]; do sleep 0.02; done\n' %
                      (self.begun, self.opened))
        os.chmod(path, 0o755)
        self.hooks = [{"name": "door", "at": at, "command": [path], "timeout": "100s"}]

    def wait(self, seconds=20):
        wait_for("a rollback stands at the door", seconds, lambda: os.path.exists(self.begun))

    def open(self):
        with open(self.opened, "w", encoding="utf-8"):
            pass


def said(fleet, text):
    """Whether the daemon's log has it."""
    return text in fleet.tail(1 << 30)


def standing(fleet, service, release):
    rows = fleet.get("/api/v1/releases?service=" + service.name)[1]["releases"]
    return next((row["standing"] for row in rows if row["release"] == release), None)


def metric(fleet, name):
    """The first value of a metric, labels or none."""
    for line in fleet.get("/metrics", raw=True)[1].splitlines():
        if line.split("{")[0].split(" ")[0] == name:
            return float(line.rsplit(" ", 1)[1])
    return None


def has(program):
    return shutil.which(program) is not None
