"""Debian's monitoring plugins as exec checks of a real service: their series, what CRITICAL does, and what UNKNOWN must not do."""
import json
import os
import unittest

from harness import Scenario, pull, rollback_of, settled, standing, trigger, wait_for

PLUGINS = "/usr/lib/nagios/plugins"


def plugin(name, *arguments):
    return [os.path.join(PLUGINS, name), *map(str, arguments)]


def exec_check(name, command, **more):
    return dict({"name": name, "type": "exec", "command": command, "interval": "500ms", "timeout": "5s"}, **more)


def check_http(service, interval="500ms"):
    return exec_check("web", plugin("check_http", "-H", "127.0.0.1", "-p", service.port, "-u", "/health", "-t", 4), interval=interval)


def rules(service, **expressions):
    """A rule file of the service's own, whose alerts only tell."""
    path = os.path.join(service.root, "rules.json")
    with open(path, "w", encoding="utf-8") as out:
        alerts = [{"alert": name, "expr": expression} for name, expression in expressions.items()]
        json.dump({"groups": [{"name": "plugins", "rules": alerts}]}, out)
    return [path]


def told(fleet, service):
    """The rules that people were told of."""
    return {d["reason"].split(" ")[0] for d in fleet.decisions(service) if d["decision"] == "notify"}


def runs(fleet, result):
    """How often a plugin ended so, by the daemon's own metrics."""
    for line in fleet.get("/metrics", raw=True)[1].splitlines():
        if line.startswith("rollbackd_checks_total{") and 'type="exec"' in line and 'result="%s"' % result in line:
            return float(line.rsplit(" ", 1)[1])
    return 0


@unittest.skipUnless(os.path.exists(os.path.join(PLUGINS, "check_tcp")), "monitoring-plugins-basic is not installed")
class Plugins(Scenario):
    def test_performance_data_of_real_plugins_are_series_for_rules(self):
        fleet, service = self.shop()
        service.settings["checks"] = [
            check_http(service),
            exec_check("port", plugin("check_tcp", "-H", "127.0.0.1", "-p", service.port)),
            exec_check("disk", plugin("check_disk", "-w", "1%", "-c", "0%", "-p", "/")),
            exec_check("procs", plugin("check_procs")),
            exec_check("warning", plugin("check_dummy", 1, "look at me")),
        ]
        expressions = {
            "WebTime": 'plugin_perfdata{check="web", label="time", unit="s"} >= 0',
            "WebSize": 'plugin_perfdata{check="web", label="size", unit="B"} > 0',
            "PortTime": 'plugin_perfdata{check="port", label="time"} < plugin_perfdata_max{check="port", label="time"}',
            "DiskUsed": 'plugin_perfdata{check="disk", label="/", unit="B"} > 1e6',
            "DiskThreshold": 'plugin_perfdata_warning{check="disk", label="/"} < plugin_perfdata_max{check="disk", label="/"}',
            "Processes": 'plugin_perfdata{check="procs", label="procs"} > 0',
            "Warning": 'plugin_status{check="warning"} == 1 and probe_success == 1',
        }
        service.settings["rule_files"] = rules(service, **expressions)
        fleet.start()

        wait_for("every rule over a plugin's series fires", 20, lambda: told(fleet, service) >= set(expressions))

        settled(fleet, service, "v1")  # A warning is healthy.
        self.assertEqual(fleet.operations(service), [])

    def test_a_critical_plugin_rolls_a_baking_release_back(self):
        fleet, service = self.shop()
        service.settings["checks"] = [check_http(service)]
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2", "health-500", when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")

        pull(service)

        row = rollback_of(fleet, service, "v2")
        self.assertEqual((row["status"], row["to"]), ("succeeded", "v1"))
        settled(fleet, service, "v1")
        self.assertEqual(standing(fleet, service, "v2"), "bad")
        decision = next(d for d in fleet.decisions(service) if d["decision"] == "rollback")
        self.assertIn("health check web failed", decision["evidence"][0])

    def test_a_plugin_that_does_not_know_blinds_and_does_nothing(self):
        fleet, service = self.shop(policy={"bake_time": "3s"})
        verdict = os.path.join(service.root, "verdict")
        with open(verdict, "w", encoding="utf-8") as out:
            out.write("0")
        script = 'exec %s "$(cat %s)" "as told"' % (os.path.join(PLUGINS, "check_dummy"), verdict)
        service.settings["checks"] = [exec_check("told", ["/bin/sh", "-c", script], interval="250ms", timeout="2500ms")]
        fleet.start()
        settled(fleet, service, "v1")
        with open(verdict, "w", encoding="utf-8") as out:
            out.write("3")
        wait_for("it does not know", 10, lambda: runs(fleet, "unobserved") > 0)
        failed = runs(fleet, "failed")

        service.release("v2")
        service.link("v2")
        os.kill(fleet.status(service)["process"]["pid"], 9)

        def unjudged():
            row = fleet.status(service)
            return row.get("release") == "v2" and row["started"] and row["blind"]
        wait_for("v2 has started, and is not judged", 15, unjudged)
        begun = runs(fleet, "unobserved")
        wait_for("a bake time has passed twice", 20, lambda: runs(fleet, "unobserved") >= begun + 24)

        self.assertEqual(runs(fleet, "failed"), failed)
        self.assertEqual(fleet.operations(service, kind="rollback"), [])
        self.assertEqual((service.live(), standing(fleet, service, "v2")), ("v2", "candidate"), "nobody knows whether it is good")
        self.assertTrue(fleet.status(service)["blind_rules"])

        with open(verdict, "w", encoding="utf-8") as out:
            out.write("0")
        wait_for("known evidence makes it good", 20, lambda: standing(fleet, service, "v2") == "good")


if __name__ == "__main__":
    unittest.main()
