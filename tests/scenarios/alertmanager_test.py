"""Alerts from outside: a real Prometheus judges, real Alertmanagers send, and the daemon rolls back once, whatever comes twice."""
import datetime
import json
import os
import threading
import unittest
import urllib.error
import urllib.request

from harness import (UNENDED, Alertmanager, Door, Prometheus, Scenario, has, held_by, pull, reported_release, rollback_of, settled, standing,
                     targets, trigger, wait_for)

ROUTES = [{"match": ["severity=\"critical\""], "action": "rollback"}, {"match": ["severity=\"warning\""], "action": "notify"}]


def rfc3339(seconds_ago=0.0):
    return (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds_ago)).isoformat()


def alert(status="firing", starts_at=None, fingerprint="f1", **labels):
    everything = dict({"alertname": "OrdersFail", "severity": "critical", "service": "shop", "environment": "demo"}, **labels)
    return {"status": status, "labels": {k: v for k, v in everything.items() if v}, "annotations": {"summary": "orders fail"},
            "startsAt": starts_at or rfc3339(), "endsAt": "0001-01-01T00:00:00Z", "fingerprint": fingerprint}


def group(*alerts, key="{}:{alertname=\"OrdersFail\"}", **more):
    return dict({"version": "4", "groupKey": key, "truncatedAlerts": 0, "status": "firing", "receiver": "rollbackd",
                 "alerts": list(alerts)}, **more)


class Pushed(Scenario):
    def token(self, fleet, name="am", role="operator"):
        """The file with a new token's secret."""
        path = os.path.join(fleet.root, name + ".token")
        code, output = fleet.ctl("token", "create", name, "--role", role, "--output", path)
        self.assertEqual(code, 0, output)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        return path

    def push(self, fleet, token_file, body):
        """(status, answer) over TCP; status 0 when no daemon answers."""
        with open(token_file, encoding="utf-8") as file:
            secret = file.read().strip()
        request = urllib.request.Request("http://127.0.0.1:%d/api/v1/alertmanager" % fleet.port, data=json.dumps(body).encode(),
                                         headers={"Authorization": "Bearer " + secret, "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, {}

    def bad_release_live(self, fleet=None, **settings):
        """v2 is live and watched; its orders fail once it is told to, which no check of ours sees."""
        fleet, service = self.shop(fleet or self.fleet(routes=ROUTES), **settings)
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2", "broken-order", when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        return fleet, service

    def received(self, fleet, result):
        for line in fleet.get("/metrics", raw=True)[1].splitlines():
            if line.startswith("rollbackd_alerts_received_total{result=\"%s\"}" % result):
                return int(float(line.rsplit(" ", 1)[1]))
        raise AssertionError("no such metric")

    def rollbacks(self, fleet, service):
        return fleet.operations(service, kind="rollback")


@unittest.skipUnless(has("prometheus") and has("prometheus-alertmanager"), "prometheus and prometheus-alertmanager are not installed")
class RealAlertmanagers(Pushed):
    def test_three_alertmanagers_fifty_duplicates_and_a_kill_are_one_rollback(self):
        fleet = self.fleet(routes=ROUTES)
        door = Door(fleet)  # So that all of it comes in the middle of the rollback.
        fleet, service = self.bad_release_live(fleet, hooks=door.hooks)
        token = self.token(fleet)
        receiver = {"url": "http://127.0.0.1:%d/api/v1/alertmanager" % fleet.port, "send_resolved": True,
                    "http_config": {"authorization": {"type": "Bearer", "credentials_file": token}}}
        # Each with routes of its own, so that they call the same group by different keys.
        managers = []
        for number in range(3):
            root = {"receiver": "rollbackd", "group_by": ["alertname"] + ["service"] * (number > 0) + ["severity"] * (number > 1),
                    "group_wait": "100ms", "group_interval": "500ms", "repeat_interval": "500ms"}
            managers.append(self.server(Alertmanager({"route": root, "receivers": [{"name": "rollbackd", "webhook_configs": [receiver]}]})))
        rule = {"alert": "OrdersFail", "expr": "max_over_time(http_requests_total{code=\"500\"}[1m]) > 0",
                "labels": {"severity": "critical"}, "annotations": {"summary": "orders of {{ $labels.service }} fail"}}
        prometheus = self.server(Prometheus(
            {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "250ms"},
             "scrape_configs": [{"job_name": "shop", "static_configs": targets("127.0.0.1:%d" % service.port, service="shop",
                                                                               environment="demo")}],
             "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:%d" % m.port for m in managers]}]}]}},
            rules={"shop.json": {"groups": [{"name": "shop", "rules": [rule]}]}}))
        prometheus.wait_scraped("shop")
        self.assertEqual(self.rollbacks(fleet, service), [])

        pull(service)
        try:
            urllib.request.urlopen(service.url("/order"), timeout=30).close()
        except urllib.error.HTTPError as error:
            error.close()
        door.wait(30)
        self.assertEqual([row["status"] in UNENDED for row in self.rollbacks(fleet, service)], [True])
        held = wait_for("an Alertmanager holds it", 20, lambda: managers[0].alerts("alertname=\"OrdersFail\""))[0]
        again = alert(starts_at=held["startsAt"], fingerprint=held["fingerprint"], **held["labels"])
        for number in range(20):
            status, answer = self.push(fleet, token, group(again, key="replayed %d" % number))
            self.assertEqual((status, answer["alerts"][0]["result"]), (200, "duplicate"))
        before = self.received(fleet, "duplicate")
        self.assertEqual(self.received(fleet, "accepted"), 1)

        fleet.daemon.kill()
        fleet.daemon.wait(60)
        door.open()
        stop, statuses = threading.Event(), []

        def replay():
            while not stop.wait(0.05):
                statuses.append(self.push(fleet, token, group(again))[0])
        replaying = threading.Thread(target=replay)
        replaying.start()
        try:
            fleet.start()
            row = rollback_of(fleet, service, "v2")
            wait_for("fifty duplicates, many after the restart", 60,
                     lambda: self.received(fleet, "duplicate") >= max(25, 50 - before))
        finally:
            stop.set()
            replaying.join()

        self.assertEqual(row["status"], "succeeded", row)
        self.assertEqual((row["trigger"], row["cause"]), ("alert", "alert"))
        self.assertEqual(len(self.rollbacks(fleet, service)), 1, "exactly one")
        self.assertEqual((service.live(), reported_release(service)), ("v1", "v1"))
        self.assertEqual(standing(fleet, service, "v2"), "bad")
        self.assertEqual(self.received(fleet, "accepted"), 0, "after the restart everything was known")
        self.assertTrue(set(statuses) <= {0, 200}, set(statuses))

    def test_what_alertmanager_says_is_over_is_over(self):
        fleet, service = self.bad_release_live(automation="observe")
        token = self.token(fleet)
        receiver = {"url": "http://127.0.0.1:%d/api/v1/alertmanager" % fleet.port, "send_resolved": True,
                    "http_config": {"authorization": {"type": "Bearer", "credentials_file": token}}}
        manager = self.server(Alertmanager({"route": {"receiver": "rollbackd", "group_wait": "100ms", "group_interval": "500ms"},
                                            "receivers": [{"name": "rollbackd", "webhook_configs": [receiver]}]}))
        labels = {"alertname": "OrdersFail", "severity": "critical", "service": "shop"}
        starts_at = rfc3339()
        manager.post_alerts({"labels": labels, "startsAt": starts_at})
        held_by(fleet, service, "automation_allows")
        self.assertEqual([row["state"] for row in self.pushed(fleet)], ["firing"])
        manager.post_alerts({"labels": labels, "startsAt": starts_at, "endsAt": rfc3339()})

        wait_for("its end is known", 20, lambda: [row["state"] for row in self.pushed(fleet)] == ["resolved"])
        self.assertEqual(self.rollbacks(fleet, service), [])

    def pushed(self, fleet):
        return fleet.get("/api/v1/alerts")[1]["data"]["pushed"]


class Webhook(Pushed):
    def test_what_causes_nothing_and_says_why(self):
        fleet, service = self.bad_release_live()
        token = self.token(fleet)
        early = rfc3339()
        rows = [
            ("resolved", alert("resolved", early, "late")), ("duplicate", alert("firing", early, "late")),
            ("stale", alert(starts_at=rfc3339(7200), fingerprint="old")),
            ("unrouted", alert(fingerprint="nobody's", severity="info")),
            ("unknown_service", alert(fingerprint="another's", service="shopp")),
            ("refused", alert(starts_at=rfc3339(-60), fingerprint="tomorrow's")),
        ]
        for number, (result, one) in enumerate(rows):
            with self.subTest(result):
                status, answer = self.push(fleet, token, group(one, truncatedAlerts=number))
                self.assertEqual((status, answer["alerts"][0]["result"]), (200, result))
                self.assertEqual(self.received(fleet, result), 1)
        fleet.daemon.kill()
        fleet.daemon.wait(60)
        fleet.start()
        status, answer = self.push(fleet, token, group(alert("firing", early, "late")))
        self.assertEqual((status, answer["alerts"][0]["result"]), (200, "duplicate"), "its end is remembered across a restart")
        settled(fleet, service, "v2")
        self.assertEqual(self.rollbacks(fleet, service), [])

    def test_roles(self):
        fleet, service = self.bad_release_live()
        viewer, operator = self.token(fleet, "wall", "viewer"), self.token(fleet, "am")
        status, answer = self.push(fleet, viewer, group(alert()))
        self.assertEqual(status, 403)
        self.assertIn("needs the role operator", answer["error"]["why"])
        code, output = fleet.ctl("token", "list")
        self.assertEqual(code, 0)
        self.assertIn("wall", output)
        self.assertEqual(fleet.ctl("token", "create", "am", "--role", "admin")[0], 1, "its name is taken")
        self.assertEqual(fleet.ctl("token", "revoke", "am")[0], 0)
        self.assertEqual(self.push(fleet, operator, group(alert()))[0], 401)
        self.assertEqual(self.rollbacks(fleet, service), [])

    def test_a_single_alert_rolls_back(self):
        fleet, service = self.bad_release_live()
        status, answer = self.push(fleet, self.token(fleet), group(alert()))
        self.assertEqual((status, answer["alerts"][0]["result"]), (200, "accepted"))
        row = rollback_of(fleet, service, "v2")
        self.assertEqual((row["status"], row["trigger"]), ("succeeded", "alert"))


if __name__ == "__main__":
    unittest.main()
