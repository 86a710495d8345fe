"""When rollbackd may act, and when it must not: outside deployments, suspension, budget, a damaged target, people's commands."""
import hashlib
import json
import os
import threading
import unittest
import urllib.error
import urllib.request

from harness import Scenario, held_by, held_only_by, pull, reported_release, rollback_of, said, settled, standing, trigger, wait_for


def start_with_bad_release(fleet, service, release="v2", behaviour="health-500", live="v1"):
    """`live` is good, `release` bakes and will misbehave when its trigger is pulled."""
    fleet.start()
    settled(fleet, service, live)
    service.release(release, behaviour, when=trigger(service))
    fleet.deploy(service, release)
    settled(fleet, service, release)


def no_rollback(fleet, service):
    return not fleet.operations(service, kind="rollback")


def ready(fleet, service):
    """Waits until the target is armed, so that what follows is about the guard in question."""
    wait_for("a rollback is ready", 10, lambda: fleet.status(service)["protected"])


def offline(fleet, *arguments):
    return fleet.rollbackd("rollback", *arguments, "--offline")


class OutsideDeployments(Scenario):
    def test_a_link_that_somebody_else_moves_is_a_new_epoch_and_is_not_fought(self):
        fleet, service = self.shop()
        fleet.start()
        before = settled(fleet, service, "v1")
        service.release("v2")

        service.link("v2")
        os.kill(before["process"]["pid"], 9)  # The deployer restarts the service; the keeper starts it from the new link.

        after = settled(fleet, service, "v2")
        self.assertEqual(after["epoch"], before["epoch"] + 1)
        self.assertEqual(after["standing"], "candidate")
        self.assertEqual(fleet.operations(service), [])

    def test_an_outside_deployment_while_v1_fails_is_left_in_place(self):
        fleet, service = self.shop()
        start_with_bad_release(fleet, service)
        service.release("v3")
        fleet.ctl("suspend", "shop", "--reason", "so that the deployer comes first")
        pull(service)
        held_by(fleet, service, "not_suspended")

        service.link("v3")
        os.kill(fleet.status(service)["process"]["pid"], 9)
        settled(fleet, service, "v3")
        fleet.ctl("resume", "shop")

        settled(fleet, service, "v3")
        self.assertTrue(no_rollback(fleet, service))
        self.assertEqual(standing(fleet, service, "v2"), "candidate")

    def test_a_bad_release_deployed_again_pages_and_deploy_refuses_it(self):
        fleet, service = self.shop()
        start_with_bad_release(fleet, service, behaviour="crash")
        pull(service)
        rollback_of(fleet, service, "v2")
        row = settled(fleet, service, "v1")

        code, output = fleet.ctl("deploy", "shop", "v2")
        self.assertEqual(code, 41, output)
        self.assertIn("--force", output)
        self.assertEqual(service.live(), "v1")

        os.remove(trigger(service))
        service.link("v2")
        os.kill(row["process"]["pid"], 9)

        settled(fleet, service, "v2")
        wait_for("people are told", 10, lambda: said(fleet, "bad release v2 is live on shop/demo"))
        self.assertEqual(standing(fleet, service, "v2"), "bad")


class Guards(Scenario):
    def test_observe_only_tells(self):
        fleet, service = self.shop(automation="observe")
        start_with_bad_release(fleet, service)

        pull(service)

        decision = held_only_by(fleet, service, "automation_allows")
        self.assertIn("rollbackctl rollback shop", decision["next_step"])
        self.assertEqual((service.live(), no_rollback(fleet, service)), ("v2", True))

    def test_a_suspended_service_waits_and_acts_after_resume(self):
        fleet, service = self.shop()
        start_with_bad_release(fleet, service)
        ready(fleet, service)
        self.assertEqual(fleet.ctl("suspend", "shop", "--reason", "a migration")[0], 0)

        pull(service)
        held_only_by(fleet, service, "not_suspended")
        self.assertEqual(service.live(), "v2")
        self.assertEqual(fleet.ctl("resume", "shop")[0], 0)

        self.assertEqual(rollback_of(fleet, service, "v2")["status"], "succeeded")
        settled(fleet, service, "v1")

    def test_an_exhausted_budget_holds(self):
        fleet, service = self.shop(policy={"budget": {"rollbacks": 1, "per": "1h"}})
        start_with_bad_release(fleet, service)
        pull(service)
        rollback_of(fleet, service, "v2")
        settled(fleet, service, "v1")
        os.remove(trigger(service))
        service.release("v3", "health-500", when=trigger(service))
        fleet.deploy(service, "v3")
        settled(fleet, service, "v3")

        pull(service)

        held_only_by(fleet, service, "budget")
        self.assertEqual(service.live(), "v3")

    def test_a_target_with_a_changed_file_is_not_gone_back_to(self):
        fleet, service = self.shop()
        start_with_bad_release(fleet, service)
        ready(fleet, service)
        with open(os.path.join(service.releases, "v1", "shop"), "a", encoding="utf-8") as program:
            program.write("# somebody was here\n")

        pull(service)

        held_by(fleet, service, "target_intact")
        self.assertEqual((service.live(), no_rollback(fleet, service)), ("v2", True))


    def test_a_target_that_fails_in_the_same_way_ends_the_matter(self):
        fleet, service = self.shop()
        service.release("v0", "health-500", when=trigger(service))
        service.link("v0")  # Found live and trusted; it fails with v2 when something that both need is gone.
        start_with_bad_release(fleet, service, live="v0")
        service.settings["verify"] = [{"type": "checks_healthy", "for": "500ms", "within": "2s"}]  # From here on nothing gets well.
        fleet.write_configuration()
        self.assertEqual(fleet.ctl("reload")[0], 0)

        pull(service)

        row = rollback_of(fleet, service, "v2")
        self.assertEqual((row["to"], row["status"]), ("v0", "failed"))
        wait_for("it is held", 10, lambda: fleet.status(service)["phase"] == "held")
        self.assertEqual((service.live(), standing(fleet, service, "v2")), ("v0", "unknown"))
        wait_for("it says why", 10, lambda: any("the cause lies elsewhere" in d["reason"] for d in fleet.decisions(service)))
        self.assertEqual(len(fleet.operations(service, kind="rollback")), 1)


class People(Scenario):
    def test_a_deployment_that_is_waited_for_says_how_it_was_judged(self):
        fleet, service = self.shop(policy={"bake_time": "2s"})
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2")
        service.release("v3", "crash", when=trigger(service))

        good = fleet.ctl("deploy", "shop", "v2", "--wait", "--timeout", "100s")
        service.settings["policy"] = {"bake_time": "60s"}  # Or v3 might have baked before it crashes.
        fleet.write_configuration()
        self.assertEqual(fleet.ctl("reload")[0], 0)
        said_of_v3 = []
        waiting = threading.Thread(target=lambda: said_of_v3.append(fleet.ctl("deploy", "shop", "v3", "--wait", "--timeout", "100s")))
        waiting.start()
        self.addCleanup(waiting.join)
        settled(fleet, service, "v3")
        pull(service)
        waiting.join()
        bad = said_of_v3[0]
        missing = fleet.ctl("deploy", "shop", "v4", "--wait", "--timeout", "100s")

        self.assertEqual([good[0], bad[0], missing[0]], [0, 50, 40], (good, bad, missing))
        settled(fleet, service, "v2")

    def test_a_dry_run_shows_the_plan_and_changes_nothing(self):
        fleet, service = self.shop()
        start_with_bad_release(fleet, service)
        ready(fleet, service)
        before = fleet.status(service)["process"]["pid"]

        code, output = fleet.ctl("rollback", "shop", "--dry-run", "--reason", "what would happen?")

        self.assertEqual(code, 0, output)
        self.assertIn("v2 -> v1", output)
        self.assertIn("switch", output)
        self.assertEqual((service.live(), fleet.status(service)["process"]["pid"]), ("v2", before))
        self.assertTrue(no_rollback(fleet, service))

    def test_a_rollback_by_hand_says_by_its_exit_code_what_came_of_it(self):
        fleet, service = self.shop()
        start_with_bad_release(fleet, service)
        ready(fleet, service)

        unknown = fleet.ctl("rollback", "shop", "--to", "v7", "--reason", "x")
        live = fleet.ctl("rollback", "shop", "--to", "v2", "--reason", "x")
        done = fleet.ctl("rollback", "shop", "--reason", "it smells", "--wait")

        self.assertEqual([unknown[0], live[0], done[0]], [40, 46, 0], (unknown, live, done))
        settled(fleet, service, "v1")
        row = rollback_of(fleet, service, "v2")
        self.assertEqual((row["trigger"], row["status"], row["reason"]), ("manual", "succeeded", "it smells"))

    def test_over_tcp_a_change_needs_a_token_and_a_look_does_not(self):
        fleet = self.fleet()
        fleet.top["token_file"] = os.path.join(fleet.root, "tokens")
        with open(fleet.top["token_file"], "w", encoding="utf-8") as tokens:
            tokens.write("ci:%s\n" % hashlib.sha256(b"open sesame").hexdigest())
        fleet, service = self.shop(fleet)
        fleet.start()
        settled(fleet, service, "v1")
        base = "http://127.0.0.1:%d" % fleet.port

        def ask(path, token=None, body=None):
            headers = {"Authorization": "Bearer " + token} if token else {}
            data = json.dumps(body).encode() if body is not None else None
            try:
                with urllib.request.urlopen(urllib.request.Request(base + path, data=data, headers=headers), timeout=30) as answer:
                    return answer.status
            except urllib.error.HTTPError as refused:
                refused.close()
                return refused.code

        self.assertEqual(ask("/api/v1/status"), 200)
        for path in ("/api/v1/rollback", "/api/v1/deploy", "/api/v1/suspend", "/api/v1/resume", "/api/v1/mark", "/-/reload"):
            with self.subTest(path):
                self.assertEqual(ask(path, body={"service": "shop"}), 401)
                self.assertEqual(ask(path, "sesame open", body={"service": "shop"}), 401)
        self.assertEqual(ask("/api/v1/suspend", "open sesame", {"service": "shop", "reason": "a drill"}), 200)
        self.assertEqual(fleet.status(service)["suspended"]["principal"], "token:ci")

    def test_without_the_daemon_a_rollback_runs_and_with_it_is_refused(self):
        fleet, service = self.shop()
        start_with_bad_release(fleet, service)
        ready(fleet, service)
        code, output = offline(fleet, "shop", "--reason", "the daemon is in the way")
        self.assertEqual(code, 41, output)
        self.assertEqual(service.live(), "v2")
        fleet.stop_daemon()

        code, output = offline(fleet, "shop", "--reason", "no daemon tonight")

        self.assertEqual(code, 0, output)
        self.assertEqual((service.live(), reported_release(service)), ("v1", "v1"))
        fleet.start()
        settled(fleet, service, "v1")
        rows = fleet.operations(service, kind="rollback")
        self.assertEqual([(row["from"], row["to"], row["status"]) for row in rows], [("v2", "v1", "succeeded")])
        self.assertEqual(standing(fleet, service, "v2"), "bad")


if __name__ == "__main__":
    unittest.main()
