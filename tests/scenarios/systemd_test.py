"""rollbackd inside a real systemd: units crash, are stopped, masked and shut down, and a supervised service is a transient unit."""
import json
import os
import time
import unittest

# The harness first: it says where the others are.
from harness import BINARIES, pull, reported_release, rollback_of, said, settled, standing, trigger, wait_for

import systemd_host
from fleet import RULES, Fleet
from systemd_host import SystemdHost

DAEMON = """[Unit]
Description=rollbackd under test
[Service]
Type=notify
ExecStart={binaries}/rollbackd --config {config}
Environment=ROLLBACKD_RULES_DIRECTORY={rules}
StandardOutput=append:{log}
StandardError=append:{log}
KillMode=process
WatchdogSec={watchdog}
TimeoutStopSec=20s
# As the shipped unit: restarting units must need no more than that.
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_SETUID CAP_SETGID CAP_SYS_PTRACE CAP_NET_RAW
"""
UNIT = """[Unit]
Description=The shop
[Service]
ExecStart={command}
Environment=PORT={port} LOG={log}
{more}
"""


class Inside(Fleet):
    """A fleet whose daemon is a unit of a systemd of its own; the API is the same, its socket lies in a shared directory."""

    def __init__(self, watchdog="30s"):
        systemd_host.require()
        super().__init__(BINARIES)
        self.host = SystemdHost(bind=[self.root, os.path.abspath(BINARIES), os.path.abspath(RULES)])
        unit = DAEMON.format(binaries=os.path.abspath(BINARIES), config=self.config, rules=os.path.abspath(RULES), log=self.log,
                             watchdog=watchdog)
        self.units(**{"rollbackd.service": unit})

    def units(self, **texts):
        self.host.write_units(texts, runtime=True)  # As packages' units can: these can be masked.
        self.host.reload()

    def start(self, environment=None, wait=True):
        self.write_configuration()
        code, output = self.host.systemctl("start", "rollbackd.service")  # Type=notify: returns when it is ready.
        if code != 0:
            raise AssertionError("rollbackd does not start: %s\n%s" % (output, self.tail()))

    def stop_daemon(self, with_signal=None):
        if self.host.process:
            self.host.systemctl("stop", "rollbackd.service")

    def end_keepers(self):
        pass  # Whatever runs inside ends with the host.

    def close(self, keep_files=False):
        self.host.close()
        super().close(keep_files)


class Systemd(unittest.TestCase):
    maxDiff = None

    def fleet(self, **more):
        fleet = Inside(**more)
        self.addCleanup(fleet.close)
        return fleet

    def shop(self, fleet, more="", command=None, **settings):
        """The shop as unit shop.service, running the good release v1, watched."""
        service = fleet.service("shop", **settings)
        component = {"name": "app", "driver": "symlink", "releases": service.releases, "current": service.current,
                     "process": {"manager": "systemd", "unit": "shop.service"}}
        service.settings.setdefault("components", [component])
        service.release("v1")
        service.link("v1")
        program = os.path.join(service.current, "shop")
        unit = UNIT.format(command=(command or "{}").format(program), port=service.port, log=service.log, more=more)
        fleet.units(**{"shop.service": unit})
        fleet.host.systemctl("start", "shop.service")
        return service

    def deploy_bad(self, fleet, service, behaviour="crash"):
        service.release("v2", behaviour, when=trigger(service))
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        wait_for("a rollback is ready", 10, lambda: fleet.status(service)["protected"])

    def rolled_back_once(self, fleet, service):
        row = rollback_of(fleet, service, "v2")
        self.assertEqual(row["status"], "succeeded", row)
        settled(fleet, service, "v1")
        self.assertEqual(reported_release(service), "v1")
        self.assertEqual(standing(fleet, service, "v2"), "bad")
        self.assertEqual(len(fleet.operations(service, kind="rollback")), 1)
        return row

    def started(self, fleet, times):
        """So often systemd has started the unit; its journal may be a moment behind."""
        def count():
            return fleet.host.journal("shop.service").count("Started shop.service")
        wait_for("the journal tells of %d starts" % times, 10, lambda: count() >= times)
        self.assertEqual(count(), times)

    def no_rollback(self, fleet, service, seconds=4):
        """The absence of an event is what is shown: longer than settle and every window of the rules in question."""
        time.sleep(seconds)
        self.assertEqual(fleet.operations(service, kind="rollback"), [], fleet.tail())
        self.assertEqual([d["decision"] for d in fleet.decisions(service) if d["decision"] == "rollback"], [])


class Units(Systemd):
    def test_a_unit_that_crashes_is_rolled_back_and_verified_by_its_state_and_identity(self):
        fleet = self.fleet()
        service = self.shop(fleet)
        fleet.start()
        settled(fleet, service, "v1")
        self.deploy_bad(fleet, service)
        before = fleet.host.show("shop.service", "ExecMainPID", "InvocationID")

        pull(service)

        row = self.rolled_back_once(fleet, service)
        self.assertEqual(row["cause"], "crash", row)
        after = fleet.host.show("shop.service", "ActiveState", "SubState", "ExecMainPID", "InvocationID", "NRestarts")
        self.assertEqual((after["ActiveState"], after["SubState"], after["NRestarts"]), ("active", "running", "0"))
        self.assertNotEqual(after["ExecMainPID"], before["ExecMainPID"])
        self.assertEqual(str(fleet.status(service)["process"]["pid"]), after["ExecMainPID"])
        self.started(fleet, 3)  # v1, v2, v1: no second start.

    def test_a_crash_loop_under_restart_always_is_one_rollback(self):
        fleet = self.fleet()
        service = self.shop(fleet, more="Restart=always\nRestartSec=50ms")
        fleet.start()
        settled(fleet, service, "v1")
        self.deploy_bad(fleet, service)

        pull(service)

        self.rolled_back_once(fleet, service)
        self.no_rollback_beyond_the_first(fleet, service)

    def no_rollback_beyond_the_first(self, fleet, service):
        time.sleep(2)  # Absence again: systemd's own restarts of the bad release must not be told after the rollback.
        self.assertEqual(len(fleet.operations(service, kind="rollback")), 1)
        self.assertEqual(fleet.host.show("shop.service", "ActiveState")["ActiveState"], "active")

    def test_a_stop_and_a_mask_are_no_evidence(self):
        fleet = self.fleet()
        service = self.shop(fleet, more="Restart=on-failure", command="/bin/sh -c 'trap \"kill $! ; exit 7\" TERM; {} & wait'")
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2")
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")

        fleet.host.systemctl("stop", "shop.service")  # It exits with 7, which would be a failure had nobody asked.
        self.assertEqual(fleet.host.show("shop.service", "ExecMainStatus")["ExecMainStatus"], "7")
        self.no_rollback(fleet, service)
        fleet.host.systemctl("start", "shop.service")
        settled(fleet, service, "v2")
        fleet.host.systemctl("mask", "--now", "shop.service")
        self.assertEqual(fleet.host.show("shop.service", "LoadState")["LoadState"], "masked")
        wait_for("the stop is known", 10, lambda: not fleet.status(service)["process"]["running"])
        self.no_rollback(fleet, service)

    def test_a_shutdown_of_the_host_is_no_evidence(self):
        fleet = self.fleet()
        service = self.shop(fleet, command="/bin/sh -c 'trap \"kill $! ; exit 7\" TERM; {} & wait'")
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2")
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        with open(fleet.log, "r+", encoding="utf-8") as log:
            log.truncate()

        fleet.host.power_off()
        fleet.host.process.wait(60)

        self.assertEqual(service.live(), "v2")
        self.assertTrue(said(fleet, "rollbackd stops"))
        self.assertFalse(said(fleet, "kind=rollback"))

    def test_a_masked_unit_is_refused_with_the_command_that_helps(self):
        fleet = self.fleet()
        service = self.shop(fleet)
        fleet.start()
        settled(fleet, service, "v1")
        fleet.host.systemctl("mask", "shop.service")
        service.release("v2")

        row = fleet.deploy(service, "v2")

        self.assertEqual(row["status"], "failed", row)
        self.assertIn("systemctl unmask shop.service", json.dumps(row) + fleet.tail(200))

    def test_another_unit_that_fails_is_seen_by_the_systemd_check(self):
        fleet = self.fleet()
        rules = os.path.join(fleet.root, "worker-rules.json")
        with open(rules, "w", encoding="utf-8") as out:
            rule = {"alert": "WorkerFailed", "expr": "systemd_unit_state{check=\"worker\",state=\"failed\"} == 1",
                    "labels": {"severity": "critical", "rollbackd_action": "rollback"}, "annotations": {"summary": "the worker failed"}}
            json.dump({"groups": [{"name": "worker", "rules": [rule]}]}, out)
        service = self.shop(fleet, rule_files=[rules])
        worker = "[Service]\nExecStart=/bin/sh -c 'while ! test -e %s; do sleep 0.05; done; exit 9'\n" % trigger(service)
        fleet.units(**{"worker.service": worker})
        fleet.host.systemctl("start", "worker.service")
        service.settings["checks"] = [
            {"name": "health", "type": "http", "url": service.url(), "interval": "250ms", "timeout": "2s"},
            {"name": "worker", "type": "systemd", "unit": "worker.service"}]
        fleet.start()
        settled(fleet, service, "v1")
        service.release("v2")
        fleet.deploy(service, "v2")
        settled(fleet, service, "v2")
        wait_for("a rollback is ready", 10, lambda: fleet.status(service)["protected"])

        pull(service)

        row = rollback_of(fleet, service, "v2")
        self.assertIn("worker", json.dumps(row))
        self.assertEqual(service.live(), "v1")

    def test_the_bus_may_go_away_and_come_back(self):
        fleet = self.fleet()
        service = self.shop(fleet)
        fleet.start()
        settled(fleet, service, "v1")
        self.deploy_bad(fleet, service)

        fleet.host.systemctl("kill", "-s", "KILL", "dbus.service")
        wait_for("the loss is told", 10, lambda: said(fleet, "a unit is not watched"))
        wait_for("the unit is watched again", 20, lambda: said(fleet, "a unit is watched again"))
        self.no_rollback(fleet, service, seconds=2)
        pull(service)

        self.rolled_back_once(fleet, service)


    def test_killed_after_a_restart_that_nobody_noted_it_does_not_restart_again(self):
        with open(os.path.join(BINARIES, "rollbackd"), "rb") as program:
            if b"ROLLBACKD_FAILPOINT" not in program.read():
                self.skipTest("this build has no failpoints")
        fleet = self.fleet()
        service = self.shop(fleet)
        fleet.start()
        settled(fleet, service, "v1")
        self.deploy_bad(fleet, service)
        fleet.stop_daemon()
        fleet.units(**{"rollbackd.service.d/failpoint.conf": "[Service]\nEnvironment=ROLLBACKD_FAILPOINT=record.restarted.before\n"})
        fleet.start()
        settled(fleet, service, "v2")
        pull(service)
        wait_for("the daemon has died", 20, lambda: fleet.host.show("rollbackd.service", "Result")["Result"] == "signal")
        fleet.units(**{"rollbackd.service.d/failpoint.conf": ""})
        fleet.start()

        self.rolled_back_once(fleet, service)
        self.started(fleet, 3)


class Daemon(Systemd):
    def test_it_says_when_it_is_ready_and_a_stuck_one_is_ended_by_its_watchdog(self):
        fleet = self.fleet(watchdog="6s")
        self.shop(fleet)
        fleet.start()
        shown = fleet.host.show("rollbackd.service", "ActiveState", "StatusText", "MainPID")
        self.assertEqual(shown["ActiveState"], "active")
        self.assertEqual(shown["StatusText"], "watches 1 services")
        fed = fleet.host.show("rollbackd.service", "WatchdogTimestampMonotonic")
        wait_for("it feeds its watchdog", 10, lambda: fleet.host.show("rollbackd.service", "WatchdogTimestampMonotonic") != fed)
        self.assertEqual(fleet.host.show("rollbackd.service", "MainPID")["MainPID"], shown["MainPID"])

        fleet.host.systemctl("kill", "-s", "STOP", "rollbackd.service")

        wait_for("the watchdog bites", 20, lambda: fleet.host.show("rollbackd.service", "Result")["Result"] == "watchdog")

    def test_a_reload_is_told(self):
        fleet = self.fleet()
        service = self.shop(fleet)
        fleet.start()
        settled(fleet, service, "v1")

        fleet.host.systemctl("kill", "-s", "HUP", "rollbackd.service")

        wait_for("the reload is told", 10,
                 lambda: fleet.host.show("rollbackd.service", "StatusText")["StatusText"] == "the configuration was taken")


class Supervised(Systemd):
    NAME = "rollbackd-shop-demo.service"

    def supervised(self, fleet):
        service = fleet.service("shop")
        service.parent = "auto"  # systemd runs there.
        service.release("v1")
        service.link("v1")
        fleet.start()
        settled(fleet, service, "v1")
        return service

    def test_a_transient_unit_survives_the_daemon_and_is_found_again(self):
        fleet = self.fleet()
        service = self.supervised(fleet)
        self.deploy_bad(fleet, service)
        before = fleet.host.show(self.NAME, "MainPID", "ActiveState", "Restart")
        self.assertEqual((before["ActiveState"], before["Restart"]), ("active", "on-failure"))

        fleet.host.systemctl("kill", "-s", "KILL", "rollbackd.service")
        wait_for("the daemon is gone", 10, lambda: fleet.host.show("rollbackd.service", "ActiveState")["ActiveState"] == "failed")
        self.assertEqual(fleet.host.show(self.NAME, "MainPID")["MainPID"], before["MainPID"])
        fleet.start()
        row = settled(fleet, service, "v2")
        self.assertEqual(str(row["process"]["pid"]), before["MainPID"])

        pull(service)
        self.rolled_back_once(fleet, service)

    def test_a_person_s_stop_holds_over_a_restart_of_the_daemon(self):
        fleet = self.fleet()
        service = self.supervised(fleet)
        fleet.host.systemctl("stop", self.NAME)
        wait_for("the stop is known", 10, lambda: not fleet.status(service)["process"]["running"])

        fleet.stop_daemon()
        fleet.start()

        self.no_rollback(fleet, service, seconds=2)
        self.assertEqual(fleet.host.show(self.NAME, "ActiveState")["ActiveState"], "inactive")


if __name__ == "__main__":
    unittest.main()
