"""What keeps rollbackd from acting: a person's yes that is missing, freezes, the kill switch, deployment locks, the fleet breaker; and groups."""
import json
import os
import threading
import time
import unittest

from harness import Door, Scenario, held_by, held_only_by, impatient, pull, refusing, rollback_of, said, settled, trigger, wait_for


def bake(fleet, service, release="v2", behaviour="health-500", **more):
    """`release` bakes on the started service and misbehaves when its trigger is pulled."""
    settled(fleet, service, "v1")
    service.release(release, behaviour, when=trigger(service), **more)
    fleet.deploy(service, release)
    settled(fleet, service, release)
    wait_for("a rollback is ready", 10, lambda: fleet.status(service)["protected"])


def phase(fleet, service, wanted, seconds=20):
    wait_for("%s is %s" % (service.name, wanted), seconds, lambda: fleet.status(service)["phase"] == wanted)


def begins(seconds_ago):
    """A calendar expression of the moment `seconds_ago`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() - seconds_ago))


class Approve(Scenario):
    def test_nothing_is_done_before_a_person_says_yes_and_the_question_survives_a_restart(self):
        fleet, service = self.shop(automation="approve")
        fleet.start()
        bake(fleet, service)
        self.assertEqual(fleet.ctl("approve", "shop", "--reason", "too early")[0], 1)

        pull(service)
        phase(fleet, service, "awaiting approval")
        row = fleet.status(service)
        self.assertEqual((row["approval"]["from"], row["approval"]["to"]), ("v2", "v1"))
        self.assertIn("rollbackctl approve shop --env demo --reason", row["decision"]["next_step"])
        self.assertEqual(fleet.operations(service, kind="rollback"), [])

        fleet.stop_daemon()
        impatient(service)
        fleet.start()
        phase(fleet, service, "awaiting approval")
        self.assertEqual(service.live(), "v2")

        code, output = fleet.ctl("approve", "shop", "--reason", "the graphs agree")
        self.assertEqual(code, 0, output)
        row = rollback_of(fleet, service, "v2")
        self.assertEqual((row["status"], row["to"]), ("succeeded", "v1"))
        self.assertIn("approved by uid:", row["reason"])

    def test_a_no_holds_and_so_does_nobody(self):
        fleet = self.fleet()
        _, asked = self.shop(fleet, automation="approve")
        alone = fleet.service("alone", automation="approve", policy={"approve_timeout": "1s"})
        alone.release("v1")
        alone.link("v1")
        fleet.start()
        for service in (asked, alone):
            bake(fleet, service)

        pull(asked)
        phase(fleet, asked, "awaiting approval")
        self.assertEqual(fleet.ctl("reject", "shop", "--reason", "we see why")[0], 0)
        phase(fleet, asked, "held")
        self.assertIn("rejected by uid:", fleet.status(asked)["decision"]["reason"])
        pull(alone)
        phase(fleet, alone, "held")

        self.assertIn("nobody answered within 1s", fleet.status(alone)["decision"]["reason"])
        self.assertEqual(fleet.operations(kind="rollback"), [])


class Windows(Scenario):
    def test_a_freeze_holds_until_it_ends_and_a_person_passes_it_with_lenient(self):
        fleet, service = self.shop()
        fleet.start()
        bake(fleet, service)

        def freeze(begun_seconds_ago, length):
            service.settings["policy"] = {"windows": [{"name": "night", "begins": begins(begun_seconds_ago), "length": length}]}
            fleet.write_configuration()
            self.assertEqual(fleet.ctl("reload")[0], 0)
        freeze(52, "8h")

        pull(service)
        decision = held_only_by(fleet, service, "window_open")
        self.assertIn("--lenient", decision["next_step"])
        self.assertEqual(fleet.ctl("rollback", "shop", "--dry-run", "--reason", "now")[0], 47)
        self.assertEqual(fleet.ctl("rollback", "shop", "--dry-run", "--lenient", "--reason", "now")[0], 0)
        self.assertEqual(fleet.operations(service, kind="rollback"), [])

        freeze(57, "1m")
        self.assertEqual(rollback_of(fleet, service, "v2")["status"], "succeeded")

    def test_what_began_in_maintenance_is_no_evidence_and_a_wrong_expression_stops_a_reload(self):
        fleet, service = self.shop(policy={"windows": [{"kind": "maintenance", "begins": "*:*:0", "length": "10m"}]})
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2", "health-500", when=trigger(service))
        code, output = fleet.ctl("deploy", "shop", "v2", "--reason", "in the window")
        self.assertEqual(code, 41, output)
        self.assertIn("maintenance", output)
        self.assertEqual(fleet.ctl("deploy", "shop", "v2", "--lenient", "--reason", "that is what it is for")[0], 0)
        settled(fleet, service, "v2")
        pull(service)
        wait_for("the alert fires", 20, lambda: fleet.status(service)["firing"])
        self.assertEqual(fleet.operations(service, kind="rollback"), [])
        self.assertEqual(fleet.status(service)["phase"], "watching")

        service.settings["policy"]["windows"][0]["begins"] = "Fry 17:00"
        fleet.write_configuration()
        code, output = fleet.ctl("reload")
        self.assertEqual(code, 1)
        service.settings["policy"]["windows"][0].update(begins="Fri 17:00", time_zone="Europe/Nowhere")
        fleet.write_configuration()
        self.assertEqual(fleet.ctl("reload")[0], 1)


class Stopped(Scenario):
    """A person's stop that comes after the decision and before the switch: obeyed, and once it is taken back the release is judged again."""

    def stopped_in_the_middle(self, stop, back):
        fleet = self.fleet()
        door = Door(fleet, "before_switch")
        fleet, service = self.shop(fleet, hooks=door.hooks)
        fleet.start()
        bake(fleet, service)
        pull(service)
        door.wait()

        self.assertEqual(fleet.ctl(*stop)[0], 0)
        door.open()

        self.assertEqual(rollback_of(fleet, service, "v2")["status"], "cancelled")
        held_only_by(fleet, service, "not_suspended")
        self.assertEqual(service.live(), "v2")
        self.assertEqual(fleet.ctl(*back)[0], 0)
        wait_for("v2 is left", 20, lambda: service.live() == "v1")
        self.assertEqual(rollback_of(fleet, service, "v2")["status"], "succeeded")

    def test_a_suspension_stops_what_has_begun_and_not_switched(self):
        self.stopped_in_the_middle(("suspend", "shop", "--reason", "a migration"), ("resume", "shop"))

    def test_the_kill_switch_stops_what_has_begun_and_not_switched(self):
        self.stopped_in_the_middle(("kill", "--reason", "something is odd"), ("kill", "--off", "--reason", "it was nothing"))


class KillSwitch(Scenario):
    def test_stops_everything_survives_a_restart_and_lets_go(self):
        fleet, service = self.shop()
        fleet.start()
        bake(fleet, service)
        code, output = fleet.ctl("kill", "--reason", "something is odd")
        self.assertEqual(code, 0, output)
        path = os.path.join(fleet.state, "kill-switch")
        self.assertTrue(os.path.exists(path))
        self.assertIn("something is odd", fleet.get("/-/ready", raw=True)[1])

        pull(service)
        self.assertIn("not_suspended", refusing(held_by(fleet, service, "not_suspended")))
        for command in (("rollback", "shop", "--force", "--lenient"), ("deploy", "shop", "v1", "--force", "--lenient")):
            code, output = fleet.ctl(*command, "--reason", "now")
            self.assertEqual(code, 41, output)
            self.assertIn("something is odd", output)
        fleet.stop_daemon()
        impatient(service)
        fleet.start()
        self.assertTrue(fleet.get("/api/v1/status")[1]["kill_switch"]["on"])
        self.assertFalse(fleet.status(service)["protected"])
        self.assertEqual(fleet.operations(service, kind="rollback"), [])

        self.assertEqual(fleet.request("DELETE", "/api/v1/kill", {"reason": "it was the network"})[0], 200)
        self.assertFalse(os.path.exists(path))
        self.assertEqual(rollback_of(fleet, service, "v2")["status"], "succeeded")

    def test_the_file_alone_is_enough(self):
        fleet, service = self.shop()
        fleet.start()
        settled(fleet, service, "v1")
        path = os.path.join(fleet.state, "kill-switch")
        def is_on():
            return fleet.get("/api/v1/status")[1]["kill_switch"]["on"]
        took = []
        for _ in range(5):
            began = time.monotonic()
            with open(path, "w", encoding="utf-8"):
                pass
            wait_for("the kill switch is on", 5, is_on)
            took.append(time.monotonic() - began)
            os.remove(path)
            wait_for("the kill switch is off", 5, lambda: not is_on())
        self.assertLess(min(took), 1.0, took)  # The best: the others had a busy machine to wait for.
        os.symlink("/nowhere", path)  # What cannot be read is there all the same.
        wait_for("the kill switch is on", 5, is_on)


class Locks(Scenario):
    def test_others_do_not_deploy_and_nothing_acts_until_it_is_given_back(self):
        fleet, service = self.shop()
        fleet.start()
        bake(fleet, service)
        service.release("v3")
        code, output = fleet.ctl("lock", "shop", "--reason", "migrating", "--for", "10m", "--format", "json")
        self.assertEqual(code, 0, output)
        lock = json.loads(output)["lock"]

        self.assertEqual(fleet.ctl("lock", "shop", "--reason", "me too")[0], 41)
        code, output = fleet.ctl("deploy", "shop", "v3", "--reason", "not mine")
        self.assertEqual(code, 41, output)
        self.assertIn("migrating", output)
        self.assertEqual(fleet.post("/api/v1/unlock", service="shop", lock="another")[0], 409)
        pull(service)
        held_only_by(fleet, service, "deploy_lock_free")
        fleet.stop_daemon()
        impatient(service)
        fleet.start()
        self.assertIn("migrating", fleet.status(service)["lock"]["reason"])

        self.assertEqual(fleet.ctl("unlock", "shop", "--id", lock)[0], 0)

        self.assertEqual(rollback_of(fleet, service, "v2")["status"], "succeeded")


class Together(Scenario):
    def six(self, **top):
        fleet = self.fleet(**top)
        services = [fleet.service("s%d" % n) for n in range(6)]
        for service in services:
            service.release("v1")
            service.link("v1")
        fleet.start()
        return fleet, services

    def test_the_breaker_lets_a_share_of_the_fleet_go_back_and_holds_the_rest(self):
        fleet, services = self.six(breaker={"share_percent": 30})
        first, second = services[:2]
        for service in (first, second):
            bake(fleet, service)
        pull(first)
        self.assertEqual(rollback_of(fleet, first, "v2")["status"], "succeeded")

        pull(second)

        held_only_by(fleet, second, "fleet_breaker")
        wait_for("people are told", 10, lambda: said(fleet, "the fleet breaker has tripped"))
        self.assertEqual(fleet.operations(second, kind="rollback"), [])
        self.assertEqual(fleet.ctl("rollback", second.name, "--reason", "a person may", "--wait")[0], 0)

    def test_one_at_a_time_is_one_at_a_time_and_the_next_has_its_turn(self):
        fleet, services = self.six(breaker={"max_concurrent": 1, "share_percent": 100})
        both = services[:2]
        for service in both:
            bake(fleet, service)
        for service in both:
            pull(service)
        rows = [rollback_of(fleet, service, "v2", 60) for service in both]
        self.assertEqual([row["status"] for row in rows], ["succeeded", "succeeded"])
        rows.sort(key=lambda row: row["begun"])
        self.assertLessEqual(rows[0]["ended"], rows[1]["begun"])

    def test_the_cause_goes_back_before_the_symptom_which_is_asked_again_then(self):
        fleet = self.fleet()
        database = fleet.service("db", automation="approve")  # So that its incident stands while we look.
        # What was held for a cause is asked again once start_grace has passed.
        web = fleet.service("web", depends_on=["db/demo"], policy={"start_grace": "3s"})
        for service in (database, web):
            service.release("v1")
            service.link("v1")
        fleet.start()
        for service in (web, database):  # The database's release is the younger one.
            bake(fleet, service)
        pull(database)
        phase(fleet, database, "awaiting approval")

        pull(web)
        decision = held_by(fleet, web, "cause_first")
        self.assertIn("db/demo", next(g for g in decision["guards"] if g["guard"] == "cause_first")["evidence"])
        self.assertEqual(fleet.operations(web, kind="rollback"), [])
        fleet.ctl("approve", "db", "--reason", "the cause first")

        cause, symptom = rollback_of(fleet, database, "v2"), rollback_of(fleet, web, "v2", 40)
        self.assertEqual((cause["status"], symptom["status"]), ("succeeded", "succeeded"))
        self.assertLessEqual(cause["ended"], symptom["begun"])

    def test_a_group_goes_back_in_its_order_or_not_at_all(self):
        fleet, services = self.six(groups=[{"name": "shop", "services": ["s2/demo", "s0/demo", "s1/demo"]}])
        members = services[:3]
        for service in members[:2]:
            bake(fleet, service)
        settled(fleet, members[2], "v1")

        code, output = fleet.ctl("rollback", "--group", "shop", "--reason", "the release was wrong", "--wait")
        self.assertEqual(code, 41, output)
        self.assertEqual(fleet.operations(kind="rollback"), [], "one may not, so nobody is rolled back")

        bake(fleet, members[2])
        code, output = fleet.ctl("rollback", "--group", "shop", "--reason", "the release was wrong", "--wait")
        self.assertEqual(code, 0, output)
        rows = sorted(fleet.operations(kind="rollback"), key=lambda row: row["begun"])
        self.assertEqual([row["service"] for row in rows], ["s2", "s0", "s1"])
        for before, after in zip(rows, rows[1:]):
            self.assertLessEqual(before["ended"], after["begun"])
        self.assertTrue(all("group shop (" in row["reason"] and row["status"] == "succeeded" for row in rows))
        self.assertEqual([service.live() for service in members], ["v1", "v1", "v1"])

    def three(self, broken=None):
        """A group of three that run v2, well; the v1 of `broken` is not when it comes back."""
        fleet = self.fleet(groups=[{"name": "shop", "services": ["s0/demo", "s1/demo", "s2/demo"]}])
        services = [fleet.service("s%d" % n) for n in range(3)]
        for number, service in enumerate(services):
            if number == broken:
                service.settings["verify"] = [{"type": "checks_healthy", "for": "500ms", "within": "10s"}]
            service.release("v1", *(["health-500"] if number == broken else []), **({"when": trigger(service)} if number == broken else {}))
            service.link("v1")
        fleet.start()
        for service in services:
            bake(fleet, service, behaviour="good")
        return fleet, services

    def test_a_member_that_fails_half_way_stops_the_group_and_each_one_is_named(self):
        fleet, services = self.three(broken=1)
        pull(services[1])

        code, output = fleet.ctl("rollback", "--group", "shop", "--reason", "the release was wrong", "--wait")

        self.assertEqual(code, 49, output)
        self.assertIn("1 of 3 services are rolled back (s0/demo, and stay so); s1/demo ended failed", output)
        self.assertIn("left alone: s2/demo", output)
        self.assertIn("rollbackctl rollback s2 --env demo --to v1 --reason", output)
        self.assertEqual([service.live() for service in services], ["v1", "v1", "v2"])
        wait_for("it is a page too", 10, lambda: said(fleet, "the rollback of the group shop stopped at s1/demo"))

    def test_a_group_that_a_kill_cuts_off_goes_on_after_the_restart(self):
        for failpoint, back in (("group.noted.2", ["v1", "v2", "v2"]), ("record.intent.after", ["v2", "v2", "v2"])):
            with self.subTest(failpoint):
                fleet, services = self.three()
                fleet.stop_daemon()
                fleet.start(environment={"ROLLBACKD_FAILPOINT": failpoint})
                for service in services:
                    settled(fleet, service, "v2")
                    wait_for("a rollback is ready", 10, lambda s=service: fleet.status(s)["protected"])
                told = []
                asking = threading.Thread(target=lambda: told.append(
                    fleet.ctl("rollback", "--group", "shop", "--reason", "the release was wrong", "--wait")))
                asking.start()
                wait_for("rollbackd dies in the middle", 30, lambda: fleet.daemon.poll() is not None)
                self.assertEqual([service.live() for service in services], back)

                fleet.start()
                asking.join()

                self.assertEqual(told[0][0], 0, told)
                self.assertEqual([service.live() for service in services], ["v1", "v1", "v1"])
                done = [row["service"] for row in fleet.operations(kind="rollback") if row["status"] == "succeeded"]
                self.assertEqual(sorted(done), ["s0", "s1", "s2"], "each one once")
                self.assertEqual(fleet.get("/api/v1/groups")[1]["runs"][0]["restarts"], 1)


if __name__ == "__main__":
    unittest.main()
