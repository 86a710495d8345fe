"""The audit log of a real daemon: several principals, an automatic rollback, a kill -9 in its middle; nothing missing, and no byte that
can be changed unseen. Statistics and history agree about the same run."""
import json
import os
import re
import unittest
import urllib.error
import urllib.request

from harness import UNENDED, Door, Scenario, pull, rollback_of, settled, trigger, wait_for


def over_tcp(fleet, path, token=None, **body):
    """A POST over TCP; the HTTP status."""
    request = urllib.request.Request("http://127.0.0.1:%d%s" % (fleet.port, path), data=json.dumps(body).encode(), method="POST")
    if token:
        request.add_header("Authorization", "Bearer " + token)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def entries(fleet):
    """The entries of the log, oldest first, as they are on disk."""
    with open(os.path.join(fleet.state, "audit.log"), encoding="utf-8") as log:
        return [json.loads(line) for line in log if line.startswith("{") and line.endswith("}\n")]


def noted(fleet, count=1, **wanted):
    """Waits until so many entries are on disk that have these members (`outcome` by its beginning)."""
    def look():
        rows = [row for row in entries(fleet)
                if all(row[name].startswith(value) if name == "outcome" else row[name] == value for name, value in wanted.items())]
        return rows if len(rows) >= count else None
    return wait_for("the audit log has %d of %s" % (count, wanted), 10, look)


class Audit(Scenario):
    def verify(self, fleet, *more):
        return fleet.ctl("audit", "verify", "--state", fleet.state, *more)

    def test_everybodys_changes_an_automatic_rollback_and_a_kill_are_one_unbroken_chain(self):
        fleet = self.fleet()
        door = Door(fleet)
        fleet, service = self.shop(fleet, hooks=door.hooks)
        fleet.top["token_file"] = os.path.join(fleet.root, "tokens")
        fleet.start()
        settled(fleet, service, "v1")
        me = "uid:%d" % os.getuid()

        code, token = fleet.ctl("token", "create", "ci", "--role", "operator", "--reason", "the pipeline")
        self.assertEqual(code, 0, token)
        secret = re.search(r"rbk_\S+", token).group(0)
        self.assertEqual(over_tcp(fleet, "/api/v1/suspend", secret, service="shop", reason="a migration"), 200)
        self.assertEqual(fleet.ctl("resume", "shop", "--reason", "it is over")[0], 0)
        self.assertEqual(over_tcp(fleet, "/api/v1/suspend", None, service="shop", reason="let me"), 401)
        self.assertEqual(over_tcp(fleet, "/-/reload", secret), 403)
        service.release("v2", "health-500", when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")

        pull(service)
        door.wait()
        fleet.daemon.kill()
        fleet.daemon.wait(60)
        door.open()
        fleet.start()
        ended = rollback_of(fleet, service, "v2")
        settled(fleet, service, "v1")

        noted(fleet, principal=me, action="token.create", target="ci", reason="the pipeline", outcome="done")
        noted(fleet, principal="token:ci", action="suspend", reason="a migration", outcome="done")
        noted(fleet, principal=me, action="resume", reason="it is over", outcome="done")
        refused = noted(fleet, principal="anonymous", action="suspend", outcome="refused")[0]
        self.assertTrue(refused["from"].startswith("127.0.0.1:"), refused)
        noted(fleet, principal="token:ci", action="reload", outcome="refused")
        noted(fleet, principal=me, action="deploy", target="v2", outcome="succeeded")
        by_itself = noted(fleet, principal="rollbackd", action="rollback", operation=ended["operation"], outcome=ended["status"])[0]
        self.assertEqual((by_itself["service"], by_itself["target"]), ("shop", "v1"))
        self.assertEqual(by_itself["reason"], ended["reason"])
        self.assertNotEqual(by_itself["reason"], "")
        self.assertTrue(all(row["principal"] and row["reason"] for row in entries(fleet)))

        code, output = self.verify(fleet)
        self.assertEqual(code, 0, output)
        self.assertIn("ok: %d entries in order" % len(entries(fleet)), output)
        with open(os.path.join(fleet.state, "audit.log"), encoding="utf-8") as log:
            self.assertNotIn(secret, log.read())
        self.assertIn("rollback", fleet.ctl("audit", "show", "shop", "--principal", "rollbackd")[1])
        self.assertIn("rollbackd_audit_ok 1", fleet.get("/metrics", raw=True)[1])
        self.stats_agree_with_history(fleet)
        self.head_is_in_the_system_log(fleet)
        self.tampering_is_found(fleet)

    def test_a_rollback_without_the_daemon_is_in_the_chain_too(self):
        fleet, service = self.shop()
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2")
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        fleet.stop_daemon()

        code, output = fleet.rollbackd("rollback", "shop", "--to", "v1", "--reason", "by hand at night", "--offline", "--force")

        self.assertEqual(code, 0, output)
        principal = "uid:%d offline" % os.getuid()
        noted(fleet, principal=principal, action="rollback", target="v1", reason="by hand at night", outcome="begun")
        noted(fleet, principal=principal, action="rollback", target="v1", reason="by hand at night", outcome="succeeded")
        self.assertEqual(self.verify(fleet)[0], 0)

    def stats_agree_with_history(self, fleet):
        rows = fleet.operations()
        stats = json.loads(fleet.ctl("--format", "json", "stats", "--since", "1h")[1])
        rollbacks = [row for row in rows if row["kind"] == "rollback" and row["status"] not in UNENDED]
        good = [row for row in rollbacks if row["status"] == "succeeded"]

        self.assertEqual(stats["operations"], len(rows))
        self.assertEqual((stats["rollbacks"], stats["succeeded"]), (len(rollbacks), len(good)))
        self.assertAlmostEqual(stats["success_rate"], len(good) / len(rollbacks))
        self.assertEqual({one["kind"]: one["count"] for one in stats["by_kind"]},
                         {kind: sum(row["kind"] == kind for row in rows) for kind in {row["kind"] for row in rows}})
        lengths = sorted(row["duration_seconds"] for row in rollbacks)
        self.assertAlmostEqual(stats["durations"]["total"]["max_seconds"], lengths[-1], places=6)
        ratio = [line for line in fleet.get("/metrics", raw=True)[1].splitlines() if line.startswith("rollbackd_rollback_success_ratio{")]
        self.assertAlmostEqual(float(ratio[0].rsplit(" ", 1)[1]), stats["success_rate"], msg="the metric counts the same")
        self.assertEqual(fleet.ctl("history", "--kind", "rollback", "--since", "1h", "--release", "v2")[1].count("\n"), 1 + len(rollbacks))
        code, output = fleet.ctl("history", "--status", "great")
        self.assertEqual(code, 1)
        self.assertIn("succeeded", output)

    def head_is_in_the_system_log(self, fleet):
        fleet.stop_daemon()
        fleet.start()
        heads = wait_for("the head is in the log", 10, lambda: re.findall(r"audit head seq=(\d+) hash=([0-9a-f]{64})", fleet.tail(500)))
        self.assertEqual(self.verify(fleet, "--head", heads[-1][1])[0], 0)

    def tampering_is_found(self, fleet):
        fleet.stop_daemon()
        path = os.path.join(fleet.state, "audit.log")
        with open(path, "rb") as log:
            whole = log.read()
        head = entries(fleet)[-1]["hash"]
        lines = whole.splitlines(keepends=True)
        edited = whole.replace(b"a migration", b"a MIGRATION", 1)
        for what, text in (("edited", edited), ("removed", b"".join(lines[:2] + lines[3:])), ("inserted", b"".join(lines[:3] + lines[1:])),
                           ("reordered", b"".join(lines[:2] + [lines[3], lines[2]] + lines[4:])), ("cut off", whole[:-20])):
            with open(path, "wb") as log:
                log.write(text)
            code, output = self.verify(fleet)
            self.assertEqual(code, 1, what)
            self.assertIn(what, output)
        with open(path, "wb") as log:
            log.write(b"".join(lines[:-1]))
        self.assertEqual(self.verify(fleet)[0], 0, "nothing in the log itself tells that its end is missing")
        self.assertEqual(self.verify(fleet, "--head", head)[0], 1)


if __name__ == "__main__":
    unittest.main()
