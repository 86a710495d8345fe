"""Our answers beside those of a real Prometheus that scrapes the same target with the same rules: the same keys, types, statuses and words; and
promtool, rollbackctl and a recording over the same daemon."""
import http.server
import json
import os
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from harness import Prometheus, Scenario, has, wait_for

EXPOSITION = b"""# TYPE app_requests_total counter
app_requests_total{code="200",path="/"} 1200
app_requests_total{code="500",path="/a \\"b\\""} 3
# TYPE app_temperature_celsius gauge
app_temperature_celsius 21.5
app_small 0.00000012
app_odd NaN
app_large 1e+22
"""

RULES = {"groups": [{"name": "app", "interval": "1s", "rules": [
    {"record": "app:requests:sum", "expr": "sum(app_requests_total)", "labels": {"kind": "sum"}},
    {"alert": "Errors", "expr": "app_requests_total{code=\"500\"} > 2", "labels": {"severity": "page"},
     "annotations": {"summary": "{{ $value }} errors"}},
    {"alert": "Never", "expr": "app_temperature_celsius < 0", "for": "5m"}]}]}

LABEL_SETS = ("metric", "labels", "annotations")


class Target(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(EXPOSITION)))
        self.end_headers()
        self.wfile.write(EXPOSITION)

    def log_message(self, *_):
        pass


def ask(url, path, parameters=(), form=False):
    """(status, document). `parameters` are pairs; as a form they are posted, as Grafana does."""
    text = urllib.parse.urlencode(list(parameters))
    request = urllib.request.Request(url + path, data=text.encode()) if form else urllib.request.Request(url + path + ("?" + text if text else ""))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read().decode())


def shape(document, key=None):
    """A document with each value replaced by its type; of a list the shapes that its elements have; label sets without their names."""
    if isinstance(document, dict):
        return "label set" if key in LABEL_SETS and all(isinstance(v, str) for v in document.values()) else {
            name: shape(value, name) for name, value in document.items()}
    if isinstance(document, list):
        shapes = []
        for element in document:
            if shape(element) not in shapes:
                shapes.append(shape(element))
        return shapes
    return "number" if isinstance(document, (int, float)) and not isinstance(document, bool) else type(document).__name__


def missing(theirs, ours, path=""):
    """What of Prometheus's shape ours lacks or has otherwise. More keys are allowed: our own fields."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [problem for name, value in theirs.items()
                for problem in (missing(value, ours[name], path + "." + name) if name in ours else [path + "." + name + " is missing"])]
    if isinstance(theirs, list) and isinstance(ours, list):
        return ["%s: no element of ours is %s: %s" % (path, one, ours) for one in theirs if all(missing(one, other) for other in ours)]
    return [] if theirs == ours else ["%s: %s, of ours %s" % (path, theirs, ours)]


class SameAsPrometheus(Scenario):
    def setUp(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        place = "127.0.0.1:%d" % server.server_port
        self.prometheus = self.server(Prometheus(
            {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
             "scrape_configs": [{"job_name": "app", "static_configs": [{"targets": [place]}]}]}, rules={"app.yml": RULES}))
        self.fleet_, service = self.shop()
        rules = os.path.join(self.fleet_.root, "app.json")
        with open(rules, "w", encoding="utf-8") as out:
            json.dump(RULES, out)
        self.fleet_.top["rule_files"] = [rules]
        service.settings["checks"] = service.configuration()["checks"] + [
            {"name": "app", "type": "scrape", "url": "http://" + place + "/metrics", "interval": "1s", "job": "app"}]
        self.fleet_.start()
        self.urls = {"prometheus": self.prometheus.url, "rollbackd": "http://127.0.0.1:%d" % self.fleet_.port}
        for url in self.urls.values():
            wait_for("the alert fires at %s" % url, 30, lambda url=url: any(
                alert["state"] == "firing" and alert["labels"]["alertname"] == "Errors"
                for alert in ask(url, "/api/v1/alerts")[1]["data"]["alerts"]))
            wait_for("the sum is recorded at %s" % url, 30, lambda url=url: ask(
                url, "/api/v1/query", [("query", "app:requests:sum")])[1]["data"]["result"])

    def test_we_answer_as_prometheus_does(self):
        """One pair of servers for all of it: what they answer is asked, nothing is changed."""
        for name in sorted(name for name in dir(self) if name.startswith("check_")):
            if "promtool" in name and not has("promtool"):
                continue
            with self.subTest(name):
                getattr(self, name)()

    def both(self, path, parameters=(), form=False):
        return [ask(self.urls[name], path, parameters, form) for name in ("prometheus", "rollbackd")]

    def check_answers_have_prometheuss_form(self):
        end = time.time()
        span = [("start", "%.3f" % (end - 3)), ("end", "%.3f" % end), ("step", "1")]
        requests = [
            ("/api/v1/query", [("query", "app_requests_total")]), ("/api/v1/query", [("query", "1.5")]),
            ("/api/v1/query", [("query", "'text'")]), ("/api/v1/query", [("query", "app_temperature_celsius[1m]")]),
            ("/api/v1/query", [("query", "max_over_time(app_temperature_celsius[1m])[5s:1s]")]),
            ("/api/v1/query", [("query", "absent_metric")]), ("/api/v1/query", [("query", "up"), ("stats", "all"), ("timeout", "5s")]),
            ("/api/v1/query_range", [("query", "app_requests_total")] + span), ("/api/v1/query_range", [("query", "2")] + span),
            ("/api/v1/rules", []), ("/api/v1/rules", [("type", "alert")]), ("/api/v1/rules", [("type", "record")]), ("/api/v1/alerts", []),
            ("/api/v1/labels", []), ("/api/v1/labels", [("match[]", "app_small"), ("match[]", "up")]), ("/api/v1/label/code/values", []),
            ("/api/v1/label/code/values", [("match[]", "app_requests_total{code=~'5..'}")]),
            ("/api/v1/series", [("match[]", "app_requests_total"), ("match[]", "app_small")]),
            ("/api/v1/series", [("match[]", "app_small"), ("end", "1000")]), ("/api/v1/query_exemplars", [("query", "up")] + span[:2]),
            ("/api/v1/format_query", [("query", "sum  by(a)(up)/2")]), ("/api/v1/status/buildinfo", [])]
        for path, parameters in requests:
            for form in (False, True) if path.split("/")[-1] in ("query", "query_range", "series", "labels", "query_exemplars") else (False,):
                with self.subTest(path=path, parameters=parameters, form=form):
                    (status, theirs), (our_status, ours) = self.both(path, parameters, form)
                    self.assertEqual((our_status, missing(shape(theirs), shape(ours))), (status, []))

    def check_values_are_the_same_to_the_last_character(self):
        for expression in ("sum(app_requests_total)", "sum(app_small)", "sum(app_odd)", "sum(app_large)", "sum(app_temperature_celsius)/3",
                           "1/0", "-1/0", "vector(1e-300)", "1e20", "123456789.125", "sum by (code, path) (app_requests_total)", "'a \"b\"'",
                           "app:requests:sum * 0", "sort_desc(sum by (code) (app_requests_total))"):
            with self.subTest(expression=expression):
                (_, theirs), (_, ours) = self.both("/api/v1/query", [("query", expression)])

                def values(document):
                    result = document["data"]["result"]
                    if document["data"]["resultType"] != "vector":
                        return result[1]
                    rows = [(element["metric"] if "by" in expression else None, element["value"][1]) for element in result]
                    return rows if "sort" in expression else sorted(rows, key=str)
                self.assertEqual(values(ours), values(theirs))

    def check_what_is_wrong_is_refused_with_the_same_status_and_word(self):
        alike = [  # Word for word.
            ("/api/v1/query", [("query", "1"), ("time", "never")]), ("/api/v1/query", [("query", "1"), ("timeout", "never")]),
            ("/api/v1/query_range", [("query", "1"), ("start", "10"), ("end", "5"), ("step", "1")]),
            ("/api/v1/query_range", [("query", "1"), ("start", "1"), ("end", "5"), ("step", "0")]),
            ("/api/v1/query_range", [("query", "1"), ("start", "1"), ("end", "5"), ("step", "x")]),
            ("/api/v1/query_range", [("query", "1"), ("start", "1"), ("end", "5")]),
            ("/api/v1/query_range", [("query", "1"), ("end", "5"), ("step", "1")]),
            ("/api/v1/query_range", [("query", "1"), ("start", "0"), ("end", "11001"), ("step", "1")]),
            ("/api/v1/series", [])]
        of_a_kind = [("/api/v1/query", [("query", "sum(")]), ("/api/v1/query", []), ("/api/v1/series", [("match[]", "sum(up)")]),
                     ("/api/v1/query", [("query", "app_requests_total * on(job) app_requests_total")]),
                     ("/api/v1/query", [("query", "label_replace(label_replace(app_requests_total, 'code', 'x', '', ''), 'path', 'y', '', '')")]),
                     ("/api/v1/query_range", [("query", "up[5m]"), ("start", "0"), ("end", "11"), ("step", "1")]),
                     ("/api/v1/rules", [("type", "odd")]), ("/api/v1/format_query", [("query", "(")])]
        for path, parameters in alike + of_a_kind:
            with self.subTest(path=path, parameters=parameters):
                (status, theirs), (our_status, ours) = self.both(path, parameters)
                self.assertNotEqual(status, 200)
                self.assertEqual((our_status, ours["status"], ours["errorType"]), (status, theirs["status"], theirs["errorType"]), ours)
                if (path, parameters) in alike:
                    self.assertEqual(ours["error"], theirs["error"])

    def check_promtool_asks_us_as_it_asks_prometheus(self):
        def promtool(*arguments):
            done = subprocess.run(["promtool", "query", *arguments], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout
        end = int(time.time()) + 2  # Past the first samples, whenever in this second they came.
        for url in self.urls.values():
            self.assertIn("=> 1203 @[", promtool("instant", url, "sum(app_requests_total)"))
            self.assertIn("1203 @[", promtool("range", "--start=%d" % (end - 3), "--end=%d" % end, "--step=1s", url, "sum(app_requests_total)"))
            self.assertEqual(promtool("series", "--match=app_requests_total", url).count("__name__"), 2)
            self.assertEqual(promtool("labels", url, "code").split(), ["200", "500"])

    def check_rollbackctl_shows_the_same_to_people_and_writes_a_recording(self):
        fleet = self.fleet_

        def ctl(*arguments):
            done = subprocess.run([os.path.join(fleet.binaries, "rollbackctl"), "--url", "unix:" + fleet.socket, *arguments],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
            return done.returncode, done.stdout, done.stderr
        code, out, err = ctl("query", "app_requests_total{code='500'}")
        self.assertEqual(code, 0, err)
        self.assertRegex(out, r'SERIES +VALUE\napp_requests_total\{.*path="/a \\"b\\"".*\} +3\n')
        code, out, _ = ctl("query", "app_temperature_celsius", "--range", "2s", "--step", "1s")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"SERIES +TIME +VALUE\n")
        self.assertRegex(out, r"T.*Z +21\.5\n")
        code, out, err = ctl("query", "sum(app_requests_total")
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(err, r"\n  sum\(app_requests_total\n {24}\^\n")
        path = os.path.join(fleet.root, "recording")
        code, _, err = ctl("dump", path)
        self.assertEqual(code, 0, err)
        with open(path, encoding="utf-8") as recording:
            lines = recording.read().split("\n")
        self.assertRegex(lines[0], r'^# EPOCH service="shop",environment="demo",release="v1" [0-9]+(\.[0-9]{1,9})?$')
        self.assertEqual(lines[-2:], ["# EOF", ""])
        samples = [line for line in lines if line.startswith("app_requests_total{") and 'code="500"' in line]
        self.assertGreaterEqual(len(samples), 1)
        self.assertRegex(samples[0], r'path="/a \\"b\\"".*\} 3 [0-9]+\.[0-9]{1,9}$')


if __name__ == "__main__":
    unittest.main()
