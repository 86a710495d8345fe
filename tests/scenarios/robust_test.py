"""What must not bring rollbackd down or make it act wrongly: broken configuration, broken files, stopped clocks, hostile input, floods."""
import http.server
import json
import os
import signal
import subprocess
import threading
import time
import unittest

from harness import Scenario, has, held_by, metric, pull, rollback_of, said, settled, trigger, wait_for

MIB = 1 << 20


def start_with_bad_release(fleet, service, behaviour="health-500", environment=None):
    """v1 is good, v2 bakes and will misbehave when its trigger is pulled."""
    fleet.start(environment=environment)
    settled(fleet, service, "v1")
    service.release("v2", behaviour, when=trigger(service))
    fleet.deploy(service, "v2")
    settled(fleet, service, "v2")


def nothing_happens(fleet, service, seconds):
    """Looks now and then: it is the absence of an event that is shown."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert not fleet.operations(service, kind="rollback"), "it was rolled back"
        time.sleep(0.2)


def memory_bytes(pid, what):
    with open("/proc/%d/status" % pid, encoding="utf-8") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what + ":"))


class Configuration(Scenario):
    def test_an_invalid_one_at_the_start_names_every_error_with_its_place(self):
        fleet, _ = self.shop(automation="automatik", policy={"bake_time": "soon"}, enforcment="strict")
        fleet.write_configuration()

        code, output = fleet.rollbackd()

        self.assertEqual(code, 1, output)
        for what in ("automatik", "soon", "enforcment"):
            with self.subTest(what):
                self.assertRegex(output, r"rollbackd\.json:\d+:\d+: .*" + what)

    def test_an_invalid_one_at_a_reload_leaves_the_old_one_in_force(self):
        fleet, service = self.shop()
        fleet.start()
        settled(fleet, service, "v1")
        self.assertEqual(metric(fleet, "rollbackd_config_last_reload_successful"), 1)

        service.settings["automation"] = "automatik"
        fleet.write_configuration()
        fleet.daemon.send_signal(signal.SIGHUP)

        wait_for("the reload has failed", 10, lambda: metric(fleet, "rollbackd_config_last_reload_successful") == 0)
        self.assertIn("automatik", fleet.get("/api/v1/status")[1]["last_reload_error"])
        self.assertEqual(fleet.status(service)["automation"], "automatic")

        service.settings["automation"] = "observe"
        fleet.write_configuration()
        fleet.daemon.send_signal(signal.SIGHUP)
        wait_for("the reload has succeeded", 10, lambda: metric(fleet, "rollbackd_config_last_reload_successful") == 1)
        self.assertEqual(fleet.get("/api/v1/status")[1]["last_reload_error"], "")
        self.assertEqual(fleet.status(service)["automation"], "observe")


class BrokenFiles(Scenario):
    def rolls_back(self, fleet, service):
        start_with_bad_release(fleet, service, "crash")
        pull(service)
        self.assertEqual(rollback_of(fleet, service, "v2")["status"], "succeeded")
        settled(fleet, service, "v1")

    def test_a_history_full_of_garbage_is_set_aside(self):
        fleet, service = self.shop()
        os.makedirs(fleet.state, mode=0o700)
        with open(os.path.join(fleet.state, "history.sqlite"), "wb") as history:
            history.write(b"this is no database " * 1000)

        self.rolls_back(fleet, service)

        self.assertTrue([name for name in os.listdir(fleet.state) if name.startswith("history.sqlite.corrupt-")])

    def test_a_history_that_cannot_be_opened_stops_no_rollback(self):
        fleet, service = self.shop()
        os.makedirs(os.path.join(fleet.state, "history.sqlite"), mode=0o700)

        self.rolls_back(fleet, service)

        self.assertNotEqual(fleet.get("/api/v1/status")[1]["history"], "")

    def test_a_state_file_full_of_garbage_holds_and_pages(self):
        fleet, service = self.shop()
        start_with_bad_release(fleet, service)
        fleet.stop_daemon()
        directory = os.path.join(fleet.state, "services")
        found = [os.path.join(where, name) for where, _, names in os.walk(directory) for name in names if name.endswith("state")]
        found += [os.path.join(fleet.state, name) for name in os.listdir(fleet.state) if name.endswith(".state")]
        self.assertEqual(len(found), 1, "where is the state file? %s" % list(os.walk(fleet.state)))
        with open(found[0], "r+b") as state:
            state.write(os.urandom(os.path.getsize(found[0])))

        fleet.start()
        pull(service)

        wait_for("it is held", 10, lambda: fleet.status(service)["phase"] == "held")
        nothing_happens(fleet, service, 4)
        self.assertEqual(service.live(), "v2")
        self.assertFalse(fleet.status(service)["protected"])


    def test_without_the_link_nothing_is_rolled_back_until_it_is_there_again(self):
        fleet, service = self.shop()
        start_with_bad_release(fleet, service)

        os.unlink(service.current)
        wait_for("it noticed", 10, lambda: not fleet.status(service)["protected"])
        pull(service)
        nothing_happens(fleet, service, 4)
        self.assertFalse(os.path.lexists(service.current))
        self.assertIn("current is missing", fleet.status(service)["protected_why"])
        held_by(fleet, service, "target_intact")

        service.link("v2")
        self.assertEqual(rollback_of(fleet, service, "v2")["status"], "succeeded")


class TwoDaemons(Scenario):
    def test_a_second_one_over_the_same_state_ends_and_leaves_the_first_alone(self):
        fleet, service = self.shop()
        fleet.start()
        settled(fleet, service, "v1")

        code, output = fleet.rollbackd()

        self.assertEqual(code, 1, output)
        self.assertIn("cannot start", output)
        self.assertEqual(settled(fleet, service, "v1")["phase"], "watching")
        self.assertEqual(fleet.ctl("status")[0], 0)


class StoppedDaemon(Scenario):
    def test_evidence_from_before_a_stop_is_stale_and_fresh_evidence_counts(self):
        fleet, service = self.shop()
        start_with_bad_release(fleet, service)

        def failed_probes():
            checks = fleet.get("/api/v1/services?service=shop")[1]["checks"]
            return next(check["failed"] for check in checks if check["name"] == "health")
        before = failed_probes()
        pull(service)
        wait_for("a probe failed", 5, lambda: failed_probes() > before, every=0.005)
        fleet.daemon.send_signal(signal.SIGSTOP)
        os.remove(trigger(service))
        time.sleep(3)  # The gap itself.
        fleet.daemon.send_signal(signal.SIGCONT)

        wait_for("it noticed", 5, lambda: said(fleet, "all evidence is stale"))
        nothing_happens(fleet, service, 6)  # Longer than it mistrusts its own eyes after a gap.
        self.assertEqual(service.live(), "v2")
        pull(service)
        self.assertEqual(rollback_of(fleet, service, "v2")["status"], "succeeded")


class Interfaces(Scenario):
    def test_promtool_finds_nothing_wrong_with_the_metrics(self):
        if not has("promtool"):
            self.skipTest("promtool is not installed")
        fleet, service = self.shop()
        start_with_bad_release(fleet, service, "crash")
        pull(service)
        rollback_of(fleet, service, "v2")

        text = fleet.get("/metrics", raw=True)[1]
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30, check=False)

        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))
        self.assertIn('rollbackd_operations_total{', text)

    def test_release_ids_that_are_paths_or_options_are_refused(self):
        fleet, service = self.shop()
        fleet.start()
        settled(fleet, service, "v1")
        os.makedirs(os.path.join(service.root, "outside"))

        for release in ("..", ".", "../outside", "v1/../../outside", "/etc", "-v2", "--force", "v2\n", "v2\u0000", "", "x" * 129, "release:../outside"):
            for path, key, more in (("/api/v1/deploy", "release", {}), ("/api/v1/rollback", "to", {}), ("/api/v1/mark", "release", {"standing": "good"})):
                if key == "to" and not release:
                    continue  # No target named is the previous release.
                with self.subTest(path=path, release=release):
                    status, answer = fleet.post(path, service="shop", reason="x", **{key: release}, **more)
                    self.assertEqual(status, 400, answer)
                    self.assertIn("is not a release id", answer["error"]["what"])
        self.assertEqual(fleet.operations(service), [])
        self.assertEqual(settled(fleet, service, "v1")["release"], "v1")

    def test_nonsense_over_http_is_answered_and_survived(self):
        fleet, service = self.shop()
        fleet.start()
        settled(fleet, service, "v1")

        for path, body in (("/api/v1/deploy", []), ("/api/v1/deploy", {"servise": "shop"}), ("/api/v1/rollback", {"service": "nobody", "reason": "x"}),
                           ("/api/v1/rollback", {"service": "shop"}), ("/api/v1/nothing", {})):
            with self.subTest(path=path, body=body):
                status, answer = fleet.request("POST", path, body)
                self.assertIn(status, (400, 404), answer)
                self.assertTrue(answer["error"]["what"])
        self.assertEqual(settled(fleet, service, "v1")["phase"], "watching")

    def test_a_hold_reaches_the_webhook_as_a_page(self):
        pages = []

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                pages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass
        receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        self.addCleanup(receiver.server_close)
        self.addCleanup(receiver.shutdown)
        url = "http://127.0.0.1:%d/page" % receiver.server_address[1]
        fleet, service = self.shop(self.fleet(notify=[{"name": "oncall", "type": "webhook", "url": url}]), automation="observe")
        start_with_bad_release(fleet, service)

        pull(service)
        decision = held_by(fleet, service, "automation_allows")

        page = wait_for("the page", 10, lambda: next((p for p in pages if "held" in json.dumps(p)), None))
        text = json.dumps(page)
        self.assertIn("shop/demo is held on v2", text)
        self.assertIn("automation_allows", text)
        self.assertIn(json.dumps(decision["next_step"])[1:-1], text)


class Floods(Scenario):
    def test_log_floods_and_endless_lines_do_not_grow_memory(self):
        fleet, service = self.shop()
        # A sanitizer keeps freed memory for a while, which is not ours to measure.
        options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"
        fleet.start(environment={"ASAN_OPTIONS": options})
        settled(fleet, service, "v1")
        before = memory_bytes(fleet.daemon.pid, "VmRSS")

        line = b"2026-01-01T00:00:00 INFO an order came and went, and nobody is any the wiser for it\n"
        block = line * (MIB // len(line))
        with open(service.log, "ab", buffering=0) as log:
            for _ in range(64):
                log.write(block)
            for _ in range(64):
                log.write(b"x" * MIB)  # One line of 64 MiB.
            log.write(b"\nFATAL the end of the flood\n")
        wait_for("all of it was read", 60, lambda: "CriticalLogErrors" in fleet.status(service)["firing"])

        grown = memory_bytes(fleet.daemon.pid, "VmHWM") - before
        self.assertLess(grown, 32 * MIB, "128 MiB of log lines made it grow by %d MiB" % (grown // MIB))


if __name__ == "__main__":
    unittest.main()
