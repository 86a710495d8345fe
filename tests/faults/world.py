"""A service small enough to be rolled back a thousand times, and a judge that looks at it from outside: the link by inotify, the process by
its own log of starts, the history as SQLite on the disk. Nothing that is judged is taken from the daemon's word alone."""
import contextlib
import ctypes
import http.client
import json
import os
import select
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "deploy", "demo"))

import fleet as _fleet  # noqa: E402
from fleet import Fleet, NotInTime, Service, wait_for  # noqa: E402

_fleet.PATIENCE = 6
UNENDED = ("planned", "running", "verifying")
LIBC = ctypes.CDLL(None, use_errno=True)
MOVED_TO, CREATED, DELETED, MOVED_FROM = 0x80, 0x100, 0x200, 0x40


class Violation(AssertionError):
    """A promise that did not hold. `kind` is what the table counts."""

    def __init__(self, kind, why):
        super().__init__("%s: %s" % (kind, why))
        self.kind, self.why = kind, why


def expect(condition, kind, why):
    if not condition:
        raise Violation(kind, why)


def tiny(directory):
    """Compiles the service; its path."""
    out = os.path.join(directory, "tiny")
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-o", out, os.path.join(HERE, "tiny.c")], check=True)
    return out


def brief(rows):
    """What matters of rows of the history, for a violation's words."""
    return [(row["operation"][-6:], row["status"], row["from"], row["to"], "switched" if row.get("switched") else "not switched", row["attempt"],
             row.get("detail", "")[:100]) for row in rows]


def carried_out(rows):
    """Those that did something to the world: what ended before its commit point did not."""
    return [row for row in rows if row["status"] not in ("abandoned", "cancelled") and (row.get("switched") or row["status"] == "succeeded")]


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8") as text:
            return text.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def processes_of(root):
    """Those that this world started: its directory is in their command line, or their program lies in it."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid() or not alive(int(name)):
            continue
        try:
            with open("/proc/%s/cmdline" % name, "rb") as line:
                ours = root.encode() + b"/" in line.read()
            ours = ours or os.readlink("/proc/%s/exe" % name).startswith(root + "/")
        except OSError:
            continue
        if ours:
            found.append(int(name))
    return found


def end_all(world, root):
    """Ends the daemon, the keeper, the service and whatever was just being started, at once."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        pids = processes_of(root)
        for pid in pids:
            kill(pid)
        if not pids:
            break
        time.sleep(0.005)
    if world.daemon:
        world.daemon.wait(60)


def kill(pid, number=signal.SIGKILL):
    if pid > 1:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Watcher:
    """Counts how often a link was put in place, as the kernel tells it: the tests' own count of switches."""

    def __init__(self, path):
        self.directory, self.name = os.path.split(path)
        self.fd = LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.fd >= 0
        assert LIBC.inotify_add_watch(self.fd, self.directory.encode(), MOVED_TO | CREATED | DELETED | MOVED_FROM) >= 0, self.directory

    def events(self):
        """Of the link since the last call: how often it came, how often it was deleted."""
        came = gone = 0
        while select.select([self.fd], [], [], 0)[0]:
            data, at = os.read(self.fd, 65536), 0
            while at < len(data):
                _, mask, _, length = struct.unpack_from("iIII", data, at)
                name = data[at + 16:at + 16 + length].split(b"\0", 1)[0].decode()
                at += 16 + length
                if name == self.name:
                    came += bool(mask & (MOVED_TO | CREATED))
                    gone += bool(mask & DELETED)
        return came, gone

    def close(self):
        os.close(self.fd)


class Tiny(Service):
    """The service of tiny.c: a rollback of it takes a few hundred milliseconds, its verification included."""
    program = None

    def release(self, release, behaviour=None, **more):
        directory = os.path.join(self.releases, release)
        os.makedirs(directory)
        shutil.copy2(self.program, os.path.join(directory, "tiny"))
        with open(os.path.join(directory, "release.json"), "w", encoding="utf-8") as out:
            json.dump(dict({"id": release}, **more), out)
        return directory

    def misbehave(self, release, how="500"):
        with open(self.bad(release) + ".new", "w", encoding="utf-8") as out:
            out.write(how)
        os.replace(self.bad(release) + ".new", self.bad(release))

    def behave(self, release):
        if os.path.exists(self.bad(release)):
            os.remove(self.bad(release))

    def bad(self, release):
        return os.path.join(self.signals, "bad." + release)

    @property
    def signals(self):
        """Beside the scratch directory's file system where that may be full or read-only."""
        return self.settings.get("process_environment", {}).get("SIGNALS") or self.root

    @property
    def starts_path(self):
        return os.path.join(self.signals, "starts")

    def starts(self):
        """Every start of the service, in order: (release, pid)."""
        try:
            with open(self.starts_path, encoding="utf-8") as lines:
                return [(line.split()[0], int(line.split()[1])) for line in lines if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def says(self):
        """The release that answers on the service's port; None while none does."""
        try:
            with urllib.request.urlopen(self.url("/version"), timeout=30) as answer:
                return json.load(answer)["release"]
        except (OSError, ValueError, http.client.HTTPException):
            return None

    def configuration(self):
        body = super().configuration()
        process = body["components"][0]["process"]
        process["command"] = [os.path.join(self.current, "tiny")]
        process["environment"].update({"STARTS": self.starts_path, "BAD": os.path.join(self.signals, "bad"), "METRICS": self.metrics_path})
        # It never hangs; a machine with much to do answers late, and late must not be bad.
        body["checks"] = [{"name": "health", "type": "http", "url": self.url(), "interval": "200ms", "timeout": "2s"}]
        body["checks"] += self.settings.get("more_checks", [])
        body.pop("more_checks", None)
        policy = {"bake_time": "10m", "start_grace": "1s", "settle": "5s", "cooldown": "0s", "budget": {"rollbacks": 100, "per": "1h"}}
        policy.update(self.settings.get("policy", {}))
        body["policy"] = dict(body["policy"], **policy)
        if "verify" not in self.settings:
            body["verify"] = [{"type": "checks_healthy", "for": "200ms", "within": "10s"}]
        body["rule_files"] = [self.rules_path]
        body["changes"] = {"hold": False}  # Else a power cut's reboot holds, which has tests of its own.
        return body

    @property
    def metrics_path(self):
        return os.path.join(self.signals, "metrics")

    @property
    def rules_path(self):
        return os.path.join(self.fleet.root, "tiny-rules.json")


# One failed probe is enough: the sweeps are about what follows, and what the shipped packs wait for is shown elsewhere.
RULES = {"groups": [{"name": "tiny", "rules": [{"alert": "Unhealthy", "expr": "probe_success == 0",
                                                "labels": {"rollbackd_action": "rollback", "severity": "critical"}}]}]}


class World(Fleet):
    """A fleet of one such service. `current` is on v1, the good one; each trial deploys a release of its own and sees it rolled back."""

    def __init__(self, binaries, program, root=None, state=None, rules=None, **settings):
        super().__init__(binaries, root)
        if state:
            self.state, self.socket = state, os.path.join(state, "rollbackd.sock")
        self.program, self.number = program, 0
        self.service_ = Tiny(self, "tiny", **settings)
        self.service_.program = program
        os.makedirs(self.service_.signals, exist_ok=True)
        self.services.append(self.service_)
        with open(self.service_.rules_path, "w", encoding="utf-8") as out:
            json.dump(rules or RULES, out)
        self.service_.release("v1")
        self.service_.link("v1")
        self.watcher = Watcher(self.service_.current)
        self.top["log_level"] = "info"
        self.pages_path = os.path.join(self.service_.signals, "pages")
        # A shell a message is cheap beside what is swept, and it has no part in what is judged but the pages.
        self.top["notify"] = [{"name": "oncall", "type": "exec", "command": ["/bin/sh", "-c", "cat >> " + self.pages_path]}]

    def start(self, environment=None, wait=True, prefix=()):
        """`prefix`: a command that executes the daemon in its own place, so that its pid is ours to signal (strace -D does)."""
        if not prefix:
            super().start(environment, wait)
            return
        self.write_configuration()
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen([*prefix, os.path.join(self.binaries, "rollbackd"), "--config", self.config], stdout=log, stderr=log,
                                           stdin=subprocess.DEVNULL, env=dict(self.environment(), **(environment or {})))
        if wait:
            self.wait_ready()

    def close(self, keep_files=False):
        self.watcher.close()
        super().close(keep_files=True)
        end_all(self, self.root)  # A keeper that was killed may have left what it was just starting.
        if not keep_files:
            shutil.rmtree(self.root, ignore_errors=True)

    def begin(self):
        """Starts its daemon and waits until it watches v1. A world that cannot begin leaves no process behind."""
        try:
            self.start()
            self.settled("v1")
        except BaseException:
            self.close()
            raise

    # ---- one trial

    def settled(self, release, seconds=20):
        """Waits until `release` runs, nothing is being done about it, and its failures would count."""
        service = self.service_

        def look():
            if self.daemon.poll() is not None:
                raise Violation("daemon ended", "rollbackd ended with %s\n%s" % (self.daemon.returncode, self.tail(20)))
            try:
                row = self.status(service)
            except OSError:
                return None
            well = row.get("release") == release and row["started"] and not row["warming"] and row["phase"] == "watching"
            return row if well and service.live() == release and service.says() == release else None
        try:
            return wait_for("%s runs and is watched" % release, seconds, look)
        except NotInTime as late:
            raise Violation("not settled", "%s: %s" % (late, self.told())) from late

    def told(self):
        """How things stand, for a violation's words."""
        service = self.service_
        try:
            row = self.status(service)
            daemon = {key: row.get(key) for key in ("release", "phase", "started", "warming", "trouble", "decision", "protected_why", "firing")}
            said_no = [guard["guard"] + ": " + guard["evidence"] for one in self.decisions(service)[:1] for guard in one["guards"]
                       if guard["asked"] and not guard["yes"]]
            daemon["said no"] = said_no
        except (OSError, AttributeError) as error:
            daemon = str(error)
        link = os.readlink(service.current) if os.path.islink(service.current) else "missing"
        return "link %s, answers %s, starts %s, daemon %s" % (link, service.says(), service.starts()[-4:], daemon)

    def rollbacks(self, release):
        return [row for row in self.operations(self.service_, kind="rollback") if row["from"] == release]

    def next_bad(self):
        """Deploys a release that will misbehave when told to; its name. From here on switches and starts are counted."""
        self.number += 1
        release = "v%d" % (self.number + 1)
        self.service_.release(release)
        row = self.deploy(self.service_, release)
        expect(row["status"] == "succeeded", "deployment", row)
        self.settled(release)
        self.mark()
        return release

    def mark(self):
        self.watcher.events()
        self.marked = len(self.service_.starts())
        self.pages_marked = 0
        if os.path.exists(self.pages_path):
            with open(self.pages_path, "rb") as lines:
                self.pages_marked = sum(1 for _ in lines)

    def expect_page(self, seconds=15):
        """Whoever is held must be told of, and by more than the status."""
        try:
            wait_for("a page", seconds, lambda: self.paged(self.pages_marked))
        except NotInTime as late:
            raise Violation("no page", self.told()) from late

    def stored(self):
        """Every row of operations as SQLite has it on the disk, without the daemon."""
        path = os.path.join(self.state, "history.sqlite")
        with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % path, uri=True, timeout=30)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM operations")]

    @property
    def kill_switch(self):
        return os.path.join(self.state, "kill-switch")

    def has_kill_switch(self):
        """Whether this daemon obeys the file; programs from before it did not."""
        if not hasattr(self, "kill_switch_known"):
            done = subprocess.run([os.path.join(self.binaries, "rollbackctl"), "kill", "--help"], capture_output=True, check=False)
            self.kill_switch_known = done.returncode == 0
        return self.kill_switch_known

    def paged(self, since=0):
        """The titles of the pages that arrived, as a person's phone would have them."""
        try:
            with open(self.pages_path, encoding="utf-8") as lines:
                return [page["title"] for page in map(json.loads, list(lines)[since:]) if page["severity"] == "page"]
        except FileNotFoundError:
            return []

    def judge_link(self, *allowed):
        """The one question that a crash may never leave open: which whole release is live."""
        service = self.service_
        expect(os.path.islink(service.current), "half-switched", "`current` is missing")
        live = service.live()
        expect(live in allowed, "half-switched", "`current` leads to %s, not to one of %s" % (os.readlink(service.current), list(allowed)))
        expect(os.path.exists(os.path.join(service.current, "tiny")), "half-switched", "%s is not whole" % live)
        return live

    def judge(self, bad, good="v1", seconds=30, crashes=False):
        """After the trouble: `bad` was rolled back to `good` exactly once, is told of once, and nothing was done twice."""
        service = self.service_
        self.settled(good, seconds)

        def ended():
            rows = self.rollbacks(bad)
            return rows if any(row["status"] == "succeeded" for row in rows) and all(row["status"] not in UNENDED for row in rows) else None
        try:
            rows = wait_for("every row of the history has ended", 10, ended)
        except NotInTime as late:
            raise Violation("lost row", "%s; %s" % (brief(self.rollbacks(bad)), self.told())) from late
        done = carried_out(rows)
        expect(len(done) == 1, "second actuation", "more than one rollback was carried out: %s" % brief(rows))
        expect(done[0]["to"] == good, "wrong target", brief(rows))
        expect(len({row["operation"] for row in rows}) == len(rows), "duplicate row", brief(rows))
        came, gone = self.watcher.events()
        expect(came == 1 and gone == 0, "second actuation", "`current` was put in place %d times and deleted %d times" % (came, gone))
        since = [name for name, _ in service.starts()[self.marked:]]
        if crashes:  # Its keeper starts it again until it is rolled back; that is no doing of rollbackd's.
            since = [name for name in since if name != bad]
        expect(since == [good], "second actuation", "starts since the trouble began: %s, rows %s" % (since, brief(rows)))
        stands = {row["release"]: row["standing"] for row in self.get("/api/v1/releases?service=tiny")[1]["releases"]}
        expect(stands.get(bad) == "bad" and stands.get(good) == "good", "standing", stands)
        return rows
