"""Starts rollbackd with services of its own in a scratch directory, and talks to it. For the demo and the scenario tests."""
import glob
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RULES = os.path.join(HERE, "..", "..", "rules")


CLAIMED = {}  # port: a socket whose name says to everybody who asks here that it is taken, also while nobody listens on it


def free_port():
    """A loopback port that nobody listens on and no other process of ours was given, below the range the kernel takes outgoing connections'
    ports from. Ours until give_back() or our end."""
    for _ in range(200):
        port = random.randrange(15000, 32000)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind("\0rollbackd-port-%d" % port)
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
            CLAIMED[port] = claim
            return port
        except OSError:
            claim.close()
    raise OSError("no free port on 127.0.0.1 between 15000 and 32000")


def give_back(port):
    claim = CLAIMED.pop(port, None)
    if claim:
        claim.close()


class Unix(http.client.HTTPConnection):
    """HTTP over the daemon's unix socket."""

    def __init__(self, path, timeout=120):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class NotInTime(AssertionError):
    pass


PATIENCE = 1  # Tests wait that many times longer before they give up: a machine with much beside it is slow, not wrong.


def wait_for(what, seconds, condition, every=0.02):
    """The first true value of `condition`, or NotInTime naming `what` after `seconds`. Polls: processes and HTTP offer no event to wait for."""
    seconds *= PATIENCE
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise NotInTime("not within %g s: %s" % (seconds, what))
        time.sleep(every)


class Service:
    """One service on disk: releases as directories, `current` as a link, and its part of the configuration."""

    def __init__(self, fleet, name, environment="demo", **settings):
        self.fleet, self.name, self.environment = fleet, name, environment
        self.root = os.path.join(fleet.root, name)
        self.releases = os.path.join(self.root, "releases")
        self.current = os.path.join(self.root, "current")
        self.log_directory = os.path.join(self.root, "log")
        self.log = os.path.join(self.log_directory, "app.log")
        os.makedirs(self.releases)
        os.makedirs(self.log_directory)
        self.port = free_port()
        self.settings, self.parent, self.process = settings, "keeper", {}  # `process`: more of the component's process.

    def release(self, release, behaviour="good", **more):
        """Makes a release directory."""
        directory = os.path.join(self.releases, release)
        os.makedirs(directory)
        shutil.copy2(os.path.join(HERE, "shop"), os.path.join(directory, "shop"))
        with open(os.path.join(directory, "release.json"), "w", encoding="utf-8") as out:
            json.dump(dict({"id": release, "behaviour": behaviour}, **more), out)
        return directory

    def link(self, release):
        """Puts `current` on a release, as a deployment from outside does."""
        scratch = self.current + ".new"
        os.symlink(os.path.join("releases", release), scratch)
        os.replace(scratch, self.current)

    def live(self):
        return os.path.basename(os.readlink(self.current))

    def url(self, path="/health"):
        return "http://127.0.0.1:%d%s" % (self.port, path)

    def configuration(self):
        environment = {"PORT": str(self.port), "LOG": self.log}
        environment.update(self.settings.get("process_environment", {}))
        body = {
            "name": self.name, "environment": self.environment, "automation": "automatic",
            "components": [{"name": "app", "driver": "symlink", "releases": self.releases, "current": self.current,
                            # A keeper, also where systemd runs: Fleet.close() must end what it began, and no unit of the machine's.
                            "process": dict({"manager": "supervised", "parent": self.parent,
                                             "command": [os.path.join(self.current, "shop")],
                                             "environment": environment, "stop_timeout": "2s"}, **self.process)}],
            "checks": [{"name": "health", "type": "http", "url": self.url(), "interval": "250ms",
                        "timeout": self.fleet.check_timeout},
                       {"name": "app-log", "type": "log", "path": os.path.join(self.log_directory, "*.log"),
                        "patterns": {"critical": "FATAL|panic"}}],
            "identity": {"url": self.url("/version"), "json_pointer": "/release"},
            "policy": {"bake_time": "60s", "start_grace": self.fleet.start_grace, "settle": self.fleet.settle, "cooldown": "0s",
                       "budget": {"rollbacks": 20, "per": "1h"}, "trust_existing": "live",
                       "deadline": dict(self.fleet.deadline)},
            "verify": [{"type": "checks_healthy", "for": "500ms", "within": self.fleet.healthy_within}],
        }
        for key, value in self.settings.items():
            if key == "policy":
                body["policy"].update(value)
            elif key != "process_environment":
                body[key] = value
        return {key: value for key, value in body.items() if value is not None}


class Fleet:
    """A scratch directory with services, a daemon over them, and its API."""
    check_timeout = "200ms"  # of each service's health check
    start_grace, settle, healthy_within, deadline = "2s", "1s", "10s", {}  # What each service gets where it says nothing else.

    def __init__(self, binaries, root=None):
        self.binaries = binaries
        self.root = root or tempfile.mkdtemp(prefix="rollbackd-")
        self.state = os.path.join(self.root, "state")
        self.config = os.path.join(self.root, "rollbackd.json")
        self.socket = os.path.join(self.state, "rollbackd.sock")
        self.log = os.path.join(self.root, "rollbackd.log")
        self.services, self.top, self.daemon, self.port = [], {}, None, free_port()

    def service(self, name, **settings):
        service = Service(self, name, **settings)
        self.services.append(service)
        return service

    def write_configuration(self):
        body = dict({"state_directory": self.state, "listen": "127.0.0.1:%d" % self.port, "log_level": "debug",
                     "services": [s.configuration() for s in self.services]}, **self.top)
        scratch = self.config + ".new"
        with open(scratch, "w", encoding="utf-8") as out:
            json.dump(body, out, indent=2)
        os.replace(scratch, self.config)

    def environment(self):
        return dict({"ROLLBACKD_RULES_DIRECTORY": RULES}, **os.environ)

    def rollbackd(self, *arguments):
        """Another rollbackd over the same configuration, to its end: (exit code, output)."""
        done = subprocess.run([os.path.join(self.binaries, "rollbackd"), "--config", self.config, *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300, env=self.environment(), check=False)
        return done.returncode, done.stdout + done.stderr

    def start(self, environment=None, wait=True):
        self.write_configuration()
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen([os.path.join(self.binaries, "rollbackd"), "--config", self.config], stdout=log, stderr=log,
                                           stdin=subprocess.DEVNULL, env=dict(self.environment(), **(environment or {})))
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds=60):
        def ready():
            if self.daemon.poll() is not None:
                raise AssertionError("rollbackd ended with %s:\n%s" % (self.daemon.returncode, self.tail()))
            try:
                return self.get("/-/ready", raw=True)[0] == 200
            except OSError:
                return False
        wait_for("rollbackd is ready", seconds, ready)

    def tail(self, lines=40):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                return "".join(log.readlines()[-lines:])
        except FileNotFoundError:
            return ""

    def request(self, method, path, body=None, raw=False):
        connection = Unix(self.socket)
        try:
            connection.request(method, path, body=json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            text = response.read().decode()
            return response.status, text if raw else json.loads(text)
        finally:
            connection.close()

    def get(self, path, raw=False):
        return self.request("GET", path, raw=raw)

    def post(self, path, **body):
        return self.request("POST", path, body)

    def status(self, service):
        rows = self.get("/api/v1/status")[1]["services"]
        return next(row for row in rows if row["service"] == service.name)

    def operations(self, service=None, **query):
        path = "/api/v1/operations?limit=1000" + "".join("&%s=%s" % item for item in query.items())
        rows = self.get(path + ("&service=" + service.name if service else ""))[1]
        return rows

    def decisions(self, service):
        return self.get("/api/v1/decisions?limit=1000&service=" + service.name)[1]

    def ctl(self, *arguments):
        """rollbackctl over the unix socket: (exit code, output)."""
        done = subprocess.run([os.path.join(self.binaries, "rollbackctl"), "--url", "unix:" + self.socket, *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stdout + done.stderr

    def deploy(self, service, release, seconds=20):
        """Announced deployment; returns once the switch is in the history."""
        status, answer = self.post("/api/v1/deploy", service=service.name, release=release)
        assert status == 202, answer
        operation = answer["operation"]

        def ended():
            code, row = self.get("/api/v1/operations/" + operation)
            return row if code == 200 and row["status"] not in ("planned", "running", "verifying") else None
        return wait_for("the deployment of %s has ended" % release, seconds, ended)

    def stop_daemon(self, with_signal=signal.SIGTERM):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.send_signal(with_signal)
            try:
                self.daemon.wait(60)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait(10)

    def end_keepers(self):
        """Ends the services' keepers (and with them the services): they survive the daemon on purpose."""
        names = ["%s.%s" % (service.name, service.environment) for service in self.services]
        # An actor keeps its services' directories beside the state directory, which is the daemon's. A second component's keeper has a
        # directory of its own in its service's.
        directories = [os.path.join(state, "services", name) for name in names for state in (self.state, self.state + "-actor")]
        for path in [path for each in directories for path in glob.glob(each + "/keeper.sock") + glob.glob(each + "/*/keeper.sock")]:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as keeper:
                    keeper.settimeout(10)
                    keeper.connect(path)
                    keeper.send(json.dumps({"do": "end"}).encode())
                    while keeper.recv(16384):
                        pass
            except OSError:
                pass  # No keeper there: nothing to end.

    def close(self, keep_files=False):
        self.stop_daemon()
        self.end_keepers()
        for port in [self.port] + [service.port for service in self.services]:
            give_back(port)
        if not keep_files:
            shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
