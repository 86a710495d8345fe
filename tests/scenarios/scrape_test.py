"""Metrics from outside: a real Prometheus as scrape target and as the server that answers queries, up and gone; and the same expositions
scraped by it and by us."""
import http.server
import json
import os
import threading
import time

from harness import Prometheus, Scenario, settled, wait_for

RULES = [
    # What a release could be rolled back for, by a scraped metric and by a query's answer: well while Prometheus runs.
    {"alert": "ScrapedIsBad", "expr": 'prometheus_build_info{job="monitored"} != 1 or rate(process_cpu_seconds_total[20s]) > 1000',
     "labels": {"rollbackd_action": "rollback", "severity": "critical"}},
    {"alert": "QueriedIsBad", "expr": "prom:targets:up != 1", "labels": {"rollbackd_action": "rollback", "severity": "critical"}},
    # Its outage is a fact of its own, for those who ask.
    {"alert": "TargetDown", "expr": "up == 0"},
    # What the service's other checks say is none of Prometheus's business.
    {"alert": "ProbeFails", "expr": "probe_success != 1", "labels": {"rollbackd_action": "rollback", "severity": "critical"}},
    {"alert": "Quantile", "expr": "histogram_quantile(0.5, sum by (service, environment, le) "
                                  "(rate(prometheus_http_request_duration_seconds_bucket[20s]))) >= 0"},
]


# Expositions that a Prometheus and we must take or refuse alike; those of OpenMetrics get their "# EOF" unless they have one.
TEXT = {
    "plain": "a 1\nb{c=\"d\"} 2\n", "no_newline": "a 1", "empty": "", "blank_lines": "\n  \n\t\n",
    "blanks": "a { b = \"c\" , } 1 \n", "no_space": "a{}1\n", "comment": "# anything \n#\n# HELP\na 1\n",
    "escapes": "a{b=\"\\\\ \\\" \\n \\d\"} 1\n", "infinite": "a +Inf\nb nan\nc -inf\n",
    "help_only": "# HELP a\n# HELP b some text\n", "types": "# TYPE a counter\n# TYPE b untyped\n# TYPE c summary\n",
    "twice": "a 1\na 1\n", "carriage_return": "a 1\r\n", "html": "<html>\n", "no_value": "a\n", "bad_value": "a x\n",
    "hexadecimal": "a 0x1p3\n", "underscore": "a 1_000\n", "too_large": "a 1e400\n", "single_quotes": "a{b='c'} 1\n",
    "open_brace": "a{b=\"c\" 1\n", "open_quote": "a{b=\"c} 1\n", "label_digit": "a{0b=\"c\"} 1\n",
    "label_colon": "a{b:c=\"d\"} 1\n", "comma_alone": "a{,} 1\n", "label_twice": "a{b=\"1\",b=\"2\"} 1\n",
    "bad_type": "# TYPE a meter\n", "three_numbers": "a 1 2 3\n", "float_time": "a 1 2.5\n", "bad_utf8": b"a{b=\"\xff\"} 1\n",
    "nul": b"a\0 1\n", "name_digit": "0a 1\n",
}
OPENMETRICS = {
    "plain": "a 1\nb{c=\"d\"} 2\n",
    "metadata": "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\n# HELP a_seconds text\na_seconds 1\n",
    "exemplar": "# TYPE a counter\na_total 1 # {b=\"c\"} 0.5\na_created 1\n",
    "exemplar_time": "# TYPE a counter\na_total 1 # {} 0.5 1.5\n",
    "types": "# TYPE a info\na_info{b=\"c\"} 1\n# TYPE d stateset\nd{d=\"e\"} 1\n# TYPE f gaugehistogram\nf_bucket{le=\"+Inf\"} 1\n",
    "unknown": "# TYPE a unknown\na 1\n",
    "eof_without_newline": "a 1\n# EOF", "no_eof": None, "after_eof": "a 1\n# EOF\nb 1\n", "newline_after_eof": "a 1\n# EOF\n\n",
    "blank_line": "a 1\n\n", "comment": "# anything\na 1\n", "carriage_return": "a 1\r\n", "two_spaces": "a  1\n",
    "leading_space": " a 1\n", "trailing_space": "a 1 \n", "trailing_comma": "a{b=\"c\",} 1\n",
    "space_in_braces": "a{b=\"c\", d=\"e\"} 1\n", "untyped": "# TYPE a untyped\n", "other_unit": "# UNIT a_bytes seconds\n",
    "nan_time": "a 1 nan\n", "bad_exemplar": "a_total 1 # {b=} 1\n", "bare_exemplar": "a_total 1 # {b=\"c\"}\n",
    "label_twice": "a{b=\"1\",b=\"2\"} 1\n",
}


class Expositions(http.server.BaseHTTPRequestHandler):
    """Each exposition at /text/NAME or /openmetrics/NAME."""

    def do_GET(self):
        _, kind, name = self.path.split("/")
        body = {"text": TEXT, "openmetrics": OPENMETRICS}[kind][name]
        if kind == "openmetrics":
            body = "a 1\n" if body is None else body if "# EOF" in body else body + "# EOF\n"
        body = body.encode() if isinstance(body, str) else body
        content_type = "text/plain; version=0.0.4" if kind == "text" else "application/openmetrics-text; version=1.0.0; charset=utf-8"
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256  # Two scrapers ask for all of them at once.


class Formats(Scenario):
    def test_an_exposition_is_taken_or_refused_as_prometheus_does(self):
        server = Server(("127.0.0.1", 0), Expositions)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        place = "127.0.0.1:%d" % server.server_port
        paths = {"text_" + name: "/text/" + name for name in TEXT}
        paths.update({"openmetrics_" + name: "/openmetrics/" + name for name in OPENMETRICS})
        prometheus = self.server(Prometheus({"global": {"scrape_interval": "3s", "scrape_timeout": "3s"}, "scrape_configs": [
            {"job_name": name, "metrics_path": path, "static_configs": [{"targets": [place]}]} for name, path in paths.items()]}))
        fleet, service = self.shop()
        service.settings["checks"] = service.configuration()["checks"] + [
            {"name": name, "type": "scrape", "url": "http://" + place + path, "interval": "3s", "timeout": "3s"} for name, path in paths.items()]
        fleet.start()

        def theirs():
            targets = {target["labels"]["job"]: target for target in prometheus.targets()}
            return targets if len(targets) == len(paths) and all(t["health"] != "unknown" for t in targets.values()) else None

        def ours():
            checks = {check["name"]: check for check in fleet.get("/api/v1/services?service=shop")[1]["checks"] if check["name"] in paths}
            return checks if all(check["ok"] + check["failed"] > 0 for check in checks.values()) else None

        by_prometheus = wait_for("Prometheus has scraped all", 20, theirs)
        by_us = wait_for("rollbackd has scraped all", 20, ours)

        def verdicts():
            return {name: "up" if by_us[name]["ok"] else "down" for name in paths}, {name: by_prometheus[name]["health"] for name in paths}
        until = time.monotonic() + 60
        while len(set(map(str, verdicts()))) > 1 and time.monotonic() < until:  # One of them may have waited for an answer in vain.
            time.sleep(1)
            by_prometheus, by_us = theirs() or by_prometheus, ours() or by_us
        self.assertEqual(*verdicts(), {name: target["lastError"] for name, target in by_prometheus.items() if target["lastError"]})


class Metrics(Scenario):
    def test_what_a_prometheus_says_is_judged_and_its_outage_is_blind_and_never_bad(self):
        prometheus = self.server(Prometheus({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "self", "static_configs": [{"targets": ["127.0.0.1:1"]}]}]}))
        prometheus.write_config({"global": {"scrape_interval": "1s"}, "scrape_configs": [
            {"job_name": "self", "static_configs": [{"targets": ["127.0.0.1:%d" % prometheus.port]}]}]})
        prometheus.reload()
        prometheus.wait_scraped("self")

        fleet, service = self.shop()
        rules = os.path.join(fleet.root, "rules.json")
        with open(rules, "w", encoding="utf-8") as out:
            json.dump({"groups": [{"name": "outside", "rules": RULES}]}, out)
        body = service.configuration()
        service.settings["checks"] = body["checks"] + [
            {"name": "metrics", "type": "scrape", "url": prometheus.url + "/metrics", "interval": "500ms", "timeout": "2s",
             "job": "monitored", "drop": ["go_gc_.*"]},
            {"name": "prom", "type": "promql", "url": prometheus.url, "interval": "500ms", "timeout": "2s",
             "queries": {"prom:targets:up": "min by (job) (up)"}}]
        service.settings["rule_files"] = [rules]
        fleet.start()
        settled(fleet, service, "v1")

        def verdicts():
            explained = fleet.get("/api/v1/services?service=shop")[1]
            return {rule["rule"]: rule["verdict"] for rule in explained["rules"] if rule["group"] == "outside"}

        def become(what, seconds=20, **wanted):
            wait_for("%s: %s" % (what, wanted), seconds, lambda: all(verdicts().get(rule) == v for rule, v in wanted.items()), every=0.1)

        def firing():
            return {alert["labels"]["alertname"] for alert in fleet.get("/api/v1/alerts")[1]["data"]["alerts"]}

        well = {"ScrapedIsBad": "ok", "QueriedIsBad": "ok", "TargetDown": "ok", "ProbeFails": "ok", "Quantile": "breached"}
        become("all that Prometheus says is live", **well)

        prometheus.stop()

        become("what it said is blind, and nothing else", ScrapedIsBad="blind", QueriedIsBad="blind", Quantile="blind",
               TargetDown="breached", ProbeFails="ok")
        self.assertIn("TargetDown", firing())
        self.assertFalse(firing() & {"ScrapedIsBad", "QueriedIsBad", "ProbeFails"})

        prometheus.start()

        become("it is believed again", **dict(well, Quantile="breached"))
        self.assertEqual(fleet.operations(service, kind="rollback"), [])
        self.assertEqual(service.live(), "v1")
