"""`rollbackctl replay` over what a real Prometheus has recorded, and over what rollbackd itself has."""
import datetime
import json
import os
import subprocess
import time
import unittest

from harness import BINARIES, Prometheus, Scenario, has, pull, rollback_of, settled, trigger
from fleet import RULES  # (harness says where it is)

# 62 s, so that no sample lies on a window's border: there Prometheus 2 and 3 differ.
RATIO = ('sum by (service, environment) (rate(http_requests_total{code=~"5.."}[62s])) '
         '/ sum by (service, environment) (rate(http_requests_total[62s])) > 0.1')
RULE = {"groups": [{"name": "g", "rules": [{"alert": "ErrorRatio", "expr": RATIO, "labels": {"rollbackd_action": "rollback"}}]}]}
LABELS = 'service="shop",environment="prod",job="shop",instance="a:80"'


def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def seconds_of(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


def recording(start):
    """Half an hour of 20 requests a second, scraped every 5 s; a fifth of them fails from 900 s to 1,200 s."""
    lines = []
    for code, per_second in (("200", 16), ("500", 4)):
        for at in range(0, 1800, 5):
            bad = max(0, min(at, 1200) - 900)
            value = bad * 4 if code == "500" else at * 20 - bad * (20 - per_second)
            lines.append('http_requests_total{code="%s",%s} %d %d' % (code, LABELS, value, start + at))
    lines += ["up{%s} 1 %d" % (LABELS, start + at) for at in range(0, 1800, 5)]
    return "\n".join(lines) + "\n# EOF\n"


def replay(*arguments, code=0):
    done = subprocess.run([os.path.join(BINARIES, "rollbackctl"), "--format", "json", "replay", *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def row(answer, rule):
    return next(r for r in answer["rules"] if r["rule"] == rule)


@unittest.skipUnless(has("prometheus") and has("promtool"), "prometheus and promtool are not installed")
class OfPrometheus(Scenario):
    def test_the_file_the_server_and_prometheus_itself_name_the_same_instants(self):
        start = int(time.time()) // 60 * 60 - 7200
        prometheus = Prometheus({})
        self.addCleanup(prometheus.close)
        path, rules = os.path.join(prometheus.directory, "recording.om"), os.path.join(prometheus.directory, "rules.json")
        with open(path, "w", encoding="utf-8") as out:
            out.write(recording(start))
        with open(rules, "w", encoding="utf-8") as out:
            json.dump(RULE, out)
        subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", path, os.path.join(prometheus.directory, "data")],
                       check=True, capture_output=True, timeout=60)
        self.server(prometheus)
        released = ("--release", "shop/prod:v1@%d" % start, "--release", "shop/prod:v2@%d" % (start + 600))

        of_file = replay(path, "--rules", rules, *released)
        of_server = replay("--from", prometheus.url, "--start", str(start), "--end", str(start + 1795), "--step", "5s", "--rules", rules,
                           *released)

        true_at = [at for element in prometheus.query_range(RATIO, seconds=1795, step=5, end=start + 1795) for at, _ in element["values"]]
        self.assertEqual(row(of_file, "ErrorRatio")["first_fired"], rfc3339(true_at[0]))
        self.assertEqual([span["to"] for span in row(of_file, "ErrorRatio")["firing"]], [rfc3339(true_at[-1] + 5)])
        self.assertEqual(of_server["rules"], of_file["rules"])
        self.assertEqual(of_server["events"], of_file["events"])
        decisions = [e for e in of_file["events"] if e["kind"] == "decision"]
        self.assertEqual([(e["details"]["decision"], e["details"]["target"]) for e in decisions], [("rollback", "v1")])

    def test_what_a_server_refuses_is_said_in_its_words(self):
        prometheus = self.server(Prometheus({}, rules={"rules.json": RULE}))
        done = subprocess.run([os.path.join(BINARIES, "rollbackctl"), "replay", "--from", prometheus.url + "/nowhere", "--start", "1h", "--end",
                               "1s", "--rules", os.path.join(prometheus.directory, "rules.json")],
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("does not give", done.stderr)


class OfRollbackd(Scenario):
    def test_a_recorded_rollback_is_decided_again_at_its_instant(self):
        fleet, service = self.shop()
        service.release("v2", "crash", when=trigger(service))
        fleet.start()
        settled(fleet, service, "v1")
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        pull(service)
        rollback_of(fleet, service, "v2")
        settled(fleet, service, "v1")
        path = os.path.join(fleet.root, "recording.om")
        code, text = fleet.get("/api/v1/dump", raw=True)
        self.assertEqual(code, 200, text)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)

        answer = replay(path, "--config", fleet.config, "--rules-directory", RULES)

        truth = next(d for d in fleet.decisions(service) if d["decision"] == "rollback")
        told = [e for e in answer["events"] if e["kind"] == "decision" and e["details"]["decision"] == "rollback"]
        self.assertEqual([(e["details"]["release"], e["details"]["target"]) for e in told], [("v2", "v1")])
        operation = fleet.get("/api/v1/operations/" + truth["operation"])[1]
        # Between the evidence and the decision, which waited for a second opinion.
        self.assertGreater(seconds_of(told[0]["time"]), operation["decision"]["timing"]["seen"] - 0.5)
        self.assertLess(seconds_of(told[0]["time"]), seconds_of(truth["at"]) + 0.5)
        releases = [e["text"] for e in answer["events"] if e["kind"] == "release"]
        self.assertEqual(len(releases), 3, releases)
        self.assertIn("the rollback that was decided, as it was recorded", releases[2])
        self.assertEqual(replay(path, "--config", fleet.config, "--rules-directory", RULES), answer)  # The same each time.

        crashed = row(answer, "ProcessCrashed")["first_fired"]
        began, ended = seconds_of(answer["recording"]["from"]), seconds_of(answer["recording"]["to"])
        asked = replay("--from", "unix:" + fleet.socket, "--start", "%.3f" % began, "--end", "%.3f" % ended, "--step", "50ms",
                       "--rules", os.path.join(RULES, "crash.json"))
        self.assertLess(abs(seconds_of(row(asked, "ProcessCrashed")["first_fired"]) - seconds_of(crashed)), 0.1)


if __name__ == "__main__":
    unittest.main()
