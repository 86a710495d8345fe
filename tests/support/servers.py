"""Real servers for the scenario tests, from Debian's packages: each on a loopback port and in a directory of its own, ended by its own
process id.

    with Prometheus({"scrape_configs": [...]}, rules={"self.yml": text}) as prometheus:
        prometheus.query("up")

Python's standard library is all it needs. A configuration is a dict (JSON is YAML) or YAML text.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "deploy", "demo"))

from fleet import free_port, give_back, wait_for  # noqa: E402


class Refused(AssertionError):
    """The server answered with an error; its own words follow."""


class Server:
    """One process that is ready once /-/ready says so. It does not start by itself: call start(), or use it in a with statement."""

    program = ready_path = None

    def __init__(self, config, directory=None, port=None, arguments=()):
        self.own_directory = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="rollbackd-%s-" % self.program)
        os.makedirs(self.directory, exist_ok=True)
        self.port = port or free_port()
        self.url = "http://127.0.0.1:%d" % self.port
        self.config_path = os.path.join(self.directory, "config.yml")
        self.log_path = os.path.join(self.directory, "log")
        self.arguments, self.process = list(arguments), None
        self.write_config(config)

    def write_config(self, config):
        """Replaces the configuration file; a running server takes it at reload()."""
        self.config = config
        with open(self.config_path, "w", encoding="utf-8") as out:
            out.write(config if isinstance(config, str) else json.dumps(config, indent=2))

    def command(self):
        raise NotImplementedError

    def start(self, seconds=20):
        """Starts it and waits until it is ready; AssertionError with its last words when it ends instead."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command() + self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for("%s is ready" % self.program, seconds, self.is_ready)
        except AssertionError:
            self.stop()
            raise
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError("%s ended with %s:\n%s" % (self.program, self.process.returncode, self.tail()))
        try:
            with urllib.request.urlopen(self.url + self.ready_path, timeout=30) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self, with_signal=signal.SIGTERM):
        """Ends it, by SIGKILL if it has not gone within a minute. Its data stay, so that start() goes on from them."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(with_signal)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(60)

    def close(self):
        self.stop()
        give_back(self.port)
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    def tail(self, lines=30):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return "".join(log.readlines()[-lines:])
        except FileNotFoundError:
            return ""

    def request(self, method, path, body=None, **query):
        """(status, text); an HTTP error is an answer too. A query value may be a list: the parameter is repeated."""
        if query:
            path += "?" + urllib.parse.urlencode(query, doseq=True)
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, method=method, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")

    def get(self, path, **query):
        """The JSON of a successful answer; Refused with the server's words otherwise."""
        status, text = self.request("GET", path, **query)
        if status != 200:
            raise Refused("%s %s: %d %s" % (path, query, status, text.strip()))
        return json.loads(text)

    def reload(self):
        status, text = self.request("POST", "/-/reload")
        if status != 200:
            raise Refused("reload of %s: %d %s" % (self.program, status, text.strip()))


class Prometheus(Server):
    """Debian's Prometheus.

    config    its configuration; with `rules`, their files are added to rule_files (the configuration must be a dict then)
    rules     file name -> text or dict, written beside the configuration
    """

    program, ready_path = "prometheus", "/-/ready"

    def __init__(self, config, rules=None, **more):
        self.rule_texts = dict(rules or {})
        super().__init__(config, **more)

    def write_config(self, config):
        if self.rule_texts:
            config = dict(config, rule_files=list(config.get("rule_files", [])) + sorted(self.rule_texts))
        for name, text in self.rule_texts.items():
            with open(os.path.join(self.directory, name), "w", encoding="utf-8") as out:
                out.write(text if isinstance(text, str) else json.dumps(text, indent=2))
        super().write_config(config)

    def command(self):
        return [self.program, "--config.file=" + self.config_path, "--storage.tsdb.path=" + os.path.join(self.directory, "data"),
                "--web.listen-address=127.0.0.1:%d" % self.port, "--web.enable-lifecycle", "--log.level=warn"]

    def query(self, expression, at=None):
        """The result of an instant query, as the API gives it."""
        more = {"time": "%.3f" % at} if at is not None else {}
        return self.get("/api/v1/query", query=expression, **more)["data"]["result"]

    def query_range(self, expression, seconds=60, step=1, end=None):
        end = time.time() if end is None else end
        span = {"start": "%.3f" % (end - seconds), "end": "%.3f" % end, "step": step}
        return self.get("/api/v1/query_range", query=expression, **span)["data"]["result"]

    def value(self, expression):
        """The number of the first series, or None where there is none."""
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else None

    def rules(self):
        """Every rule of every group, in order."""
        return [rule for group in self.get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]

    def alerts(self, name=None, state=None):
        """Active alerts, by name and state ("pending", "firing") if given."""
        return [alert for alert in self.get("/api/v1/alerts")["data"]["alerts"]
                if name in (None, alert["labels"]["alertname"]) and state in (None, alert["state"])]

    def targets(self):
        return self.get("/api/v1/targets")["data"]["activeTargets"]

    def wait_scraped(self, job=None, seconds=20):
        """Waits until every target (of `job`) has been scraped with success; the targets."""
        def look():
            mine = [target for target in self.targets() if job in (None, target["labels"]["job"])]
            return mine if mine and all(target["health"] == "up" for target in mine) else None
        return wait_for("every target of %s is scraped" % (job or "any job"), seconds, look)

    def wait_value(self, expression, seconds=30, wanted=bool):
        """Waits until `wanted(value of the expression)`; the value. None is passed where there is no series."""
        def look():
            value = self.value(expression)
            return (value,) if wanted(value) else None
        return wait_for("`%s` has the wanted value" % expression, seconds, look, every=0.1)[0]


class Alertmanager(Server):
    """Debian's Alertmanager, alone: no cluster unless `cluster_port` is given (then `peers` are other ones' cluster ports)."""

    program, ready_path = "prometheus-alertmanager", "/-/ready"

    def __init__(self, config, cluster_port=None, peers=(), **more):
        self.cluster_port, self.peers = cluster_port, list(peers)
        super().__init__(config, **more)

    def command(self):
        cluster = "127.0.0.1:%d" % self.cluster_port if self.cluster_port else ""
        return [self.program, "--config.file=" + self.config_path, "--storage.path=" + os.path.join(self.directory, "data"),
                "--web.listen-address=127.0.0.1:%d" % self.port, "--cluster.listen-address=" + cluster, "--log.level=warn",
                *("--cluster.peer=127.0.0.1:%d" % peer for peer in self.peers)]

    def post_alerts(self, *alerts):
        """Hands alerts in as Prometheus does: each a dict with labels, and annotations, startsAt, endsAt, generatorURL where wanted."""
        status, text = self.request("POST", "/api/v2/alerts", body=list(alerts))
        if status != 200:
            raise Refused("alerts: %d %s" % (status, text.strip()))

    def alerts(self, *matchers):
        """What it holds, by matchers such as 'alertname="Down"'."""
        return self.get("/api/v2/alerts", **({"filter": list(matchers)} if matchers else {}))


def webhook(url, **more):
    """An Alertmanager configuration that sends everything at once to one webhook."""
    receiver = dict({"url": url, "send_resolved": True, "max_alerts": 0}, **more)
    return {"route": {"receiver": "hook", "group_by": ["alertname"], "group_wait": "100ms", "group_interval": "1s",
                      "repeat_interval": "1h"},
            "receivers": [{"name": "hook", "webhook_configs": [receiver]}]}


def targets(*addresses, **more):
    """A scrape job's static targets: addresses "host:port", labels as keywords."""
    return [{"targets": list(addresses), "labels": {key: str(value) for key, value in more.items()}}]
