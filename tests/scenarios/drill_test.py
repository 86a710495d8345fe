"""Drills and deployment locks, with the real daemon, real processes and a channel that takes pages."""
import json
import os
import signal
import subprocess
import sys
import time
import unittest

from harness import BINARIES, Scenario, metric, settled, standing, wait_for


def chain(evidence):
    return {link["link"]: link["state"] for link in evidence["bundle"]["drill"]}


class Drill(Scenario):
    def drilled(self, **settings):
        """shop with the good v1 behind the live v2, marked for every injection."""
        fleet = self.fleet()
        pages = os.path.join(fleet.root, "pages")
        fleet.top["notify"] = [{"name": "oncall", "type": "exec", "command": ["/bin/sh", "-c", "cat >> " + pages]}]
        fleet, service = self.shop(fleet, **settings)
        service.settings.setdefault("drill", {"marked": True, "inject": ["crash", "500", "log"], "log": service.log,
                                              "fault_url": service.url("/fault")})
        service.release("v2")
        fleet.start()
        settled(fleet, service, "v1")
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        wait_for("a rollback could begin", 20, lambda: fleet.ctl("ready", "shop")[0] == 0 and not fleet.status(service).get("incident"))
        return fleet, service, pages

    def evidence(self, fleet, operation):
        code, out = fleet.ctl("explain", "shop", "--operation", operation, "--format", "json")
        self.assertEqual(code, 0, out)
        return json.loads(out)

    def test_a_drill_without_injection_proves_the_chain_and_changes_nothing(self):
        fleet, service, pages = self.drilled()
        code, out = fleet.ctl("drill", "shop", "--reason", "monthly", "--wait")
        self.assertEqual(code, 0, out)
        self.assertIn("delivered through oncall", out)
        self.assertEqual(service.live(), "v2")
        with open(pages, encoding="utf-8") as file:
            self.assertIn("DRILL, nothing is wrong", file.read())
        wait_for("the metric tells of it", 10, lambda: metric(fleet, "rollbackd_drill_last_success_timestamp_seconds"))
        self.assertNotIn("warning  drill", fleet.ctl("ready", "shop")[1])
        fleet.stop_daemon()
        fleet.start()
        wait_for("the metric tells of it after a restart", 10,
                 lambda: (metric(fleet, "rollbackd_drill_last_success_timestamp_seconds") or 0) > time.time() - 3600)

    def test_each_injection_is_found_rolled_back_and_told_and_the_release_is_not_bad_for_it(self):
        for inject in ("crash", "500", "log"):
            with self.subTest(inject):
                fleet, service, _ = self.drilled()
                code, out = fleet.ctl("drill", "shop", "--reason", "does it hold", "--inject", inject, "--wait", "--format", "json")
                self.assertEqual(code, 0, out)
                links = chain(json.loads(out))
                for link in ("pre_flight", "records", "injected", "rule", "incident", "decision", "rollback", "verification", "page"):
                    self.assertEqual(links.get(link), "passed", (link, out))
                self.assertEqual(service.live(), "v1")
                self.assertNotEqual(standing(fleet, service, "v2"), "bad")
                self.assertFalse(os.path.exists(os.path.join(service.releases, ".v2.BAD_RELEASE")))
                fleet.stop_daemon()

    def test_an_observed_service_is_broken_and_only_told_of(self):
        fleet, service, _ = self.observed()
        code, out = fleet.ctl("drill", "shop", "--reason", "would it", "--inject", "500", "--wait", "--format", "json")
        self.assertEqual(code, 0, out)
        self.assertEqual(chain(json.loads(out))["decision"], "passed")
        self.assertNotIn("rollback", chain(json.loads(out)))
        self.assertEqual(service.live(), "v2")

    def observed(self):
        fleet = self.fleet()
        pages = os.path.join(fleet.root, "pages")
        fleet.top["notify"] = [{"name": "oncall", "type": "exec", "command": ["/bin/sh", "-c", "cat >> " + pages]}]
        fleet, service = self.shop(fleet, automation="observe")
        service.settings["drill"] = {"marked": True, "inject": ["500"], "fault_url": service.url("/fault")}
        service.release("v2")
        fleet.start()
        settled(fleet, service, "v1")
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        wait_for("the target is armed", 20, lambda: "v1 is intact" in fleet.ctl("ready", "shop")[1])
        return fleet, service, pages

    def test_a_service_that_is_not_marked_is_refused(self):
        fleet, service, _ = self.drilled(drill={"marked": False, "inject": []})
        code, out = fleet.ctl("drill", "shop", "--reason", "no", "--inject", "crash")
        self.assertEqual(code, 41, out)
        self.assertIn("not marked", out)
        self.assertEqual(fleet.operations(service, kind="drill"), [])


class DeployLock(Scenario):
    def ctl(self, fleet, *arguments):
        return subprocess.Popen([os.path.join(BINARIES, "rollbackctl"), "--url", "unix:" + fleet.socket, *arguments], text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def test_a_command_runs_under_the_lock_which_is_renewed_and_given_back(self):
        fleet, service = self.shop()
        service.release("v2")
        fleet.start()
        settled(fleet, service, "v1")
        flag = os.path.join(fleet.root, "go")
        program = "import os, sys, time\nprint(len(os.environ['ROLLBACKD_LOCK']))\nsys.stdout.flush()\n" \
                  "while not os.path.exists(%r): time.sleep(0.02)\nsys.exit(7)" % flag
        held = self.ctl(fleet, "deploy", "--lock", "shop", "--for", "10s", "--reason", "by hand", "--", sys.executable, "-c", program)
        self.addCleanup(held.stdout.close)
        self.assertEqual(held.stdout.readline(), "36\n")
        first = fleet.status(service)["lock"]["until"]
        code, out = fleet.ctl("deploy", "shop", "v2")
        self.assertEqual(code, 41, out)
        wait_for("the lock is renewed", 20, lambda: fleet.status(service)["lock"]["until"] > first)
        self.assertEqual(fleet.ctl("deploy", "shop", "v2")[0], 41)
        with open(flag, "w", encoding="utf-8"):
            pass
        self.assertEqual(held.wait(60), 7, "the command's own exit code")
        self.assertEqual(fleet.ctl("deploy", "shop", "v2", "--lock", "--reason", "mine")[0], 0)
        wait_for("v2 runs", 10, lambda: service.live() == "v2")
        self.assertNotIn("lock", fleet.status(service))

    def test_a_signal_goes_on_to_the_command_and_the_lock_is_given_back(self):
        fleet, service = self.shop()
        fleet.start()
        settled(fleet, service, "v1")
        held = self.ctl(fleet, "deploy", "shop", "--lock", "--reason", "by hand", "--", "/bin/sh", "-c", "echo here; exec sleep 60")
        self.addCleanup(held.stdout.close)
        self.assertEqual(held.stdout.readline(), "here\n")
        self.assertIn("lock", fleet.status(service))
        held.send_signal(signal.SIGTERM)
        self.assertEqual(held.wait(60), 128 + signal.SIGTERM)
        self.assertNotIn("lock", fleet.status(service))
        code, out = fleet.ctl("deploy", "shop", "--lock", "--reason", "x", "--", "/nonexistent/tool")
        self.assertEqual(code, 127, out)


if __name__ == "__main__":
    unittest.main()
