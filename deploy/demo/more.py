"""The demo's scenes about metrics, configuration and alerts from outside. Each has a service of its own, so that they can go on side by side."""
import http.client
import http.server
import json
import os
import subprocess
import threading
import urllib.request

from fleet import free_port, wait_for
from scenes import QUIET, expect, healthy, nothing_for, rolled_back

HISTORY = 36.0  # Seconds of the release before that its latency is compared with: the rule looks back 30 s at first.


class Orders:
    """Customers of one service: each orders again as soon as it was answered."""

    def __init__(self, service, customers=2):
        self.service, self.ended = service, threading.Event()
        self.threads = [threading.Thread(target=self.order, daemon=True) for _ in range(customers)]
        for thread in self.threads:
            thread.start()

    def order(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=2)
        while not self.ended.is_set():
            try:
                connection.request("GET", "/order")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()  # The service is being restarted.
                self.ended.wait(0.05)

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(5)


class Exporter(http.server.BaseHTTPRequestHandler):
    """A scrape target apart from the service, as an exporter is."""

    def do_GET(self):
        body = b"# TYPE http_requests_total counter\nhttp_requests_total{code=\"200\"} 1000\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Program:
    """A server from Debian's packages, ready once /-/ready answers."""

    def __init__(self, name, directory, port, arguments, config):
        os.makedirs(directory)
        self.name, self.url = name, "http://127.0.0.1:%d" % port
        path = os.path.join(directory, "config.yml")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(config, out)
        with open(os.path.join(directory, "log"), "ab") as log:
            self.process = subprocess.Popen([name, "--config.file=" + path, "--web.listen-address=127.0.0.1:%d" % port, *arguments],
                                            cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(name + " is ready", 20, self.ready)

    def ready(self):
        expect(self.process.poll() is None, "%s ended with %s" % (self.name, self.process.returncode))
        try:
            with urllib.request.urlopen(self.url + "/-/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class More:
    def __init__(self, fleet):
        self.fleet, self.ends = fleet, []

        def scraped(name, **settings):
            service = fleet.service(name, **settings)
            service.settings["checks"] = [
                {"name": "health", "type": "http", "url": service.url(), "interval": "250ms", "timeout": "200ms"},
                {"name": "metrics", "type": "scrape", "url": service.url("/metrics"), "interval": "1s", "timeout": "1s"}]
            return service
        long = {"bake_time": "10m"}
        self.orders = scraped("orders", policy=long)
        self.few = scraped("few", policy=long)
        self.slow = scraped("slow", policy=long)
        self.settings = fleet.service("settings")
        self.settings.settings["checks"] = [
            {"name": "health", "type": "http", "url": self.settings.url(), "interval": "250ms", "timeout": "200ms"},
            {"name": "release-json", "type": "config", "paths": [os.path.join(self.settings.current, "release.json")],
             "command": [os.path.join(self.settings.current, "shop"), "--check"]}]
        self.told = fleet.service("told")
        fleet.top["routes"] = [{"match": ['severity="critical"'], "action": "rollback"}]
        self.dark = fleet.service("dark", policy=long)
        self.exporter_port, self.prometheus_port = free_port(), free_port()
        rules = os.path.join(self.dark.root, "rules.json")
        with open(rules, "w", encoding="utf-8") as out:
            json.dump({"groups": [{"name": "dark", "rules": [
                {"alert": "PrometheusSaysDown", "expr": "dark:well == 0", "labels": {"rollbackd_action": "rollback"}}]}]}, out)
        self.dark.settings["rule_files"] = [rules]
        self.dark.settings["checks"] = [
            {"name": "health", "type": "http", "url": self.dark.url(), "interval": "250ms", "timeout": "200ms"},
            {"name": "exporter", "type": "scrape", "url": "http://127.0.0.1:%d/metrics" % self.exporter_port, "interval": "1s", "timeout": "1s"},
            {"name": "prometheus", "type": "promql", "url": "http://127.0.0.1:%d" % self.prometheus_port, "interval": "1s", "timeout": "1s",
             "queries": {"dark:well": "vector(1)"}}]
        for service in fleet.services:
            service.release("v1")
            service.link("v1")

    def started(self, thing):
        self.ends.append(thing.end)
        return thing

    def start(self):
        self.fleet.start()
        self.customers = self.started(Orders(self.orders)), self.started(Orders(self.slow))

    def end(self):
        while self.ends:
            self.ends.pop()()

    def errors(self):
        return rolled_back(self.orders, "v2", "errors-20", because="HighErrorRatio")

    def invalid_configuration(self):
        return rolled_back(self.settings, "v2", "bad-config", because="ConfigurationInvalid")

    def alert_from_outside(self):
        healthy(self.told, "v1")
        code, answer = self.fleet.ctl("--format", "json", "token", "create", "alertmanager", "--role", "operator", "--reason", "sends alerts")
        expect(code == 0, answer)
        port = free_port()
        hook = {"url": "http://127.0.0.1:%d/api/v1/alertmanager" % self.fleet.port,
                "http_config": {"authorization": {"type": "Bearer", "credentials": json.loads(answer)["token"]}}}
        alertmanager = self.started(Program(
            "prometheus-alertmanager", os.path.join(self.fleet.root, "alertmanager"), port,
            ["--storage.path=data", "--cluster.listen-address=", "--log.level=warn"],
            {"route": {"receiver": "rollbackd", "group_by": ["service"], "group_wait": "100ms"},
             "receivers": [{"name": "rollbackd", "webhook_configs": [hook]}]}))

        def alert():
            healthy(self.told, "v2")
            subprocess.run(["amtool", "--alertmanager.url=" + alertmanager.url, "alert", "add", "alertname=OrdersLost", "severity=critical",
                            "service=told", "environment=demo", "--annotation=summary=a tenth of the orders never arrives"],
                           check=True, timeout=20, stdin=subprocess.DEVNULL)
        return rolled_back(self.told, "v2", "good", because="OrdersLost", trigger="alert", meanwhile=alert)

    def latency(self):
        healthy(self.slow, "v1")
        threading.Event().wait(HISTORY)  # Not a wait for something: it is the history itself.
        return rolled_back(self.slow, "v2", "slow", because="LatencyRegression", within=60)

    def few_requests(self):
        few = self.few
        healthy(few, "v1")
        few.release("v2", "errors-20")
        self.fleet.deploy(few, "v2")
        healthy(few, "v2")
        connection = http.client.HTTPConnection("127.0.0.1", few.port, timeout=5)
        codes = []
        for _ in range(5):
            connection.request("GET", "/order")
            answer = connection.getresponse()
            answer.read()
            codes.append(answer.status)
        connection.close()
        expect(codes.count(500) == 1, "the orders were answered %s" % codes)
        nothing_for([few], QUIET)
        row = self.fleet.status(few)
        expect(row["release"] == "v2" and not row["blind_rules"], "%s is live, blind: %s" % (row["release"], row["blind_rules"]))
        return "1 of 5 orders answered 500, and nothing is blind; v2 stays"

    def unreachable(self):
        dark = self.dark
        exporter = http.server.ThreadingHTTPServer(("127.0.0.1", self.exporter_port), Exporter)
        serving = threading.Thread(target=exporter.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        prometheus = self.started(Program(
            "prometheus", os.path.join(self.fleet.root, "prometheus"), self.prometheus_port,
            ["--storage.tsdb.path=data", "--log.level=warn"], {"global": {"scrape_interval": "1m"}}))
        healthy(dark, "v1")
        dark.release("v2")
        self.fleet.deploy(dark, "v2")
        healthy(dark, "v2")
        wait_for("everything is seen", 20, lambda: not self.fleet.status(dark)["blind_rules"])
        exporter.shutdown()
        exporter.server_close()
        serving.join(5)
        prometheus.end()
        wanted = {"HighErrorRatio", "PrometheusSaysDown"}
        wait_for("its rules are blind", 30, lambda: wanted <= set(self.fleet.status(dark)["blind_rules"]))
        nothing_for([dark], QUIET)
        row = self.fleet.status(dark)
        expect(row["release"] == "v2" and row["standing"] == "candidate", "v2 is %s" % row["standing"])
        return "blind: %s; v2 stays a candidate" % ", ".join(row["blind_rules"])

    def scenes(self):
        return [("j", "healthy, but 20 % of requests answer 500", self.errors),
                ("k", "its configuration is invalid", self.invalid_configuration),
                ("l", "an alert from an Alertmanager says so", self.alert_from_outside),
                ("m", "its latency trebles", self.latency),
                ("n", "1 of 5 requests answers 500: no rollback", self.few_requests),
                ("o", "Prometheus, exporter unreachable: no rollback", self.unreachable)]
