"""Evidence that is none, and targets that are gone: flapping, no data, NaN, sources that are down, everything failing at once."""
import http.server
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import unittest

from harness import BINARIES, Scenario, has, held_by, refusing, wait_for

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))
import inject  # noqa: E402
from world import Tiny, World, tiny  # noqa: E402

QUIET = 4.0  # Seconds in which nothing may happen.


def rule(name, expression, wait="0s", **labels):
    return {"alert": name, "expr": expression, "for": wait, "labels": dict({"rollbackd_action": "rollback", "severity": "critical"}, **labels)}


class Exporter:
    """A metrics endpoint beside the service, which can be there, be gone, and say anything."""

    def __init__(self):
        self.text = ""
        exporter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                data = exporter.text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass
        self.handler, self.server, self.port = Handler, None, 0
        self.start()

    def start(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self.handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def check(self):
        return {"name": "app", "type": "scrape", "url": "http://127.0.0.1:%d/metrics" % self.port, "interval": "250ms", "timeout": "2s"}


class Trouble(Scenario):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.scratch = tempfile.mkdtemp(prefix="rollbackd-trouble-")
        cls.addClassCleanup(shutil.rmtree, cls.scratch, True)
        cls.program = tiny(cls.scratch)

    def world(self, rules=None, start=True, **settings):
        world = World(BINARIES, self.program, rules=rules and {"groups": [{"name": "trouble", "rules": rules}]}, **settings)
        self.addCleanup(self.end_of, world)
        if start:
            world.start()
            world.settled("v1")
        return world

    def end_of(self, world):
        if self.has_failed():
            sys.stderr.write("---- rollbackd of %s ----\n%s" % (self.id(), world.tail(40)))
        world.stop_daemon()
        code = world.daemon.returncode
        world.close()
        self.assertEqual(code, 0, "rollbackd was told to stop and ended with %s" % code)

    def exporter(self, text):
        exporter = Exporter()
        exporter.text = text
        self.addCleanup(exporter.stop)
        return exporter

    def nothing_is_done(self, world, seconds=QUIET):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.assertEqual(world.watcher.events(), (0, 0), "`current` was moved: " + world.told())
            time.sleep(0.1)
        self.assertEqual([name for name, _ in world.service_.starts()[world.marked:]], [], "it was restarted")

    def rolled_back(self, world, bad):
        """Shows that the daemon was awake all the time."""
        self.assertEqual([row["status"] for row in world.judge(bad)], ["succeeded"])

    def test_a_failure_that_flaps_faster_than_its_rule_waits_rolls_nothing_back(self):
        world = self.world([rule("Unhealthy", "probe_success == 0", "5s")])
        bad = world.next_bad()
        until = time.monotonic() + 2 * QUIET  # Longer than the rule waits; no failure of these lasts nearly as long.
        while time.monotonic() < until:
            world.service_.misbehave(bad)
            time.sleep(0.7)
            world.service_.behave(bad)
            time.sleep(0.7)
            self.assertEqual(world.watcher.events(), (0, 0), "it was rolled back")
        self.assertEqual(world.service_.live(), bad)
        self.assertEqual(world.paged(), [])

        world.service_.misbehave(bad)
        self.rolled_back(world, bad)

    def test_a_flapping_alert_is_one_incident_and_one_page(self):
        world = self.world(automation="observe")
        bad = world.next_bad()
        for _ in range(6):
            world.service_.misbehave(bad)
            wait_for("it fires", 10, lambda: "Unhealthy" in world.status(world.service_)["firing"])
            held_by(world, world.service_, "automation_allows")
            world.service_.behave(bad)
            wait_for("it fires no more", 10, lambda: "Unhealthy" not in world.status(world.service_)["firing"])

        held = [row for row in world.decisions(world.service_) if row["decision"] == "hold"]
        self.assertEqual(len({row["incident"] for row in held}), 1, held)
        wait_for("the page", 10, world.paged)
        if all(refusing(row) == ["automation_allows"] for row in held):  # Eyes that a standstill of the machine closed are told of too.
            self.assertEqual(len(world.paged()), 1, world.paged())
        self.assertEqual(world.service_.live(), bad)

    def test_without_data_nothing_is_done_and_nothing_becomes_good(self):
        exporter = self.exporter("app_errors 0\n")
        world = self.world([rule("Errors", "app_errors > 5")], more_checks=[exporter.check()], policy={"bake_time": "2s"})
        exporter.stop()
        bad = world.next_bad()

        self.nothing_is_done(world)
        row = world.status(world.service_)
        self.assertTrue(row["blind"], row)
        self.assertIn("Errors", row["blind_rules"])
        self.assertEqual(row["standing"], "candidate", "twice its bake time without evidence make no release good")

        # Or it would be unknown after ten bake times, on a machine that takes so long: what a slow start mixes with the release before waits
        # for a minute.
        world.service_.settings["policy"]["bake_time"] = "10m"
        world.write_configuration()
        self.assertEqual(world.ctl("reload")[0], 0)
        exporter.text = "app_errors 6\n"
        exporter.start()
        self.rolled_back(world, bad)

    def test_not_a_number_is_no_evidence(self):
        exporter = self.exporter("app_errors NaN\napp_failed 0\napp_total 0\n")
        rules = [rule("Errors", "app_errors > 5"), rule("Ratio", "app_failed / app_total > 0.1"), rule("NotEqual", "app_errors < 5")]
        world = self.world(rules, more_checks=[exporter.check()])
        bad = world.next_bad()
        self.nothing_is_done(world)
        self.assertEqual([one for one in world.status(world.service_)["firing"] if one in ("Errors", "Ratio", "NotEqual")], [])

        exporter.text = "app_errors 6\napp_failed 0\napp_total 0\n"
        self.rolled_back(world, bad)

    def test_all_sources_down_at_once_is_an_outage_of_monitoring(self):
        exporter, other = self.exporter("app_errors 0\n"), self.exporter("app_slow 0\n")
        checks = [exporter.check(), dict(other.check(), name="slow")]
        world = self.world([rule("Errors", "app_errors > 5"), rule("Slow", "app_slow > 1"), rule("Either", "app_errors > 5 or app_slow > 1"),
                            rule("Gone", "absent(app_errors)"), rule("Unhealthy", "probe_success == 0")], more_checks=checks)
        bad = world.next_bad()
        exporter.stop()
        other.stop()

        for name in ("Errors", "Slow", "Either"):  # Gone is blind too, or still sees the last sample.
            wait_for(name + " is blind", 10, lambda n=name: n in world.status(world.service_)["blind_rules"])
        self.nothing_is_done(world)
        self.assertEqual(world.rollbacks(bad), [])

        world.service_.misbehave(bad)
        self.rolled_back(world, bad)  # What is known is enough, whatever else is blind.

    def test_everything_failing_at_once_is_infrastructure(self):
        world = self.world(start=False, policy={"settle": "2s"})
        services = [world.service_]
        for number in range(5):
            service = Tiny(world, "tiny%d" % number, policy={"settle": "2s"})
            service.program = self.program
            service.release("v1")
            service.link("v1")
            world.services.append(service)
            services.append(service)
        world.start()
        for service in services:
            wait_for("v1 runs", 20, lambda s=service: world.status(s)["phase"] == "watching" and world.status(s)["started"] and s.says() == "v1")
            service.release("v2")
            world.deploy(service, "v2")
            wait_for("v2 runs", 20, lambda s=service: not world.status(s)["warming"] and world.status(s)["started"] and s.says() == "v2")

        # All within one moment of the daemon: it stands still meanwhile.
        world.daemon.send_signal(signal.SIGSTOP)
        try:
            wait_for("the daemon stands still", 20, lambda: inject.stands_still(world.daemon.pid))
            for service in services:
                service.misbehave("v2")
        finally:
            world.daemon.send_signal(signal.SIGCONT)

        for service in services:
            held_by(world, service, "not_shared_failure", 20)
        time.sleep(QUIET)
        for service in services:
            self.assertEqual(service.live(), "v2", "%s was rolled back for the failure of all" % service.name)
            self.assertEqual(world.operations(service, kind="rollback"), [])
        self.assertTrue(world.paged(), "nobody was told")

    @unittest.skipUnless(has("strace"), "strace is not installed")
    def test_a_target_deleted_between_decision_and_switch_is_not_switched_to(self):
        world = self.world()
        bad = world.next_bad()
        wait_for("protected", 20, lambda: world.status(world.service_)["protected"])
        # It stands still at every write to its state file, the records before the switch among them.
        daemon = world.daemon
        strace = inject.Strace(daemon.pid, "-P", os.path.join(world.state, "tiny.demo.state"), *inject.inject("pwrite64", "signal=STOP", "1+"),
                               follow=True)
        try:
            world.service_.misbehave(bad)

            def decided():
                if not inject.stands_still(daemon.pid):
                    return False
                if "rolling back tiny/demo" in world.tail(1 << 30):
                    return True
                daemon.send_signal(signal.SIGCONT)
                return False
            wait_for("it was decided", 20, decided)
            os.rename(os.path.join(world.service_.releases, "v1"), os.path.join(world.service_.root, "deleted"))
        finally:
            strace.close()
            daemon.send_signal(signal.SIGCONT)
        wait_for("it has ended", 40, lambda: world.status(world.service_)["phase"] == "held")

        self.assertEqual(world.service_.live(), bad, "`current` leads to nothing")
        self.assertEqual(world.watcher.events(), (0, 0))
        self.assertEqual(world.service_.says(), bad)
        world.expect_page()
        said = [one for row in world.decisions(world.service_) for one in refusing(row)]
        row = world.rollbacks(bad)[0] if world.rollbacks(bad) else None
        self.assertTrue("target_intact" in said or (row and row["status"] in ("abandoned", "cancelled", "failed")), (row, said))


if __name__ == "__main__":
    unittest.main()
