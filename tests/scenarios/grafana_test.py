"""The dashboards and self-alerts of grafana/: held against themselves, promtool, and a real Prometheus over a real rollbackd."""
import json
import math
import os
import re
import subprocess
import tempfile
import unittest

from harness import (BINARIES, HERE, NotInTime, Prometheus, Scenario, has, held_by, pull, rollback_of, settled, targets, trigger, wait_for)

ROOT = os.path.join(HERE, "..", "..")
GRAFANA = os.path.join(ROOT, "grafana")
RULES = os.path.join(GRAFANA, "prometheus", "rollbackd-alerts.yml")
DASHBOARDS = ("overview", "service")
UNITS = {"none", "s", "percentunit", "cps", "short", "bytes", "dateTimeFromNow"}
# Panels that may have nothing to show though a service was rolled back and held: none.
MAY_BE_EMPTY = set()


def read(path):
    with open(path, encoding="utf-8") as text:
        return text.read()


def dashboard(name):
    return json.loads(read(os.path.join(GRAFANA, "dashboards", name + ".json")))


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def all_expressions(board):
    """(where, expression) of every panel, mark and variable; a variable as the selector inside label_values."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield "panel %r" % panel["title"], target["expr"]
    for mark in board["annotations"]["list"]:
        if "expr" in mark:
            yield "mark %r" % mark["name"], mark["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield "variable %r" % variable["name"], label_values(variable)[0]


def label_values(variable):
    """(selector, label) of label_values(selector, label), the only query of variables that is used."""
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
    assert match, variable["query"]
    return match.groups()


def filled(expression, **values):
    """The expression as Grafana would send it."""
    values = dict({"__rate_interval": "20s", "__interval": "5s", "__range": "10m", "environment": "demo", "instance": ".*",
                   "service": "shop"}, **values)
    text = re.sub(r"\$\{?(\w+)\}?", lambda match: values[match.group(1)], expression)
    assert "$" not in text, expression
    return text


def documented_metrics():
    """The names of src/metrics/README.md, whose table a unit test holds against the real exposition; histograms with their series."""
    names = set()
    for name, kind in re.findall(r"^\| `(rollbackd_\w+)` \| (\w+) \|", read(os.path.join(ROOT, "src", "metrics", "README.md")), re.M):
        names |= {name + suffix for suffix in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return names


def metrics_of(expression):
    """Names of our metrics in an expression. A label or a matched value is never such a name."""
    return set(re.findall(r"\brollbackd_\w+", re.sub(r'"[^"]*"', '""', expression)))


def promtool(*arguments):
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


class Files(unittest.TestCase):
    """What can be said without running anything."""

    maxDiff = None

    def test_the_dashboards_are_what_the_generator_writes(self):
        done = subprocess.run(["/usr/bin/python3", os.path.join(GRAFANA, "build.py"), "--check"], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_ids_are_unique_and_the_dashboards_link_to_each_other(self):
        boards = {name: dashboard(name) for name in DASHBOARDS}
        self.assertEqual({name: board["uid"] for name, board in boards.items()},
                         {"overview": "rollbackd-overview", "service": "rollbackd-service"})
        for name, board in boards.items():
            with self.subTest(name):
                ids = [panel["id"] for panel in board["panels"]]
                self.assertEqual(len(ids), len(set(ids)))
                self.assertIsNone(board["id"])  # Another Grafana's number would overwrite a dashboard of this one.
                self.assertEqual(board["schemaVersion"], 39)
                self.assertEqual(board["tags"], ["rollbackd"])
                other = boards["service" if name == "overview" else "overview"]["uid"]
                self.assertEqual([link["url"] for link in board["links"]], ["/d/" + other])
        for url in re.findall(r'"url": "(/d/[^"?]+)', json.dumps(boards)):
            self.assertIn(url, ["/d/" + board["uid"] for board in boards.values()])

    def test_panels_do_not_overlap_and_fit_the_page(self):
        for name in DASHBOARDS:
            taken = set()
            for panel in dashboard(name)["panels"]:
                at = panel["gridPos"]
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
                self.assertFalse(cells & taken, "%s: %s lies on another panel" % (name, panel["title"]))
                taken |= cells

    def test_every_panel_says_how_to_read_it_and_in_which_unit(self):
        for name in DASHBOARDS:
            for panel in panels(dashboard(name)):
                with self.subTest(dashboard=name, panel=panel["title"]):
                    self.assertGreater(len(panel["description"]), 40)
                    self.assertIn(panel["fieldConfig"]["defaults"]["unit"], UNITS)
                    self.assertTrue(panel["targets"])
                    self.assertTrue(panel["fieldConfig"]["defaults"]["thresholds"]["steps"])
                    if panel["type"] != "table":
                        self.assertTrue(all(target["legendFormat"] != "__auto" for target in panel["targets"]))
                    letters = [target["refId"] for target in panel["targets"]]
                    self.assertEqual(len(letters), len(set(letters)))

    def test_the_readme_names_every_panel_and_every_alert(self):
        readme = read(os.path.join(GRAFANA, "README.md"))
        for name in DASHBOARDS:
            for panel in panels(dashboard(name)):
                self.assertIn(panel["title"], readme)
        for alert in re.findall(r"- alert: (\w+)", read(RULES)):
            self.assertIn("`%s`" % alert, readme)

    def test_no_data_source_is_wired_in(self):
        for name in DASHBOARDS:
            board = dashboard(name)
            self.assertEqual([v["query"] for v in board["templating"]["list"] if v["name"] == "datasource"], ["prometheus"])
            self.assertEqual(set(re.findall(r'"uid": "([^"]*)"', json.dumps(board))) - {board["uid"], "-- Grafana --"}, {"${datasource}"})

    def test_every_metric_that_is_asked_for_is_documented(self):
        known = documented_metrics()
        self.assertGreater(len(known), 30)
        for name in DASHBOARDS:
            for where, expression in all_expressions(dashboard(name)):
                found = metrics_of(expression)
                self.assertTrue(found, "%s: %s asks for none of our metrics" % (name, where))
                self.assertEqual(found - known, set(), "%s: %s" % (name, where))
        text = re.sub(r"\brollbackd_\w+=", "", read(RULES))
        self.assertEqual(metrics_of(text) - known, set())

    def test_every_alert_has_what_the_on_call_needs(self):
        parts = read(RULES).split("- alert: ")[1:]
        self.assertGreaterEqual(len(parts), 14)
        for part in parts:
            with self.subTest(part.split("\n")[0]):
                self.assertRegex(part, r"severity: (critical|warning)\n")
                for key in ("summary", "description", "runbook"):
                    self.assertRegex(part, r"\n          %s: \S" % key)

    def test_every_command_that_is_named_exists(self):
        texts = [read(RULES), read(os.path.join(GRAFANA, "README.md"))]
        texts += [panel["description"] for name in DASHBOARDS for panel in panels(dashboard(name))]
        texts += [mark.get("textFormat", "") for name in DASHBOARDS for mark in dashboard(name)["annotations"]["list"]]
        named = re.findall(r"\brollbackctl ([a-z]+)([^;`\n]*)", "\n".join(texts))
        self.assertIn("explain", [command for command, _ in named])
        for command in sorted({command for command, _ in named}):
            done = subprocess.run([os.path.join(BINARIES, "rollbackctl"), command, "--help"], capture_output=True, text=True, timeout=30,
                                  check=False)
            self.assertEqual(done.returncode, 0, "rollbackctl %s: %s" % (command, done.stderr))
            for option in re.findall(r"--[a-z-]+", " ".join(rest for other, rest in named if other == command)):
                self.assertIn(option, done.stdout, "rollbackctl " + command)

    def test_the_provisioning_files_hold_together(self):
        dashboards = read(os.path.join(GRAFANA, "provisioning", "dashboards", "rollbackd.yml"))
        datasources = read(os.path.join(GRAFANA, "provisioning", "datasources", "rollbackd.yml"))
        readme = read(os.path.join(GRAFANA, "README.md"))
        for text in (dashboards, datasources):
            self.assertTrue(re.search(r"^apiVersion: 1$", text, re.M))
        directory = re.search(r"^      path: (\S+)$", dashboards, re.M).group(1)
        self.assertIn("grafana/dashboards/*.json %s/" % directory, readme)  # The place from which the provider reads.
        variable = re.search(r"url: \$\{(\w+)\}", datasources).group(1)
        self.assertIn(variable + "=http", readme)


@unittest.skipUnless(has("promtool"), "promtool is not installed")
class Promtool(unittest.TestCase):
    def test_the_scrape_job_and_the_alerts_are_valid(self):
        code, output = promtool("check", "config", os.path.join(GRAFANA, "prometheus", "prometheus.yml"))
        self.assertEqual(code, 0, output)
        self.assertIn("SUCCESS: 1 rule files found", output)

    def test_the_alerts_fire_on_their_failure_and_not_before(self):
        for name in ("rollbackd-alerts_test.yml", "rollbackd-alerts-week_test.yml"):
            code, output = promtool("test", "rules", os.path.join(GRAFANA, "prometheus", name))
            self.assertEqual(code, 0, output)

    def test_every_expression_of_the_dashboards_parses(self):
        rules = [{"record": "expression:%s:%d" % (name, number), "expr": filled(expression)}
                 for name in DASHBOARDS for number, (_, expression) in enumerate(all_expressions(dashboard(name)))]
        self.assertGreater(len(rules), 60)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"groups": [{"name": "dashboards", "rules": rules}]}, file)
            file.flush()
            code, output = promtool("check", "rules", file.name)
        self.assertEqual(code, 0, output)


def fast(rules):
    """The same alerts in a group of their own that waits a second wherever the shipped ones wait minutes or hours."""
    text = re.sub(r"^        for: \S+$", "        for: 1s", rules, flags=re.M)
    return text.replace("- name: rollbackd\n", "- name: fast\n")


@unittest.skipUnless(has("prometheus"), "prometheus is not installed")
class RealPrometheus(Scenario):
    """rollbackd holds a service, then rolls it back; Prometheus has scraped all of it and evaluates the shipped alerts."""

    def setUp(self):
        self.fleet_, self.service = self.shop(hooks=[{"name": "note", "at": "after_switch", "command": ["/bin/true"]}])
        lonely = self.fleet_.service("lonely")  # A single release: nothing to go back to.
        lonely.release("v1")
        lonely.link("v1")
        self.fleet_.start()
        self.prometheus = self.server(Prometheus(
            {"global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
             "scrape_configs": [{"job_name": "rollbackd", "static_configs": targets("127.0.0.1:%d" % self.fleet_.port)}]},
            rules={"rollbackd-alerts.yml": read(RULES), "fast.yml": fast(read(RULES))}))
        self.prometheus.wait_scraped("rollbackd")

    def fires(self, alert, **labels):
        """Whether the fast one fires with these labels."""
        return any(one["labels"].items() >= labels.items() for rule in self.rules("fast") if rule["name"] == alert
                   for one in rule["alerts"] if one["state"] == "firing")

    def rules(self, group):
        groups = self.prometheus.get("/api/v1/rules")["data"]["groups"]
        return next(one["rules"] for one in groups if one["name"] == group)

    def hold_and_roll_back(self):
        fleet, service = self.fleet_, self.service
        settled(fleet, service, "v1")
        # Seen for longer than the step of a range query, so that its mark is there.
        self.prometheus.wait_value('count_over_time(rollbackd_release_info{service="shop",release="v1",live="1"}[1m])',
                                   wanted=lambda n: n is not None and n >= 5)
        service.release("v2")
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        self.assertEqual(fleet.ctl("mark", "good", "shop", "v2", "--reason", "it need not bake here")[0], 0)
        service.release("v3", "health-500", when=trigger(service))
        fleet.deploy(service, "v3")
        settled(fleet, service, "v3")
        self.assertEqual(fleet.ctl("suspend", "shop", "--reason", "so that it is held first")[0], 0)
        pull(service)
        held_by(fleet, service, "not_suspended")
        for alert in ("RollbackdHeld", "RollbackdSuspended"):
            wait_for(alert + " fires", 30, lambda name=alert: self.fires(name, service="shop", environment="demo"))

        self.assertEqual(fleet.ctl("resume", "shop")[0], 0)
        rollback_of(fleet, service, "v3")
        settled(fleet, service, "v2")
        self.prometheus.wait_value('rollbackd_operations_total{service="shop",kind="rollback",status="succeeded"}', wanted=lambda n: n == 1)
        self.prometheus.wait_value('rollbackd_held{service="shop"}', wanted=lambda n: n == 0)
        self.prometheus.wait_value('max(rollbackd_rollback_ready{service="shop"})', wanted=lambda n: n == 1)  # To v1, should v2 fail.

    def test_every_query_answers_and_the_alerts_are_healthy(self):
        self.hold_and_roll_back()

        for name in DASHBOARDS:
            board = dashboard(name)
            for panel in panels(board):
                for target in panel["targets"]:
                    with self.subTest(dashboard=name, panel=panel["title"], expr=target["expr"]):
                        self.assert_data(panel, target)
            for mark in (one for one in board["annotations"]["list"] if "expr" in one):
                with self.subTest(dashboard=name, mark=mark["name"]):
                    self.assertTrue(self.ranged(mark["expr"]), mark["expr"])
                    self.assertEqual(mark["target"]["expr"], mark["expr"])
            for variable in (one for one in board["templating"]["list"] if one["type"] == "query"):
                with self.subTest(dashboard=name, variable=variable["name"]):
                    self.assert_values(variable)
        self.check_what_the_panels_say()
        self.check_alerts()

    def asked(self, expression, **values):
        """An instant query's result; asked again where it is empty, which it is after a scrape that came too late."""
        try:
            return wait_for("an answer", 5, lambda: self.prometheus.query(filled(expression, **values)), every=0.2)
        except NotInTime:
            return []

    def assert_data(self, panel, target):
        result = self.asked(target["expr"]) if target["instant"] else self.ranged(target["expr"])
        if (panel["title"], target["expr"]) in MAY_BE_EMPTY:
            return
        self.assertTrue(result, "no data")
        numbers = [float(value) for series in result for _, value in series.get("values", [series.get("value")])]
        self.assertTrue(any(math.isfinite(number) for number in numbers), "nothing but NaN")
        if '=~"$environment"' in target["expr"]:
            self.assertTrue(self.asked(target["expr"], environment=".*"), "no data for all environments")
        if target["legendFormat"] != "__auto":  # The labels that the legend shows are those that the query keeps.
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            self.assertLessEqual(wanted, set(result[0]["metric"]))
        if panel["type"] == "table":
            shown = set(panel["transformations"][1]["options"]["include"]["names"]) & {"service", "environment", "reason", "kind", "status"}
            labels = set().union(*(set(self.asked(t["expr"])[0]["metric"]) for t in panel["targets"]))
            self.assertLessEqual(shown, labels)

    def ranged(self, expression, **values):
        return self.prometheus.query_range(filled(expression, **values), seconds=600, step=1)

    def assert_values(self, variable):
        selector, label = label_values(variable)
        values = self.prometheus.get("/api/v1/label/%s/values" % label, **{"match[]": filled(selector, environment="demo")})["data"]
        self.assertEqual(values, {"environment": ["demo"], "service": ["lonely", "shop"],
                                  "instance": ["127.0.0.1:%d" % self.fleet_.port]}[variable["name"]])

    def panel_query(self, board, title):
        """The result of the first target of a panel."""
        panel = next(one for one in panels(dashboard(board)) if one["title"] == title)
        target = panel["targets"][0]
        return self.asked(target["expr"]) if target["instant"] else self.ranged(target["expr"])

    def check_what_the_panels_say(self):
        def numbers(result, label):
            return {one["metric"].get(label, ""): float(one["value"][1]) for one in result}

        def peaks(result, label):
            return {one["metric"].get(label, ""): max(float(value) for _, value in one["values"]) for one in result}

        self.assertEqual(numbers(self.panel_query("overview", "Success rate"), ""), {"": 1})
        self.assertEqual(numbers(self.panel_query("overview", "Not ready"), ""), {"": 1})
        self.assertEqual(numbers(self.panel_query("overview", "Not ready, and why"), "service"), {"lonely": 0})
        self.assertEqual({(one["metric"]["service"], one["metric"]["release"]) for one in self.panel_query("overview", "Services now")},
                         {("lonely", "v1"), ("shop", "v2")})
        self.assertGreaterEqual(numbers(self.panel_query("overview", "Refusals by guard"), "guard")["not_suspended"], 1)
        self.assertGreaterEqual(peaks(self.panel_query("overview", "Decisions"), "decision")["hold"], 1)
        self.assertGreaterEqual(peaks(self.panel_query("service", "Decisions"), "decision")["rollback"], 1)
        self.assertGreaterEqual(peaks(self.panel_query("overview", "Operations by status"), "status")["succeeded"], 1)
        self.assertGreater(max(peaks(self.panel_query("overview", "Duration of rollbacks"), "le").values()), 0)
        phases = numbers(self.panel_query("overview", "Duration by phase"), "phase")
        self.assertGreater(phases["total"], phases["preflight"])
        self.assertGreater(max(peaks(self.panel_query("overview", "Detection time"), "le").values()), 0)
        self.assertEqual([one["metric"]["release"] for one in self.panel_query("service", "Live release")], ["v2"])
        self.assertEqual(numbers(self.panel_query("service", "Ready"), "reason"), {"ready": 1})
        standings = peaks(self.panel_query("service", "Standing over time"), "release")
        self.assertEqual(standings, {"v1": 2, "v2": 2, "v3": 3})  # good, good, bad: the numbers of build.py's STANDINGS.
        self.assertIn(0.0, [float(value) for one in self.panel_query("service", "Checks") for _, value in one["values"]])  # It failed.
        self.assertLess(numbers(self.panel_query("service", "Share of the deadline"), "")[""], 0.8)
        marks = {one["name"]: one["expr"] for one in dashboard("service")["annotations"]["list"] if "expr" in one}
        self.assertEqual({one["metric"]["release"] for one in self.ranged(marks["Releases"])}, {"v1", "v2", "v3"})
        self.assertEqual({one["metric"]["status"] for one in self.ranged(marks["Rollbacks"])}, {"succeeded"})

    def check_alerts(self):
        wait_for("every shipped alert was evaluated without an error", 20,
                 lambda: all(rule["health"] == "ok" for rule in self.rules("rollbackd")), every=0.2)
        shipped = self.rules("rollbackd")
        self.assertEqual([rule["name"] for rule in shipped], re.findall(r"- alert: (\w+)", read(RULES)))
        self.assertEqual([rule["name"] for rule in shipped if rule["state"] == "firing"], [])
        wait_for("RollbackdNotReady fires for the service that has nothing to go back to", 20,
                 lambda: self.fires("RollbackdNotReady", service="lonely"))
        self.assertFalse(self.fires("RollbackdNotReady", service="shop"))
        wait_for("RollbackdDown is quiet", 20, lambda: not self.fires("RollbackdDown"))

    def test_a_daemon_that_is_stopped_is_reported_and_one_that_is_back_is_not(self):
        settled(self.fleet_, self.service, "v1")
        wait_for("RollbackdDown is quiet: before the first scrape it had a reason to fire", 20, lambda: not self.fires("RollbackdDown"))

        self.fleet_.stop_daemon()

        instance = "127.0.0.1:%d" % self.fleet_.port
        wait_for("RollbackdDown fires", 20, lambda: self.fires("RollbackdDown", instance=instance, severity="critical"))
        shipped = next(rule for rule in self.rules("rollbackd") if rule["name"] == "RollbackdDown")
        self.assertEqual(shipped["state"], "pending")  # That one waits two minutes.

        self.fleet_.start()

        wait_for("RollbackdDown is over", 20, lambda: not self.fires("RollbackdDown"))
